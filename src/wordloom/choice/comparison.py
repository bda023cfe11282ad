"""Candidates side by side: what each scores and costs, and whether the best is really better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.metrics import MAIN, Kind, Paired, Score, paired


@dataclass(frozen=True)
class Costs:
    """Measured on one machine. pretraining: seconds, None where it happened elsewhere; training: seconds of whatever
    needs the labels; microseconds: to answer a text in a batch, alone: a text by itself; memory: bytes at the peak of a
    process that opens the bundle and answers, None where the system does not tell; size: bytes of the bundle."""

    pretraining: float | None
    training: float
    microseconds: float
    alone: float
    memory: int | None
    size: int

    @property
    def seconds(self) -> float:
        """Of all training here."""
        return (self.pretraining or 0.0) + self.training

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Costs:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Candidate:
    """probabilities: of the judged examples, as ``metrics.paired`` takes them."""

    name: str
    title: str
    score: Score
    costs: Costs
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A candidate in the table. against_best: its main score minus the best one's; None for the best itself."""

    name: str
    title: str
    score: Score
    costs: Costs
    against_best: Paired | None

    @property
    def as_good(self) -> bool:
        """The best, or not to be told from it on these examples."""
        return self.against_best is None or self.against_best.verdict == "no difference"


def side_by_side(candidates: Sequence[Candidate], gold: NDArray, kind: Kind) -> list[Row]:
    """Best first. Each is tested against the best on the same examples, in the main score of the kind."""
    ordered = sorted(candidates, key=lambda c: -c.score.value)
    best, rows = ordered[0], []
    for c in ordered:
        names = (c.title, best.title)
        test = None
        if c is not best:
            test = paired(gold, c.probabilities, best.probabilities, kind, MAIN[kind], names=names)
        rows.append(Row(c.name, c.title, c.score, c.costs, test))
    return rows
