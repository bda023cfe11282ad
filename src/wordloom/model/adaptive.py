"""Adaptive softmax for large vocabularies (Grave et al. 2017, "Efficient softmax approximation for GPUs")."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.kernels import linear_cross_entropy
from wordloom.model.layers import Linear, linear


class Tail(nn.Module):
    """A cluster of rarer tokens: states are brought to a smaller width, then to the cluster's tokens."""

    def __init__(self, width: int, inner: int, tokens: int, std: float):
        super().__init__()
        self.down = Linear(width, inner, width**-0.5, bias=False)
        self.output = Linear(inner, tokens, std, bias=False)

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        return linear_cross_entropy(self.down(states), self.output.weight, None, targets)

    def log_probs(self, states: Tensor) -> Tensor:
        """Given the cluster: (..., D) -> (..., tokens)."""
        return _log_softmax(self.output(self.down(states)))


class AdaptiveHead(nn.Module):
    """An exact, normalised distribution over V tokens whose cost falls on the frequent ones (section 4.3).

    Tokens by falling frequency are cut at ``cutoffs`` c1 < c2 < ...: the c1 first and one entry for each cluster share
    the first softmax; cluster i (from 1) has a softmax of its own at width D / div_value**i, used only where its entry
    is the target's: p(token) = p(cluster) * p(token | cluster). Equal to ``torch.nn.AdaptiveLogSoftmaxWithLoss`` of
    the same weights on ids sorted by frequency; here each loss is the fused ``linear_cross_entropy``.

    ``rank`` (V,) is the place of each id in the order of frequency. It is saved with the weights, so a head that is
    loaded needs no counts. Raises ConfigError for cutoffs or counts that do not fit the vocabulary.
    """

    rank: Tensor
    bounds: Tensor

    def __init__(
        self,
        vocab_size: int,
        width: int,
        cutoffs: Sequence[int],
        counts: Tensor | None = None,
        *,
        div_value: float = 4.0,
        init_std: float = 0.058,
    ):
        """counts: (V,) occurrences of each id in training text; None: ids are sorted already, or will be loaded."""
        super().__init__()
        edges = [*cutoffs, vocab_size]
        if not cutoffs or edges[0] < 1 or any(a >= b for a, b in pairwise(edges)):
            raise ConfigError(
                f"adaptive cutoffs {list(cutoffs)} do not rise from above 0 to below {vocab_size} (all tokens)",
                cure="give rising numbers, or let choose_cutoffs choose them",
            )
        if not div_value >= 1:
            raise ConfigError(
                f"adaptive div_value must be at least 1, not {div_value}", cure="use 4, as the paper does"
            )
        self.edges, self.div_value = edges, div_value
        self.first = Linear(width, edges[0] + len(cutoffs), init_std, bias=False)
        self.tails = nn.ModuleList(
            Tail(width, _inner(width, div_value, i), b - a, init_std) for i, (a, b) in enumerate(pairwise(edges), 1)
        )
        self.register_buffer("rank", ranks(counts, vocab_size))
        self.register_buffer("bounds", torch.tensor(edges), persistent=False)

    def settings(self) -> dict[str, Any]:
        """What a bundle says of it, from which it is built again."""
        return {"cutoffs": self.edges[:-1], "div_value": self.div_value}

    def forward(self, states: Tensor, embedding: Tensor | None = None) -> Tensor:
        """The logits of another next-token head; they are normalised already. The token table is not read."""
        return self.log_probs(states)

    def loss(self, states: Tensor, embedding: Tensor | None, targets: Tensor) -> Tensor:
        """Sum of -log p of targets (N,) given states (N, D) -> (), in nats, float32 at least. embedding: not read."""
        place = self.rank[targets]  # (N,)
        start = self.edges[0]
        cluster = torch.bucketize(place, self.bounds, right=True)  # (N,) 0: in the first softmax
        total = linear_cross_entropy(
            states, self.first.weight, None, torch.where(cluster > 0, start + cluster - 1, place)
        )
        for i, tail in enumerate(self.tails, 1):
            assert isinstance(tail, Tail)
            inside = (cluster == i).nonzero().flatten()
            total = total + tail.loss(states[inside], place[inside] - self.edges[i - 1])
        return total

    def log_probs(self, states: Tensor) -> Tensor:
        """log p of every token id, normalised: (..., D) -> (..., V), float32 at least."""
        first = _log_softmax(linear(states, self.first.weight, None))
        start = self.edges[0]
        parts = [first[..., :start]]
        for i, tail in enumerate(self.tails):
            assert isinstance(tail, Tail)
            parts.append(first[..., start + i, None] + tail.log_probs(states))
        return torch.cat(parts, dim=-1)[..., self.rank]


def ranks(counts: Tensor | None, vocab_size: int) -> Tensor:
    """(V,) place of each id by falling count; equal counts stay in the order of the ids."""
    if counts is None:
        return torch.arange(vocab_size)
    if tuple(counts.shape) != (vocab_size,):
        raise ConfigError(
            f"{tuple(counts.shape)} counts for a vocabulary of {vocab_size} tokens", cure="count every token id"
        )
    order = torch.argsort(counts.cpu(), descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(vocab_size)
    return rank


def choose_cutoffs(counts: Tensor, width: int, *, clusters: int = 2, div_value: float = 4.0) -> list[int]:
    """The cutoffs with the fewest multiplications a token, out of a geometric grid of 40 places (section 4.3).

    counts (V,) of each id. Multiplications stand for the paper's measured g(k, B), whose constant part depends on the
    machine. Raises ConfigError when the vocabulary is too small to cut.
    """
    V = len(counts)
    shares = counts.double().cpu().sort(descending=True).values
    if not 1 <= clusters <= V - 2 or not shares.sum() > 0:
        raise ConfigError(f"a vocabulary of {V} tokens cannot be cut into {clusters} clusters", cure="use a plain head")
    covered = torch.cat([shares.new_zeros(1), shares.cumsum(0) / shares.sum()]).tolist()  # of the k most frequent
    grid = sorted({round(V ** (k / 41)) for k in range(1, 41)} - {V} | set(range(1, clusters + 1)))

    def cost(*cutoffs: int) -> float:
        total = float(width * (cutoffs[0] + clusters))
        for i, (a, b) in enumerate(pairwise((*cutoffs, V)), 1):
            total += (covered[b] - covered[a]) * _inner(width, div_value, i) * (width + b - a)
        return total

    return list(min(combinations(grid, clusters), key=lambda cutoffs: cost(*cutoffs)))


def _inner(width: int, div_value: float, cluster: int) -> int:
    return max(1, int(width // div_value**cluster))


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits if logits.dtype is torch.float64 else logits.float(), dim=-1)
