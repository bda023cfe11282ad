"""Word-by-word translation: IBM Model 1 (Brown et al. 1993, section 4.1), trained on the pairs themselves.

Every source word is replaced by the likeliest target word for it, in the order of the source; a word never seen stays
as it is. What a model must beat, and what it owes to order and context.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wordloom.data.parallel import Parallel

PAIRS = 50_000  # pairs that are learned from, an even choice of more
ROUNDS = 5  # of expectation-maximisation; the likelihood has one maximum, which more would near
_WORD = re.compile("[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff]|[^\\W_]+(?:['’-][^\\W_]+)*|[^\\s]")
_MARK = re.compile(r" (?=[.,;:!?%)\]}»”。，！？、；：])|(?<=[(\[{«“]) ")
_CHINESE = re.compile("(?<=[\u3000-\u9fff\uff00-\uffef]) (?=[\u3000-\u9fff\uff00-\uffef])")


def tokens_of(text: str) -> list[str]:
    """Words, marks, and each Chinese or Japanese character."""
    return _WORD.findall(text)


def is_mark(token: str) -> bool:
    return len(token) == 1 and not token.isalnum()


class WordByWord:
    """``translate(text)``. table: source word (lower-cased) -> target word."""

    name = "word by word (IBM Model 1)"

    def __init__(self, table: dict[str, str]):
        self.table = table

    @classmethod
    def fit(cls, train: Parallel) -> WordByWord:
        step = max(1, -(-len(train) // PAIRS))
        chosen = range(0, len(train), step)
        sources = [[w.lower() for w in tokens_of(train.sources[i])] for i in chosen]
        targets = [tokens_of(train.references[i][0]) for i in chosen]
        table: dict[str, str] = {}
        for marks in (False, True):  # apart: a full stop stands beside every article, and would be its translation
            one, other = ([[w for w in text if is_mark(w) == marks] for text in side] for side in (sources, targets))
            table |= _likeliest(one, other)
        return cls(table)

    def translate(self, text: str) -> str:
        found = [self.table.get(w.lower(), w) for w in tokens_of(text)]
        joined = _CHINESE.sub("", _MARK.sub("", " ".join(found)))
        return joined[:1].upper() + joined[1:]

    def predict(self, records: Parallel) -> list[str]:
        return [self.translate(text) for text in records.sources]


def _likeliest(sources: list[list[str]], targets: list[list[str]]) -> dict[str, str]:
    """The target word of highest t(f | e) for every source word e."""
    both = [(a, b) for a, b in zip(sources, targets, strict=True) if a and b]
    if not both:
        return {}
    names, from_ids = _number([a for a, _ in both])
    words, to_ids = _number([b for _, b in both])
    e, f, probabilities = model_1(from_ids, to_ids)
    order = np.lexsort((probabilities, e))  # the last of each source word is its likeliest
    best = order[np.append(np.flatnonzero(np.diff(e[order])), len(order) - 1)]
    # number 0 is the empty word that a target word may come from (their e_0)
    return {names[i - 1]: words[j] for i, j in zip(e[best], f[best], strict=True) if i > 0}


def _number(texts: Sequence[Sequence[str]]) -> tuple[list[str], list[NDArray[np.int64]]]:
    """The distinct words, and every text as their numbers."""
    ids: dict[str, int] = {}
    numbered = [np.array([ids.setdefault(w, len(ids)) for w in text], np.int64) for text in texts]
    return [*ids], numbered


def model_1(
    sources: Sequence[NDArray[np.int64]], targets: Sequence[NDArray[np.int64]], rounds: int = ROUNDS
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(e, f, t(f | e)) of every pair of words that stood in a pair of sentences; e 0 is the empty word, e + 1 word e.

    t(f | e) begins uniform; each round counts c(f | e) = sum over pairs and places of t(f | e) / sum_e' t(f | e') and
    normalises it over f (Brown et al. 1993, equations 17 and 18).
    """
    e_parts, f_parts, place_parts, at = [], [], [], 0
    for source, target in zip(sources, targets, strict=True):
        e = np.concatenate([[0], source + 1])
        e_parts.append(np.tile(e, len(target)))
        f_parts.append(np.repeat(target, len(e)))
        place_parts.append(np.repeat(np.arange(at, at + len(target)), len(e)))
        at += len(target)
    e, f, place = (np.concatenate(p) for p in (e_parts, f_parts, place_parts))
    width = int(f.max()) + 1
    names, pair = np.unique(e * width + f, return_inverse=True)
    e_of, f_of = names // width, names % width
    t = np.ones(len(names))
    for _ in range(rounds):
        weights = t[pair]
        weights /= np.bincount(place, weights, minlength=at)[place]
        counts = np.bincount(pair, weights, minlength=len(names))
        t = counts / np.bincount(e_of, counts)[e_of]
    return e_of, f_of, t
