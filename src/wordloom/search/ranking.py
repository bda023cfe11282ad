"""Rankings: documents with scores, best first, in trec_eval's order; and several made into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ranking = list[tuple[str, float]]  # (document id, score)
RRF_K = 60


def ordered(pairs: Sequence[tuple[str, float]], k: int | None = None) -> Ranking:
    """By falling score, as float32; equal scores by falling id, as trec_eval breaks them: the same every time."""
    return sorted(((d, float(np.float32(s))) for d, s in pairs), key=lambda pair: (pair[1], pair[0]), reverse=True)[:k]


def top(scores: NDArray[np.float32], ids: Sequence[str], k: int, *, positive: bool = False) -> Ranking:
    """The k best of scores (N,) of the documents ``ids``. positive: only those above 0."""
    size = len(scores)
    if size > k:
        least = np.partition(scores, size - k)[size - k]
        chosen = np.flatnonzero(scores >= least)  # all that tie with the k-th, so that the order is that of ids
    else:
        chosen = np.arange(size)
    return ordered([(ids[i], float(scores[i])) for i in map(int, chosen) if not positive or scores[i] > 0], k)


def fuse(rankings: Sequence[Ranking], k: int = RRF_K) -> Ranking:
    """Reciprocal rank fusion (Cormack, Clarke & Büttcher 2009): score(d) = sum over rankings of 1 / (k + rank of d).

    It needs no scores on one scale, and k = 60 is theirs.
    """
    total: defaultdict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, (document, _) in enumerate(ranking, start=1):
            total[document] += 1 / (k + rank)
    return ordered(list(total.items()))
