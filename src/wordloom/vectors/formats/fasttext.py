"""fastText's .bin: header, dictionary, input matrix (word rows, then n-gram rows), output matrix. Little-endian.

New files start with a magic number and a version; files from before 2017 start with the header's first number, lack
the pruning index and the flags before the matrices, gave the end-of-sentence mark </s> n-grams, and are read by gensim
and here, no longer by fastText.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import DataError
from wordloom.vectors.embeddings import Subwords, Vectors, compose
from wordloom.vectors.formats.disk import replace_file
from wordloom.vectors.formats.rows import WHOLE, WIDEST, Oddities, decode_words, encode_words, finite_rows, not_text
from wordloom.vectors.ngrams import ngram_table

MAGIC = struct.pack("<i", 793712314)
_VERSION = 12
_HEADER = struct.Struct("<12id")  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate t
_ENTRY = struct.Struct("<qb")  # after a word and a zero byte: count, type (0 word, 1 label)
_SUPERVISED = 3
_LONGEST = 1 << 16  # bytes of a word
_BLOCK = 1 << 16  # rows solved for at once


@dataclass(frozen=True)
class _Header:
    dimension: int
    buckets: int
    min_n: int
    max_n: int
    supervised: bool
    new: bool


def looks_old(head: bytes) -> bool:
    """Are these first bytes a plausible header without magic number?"""
    if len(head) < _HEADER.size + 12:
        return False
    dim, ws, epoch, _, neg, grams, loss, model, bucket, minn, maxn, rate, _ = _HEADER.unpack_from(head)
    size, words, labels = struct.unpack_from("<3i", head, _HEADER.size)
    small = 0 < dim <= 10_000 and 0 < ws <= 1_000 and 0 < epoch < 100_000 and neg >= 0 and 0 < grams <= 100
    kinds = loss in (1, 2, 3) and model in (1, 2, 3) and bucket >= 0 and 0 <= minn <= 100 and 0 <= maxn <= 100
    return small and kinds and rate >= 0 and words >= 0 and labels >= 0 and size == words + labels > 0


def read_fasttext(path: Path, encoding: str = "utf-8") -> Vectors:
    """Words, counts, the vectors ``get_word_vector`` gives (same bits), and the sub-words; word and n-gram rows stay
    memory-mapped. encoding: of the words on screen only; n-grams are taken of the bytes, as fastText does.

    A supervised model gives its words, its labels are left out. Raises DataError for quantised models (.ftz), whose
    vectors are not kept, and for damaged files.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            header, at = _read_header(data, path)
            raw, counts, at, odd = _read_dictionary(data, at, header, path)
            at = _check_matrix(data, at, header, len(raw), path)
        except struct.error:
            raise DataError("ends inside the header", where=path, cure=WHOLE) from None
    if header.supervised:
        odd.say("a supervised model: its words are read, its labels are left out")
    shape = (len(raw) + header.buckets, header.dimension)
    matrix = np.memmap(path, "<f4", "r", at, shape)
    own, rows = matrix[: len(raw)], matrix[len(raw) :]
    words, bad = decode_words(raw, encoding)
    if bad:
        odd.count(not_text(encoding), f"word {bad[0] + 1}, {words[bad[0]]!r}", len(bad))
    subwords = None
    if header.max_n > 0 and header.buckets > 0:
        min_n = max(header.min_n, 1)  # fastText's loop starts at one character
        subwords = Subwords(rows, min_n, header.max_n, own)
        exact = [word.decode("utf-8", "surrogateescape") for word in raw]
        composed = compose(exact, own, rows, min_n, header.max_n, end_has_ngrams=not header.new)
    else:
        composed = np.array(own)
    return _distinct(words, composed, counts, subwords, odd, path)


def _read_header(data: mmap.mmap, path: Path) -> tuple[_Header, int]:
    new = data[:4] == MAGIC
    at = 0
    if new:
        (version,) = struct.unpack_from("<i", data, 4)
        if not 0 < version <= _VERSION:
            what = f"version {version} of fastText's format is unknown"
            raise DataError(what, where=path, cure="save it with fastText 0.9")
        at = 8
    dim, _, _, _, _, _, _, model, bucket, minn, maxn, _, _ = _HEADER.unpack_from(data, at)
    if not 0 < dim <= WIDEST or bucket < 0 or model not in (1, 2, 3) or not (minn <= maxn <= 1_000 or maxn == 0):
        what = f"a damaged header (dimension {dim}, buckets {bucket}, n-grams {minn} to {maxn})"
        raise DataError(what, where=path, cure=WHOLE)
    return _Header(dim, bucket, minn, maxn, model == _SUPERVISED, new), at + _HEADER.size


def _read_dictionary(
    data: mmap.mmap, at: int, header: _Header, path: Path
) -> tuple[list[bytes], NDArray[np.int64], int, Oddities]:
    """Words as bytes, their counts, and where the dictionary ends."""
    size, words, labels = struct.unpack_from("<3i", data, at)
    at += 12 + 8  # and the number of tokens
    pruned = -1
    if header.new:
        (pruned,) = struct.unpack_from("<q", data, at)
        at += 8
    if pruned >= 0:
        raise _quantised(path)
    if size != words + labels or words < 1 or labels < 0 or at + size * (1 + _ENTRY.size) > len(data):
        what = f"the header announces {words:,} words and {labels:,} labels, and the file has {len(data):,} bytes"
        raise DataError(what, where=path, cure=WHOLE)
    raw, counts = [], np.empty(words, np.int64)
    for i in range(size):
        end = data.find(b"\0", at, at + _LONGEST)
        if end < 0:
            raise DataError(f"the file ends inside word {i + 1:,}, or is damaged there", where=path, cure=WHOLE)
        count, kind = _ENTRY.unpack_from(data, end + 1)
        if kind not in (0, 1) or (kind == 0) != (i < words) or count < 0:
            raise DataError(f"word {i + 1:,} is damaged", where=path, cure=WHOLE)
        if i < words:
            raw.append(data[at:end])
            counts[i] = count
        at = end + 1 + _ENTRY.size
    return raw, counts, at, Oddities()


