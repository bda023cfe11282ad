"""Text to numbered words: bytes are cut, lower-cased and looked up in one loop, without the interpreter's lock.

A chunk of text gets a small table of its own, which stays in the cache; the chunks' tables are then merged, in order,
into one ``WordTable``. The result is therefore the same for any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

# What a byte or character is. Below 128: a letter of ASCII, as it is to be written.
LETTER, MARK, JOINER, ALONE, SPACE, LINE, MULTI = range(128, 135)
MULTIPLY = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: an odd number with well spread bits


class Rules(NamedTuple):
    """How text is cut.

    kinds: (256,) uint8, a kind for each byte; MULTI sends a UTF-8 character to ``classes``.
    classes: (0x110000,) uint8, the kind of each code point.
    written: (0x110000,) int32, the code point that is written for it; 0 writes nothing (JOINER only).
    """

    kinds: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    written: NDArray[np.int32]


class Chunk(NamedTuple):
    """N different words, M running words and S lines that hold a word.

    letters: uint8, the UTF-8 bytes of all words; word w is letters[edges[w] : edges[w + 1]]. edges: (N + 1,) int64.
    hashes: (N,) uint64. counts: (N,) int64. ids: (M,) int32. ends: (S,) int64, line s ends before ids[ends[s]].
    """

    letters: NDArray[np.uint8]
    edges: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    counts: NDArray[np.int64]
    ids: NDArray[np.int32]
    ends: NDArray[np.int64]

    def word(self, number: int) -> bytes:
        return self.letters[self.edges[number] : self.edges[number + 1]].tobytes()


def cut(text: bytes, rules: Rules, slots: int = 1 << 14) -> Chunk:
    """Number the words of valid UTF-8 in the order they are met. slots: size of the first table, a power of two.

    A word is LETTER (LETTER | MARK)* (JOINER LETTER (LETTER | MARK)*)*, or ALONE MARK*; all else parts words.
    """
    data = np.frombuffer(text, np.uint8)
    letters = np.empty(len(data) + len(data) // 2 + 8, np.uint8)  # a lower-case letter may be three bytes for two
    ids = np.empty(len(data) // 2 + 2, np.int32)
    ends = np.empty(text.count(b"\n") + 1, np.int64)
    edges, hashes, counts = (
        np.zeros(slots // 2 + 1, np.int64),
        np.empty(slots // 2, np.uint64),
        np.zeros(slots // 2, np.int64),
    )
    table = np.full(slots, -1, np.int32)
    i = count = found = lines = 0
    while i <= len(data):
        # Grown out here: a loop that exchanges its own arrays runs at less than half the speed (reference counts).
        if count == len(hashes):
            edges, hashes, counts = _longer(edges, 0), _longer(hashes, 0), _longer(counts, 0)
            table = np.empty(2 * len(table), np.int32)
            _spread(table, hashes, count)
        i, count, found, lines = _cut(
            data, i, *rules, MULTIPLY, letters, edges, hashes, counts, table, count, ids, found, ends, lines
        )
    return Chunk(letters[: edges[count]], edges[: count + 1], hashes[:count], counts[:count], ids[:found], ends[:lines])


def chunk_of(words: list[bytes]) -> Chunk:
    """Different words as a chunk in which nothing was counted."""
    edges = np.zeros(len(words) + 1, np.int64)
    np.cumsum([len(word) for word in words], out=edges[1:])
    letters = np.frombuffer(b"".join(words), np.uint8)
    hashes = _hashes(letters, edges, MULTIPLY)
    return Chunk(letters, edges, hashes, np.zeros(len(words), np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64))


class WordTable:
    """All words met so far. ``count`` words; ``counts[:count]`` int64, how often each was met."""

    def __init__(self) -> None:
        self.count = 0
        self.letters = np.empty(1 << 20, np.uint8)
        self.edges = np.zeros((1 << 16) + 1, np.int64)
        self.hashes = np.empty(1 << 16, np.uint64)
        self.counts = np.zeros(1 << 16, np.int64)
        self.slots = np.full(1 << 17, -1, np.int32)

    def merge(self, chunk: Chunk, grow: bool = True) -> NDArray[np.int32]:
        """Add the chunk's counts. Returns (N,) the id of each of its words here.

        grow: whether a new word gets the next id; else it gets -1 and is not counted.
        """
        if grow:
            self._reserve(self.count + len(chunk.hashes), int(self.edges[self.count] + len(chunk.letters)))
        ids = np.empty(len(chunk.hashes), np.int32)
        self.count = _merge(
            self.slots, self.hashes, self.edges, self.letters, self.counts, self.count,
            chunk.hashes, chunk.edges, chunk.letters, chunk.counts, grow, ids,
        )  # fmt: skip
        return ids

    def words(self, numbers: NDArray[np.int64]) -> list[bytes]:
        view = self.letters.data
        edges = zip(self.edges[numbers].tolist(), self.edges[numbers + 1].tolist(), strict=True)
        return [bytes(view[a:b]) for a, b in edges]

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Forget every word but those of ``kept`` (count,); ids are given anew, in the same order."""
        self.count = _keep(self.hashes, self.edges, self.letters, self.counts, kept)
        _spread(self.slots, self.hashes, self.count)

    def _reserve(self, words: int, letters: int) -> None:
        if letters > len(self.letters):
            self.letters = _longer(self.letters, letters)
        if words > len(self.hashes):
            self.edges = _longer(self.edges, words + 1)
            self.hashes, self.counts = _longer(self.hashes, words), _longer(self.counts, words)
        if 2 * words > len(self.slots):
            size = len(self.slots)
            while size < 2 * words:
                size *= 2
            self.slots = np.empty(size, np.int32)
            _spread(self.slots, self.hashes, self.count)


