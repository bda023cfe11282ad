"""Whole numbers in as few bytes as they need (LEB128: seven bits a byte, low bits first)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Signed to unsigned, small stays small: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return (values << 1) ^ (values >> 63)


def unzigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return (values >> 1) ^ -(values & 1)


def encode(values: NDArray[np.int64]) -> bytes:
    """Values >= 0 one after the other."""
    buffer = np.empty(9 * len(values), np.uint8)
    return buffer[: _encode(values, buffer)].tobytes()


def decode(data: NDArray[np.uint8], count: int) -> NDArray[np.int64] | None:
    """Exactly ``count`` numbers, or None where the data hold fewer or more."""
    values = np.zeros(count, np.int64)
    return values if _decode(data, values) else None


@njit(cache=True, nogil=True)
def _encode(values, buffer):  # type: ignore[no-untyped-def]
    n = 0
    for value in values:
        while value >= 128:
            buffer[n] = (value & 127) | 128
            value >>= 7
            n += 1
        buffer[n] = value
        n += 1
    return n


@njit(cache=True, nogil=True)
def _decode(data, values):  # type: ignore[no-untyped-def]
    found, shift = 0, 0
    for byte in data:
        if found == len(values) or shift > 56:
            return False
        values[found] |= np.int64(byte & 127) << shift
        if byte & 128:
            shift += 7
        else:
            shift = 0
            found += 1
    return found == len(values) and shift == 0
