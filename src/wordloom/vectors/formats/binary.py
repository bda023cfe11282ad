"""word2vec's C binary: the line "N D", then for each word its bytes, a space, D little-endian float32, and in most
files (not gensim's) a line feed."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import IO

import numpy as np

from wordloom.errors import DataError
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats.disk import replace_file
from wordloom.vectors.formats.rows import WHOLE, WIDEST, Rows
from wordloom.vectors.formats.text import expressible

_STEP = 1 << 25  # bytes of rows gathered or written at once
_LONGEST = 1 << 16  # bytes of a word; word2vec itself stops at 2,000


def read_binary(path: Path, announced: int, dimension: int, skip: int, encoding: str = "utf-8") -> Vectors:
    """announced, dimension: of the header; skip: its length in bytes.

    Only the search for the space that ends a word is a step per word; rows are then gathered in bulk from the mapped
    file. Rows beyond the announced number are read too, and noted. Raises DataError where the file ends inside a row.
    """
    width = 4 * dimension
    size = path.stat().st_size
    if not 0 < dimension <= WIDEST or (announced > 0 and skip + width > size):
        what = f"the header announces {dimension} numbers a word, and the file has {size:,} bytes"
        raise DataError(what, where=path, cure=WHOLE)
    if announced < 1 or size == skip:
        raise DataError("holds no words", where=path, cure=WHOLE)
    rows = Rows(path, dimension, min(announced, (size - skip) // (width + 2) + 1), encoding, unit="word")
    step = max(1, _STEP // width)
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last array that looks into it
    vectors = np.ndarray((size - width + 1,), f"V{width}", data, strides=(1,))  # one row at every byte
    at = skip
    while at < size:
        words, starts, at = _words(data, at, width, step, path, rows.read)
        if words:
            values = vectors[starts].view("<f4").reshape(-1, dimension)
            rows.add(words, values, range(rows.read + 1, rows.read + len(words) + 1))
    if rows.read != announced:
        rows.odd.say(f"the header announces {announced:,} words, the file holds {rows.read:,}")
    return rows.vectors()


def _words(
    data: mmap.mmap, at: int, width: int, step: int, path: Path, before: int
) -> tuple[list[bytes], list[int], int]:
    """Up to ``step`` words from byte ``at``, where the rows behind them start, and where the next word does."""
    words: list[bytes] = []
    starts: list[int] = []
    size = len(data)
    while at < size and len(words) < step:
        space = data.find(b" ", at, at + _LONGEST)
        if space < 0 or space + 1 + width > size:
            rest = data[at : at + _LONGEST]
            if not rest.strip():
                return words, starts, size  # line feeds at the end
            what = f"the file ends inside word {before + len(words) + 1:,}, or is damaged before it"
            raise DataError(what, where=f"{path}: byte {at:,}", cure=WHOLE)
        words.append(data[at:space].lstrip(b"\n"))  # the line feed after the row before
        starts.append(space + 1)
        at = space + 1 + width
    return words, starts, at


def save_binary(vectors: Vectors, path: str | Path, *, space: str | None = None, overwrite: bool = False) -> None:
    """word2vec's C binary, with the line feed after each row that the C tool writes. ``space`` and errors: as
    ``save_text``. Sub-words and counts are not kept."""
    path = Path(path)
    if space == " ":
        raise DataError("in this format a space ends the word", where=path, cure="give space='_'")
    words = expressible(vectors, path, space)
    step = max(1, _STEP // (4 * vectors.dimension))

    def fill(file: IO[bytes]) -> None:
        file.write(b"%d %d\n" % vectors.matrix.shape)
        for start in range(0, len(words), step):
            block = vectors.matrix[start : start + step].astype("<f4", copy=False)
            rows = np.ascontiguousarray(block).view(f"V{4 * vectors.dimension}").ravel().tolist()
            file.write(b"".join([b"%b %b\n" % pair for pair in zip(words[start : start + step], rows, strict=True)]))

    replace_file(path, fill, overwrite)