def _longer(array, needed):  # type: ignore[no-untyped-def]
    """At least doubled, so that n additions move O(n) values."""
    longer = np.empty(max(needed, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer


@njit(cache=True, nogil=True)
def _hash(letters, first, end, multiply):  # type: ignore[no-untyped-def]
    h = np.uint64(end - first)
    for k in range(first, end):
        h = (h ^ np.uint64(letters[k])) * multiply
    return h ^ (h >> np.uint64(32))  # the table takes low bits, a product's best are its high ones


@njit(cache=True, nogil=True)
def _hashes(letters, edges, multiply):  # type: ignore[no-untyped-def]
    hashes = np.empty(len(edges) - 1, np.uint64)
    for w in range(len(hashes)):
        hashes[w] = _hash(letters, edges[w], edges[w + 1], multiply)
    return hashes


@njit(cache=True, nogil=True)
def _find(slots, hashes, edges, letters, h, other, first, end):  # type: ignore[no-untyped-def]
    """(slot, word) of other[first:end]; word -1: not there, and the slot is the place for it."""
    mask = len(slots) - 1
    slot = np.int64(h) & mask
    while True:
        word = slots[slot]
        if word < 0:
            return slot, -1
        if hashes[word] == h and edges[word + 1] - edges[word] == end - first:
            k, at = first, edges[word]
            while k < end and letters[at] == other[k]:
                k += 1
                at += 1
            if k == end:
                return slot, np.int64(word)
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _spread(slots, hashes, count):  # type: ignore[no-untyped-def]
    """Fill an empty table anew from the words' hashes."""
    mask = len(slots) - 1
    slots[:] = -1
    for word in range(count):
        slot = np.int64(hashes[word]) & mask
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = word


@njit(cache=True, nogil=True)
def _merge(slots, hashes, edges, letters, counts, count, new_hashes, new_edges, new_letters, new_counts, grow, ids):  # type: ignore[no-untyped-def]  # fmt: skip
    for w in range(len(new_hashes)):
        first, end = new_edges[w], new_edges[w + 1]
        slot, word = _find(slots, hashes, edges, letters, new_hashes[w], new_letters, first, end)
        if word < 0 and grow:
            word = count
            slots[slot] = word
            hashes[word] = new_hashes[w]
            counts[word] = 0
            at = edges[word]
            letters[at : at + end - first] = new_letters[first:end]
            count += 1
            edges[count] = at + end - first
        if word >= 0:
            counts[word] += new_counts[w]
        ids[w] = word
    return count


@njit(cache=True, nogil=True)
def _keep(hashes, edges, letters, counts, kept):  # type: ignore[no-untyped-def]
    to = 0
    first = edges[0]
    for word in range(len(kept)):
        end = edges[word + 1]
        if kept[word]:
            at = edges[to]
            for k in range(end - first):  # one by one: the two places may overlap
                letters[at + k] = letters[first + k]
            hashes[to], counts[to] = hashes[word], counts[word]
            to += 1
            edges[to] = at + end - first
        first = end
    return to


@njit(cache=True, nogil=True)
def _put(letters, at, char):  # type: ignore[no-untyped-def]
    """Write one code point as UTF-8; returns the place behind it."""
    if char < 0x80:
        letters[at] = char
        return at + 1
    if char < 0x800:
        letters[at] = 0xC0 | char >> 6
        letters[at + 1] = 0x80 | char & 63
        return at + 2
    if char < 0x10000:
        letters[at] = 0xE0 | char >> 12
        letters[at + 1] = 0x80 | char >> 6 & 63
        letters[at + 2] = 0x80 | char & 63
        return at + 3
    letters[at] = 0xF0 | char >> 18
    letters[at + 1] = 0x80 | char >> 12 & 63
    letters[at + 2] = 0x80 | char >> 6 & 63
    letters[at + 3] = 0x80 | char & 63
    return at + 4


@njit(cache=True, nogil=True)
def _character(data, i):  # type: ignore[no-untyped-def]
    """(code point, bytes) of the UTF-8 character of two to four bytes at i."""
    lead = np.int64(data[i])
    if lead < 0xE0:
        return (lead & 31) << 6 | (data[i + 1] & 63), 2
    if lead < 0xF0:
        return (lead & 15) << 12 | (data[i + 1] & 63) << 6 | (data[i + 2] & 63), 3
    return (lead & 7) << 18 | (data[i + 1] & 63) << 12 | (data[i + 2] & 63) << 6 | (data[i + 3] & 63), 4


@njit(cache=True, nogil=True)
def _cut(  # type: ignore[no-untyped-def]
    data, i, kinds, classes, written, multiply, letters, edges, hashes, counts, slots, count, ids, found, ends, lines
):
    """Go on at byte i, to the end or until there is no room for another word. (i, count, found, lines).

    The word being read stands behind the letters of the known words: letters[tail:at].
    """
    n = len(data)
    tail = at = edges[count]
    pending, alone = -1, False  # a joiner that waits for its second letter; a word of one character is open
    while i <= n:
        kind, char, step = LINE, 0, 1
        if i < n:
            kind, char = int(kinds[data[i]]), int(data[i])
            if kind == MULTI:
                char, step = _character(data, i)
                kind, char = int(classes[char]), int(written[char])
            elif kind < LETTER:
                kind, char = LETTER, kind
        is_open = at > tail
        if kind == JOINER and is_open and not alone and pending < 0:
            pending = char
            i += step
            continue
        extends = is_open and ((kind == LETTER and not alone) or (kind == MARK and pending < 0))
        if is_open and not extends:
            h = _hash(letters, tail, at, multiply)
            slot, word = _find(slots, hashes, edges, letters, h, letters, tail, at)
            if word < 0:
                word = count
                slots[slot] = word
                hashes[word], counts[word] = h, 0
                count += 1
                edges[count] = tail = at
            counts[word] += 1
            ids[found] = word
            found += 1
            at, pending, alone = tail, -1, False
            if count == len(hashes):
                return i, count, found, lines
        if kind in (LETTER, ALONE) or extends:
            if pending > 0:
                at = _put(letters, at, pending)
            pending, alone = -1, alone or kind == ALONE
            at = _put(letters, at, char)
        elif kind == LINE and found > (ends[lines - 1] if lines else 0):
            ends[lines] = found
            lines += 1
        i += step
        if kind == LETTER:
            while i < n and kinds[data[i]] < LETTER:  # the common case, a run of ASCII letters
                letters[at] = kinds[data[i]]
                at += 1
                i += 1
    return i, count, found, lines
