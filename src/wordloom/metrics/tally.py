"""Scores of a whole test set that are functions of sums over its examples: F1 of spans, BLEU, exact match, nDCG.

One definition serves the value, its interval and a paired test: example i contributes a row of counts, the counts of a
resample are summed, and the score is computed from the sums. An average over examples is the case (total, number).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wordloom.errors import DataError
from wordloom.metrics.compare import Paired, judged, two_sided
from wordloom.metrics.scores import Score
from wordloom.metrics.weighted import RESAMPLES, Floats, bootstrap, interval, ratio, resample_weights


@dataclass(frozen=True)
class Tally:
    """counts: (n, K), a row per example (or per document, where the examples of one belong together).

    score: sums (R, K) -> (R,); a fraction, not a percentage. note: what a reader must know about the value.
    """

    counts: Floats
    score: Callable[[Floats], Floats]
    note: str = ""

    @classmethod
    def mean(cls, values: ArrayLike, note: str = "") -> Tally:
        """The average of one number per example, (n,)."""
        column = np.asarray(values, np.float64)
        return cls(np.stack([column, np.ones_like(column)], axis=1), lambda s: ratio(s[:, 0], s[:, 1], math.nan), note)

    @classmethod
    def f1(cls, hits: ArrayLike, predicted: ArrayLike, gold: ArrayLike, note: str = "") -> Tally:
        """2 hits / (predicted + gold) over the whole set, from counts (n,) of each example; 0 where nothing is."""
        columns = np.stack([np.asarray(c, np.float64) for c in (hits, predicted, gold)], axis=1)
        return cls(columns, lambda s: ratio(2 * s[:, 0], s[:, 1] + s[:, 2]), note)

    @classmethod
    def share(cls, hits: ArrayLike, total: ArrayLike, note: str = "") -> Tally:
        """hits / total over the whole set, from counts (n,): precision, recall, accuracy over tokens."""
        columns = np.stack([np.asarray(c, np.float64) for c in (hits, total)], axis=1)
        return cls(columns, lambda s: ratio(s[:, 0], s[:, 1]), note)

    @property
    def value(self) -> float:
        return float(self.score(self.counts.sum(0, keepdims=True))[0])

    def weighted(self, w: Floats) -> Floats:
        """w (R, n): how often each resample holds each example -> (R,)."""
        return self.score(w @ self.counts)


def tally_scores(tallies: Mapping[str, Tally], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Score]:
    """Value and 95 % percentile-bootstrap interval of every score, over the same resamples of the examples."""
    out = {}
    for name, tally in tallies.items():
        n = len(tally.counts)
        low, high = interval(bootstrap(tally.weighted, n, resamples=resamples, seed=seed)) if n > 1 else (math.nan,) * 2
        out[name] = Score(tally.value, low, high, tally.note)
    return out


def paired_tallies(
    a: Tally, b: Tally, metric: str, *, names: tuple[str, str] = ("A", "B"), resamples: int = RESAMPLES, seed: int = 0
) -> Paired:
    """A minus B on the same examples: paired bootstrap, as `compare.paired` (Koehn 2004 for BLEU)."""
    return gain_of_tallies([a], [b], metric, names=names, resamples=resamples, seed=seed)


def gain_of_tallies(
    a: Sequence[Tally], b: Sequence[Tally], metric: str, *, names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES, seed: int = 0,
) -> Paired:  # fmt: skip
    """A minus B over training seeds, one tally a seed, paired by seed and example; `compare.gain_over_seeds` says how
    the drawn seeds are widened. A single B (a baseline without a seed) stands beside every seed of A."""
    b = list(b) * len(a) if len(b) == 1 else b
    if len(a) != len(b) or {len(t.counts) for t in (*a, *b)} != {len(a[0].counts)}:
        raise DataError("the scores to compare are of different examples or seeds", cure="score both on the same ones")
    n, seeds = len(a[0].counts), len(a)
    per_seed = np.array([x.value - y.value for x, y in zip(a, b, strict=True)])
    wide = per_seed.mean() + (per_seed - per_seed.mean()) * math.sqrt(seeds / (seeds - 1)) if seeds > 1 else per_seed
    drawn = np.random.default_rng((seed, 1)).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    differences = np.concatenate([
        np.stack([x.weighted(w) - y.weighted(w) for x, y in zip(a, b, strict=True)], axis=1)
        for w in resample_weights(n, resamples, seed)
    ]) + (wide - per_seed)  # (R, S)  # fmt: skip
    samples = (differences * drawn).sum(1)
    return judged(float(per_seed.mean()), samples, two_sided(samples), names, metric)
