"""What a word looks like, in words: attributes for a linear model of tags.

They are those long used with CRFsuite (Okazaki 2007) for entities: the word, its prefixes, suffixes and shape, and the
same of its neighbours; of Chinese characters the characters around and their pairs (Peng et al. 2004, section 3.1).
The feature CRF reads their names; a network's head reads them hashed (Weinberger et al. 2009, section 2, without their
signs: two names that fall together share a weight).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from wordloom.tasks.windows import Ints


@dataclass(frozen=True)
class Bags:
    """Of N words, one after the other. word n has the features ``ids[starts[n]:starts[n + 1]]``.

    ids: (F,) int32 below the number of buckets; starts: (N + 1,).
    """

    ids: NDArray[np.int32]
    starts: Ints


def features(words: Sequence[str], i: int) -> list[str]:
    """Attributes of word i among its neighbours; of a single character the characters and pairs around it, unless it
    has a case: a letter of an alphabet is a word as "a" and "и" are."""

    def at(k: int) -> str:
        return words[i + k] if 0 <= i + k < len(words) else "<>"

    word = words[i]
    if len(word) == 1 and not word.isascii() and word.lower() == word.upper():
        near = [f"{k}:{at(k)}" for k in (-2, -1, 0, 1, 2)]
        return ["bias", *near, *(f"{k},{k + 1}:{at(k)}{at(k + 1)}" for k in (-2, -1, 0, 1)), f"-1,1:{at(-1)}{at(1)}"]
    low = word.lower()
    found = ["bias", f"w:{low}", f"W:{word}", f"shape:{shape(word)}", f"kind:{_kind(word)}"]
    found += [f"p{n}:{low[:n]}" for n in (1, 2, 3, 4) if len(low) > n]
    found += [f"s{n}:{low[-n:]}" for n in (1, 2, 3, 4) if len(low) > n]
    for k in (-2, -1, 1, 2):
        found += [f"{k}w:{at(k).lower()}", f"{k}shape:{shape(at(k))}"]
    return [*found, f"-1,0:{at(-1).lower()} {low}", f"0,1:{low} {at(1).lower()}"]


def hashed(texts: Sequence[Sequence[str]], buckets: int) -> Bags:
    """Features of all words of ``texts`` by number: CRC-32 of the name, modulo ``buckets``. Names that fall together
    share a weight."""
    ids = array("i")  # a list of whole numbers takes ten times as much
    sizes: list[int] = []
    for words in texts:
        for i in range(len(words)):
            names = features(words, i)
            ids.extend(crc32(name.encode("utf-8", "surrogatepass")) % buckets for name in names)
            sizes.append(len(names))
    starts = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)
    return Bags(np.array(ids, np.int32), starts)


def shape(word: str) -> str:
    """Capitals X, other letters x, digits d, runs of more than two as two: "McDonald's" -> "XxXxx'x"."""
    plain = "".join("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word[:30])
    return re.sub(r"(.)\1{2,}", r"\1\1", plain)


def _kind(word: str) -> str:
    tests = (("digit", word.isdigit()), ("title", word.istitle()), ("upper", word.isupper()), ("lower", word.islower()))
    return next((name for name, true in tests if true), "mixed")
