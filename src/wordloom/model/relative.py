"""Transformer-XL's relative attention and memory (Dai et al. 2019, sections 3.2 and 3.3), and XLNet's use of both in
two streams (Yang et al. 2019, sections 2.3 to 2.6, appendix A.2). The score of query i and key j is

    ((q_i + u) . k_j  +  (q_i + v) . W_R R_{i-j}  +  (q_i + b) . s_ij) / sqrt(d)

with content, position and segment: the four terms of Dai et al.'s section 3.3 (u and v stand once each before content
and position), and Yang et al.'s section 2.5, where s_ij is one of two vectors: i and j in the same segment, or not.
R are sinusoids of the distance in columns, which inside a document is that of positions, so packed rows need nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.attention import attend, attend_plain, join_heads, split_heads
from wordloom.model.cache import Cache
from wordloom.model.layers import Embedding, Linear, dropout, linear

if TYPE_CHECKING:
    from wordloom.model.transformer import Sight

State = dict[str, Tensor]


class Memory:
    """What each layer read in the segments before (Dai et al. 2019, section 3.2): its inputs, without gradient.

    ``past`` is (B, L, M, D) or None. Every layer calls ``extend`` once; then ``state`` is what the next segment needs.
    Every token of the past is seen by every query: a memory goes along one text (Yang et al. 2019, section 2.4).
    """

    def __init__(self, arch: Architecture, state: State | None, documents: Tensor):
        """documents (B, T) of the segment. Raises ConfigError where the state is of another batch or model, or where
        rows are not one text each.
        """
        if not bool((documents == 1).all()):
            what = "a memory can be carried only along rows that go on where the row before ended"
            raise ConfigError(what, cure="use the contiguous layout, whose documents are all number 1")
        self.length = arch.memory
        self.past = None if state is None else state.get("memory")
        self._kept: list[Tensor] = []
        if state is None:
            return
        shape = () if self.past is None else tuple(self.past.shape)
        if len(shape) != 4 or (*shape[:2], shape[3]) != (len(documents), arch.layers, arch.width):
            wanted = f"({len(documents)}, {arch.layers}, M, {arch.width})"
            what = f"the memory carried on is of another batch or model: it is {shape}, not {wanted}"
            raise ConfigError(what, cure="keep the number of rows, or begin with state None")

    @property
    def held(self) -> int:
        """M, tokens of the past."""
        return 0 if self.past is None else self.past.shape[2]

    def extend(self, layer: int, x: Tensor) -> Tensor:
        """x (B, T, D), a layer's input -> (B, M + T, D), with that of the past before it."""
        wide = x if self.past is None else torch.cat([self.past[:, layer].to(x.dtype), x], dim=1)
        self._kept.append(wide[:, max(0, wide.shape[1] - self.length) :].detach())
        return wide

    def state(self) -> State:
        return {"memory": torch.stack(self._kept, dim=1)}


class Relative(NamedTuple):
    """What every layer needs to know about distances; made once a batch for queries (T of them) and S keys.

    waves: (P, D), R of the distances first, first - 1, ...: row T-1-i+j belongs to query i and key j where queries
    are the last T of the keys. rows: (B, T, S) numbers of rows of ``waves`` where they are not. other: bool (B, T, S),
    whether the two stand in different segments; None: all in one. blind: bool (B, 1, T, 1), queries that see nothing
    at all, whose attention gives zero; None: there are none.
    """

    waves: Tensor
    rows: Tensor | None = None
    other: Tensor | None = None
    blind: Tensor | None = None
    memory: Memory | None = None


