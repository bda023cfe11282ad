"""The table of scores of a classifier or regressor, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from wordloom.errors import ConfigError, DataError
from wordloom.metrics.weighted import (
    RESAMPLES,
    Floats,
    Statistic,
    auroc,
    auroc_macro,
    both,
    correlation,
    f1_macro,
    interval,
    mcc,
    mean_of,
    per_class,
    ranks,
    ratio,
    recall_at,
    resample_weights,
)

Kind = Literal["single", "multi", "regression"]

MAIN: dict[Kind, str] = {"single": "accuracy", "multi": "micro_f1", "regression": "pearson"}  # the score shown first
BINS = 15  # equal-width confidence bins of the calibration error, as Guo et al. 2017
RECALL_AT = 0.005  # false-positive rate at which the recall of the rare class is read
_PASSES = 1_000_000_000  # examples x columns x resamples one rank statistic may sort through


@dataclass(frozen=True)
class Score:
    """A value, its 95 % interval (nan where there is none: of a single example), and what a reader must know about it
    ("" where nothing)."""

    value: float
    low: float
    high: float
    note: str = ""

    def __str__(self) -> str:
        return self.plain + (f" ({self.note})" if self.note else "")

    @property
    def plain(self) -> str:
        """Without the note."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


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
        low, high = interval(np.concatenate(parts[name])) if n > 1 else (math.nan, math.nan)
        note = "" if limit[name] == resamples else f"interval from {limit[name]} resamples"
        out[name] = Score(float(statistic(np.ones((1, n)))[0]), low, high, note)
    return out


def _single(labels: NDArray, probabilities: Floats) -> tuple[dict[str, Statistic], dict[str, int]]:
    n, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    correct = predicted == labels
    confidence = probabilities.max(1)
    tiny = np.finfo(np.float64).eps
    loss = -np.log(np.clip(probabilities[np.arange(n), labels], tiny, 1 - tiny))
    bins = _bins(confidence)
    gaps = sparse.csr_matrix((correct - confidence, (bins, np.arange(n))), shape=(BINS, n))
    hits, chosen, gold = (per_class(c, classes, k) for c, k in ((labels, correct), (predicted, None), (labels, None)))
    table: dict[str, Statistic] = {
        "accuracy": mean_of(correct),
        "macro_f1": lambda w: f1_macro(hits(w), chosen(w), gold(w)),
        "mcc": lambda w: mcc(hits(w), chosen(w), gold(w)),
        "ece": lambda w: np.abs(np.asarray(gaps @ w.T)).sum(0) / w.sum(1),
        "log_loss": mean_of(loss),
    }
    if classes == 2:
        rare = rare_class(labels)
        positive = labels == rare
        table |= {
            "auroc": auroc(labels == 1, probabilities[:, 1]),
            "precision": lambda w: ratio(hits(w)[:, rare], chosen(w)[:, rare]),
            "recall": lambda w: ratio(hits(w)[:, rare], gold(w)[:, rare]),
            "f1": lambda w: ratio(2 * hits(w)[:, rare], chosen(w)[:, rare] + gold(w)[:, rare]),
            "recall_at_fpr_0.5": recall_at(positive, probabilities[:, rare], RECALL_AT),
        }
        return table, {"auroc": 1, "recall_at_fpr_0.5": 2}
    table["auroc"] = auroc_macro(labels[:, None] == np.arange(classes), probabilities)
    return table, {"auroc": classes}


def _multi(labels: NDArray, probabilities: Floats) -> tuple[dict[str, Statistic], dict[str, int]]:
    gold, chosen = labels.astype(np.float64), (probabilities >= 0.5).astype(np.float64)
    hits = gold * chosen

    def micro(w: Floats) -> Floats:
        return ratio(2 * (w @ hits.sum(1)), w @ (gold + chosen).sum(1))

    def macro(w: Floats) -> Floats:  # all columns, as scikit-learn does for indicator matrices
        return ratio(2 * (w @ hits), w @ (gold + chosen)).mean(1)

    table: dict[str, Statistic] = {
        "micro_f1": micro,
        "macro_f1": macro,
        "subset_accuracy": mean_of((gold == chosen).all(1)),
        "auroc": auroc_macro(gold > 0, probabilities),
    }
    return table, {"auroc": gold.shape[1]}


def _regression(labels: Floats, values: Floats) -> tuple[dict[str, Statistic], dict[str, int]]:
    squares = mean_of((labels - values) ** 2)
    gold, guess = ranks(labels), ranks(values)
    table: dict[str, Statistic] = {
        "pearson": lambda w: correlation(labels, values, w),
        "spearman": lambda w: correlation(gold(w), guess(w), w),
        "rmse": lambda w: np.sqrt(squares(w)),
        "mae": mean_of(np.abs(labels - values)),
    }
    return table, {"spearman": 2}


def reliability(labels: ArrayLike, probabilities: ArrayLike) -> list[dict[str, float]]:
    """Mean confidence, accuracy and count in the bins of "ece", empty ones left out (Guo et al. 2017, section 2).

    labels (n,) int, probabilities (n, C). The counts' mean of the gaps is "ece".
    """
    y, p = checked(labels, probabilities, "single")
    confidence, correct = p.max(1), p.argmax(1) == y
    bins = _bins(confidence)
    return [
        {"confidence": float(confidence[m].mean()), "accuracy": float(correct[m].mean()), "count": int(m.sum())}
        for m in (bins == b for b in np.unique(bins))
    ]


def _bins(confidence: Floats) -> NDArray[np.int64]:
    """Number of each confidence's bin: (low, high], BINS of equal width."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def rare_class(labels: ArrayLike) -> int:
    """The class of a binary task that precision, recall and F1 are about: the rarer one, 1 if equal."""
    counts = np.bincount(np.asarray(labels), minlength=2)
    return 0 if counts[0] < counts[1] else 1


def checked(labels: ArrayLike, probabilities: ArrayLike, kind: Kind) -> tuple[NDArray, Floats]:
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


def statistics(y: NDArray, p: Floats, kind: Kind) -> tuple[dict[str, Statistic], dict[str, int]]:
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
    y, p = checked(labels, probabilities, kind)
    table, passes = statistics(y, p, kind)
    scores = _scores(table, len(y), passes, resamples, seed)
    for name, note in _notes(y, p, kind, names).items():
        score = scores[name]
        scores[name] = Score(score.value, score.low, score.high, "; ".join(t for t in (note, score.note) if t))
    return scores


def point_scores(labels: ArrayLike, probabilities: ArrayLike, kind: Kind = "single") -> dict[str, float]:
    """The values of ``classification_scores`` alone: for the curve of a running training."""
    y, p = checked(labels, probabilities, kind)
    one = np.ones((1, len(y)))
    return {name: float(statistic(one)[0]) for name, statistic in statistics(y, p, kind)[0].items()}


def _notes(y: NDArray, p: Floats, kind: Kind, names: Sequence[str] | None) -> dict[str, str]:
    if kind == "regression":
        return {}
    label = [str(n) for n in names] if names is not None else [str(c) for c in range(p.shape[1])]
    present = np.stack([y == c for c in range(p.shape[1])], 1) if kind == "single" else y > 0
    absent = [label[c] for c in range(p.shape[1]) if not both(present[:, c])]
    notes = {"auroc": f"undefined for {', '.join(absent[:5])}: needs examples with and without it"} if absent else {}
    if kind == "single" and p.shape[1] == 2:
        about = f"of class {label[rare_class(y)]}"
        notes |= dict.fromkeys(("precision", "recall", "f1", "recall_at_fpr_0.5"), about)
    return notes
