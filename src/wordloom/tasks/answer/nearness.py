"""How much of its question stands near each token of a text: what a reader that has read little cannot find by itself.

The overlaps of Rajpurkar et al. 2016 (section 5.2, table 4: matching words and bigrams of the span's sentence, left and
right of the span) and the exact match of Chen et al. 2017 (section 3.2), of single tokens instead of whole spans, so
that start and end are scored apart as everywhere here. A token weighs log(1 + 1 / its count in the text), as in
Richardson et al. 2013; sums are shares of what the whole question weighs, so that they mean the same in long and short
questions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AROUND = (5, 10, 20, 40)  # tokens to either side
BESIDE = (-3, -2, -1, 1, 2, 3)  # neighbours that are told one by one
WIDTH = 3 + len(BESIDE) + 2 * (len(AROUND) + 2)  # features of a token

Floats = NDArray[np.float32]


def nearness(ids: NDArray[np.int32], sentences: NDArray[np.int32], question: NDArray[np.int32]) -> Floats:
    """(n, WIDTH) features of the tokens ids (n,) of a text whose sentences (n,) are numbered in order.

    In order: whether the token is in the question; its own weight; whether it and the one after or before it stand so
    in the question; the weights of matching neighbours; then, of tokens and of pairs of neighbours: the share of the
    question around it at every distance, the share in its sentence, and whether no sentence has more.
    """
    found = np.zeros((len(ids), WIDTH), np.float32)
    if not len(ids):
        return found
    words = _weights(ids, question)
    pairs = _weights(_pairs(ids), _pairs(question))  # (n - 1,) of a token and the next
    pairs = _Weights(np.append(pairs.matching, np.float32(0)), np.append(pairs.numbers, -1), pairs.own, pairs.whole)
    found[:, 0] = words.matching > 0
    found[:, 1] = words.own[words.numbers]
    found[:, 2] = (pairs.matching > 0) | (np.append(np.float32(0), pairs.matching[:-1]) > 0)
    padded = np.pad(words.matching, -BESIDE[0])
    for column, offset in enumerate(BESIDE, start=3):
        found[:, column] = padded[offset - BESIDE[0] :][: len(ids)]
    column = 3 + len(BESIDE)
    for some in (words, pairs):
        found[:, column : column + len(AROUND) + 2] = _shares(some, sentences)
        column += len(AROUND) + 2
    return found


class _Weights:
    """Of n units. matching: (n,) the weight of each that is in the question, else 0; numbers: (n,) which of the text's
    distinct units it is, -1 for none; own: their weights; whole: what the question's distinct units weigh."""

    def __init__(self, matching: Floats, numbers: NDArray[np.int64], own: Floats, whole: float):
        self.matching, self.numbers, self.own, self.whole = matching, numbers, own, whole


def _weights(units: NDArray[np.int64] | NDArray[np.int32], question: NDArray[np.int64] | NDArray[np.int32]) -> _Weights:
    distinct, numbers, counts = np.unique(units, return_inverse=True, return_counts=True)
    own = np.log1p(1 / counts).astype(np.float32)
    asked = np.unique(question)
    whole = own[np.isin(distinct, asked)].sum() + np.log(2) * (~np.isin(asked, distinct)).sum()
    return _Weights(own[numbers] * np.isin(distinct, asked)[numbers], numbers, own, float(whole) or 1.0)


def _pairs(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    return ids[:-1].astype(np.int64) << 32 | ids[1:].astype(np.int64)


def _shares(some: _Weights, sentences: NDArray[np.int32]) -> Floats:
    """(n, distances + 2): around each token, in its sentence (a unit counts once), and whether that is the most."""
    n = len(sentences)
    sums = np.concatenate([[0.0], np.cumsum(some.matching, dtype=np.float64)])
    place = np.arange(n)
    around = [sums[np.minimum(place + size + 1, n)] - sums[np.maximum(place - size, 0)] for size in AROUND]
    hits = np.flatnonzero(some.matching)
    once = np.unique(np.stack([sentences[hits], some.numbers[hits]]), axis=1)
    of_sentence = np.bincount(once[0], some.own[once[1]], minlength=int(sentences[-1]) + 1)
    best = (of_sentence >= of_sentence.max()) & (of_sentence > 0)
    return np.stack([*(a / some.whole for a in around), of_sentence[sentences] / some.whole, best[sentences]], axis=1)
