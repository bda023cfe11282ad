"""A loss that means something: the objective itself on sentences that are never trained on, with fixed noise words.

Every system's running loss is of moving text, moving noise and a moving learning rate. This one is comparable between
epochs, thread counts and learning rates of one corpus and number of negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordloom.config import VectorsConfig
from wordloom.vectors.weights import Grams, Weights

WORDS = 20_000  # held-out running words aimed at
SHARE = 200  # at most every 200th sentence is held out
POSITIONS = 4_000  # of them are measured, or all there are
PART = 4_000_000  # floats gathered at a time


@dataclass(frozen=True)
class Sample:
    """centre (P,), context (P, 2 * window) with -1 where there is none, noise (P, K)."""

    centre: NDArray[np.int64]
    context: NDArray[np.int64]
    noise: NDArray[np.int64]


def every(starts: NDArray[np.int64]) -> int:
    """Sentence i is held out where i % every == every - 1; 0, none, where there are fewer than 200 sentences."""
    sentences = len(starts) - 1
    return 0 if sentences < SHARE else min(max(SHARE, int(starts[-1]) // WORDS), sentences)


def draw_sample(
    ids: NDArray[np.int32], starts: NDArray[np.int64], held: int, counts: NDArray[np.int64], config: VectorsConfig
) -> Sample:
    """Positions of the held-out sentences (of all where none is held out) with their whole windows."""
    rng, window = np.random.default_rng([config.seed, 1]), config.window
    sentences = np.arange(held - 1, len(starts) - 1, held) if held else np.arange(len(starts) - 1)
    first, size = starts[sentences], starts[sentences + 1] - starts[sentences]
    first, size = first[size > 1], size[size > 1]
    if not len(size):
        none = np.zeros((0, 1), np.int64)
        return Sample(none[:, 0], none, none)
    before = np.cumsum(size) - size  # words of the sentences before each
    chosen = np.sort(rng.choice(int(size.sum()), min(POSITIONS, int(size.sum())), replace=False))
    sentence = np.searchsorted(before, chosen, side="right") - 1
    place = chosen - before[sentence]  # of the centre in its sentence
    beside = place[:, None] + np.delete(np.arange(-window, window + 1), window)  # (P, 2 * window)
    inside = (beside >= 0) & (beside < size[sentence][:, None])
    context = np.where(inside, ids[np.where(inside, first[sentence][:, None] + beside, 0)], -1).astype(np.int64)
    centre = ids[first[sentence] + place].astype(np.int64)
    p = counts.astype(np.float64) ** config.exponent
    noise = rng.choice(len(p), (len(chosen), config.negatives), p=p / p.sum())
    return Sample(centre, context, noise)


def sample_loss(weights: Weights, sample: Sample, cbow: bool, grams: Grams | None) -> float:
    """-log sigmoid(in . out) - sum log sigmoid(-in . noise), the mean over pairs (CBOW: positions), in nats; a noise
    word that is the centre does not count (Mikolov et al. 2013b, equation 4)."""
    if not len(sample.centre):
        return float("nan")
    words, place = np.unique(sample.context[sample.context >= 0], return_inverse=True)
    vectors = input_vectors(weights, words, grams)
    row = np.full(sample.context.shape, len(words))
    row[sample.context >= 0] = place
    vectors = np.concatenate([vectors, np.zeros((1, weights.dimension), np.float32)])
    outputs = weights.rows(weights.outputs)
    targets = np.concatenate([sample.centre[:, None], sample.noise], axis=1)  # (P, 1 + K)
    sign = np.where(np.arange(targets.shape[1]) == 0, 1.0, -1.0)
    valid = np.ones(targets.shape, bool)
    valid[:, 1:] = sample.noise != sample.centre[:, None]
    total = count = 0.0
    step = max(1, PART // (max(targets.shape[1], sample.context.shape[1]) * weights.dimension))
    for at in range(0, len(targets), step):
        part = slice(at, at + step)
        x: NDArray[np.floating] = vectors[row[part]]  # (P, C, D)
        there = sample.context[part] >= 0  # (P, C)
        if cbow:
            weight = there if grams is None else there * _sizes(sample.context[part], grams)
            x = ((x * weight[..., None]).sum(1) / weight.sum(1)[:, None])[:, None]
            there = np.ones((len(x), 1), bool)
        scores = np.einsum("pcd,pkd->pck", x, outputs[targets[part]]).astype(np.float64) * sign
        with np.errstate(all="ignore"):  # the caller says it where the weights are not finite any more
            losses = np.logaddexp(0.0, -scores) * valid[part, None]
        total += float((losses.sum(2) * there).sum())
        count += float(there.sum())
    return total / count


def input_vectors(weights: Weights, words: NDArray[np.int64], grams: Grams | None) -> NDArray[np.float32]:
    """(n, D): the words' rows, or the means of their rows."""
    table = weights.vectors()
    if grams is None:
        return table[words]
    return np.stack([table[grams.rows[grams.starts[w] : grams.starts[w + 1]]].mean(0) for w in words])


def _sizes(context: NDArray[np.int64], grams: Grams) -> NDArray[np.int64]:
    return np.where(context >= 0, np.diff(grams.starts)[context], 0)
