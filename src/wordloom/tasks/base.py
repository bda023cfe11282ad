"""The contract of a supervised task: a job of the loop that also brings its head and survives in a bundle.

A task turns records into windows, builds its head, computes its loss and decodes logits. It holds no weights:
the model comes in. The prediction half is stated where it is used, ``infer.predictor.Answers``.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from wordloom.model.build import AnyArchitecture
from wordloom.train.job import Job


class Task(Job, Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C classes; empty for regression."""

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        """Fresh heads by name."""

    def calibrate(self, model: nn.Module) -> float:
        """Fit on the validation part what turns logits into honest probabilities; the temperature."""

    def settings(self) -> dict[str, Any]:
        """JSON from which, beside a tokenizer, the task is built again."""
