"""From logits of starts and ends to spans of the text: exact over all windows of a context.

A span's score is the logit of its start plus that of its end (Devlin et al. 2019, section 4.2). Training shares one
softmax among all windows of a context (Clark & Gardner 2018, section 3.3, "shared-normalization"), so scores of
different windows are comparable; a span that several windows hold has the sum of its probabilities. Saying nothing
scores what the window that is least for it says: the minimum over windows of the null token's logits, as in the code
of Devlin et al. 2019 (section 4.3 has one window).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PER_WINDOW = 20  # spans of a window that are looked at, as many as BERT's n_best_size


class Candidate(NamedTuple):
    """A span of the context: first character, last + 1, and its score in logits, summed over windows as log sum exp."""

    start: int
    end: int
    score: float


class Reading(NamedTuple):
    """What a model says to a question and a context.

    spans: best first. total: log of the sum of exp(score) of *all* spans; null: the score of saying nothing, -inf for a
    model that always answers.
    """

    spans: tuple[Candidate, ...]
    total: float
    null: float

    @property
    def margin(self) -> float:
        """How much better saying nothing is than the best span."""
        return self.null - (self.spans[0].score if self.spans else -math.inf)

    def probability(self, score: float) -> float:
        """Of a score among all spans and saying nothing."""
        whole = float(np.logaddexp(self.total, self.null))
        return math.exp(score - whole) if score > -math.inf else 0.0


class Piece(NamedTuple):
    """A window's part of the context: number of its first token, logits (n,) of starts and of ends, -inf where a token
    cannot be one."""

    begin: int
    starts: Floats
    ends: Floats


def read_spans(pieces: Sequence[Piece], characters: NDArray[np.int32], null: float, longest: int) -> Reading:
    """The best spans of at most ``longest`` tokens inside one window; characters (n, 2) of the context's tokens."""
    found: set[tuple[int, int]] = set()
    totals = []
    for piece in pieces:
        best, total = _best_of(piece, longest)
        found |= best
        totals.append(total)
    total = float(np.logaddexp.reduce(totals)) if totals else -math.inf
    merged: dict[tuple[int, int], float] = {}
    for i, j in sorted(found):
        scores = [float(p.starts[i - p.begin] + p.ends[j - p.begin]) for p in pieces
                  if p.begin <= i and j < p.begin + len(p.starts)]  # fmt: skip
        place = int(characters[i, 0]), int(characters[j, 1])
        # two byte-level tokens may share a character: then two pairs of tokens are the same span of text
        merged[place] = float(np.logaddexp.reduce([merged.get(place, -math.inf), *scores]))
    spans = sorted((Candidate(*place, score) for place, score in merged.items()), key=lambda c: (-c.score, c[:2]))
    return Reading(tuple(spans), total, null)


def _best_of(piece: Piece, longest: int) -> tuple[set[tuple[int, int]], float]:
    """({(first, last token) of the best spans}, log of the sum of exp of all spans' scores)."""
    n = len(piece.starts)
    width = min(longest, n)
    if not n:
        return set(), -math.inf
    padded = np.concatenate([piece.ends, np.full(width - 1, -np.inf)])
    table = piece.starts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, width)  # (n, width): start, length
    flat = table.ravel()
    top = flat.max()
    if top == -np.inf:
        return set(), -math.inf
    k = min(PER_WINDOW, len(flat))
    chosen = np.argpartition(-flat, k - 1)[:k]
    chosen = chosen[flat[chosen] > -np.inf]
    pairs = {(piece.begin + int(c // width), piece.begin + int(c // width + c % width)) for c in chosen}
    return pairs, float(top + np.log(np.exp(flat - top).sum()))


def best_threshold(margins: Floats, answered: Floats, silent: Floats) -> float:
    """The threshold t that gives the best sum of scores when a question with margin > t is not answered.

    answered, silent: (n,) the score of each question when its best span is given, and when nothing is said. Tried are 0
    and the middles between neighbouring margins; of equal sums the t nearest to 0.
    """
    order = np.argsort(margins, kind="stable")
    ordered = margins[order]
    sums = silent.sum() + np.concatenate([[0.0], np.cumsum((answered - silent)[order])])  # the k least margins answer
    tried = np.concatenate([[0.0], ordered[:1] - 1, (ordered[1:] + ordered[:-1]) / 2, ordered[-1:] + 1])
    values = sums[np.searchsorted(ordered, tried, side="right")]
    best = tried[values >= values.max() - 1e-9]
    return float(best[np.argmin(np.abs(best))])
