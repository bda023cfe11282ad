"""What the kernels read and write: aligned matrices, the noise distribution, subsampling thresholds, n-gram rows,
scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordloom.config import VectorsConfig
from wordloom.errors import ConfigError
from wordloom.vectors.ngrams import ngram_table
from wordloom.vectors.plain_kernels import PIECE, G
from wordloom.vectors.simd import LANES

Floats = NDArray[np.float32]


@dataclass
class Weights:
    """inputs, outputs: flat (rows * stride,) float32, 64-byte aligned; columns dimension..stride - 1 of a row are 0."""

    inputs: Floats
    outputs: Floats
    stride: int
    dimension: int

    def rows(self, flat: Floats) -> Floats:
        """(rows, D) view of either matrix."""
        return flat.reshape(-1, self.stride)[:, : self.dimension]

    def vectors(self) -> Floats:
        """(rows, D) view of the input rows: the word vectors, or with sub-words what they are the means of."""
        return self.rows(self.inputs)


def aligned(size: int) -> Floats:
    """(size,) float32 zeros that start on a cache line: a row then never shares its first line with another."""
    raw = np.zeros(size + 16, np.float32)
    skip = (-raw.ctypes.data % 64) // 4
    return raw[skip : skip + size]


def new_weights(rows: int, vocabulary: int, config: VectorsConfig) -> Weights:
    """Input rows uniform in +-0.5 / D, output rows 0 (the C program's). rows: words, and n-gram buckets after them."""
    stride = -(-config.dimension // LANES) * LANES
    weights = Weights(aligned(rows * stride), aligned(vocabulary * stride), stride, config.dimension)
    rng, table = np.random.default_rng(config.seed), weights.inputs.reshape(rows, stride)
    for at in range(0, rows, 1 << 12):
        part = table[at : at + (1 << 12), : config.dimension]
        part[:] = (rng.random(part.shape, np.float32) - np.float32(0.5)) / np.float32(config.dimension)
    return weights


def alias_table(counts: NDArray[np.int64], exponent: float) -> NDArray[np.uint32]:
    """(V, 2) uint32 for ``kernels.draw``: word w with probability counts[w]^exponent / sum (Walker 1977, built as Vose
    1991). Slot i holds i below its threshold (of 2^32) and its alias at or above it."""
    p = counts.astype(np.float64) ** exponent
    scaled = p / p.sum() * len(p)
    threshold, alias = np.full(len(p), 2**32 - 1, np.uint32), np.arange(len(p), dtype=np.uint32)
    small, large = list(np.flatnonzero(scaled < 1)), list(np.flatnonzero(scaled >= 1))
    while small and large:
        s, g = small.pop(), large[-1]
        threshold[s], alias[s] = min(int(scaled[s] * 2**32), 2**32 - 1), g
        scaled[g] -= 1 - scaled[s]
        if scaled[g] < 1:
            small.append(large.pop())
    return np.stack([threshold, alias], axis=1)


def keep_thresholds(counts: NDArray[np.int64], sample: float) -> NDArray[np.uint32]:
    """(V,) uint32: a word of frequency f stays with probability sqrt(t / f) + t / f, at most 1, times 2^32 - 1.

    The C program's and gensim's rule; Mikolov et al. 2013b, equation 5, print sqrt(t / f) alone.
    """
    if sample == 0:
        return np.full(len(counts), 2**32 - 1, np.uint32)
    ratio = sample * counts.sum() / counts
    return (np.minimum(np.sqrt(ratio) + ratio, 1.0) * (2**32 - 1)).astype(np.uint32)


@dataclass(frozen=True)
class Grams:
    """Input rows of word w: rows[starts[w] : starts[w + 1]]; the first is its own, the others V + bucket."""

    starts: NDArray[np.int64]
    rows: NDArray[np.int32]


def gram_rows(words: list[str], config: VectorsConfig) -> Grams:
    if len(words) + config.buckets >= 2**31:
        raise ConfigError(f"{config.buckets:,} n-gram rows are too many", where="vectors.buckets", cure="lower it")
    offsets, buckets = ngram_table(words, config.min_n, config.max_n, config.buckets)
    own = np.arange(len(words), dtype=np.int32)
    return Grams(offsets + np.arange(len(offsets)), np.insert(buckets + np.int32(len(words)), offsets[:-1], own))


class Workspace(NamedTuple):
    """What a thread's kernel writes beside the matrices: output slots of this window and the next, scratch, the kept
    words of a sentence; ring and origin: the rows of a sub-word model's window."""

    outs: NDArray[np.int64]
    ahead: NDArray[np.int64]
    live: NDArray[np.uint32]
    live_ahead: NDArray[np.uint32]
    ins: NDArray[np.int64]
    weights: Floats
    gradient: Floats
    scratch: Floats
    kept: NDArray[np.int32]
    power: NDArray[np.int32]
    ring: Floats
    origin: Floats


def workspace(window: int, negatives: int, stride: int) -> Workspace:
    slots, n = (negatives + G) // G * G, 2 * window  # slots: whole groups
    found = Workspace(
        _apart(slots, np.int64), _apart(slots, np.int64), _apart(slots, np.uint32), _apart(slots, np.uint32),
        _apart(n, np.int64), _apart(n, np.float32), _apart(slots * (n + 1) + LANES, np.float32),
        _apart(n * stride, np.float32), _apart(PIECE, np.int32), _apart(n * G, np.int32),
        _apart((n + 1) * stride, np.float32), _apart((n + 1) * stride, np.float32),
    )  # fmt: skip
    found.live[0] = found.live_ahead[0] = 1
    found.weights[:] = 1
    return found


def _apart(size: int, kind: Any) -> NDArray[Any]:
    """(size,) zeros and two cache lines nobody uses: what the threads write never shares a line."""
    return np.zeros(size + 128 // np.dtype(kind).itemsize, kind)[:size]