def _check_matrix(data: mmap.mmap, at: int, header: _Header, words: int, path: Path) -> int:
    """Where the numbers of the input matrix begin."""
    if header.new:
        if data[at : at + 1] not in (b"\0", b"\1"):
            raise DataError("damaged between the dictionary and the vectors", where=path, cure=WHOLE)
        if data[at] == 1:
            raise _quantised(path)
        at += 1
    rows, columns = struct.unpack_from("<2q", data, at)
    at += 16
    if (rows, columns) != (words + header.buckets, header.dimension):
        expected = f"{words + header.buckets:,} x {header.dimension}"
        raise DataError(f"a matrix of {rows:,} x {columns:,} where {expected} belong", where=path, cure=WHOLE)
    if at + 4 * rows * columns > len(data):
        raise DataError("the file ends inside the vectors", where=path, cure=WHOLE)
    return at


def _quantised(path: Path) -> DataError:
    what = "a quantised or pruned fastText model: its vectors are only approximated"
    return DataError(what, where=path, cure="open the .bin it was made from")


def _distinct(
    words: list[str],
    matrix: NDArray[np.float32],
    counts: NDArray[np.int64],
    subwords: Subwords | None,
    odd: Oddities,
    path: Path,
) -> Vectors:
    """Without rows that are not finite and words that decoding made equal; both are rare, and counted."""
    finite = finite_rows(matrix)
    first: dict[str, int] = {}
    for i, word in enumerate(words):
        if not finite[i]:
            odd.count("left out: the row holds NaN or infinity", f"word {i + 1}, {word!r}")
        elif first.setdefault(word, i) != i:
            odd.count("a repeated word: its first row is kept", f"word {i + 1}, {word!r}")
    if not first:
        raise DataError("holds no word with a usable vector", where=path, cure=WHOLE)
    if len(first) < len(words):
        keep = list(first.values())
        words, matrix, counts = list(first), matrix[keep], counts[keep]
        if subwords is not None and subwords.own is not None:
            subwords = Subwords(subwords.rows, subwords.min_n, subwords.max_n, subwords.own[keep])
    return Vectors(words, matrix, counts, subwords, odd.notes)


def save_fasttext(vectors: Vectors, path: str | Path, *, overwrite: bool = False) -> None:
    """fastText's .bin, new format: ``fasttext.load_model`` and gensim's ``load_facebook_vectors`` give the same
    vectors, for words never seen, too.

    What vectors do not know is nominal: counts of 1 where there are none, skip-gram, window 5; and the output matrix is
    zeros (a hole in the file), so training cannot go on from it. Raises DataError for words with a zero byte,
    BundleError where the file exists or cannot be written.
    """
    path = Path(path)
    words = encode_words(vectors.words, path, "\0")
    sub = vectors.subwords
    own = vectors.matrix if sub is None else own_rows(vectors)
    counts = np.ones(len(words), np.int64) if vectors.counts is None else vectors.counts
    buckets, min_n, max_n = (0, 0, 0) if sub is None else (len(sub.rows), sub.min_n, sub.max_n)

    def fill(file: IO[bytes]) -> None:
        file.write(MAGIC + struct.pack("<i", _VERSION))
        file.write(_HEADER.pack(vectors.dimension, 5, 5, 1, 5, 1, 2, 2, buckets, min_n, max_n, 100, 1e-4))
        file.write(struct.pack("<3iqq", len(words), len(words), 0, int(counts.sum()), -1))
        file.write(b"".join([w + b"\0" + _ENTRY.pack(n, 0) for w, n in zip(words, counts.tolist(), strict=True)]))
        file.write(b"\0" + struct.pack("<2q", len(words) + buckets, vectors.dimension))
        for matrix in (own, *([] if sub is None else [sub.rows])):
            for start in range(0, len(matrix), _BLOCK):
                file.write(np.ascontiguousarray(matrix[start : start + _BLOCK], "<f4").tobytes())
        file.write(b"\0" + struct.pack("<2q", len(words), vectors.dimension))
        file.truncate(file.tell() + 4 * len(words) * vectors.dimension)

    replace_file(path, fill, overwrite)


def own_rows(vectors: Vectors) -> NDArray[np.float32]:
    """(N, D): the word rows that, with the n-gram rows, give ``matrix``. Those kept where they do; else (none kept, or
    a word whose bytes were no UTF-8 and whose n-grams are now others) solved for, equal but for float32 rounding."""
    sub = vectors.subwords
    assert sub is not None
    if sub.own is not None and len(sub.own) == len(vectors):
        again = compose(vectors.words, sub.own, sub.rows, sub.min_n, sub.max_n)
        wrong = np.flatnonzero((again != vectors.matrix).any(axis=1))
        if not len(wrong):
            return sub.own
        own = np.array(sub.own)
    else:
        own, wrong = np.empty(vectors.matrix.shape, np.float32), np.arange(len(vectors))
    for start in range(0, len(wrong), _BLOCK):
        part = wrong[start : start + _BLOCK]
        offsets, ids = ngram_table([vectors.words[i] for i in part], sub.min_n, sub.max_n, len(sub.rows))
        for j, i in enumerate(part):
            grams = sub.rows[ids[offsets[j] : offsets[j + 1]]].sum(axis=0, dtype=np.float64)
            own[i] = (offsets[j + 1] - offsets[j] + 1) * vectors.matrix[i].astype(np.float64) - grams
    return own
