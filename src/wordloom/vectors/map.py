"""Vectors in the plane, to look at: t-SNE of some frequent words."""

from __future__ import annotations

import numpy as np

from wordloom.vectors.embeddings import Vectors

SKIPPED, SHOWN = 100, 200  # the most frequent words of any language say little; more than 200 labels cover each other


def word_map(vectors: Vectors) -> list[dict[str, float | str]]:
    """[{"word", "x", "y"}] of up to 200 words of letters, by falling frequency; empty where there are fewer than 30.

    van der Maaten & Hinton 2008 on unit vectors, from the two principal components, always the same for the same
    vectors. Distances between far groups mean nothing; neighbours do.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    skipped = min(SKIPPED, len(vectors) // 10)
    rows = [i for i in range(skipped, len(vectors)) if vectors.words[i].isalpha() and vectors.matrix[i].any()][:SHOWN]
    if len(rows) < 30 or vectors.dimension < 2 or not np.isfinite(vectors.matrix[rows]).all():
        return []
    x = vectors.matrix[rows].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    with threadpool_limits(1):  # 200 points: on a busy machine two threads wait for each other (5 to 60 s, not 1)
        flat = TSNE(perplexity=min(15, len(rows) // 4), init="pca", random_state=0).fit_transform(x)
    return [{"word": vectors.words[i], "x": float(a), "y": float(b)} for i, (a, b) in zip(rows, flat, strict=True)]
