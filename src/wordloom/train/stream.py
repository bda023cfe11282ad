"""Pre-training data as a pure function of the step: rows of a layout, corrupted by an objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from wordloom.data.batch import Batch

Corrupt = Callable[[Batch, np.random.Generator, float], Batch]


class Layout(Protocol):
    """What ``data.packing`` offers: rows of a token store and their order."""

    @property
    def rows_per_epoch(self) -> int: ...

    def order(self, start: int, count: int) -> np.ndarray:
        """Row numbers of the global positions start .. start + count."""

    def batch(self, rows: np.ndarray) -> Batch: ...


class CorruptedStream:
    """The global batch of a step: ``rows`` rows of the layout with fresh corruption at every visit.

    The generator is seeded by (seed, step) and corrupts the whole global batch before it is divided,
    so neither micro-batches nor ranks change what is masked.
    """

    def __init__(self, layout: Layout, corrupt: Corrupt, *, rows: int, seed: int):
        self.layout, self.corrupt, self.rows, self.seed = layout, corrupt, rows, seed
        self.total_steps: int | None = None  # the loop tells it, for schedules of the masking rate

    @property
    def steps_per_epoch(self) -> int:
        return max(1, round(self.layout.rows_per_epoch / self.rows))

    def step(self, step: int, parts: int) -> list[Batch]:
        batch = self.layout.batch(self.layout.order(step * self.rows, self.rows))
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        progress = step / self.total_steps if self.total_steps else 0.0
        return self.corrupt(batch, rng, progress).split(parts)
