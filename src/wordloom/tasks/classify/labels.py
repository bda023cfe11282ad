"""Labels as written in a file <-> numbers a loss can use."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import BundleError, DataError
from wordloom.metrics import Kind

FEW = "give examples of at least two labels"


@dataclass(frozen=True)
class LabelSpace:
    """kind, the C class names in order, and for regression mean and deviation of the training labels.

    weights: (C,) class weights, all 1 unless balanced. single: n / (C n_c), which average to 1 over the
    training set; multi: n_negative / n_positive per label, the weight of its positives in the cross-entropy.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    weights: tuple[float, ...] = ()

    @property
    def outputs(self) -> int:
        """Logits of a head: C, or 1 for regression."""
        return len(self.names) if self.kind != "regression" else 1

    @classmethod
    def fit(cls, labels: Sequence[Any], kind: Kind, balanced: bool = False, names: Sequence[str] = ()) -> LabelSpace:
        """Names (those of ``labels`` and of ``names``, for splits that lack a class), weights, standardisation.

        Raises DataError for fewer than two classes, no label at all, or a constant regression target.
        """
        if not len(labels):
            raise DataError("there is no labelled example", cure="check the label column")
        if kind == "regression":
            values = np.array([_number(v, "") for v in labels])
            if not values.std() > 0:
                raise DataError(f"every label is {values[0]:g}", cure="give numbers that differ")
            return cls(kind, (), float(values.mean()), float(values.std()))
        each = [set(_several(v)) if kind == "multi" else {str(v)} for v in labels]
        found = tuple(_ordered(set().union(*each) | {str(n) for n in names}))
        if len(found) < (2 if kind == "single" else 1):
            only = f"only the label {found[0]!r} occurs" if found else "no example has a label"
            raise DataError(only, cure=FEW)
        space = cls(kind, found, weights=(1.0,) * len(found))
        if not balanced:
            return space
        counts = np.array([sum(n in e for e in each) for n in found], np.float64)
        rest = counts.sum() / len(found) if kind == "single" else len(each) - counts
        weights = np.divide(rest, counts, out=np.ones(len(found)), where=(counts > 0) & (rest > 0))
        return cls(kind, found, weights=tuple(float(w) for w in weights))

    def targets(self, labels: Sequence[Any], places: Sequence[str] = ()) -> NDArray:
        """(E,) int64, (E, C) float32 of 0 and 1, or (E,) float64 in the labels' own unit.

        Raises DataError for a label that training never saw, with its place.
        """
        where = list(places) or [f"example {i + 1}" for i in range(len(labels))]
        if self.kind == "regression":
            return np.array([_number(v, w) for v, w in zip(labels, where, strict=True)], np.float64)
        index = {name: i for i, name in enumerate(self.names)}
        if self.kind == "single":
            return np.array([self._index(index, v, w) for v, w in zip(labels, where, strict=True)], np.int64)
        out = np.zeros((len(labels), len(self.names)), np.float32)
        for i, (row, place) in enumerate(zip(labels, where, strict=True)):
            for v in _several(row):
                out[i, self._index(index, v, place)] = 1
        return out

    def _index(self, index: dict[str, int], label: Any, where: str) -> int:
        if str(label) not in index:
            known = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
            raise DataError(f"label {str(label)!r} does not occur in the training data (known: {known})", where=where,
                            cure="correct the label or train with examples of it")  # fmt: skip
        return index[str(label)]

    def decode(self, probabilities: NDArray[np.float64]) -> list[Any]:
        """The most probable label; labels of at least 0.5 as a tuple; or the number itself."""
        if self.kind == "single":
            return [self.names[i] for i in probabilities.argmax(1)]
        if self.kind == "multi":
            return [tuple(n for n, p in zip(self.names, row, strict=True) if p >= 0.5) for row in probabilities]
        return [float(v) for v in probabilities]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.names), "mean": self.mean, "deviation": self.deviation,
                "class_weights": list(self.weights)}  # fmt: skip

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LabelSpace:
        try:
            kind = values["kind"]
            if kind not in ("single", "multi", "regression"):
                raise KeyError(kind)
            return cls(kind, tuple(values["labels"]), float(values["mean"]), float(values["deviation"]),
                       tuple(values["class_weights"]))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the labels of the task are damaged ({error})", cure="fine-tune again") from None


def _several(label: Any) -> list[str]:
    return [label] if isinstance(label, str) else [str(v) for v in label]


def _ordered(names: set[str]) -> list[str]:
    """By value where all are whole numbers, else by name: as ``Examples.label_names``."""
    whole = all(re.fullmatch(r"-?\d+", n) for n in names)
    return sorted(names, key=lambda n: (int(n), n)) if whole else sorted(names)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"label {str(value)!r} is not a number", where=where or None,
                        cure="give a number, or fine-tune with kind = \"single\"")  # fmt: skip
    return number
