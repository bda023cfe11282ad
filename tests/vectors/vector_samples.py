"""Small vectors for the tests of this folder, and the real native files beside the public data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wordloom.vectors.embeddings import Subwords, Vectors, compose

WORDS = ["the", "king", "queen", "man", "woman", "größe", "日本", "naïve", "</s>", "a", "new_york", "ünïcödé", "x-1.5"]


def make(n: int = 200, dimension: int = 7, seed: int = 0, counts: bool = True, subwords: bool = False) -> Vectors:
    """n words, most frequent first; rows of very different length, so that exactness is asked of hard digits."""
    rng = np.random.default_rng(seed)
    words = (WORDS + [f"w{i}" for i in range(n)])[:n]
    own = (rng.normal(size=(n, dimension)) * 10.0 ** rng.integers(-6, 6, size=(n, 1))).astype(np.float32)
    frequency = np.sort(rng.integers(1, 10_000, n))[::-1].copy() if counts else None
    if not subwords:
        return Vectors(words, own, frequency)
    rows = rng.normal(size=(50, dimension)).astype(np.float32)
    return Vectors(words, compose(words, own, rows, 3, 6), frequency, Subwords(rows, 3, 6, own))


def same(a: Vectors, b: Vectors) -> bool:
    """The same words and the same bits."""
    return a.words == b.words and a.matrix.tobytes() == b.matrix.tobytes()


def native_files(shared_data: Path) -> Path:
    return shared_data / "weights" / "gensim_vectors"
