"""Which examples a training step holds: a pure function of (seed, step), so that nothing is replayed on resume."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from wordloom.data.batch import Batch
from wordloom.tasks.windows import Ints, balanced_parts

POOL = 32  # batches sorted by length together: rows fill well, and a batch still mixes what an epoch holds


class Epochs:
    """``batch`` examples a step, of similar length.

    An epoch shuffles, sorts within pools of 32 batches by length, cuts, and shuffles the order of the batches;
    every example comes once. Batch sizes of an epoch differ by one at most. The plan of one epoch is kept.
    """

    def __init__(self, sizes: Ints, *, batch: int, seed: int):
        """sizes: (E,) tokens of each example."""
        self.sizes, self.seed = sizes, seed
        self.steps = -(-len(sizes) // batch)  # of an epoch
        self._plan: tuple[int, list[Ints]] | None = None

    @property
    def smallest(self) -> int:
        """Examples of the smallest batch of an epoch."""
        return len(self.sizes) // self.steps

    def plan(self, epoch: int) -> list[Ints]:
        """Example numbers of every batch of an epoch."""
        if self._plan is None or self._plan[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            order = rng.permutation(len(self.sizes))
            edges = [i * len(order) // self.steps for i in range(self.steps + 1)]
            for i in range(0, self.steps, POOL):
                a, b = edges[i], edges[min(i + POOL, self.steps)]
                order[a:b] = order[a:b][np.argsort(self.sizes[order[a:b]], kind="stable")]
            batches = [order[a:b] for a, b in pairwise(edges)]
            self._plan = epoch, [batches[i] for i in rng.permutation(len(batches))]
        return self._plan[1]

    def chosen(self, step: int) -> Ints:
        """Example numbers of a step, counted over epochs."""
        epoch, index = divmod(step, self.steps)
        return self.plan(epoch)[index]

    def parts(self, step: int, parts: int) -> tuple[Ints, list[Ints]]:
        """Example numbers of a step, and places in that list dealt into ``parts`` groups of nearly equal tokens.

        Raises ConfigError for more parts than examples.
        """
        chosen = self.chosen(step)
        return chosen, balanced_parts(self.sizes[chosen], parts)

    def batches(self, step: int, parts: int, make: Callable[[Ints], Batch]) -> list[Batch]:
        """``parts`` batches, of the examples of a step, that ``make`` makes of their numbers; raises as ``parts``."""
        chosen, groups = self.parts(step, parts)
        return [make(chosen[group]) for group in groups]


class EpochStream:
    """What ``train.job.Stream`` asks for beside ``step``, of a task's stream that keeps its plan in ``epochs``."""

    epochs: Epochs

    @property
    def steps_per_epoch(self) -> int:
        return self.epochs.steps

    @property
    def smallest_step(self) -> int:
        """Examples of the smallest batch of an epoch: more micro-batches than this are impossible."""
        return self.epochs.smallest
