"""Labels of units, the sequences of them that are spans, and the best such sequence: constrained decoding.

Without a CRF a label sequence has the probability of its labels, each a softmax of its unit's logits; decoding takes
the most probable sequence among those the scheme allows (Viterbi with forbidden steps), so an answer is never an I
that nothing began. With one, its scores join in (`model.crf`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.data.tag_schemes import chunks_of, split_tag, tags_of
from wordloom.model.crf import NEVER, Chain, forward_backward, viterbi

LabelScheme = Literal["bio", "bioes", "each"]
_BUDGET = 1 << 21  # units x labels x labels of one batch of sequences


class Found(NamedTuple):
    """Units first..last - 1 are one span of a type; score: its probability."""

    first: int
    last: int
    type: str
    score: float


@dataclass(frozen=True)
class LabelSet:
    """C labels: O and B-, I- (E-, S-) of every type, or the types themselves ("each")."""

    scheme: LabelScheme
    types: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        if self.scheme == "each":
            return self.types
        letters = "BI" if self.scheme == "bio" else "BIES"
        return ("O", *(f"{letter}-{kind}" for kind in self.types for letter in letters))

    def numbers(self, units: int, chunks: Sequence[tuple[int, int, str]]) -> NDArray[np.int64]:
        """(units,) labels of a text's spans; a type that is not among ``types`` is O (the first type in "each")."""
        known = {name: i for i, name in enumerate(self.names)}
        kept = [c for c in chunks if c[2] in self.types]
        return np.array([known.get(tag, 0) for tag in tags_of(units, kept, self.scheme)], np.int64)

    def rules(self) -> Chain:
        """0 where a label may begin, follow (row to column) and end a sequence, `NEVER` where not."""
        parts = [("B", name) if self.scheme == "each" else split_tag(name) for name in self.names]
        C = len(parts)
        start, step, end = torch.zeros(C), torch.zeros(C, C), torch.zeros(C)
        closes = self.scheme == "bioes"  # a span that was begun must be ended
        for j, (letter, kind) in enumerate(parts):
            inside = letter in "IE"
            start[j] = NEVER if inside else 0
            end[j] = NEVER if closes and letter in "BI" else 0
            for i, (before, other) in enumerate(parts):
                goes_on = before in "BI" and inside and kind == other
                if (inside or (closes and before in "BI")) and not goes_on:
                    step[i, j] = NEVER
        return Chain(start, step, end)

    def goes_on(self) -> NDArray[np.bool_]:
        """(C, C): whether column continues the span that row is in."""
        parts = [split_tag(name) for name in self.names]
        return np.array([[self.scheme != "each" and a in "BI" and b in "IE" and s == t for b, t in parts]
                         for a, s in parts])  # fmt: skip


def best_labels(emissions: Sequence[Tensor], rules: Chain, crf: Chain | None = None) -> list[NDArray[np.int64]]:
    """The best allowed sequence of each text: emissions (U, C) each -> (U,) each.

    rules: of the labels. crf: its scores with the rules in them; None: each label scores for itself, and where the
    best of each unit are allowed together they are the best sequence.
    """
    found = [e.argmax(1) for e in emissions]
    doubtful = [i for i, path in enumerate(found) if len(path) and (crf is not None or not _allowed(path, rules))]
    for some, padded, lengths in _padded(emissions, doubtful):
        for i, path, length in zip(some, viterbi(padded, lengths, crf or rules), lengths.tolist(), strict=True):
            found[i] = path[:length]
    return [path.numpy() for path in found]


def _allowed(path: Tensor, rules: Chain) -> bool:
    broken = rules.start[path[0]] + rules.end[path[-1]] + rules.transition[path[:-1], path[1:]].sum()
    return bool(broken == 0)


def _padded(emissions: Sequence[Tensor], chosen: Sequence[int]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """(numbers, emissions (B, T, C), lengths (B,)) of sequences of similar length."""
    order = sorted(chosen, key=lambda i: -len(emissions[i]))
    while order:
        longest, C = emissions[order[0]].shape
        size = max(1, _BUDGET // (longest * C * C))
        some, order = order[:size], order[size:]
        yield (
            some,
            torch.nn.utils.rnn.pad_sequence([emissions[i] for i in some], True),
            torch.tensor([len(emissions[i]) for i in some]),
        )


def with_scores(
    emissions: Sequence[Tensor], paths: Sequence[NDArray[np.int64]], labels: LabelSet, crf: Chain | None = None
) -> list[list[Found]]:
    """The spans of each label sequence, with the probability that each is exactly this span.

    crf: under whose distribution it is; None: labels are independent, and it is the product of the probabilities of
    the span's labels and of its not going on.
    """
    names, goes_on = labels.names, labels.goes_on()
    scheme: LabelScheme = "each" if labels.scheme == "each" else "bio"
    chunks = [chunks_of([names[i] for i in path], scheme) for path in paths]
    busy = [i for i, found in enumerate(chunks) if found]
    out: list[list[Found]] = [[] for _ in paths]

    def add(i: int, chances: Callable[[int, int, NDArray[np.int64]], float]) -> None:
        for c in chunks[i]:
            log_p = chances(c.first, c.last, paths[i][c.first : c.last])
            out[i].append(Found(c.first, c.last, c.type, float(np.exp(min(log_p, 0.0)))))

    if crf is None:
        for i in busy:
            add(i, partial(_alone, torch.log_softmax(emissions[i].double(), dim=1).numpy(), goes_on))
        return out
    step = crf.transition.double().numpy()
    for some, padded, lengths in _padded(emissions, busy):
        alpha, beta, total = (t.numpy() for t in forward_backward(padded.double(), lengths, crf))
        for row, i in enumerate(some):
            length = len(emissions[i])
            inside = alpha[row, :length], beta[row, :length], padded[row, :length].double().numpy()
            add(i, partial(_in_chain, *inside, step, total[row], goes_on))
    return out


def _alone(
    log_p: NDArray[np.float64], goes_on: NDArray[np.bool_], first: int, last: int, path: NDArray[np.int64]
) -> float:
    """log p of units first..last - 1 having the labels ``path`` and of the next one not going on; log_p (U, C)."""
    total = float(log_p[np.arange(first, last), path].sum())
    if last == len(log_p):
        return total
    return total + float(np.log1p(-min(np.exp(log_p[last, goes_on[path[-1]]]).sum(), 1 - 1e-12)))


def _in_chain(
    alpha: NDArray[np.float64], beta: NDArray[np.float64], emissions: NDArray[np.float64], step: NDArray[np.float64],
    total: float, goes_on: NDArray[np.bool_], first: int, last: int, path: NDArray[np.int64],
) -> float:  # fmt: skip
    """The same under a CRF: all that may precede (alpha), the span's own path, all that may follow but its going on."""
    own = emissions[np.arange(first + 1, last), path[1:]].sum() + step[path[:-1], path[1:]].sum()
    if last == len(alpha):
        after = beta[last - 1, path[-1]]
    else:
        after = np.logaddexp.reduce((step[path[-1]] + emissions[last] + beta[last])[~goes_on[path[-1]]])
    return float(alpha[first, path[0]] + own + after - total)
