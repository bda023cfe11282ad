"""Every score the program prints, with its interval; no torch.

One definition serves the value and its interval: a statistic is a function of weights ``w`` (R, n), row r
holding how often resample r drew each example. Weights of one give the value on the data (equal to
scikit-learn's to 1e-12, held by tests); the counts of n draws with replacement give the percentile bootstrap
(Efron & Tibshirani 1993, chapter 13). All statistics of a table share the same resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats

from wordloom.errors import ConfigError, DataError

Kind = Literal["single", "multi", "regression"]
Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # weights (R, n) -> (R,)

RESAMPLES = 1000
BINS = 15  # equal-width confidence bins of the calibration error, as Guo et al. 2017
RECALL_AT = 0.005  # false-positive rate at which the recall of the rare class is read
LOWER_IS_BETTER = frozenset({"ece", "log_loss", "rmse", "mae"})
_CHUNK = 2_000_000  # weights held at a time: 16 MB
_PASSES = 1_000_000_000  # examples x columns x resamples one rank statistic may sort through


@dataclass(frozen=True)
class Mean:
    """A total and what it is a total of; adding keeps both, so no average of averages exists."""

    sum: float = 0.0
    count: float = 0.0

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.sum + other.sum, self.count + other.count)

    @property
    def value(self) -> float:
        return self.sum / self.count if self.count else math.nan


@dataclass(frozen=True)
class Score:
    """A value, its 95 % interval, and what a reader must know about it ("" where nothing)."""

    value: float
    low: float
    high: float
    note: str = ""

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Paired:
    """A minus B on the same examples: difference with 95 % interval, p-value, and the same in plain words."""

    difference: float
    low: float
    high: float
    p_value: float
    verdict: str


def perplexity(loss: float) -> float:
    """exp of a loss in nats per token; the unit is the token of that tokenizer."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """A loss in nats per token as bits per UTF-8 byte: comparable across tokenizers."""
    if bytes_per_token <= 0:
        raise DataError("bytes per token must be above 0", cure="measure it on text that is not empty")
    return loss / math.log(2) / bytes_per_token


# ---------------------------------------------------------------------------------------------- bootstrap


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


def _scores(statistics: dict[str, Statistic], n: int, passes: dict[str, int], resamples: int, seed: int) -> dict:
    """Value and interval of every statistic over the same resamples. ``passes``: sorted columns of the rank
    statistics, whose resamples (only) are fewer on very large data: at least 200, and the note says so."""
    limit = {k: min(resamples, max(200, _PASSES // (n * passes.get(k, 0)))) if k in passes else resamples
             for k in statistics}  # fmt: skip
    parts: dict[str, list[Floats]] = {k: [] for k in statistics}
    done = 0
    for w in resample_weights(n, resamples, seed):
        for name, statistic in statistics.items():
            if done < limit[name]:
                parts[name].append(statistic(w[: limit[name] - done]))
        done += len(w)
    out = {}
    for name, statistic in statistics.items():
        low, high = interval(np.concatenate(parts[name]))
        note = "" if limit[name] == resamples else f"interval from {limit[name]} resamples"
        out[name] = Score(float(statistic(np.ones((1, n)))[0]), low, high, note)
    return out


# ----------------------------------------------------------------------------- statistics over weights


def _ratio(a: Floats, b: Floats, empty: float = 0.0) -> Floats:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, empty), where=b != 0)


def _mean_of(values: NDArray) -> Statistic:
    column = np.asarray(values, np.float64)
    return lambda w: w @ column / w.sum(1)


def _per_class(codes: NDArray, classes: int, keep: NDArray | None = None) -> Callable[[Floats], Floats]:
    """Weighted counts of each class code: w (R, n) -> (R, C)."""
    where = np.arange(len(codes)) if keep is None else np.flatnonzero(keep)
    ones = sparse.csr_matrix((np.ones(len(where)), (codes[where], where)), shape=(classes, len(codes)))
    return lambda w: np.asarray(ones @ w.T).T


def _f1_macro(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Mean F1 of the classes that occur in gold or predictions, scikit-learn's default; (R, C) -> (R,)."""
    seen = predicted + gold > 0
    return _ratio((_ratio(2 * hits, predicted + gold)).sum(1), seen.sum(1).astype(np.float64), math.nan)


