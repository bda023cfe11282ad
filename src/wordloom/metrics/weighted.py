"""Weighted statistics: one definition serves the value and its interval.

A statistic is a function of weights ``w`` (R, n), row r holding how often resample r drew each example. Weights
of one give the value on the data (equal to scikit-learn's to 1e-12, held by tests); the counts of n draws with
replacement give the percentile bootstrap (Efron & Tibshirani 1993, chapter 13). Nothing is sorted per resample:
rank statistics sort the data once and sum weights along that order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # weights (R, n) -> (R,)

RESAMPLES = 1000
_CHUNK = 2_000_000  # weights held at a time: 16 MB


def resample_weights(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Chunks (r, n) of how often each of n examples is drawn in n draws with replacement."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        # one bincount over (row, example) codes is several times quicker than a bincount per row
        codes = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(codes.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def bootstrap(statistic: Statistic, n: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """The statistic of each resample, (resamples,)."""
    return np.concatenate([statistic(w) for w in resample_weights(n, resamples, seed)])


def interval(samples: Floats) -> tuple[float, float]:
    """2.5 and 97.5 percentiles; resamples where the statistic is undefined (NaN) are left out."""
    kept = samples[np.isfinite(samples)]
    if not len(kept):
        return math.nan, math.nan
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def ratio(a: Floats, b: Floats, empty: float = 0.0) -> Floats:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, empty), where=b != 0)


def mean_of(values: NDArray) -> Statistic:
    column = np.asarray(values, np.float64)
    return lambda w: w @ column / w.sum(1)


def per_class(codes: NDArray, classes: int, keep: NDArray | None = None) -> Callable[[Floats], Floats]:
    """Weighted counts of each class code: w (R, n) -> (R, C)."""
    where = np.arange(len(codes)) if keep is None else np.flatnonzero(keep)
    ones = sparse.csr_matrix((np.ones(len(where)), (codes[where], where)), shape=(classes, len(codes)))
    return lambda w: np.asarray(ones @ w.T).T


def f1_macro(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Mean F1 of the classes that occur in gold or predictions, scikit-learn's default; (R, C) -> (R,)."""
    seen = predicted + gold > 0
    return ratio((ratio(2 * hits, predicted + gold)).sum(1), seen.sum(1).astype(np.float64), math.nan)


def mcc(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Matthews correlation for C classes (Gorodkin 2004, equation 8 written with marginals)."""
    n = gold.sum(1)
    top = hits.sum(1) * n - (predicted * gold).sum(1)
    below = (n**2 - (predicted**2).sum(1)) * (n**2 - (gold**2).sum(1))
    return ratio(top, np.sqrt(np.maximum(below, 0)))


def auroc(positive: NDArray[np.bool_], scores: Floats) -> Statistic:
    """Area under the ROC curve as the Mann-Whitney U with ties at one half; NaN where a class is absent."""
    order = np.argsort(scores, kind="stable")
    ranked, y = scores[order], positive[order]
    first = np.searchsorted(ranked, ranked[y], "left")  # per positive: begin and end of its run of ties
    last = np.searchsorted(ranked, ranked[y], "right")
    at, negatives = order[y], order[~y]
    before = np.concatenate([[0], np.cumsum(~y)])  # negatives among the first i of the ranking
    low, high = before[first], before[last]

    def area(w: Floats) -> Floats:
        below = np.zeros((len(w), len(negatives) + 1))
        np.cumsum(w[:, negatives], axis=1, out=below[:, 1:])
        wins = (w[:, at] * (below[:, low] + below[:, high])).sum(1) / 2
        return ratio(wins, w[:, at].sum(1) * below[:, -1], math.nan)

    return area


def auroc_macro(positives: NDArray[np.bool_], scores: Floats) -> Statistic:
    """Mean over columns with both kinds present (one versus rest); NaN where no column has both."""
    columns = [auroc(positives[:, c], scores[:, c]) for c in range(scores.shape[1]) if both(positives[:, c])]

    def area(w: Floats) -> Floats:
        total, seen = np.zeros(len(w)), np.zeros(len(w))
        for column in columns:
            part = column(w)
            seen += np.isfinite(part)
            total += np.nan_to_num(part)
        return ratio(total, seen, math.nan)

    return area


def both(positive: NDArray[np.bool_]) -> bool:
    return bool(positive.any() and not positive.all())


def recall_at(positive: NDArray[np.bool_], scores: Floats, rate: float) -> Statistic:
    """Best recall over all thresholds whose false-positive rate is at most ``rate``; every resample chooses
    its threshold anew, so the interval includes the choice."""
    order = np.argsort(-scores, kind="stable")
    ranked, y = scores[order], positive[order].astype(np.float64)
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # a threshold takes a whole run of ties

    def recall(w: Floats) -> Floats:
        taken, hits = np.cumsum(w[:, order], axis=1), np.cumsum(w[:, order] * y, axis=1)
        negatives = taken[:, -1] - hits[:, -1]
        allowed = (taken - hits)[:, ends] <= rate * negatives[:, None]
        best = np.where(allowed, hits[:, ends], 0.0).max(1)
        return np.where(negatives > 0, ratio(best, hits[:, -1], math.nan), math.nan)

    return recall


def correlation(x: Floats, y: Floats, w: Floats) -> Floats:
    """Weighted Pearson correlation; x and y (n,) or (R, n)."""
    n = w.sum(1, keepdims=True)
    dx, dy = x - (w * x).sum(1, keepdims=True) / n, y - (w * y).sum(1, keepdims=True) / n
    return ratio((w * dx * dy).sum(1), np.sqrt((w * dx * dx).sum(1) * (w * dy * dy).sum(1)), math.nan)


def ranks(x: Floats) -> Callable[[Floats], Floats]:
    """Mid-ranks of x inside each resample: w (R, n) -> (R, n)."""
    order = np.argsort(x, kind="stable")
    ranked = x[order]
    first, last = np.searchsorted(ranked, x, "left"), np.searchsorted(ranked, x, "right")

    def ranks(w: Floats) -> Floats:
        below = np.concatenate([np.zeros((len(w), 1)), np.cumsum(w[:, order], axis=1)], axis=1)
        return (below[:, first] + below[:, last] + 1) / 2

    return ranks
