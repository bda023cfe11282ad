"""Vectors as text: a word and D numbers a line, parted by spaces. word2vec and fastText's .vec head it with the line
"N D", GloVe does not."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import DataError
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats.disk import replace_file
from wordloom.vectors.formats.rows import WHOLE, WIDEST, Rows, encode_words

_BLOCK = 1 << 24  # bytes read at once
_WRITTEN = 1 << 20  # numbers turned into text at once
_PROBED = 200  # lines that tell the dimension
_PRECISE = re.compile(rb"[-+]?\d*\.\d{3,}(?:[eE][-+]?\d+)?")  # a number, not a word with a number in it
NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf|infinity)", re.IGNORECASE)


def read_text(path: Path, header: tuple[int, int] | None, skip: int, encoding: str = "utf-8") -> Vectors:
    """The vectors of a text file. header: (words, dimension) it announces, if any; skip: bytes before the first row.

    Words may hold spaces (the last D fields are the numbers). Numbers are parsed as float64 and rounded to float32, as
    gensim does: 13 million a second. Extra memory: a block of 16 MiB and its numbers. Raises DataError with file:line.
    """
    with path.open("rb") as file:
        file.seek(skip)
        probed = [line for line in (file.readline(_BLOCK) for _ in range(_PROBED)) if line.strip()]
        dimension = _dimension(path, probed, header)
        size = path.stat().st_size - skip
        expected = int(1.05 * size / (sum(map(len, probed)) / len(probed))) + 16
        rows = Rows(path, dimension, expected, encoding)
        file.seek(skip)
        number = 1 if header is None else 2  # of the line
        while block := file.read(_BLOCK):
            lines = (block + file.readline(_BLOCK)).split(b"\n")
            if not lines[-1]:
                lines.pop()
            _add(rows, lines, number)
            number += len(lines)
    if header is not None and header[0] != rows.read:
        rows.odd.say(f"the header announces {header[0]:,} words, the file holds {rows.read:,}")
    return rows.vectors()


def _dimension(path: Path, probed: list[bytes], header: tuple[int, int] | None) -> int:
    """D: what the header announces, or what most of the first lines hold."""
    fields = Counter(len(line.split()) - 1 for line in probed)
    if not fields:
        raise DataError("holds no words", where=path, cure=WHOLE)
    most = max(fields, key=lambda number: (fields[number], -number))
    dimension = most if header is None else header[1]
    if len(fields) == 1 and most != dimension and (most < dimension or NUMBER.fullmatch(probed[0].split()[1])):
        what = f"the header announces {dimension:,} numbers a word, the lines hold {most:,}"
        raise DataError(what, where=f"{path}:1", cure="correct the header or " + WHOLE)
    if not 0 < dimension <= WIDEST:
        raise DataError(f"{dimension} numbers a word are no vector", where=f"{path}:1", cure=WHOLE)
    return dimension


def _add(rows: Rows, lines: list[bytes], first: int) -> None:
    """Splits words from numbers, parses the numbers of all lines at once, and hands both on."""
    words, numbers, places = [], [], []
    for place, line in enumerate(lines, first):
        word, _, rest = line.rstrip().partition(b" ")
        if not word or rest.count(b" ") != rows.dimension - 1 or b"  " in rest:  # not: word, D numbers, single spaces
            pieces = _split(rows, line, place)
            if pieces is None:
                continue
            word, rest = pieces
        words.append(word)
        numbers.append(rest)
        places.append(place)
    if words:
        values = _parse(b" ".join(numbers))
        if len(values) != len(words) * rows.dimension:
            raise _culprit(rows.path, numbers, places)
        rows.add(words, values.reshape(-1, rows.dimension), places)


def _split(rows: Rows, line: bytes, place: int) -> tuple[bytes, bytes] | None:
    """Word and numbers of an uncommon line (spaces in the word, tabs, double spaces); None: there is no word in it."""
    pieces = line.rsplit(None, rows.dimension)
    if len(pieces) <= rows.dimension:
        if not pieces:
            rows.odd.count("a blank line", f"line {place}")
            return None
        if len(pieces) == rows.dimension and line[:1].isspace():
            rows.odd.count("left out: a row without a word", f"line {place}")
            return None
        what = f"{len(pieces) - 1} numbers instead of {rows.dimension}"
        raise DataError(what, where=f"{rows.path}:{place}", cure="the line may be cut: " + WHOLE)
    extra = pieces[0].split()[1:]
    if any(_PRECISE.fullmatch(token) for token in extra):
        what = f"{rows.dimension + len(extra)} numbers instead of {rows.dimension}"
        raise DataError(what, where=f"{rows.path}:{place}", cure="correct the line or leave it out")
    return pieces[0], b" ".join(pieces[1:])


def _parse(text: bytes) -> NDArray[np.float32]:
    """Numbers parted by spaces; those before the first that is none."""
    with warnings.catch_warnings():  # NumPy announces that text which is no number will raise some day
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return np.fromstring(text, np.float32, sep=" ")
        except ValueError:
            return np.empty(0, np.float32)


def _culprit(path: Path, numbers: Sequence[bytes], places: Sequence[int]) -> DataError:
    for place, line in zip(places, numbers, strict=True):
        for token in line.split():
            if not NUMBER.fullmatch(token):
                shown = token[:40].decode("utf-8", "backslashreplace")
                return DataError(f"{shown!r} is not a number", where=f"{path}:{place}", cure="correct or " + WHOLE)
    return DataError("numbers that cannot be read", where=f"{path}:{places[0]}", cure=WHOLE)


def save_text(
    vectors: Vectors, path: str | Path, *, header: bool = True, space: str | None = None, overwrite: bool = False
) -> None:
    """word2vec text (gensim's ``load_word2vec_format``, ``spacy init vectors``, fastText's ``-pretrainedVectors``);
    without ``header`` GloVe's. Numbers have the fewest digits that give the same float32 again.

    space: what stands for a space in a word; None refuses such words, since gensim and the C tools take the first space
    for the end of the word; " " keeps them (Wordloom and spaCy read that). Sub-words and counts are not kept.
    Raises DataError for words the format cannot express, BundleError where the file exists or cannot be written.
    """
    import pyarrow as pa  # here: 0.2 s that reading need not wait for
    import pyarrow.compute as pc

    path = Path(path)
    words = expressible(vectors, path, space)

    def fill(file: IO[bytes]) -> None:
        if header:
            file.write(b"%d %d\n" % vectors.matrix.shape)
        step = max(1, _WRITTEN // vectors.dimension)
        for start in range(0, len(words), step):
            block = vectors.matrix[start : start + step]
            digits = pa.array(block.ravel()).cast(pa.string()).cast(pa.binary())  # Arrow: shortest digits, 10 M/s
            ends = np.arange(0, block.size + 1, vectors.dimension, dtype=np.int32)
            lines = pc.binary_join(pa.ListArray.from_arrays(ends, digits), b" ").to_pylist()
            file.write(b"".join([b"%b %b\n" % pair for pair in zip(words[start : start + step], lines, strict=True)]))

    replace_file(path, fill, overwrite)


def expressible(vectors: Vectors, path: Path, space: str | None) -> list[bytes]:
    """The words as bytes, for text and word2vec binary. Raises DataError as ``save_text``."""
    words = vectors.words
    if space is not None and space != " ":
        words = [word.replace(" ", space) for word in words]
        if len(set(words)) != len(words):
            raise DataError(f"{space!r} for the space makes two words equal", where=path, cure="give another sign")
    ends = [word for word in words if word != word.rstrip(" ")] if space == " " else []
    if ends:
        raise DataError(f"{ends[0]!r} ends in a space, which is lost in text", where=path, cure="give space='_'")
    return encode_words(words, path, "\n\r" if space == " " else "\n\r ")
