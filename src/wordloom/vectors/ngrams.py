"""Character n-grams of a word and the rows they share: the sub-words of fastText (Bojanowski et al. 2017, section 3.2).

A word is written ``<word>``; every run of ``min_n`` to ``max_n`` characters of it is an n-gram, except a lone ``<`` or
``>``. An n-gram has no row of its own: its UTF-8 bytes are hashed with 32-bit FNV-1a to one of ``buckets`` rows. The
hash is FNV-1a with fastText's deviation: a byte of 128 and above is widened as a signed char (to 0xFFFFFF80...), so
everything beyond ASCII hashes differently from the textbook. Where characters begin is told from the bytes
(10xxxxxx continues one), so bytes that are no UTF-8 get n-grams too, the same as fastText gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordloom.errors import ConfigError

END_OF_SENTENCE = "</s>"  # fastText's end of line is a word of the vocabulary but has no n-grams

_BASIS, _PRIME = 2166136261, 16777619  # FNV-1a, 32 bits


def utf8(word: str) -> bytes:
    """UTF-8 of a word; a byte that was no UTF-8 in its file (``surrogateescape``) comes back as itself, any other
    lone surrogate as the three bytes of its code point."""
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return word.encode("utf-8", "surrogatepass")


def ngram_ids(word: str, min_n: int, max_n: int, buckets: int) -> list[int]:
    """Bucket of each n-gram of ``<word>``, 0 <= id < buckets, in fastText's order (by first character, then length).

    Repeats stay. Empty for the end-of-sentence mark and where nothing is long enough. fastText's row of an id is
    (number of words) + id. Raises ConfigError for buckets or lengths below 1.
    """
    _check(min_n, max_n, buckets)
    if word == END_OF_SENTENCE:
        return []
    data = b"<" + utf8(word) + b">"
    starts = [i for i, byte in enumerate(data) if byte & 0xC0 != 0x80]
    ends = [*starts[1:], len(data)]
    ids = []
    for i, start in enumerate(starts):
        h, at = _BASIS, start
        for n, end in enumerate(ends[i : i + max_n], start=1):
            for byte in data[at:end]:
                h = ((h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _PRIME) & 0xFFFFFFFF
            at = end
            if n >= min_n and not (n == 1 and (start == 0 or end == len(data))):
                ids.append(h % buckets)
    return ids


def ngram_table(
    words: Sequence[str], min_n: int, max_n: int, buckets: int, *, end_has_ngrams: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """``ngram_ids`` of many words in CSR form: offsets (N + 1,), ids (total,); word i has ids[offsets[i]:offsets[i+1]].

    100,000 words of 2 to 13 letters, n-grams of 3 to 6 characters: 0.05 s once compiled, 1.4 s by a loop over
    ``ngram_ids``. end_has_ngrams: the end-of-sentence mark, too, as in fastText before 2017. Raises ConfigError as
    ``ngram_ids``.
    """
    _check(min_n, max_n, buckets)
    bare = None if end_has_ngrams else END_OF_SENTENCE
    marked = [b"" if word == bare else b"<" + utf8(word) + b">" for word in words]
    bounds = np.zeros(len(words) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, marked), np.int64, len(marked)), out=bounds[1:])
    data = np.frombuffer(b"".join(marked), np.uint8)
    offsets = np.zeros(len(words) + 1, np.int64)
    _walk(data, bounds, min_n, max_n, buckets, offsets, np.empty(0, np.int32))  # counts
    ids = np.empty(offsets[-1], np.int32)
    _walk(data, bounds, min_n, max_n, buckets, offsets, ids)
    return offsets, ids


def _check(min_n: int, max_n: int, buckets: int) -> None:
    if min_n < 1 or max_n < min_n:
        raise ConfigError(f"n-grams of {min_n} to {max_n} characters do not exist", cure="use 1 <= min_n <= max_n")
    if not 0 < buckets < 2**31:
        raise ConfigError(f"{buckets} buckets cannot hold n-grams", cure="use a number from 1 to 2147483647")


@njit(cache=True, nogil=True)
def _walk(data, bounds, min_n, max_n, buckets, offsets, ids):  # type: ignore[no-untyped-def]
    """Fills ``offsets`` (and ``ids``, unless it is empty) for words data[bounds[i]:bounds[i+1]]."""
    written = 0
    size = np.uint32(buckets)
    for word in range(len(bounds) - 1):
        first, last = bounds[word], bounds[word + 1]
        for start in range(first, last):
            if data[start] & 0xC0 == 0x80:
                continue
            h = np.uint32(_BASIS)
            at, n = start, 1
            while at < last and n <= max_n:
                end = at + 1
                while end < last and data[end] & 0xC0 == 0x80:
                    end += 1
                for i in range(at, end):
                    h = np.uint32((h ^ np.uint32(np.int32(np.int8(data[i])))) * np.uint32(_PRIME))
                if n >= min_n and not (n == 1 and (start == first or end == last)):
                    if len(ids):
                        ids[written] = np.int32(h % size)
                    written += 1
                at = end
                n += 1
        offsets[word + 1] = written
