"""The candidates one after the other, each a run of its own; finished ones are kept, what fails is left out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wordloom.choice.comparison import Candidate, Costs
from wordloom.errors import RunError, WordloomError
from wordloom.metrics import MAIN, Score

COSTS = "costs.json"  # written last: a candidate is finished when it is there


@dataclass(frozen=True)
class Maker:
    """make: leaves a finished run in a folder, replacing an unfinished one, and gives the seconds (pre-training or
    None, training). Raises a WordloomError where the candidate cannot be had."""

    name: str
    title: str
    make: Callable[[Path], tuple[float | None, float]]


Clock = Callable[[Path], Mapping[str, Any]]  # a bundle -> microseconds, alone, memory


def perform(
    makers: Sequence[Maker],
    folder: Path,
    clock: Clock,
    save: Callable[[Path, object], None],
    tell: Callable[[str], None],
) -> tuple[list[Candidate], dict[str, str]]:
    """(candidates, {title: why it was left out}). save: writes JSON whole or not at all.

    An unfinished candidate is made anew: one that was resumed would have no honest seconds. Raises RunError where fewer
    than two are left.
    """
    found: list[Candidate] = []
    left_out: dict[str, str] = {}
    for number, maker in enumerate(makers, start=1):
        place = folder / maker.name
        head = f"{number}/{len(makers)} {maker.title}"
        if (place / COSTS).exists():
            tell(f"{head}: finished before, kept")
        else:
            tell(f"{head} ...")
            try:
                pretraining, training = maker.make(place)
            except WordloomError as error:
                left_out[maker.title] = str(error)
                tell(f"{head}: left out: {error}")
                continue
            size = sum(file.stat().st_size for file in (place / "bundle").rglob("*") if file.is_file())
            measured = clock(place / "bundle")
            costs = Costs(pretraining, training, measured["microseconds"], measured["alone"], measured["memory"], size)
            save(place / COSTS, costs.to_json())
        candidate = read(maker.name, maker.title, place)
        tell(f"{head}: {candidate.score.plain}, {candidate.costs.microseconds:,.0f} us a text")
        found.append(candidate)
    if len(found) < 2:
        reasons = "; ".join(f"{title}: {why}" for title, why in left_out.items())
        what = f"{len(found)} of {len(makers)} candidates could be had, and one alone is no choice"
        raise RunError(f"{what} ({reasons})" if reasons else what, where=folder, cure="name more candidates")
    return found, left_out


def read(name: str, title: str, place: Path) -> Candidate:
    """A finished candidate's score, costs and answers."""
    scores = json.loads((place / "scores.json").read_text(encoding="utf-8"))
    main = scores["scores"][scores["main"]]
    value, low, high = (math.nan if main[key] is None else float(main[key]) for key in ("value", "low", "high"))
    costs = Costs.from_json(json.loads((place / COSTS).read_text(encoding="utf-8")))
    with (place / "predictions.jsonl").open(encoding="utf-8") as lines:
        answers = np.array([json.loads(line)["probabilities"] for line in lines], np.float64)
    probabilities = answers[:, 0] if scores["main"] == MAIN["regression"] else answers
    return Candidate(name, title, Score(value, low, high), costs, probabilities)
