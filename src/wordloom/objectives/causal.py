"""The causal objective: predict the next token (Bengio et al. 2003, section 1; Radford et al. 2018, equation 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordloom.config import CausalConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError
from wordloom.model.adaptive import AdaptiveHead, choose_cutoffs
from wordloom.model.build import AnyArchitecture
from wordloom.model.heads import CausalHead
from wordloom.objectives.targets import at_targets, states_of, target_of
from wordloom.train.job import Term, Terms

NAME = "causal"


class Causal:
    """Every token but the first of a document is predicted from those before it; nothing is random.

    counts: (V,) occurrences of each token in the training text, by which an adaptive softmax is cut.
    """

    def __init__(self, config: CausalConfig, counts: Tensor | None = None):
        self.config, self.counts_of_tokens = config, counts

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        """Raises ConfigError where an adaptive softmax lacks counts, or the vocabulary is too small for it."""
        if self.config.softmax == "full":
            return {NAME: CausalHead(arch)}
        if self.counts_of_tokens is None:
            raise ConfigError("an adaptive softmax is cut by the counts of the tokens", cure="give a token store")
        cutoffs = choose_cutoffs(self.counts_of_tokens, arch.width, clusters=self.config.clusters)
        return {NAME: AdaptiveHead(arch.vocab_size, arch.width, cutoffs, self.counts_of_tokens, init_std=arch.init_std)}

    def corrupt(self, batch: Batch, rng: np.random.Generator, progress: float) -> Batch:
        """The batch with targets["causal"] (B, T): the id that follows in the same document, else IGNORE.

        A layout that knows what follows a row's last token gives targets["next"] itself.
        """
        if "next" in batch.targets:
            following = batch.targets["next"]
        else:
            following = torch.full_like(batch.tokens, IGNORE)
            same = (batch.documents[:, 1:] == batch.documents[:, :-1]) & (batch.documents[:, 1:] > 0)
            following[:, :-1] = torch.where(same, batch.tokens[:, 1:], IGNORE)
        return replace(batch, targets={NAME: following})

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Predictions, from the targets alone."""
        return {NAME: int((target_of(batch, NAME) != IGNORE).sum())}

    def loss(self, model: Any, batch: Batch, state: Any) -> tuple[Terms, Any]:
        """The term "causal": sum of cross entropy in nats. state: what a recurrent model carries to the next batch."""
        hidden, state = states_of(model, batch, state)  # (B, T, D)
        states, targets = at_targets(hidden, target_of(batch, NAME))  # (N, D), (N,)
        total = model.heads[NAME].loss(states, model.token_embedding, targets)
        return {NAME: Term(total, len(targets))}, state