def _mcc(hits: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Matthews correlation for C classes (Gorodkin 2004, equation 8 written with marginals)."""
    n = gold.sum(1)
    top = hits.sum(1) * n - (predicted * gold).sum(1)
    below = (n**2 - (predicted**2).sum(1)) * (n**2 - (gold**2).sum(1))
    return _ratio(top, np.sqrt(np.maximum(below, 0)))


def _auroc(positive: NDArray[np.bool_], scores: Floats) -> Statistic:
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
        return _ratio(wins, w[:, at].sum(1) * below[:, -1], math.nan)

    return area


def _auroc_macro(positives: NDArray[np.bool_], scores: Floats) -> Statistic:
    """Mean over columns with both kinds present (one versus rest); NaN where no column has both."""
    columns = [_auroc(positives[:, c], scores[:, c]) for c in range(scores.shape[1]) if _both(positives[:, c])]

    def area(w: Floats) -> Floats:
        total, seen = np.zeros(len(w)), np.zeros(len(w))
        for column in columns:
            part = column(w)
            seen += np.isfinite(part)
            total += np.nan_to_num(part)
        return _ratio(total, seen, math.nan)

    return area


def _both(positive: NDArray[np.bool_]) -> bool:
    return bool(positive.any() and not positive.all())


def _recall_at(positive: NDArray[np.bool_], scores: Floats, rate: float) -> Statistic:
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
        return np.where(negatives > 0, _ratio(best, hits[:, -1], math.nan), math.nan)

    return recall


def _correlation(x: Floats, y: Floats, w: Floats) -> Floats:
    """Weighted Pearson correlation; x and y (n,) or (R, n)."""
    n = w.sum(1, keepdims=True)
    dx, dy = x - (w * x).sum(1, keepdims=True) / n, y - (w * y).sum(1, keepdims=True) / n
    return _ratio((w * dx * dy).sum(1), np.sqrt((w * dx * dx).sum(1) * (w * dy * dy).sum(1)), math.nan)


def _ranks(x: Floats) -> Callable[[Floats], Floats]:
    """Mid-ranks of x inside each resample: w (R, n) -> (R, n)."""
    order = np.argsort(x, kind="stable")
    ranked = x[order]
    first, last = np.searchsorted(ranked, x, "left"), np.searchsorted(ranked, x, "right")

    def ranks(w: Floats) -> Floats:
        below = np.concatenate([np.zeros((len(w), 1)), np.cumsum(w[:, order], axis=1)], axis=1)
        return (below[:, first] + below[:, last] + 1) / 2

    return ranks


# --------------------------------------------------------------------------------------- tables of scores


def _single(labels: NDArray, probabilities: Floats) -> tuple[dict[str, Statistic], dict[str, int]]:
    n, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    correct = predicted == labels
    confidence = probabilities.max(1)
    tiny = np.finfo(np.float64).eps
    loss = -np.log(np.clip(probabilities[np.arange(n), labels], tiny, 1 - tiny))
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # bins (low, high]
    gaps = sparse.csr_matrix((correct - confidence, (bins, np.arange(n))), shape=(BINS, n))
    hits, chosen, gold = (_per_class(c, classes, k) for c, k in ((labels, correct), (predicted, None), (labels, None)))
    table: dict[str, Statistic] = {
        "accuracy": _mean_of(correct),
        "macro_f1": lambda w: _f1_macro(hits(w), chosen(w), gold(w)),
        "mcc": lambda w: _mcc(hits(w), chosen(w), gold(w)),
        "ece": lambda w: np.abs(np.asarray(gaps @ w.T)).sum(0) / w.sum(1),
        "log_loss": _mean_of(loss),
    }
    if classes == 2:
        rare = rare_class(labels)
        positive = labels == rare
        table |= {
            "auroc": _auroc(labels == 1, probabilities[:, 1]),
            "precision": lambda w: _ratio(hits(w)[:, rare], chosen(w)[:, rare]),
            "recall": lambda w: _ratio(hits(w)[:, rare], gold(w)[:, rare]),
            "f1": lambda w: _ratio(2 * hits(w)[:, rare], chosen(w)[:, rare] + gold(w)[:, rare]),
            "recall_at_fpr_0.5": _recall_at(positive, probabilities[:, rare], RECALL_AT),
        }
        return table, {"auroc": 1, "recall_at_fpr_0.5": 2}
    table["auroc"] = _auroc_macro(labels[:, None] == np.arange(classes), probabilities)
    return table, {"auroc": classes}


def _multi(labels: NDArray, probabilities: Floats) -> tuple[dict[str, Statistic], dict[str, int]]:
    gold, chosen = labels.astype(np.float64), (probabilities >= 0.5).astype(np.float64)
    hits = gold * chosen

    def micro(w: Floats) -> Floats:
        return _ratio(2 * (w @ hits.sum(1)), w @ (gold + chosen).sum(1))

    def macro(w: Floats) -> Floats:  # all columns, as scikit-learn does for indicator matrices
        return _ratio(2 * (w @ hits), w @ (gold + chosen)).mean(1)

    table: dict[str, Statistic] = {
        "micro_f1": micro,
        "macro_f1": macro,
        "subset_accuracy": _mean_of((gold == chosen).all(1)),
        "auroc": _auroc_macro(gold > 0, probabilities),
    }
    return table, {"auroc": gold.shape[1]}


def _regression(labels: Floats, values: Floats) -> tuple[dict[str, Statistic], dict[str, int]]:
    squares = _mean_of((labels - values) ** 2)
    gold, guess = _ranks(labels), _ranks(values)
    table: dict[str, Statistic] = {
        "pearson": lambda w: _correlation(labels, values, w),
        "spearman": lambda w: _correlation(gold(w), guess(w), w),
        "rmse": lambda w: np.sqrt(squares(w)),
        "mae": _mean_of(np.abs(labels - values)),
    }
    return table, {"spearman": 2}


def rare_class(labels: ArrayLike) -> int:
    """The class of a binary task that precision, recall and F1 are about: the rarer one, 1 if equal."""
    counts = np.bincount(np.asarray(labels), minlength=2)
    return 0 if counts[0] < counts[1] else 1


def _checked(labels: ArrayLike, probabilities: ArrayLike, kind: Kind) -> tuple[NDArray, Floats]:
    y, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    shapes = {"single": (1, 2), "multi": (2, 2), "regression": (1, 1)}
    if kind not in shapes:
        raise ConfigError(f"unknown kind {kind!r}", cure="use single, multi or regression")
    if (y.ndim, p.ndim) != shapes[kind] or len(y) != len(p) or (kind == "multi" and y.shape != p.shape):
        raise DataError(f"labels {y.shape} and predictions {p.shape} do not fit a {kind} task",
                        cure="give one prediction per example")  # fmt: skip
    if not len(y):
        raise DataError("there is no example to score", cure="give at least one labelled example")
    if not np.isfinite(p).all():
        raise DataError("a prediction is not a finite number", cure="train again with a lower learning rate")
    if kind == "single" and (y.min() < 0 or y.max() >= p.shape[1]):
        raise DataError(f"a label number lies outside 0..{p.shape[1] - 1}", cure="score with the model's own labels")
    return (y.astype(np.float64) if kind == "regression" else y.astype(np.int64)), p


def _statistics(y: NDArray, p: Floats, kind: Kind) -> tuple[dict[str, Statistic], dict[str, int]]:
    return {"single": _single, "multi": _multi, "regression": _regression}[kind](y, p)


def classification_scores(
    labels: ArrayLike,
    probabilities: ArrayLike,
    kind: Kind = "single",
    names: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Score]:
    """Scores of a classifier or regressor, each with its 95 % interval.

    single: labels (n,) int, probabilities (n, C): accuracy, macro_f1, mcc, auroc (one versus rest, macro),
        ece (15 equal-width bins of the largest probability), log_loss; with two classes also precision,
        recall, f1 and recall at a false-positive rate of at most 0.5 % of the rarer class.
    multi: labels (n, C) 0/1, probabilities (n, C), threshold 0.5: micro_f1, macro_f1, subset_accuracy, auroc.
    regression: labels (n,), predictions (n,): pearson, spearman, rmse, mae.
    names: the C class names, for notes. Raises DataError where shapes or values do not fit.
    """
    y, p = _checked(labels, probabilities, kind)
    table, passes = _statistics(y, p, kind)
    scores = _scores(table, len(y), passes, resamples, seed)
    for name, note in _notes(y, p, kind, names).items():
        score = scores[name]
        scores[name] = Score(score.value, score.low, score.high, "; ".join(t for t in (note, score.note) if t))
    return scores


def point_scores(labels: ArrayLike, probabilities: ArrayLike, kind: Kind = "single") -> dict[str, float]:
    """The values of ``classification_scores`` alone: for the curve of a running training."""
    y, p = _checked(labels, probabilities, kind)
    one = np.ones((1, len(y)))
    return {name: float(statistic(one)[0]) for name, statistic in _statistics(y, p, kind)[0].items()}


def _notes(y: NDArray, p: Floats, kind: Kind, names: Sequence[str] | None) -> dict[str, str]:
    if kind == "regression":
        return {}
    label = [str(n) for n in names] if names is not None else [str(c) for c in range(p.shape[1])]
    present = np.stack([y == c for c in range(p.shape[1])], 1) if kind == "single" else y > 0
    absent = [label[c] for c in range(p.shape[1]) if not _both(present[:, c])]
    notes = {"auroc": f"undefined for {', '.join(absent[:5])}: needs examples with and without it"} if absent else {}
    if kind == "single" and p.shape[1] == 2:
        about = f"of class {label[rare_class(y)]}"
        notes |= dict.fromkeys(("precision", "recall", "f1", "recall_at_fpr_0.5"), about)
    return notes


# ------------------------------------------------------------------------------------------- comparisons


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
    y, pa = _checked(labels, a, kind)
    _, pb = _checked(labels, b, kind)
    tables = _statistics(y, pa, kind)[0], _statistics(y, pb, kind)[0]
    if name not in tables[0]:
        raise ConfigError(f"unknown metric {name!r}", cure=f"use one of {', '.join(tables[0])}")

    def difference(w: Floats) -> Floats:
        return tables[0][name](w) - tables[1][name](w)

    value = float(difference(np.ones((1, len(y))))[0])
    samples = bootstrap(difference, len(y), resamples=resamples, seed=seed)
    p = mcnemar(pa.argmax(1) == y, pb.argmax(1) == y) if (kind, name) == ("single", "accuracy") else _p_value(samples)
    return _judged(value, samples, p, names, name)


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
    return _judged(float(per_seed.mean()), samples, _p_value(samples), names, "accuracy")


def _p_value(samples: Floats) -> float:
    """Two-sided: twice the smaller share of resamples on the far side of 0, with one added for the data itself."""
    kept = samples[np.isfinite(samples)]
    beyond = min((kept <= 0).sum(), (kept >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(kept) + 1)))


def _judged(value: float, samples: Floats, p: float, names: tuple[str, str], metric: str) -> Paired:
    low, high = interval(samples)
    if not ((low > 0 or high < 0) and p < 0.05):
        return Paired(value, low, high, p, "no difference")
    a_better = (value > 0) != (metric in LOWER_IS_BETTER)
    better = names[0] if a_better else names[1]
    ends = sorted((abs(low), abs(high)))
    if metric in ("rmse", "mae", "log_loss"):
        size = f"{abs(value):.4g} {metric} [{ends[0]:.4g}, {ends[1]:.4g}]"
    else:
        size = f"{100 * abs(value):.1f} points [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
    return Paired(value, low, high, p, f"{better} is better by {size}")
