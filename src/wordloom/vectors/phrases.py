"""Frequent pairs joined to one word, new_york (Mikolov et al. 2013b, "Distributed Representations of Words and
Phrases and their Compositionality", section 4). Runs over provisional ids, before rare words are dropped, so that
neighbours are neighbours in the text.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordloom.config import VectorsConfig
from wordloom.vectors.wordhash import WordTable, chunk_of

PAIR_LIMIT = 1 << 24  # pairs held, 32 bytes each with the room the table needs: 512 MB at most
DELIMITER = b"_"


def join_phrases(
    ids: NDArray[np.int32], starts: NDArray[np.int64], table: WordTable, config: VectorsConfig
) -> tuple[int, list[str]]:
    """``config.phrases`` passes, in place. ids: (M,), -1 is no word. starts: (S + 1,).

    A pair that occurs ``min_count`` times and scores more than ``phrase_threshold`` becomes a word of the table,
    which also counts anew; where pairs overlap, the left one wins. The threshold is the same in every pass (the paper
    lowers it from pass to pass). Returns (words left, notes); no sentence becomes empty.
    """
    notes: list[str] = []
    words = len(ids)
    for number in range(1, config.phrases + 1):
        counts = table.counts[: table.count]
        keys, values, reduce = _count_pairs(ids[:words], starts, counts, config.min_count, PAIR_LIMIT)
        if reduce:
            said = f"phrases, pass {number}: more than {PAIR_LIMIT:,} different pairs"
            notes.append(f"{said}; those met {reduce} times or less when the table was full were forgotten")
        found = np.flatnonzero(values >= config.min_count)
        # Joined words are numbered in the order of their parts' ids, whatever the order in the hash table.
        found = found[np.argsort(keys[found])]
        first, second = keys[found] >> 32, keys[found] & 0xFFFFFFFF
        scores = score(counts[first], counts[second], values[found], words, config)
        chosen = scores > config.phrase_threshold
        notes.append(f"phrases, pass {number}: {int(chosen.sum()):,} pairs joined")
        if not chosen.any():
            break
        parts = zip(table.words(first[chosen]), table.words(second[chosen]), strict=True)
        spelled = [DELIMITER.join(pair) for pair in parts]
        distinct = list(dict.fromkeys(spelled))  # a_b + c and a + b_c are one word, which may also stand in the text
        number_of = dict(zip(distinct, table.merge(chunk_of(distinct)).tolist(), strict=True))
        values[:] = -1
        values[found[chosen]] = [number_of[word] for word in spelled]
        table.counts[: table.count] = 0
        words = _join(ids[:words], starts, keys, values, table.counts)
    return words, notes


def score(
    first: NDArray[np.int64], second: NDArray[np.int64], both: NDArray[np.int64], total: int, config: VectorsConfig
) -> NDArray[np.float64]:
    """(P,) how firmly each pair hangs together, from its words' counts, its own, and all running words.

    "npmi": normalised pointwise mutual information, -1 to 1 (Bouma 2009): ln(p(a b) / (p(a) p(b))) / -ln p(a b).
    "counts": (count(a b) - delta) / (count(a) count(b)) (Mikolov et al. 2013b, equation 6), times the running words,
    as the authors' program does, so that a threshold (theirs: 100) holds for corpora of any size; delta is min_count.
    """
    if config.phrase_score == "counts":
        return (both - config.min_count) / (first.astype(np.float64) * second) * total
    p_first, p_second, p_both = first / total, second / total, both / total
    scores: NDArray[np.float64] = np.log(p_both / (p_first * p_second)) / -np.log(p_both)
    return scores


@njit(cache=True, nogil=True)
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """Where a pair stands, or the empty place (-1) for it."""
    mask = len(keys) - 1
    h = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(h ^ (h >> np.uint64(32))) & mask
    while keys[slot] != key and keys[slot] != -1:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _moved(keys, values, size, above):  # type: ignore[no-untyped-def]
    """The pairs of a value over ``above`` in a table of ``size`` slots; (keys, values, how many)."""
    new_keys, new_values, count = np.full(size, np.int64(-1)), np.zeros(size, np.int64), 0
    for old in range(len(keys)):
        if keys[old] != -1 and values[old] > above:
            slot = _slot(new_keys, keys[old])
            new_keys[slot], new_values[slot] = keys[old], values[old]
            count += 1
    return new_keys, new_values, count


@njit(cache=True, nogil=True)
def _count_pairs(ids, starts, counts, least, limit):  # type: ignore[no-untyped-def]
    """Neighbours within a sentence, a << 32 | b, in an open hash table. (keys, values, count forgotten up to).

    A pair of a word below ``least`` cannot reach ``least`` itself and is not held: nothing is lost by that.
    """
    size, count, reduce = 1 << 12, 0, 0
    keys, values = np.full(size, np.int64(-1)), np.zeros(size, np.int64)
    for s in range(len(starts) - 1):
        for i in range(starts[s] + 1, starts[s + 1]):
            a, b = np.int64(ids[i - 1]), np.int64(ids[i])
            if a < 0 or b < 0 or counts[a] < least or counts[b] < least:
                continue
            key = a << 32 | b
            slot = _slot(keys, key)
            if keys[slot] == -1:
                keys[slot] = key
                count += 1
            values[slot] += 1
            if count > limit:
                while count > limit:
                    reduce += 1
                    keys, values, count = _moved(keys, values, len(keys), reduce)
            elif 2 * count > len(keys):
                keys, values, count = _moved(keys, values, 2 * len(keys), 0)
    return keys, values, reduce


@njit(cache=True, nogil=True)
def _join(ids, starts, keys, joined, counts):  # type: ignore[no-untyped-def]
    """Replace each pair of the table by its joined id (-1: not joined), from left to right, in place; counts anew."""
    to = first = 0
    for s in range(1, len(starts)):
        end = starts[s]
        i = first
        while i < end:
            word = np.int64(ids[i])
            i += 1
            if i < end and word >= 0 and ids[i] >= 0:
                slot = _slot(keys, word << 32 | np.int64(ids[i]))
                if keys[slot] != -1 and joined[slot] >= 0:
                    word = joined[slot]
                    i += 1
            ids[to] = word
            to += 1
            if word >= 0:
                counts[word] += 1
        first = end
        starts[s] = to
    return to
