"""An objective as a job of the training loop: its loss, and its measure on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from wordloom.data.batch import Batch
from wordloom.metrics import Mean
from wordloom.train.job import Terms


class Objective(Protocol):
    def counts(self, batch: Batch) -> Mapping[str, int]: ...

    def loss(self, model: nn.Module, batch: Batch, state: Any) -> tuple[Terms, Any]: ...


class Pretraining:
    """Job of the loop. ``held_out`` batches are corrupted once, so every evaluation sees the same masks."""

    score = ("loss", False)  # the best checkpoint has the lowest held-out loss

    def __init__(self, objective: Objective, held_out: Sequence[Batch]):
        self.objective, self.held_out = objective, list(held_out)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return self.objective.counts(batch)

    def loss(self, model: nn.Module, batch: Batch, state: Any) -> tuple[Terms, Any]:
        return self.objective.loss(model, batch, state)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out value of every term in nats, "loss" = their weighted sum, and "perplexity" per predicted token.

        A term that no held-out row has is left out: a single row of the hybrid objective is causal or masked, not both.
        """
        every, weights = self.totals(model)
        terms = {name: mean for name, mean in every.items() if mean.count}
        scores = {name: mean.value for name, mean in terms.items()}
        scores["loss"] = sum(weights[name] * mean.value for name, mean in terms.items())
        first = next(iter(terms.values()))
        scores["perplexity"] = math.exp(min(first.value, 700.0))
        return scores

    def totals(self, model: nn.Module) -> tuple[dict[str, Mean], dict[str, float]]:
        return _totals(self.objective, model, self.held_out)

    def by_batch(self, model: nn.Module, term: str) -> tuple[list[float], list[float]]:
        """(sums, counts) of one term, an entry per held-out batch that has it: what a bootstrap over batches needs."""
        found = [terms[term] for terms in _by_batch(self.objective, model, self.held_out) if terms[term].count]
        return [float(t.sum) for t in found], [t.count for t in found]


def _totals(
    objective: Objective, model: nn.Module, batches: Sequence[Batch]
) -> tuple[dict[str, Mean], dict[str, float]]:
    means: dict[str, Mean] = {}
    weights: dict[str, float] = {}
    for terms in _by_batch(objective, model, batches):
        for name, term in terms.items():
            means[name] = means.get(name, Mean(0.0, 0)) + Mean(float(term.sum), term.count)
            weights[name] = term.weight
    return means, weights


def _by_batch(objective: Objective, model: nn.Module, batches: Sequence[Batch]) -> list[Terms]:
    """The terms of each batch; what a model carries goes from one batch to the next."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found: list[Terms] = []
    state: Any = None
    with torch.inference_mode():
        for batch in batches:
            terms, state = objective.loss(model, batch.to(device), state)
            found.append(terms)
    model.train(was_training)
    return found
