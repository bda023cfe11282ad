"""When a label is given: from a probability that keeps its precision, or not at all below a probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wordloom.errors import BundleError, ConfigError
from wordloom.metrics import Score

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """``label`` is given where its probability is at least ``value``, else the likeliest of the others.

    wanted: its precision; reached: that of the ``given`` validation examples which get the label (``right`` of them).
    """

    label: str
    value: float
    wanted: float
    given: int
    right: int

    @classmethod
    def fit(cls, label: str, probabilities: Floats, gold: NDArray[np.bool_], wanted: float) -> Threshold:
        """probabilities (E,) of the label, gold (E,) whether it is right: the least value whose precision is at least
        the wanted one, so that recall is largest; where none is, the most precise one."""
        order = np.argsort(-probabilities, kind="stable")
        given, right = np.arange(1, len(order) + 1), np.cumsum(gold[order])
        last = np.append(np.diff(probabilities[order]) != 0, True)  # examples of equal probability go together
        precise = np.where(last, right / given, -1.0)
        enough = np.flatnonzero(precise >= wanted)
        at = int(enough[-1]) if len(enough) else int(np.argmax(precise))
        return cls(label, float(probabilities[order[at]]), wanted, int(given[at]), int(right[at]))

    def decide(self, probabilities: Floats, labels: Sequence[str]) -> NDArray[np.int64]:
        """probabilities (E, C) -> (E,) numbers of labels."""
        index = labels.index(self.label)
        others = probabilities.copy()
        others[:, index] = -1.0
        return np.where(probabilities[:, index] >= self.value, index, others.argmax(1)).astype(np.int64)

    def scores(self, gold: NDArray[np.int64], probabilities: Floats, labels: Sequence[str]) -> dict[str, Score]:
        """Precision and recall of the label with exact 95 % intervals (Clopper & Pearson 1934): where all answers are
        right, a resample of them says nothing."""
        index = labels.index(self.label)
        answer, right = self.decide(probabilities, labels) == index, gold == index
        note = (f"of {self.label!r}, given from a probability of {self.value:.4g}, where {self.right} of {self.given} "
                f"validation answers were right; asked for: {self.wanted:g}")  # fmt: skip
        hits = int((answer & right).sum())
        return {"precision": share(hits, int(answer.sum()), note), "recall": share(hits, int(right.sum()), note)}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Threshold:
        try:
            return cls(str(values["label"]), float(values["value"]), float(values["wanted"]), int(values["given"]),
                       int(values["right"]))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the task's threshold is damaged ({error})", cure="fine-tune again") from None


def share(hits: int, total: int, note: str) -> Score:
    """hits / total with its exact interval; 0 with nothing known of nothing."""
    if total == 0:
        return Score(0.0, 0.0, 1.0, f"{note}; there was none")
    found = stats.binomtest(hits, total).proportion_ci(0.95, "exact")
    return Score(hits / total, float(found.low), float(found.high), note)


def refuse_threshold(label: str, kind: str, labels: Sequence[str]) -> None:
    """Raises ConfigError for a label that is not there, or a task without single labels."""
    if kind != "single":
        raise ConfigError("a threshold at a precision is of one label each", where="task.precision",
                          cure="leave task.precision and task.positive out")  # fmt: skip
    if label not in labels:
        raise ConfigError(f"the label {label!r} does not occur (known: {', '.join(labels[:8])})", where="task.positive",
                          cure="name one of these")  # fmt: skip
