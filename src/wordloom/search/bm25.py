"""BM25 in memory, exact: what a run's baseline and its hard negatives use.

Robertson & Zaragoza 2009, equation 3.15, with the idf of Lucene, which is never negative:

    score(q, d) = sum over words of q: idf * tf (k1 + 1) / (tf + k1 (1 - b + b |d| / average |d|))
    idf = ln(1 + (N - df + 0.5) / (df + 0.5))

A word that stands twice in the query counts twice. LanceDB's full-text index computes the same with k1 1.2 and b 0.75,
which it does not let one choose; the index on disk uses it, and a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import DataError
from wordloom.search.words import Words

K1, B = 1.2, 0.75


class BM25:
    """N documents as the columns of a (V, N) matrix of finished weights: a query adds a few of its rows."""

    def __init__(self, texts: Iterable[str], words: Words, *, k1: float = K1, b: float = B):
        self.words = words
        self.vocabulary: dict[str, int] = {}
        number = self.vocabulary.setdefault
        found, sizes = list[int](), list[int]()
        for text in texts:
            tokens = words(text)
            found += [number(token, len(self.vocabulary)) for token in tokens]
            sizes.append(len(tokens))
        if not found:
            raise DataError("no word in these documents", cure="give documents that hold text")
        lengths = np.array(sizes, np.int64)
        self.size = len(lengths)
        # one number per (word, document), sorted by word: equal ones are that word's count in that document
        keys = np.array(found, np.int64) * self.size + np.repeat(np.arange(self.size), lengths)
        pairs, tf = np.unique(keys, return_counts=True)
        rows, self._documents = np.divmod(pairs, self.size)
        df = np.bincount(rows, minlength=len(self.vocabulary))
        self._first = np.concatenate([[0], np.cumsum(df)])
        idf = np.log1p((self.size - df + 0.5) / (df + 0.5))
        norm = k1 * (1 - b + b * lengths / lengths.mean())
        self._weights = idf[rows] * tf * (k1 + 1) / (tf + norm[self._documents])

    def scores(self, query: str) -> NDArray[np.float32]:
        """(N,); 0: no word in common."""
        total = np.zeros(self.size)
        for word in self.words(query):
            row = self.vocabulary.get(word)
            if row is not None:
                part = slice(self._first[row], self._first[row + 1])
                total[self._documents[part]] += self._weights[part]
        return total.astype(np.float32)
