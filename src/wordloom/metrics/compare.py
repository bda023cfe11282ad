"""Is A better than B on the same examples? Paired tests that say "no difference" when that is so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from wordloom.errors import ConfigError, DataError
from wordloom.metrics.scores import Kind, checked, statistics
from wordloom.metrics.weighted import RESAMPLES, Floats, bootstrap, interval, resample_weights

UNITS = frozenset({"rmse", "mae", "log_loss", "loss", "perplexity", "bits_per_byte"})  # no shares: not in points
LOWER_IS_BETTER = UNITS | {"ece"}


@dataclass(frozen=True)
class Paired:
    """A minus B in ``metric`` on the same examples: difference, 95 % interval, p-value, the same in plain words."""

    difference: float
    low: float
    high: float
    p_value: float
    verdict: str
    metric: str


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Exact two-sided p-value of McNemar's test: a binomial test on the examples where A and B differ."""
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return 1.0 if only_a + only_b == 0 else float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def paired(
    labels: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    kind: Kind = "single",
    metric: str | None = None,
    *,
    names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compare two models' predictions on the same examples (arguments as ``classification_scores``).

    metric: default accuracy, macro_f1 (multi) or rmse (regression). The interval is the paired bootstrap's
    (both models see each resample); the p-value is McNemar's exact one for accuracy, else the bootstrap's
    two-sided share beyond zero. A difference is claimed only where the interval excludes 0 and p < 0.05.
    """
    name = metric or {"single": "accuracy", "multi": "macro_f1", "regression": "rmse"}[kind]
    y, pa = checked(labels, a, kind)
    _, pb = checked(labels, b, kind)
    tables = statistics(y, pa, kind)[0], statistics(y, pb, kind)[0]
    if name not in tables[0]:
        raise ConfigError(f"unknown metric {name!r}", cure=f"use one of {', '.join(tables[0])}")

    def difference(w: Floats) -> Floats:
        return tables[0][name](w) - tables[1][name](w)

    value = float(difference(np.ones((1, len(y))))[0])
    samples = bootstrap(difference, len(y), resamples=resamples, seed=seed)
    p = mcnemar(pa.argmax(1) == y, pb.argmax(1) == y) if (kind, name) == ("single", "accuracy") else two_sided(samples)
    return judged(value, samples, p, names, name)


def gain_over_seeds(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    names: tuple[str, str] = ("A", "B"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """A minus B over several training seeds: correct_a, correct_b (S, n), 1 where seed s answered example i
    right; row s of both comes from the same seed (the same labels drawn).

    Hierarchical paired bootstrap: each resample draws S seeds and n examples with replacement. With few seeds
    the drawn-seed part understates their variance by (S - 1) / S, so deviations of the seeds' own means are
    widened by sqrt(S / (S - 1)); with one seed the interval speaks of examples only.
    """
    d = np.asarray(correct_a, np.float64) - np.asarray(correct_b, np.float64)
    if d.ndim != 2 or not d.size:
        raise DataError(f"correct answers must be (seeds, examples), not {d.shape}", cure="stack one row per seed")
    seeds = len(d)
    per_seed = d.mean(1)
    wide = per_seed.mean() + (per_seed - per_seed.mean()) * math.sqrt(seeds / (seeds - 1)) if seeds > 1 else per_seed
    d = d + (wide - per_seed)[:, None]
    drawn = np.random.default_rng((seed, 1)).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    means = np.concatenate([w @ d.T / d.shape[1] for w in resample_weights(d.shape[1], resamples, seed)])  # (R, S)
    samples = (means * drawn).sum(1)
    return judged(float(per_seed.mean()), samples, two_sided(samples), names, "accuracy")


def two_sided(samples: Floats) -> float:
    """Two-sided: twice the smaller share of resamples on the far side of 0, with one added for the data itself."""
    kept = samples[np.isfinite(samples)]
    beyond = min((kept <= 0).sum(), (kept >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(kept) + 1)))


def judged(value: float, samples: Floats, p: float, names: tuple[str, str], metric: str) -> Paired:
    low, high = interval(samples)
    if not ((low > 0 or high < 0) and p < 0.05):
        return Paired(value, low, high, p, "no difference", metric)
    a_better = (value > 0) != (metric in LOWER_IS_BETTER)
    better = names[0] if a_better else names[1]
    ends = sorted((abs(low), abs(high)))
    if metric in UNITS:
        size = f"{abs(value):.4g} {metric} [{ends[0]:.4g}, {ends[1]:.4g}]"
    else:
        size = f"{100 * abs(value):.1f} points [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
    return Paired(value, low, high, p, f"{better} is better by {size}", metric)
