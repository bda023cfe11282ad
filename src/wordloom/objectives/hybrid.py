"""Masked and causal rows in one batch, one output head: Charpentier & Samuel 2024 (GPT-BERT), section 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordloom.config import HybridConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.model.build import AnyArchitecture
from wordloom.objectives.causal import NAME as CAUSAL
from wordloom.objectives.causal import Causal
from wordloom.objectives.masked import Masked
from wordloom.objectives.targets import at_targets, target_of
from wordloom.train.job import Term, Terms


class Hybrid:
    """A share of the rows is causal, the others are masked; each is its own objective's row, to the bit.

    Where this differs from the paper: there both kinds predict the next token (a mask at i + 1 is filled at i); here
    a masked row predicts token i at i, as every masked model does, and a causal row token i + 1 at i. Both go through
    the head "masked". What a row is, it says by its targets: a row with causal targets is causal.
    """

    def __init__(self, config: HybridConfig, masked: Masked, causal: Causal):
        """masked, causal: the two objectives; masked's head serves both."""
        self.config, self.masked, self.causal = config, masked, causal

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        return self.masked.heads(arch)

    def corrupt(self, batch: Batch, rng: np.random.Generator, progress: float) -> Batch:
        """The batch with targets["masked"] and targets["causal"], (B, T) each: a row has one of them.

        causal_share * B rows are causal, a fraction of a row by chance; of two rows or more, at least one is causal
        and one is not.
        """
        following = self.causal.corrupt(batch, rng, progress).targets[CAUSAL]
        masked = self.masked.corrupt(batch, rng, progress)
        count = int(self.config.causal_share * batch.rows + rng.random())
        if batch.rows > 1:
            count = min(max(count, 1), batch.rows - 1)
        is_causal = torch.zeros(batch.rows, 1, dtype=torch.bool)
        is_causal[rng.permutation(batch.rows)[:count]] = True
        targets = {
            "masked": torch.where(is_causal, IGNORE, masked.targets["masked"]),
            CAUSAL: torch.where(is_causal, following, IGNORE),
        }
        return replace(masked, tokens=torch.where(is_causal, batch.tokens, masked.tokens), targets=targets)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {**self.masked.counts(batch), **self.causal.counts(batch)}

    def loss(self, model: Any, batch: Batch, state: Any) -> tuple[Terms, Any]:
        """Terms "masked" and "causal": sums of cross entropy in nats, weighted 1 - causal_share and causal_share.

        So are the paper's: each kind has its share of the devices, and the devices' means are averaged.
        """
        rows = causal_rows(batch)
        hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types, causal_rows=rows)  # (B, T, D)
        terms = self.masked.terms(model, hidden, batch)
        states, targets = at_targets(hidden, target_of(batch, CAUSAL))  # (N, D), (N,)
        total = model.heads["masked"].loss(states, model.token_embedding, targets)
        share = self.config.causal_share
        terms["masked"] = terms["masked"]._replace(weight=1 - share)
        return {**terms, CAUSAL: Term(total, len(targets), share)}, state


def causal_rows(batch: Batch) -> Tensor:
    """(B,) bool: rows in which there is a next token to predict."""
    return (target_of(batch, CAUSAL) != IGNORE).any(dim=1)
