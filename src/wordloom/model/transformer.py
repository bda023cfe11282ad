"""One Transformer stack with the slots of `Architecture`: Vaswani et al. 2017; Devlin et al. 2019, section 3;
Radford et al. 2018 and 2019.

Parameter names are our own; `model.interop` maps them to and from the public layouts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.attention import (
    attend,
    attend_heads,
    attend_plain,
    both,
    join_heads,
    mask_between,
    masked_bias,
    order_mask,
    past_mask,
    split_heads,
)
from wordloom.model.cache import Cache
from wordloom.model.cross import CrossAttention, Source, source_mask
from wordloom.model.layers import Embedding, Linear, activate, dropout, make_norm
from wordloom.model.positions import BucketBias, alibi_bias, refuse_far, rotate, rotation, sinusoids
from wordloom.model.relative import Memory, Relative, RelativeAttention, State, relate, two_streams


class Sight(NamedTuple):
    """What every layer needs to know about who sees whom; made once a batch.

    mask, local: bool (B or 1, 1, T, S) or None, of layers that see everything and of those with a window. bias,
    local_bias: added to the scores, (B or 1, H, T, S) or None, -inf where nothing is seen: the masks are None then.
    turn, local_turn: cos and sin of rotary positions, (B, 1, T, d) each. All of the same layers.
    source, source_mask: what a decoder reads, and bool (B, 1, T, S) or None, who of it sees what. relative:
    distances and memory of Transformer-XL's attention.
    """

    mask: Tensor | None
    local: Tensor | None
    bias: Tensor | None
    turn: tuple[Tensor, Tensor] | None
    local_turn: tuple[Tensor, Tensor] | None
    local_bias: Tensor | None = None
    source: Source | None = None
    source_mask: Tensor | None = None
    relative: Relative | None = None


class Embeddings(nn.Module):
    """Tokens + positions + types, then the norm, each where the architecture has it (Devlin et al. 2019, figure 2)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        width = arch.embedding_width or arch.width
        self.scale = math.sqrt(width) if arch.embedding_scale else 1.0
        self.tokens = Embedding(arch.vocab_size, width, arch.table_std)
        if arch.position == "learned":
            self.positions = Embedding(arch.max_positions + arch.position_offset, width, arch.init_std)
            if arch.position_waves:
                std = arch.position_waves * arch.table_std
                with torch.no_grad():  # a sine's own deviation is sqrt(1/2)
                    waves = sinusoids(arch.max_positions, width) * (math.sqrt(2) * std)
                    self.positions.weight[arch.position_offset :] = waves
        elif arch.position == "sinusoidal":
            self.waves: Tensor
            self.register_buffer("waves", sinusoids(arch.max_positions, width), persistent=False)
        absolute = arch.types and arch.position != "xl"  # else types are a part of the attention
        self.types = Embedding(arch.types, width, arch.init_std) if absolute else None
        self.query = nn.Parameter(torch.empty(arch.width).normal_(0.0, arch.init_std)) if arch.two_stream else None
        self.norm = make_norm(arch, width) if arch.embedding_norm else None
        self.project = Linear(width, arch.width, arch.matrix_std(width)) if arch.embedding_width is not None else None
        self.position, self.offset, self.dropout = arch.position, arch.position_offset, arch.dropout

    def forward(self, tokens: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        x = self.look_up(tokens, positions, types)  # (B, T, E)
        return x if self.project is None else self.project(x)  # (B, T, D)

    def look_up(self, tokens: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """All of it but the matrix from E to D: what two bodies can share."""
        x = self.tokens(tokens)  # (B, T, E)
        if self.scale != 1.0:
            x = x * self.scale
        if self.types is not None:
            # a single row is every token's: RoBERTa's tokenizer tells the texts of a pair apart by separators alone
            x = x + (self.types(types) if len(self.types.weight) > 1 else self.types.weight[0])
        if self.position == "learned":
            x = x + self.positions(positions + self.offset if self.offset else positions)
        elif self.position == "sinusoidal":
            x = x + self.waves[positions].to(x.dtype)
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.dropout, self.training)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2).

    The rows of ``qkv.weight`` (3 H d, D) are q of all heads, then k, then v: one matrix product instead of three.
    """

    def __init__(self, arch: Architecture, number: int):
        super().__init__()
        self.heads, self.number, self.local = arch.heads, number, arch.is_local(number)
        inner = arch.heads_width
        self.qkv = Linear(arch.width, 3 * inner, arch.matrix_std(arch.width), bias=arch.qkv_bias)
        self.output = Linear(inner, arch.width, arch.matrix_std(inner, residual=True), bias=arch.bias)
        self.dropout = arch.attention_dropout
        # the kernels divide by sqrt(d): where the model does not, queries are multiplied by it first
        self.unscale = 1.0 if arch.attention_scale else math.sqrt(arch.head_width)
        if arch.init == "inputs":
            with torch.no_grad():
                self.qkv.weight[:inner] /= self.unscale

    def forward(
        self, x: Tensor, sight: Sight, weights: list[Tensor] | None = None, cache: Cache | None = None, layer: int = 0
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D). Given a list, the written-out path runs and its weights are appended."""
        qkv = self.qkv(x)  # (B, T, 3D)
        mask, bias, turn = sight.mask, sight.bias, sight.turn
        if self.local:
            mask, bias, turn = sight.local, sight.local_bias, sight.local_turn
        bare = bias is None and turn is None and self.unscale == 1.0
        if bare and weights is None and cache is None:
            return self.output(attend_heads(qkv, mask, self.heads, self.dropout, self.training))
        q, k, v = split_heads(qkv, self.heads)
        if self.unscale != 1.0:
            q = q * self.unscale
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        if weights is None:
            mixed = attend(q, k, v, mask, self.dropout, self.training, bias)
        else:
            mixed, w = attend_plain(q, k, v, mask, self.dropout, self.training, bias)
            weights.append(w)
        return self.output(join_heads(mixed))


