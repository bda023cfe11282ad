"""Texts -> mean last hidden states of a frozen encoder, and a linear classifier on them as the encoder's own head.

A text's features are the mean over its windows of each window's mean state, and ``Classify`` with mean pooling averages
the windows' logits: a linear classifier on the features, put into the head, is the same function. What is saved is
therefore an ordinary classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.data.batch import Batch
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import ClassifyHead, window_mean
from wordloom.model.model import Model
from wordloom.tasks.classify.linear import Linear
from wordloom.tasks.classify.task import HEAD, Classify
from wordloom.tasks.windows import by_budget, lay_out


def encode(task: Classify, model: Model, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray:
    """(E, D) float64, in input order, without gradient. Pairs are read together, as in fine-tuning; of an
    encoder-decoder it is the encoder that reads."""
    windows = task.windows(texts, pairs)
    owner = np.repeat(np.arange(windows.examples), windows.counts)
    out = np.zeros((len(owner), model.arch.width))
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        for chosen in by_budget(windows.lengths, task.budget):
            batch = lay_out(windows, chosen, owner[chosen], task.pad_id).to(device)
            hidden = _states(model, batch)
            rows, cols = batch.examples["rows"], batch.examples["cols"]
            out[chosen] = window_mean(hidden, rows, cols, batch.documents).double().cpu().numpy()
    sums = np.zeros((windows.examples, out.shape[1]))
    np.add.at(sums, owner, out)
    return sums / windows.counts[:, None]


def _states(model: Model, batch: Batch) -> Tensor:
    """Last hidden states (B, T, D); of an encoder-decoder the encoder's."""
    given = batch.tokens, batch.documents, batch.positions, batch.types
    return model.body.encode(*given).states if isinstance(model.body, EncoderDecoder) else model.body(*given)


def put_into_head(model: Model, linear: Linear) -> None:
    """The head's last layer becomes ``linear``: the same logits from now on, in float32. Pooling must be the mean."""
    head = model.heads[HEAD]
    if not isinstance(head, ClassifyHead) or head.pooling != "mean":
        raise ValueError("the classifier's features are means: build the task with pooling = mean")
    coef, intercept = linear.coef, linear.intercept
    space = linear.space
    if space.kind == "single" and len(coef) == 1:
        coef, intercept = np.concatenate([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
    if space.kind == "regression":  # the head speaks of standardised numbers
        coef, intercept = coef / space.deviation, (intercept - space.mean) / space.deviation
    assert head.output.bias is not None  # of the mean there is one
    with torch.no_grad():
        head.output.weight.copy_(torch.from_numpy(coef))
        head.output.bias.copy_(torch.from_numpy(intercept))
