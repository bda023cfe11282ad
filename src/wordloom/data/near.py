"""Near-duplicate texts (Broder 1997: shingles, MinHash; Indyk & Motwani 1998: LSH) and texts contained in a corpus."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import count

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from wordloom.data.examples import words
from wordloom.text.chinese import CJK

SHINGLE = 5  # words; characters of Chinese and Japanese
JACCARD = 0.8
# 21 bands of 6 of 126 values: a pair at Jaccard s becomes a candidate with probability 1 - (1 - s^6)^21,
# 99.8 % at 0.8 and 28 % at 0.5. Candidates are then compared on their shingles, so no false pair is reported.
BANDS, ROWS = 21, 6
MAX_UNITS = 10_000  # of one text; what follows is not compared
MAX_CANDIDATES = 50  # compared with one text
RUN = 13  # units of a run counted for containment, as in Brown et al. 2020 (GPT-3), appendix C
CONTAINED = 0.5  # share of a text's runs that occur in the corpus

_CJK = re.compile(f"[{CJK}\u3040-\u30ff]")
_LETTER = re.compile(r"[^\W_]")


def units(text: str, limit: int | None = MAX_UNITS) -> list[str]:
    """Words, case folded; of a text that is for 30 % or more Chinese or Japanese its letters and digits."""
    found = words(text)
    return list("".join(found))[:limit] if unspaced(text) else found[:limit]


def unspaced(text: str) -> bool:
    """Whether a text is Chinese or Japanese (30 % or more of its first letters): no space divides its words."""
    head = text[:1000]
    return not head.isascii() and len(_CJK.findall(head)) > 0.3 * len(_LETTER.findall(head))


def run_hashes(ids: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """(n,) unit ids -> (n - length + 1,) hashes of every run; empty where the text is shorter."""
    size = len(ids) - length + 1
    if size <= 0:
        return np.zeros(0, np.uint64)
    total = np.zeros(size, np.uint64)
    for k in range(length):
        total = total * _FACTOR + ids[k : k + size]
    total ^= total >> np.uint64(32)
    return total * _MIX


_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so no id is lost; arithmetic is modulo 2**64
_MIX = np.uint64(0xD6E8FEB86659FD93)


class NearIndex:
    """Texts found again by Jaccard similarity of their shingles (``SHINGLE`` units) of at least ``JACCARD``.

    Texts of fewer than ``SHINGLE`` units are never near anything: equality is the test for those.
    """

    def __init__(self) -> None:
        self._ids: defaultdict[str, int] = defaultdict(count(1).__next__)
        self._empty = MinHash(num_perm=BANDS * ROWS, hashfunc=int, scheme="affine32")
        self._lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        self._shingles: dict[int, NDArray[np.uint32]] = {}
        self._last: tuple[str, NDArray[np.uint32], MinHash] | None = None
        self._followers: Counter[int] = Counter()

    def _sketch(self, text: str) -> tuple[NDArray[np.uint32], MinHash]:
        if self._last is None or self._last[0] is not text:  # find() then add() sketches once
            ids = np.array([self._ids[unit] for unit in units(text)], np.uint64)
            shingles = np.unique((run_hashes(ids, SHINGLE) >> np.uint64(32)).astype(np.uint32))
            sketch = self._empty.copy()
            sketch.update_batch(shingles.tolist())
            self._last = text, shingles, sketch
        return self._last[1], self._last[2]

    def add(self, key: int, text: str, leader: int | None = None) -> None:
        """leader: the text that this one is near to. After ``MAX_CANDIDATES`` its followers are no longer kept: what is
        near to them is near to one of the kept ones too, and a flood of copies stays linear."""
        shingles, sketch = self._sketch(text)
        if leader is not None:
            self._followers[leader] += 1
        if len(shingles) and (leader is None or self._followers[leader] <= MAX_CANDIDATES):
            self._shingles[key] = shingles
            self._lsh.insert(key, sketch)

    def find(self, text: str) -> tuple[int, float] | None:
        """(key, Jaccard similarity) of the nearest text added, None where none is near."""
        shingles, sketch = self._sketch(text)
        if not len(shingles):
            return None
        best: tuple[int, float] | None = None
        for key in sorted(self._lsh.query(sketch))[:MAX_CANDIDATES]:
            other = self._shingles[key]
            shared = len(np.intersect1d(shingles, other, assume_unique=True))
            similarity = shared / (len(shingles) + len(other) - shared)
            if similarity >= JACCARD and (best is None or similarity > best[1]):
                best = key, similarity
        return best


class ContainmentIndex:
    """How much of each text occurs, in runs of ``RUN`` units, anywhere in a corpus that streams by.

    Memory grows with the texts, not with the corpus: 8 bytes a run.
    """

    def __init__(self, texts: Iterable[str]):
        numbered: defaultdict[str, int] = defaultdict(count(1).__next__)
        runs, owners = [], []
        for number, text in enumerate(texts):
            ids = np.array([numbered[unit] for unit in units(text)], np.uint64)
            hashes = np.unique(run_hashes(ids, RUN))
            runs.append(hashes)
            owners.append(np.full(len(hashes), number, np.int64))
        self.texts = len(runs)
        self._ids = dict(numbered)
        self._owner = np.concatenate([*owners, np.zeros(0, np.int64)])
        self._unique, self._which = np.unique(np.concatenate([*runs, np.zeros(0, np.uint64)]), return_inverse=True)
        self._document = np.full(len(self._unique), -1, np.int64)  # the first document that has the run

    def see(self, number: int, document: str) -> None:
        """Mark the runs of document ``number``."""
        if not len(self._unique):
            return
        # Unknown units are 0: a run that holds one matches nothing but by a collision of 64 bits.
        ids = np.array([self._ids.get(unit, 0) for unit in units(document, None)], np.uint64)
        hashes = run_hashes(ids, RUN)
        at = np.minimum(np.searchsorted(self._unique, hashes), len(self._unique) - 1)
        at = at[self._unique[at] == hashes]
        self._document[at[self._document[at] < 0]] = number

    def contained(self) -> dict[int, tuple[float, int]]:
        """text -> (share of its runs that were seen, document that had most of them), where the share is at least
        ``CONTAINED``. A text of fewer than ``RUN`` units is never contained."""
        document = self._document[self._which]  # one entry a run of a text
        total = np.bincount(self._owner, minlength=self.texts)
        found = np.bincount(self._owner, weights=document >= 0, minlength=self.texts)
        share = found / np.maximum(total, 1)
        result = {}
        for text in np.flatnonzero(share >= CONTAINED):
            a, b = np.searchsorted(self._owner, [text, text + 1])
            documents, counts = np.unique(document[a:b][document[a:b] >= 0], return_counts=True)
            result[int(text)] = float(share[text]), int(documents[counts.argmax()])
        return result
