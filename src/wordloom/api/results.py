"""What the verbs return: where the run lies, what it scored, and the same in plain lines."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordloom.disk import jsonable
from wordloom.metrics import Paired, Score

if TYPE_CHECKING:
    from wordloom.infer.predictor import Predictor
    from wordloom.infer.task_predictor import TaskPredictor


@dataclass(frozen=True)
class Result:
    """A finished run. ``scores`` is what scores.json holds; ``notes`` are sentences worth reading first."""

    path: Path
    kind: str
    scores: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    report: Path | None = None
    predictor: Predictor | TaskPredictor | None = None

    def summary(self) -> str:
        lines = [*self.notes, f"run: {self.path}"]
        if self.report is not None:
            lines.append(f"report: {self.report}")
        return "\n".join(lines)


def say(text: str, quiet: bool) -> None:
    """A line on standard output, of the first process only under torchrun."""
    if not quiet and int(os.environ.get("RANK", "0")) == 0:
        print(text, flush=True)


def score_json(score: Score) -> dict[str, Any]:
    """nan, of a score that is undefined or has no interval, is None."""
    values = jsonable({"value": score.value, "low": score.low, "high": score.high})
    return {**values, "note": score.note} if score.note else values


def scores_json(scores: dict[str, Score]) -> dict[str, Any]:
    return {name: score_json(score) for name, score in scores.items()}


def paired_json(test: Paired, name: str) -> dict[str, Any]:
    """The ``paired`` section of scores.json."""
    difference = {"value": test.difference, "low": test.low, "high": test.high}
    return {"name": name, "metric": test.metric, "difference": difference, "p": test.p_value, "verdict": test.verdict}


def table(rows: list[list[str]], header: list[str]) -> list[str]:
    """Plain aligned columns: the first left, the others right."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    ]
