"""No answer where the answer is not probable enough: None, and what is then left to score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import ConfigError
from wordloom.metrics import Score, Tally, tally_scores


def refuse_abstaining(kind: str, below: float) -> None:
    """Raises ConfigError where answers have no one probability, or none can be below."""
    if kind != "single":
        raise ConfigError("only an answer that is one label can be withheld", where="--abstain", cure="leave it out")
    if not 0 < below < 1:
        raise ConfigError(f"{below} is no probability between 0 and 1", where="--abstain", cure="write for example 0.8")


def withheld(
    answers: Sequence[Any], probabilities: NDArray[np.float64], labels: Sequence[str], below: float
) -> list[Any]:
    """The answers, None where an answer's own calibrated probability, of (E, C), is less."""
    index = {label: i for i, label in enumerate(labels)}
    return [a if p[index[a]] >= below else None for a, p in zip(answers, probabilities, strict=True)]


def selective_scores(gold: Sequence[Any], answers: Sequence[Any], below: float) -> dict[str, Score]:
    """Share of the examples that are answered, and accuracy of these (El-Yaniv & Wiener 2010, definition 1)."""
    given = np.array([a is not None for a in answers], np.float64)
    right = np.array([a is not None and a == g for g, a in zip(gold, answers, strict=True)], np.float64)
    note = f"answers of at least {below:g}"
    return tally_scores({"coverage": Tally.mean(given, note), "answered_accuracy": Tally.share(right, given, note)})
