"""How much of its question stands near each token of a text: what a reader that has read little cannot find by itself.

The exact match of Chen et al. 2017 (section 3.2), and overlaps like those of Rajpurkar et al. 2016 (section 5.2, table
4: matching words and bigrams in the span's sentence and beside it), of single tokens instead of whole spans, so that
start and end are scored apart as everywhere here. Tokens are compared by their lower-cased text: a vocabulary may have
several for one word ("How", " how"), and one for many ([UNK]). One weighs log(1 + 1 / its count in the text), as in
Richardson et al. 2013, and as if it stood there once where it does not; all sums are divided by what the question's
distinct tokens weigh together, so that they mean the same in long and short questions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

AROUND = (5, 10, 20, 40)  # tokens to either side
BESIDE = (-3, -2, -1, 1, 2, 3)  # neighbours that are told one by one
WIDTH = 3 + len(BESIDE) + 2 * (len(AROUND) + 2)  # features of a token

Floats = NDArray[np.float32]


class Units(NamedTuple):
    """words: (n,) numbers of the tokens' texts, -1 for marks and blanks; sentences: (n,) numbers in order; question:
    (q,) as words."""

    words: NDArray[np.int32]
    sentences: NDArray[np.int32]
    question: NDArray[np.int32]


def numbered(text: str, characters: NDArray[np.int32], numbers: dict[str, int]) -> NDArray[np.int32]:
    """(n,) number of each token's lower-cased characters [first, last + 1), -1 where none is a letter or digit; new
    ones are added to ``numbers``."""
    found = np.full(len(characters), -1, np.int32)
    for i, (a, b) in enumerate(characters.tolist()):
        word = text[a:b].lower()
        if any(map(str.isalnum, word)):
            found[i] = numbers.setdefault(word, len(numbers))
    return found


def nearness(units: Units) -> Floats:
    """(n, WIDTH) features of the tokens of a text.

    In order: whether the token is in the question; its own weight; whether it and the one after or before it stand so
    in the question; the weights of matching neighbours; then, of tokens and of pairs of neighbours: the weights of all
    that match around it, at every distance, what its sentence has of the question (each unit once), and whether no
    sentence has more.
    """
    n, sentences = len(units.words), units.sentences
    found = np.zeros((n, WIDTH), np.float32)
    if not n:
        return found
    words = _weights(units.words, units.question)
    pairs = _weights(_pairs(units.words), _pairs(units.question))  # of each token and the next
    found[:, 0] = words.matching > 0
    found[:, 1] = words.own[words.numbers]
    found[:, 2] = (pairs.matching > 0) | (np.append(np.float32(0), pairs.matching[:-1]) > 0)
    padded = np.pad(words.matching, -BESIDE[0])
    for column, offset in enumerate(BESIDE, start=3):
        found[:, column] = padded[offset - BESIDE[0] :][:n]
    column = 3 + len(BESIDE)
    for some in (words, pairs):
        found[:, column : column + len(AROUND) + 2] = _shares(some, sentences)
        column += len(AROUND) + 2
    return found


class _Weights(NamedTuple):
    """Of n units. matching: (n,) the weight of each that is in the question, else 0; numbers: (n,) which of the text's
    distinct units it is, -1 for none; own: their weights; whole: what the question's distinct units weigh."""

    matching: Floats
    numbers: NDArray[np.int64]
    own: Floats
    whole: float


def _weights(units: NDArray[np.int64] | NDArray[np.int32], question: NDArray[np.int64] | NDArray[np.int32]) -> _Weights:
    distinct: NDArray[np.int64]
    distinct, numbers, counts = np.unique(units.astype(np.int64), return_inverse=True, return_counts=True)
    own = np.where(distinct < 0, 0, np.log1p(1 / counts)).astype(np.float32)
    asked = np.unique(question[question >= 0])
    whole = own[np.isin(distinct, asked)].sum() + np.log(2) * (~np.isin(asked, distinct)).sum()
    return _Weights(own[numbers] * np.isin(distinct, asked)[numbers], numbers, own, float(whole) or 1.0)


def _pairs(words: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) a token and the next as one number, -1 where one of them is a mark or there is no next."""
    first, second = words.astype(np.int64), np.append(words, -1)[1:].astype(np.int64)
    return np.where((first < 0) | (second < 0), -1, first << 32 | second)


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
