"""Order without memory: where a row comes in an epoch is computed, not stored, so a run resumes in O(1)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def mix(x):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser (Steele, Lea and Flood 2014, figure 17): uint64 to well mixed uint64."""
    x = np.uint64(x) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def epoch_order(start: int, count: int, rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(epoch, row) of the global positions start .. start + count, (count,) int64 each.

    In every epoch each of the ``rows`` rows comes once. A Feistel network of six rounds, keyed by (seed,
    epoch), permutes the next power of four; numbers outside the range walk on along their cycle (Black and
    Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    epochs, numbers = np.empty(count, np.int64), np.empty(count, np.int64)
    _order(start, rows, np.uint64(seed % 2**64), epochs, numbers)
    return epochs, numbers


@njit(cache=True, nogil=True)
def _order(start, rows, seed, epochs, numbers):  # type: ignore[no-untyped-def]
    half = 1
    while (1 << (2 * half)) < rows:
        half += 1
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    for i in range(len(numbers)):
        epoch = (start + i) // rows
        key = mix(mix(seed) ^ np.uint64(epoch))
        x = np.uint64((start + i) % rows)
        while True:
            left, right = x >> shift, x & mask
            for turn in range(6):
                left, right = right, left ^ (mix(key + np.uint64(turn) + (right << np.uint64(8))) & mask)
            x = (left << shift) | right
            if x < np.uint64(rows):
                break
        epochs[i], numbers[i] = epoch, np.int64(x)
