"""Replaced-token detection: Clark et al. 2020 (ELECTRA), section 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordloom.config import ReplacedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import AnyArchitecture
from wordloom.model.generator import Generator, generator_architecture
from wordloom.model.heads import ReplacedHead
from wordloom.objectives.masked import Masked
from wordloom.objectives.targets import at_targets, target_of
from wordloom.train.job import Term, Terms

NAME = "replaced"
GENERATOR = "generator"


class Replaced:
    """A small generator fills masked places with samples; the model tells for every token whether it is the original.

    masks: the masked objective that chooses the places; ELECTRA's replaces all of them by [MASK] (``masked=1``, section
    2; the authors' code leaves 15% as they are), so that the original text is what its targets put back, and its loss
    cannot be compared with BERT's: with nothing to copy it stands half a nat higher before either has learned more than
    word frequencies. The generator is trained by its masked loss alone: its samples carry no gradient (section 2: it is
    not adversarial).
    """

    auxiliary = (GENERATOR,)  # heads that serve the training alone: no bundle holds them

    def __init__(self, config: ReplacedConfig, masks: Masked):
        self.config, self.masks = config, masks

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        if not isinstance(arch, Architecture):
            cure = "choose a Transformer, or another objective"
            raise ConfigError("replaced-token detection needs a Transformer", cure=cure)
        small = generator_architecture(arch, self.config.generator_width, self.config.generator_layers)
        return {NAME: ReplacedHead(arch), GENERATOR: Generator(small)}

    def corrupt(self, batch: Batch, rng: np.random.Generator, progress: float) -> Batch:
        """The batch as the generator reads it, with targets["masked"], and targets["chance"] (B, T) float32 in [0, 1).

        The chance decides what is sampled at each place: drawn here, from (seed, step), samples depend on the weights
        and on nothing else: not on how the step is divided, and evaluation is the same at every call.
        """
        masked = self.masks.corrupt(batch, rng, progress)
        chance = torch.from_numpy(rng.random(batch.tokens.shape, dtype=np.float32))
        return replace(masked, targets={**masked.targets, "chance": chance})

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Places the generator fills; all real tokens, special ones among them (as in the authors' code)."""
        return {**self.masks.counts(batch), NAME: batch.real_tokens}

    def loss(self, model: Any, batch: Batch, state: Any) -> tuple[Terms, Any]:
        """Terms "masked" (the generator's cross entropy, weight 1) and "replaced" (binary, weight 50), in nats.

        Section 2: the minimum over both of L_MLM + lambda L_Disc, lambda = 50 (appendix A).
        """
        generator = model.heads[GENERATOR]
        hidden = generator(model.body.embeddings, batch.tokens, batch.documents, batch.positions, batch.types)
        states, targets = at_targets(hidden, target_of(batch, "masked"))  # (N, G), (N,)
        filling = generator.head.loss(states, model.token_embedding, targets)
        tokens, changed = self.replace_tokens(model, batch, states)
        hidden = model.body(tokens, batch.documents, batch.positions, batch.types)  # (B, T, D)
        real = batch.documents > 0
        telling = model.heads[NAME].loss(hidden[real], changed[real])
        terms = {
            "masked": Term(filling, len(targets)),
            NAME: Term(telling, batch.real_tokens, self.config.weight),
        }
        return terms, state

    @torch.no_grad()
    def replace_tokens(self, model: Any, batch: Batch, states: Tensor) -> tuple[Tensor, Tensor]:
        """states (N, G) of the masked places, row by row -> tokens (B, T) with samples there, and where they differ.

        A sample that happens to be the original counts as original (section 2).
        """
        targets, chance = target_of(batch, "masked"), target_of(batch, "chance")
        places = targets != IGNORE  # (B, T)
        original = torch.where(places, targets, batch.tokens)
        tokens = original.clone()
        tokens[places] = model.heads[GENERATOR].sample(states, model.token_embedding, chance[places])
        return tokens, tokens != original
