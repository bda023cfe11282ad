"""One more token of texts already read, as one compiled loop instead of a call of `Transformer.forward`.

This is the only second way through the layers. `native_step` is the loop, and tests hold its logits against the
forward pass for every slot of the architecture.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model import kernels, native_step
from wordloom.model.cache import Cache
from wordloom.model.cross import Source
from wordloom.model.heads import TokenHead
from wordloom.model.int8 import Int8Weights
from wordloom.model.positions import alibi_bias, rotation
from wordloom.model.transformer import Embeddings, Layer, Transformer

MAX_ROWS = 16  # more rows are faster as matrix products of their own (benchmarks/generation.py)

_NONE = np.zeros((0, 0), np.bool_)
Addresses = NDArray[np.int64]
_LAYER_MATRICES = (
    native_step.QKV, native_step.OUTPUT, native_step.QUERY, native_step.CROSS_OUTPUT, native_step.FFN_IN,
    native_step.FFN_OUT,
)  # fmt: skip
_END_MATRICES = (native_step.PROJECT, native_step.DENSE, native_step.LOGITS)


def can_fuse(embeddings: Embeddings, stack: Transformer, head: nn.Module, rows: int) -> bool:
    """Whether `FusedStep` takes this model: float32 on the CPU, and few rows at a time."""
    weight = embeddings.tokens.weight
    arch = stack.arch
    return (
        rows <= MAX_ROWS
        and weight.device.type == "cpu"
        and all(
            p.dtype is torch.float32 and p.is_contiguous() for m in (embeddings, stack, head) for p in m.parameters()
        )
        and kernels.backend() != "torch"
        and not torch.is_autocast_enabled("cpu")
        and isinstance(head, TokenHead)
        and arch.position != "xl"
    )


class FusedStep:
    """``step(tokens (B,), cache) -> logits (B, V)``: what the layers and the head make of one token more a row.

    Weights are read where they lie, by their addresses: make a new one after training or moving the model.
    embeddings, stack: of one body, or the two that an encoder-decoder has; table (V, E): the token table; source: what
    a decoder reads, with its keys and values kept. int8: matrices are read in that form, the table of tokens aside, of
    which a step reads a row a text.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        stack: Transformer,
        head: TokenHead,
        table: Tensor,
        source: Source | None = None,
        int8: Int8Weights | None = None,
    ):
        arch = stack.arch
        self.stack, self.arch = stack, arch
        self.int8 = int8
        self._held: list[Tensor] = []  # whose addresses are used must not be freed
        positions = None
        if arch.position == "learned":
            positions = embeddings.positions.weight
        elif arch.position == "sinusoidal":
            positions = embeddings.waves
        self.offset = embeddings.offset if arch.position == "learned" else 0
        dense, norm = getattr(head, "dense", None), getattr(head, "norm", None)
        kinds = embeddings.types.weight[0] if embeddings.types is not None else None
        parts = [embeddings.norm, embeddings.project, stack.norm, dense, norm]
        output = table if head.output is None else head.output
        ends = [table, positions, kinds, None, *(t for part in parts for t in _pair(part)), output, head.bias]
        self.ends, self.end_scales = self._tables(ends, _END_MATRICES)
        rows = [self._layer(i, source) for i in range(arch.layers if source else len(stack.layers))]
        self.layers, self.layer_scales = (np.stack(part) for part in zip(*rows, strict=True))
        self.seen = _NONE if source is None else (source.documents == 1).numpy()
        width = arch.embedding_width or arch.width
        every = 0 if arch.window is None else arch.global_every
        self.embedded = len(table)
        self.vocabulary = len(output)
        self.widths = (arch.width, width, arch.ffn_width, self.vocabulary, every)
        kind = native_step.ACTIVATIONS.index(arch.activation)
        self.slots = (arch.norm_place == "before", arch.norm == "rmsnorm", arch.gated, kind, arch.attention_scale)
        self.eps = np.float32(arch.norm_eps)
        self.scales = (np.float32(embeddings.scale), np.float32(getattr(head, "scale", 1.0)))
        self.threads = torch.get_num_threads()
        self._bound: Cache | None = None

    def __call__(self, tokens: Tensor, cache: Cache) -> Tensor:
        """tokens (B,) int64, which the cache takes in -> logits (B, V).

        Raises ConfigError where the cache or the table of positions is full, or a token is not in the vocabulary.
        """
        if cache is not self._bound or self._documents is not cache.documents:
            self._bind(cache)
        column = cache.advance()
        B = tokens.shape[0]
        places = np.ascontiguousarray(self._positions[:, column])
        limit = self.arch.limit
        if limit is not None and places.max() >= limit:
            raise ConfigError(
                f"a text of {places.max() + 1} tokens does not fit a model of {limit} positions",
                cure="ask for fewer tokens or give a shorter prompt",
            )
        ids = tokens.numpy()
        if ids.min() < 0 or ids.max() >= self.embedded:
            raise ConfigError(f"token {ids.max()} is not among the model's {self.embedded}", cure="use its tokenizer")
        local = self._first if self.arch.window is None else np.maximum(self._first, column + 1 - self.arch.window)
        logits = torch.empty(B, self.vocabulary)
        native_step.step(
            ids, places + self.offset, self.layers, self.ends, self.layer_scales, self.end_scales, self.widths,
            self.slots, self.eps, self.scales,
            self._keys, self._values, cache.origin.numpy(), self._first, local, column,
            self._turns(places), self._bias(cache, column), self.seen, logits.numpy(), self.threads,
        )  # fmt: skip
        return logits

    def _bind(self, cache: Cache) -> None:
        """Arrays of the cache's tensors, until beams give it others."""
        self._bound, self._documents = cache, cache.documents
        self._keys, self._values, self._positions = cache.keys.numpy(), cache.values.numpy(), cache.positions.numpy()
        self._first = (cache.documents == 0).sum(1).numpy()

    def _layer(self, number: int, source: Source | None) -> tuple[Addresses, Addresses]:
        layer = self.stack.layers[number % len(self.stack.layers)]
        assert isinstance(layer, Layer)
        parts: list[Tensor | None] = [*_pair(layer.attention_norm)]
        parts += [*_pair(layer.attention.qkv), *_pair(layer.attention.output), *_pair(layer.cross_norm)]
        cross = layer.cross
        parts += [None] * 4 if cross is None else [*_pair(cross.query), *_pair(cross.output)]
        parts += [*_pair(layer.ffn_norm), *_pair(layer.ffn_in), *_pair(layer.ffn_out)]
        kept = (None, None) if source is None or source.kept is None else source.kept[number]
        return self._tables([*parts, *kept], _LAYER_MATRICES)

    def _tables(self, tensors: list[Tensor | None], matrices: tuple[int, ...]) -> tuple[Addresses, Addresses]:
        """Addresses of a row's tensors, and of the scales of those at ``matrices`` that are int8."""
        scales: list[Tensor | None] = [None] * len(tensors)
        if self.int8 is not None:
            for column in matrices:
                weight = tensors[column]
                if weight is not None:
                    tensors[column], scales[column] = self.int8.of(weight)
        self._held += [t for t in (*tensors, *scales) if t is not None]
        return _addresses(tensors), _addresses(scales)

    def _turns(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(2, 2, B, d): cos and sin of rotary positions, of layers that see all and of those with a window."""
        arch = self.arch
        if arch.position != "rotary":
            return np.zeros((2, 2, 0, 0), np.float32)
        at = torch.from_numpy(places)[:, None]
        bases = (arch.rotary_base, arch.rotary_base_local or arch.rotary_base)
        turns = [torch.stack(rotation(at, arch.head_width, base, torch.float32)) for base in bases]
        return torch.stack(turns)[:, :, :, 0, 0].contiguous().numpy()

    def _bias(self, cache: Cache, column: int) -> NDArray[np.float32]:
        """(B, H, column + 1), or no row: what is added to the scores."""
        at, keys = cache.positions[:, column : column + 1], cache.positions[:, : column + 1]
        if self.arch.position == "alibi":
            return alibi_bias(at, keys, self.arch.heads, torch.float32)[:, :, 0].contiguous().numpy()
        if self.stack.buckets is not None:
            return self.stack.buckets(at, keys)[:, :, 0].detach().contiguous().numpy()
        return np.zeros((0, 0, 0), np.float32)


def _addresses(tensors: list[Tensor | None]) -> Addresses:
    return np.array([0 if t is None else t.data_ptr() for t in tensors], np.int64)


def _pair(part: nn.Module | None) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias of a matrix or a norm, as far as there are such."""
    if part is None:
        return None, None
    weight, bias = part.weight, getattr(part, "bias", None)
    assert isinstance(weight, Tensor)
    return weight.detach(), None if bias is None else bias.detach()
