"""Attention from a decoder to the source an encoder has read (Vaswani et al. 2017, section 3.2.3)."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from wordloom.model.architecture import Architecture
from wordloom.model.attention import attend, attend_plain, join_heads, mask_between
from wordloom.model.layers import Linear


class Rows(Protocol):
    """What the encoder reads of a batch: (B, S) int64 each, as `Transformer.forward` takes them."""

    @property
    def tokens(self) -> Tensor: ...

    @property
    def documents(self) -> Tensor: ...

    @property
    def positions(self) -> Tensor: ...

    @property
    def types(self) -> Tensor: ...


class Source(NamedTuple):
    """What a decoder reads of B rows: the encoder's states (B, S, D) and their document numbers (B, S).

    kept: keys and values (B, H, S, d) of every layer of the decoder, made once for decoding step by step; else each
    layer makes its own of the states.
    """

    states: Tensor
    documents: Tensor
    kept: tuple[tuple[Tensor, Tensor], ...] | None = None

    def select(self, rows: Tensor) -> Source:
        """Row b becomes what row rows[b] was: beams of one source, (B',) int64 with B' rows after."""
        kept = None if self.kept is None else tuple((k[rows], v[rows]) for k, v in self.kept)
        return Source(self.states[rows], self.documents[rows], kept)


def source_mask(documents: Tensor, source: Tensor) -> Tensor | None:
    """Numbers of targets (B, T) and source (B, S) -> bool (B, 1, T, S): target k sees source k; None: all see all.

    Padding of the target (number 0) sees everything: the source may have none, and a softmax over nothing is NaN.
    """
    mask = mask_between(documents, source)
    return None if mask is None else mask | (documents == 0)[:, None, :, None]


class CrossAttention(nn.Module):
    """Queries from the decoder, keys and values from the source.

    The rows of ``keys_values.weight`` (2 H d, D) are k of all heads, then v.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        inner, std = arch.heads_width, arch.matrix_std(arch.width)
        self.heads, self.dropout = arch.heads, arch.attention_dropout
        # the kernels divide by sqrt(d): where the model does not, queries are multiplied by it first
        self.unscale = 1.0 if arch.attention_scale else math.sqrt(arch.head_width)
        query_std = std / self.unscale if arch.init == "inputs" else std
        self.query = Linear(arch.width, inner, query_std, bias=arch.qkv_bias)
        self.keys_values = Linear(arch.width, 2 * inner, std, bias=arch.qkv_bias)
        self.output = Linear(inner, arch.width, arch.matrix_std(inner, residual=True), bias=arch.bias)

    def read(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The source's states (B, S, D) -> keys, values (B, H, S, d)."""
        k, v = self.keys_values(states).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(
        self, x: Tensor, source: Source, mask: Tensor | None, layer: int, weights: list[Tensor] | None = None
    ) -> Tensor:
        """x (B, T, D), mask as `source_mask` gives it -> (B, T, D). Given a list, the weights are appended."""
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, d)
        if self.unscale != 1.0:
            q = q * self.unscale
        k, v = self.read(source.states) if source.kept is None else source.kept[layer]
        if weights is None:
            mixed = attend(q, k, v, mask, self.dropout, self.training)
        else:
            mixed, w = attend_plain(q, k, v, mask, self.dropout, self.training)
            weights.append(w)
        return self.output(join_heads(mixed))
