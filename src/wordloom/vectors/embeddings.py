"""Words with vectors: look-up, neighbours, analogies, sentence vectors. Read-only; every answer is exact (no index)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from wordloom.errors import ConfigError, DataError
from wordloom.vectors.ngrams import ngram_ids, ngram_table

EPSILON = 1e-6  # of 3CosMul; the paper takes 0.001, gensim 0.000001: the answers here are to equal gensim's
_NEAR = 50_000  # words among which a near miss is looked for: difflib takes about 10 us a word
_BLOCK = 1 << 18  # numbers of one product with a part of the matrix
_NGRAMMED = 4096  # words whose n-grams are gathered at a time: some 100,000 rows
_ROWS = 65_536  # rows of one pass over the matrix: bounds the memory of temporaries


@dataclass(frozen=True)
class Subwords:
    """fastText's n-grams of "<word>", hashed to ``rows``.

    rows: (buckets, D) float32; own: (N, D) float32, the row of each word itself. ``own`` may be absent: queries do not
    need it; a ``.bin`` written without it solves for it, so its vectors are equal but for float32 rounding.
    """

    rows: NDArray[np.float32]
    min_n: int
    max_n: int
    own: NDArray[np.float32] | None = None

    def ids(self, word: str) -> list[int]:
        """Rows of the n-grams of a word."""
        return ngram_ids(word, self.min_n, self.max_n, len(self.rows))


class Vectors:
    """Words with vectors.

    words: N distinct strings, most frequent first where the source says so. matrix: (N, D) float32; of a sub-word model
    already the mean of a word's own row and its n-gram rows. counts: (N,) int64 or None. notes: what was odd about the
    file they come from, one sentence each. Raises DataError where these do not fit each other.
    """

    def __init__(
        self,
        words: Sequence[str],
        matrix: NDArray[np.float32],
        counts: NDArray[np.int64] | None = None,
        subwords: Subwords | None = None,
        notes: Sequence[str] = (),
    ):
        self.words = words if isinstance(words, list) else list(words)
        self.matrix = _read_only(matrix)
        self.counts = None if counts is None else np.asarray(counts, np.int64)
        self.subwords, self.notes = subwords, tuple(notes)
        self._rows = dict(zip(self.words, range(len(self.words)), strict=True))
        if self.matrix.ndim != 2 or len(self.matrix) != len(self.words) or not self.matrix.shape[1]:
            raise DataError(f"{len(self.words)} words do not fit a matrix of shape {self.matrix.shape}")
        if len(self._rows) != len(self.words):
            raise DataError(f"{len(self.words) - len(self._rows)} words stand twice", cure="keep one row of each word")
        if self.counts is not None and self.counts.shape != (len(self.words),):
            raise DataError(f"{len(self.words)} words do not fit {self.counts.size} counts")
        if subwords is not None and subwords.rows.shape[1:] != (self.dimension,):
            raise DataError(f"n-gram rows {subwords.rows.shape} do not fit vectors of {self.dimension} numbers")

    # --- look-up -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Is it a word of the vocabulary? (A sub-word model has a ``vector`` for others, too.)"""
        return word in self._rows

    def __repr__(self) -> str:
        return f"Vectors({len(self):,} words, {self.dimension} dimensions{', sub-words' * (self.subwords is not None)})"

    @property
    def dimension(self) -> int:
        return int(self.matrix.shape[1])

    def index(self, word: str) -> int:
        """Row of a word. Raises DataError that names near misses."""
        row = self._rows.get(word)
        if row is None:
            near = self._near(word)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            cure = None if near else "ask for a word the vectors were trained on"
            raise DataError(f"{word!r} is not among the {len(self):,} words{hint}", cure=cure)
        return row

    def vector(self, word: str) -> NDArray[np.float32]:
        """(D,). A word outside the vocabulary has the mean of its n-gram rows, where the model has n-grams
        (Bojanowski et al. 2017, section 3.2). Raises DataError where there is no vector."""
        row = self._rows.get(word)
        if row is not None:
            return self.matrix[row]
        ids = self.subwords.ids(word) if self.subwords is not None else []
        if self.subwords is None or not ids:
            return self.matrix[self.index(word)]  # raises
        total = np.zeros(self.dimension, np.float32)
        for i in ids:  # fastText's order of additions: the same bits
            total += self.subwords.rows[i]
        return total * np.float32(1.0 / len(ids))

    # --- queries -----------------------------------------------------------------------------------------------------

    def neighbors(self, word_or_vector: str | ArrayLike, k: int = 10) -> list[tuple[str, float]]:
        """The k words of highest cosine with a word (itself left out) or with a vector (D,), best first.

        One pass over the matrix: a million words of 100 (300) dimensions take 18 (56) ms of one core. Rows of zeros
        have cosine 0. Raises DataError for an unknown word or a vector without a direction.
        """
        query = self._query(word_or_vector)
        barred = [self._rows[word_or_vector]] if isinstance(word_or_vector, str) and word_or_vector in self else []
        return self._best(self._cosines(query), k, barred)

    def similarity(self, a: str, b: str) -> float:
        """Cosine of two words."""
        return float(self._query(a) @ self._query(b))

    def analogy(
        self, a: str, b: str, c: str, k: int = 1, method: Literal["add", "mul"] = "add"
    ) -> list[tuple[str, float]]:
        """a is to b as c is to ...: the k best words, the three given ones left out (Levy & Goldberg 2014).

        add: 3CosAdd, equation 3; the score is the cosine with the direction of b - a + c (unit vectors).
        mul: 3CosMul, equation 4, cosines moved to [0, 1] (footnote 7).
        """
        queries = np.stack([self._query(word) for word in (b, c, a)])  # (3, D)
        scores: NDArray[np.float32]
        if method == "add":
            scores = self._cosines(_unit(queries[0] + queries[1] - queries[2], f"{b} - {a} + {c}"))
        elif method == "mul":
            first, second, third = (1 + self._cosines(queries)) / 2  # (N,) each
            scores = (first * second / (third + EPSILON)).astype(np.float32)
        else:
            raise ConfigError(f"analogy method {method!r} is unknown", cure="write add or mul")
        return self._best(scores, k, [self._rows[word] for word in {a, b, c} if word in self])

    def odd_one_out(self, words: Sequence[str]) -> str:
        """The word of lowest cosine with the mean of all (unit vectors)."""
        if isinstance(words, str) or len(set(words)) < 3:
            raise DataError("the odd one out is asked of fewer than three words", cure="give a list of three or more")
        units = np.stack([self._query(word) for word in words])  # (n, D)
        return words[int(np.argmin(units @ units.mean(axis=0)))]

    # --- sentences ---------------------------------------------------------------------------------------------------

    def sentence(
        self,
        words: Sequence[str],
        method: Literal["mean", "sif"] = "mean",
        a: float = 1e-3,
        component: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """(D,): ``sentences`` of one; for "sif" without ``component`` only the weights apply."""
        weighted = self._weighted([words], method, a)
        return _without(weighted, component)[0].astype(np.float32)

    def sentences(
        self,
        texts: Sequence[Sequence[str]],
        method: Literal["mean", "sif"] = "mean",
        a: float = 1e-3,
        component: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """(S, D): one vector a text, the mean of its words' vectors; words without a vector do not count, and a text
        without any has zeros.

        sif (Arora, Liang & Ma 2017, algorithm 1): word w weighs a / (a + p(w)), p from ``counts``, and the projection
        on ``component`` is taken off; absent, it is the ``common_component`` of these very texts. Give the one of the
        training texts for texts seen later. Raises DataError for "sif" where the vectors have no counts.
        """
        weighted = self._weighted(texts, method, a)
        if method == "sif" and component is None:
            component = _first_direction(weighted)
        return _without(weighted, component).astype(np.float32)

    def common_component(self, texts: Sequence[Sequence[str]], a: float = 1e-3) -> NDArray[np.float64]:
        """(D,), unit: first right singular vector of the weighted means of ``texts`` (not centred, as in the paper)."""
        return _first_direction(self._weighted(texts, "sif", a))

    def means(
        self, words: Sequence[str], counts: sparse.csr_matrix, method: Literal["mean", "sif"] = "mean", a: float = 1e-3
    ) -> NDArray[np.float64]:
        """(S, D): as ``sentences`` before any projection, of texts as counts (S, U) of U different ``words``: 25,000
        texts of 230 words take a second."""
        if method not in ("mean", "sif"):
            raise ConfigError(f"sentence method {method!r} is unknown", cure="write mean or sif")
        if method == "sif" and self.counts is None:
            raise DataError("sif weighs words by their counts, and these vectors have none", cure="use method mean")
        rows, known = self._vectors_of(words)
        weights = known.astype(np.float64)
        if method == "sif" and self.counts is not None:  # a word never counted has p(w) = 0
            own = np.array([self._rows.get(word, -1) for word in words], np.int64)
            seen = np.where(own >= 0, self.counts[own], 0)
            weights *= a / (a + seen / max(int(self.counts.sum()), 1))
        sums = np.asarray(counts @ (rows * weights[:, None]))  # (S, D)
        return sums / np.maximum(counts @ known.astype(np.float64), 1)[:, None]

    def _vectors_of(self, words: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(U, D), zeros where there is no vector; (U,) whether there is."""
        own = np.array([self._rows.get(word, -1) for word in words], np.int64)
        known = own >= 0
        out = np.zeros((len(words), self.dimension))
        out[known] = self.matrix[own[known]]
        if self.subwords is None:
            return out, known
        new = np.flatnonzero(~known)
        sub = self.subwords
        for part in np.split(new, range(_NGRAMMED, len(new), _NGRAMMED)):
            spelled = [words[i] for i in part]
            offsets, ids = ngram_table(spelled, sub.min_n, sub.max_n, len(sub.rows))
            sizes = np.diff(offsets)
            used, inner = np.unique(ids, return_inverse=True)
            share = sparse.csr_matrix((np.ones(len(ids)), inner, offsets), shape=(len(part), len(used)))
            out[part] = np.asarray(share @ sub.rows[used].astype(np.float64)) / np.maximum(sizes, 1)[:, None]
            known[part] = sizes > 0
        return out, known

    def _weighted(
        self, texts: Sequence[Sequence[str]], method: Literal["mean", "sif"], a: float
    ) -> NDArray[np.float64]:
        """(S, D) means of the words' vectors, weighted for "sif"."""
        if isinstance(texts, str) or any(isinstance(text, str) for text in texts):
            raise DataError("a sentence is a list of words, not a string", cure="split it into words first")
        index: dict[str, int] = {}
        ids = [index.setdefault(word, len(index)) for text in texts for word in text]
        starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
        counts = sparse.csr_matrix((np.ones(len(ids)), ids, starts), shape=(len(texts), len(index)))
        return self.means(list(index), counts, method, a)

    # --- one pass over the matrix ------------------------------------------------------------------------------------

    @cached_property
    def inverse_norms(self) -> NDArray[np.float32]:
        """(N,) 1 / Euclidean length, 0 for a row of zeros. Computed once; 4 bytes a word beside the matrix."""
        out = np.zeros(len(self), np.float32)
        for start in range(0, len(self), _ROWS):
            rows = np.asarray(self.matrix[start : start + _ROWS])
            with np.errstate(over="ignore", under="ignore"):
                squares = np.einsum("nd,nd->n", rows, rows)
            beyond = ~((squares > 1e-30) & (squares < 1e30))  # float32 has no room for these squares
            lengths = np.sqrt(squares.astype(np.float64))
            lengths[beyond] = np.linalg.norm(rows[beyond].astype(np.float64), axis=1)
            np.divide(1.0, lengths, out=out[start : start + _ROWS], where=lengths > 0, casting="same_kind")
        return out

    def _query(self, word_or_vector: str | ArrayLike) -> NDArray[np.float32]:
        """(D,), unit length."""
        if isinstance(word_or_vector, str):
            return _unit(self.vector(word_or_vector), repr(word_or_vector))
        vector = np.asarray(word_or_vector, np.float32)
        if vector.shape != (self.dimension,):
            raise DataError(f"a vector of shape {vector.shape} was given", cure=f"give {self.dimension} numbers")
        return _unit(vector, "the vector")

    def _cosines(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        """(D,) -> (N,), (Q, D) -> (Q, N). The matrix is not copied to unit length: a product with 1 / |row| costs 2 %.

        Blocks of a megabyte: all queries find a block in the cache, and BLAS stays on one thread. A million rows of 100
        (300) take 17 (49) ms of one core; one product of all takes no less, and larger blocks, whose two threads had to
        wait for each other on a busy machine, ten times that.
        """
        queries = np.atleast_2d(units)
        out = np.empty((len(queries), len(self)), np.float32)
        step = max(1, _BLOCK // self.dimension)
        for start in range(0, len(self), step):
            block = self.matrix[start : start + step]
            for query, row in zip(queries, out, strict=True):
                np.dot(block, query, out=row[start : start + step])
        out *= self.inverse_norms
        return out.reshape((*units.shape[:-1], len(self)))

    def _best(self, scores: NDArray[np.float32], k: int, barred: Sequence[int]) -> list[tuple[str, float]]:
        """k highest, best first; equal scores in the order of the vocabulary."""
        if k < 1:
            raise ConfigError(f"{k} words were asked for", cure="ask for one or more")
        scores[list(barred)] = -np.inf
        k = min(k, len(scores) - len(set(barred)))
        if k < 1:
            return []
        worst = np.partition(scores, len(scores) - k)[len(scores) - k]
        found = np.flatnonzero(scores >= worst)
        found = found[np.argsort(-scores[found], kind="stable")][:k]
        return [(self.words[i], float(scores[i])) for i in found]

    def _near(self, word: str) -> list[str]:
        spellings = dict.fromkeys((word.lower(), word.capitalize(), word.upper(), word.strip(), word.replace(" ", "_")))
        near = [other for other in spellings if other in self]
        alike = (other for other in self.words[:_NEAR] if abs(len(other) - len(word)) < 3)
        return near[:2] or difflib.get_close_matches(word, alike, n=2, cutoff=0.75)


def compose(
    words: Iterable[str],
    own: NDArray[np.float32],
    rows: NDArray[np.float32],
    min_n: int,
    max_n: int,
    *,
    end_has_ngrams: bool = False,
) -> NDArray[np.float32]:
    """(N, D): the mean of each word's own row and of its n-gram rows, with fastText's order of additions and its
    product with 1 / count: the same bits as its ``get_word_vector``.

    words: N; bytes that are no UTF-8 as ``surrogateescape``. own: (N, D); rows: (buckets, D). Extra memory: the n-gram
    ids of 65,536 words. end_has_ngrams: as ``ngram_table``.
    """
    words = words if isinstance(words, list) else list(words)
    out = np.empty(own.shape, np.float32)
    for start in range(0, len(words), _ROWS):
        part = slice(start, start + _ROWS)
        offsets, ids = ngram_table(words[part], min_n, max_n, len(rows), end_has_ngrams=end_has_ngrams)
        _means(own[part], rows, offsets, ids, out[part])
    return out


@njit(cache=True, nogil=True)
def _means(own, rows, offsets, ids, out):  # type: ignore[no-untyped-def]
    for i in range(len(own)):
        first, last = offsets[i], offsets[i + 1]
        for d in range(own.shape[1]):
            out[i, d] = own[i, d]
        for j in range(first, last):
            row = ids[j]
            for d in range(own.shape[1]):
                out[i, d] += rows[row, d]
        scale = np.float32(1.0 / (last - first + 1))
        for d in range(own.shape[1]):
            out[i, d] *= scale


def _read_only(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    view = np.ascontiguousarray(matrix, np.float32).view()  # no copy of float32 rows; a memory map stays one
    view.flags.writeable = False
    return view


def _unit(vector: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    length = np.linalg.norm(vector.astype(np.float64))
    if not 0 < length < np.inf:
        raise DataError(f"{what} has no direction: its length is {length:.3g}", cure="ask for another word")
    return (vector / length).astype(np.float32)


def _first_direction(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,): right singular vector of the largest singular value, through the (D, D) product: S may be millions."""
    return np.linalg.eigh(rows.T @ rows)[1][:, -1]


def _without(rows: NDArray[np.float64], direction: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return rows if direction is None else rows - np.outer(rows @ direction, direction)
