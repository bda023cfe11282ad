"""Linear-chain conditional random field: a score of whole label sequences (Lafferty et al. 2001, section 3).

score(y) = start[y_1] + sum_t emission[t, y_t] + sum_t transition[y_(t-1), y_t] + end[y_n]

p(y) = exp(score(y)) / Z; the sums over all sequences are the forward and backward recursions (Rabiner 1989, equations
19-25, in logarithms), the best one is Viterbi's. Emissions are a network's logits (Lample et al. 2016, section 2.2).
What a labelling scheme forbids is a very low score in the same places (`NEVER`), in training as in decoding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

NEVER = -1e4  # exp of it is 0 in float32, and sums of a few of them stay finite


class Chain(NamedTuple):
    """Scores beside the emissions: start (C,), transition (C, C) from row to column, end (C,)."""

    start: Tensor
    transition: Tensor
    end: Tensor


class CRF(nn.Module):
    """Learned start, transition and end scores; all 0 at first, which is a softmax at each place."""

    def __init__(self, arch: Any, classes: int):
        super().__init__()
        self.classes = classes
        self.start = nn.Parameter(torch.zeros(classes))
        self.transition = nn.Parameter(torch.zeros(classes, classes))
        self.end = nn.Parameter(torch.zeros(classes))

    def settings(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def chain(self, rules: Chain) -> Chain:
        """The learned scores, where ``rules`` (0 or `NEVER`) allow them."""
        start, transition, end = (rule.to(own) for rule, own in zip(rules, self.parameters(), strict=True))
        return Chain(self.start + start, self.transition + transition, self.end + end)

    def loss(
        self, emissions: Tensor, labels: Tensor, lengths: Tensor, rules: Chain, begins: Tensor, ends: Tensor
    ) -> Tensor:
        """Sum of -log p of the label sequences -> (), float32 at least.

        emissions (B, T, C), labels (B, T) with anything below C in the padding, lengths (B,) of at least 1. begins,
        ends (B,) bool: whether a text begins or ends there. A window that begins in a text may begin in a span.
        """
        emissions = emissions if emissions.dtype is torch.float64 else emissions.float()
        chain = self.chain(rules)
        start = torch.where(begins[:, None], chain.start, 0.0)  # (B, C)
        end = torch.where(ends[:, None], chain.end, 0.0)
        chain = Chain(start, chain.transition, end)
        return (log_partition(emissions, lengths, chain) - path_score(emissions, labels, lengths, chain)).sum()


def path_score(emissions: Tensor, labels: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The score of each sequence of labels (B, T) -> (B,). Start and end scores may be of each sequence (B, C)."""
    B, T, C = emissions.shape
    inside = torch.arange(T, device=emissions.device) < lengths[:, None]  # (B, T)
    own = emissions.gather(2, labels[..., None]).squeeze(2)
    steps = chain.transition[labels[:, :-1], labels[:, 1:]] * inside[:, 1:]  # (B, T - 1)
    rows = torch.arange(B, device=labels.device)
    first, last = labels[:, 0], labels[rows, lengths - 1]
    edges = chain.start.expand(B, C)[rows, first] + chain.end.expand(B, C)[rows, last]
    return (own * inside).sum(1) + steps.sum(1) + edges


def log_partition(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """log Z, the logarithm of the sum over all label sequences of exp(score) -> (B,). Start and end as `path_score`."""
    alpha = emissions[:, 0] + chain.start  # (B, C)
    for t in range(1, emissions.shape[1]):
        further = torch.logsumexp(alpha[:, :, None] + chain.transition, dim=1) + emissions[:, t]
        alpha = torch.where((t < lengths)[:, None], further, alpha)
    return torch.logsumexp(alpha + chain.end, dim=1)


def forward_backward(emissions: Tensor, lengths: Tensor, chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """(alpha (B, T, C), beta (B, T, C), log Z (B,)), the emission at t being in alpha[t] alone.

    exp(alpha[t, c] + beta[t, c] - log Z) is the probability of label c at t. What lies beyond a length is undefined.
    """
    B, T, C = emissions.shape
    alpha, beta = emissions.new_empty(B, T, C), emissions.new_empty(B, T, C)
    alpha[:, 0] = emissions[:, 0] + chain.start
    for t in range(1, T):
        alpha[:, t] = torch.logsumexp(alpha[:, t - 1, :, None] + chain.transition, dim=1) + emissions[:, t]
    beta[:, T - 1] = chain.end
    for t in range(T - 2, -1, -1):
        further = torch.logsumexp(chain.transition + (emissions[:, t + 1] + beta[:, t + 1])[:, None, :], dim=2)
        beta[:, t] = torch.where((t + 1 < lengths)[:, None], further, chain.end)
    ends = alpha[torch.arange(B, device=alpha.device), lengths - 1]
    return alpha, beta, torch.logsumexp(ends + chain.end, dim=1)


def viterbi(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The label sequence of the highest score (B, T) int64, 0 in the padding."""
    B, T, C = emissions.shape
    best = emissions[:, 0] + chain.start  # (B, C)
    came = emissions.new_zeros((B, T, C), dtype=torch.int64)  # the label before, of the best path to each label
    for t in range(1, T):
        score, came[:, t] = (best[:, :, None] + chain.transition).max(dim=1)
        best = torch.where((t < lengths)[:, None], score + emissions[:, t], best)
    path = emissions.new_zeros((B, T), dtype=torch.int64)
    label = (best + chain.end).argmax(1)  # at the last place of each sequence
    for t in range(T - 1, -1, -1):
        inside = t < lengths
        path[:, t] = torch.where(inside, label, 0)
        before = came[:, t].gather(1, label[:, None]).squeeze(1)
        label = torch.where(inside, before, label)
    return path