def distance_waves(first: int, last: int, width: int, like: Tensor) -> Tensor:
    """(first - last + 1, D): sinusoids of the distances first, first - 1, ..., last, negative ones among them.

    As `positions.sinusoids`: sines, then cosines (Vaswani et al. 2017, section 3.5). Angles are taken in float64: the
    public twin's float32 angles are off by up to 3e-5 at a distance of 512.
    """
    half = -(-width // 2)
    rates = 10_000.0 ** (-2 * torch.arange(half, device=like.device, dtype=torch.float64) / width)
    distance = torch.arange(first, last - 1, -1, device=like.device, dtype=torch.float64)
    angles = distance[:, None] * rates  # (P, D / 2)
    return torch.cat([angles.sin(), angles[:, : width - half].cos()], dim=1).to(like.dtype)


def relate(
    arch: Architecture, queries: int, keys: int, like: Tensor, types: Tensor | None, memory: Memory | None, drop: bool
) -> Relative:
    """The distances of the last ``queries`` of ``keys`` columns; ``like`` tells type and device.

    types (B, T) of the queries, whose keys beyond them (a memory) count as segment 0, as in the public twin. drop:
    dropout falls on the sinusoids too, as in the authors' code, here with one mask for the rows of a batch.
    """
    last = -1 if arch.attention == "causal" else -max(queries - 1, 1)  # one more than is seen: `shifted` cuts it off
    waves = dropout(distance_waves(keys - 1, last, arch.width, like), arch.dropout, drop)
    return Relative(waves, other=different(types, types, keys) if arch.types else None, memory=memory)


def different(queries: Tensor | None, types: Tensor | None, keys: int) -> Tensor | None:
    """types of queries (B, K) and of the last T of S keys (B, T) -> bool (B, K, S), or None where all are equal.

    Equal segments add one number to all scores of a query, which the softmax does not see.
    """
    if queries is None or types is None or not bool(types.any()):
        return None
    seen = torch.cat([types.new_zeros(len(types), keys - types.shape[1]), types], dim=1)  # (B, S)
    return queries[:, :, None] != seen[:, None, :]


def shifted(scores: Tensor, keys: int) -> Tensor:
    """Scores of distances (B, H, T, P) -> of keys (B, H, T, S): entry (i, j) is column T-1-i+j of row i.

    Every row starts one column further left than the row above: flat, that is a row length of P - 1 (Dai et al. 2019,
    appendix B, without their padding). A view; P is at least S + 1.
    """
    T, P = scores.shape[-2:]
    return scores.flatten(-2)[..., T - 1 : -1].unflatten(-1, (T, P - 1))[..., :keys]


class RelativeAttention(nn.Module):
    """Self-attention with the scores above. As in the authors' code no matrix but q, k, v (qkv_bias) may have a bias.

    The rows of ``qkv.weight`` (3D, D) are q of all heads, then k, then v. u, v and b are per layer, as in XLNet
    (its untie_r); they are kept flat, (D,), heads one after the other.
    """

    def __init__(self, arch: Architecture, number: int):
        super().__init__()
        D, std = arch.heads_width, arch.matrix_std(arch.width)
        self.heads, self.inner, self.local = arch.heads, D, arch.is_local(number)
        self.scale = arch.head_width**-0.5
        self.qkv = Linear(arch.width, 3 * D, std, bias=arch.qkv_bias)
        self.place = Linear(arch.width, D, std, bias=False)  # W_R
        self.output = Linear(D, arch.width, arch.matrix_std(D, residual=True), bias=False)
        self.content_bias = nn.Parameter(torch.empty(D).normal_(0.0, arch.init_std))  # u
        self.place_bias = nn.Parameter(torch.empty(D).normal_(0.0, arch.init_std))  # v
        self.segments: Embedding | None = None
        if arch.types:
            self.segments = Embedding(2, D, arch.init_std)  # in the same segment, in another
            self.segment_bias = nn.Parameter(torch.empty(D).normal_(0.0, arch.init_std))  # b
        self.dropout = arch.attention_dropout

    def forward(
        self,
        x: Tensor,
        sight: Sight,
        weights: list[Tensor] | None = None,
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D). Given a list, the written-out path runs and its weights are appended."""
        assert sight.relative is not None
        q, k, v = self.project(x, sight.relative, layer)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        return self.mix(q, k, v, sight.local if self.local else sight.mask, sight.relative, weights)

    def project(self, x: Tensor, relative: Relative, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, D) -> q (B, H, T, d), and k, v (B, H, M + T, d), what is remembered first."""
        if relative.memory is None:
            return split_heads(self.qkv(x), self.heads)
        wide = relative.memory.extend(layer, x)  # (B, M + T, D)
        bias = self.qkv.bias
        kv = linear(wide, self.qkv.weight[self.inner :], None if bias is None else bias[self.inner :])
        k, v = (self._by_head(part) for part in kv.chunk(2, dim=-1))
        return self.queries(x), k, v

    def queries(self, x: Tensor) -> Tensor:
        """(B, K, D) -> (B, H, K, d)."""
        bias = self.qkv.bias
        return self._by_head(linear(x, self.qkv.weight[: self.inner], None if bias is None else bias[: self.inner]))

    def mix(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        relative: Relative,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """q (B, H, T, d), k, v (B, H, S, d) -> (B, T, D). Given a list, its weights (B, H, T, S) are appended."""
        bias = self.distances(q, k.shape[2], relative)
        if relative.other is not None and self.segments is not None:
            vectors = self.segments.weight.view(2, self.heads, -1).transpose(0, 1)  # (H, 2, d)
            near, far = ((q + self._of_heads(self.segment_bias)) * self.scale @ vectors.mT).split(1, dim=-1)
            bias = bias + torch.where(relative.other[:, None], far, near)
        q = q + self._of_heads(self.content_bias)
        if weights is None:
            mixed = attend(q, k, v, mask, self.dropout, self.training, bias)
        else:
            mixed, w = attend_plain(q, k, v, mask, self.dropout, self.training, bias)
            weights.append(w)
        if relative.blind is not None:
            mixed = mixed.masked_fill(relative.blind, 0.0)
        return self.output(join_heads(mixed))

    def distances(self, q: Tensor, keys: int, relative: Relative) -> Tensor:
        """The second term, already divided by sqrt(d): (B, H, T, d) -> (B, H, T, S)."""
        r = self.place(relative.waves).view(-1, self.heads, q.shape[-1]).permute(1, 2, 0)  # (H, d, P)
        scores = (q + self._of_heads(self.place_bias)) * self.scale @ r  # (B, H, T, P)
        if relative.rows is None:
            return shifted(scores, keys)
        return scores.gather(-1, relative.rows[:, None].expand(-1, self.heads, -1, -1))

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _of_heads(self, vector: Tensor) -> Tensor:
        """(D,) -> (H, 1, d)."""
        return vector.view(self.heads, 1, -1)


class Streams(NamedTuple):
    """Who sees whom where a factorisation order is given (Yang et al. 2019, section 2.3, figure 1).

    content: bool (B, 1, T, S), what a token sees: those not after it in the order, itself among them. query: bool
    (B, 1, K, S), what a predicted position sees: those before it in the order. With the distances of each.
    """

    content: Tensor
    query: Tensor
    of_content: Relative
    of_query: Relative


def two_streams(
    arch: Architecture,
    documents: Tensor,
    types: Tensor,
    order: Tensor,
    asked: Tensor,
    like: Tensor,
    memory: Memory | None,
    drop: bool,
) -> Streams:
    """documents, types, order (B, T); asked (B, K) columns of the predicted positions, -1 where there is none.

    Tokens of equal order see each other. All that is remembered is seen by all.
    """
    B, T = documents.shape
    held = 0 if memory is None else memory.held
    column = asked.clamp(min=0)  # (B, K)
    place, document = order.gather(1, column), documents.gather(1, column)
    document = torch.where(asked < 0, -1, document)  # sees nothing
    content = (documents[:, :, None] == documents[:, None, :]) & (order[:, None, :] <= order[:, :, None])  # (B, T, T)
    query = (document[:, :, None] == documents[:, None, :]) & (order[:, None, :] < place[:, :, None])  # (B, K, T)
    if held:
        content = torch.cat([content.new_ones(B, T, held), content], dim=2)
        query = torch.cat([(asked >= 0)[:, :, None].expand(-1, -1, held), query], dim=2)
    blind = ~query.any(dim=-1, keepdim=True)  # (B, K, 1)
    whole = relate(arch, T, held + T, like, types, memory, drop)
    rows = T - 1 - column[:, :, None] + torch.arange(held + T, device=asked.device)  # (B, K, S)
    other = None if whole.other is None else different(types.gather(1, column), types, held + T)
    part = Relative(whole.waves, rows=rows, other=other, blind=blind[:, None], memory=None)
    # a softmax over nothing is not a number: the blind look everywhere, and what they see is dropped
    return Streams(content[:, None], (query | blind)[:, None], whole, part)
