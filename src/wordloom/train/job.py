"""What the loop asks of its work. It knows no objective, task or model by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from wordloom.data.batch import Batch


class Term(NamedTuple):
    """One term of a loss. The optimised value is weight * (all sums / all counts), totals taken
    over micro-batches and ranks before the division, so no average of averages exists anywhere."""

    sum: Tensor  # () differentiable
    count: int  # type: ignore[assignment]  # hides tuple.count, which no one calls
    weight: float = 1.0


Terms = dict[str, Term]


class Job(Protocol):
    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Counts of every term for this batch, known before the forward pass; same keys as loss()."""

    def loss(self, model: nn.Module, batch: Batch, state: Any) -> tuple[Terms, Any]: ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Scores on held-out data. "loss" is always there; ``score`` is what best-checkpoint uses."""

    @property
    def score(self) -> tuple[str, bool]:
        """(name of the score that picks the best checkpoint, higher_is_better)."""


class Stream(Protocol):
    """Training data as a pure function of the step: nothing to replay, nothing to save."""

    @property
    def steps_per_epoch(self) -> int: ...

    def step(self, step: int, parts: int) -> list[Batch]:
        """Exactly ``parts`` micro-batches whose union is the global batch of ``step``, independent of
        ``parts``; corruption is already applied, with randomness a function of (seed, step) only."""