class Layer(nn.Module):
    """Attention, then the feed-forward net, each added to its input; the norm after the sum or before the branch.

    reads: attention to a source between the two, as in a decoder (Vaswani et al. 2017, figure 1).
    """

    def __init__(self, arch: Architecture, number: int, reads: bool = False):
        super().__init__()
        self.attention = RelativeAttention(arch, number) if arch.position == "xl" else Attention(arch, number)
        self.attention_norm = make_norm(arch, arch.width) if number or arch.first_norm else None
        self.cross = CrossAttention(arch) if reads else None
        self.cross_norm = make_norm(arch, arch.width) if reads else None
        self.ffn_in = Linear(arch.width, (1 + arch.gated) * arch.ffn_width, arch.matrix_std(arch.width), bias=arch.bias)
        self.ffn_out = Linear(
            arch.ffn_width, arch.width, arch.matrix_std(arch.ffn_width, residual=True), bias=arch.bias
        )
        self.ffn_norm = make_norm(arch, arch.width)
        self.dropout, self.before, self.last = arch.dropout, arch.norm_place == "before", arch.layers - 1
        self.activation, self.gated = arch.activation, arch.gated
        self.inner_dropout = arch.dropout if arch.inner_dropout else 0.0

    def forward(
        self, x: Tensor, sight: Sight, weights: list[Tensor] | None = None, cache: Cache | None = None, layer: int = 0
    ) -> Tensor:
        mixed = self.attention(self._inner(x), sight, weights, cache, layer)  # (B, T, D)
        return self._finish(x, mixed, sight, weights, layer)

    def forward_two(
        self,
        h: Tensor,
        g: Tensor,
        content: Sight,
        query: Sight,
        weights: list[Tensor] | None,
        layer: int,
    ) -> tuple[Tensor, Tensor]:
        """h (B, T, D), g (B, K, D) -> the same of the next layer; both read h (Yang et al. 2019, equations 3 and 4)."""
        attention = self.attention
        assert isinstance(attention, RelativeAttention) and content.relative is not None and query.relative is not None
        q, k, v = attention.project(self._inner(h), content.relative, layer)
        asked = attention.queries(self._inner(g))
        mixed = attention.mix(asked, k, v, query.mask, query.relative, weights)  # (B, K, D)
        g = self._finish(g, mixed, query, None, layer)
        if layer == self.last:  # no one reads the content after the last layer
            return h, g
        return self._finish(h, attention.mix(q, k, v, content.mask, content.relative), content, None, layer), g

    def _inner(self, x: Tensor) -> Tensor:
        """What the attention is given."""
        return self.attention_norm(x) if self.before and self.attention_norm is not None else x

    def _finish(self, x: Tensor, mixed: Tensor, sight: Sight, weights: list[Tensor] | None, layer: int) -> Tensor:
        """All after the attention, whose result is ``mixed``, to the input x; both (B, T, D)."""
        if self.before:
            x = x + dropout(mixed, self.dropout, self.training)
            x = self._read(x, sight, weights, layer)
            return x + dropout(self.ffn(self.ffn_norm(x)), self.dropout, self.training)
        assert self.attention_norm is not None  # an architecture without it has its norms before the branches
        x = self.attention_norm.add(x, mixed, self.dropout)
        x = self._read(x, sight, weights, layer)
        return self.ffn_norm.add(x, self.ffn(x), self.dropout)

    def _read(self, x: Tensor, sight: Sight, weights: list[Tensor] | None, layer: int) -> Tensor:
        """Attention to the source, where the layer has it; (B, T, D) -> (B, T, D)."""
        if self.cross is None or self.cross_norm is None:
            return x
        assert sight.source is not None
        if self.before:
            mixed = self.cross(self.cross_norm(x), sight.source, sight.source_mask, layer, weights)
            return x + dropout(mixed, self.dropout, self.training)
        mixed = self.cross(x, sight.source, sight.source_mask, layer, weights)
        return self.cross_norm.add(x, mixed, self.dropout)

    def ffn(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); gated: act(W1 x) * W2 x (Shazeer 2020, equation 6)."""
        wide = self.ffn_in(x)  # (B, T, F), gated (B, T, 2F)
        if self.gated:
            first, second = wide.chunk(2, dim=-1)
            wide = activate(first, self.activation) * second
        else:
            wide = activate(wide, self.activation)
        return self.ffn_out(dropout(wide, self.inner_dropout, self.training))


class Transformer(nn.Module):
    """``forward(tokens, documents, positions, types) -> hidden (B, T, D)``, all inputs (B, T) int64.

    Attention joins only tokens of equal document number; hidden states of padding (number 0) are finite
    and mean nothing. Weights are normal with the deviation that ``arch`` says, biases zero, norms one (Devlin et al.
    2019's code draws from the normal cut at two deviations; we, as the public twin, do not cut).

    embedded: False makes no embeddings, for layers that read those of another body through ``encode``. reads: the
    layers of a decoder, which ``encode`` must give a source.
    """

    def __init__(self, arch: Architecture, embedded: bool = True, reads: bool = False):
        super().__init__()
        self.arch = arch
        if embedded:
            self.embeddings = Embeddings(arch)
        self.layers = nn.ModuleList(Layer(arch, i, reads) for i in range(1 if arch.shared_layers else arch.layers))
        self.norm = make_norm(arch, arch.width) if arch.norm_place == "before" else None
        self.buckets: BucketBias | None = None
        if arch.position == "t5":
            two_sided = arch.attention == "full"
            std = arch.matrix_std(arch.width)
            self.buckets = BucketBias(arch.buckets, arch.bucket_distance, arch.heads, two_sided, std)
        self.dropout = arch.dropout if arch.inner_dropout else 0.0

    def forward(
        self,
        tokens: Tensor,
        documents: Tensor,
        positions: Tensor,
        types: Tensor,
        weights: list[Tensor] | None = None,
        cache: Cache | None = None,
        causal_rows: Tensor | None = None,
    ) -> Tensor:
        """Given a list, ``weights`` receives each layer's attention weights (B, H, T, S), first layer first.

        Given a cache, the T tokens follow those it holds, and it takes them in. causal_rows (B,) bool: rows in which no
        token sees a later one, whatever the architecture. Raises ConfigError when a position is not below the table of
        positions.
        """
        refuse_far(self.arch.limit, positions)
        x = self.embeddings(tokens, positions, types)  # (B, T, D)
        return self.encode(x, documents, positions, weights, cache, causal_rows, types=types)

    @property
    def carries(self) -> bool:
        """Whether `forward_state` and `forward_two` may carry a memory from batch to batch."""
        return self.arch.memory > 0

    def forward_state(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        """The next T tokens of B texts, which also see what is remembered; state is what the call before returned.

        Returns hidden (B, T, D) and {"memory": (B, L, M, D)}: the inputs of every layer at the last M tokens, without
        gradient (Dai et al. 2019, section 3.2). Raises ConfigError for rows that are not one text each, and for a
        state of another batch or model.
        """
        memory = Memory(self.arch, state, documents)
        x = self.embeddings(tokens, positions, types)  # (B, T, D)
        return self.encode(x, documents, positions, types=types, memory=memory), memory.state()

    def forward_two(
        self,
        tokens: Tensor,
        documents: Tensor,
        positions: Tensor,
        types: Tensor,
        order: Tensor,
        asked: Tensor,
        memory: Memory | None = None,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """States of predicted positions that do not know their own token (Yang et al. 2019, section 2.3).

        order (B, T): the tokens' places in the factorisation; tokens of equal place see each other. asked (B, K):
        columns of the predicted positions, -1 where a row has fewer. Returns the query stream (B, K, D): each sees
        the tokens before it in the order, of its own document, and all that ``memory`` holds. ``weights`` receives
        the query stream's (B, H, K, S). Raises ConfigError where the architecture has no query stream.
        """
        if self.embeddings.query is None:
            what = "the model has no query stream, which predicting in any order needs"
            raise ConfigError(what, cure="choose an xlnet preset, or model.two_stream = true")
        h = self.embeddings(tokens, positions, types)  # (B, T, D)
        g = self.embeddings.query.to(h.dtype).expand(*asked.shape, -1)  # (B, K, D)
        g = dropout(g, self.arch.dropout, self.training)
        streams = two_streams(self.arch, documents, types, order, asked, h, memory, self.training)
        none = Sight(None, None, None, None, None)
        content = none._replace(mask=streams.content, relative=streams.of_content)
        query = none._replace(mask=streams.query, relative=streams.of_query)
        for i in range(self.arch.layers):
            h, g = self.layers[i % len(self.layers)].forward_two(h, g, content, query, weights, i)  # type: ignore[operator]
        return dropout(g if self.norm is None else self.norm(g), self.dropout, self.training)

    def encode(
        self,
        x: Tensor,
        documents: Tensor,
        positions: Tensor,
        weights: list[Tensor] | None = None,
        cache: Cache | None = None,
        causal_rows: Tensor | None = None,
        source: Source | None = None,
        types: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """``forward`` after the embeddings: x (B, T, D) -> (B, T, D). types and memory: of relative attention alone.

        Layers that read a source give two weights each, the second of the source.
        """
        sight = self.sight(documents, positions, x.dtype, cache, causal_rows, memory)
        if self.arch.position == "xl":
            keys = documents.shape[1] + (0 if memory is None else memory.held) if cache is None else cache.length
            relative = relate(self.arch, documents.shape[1], keys, x, types, memory, self.training)
            sight = sight._replace(relative=relative)
        if source is not None:
            sight = sight._replace(source=source, source_mask=source_mask(documents, source.documents))
        for i in range(self.arch.layers):
            x = self.layers[i % len(self.layers)](x, sight, weights, cache, i)
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.dropout, self.training)

    def sight(
        self,
        documents: Tensor,
        positions: Tensor,
        dtype: torch.dtype,
        cache: Cache | None = None,
        causal_rows: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Sight:
        """documents, positions (B, T) of the queries; the keys are these or, with a cache or memory, all it holds."""
        arch, heads = self.arch, self.arch.heads
        seen, places = (documents, positions) if cache is None else cache.read(documents, positions)
        if memory is not None:  # of document 1, as all that reads it
            seen = torch.cat([seen.new_ones(len(seen), memory.held), seen], dim=1)
        apart = mask_between(documents, seen)
        if causal_rows is not None:
            apart = both(apart, past_mask(causal_rows, documents.shape[1], seen.shape[1]))
        T, S, causal = documents.shape[1], seen.shape[1], arch.attention == "causal"
        mask = both(apart, order_mask(T, S, causal, None, seen.device))
        local = mask if arch.window is None else both(apart, order_mask(T, S, causal, arch.window, seen.device))
        bias = turn = local_turn = None
        if arch.position == "alibi":
            bias = alibi_bias(positions, places, heads, dtype)
        elif self.buckets is not None:  # inside a document distances are those of columns: one bias for all rows
            column = torch.arange(S, device=seen.device)[None]  # (1, S)
            bias = self.buckets(column[:, S - T :], column).to(dtype)  # (1, H, T, S)
        elif arch.position == "rotary":
            turn = local_turn = rotation(positions, arch.head_width, arch.rotary_base, dtype)
            if arch.window is not None and arch.rotary_base_local is not None:
                local_turn = rotation(positions, arch.head_width, arch.rotary_base_local, dtype)
        if bias is None:
            return Sight(mask, local, None, turn, local_turn)
        seeing = masked_bias(bias, mask)  # once for all layers, instead of in each
        return Sight(None, None, seeing, turn, local_turn, seeing if local is mask else masked_bias(bias, local))

    def layers_by_depth(self) -> list[nn.ModuleList]:
        """Embeddings, then layer 0 .. L-1: the order of layer-wise learning rates and of freezing.

        Every parameter is in one of them: the buckets of T5's distances, a table that all layers read, stand with the
        embeddings, the norm after the last layer with that layer.
        """
        below = [m for m in (getattr(self, "embeddings", None), self.buckets) if m is not None]
        *lower, last = self.layers
        above = [last] if self.norm is None else [last, self.norm]
        return [nn.ModuleList(below), *(nn.ModuleList([layer]) for layer in lower), nn.ModuleList(above)]
