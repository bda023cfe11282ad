"""The contract of a supervised task.

A task turns records into windows, builds its head, computes its loss and decodes logits. For the loop it is a
``train.job.Job``; for the predictor it is what is below. A task object holds no weights: the model comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.metrics import Score
from wordloom.model.architecture import Architecture


@runtime_checkable
class Task(Protocol):
    """What ``infer.predictor`` needs of a task. E examples, C classes."""

    @property
    def kind(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C classes; empty for regression."""

    def heads(self, arch: Architecture) -> dict[str, nn.Module]:
        """Fresh heads by name."""

    def logits(self, model: nn.Module, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """(E, C) float32 on the CPU, in input order, without gradient."""

    def probabilities(self, logits: Tensor) -> NDArray[np.float64]:
        """(E, C) calibrated; (E,) values in the unit of the labels for regression."""

    def decode(self, probabilities: NDArray[np.float64]) -> list[Any]:
        """What is predicted, an entry per example: a label, a tuple of labels, or a number."""

    def scores(self, examples: Any, probabilities: NDArray[np.float64]) -> dict[str, Score]:
        """Scores of labelled examples, each with its interval."""

    def settings(self) -> dict[str, Any]:
        """JSON from which the task is built again, beside a tokenizer."""
