"""What every objective does with a model's states and its targets (B, T)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import DataError


def target_of(batch: Batch, name: str) -> Tensor:
    """The targets of a term. Raises DataError where the batch has none."""
    if name not in batch.targets:
        cure = (
            "use pairs rows, which hold these targets"
            if name in ("next_sentence", "sentence_order")
            else "corrupt the batch first"
        )
        raise DataError(f"the batch has no {name!r} targets", cure=cure)
    return batch.targets[name]


def at_targets(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """hidden (B, T, D) and targets (B, T) -> states (N, D) and targets (N,) where there is something to predict."""
    rows, cols = torch.nonzero(targets != IGNORE, as_tuple=True)
    return hidden[rows, cols], targets[rows, cols]


def states_of(model: Any, batch: Batch, state: Any) -> tuple[Tensor, Any]:
    """Hidden states (B, T, D), and what the body carries to the batch that continues this one: None where nothing."""
    inputs = batch.tokens, batch.documents, batch.positions, batch.types
    if batch.source is not None:
        return model.body(*inputs, batch.source), None
    if batch.continues and model.body.carries:
        hidden, state = model.body.forward_state(*inputs, state)
        return hidden, state
    return model.body(*inputs), None
