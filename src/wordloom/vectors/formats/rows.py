"""Rows of a foreign file on their way to ``Vectors``: whatever is odd about them is counted, never silent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import DataError
from wordloom.vectors.embeddings import Vectors

WHOLE = "copy or download the file again"
_ROWS = 1 << 14  # rows of one step: bounds the memory of temporaries
WIDEST = 100_000  # numbers of a vector; more is a damaged header


class Oddities:
    """Counts of what was odd, each with the first place it was seen; ``notes`` are the sentences for ``Vectors``."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}
        self._plain: list[str] = []

    def count(self, kind: str, where: str, times: int = 1) -> None:
        """kind: the sentence about one word, "is not UTF-8 ..."."""
        number, first = self._seen.get(kind, (0, where))
        self._seen[kind] = number + times, first

    def say(self, sentence: str) -> None:
        self._plain.append(sentence)

    @property
    def notes(self) -> list[str]:
        return self._plain + [f"{n:,} x {kind} (first: {where})" for kind, (n, where) in self._seen.items()]


class Rows:
    """Words and vectors in the order of the file, without repeated words (the first stays, as in gensim) and without
    rows that hold NaN or infinity. The matrix grows in place (realloc), so memory is that of the rows read."""

    def __init__(self, path: Path, dimension: int, expected: int, encoding: str, unit: str = "line"):
        """expected: rows, a bound from the file's size, never the header's word; pages not written cost nothing."""
        self.path, self.dimension, self.encoding, self._unit = path, dimension, encoding, unit
        self.odd = Oddities()
        self.read = 0  # rows seen, kept or not
        self._words: dict[str, None] = {}
        self._matrix = np.empty((expected, dimension), np.float32)

    def add(self, raw: Sequence[bytes], values: NDArray[np.float32], places: Sequence[int]) -> None:
        """raw: n words as bytes; values: (n, D); places: n numbers of lines (or of words), for messages."""
        words = self._decode(raw, places)
        kept, at = [], len(self._words)
        finite = finite_rows(values).tolist()
        for i, word in enumerate(words):
            if not finite[i]:
                self.odd.count("left out: the row holds NaN or infinity", self.place(places[i], word))
            elif not word:
                self.odd.count("left out: a row without a word", self.place(places[i], word))
            elif word in self._words:
                self.odd.count("a repeated word: its first row is kept", self.place(places[i], word))
            else:
                if " " in word:
                    self.odd.count("a word with a space in it", self.place(places[i], word))
                self._words[word] = None
                kept.append(i)
        if at + len(kept) > len(self._matrix):
            self._matrix.resize((max(at + len(kept), len(self._matrix) * 5 // 4), self.dimension), refcheck=False)
        self._matrix[at : at + len(kept)] = values if len(kept) == len(words) else values[kept]
        self.read += len(words)

    def place(self, number: int, word: str) -> str:
        return f"{self._unit} {number}, {word!r}"

    def _decode(self, raw: Sequence[bytes], places: Sequence[int]) -> list[str]:
        words, odd = decode_words(raw, self.encoding)
        if odd:
            self.odd.count(not_text(self.encoding), self.place(places[odd[0]], words[odd[0]]), len(odd))
        return words

    def vectors(self, counts: NDArray[np.int64] | None = None) -> Vectors:
        if not self._words:
            raise DataError("holds no word with a usable vector", where=self.path, cure=WHOLE)
        self._matrix.resize((len(self._words), self.dimension), refcheck=False)
        return Vectors(list(self._words), self._matrix, counts, notes=self.odd.notes)


def finite_rows(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,): does a row hold numbers only, no NaN or infinity?"""
    out = np.empty(len(matrix), bool)
    for start in range(0, len(matrix), _ROWS):
        np.isfinite(matrix[start : start + _ROWS]).all(axis=1, out=out[start : start + _ROWS])
    return out


def decode_words(raw: Sequence[bytes], encoding: str) -> tuple[list[str], list[int]]:
    """Words, and which of them are not in this encoding: their odd bytes are written ``\\xNN``, as gensim does, so that
    every word can be printed."""
    try:
        words = b"\n".join(raw).decode(encoding).split("\n") if raw else []
        if len(words) == len(raw):
            return words, []
    except UnicodeDecodeError:
        pass
    words = [word.decode(encoding, "backslashreplace") for word in raw]
    return words, [i for i, word in enumerate(raw) if not _fits(word, encoding)]


def not_text(encoding: str) -> str:
    return f"a word that is not {encoding}: its odd bytes are shown as \\xNN"


def _fits(word: bytes, encoding: str) -> bool:
    try:
        word.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def encode_words(words: Sequence[str], path: Path, barred: str) -> list[bytes]:
    """UTF-8 of the words. Raises DataError where one is empty or holds a character of ``barred``, which the file cannot
    express; nothing has been written then."""
    for character in barred:
        for word in words:
            if character in word:
                cure = (
                    "give a sign for the space (space='_', --space _)"
                    if character == " "
                    else "save it as Wordloom's own folder"
                )
                raise DataError(f"the format has no way to write the word {word!r}", where=path, cure=cure)
    if "" in words:
        raise DataError("the format has no way to write the empty word", where=path, cure="leave it out")
    try:
        return [word.encode("utf-8") for word in words]
    except UnicodeEncodeError as error:
        raise DataError(
            f"{error.object!r} is not a Unicode string", where=path, cure="open the source file with its encoding"
        ) from None
