"""The permuted objective: tokens are predicted one after the other in a random order, each from all that come before
it in that order, on both sides (Yang et al. 2019, XLNet, sections 2.2, 2.3 and 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.config import PermutedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.model.build import AnyArchitecture
from wordloom.model.heads import TokenHead
from wordloom.model.relative import Memory
from wordloom.objectives.targets import target_of
from wordloom.train.job import Term, Terms

NAME = "permuted"
ORDER = "order"


class Permuted:
    """Samples what is predicted and in which order. special_ids (and padding) are always context."""

    def __init__(self, config: PermutedConfig, *, vocab_size: int, special_ids: Iterable[int]):
        self.config = config
        self.special = np.zeros(vocab_size, dtype=bool)  # (V,)
        self.special[[*special_ids]] = True

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        """The output matrix and a bias, as the public twin's."""
        return {NAME: TokenHead(arch, transform=False, bias=True)}

    def corrupt(self, batch: Batch, rng: np.random.Generator, progress: float) -> Batch:
        """The batch with targets["permuted"] (B, T), the token's own id where it is predicted, else IGNORE; and
        targets["order"] (B, T), its place in the factorisation. No token is replaced: none sees itself.

        A row's tokens are divided into stretches of K * L tokens, L uniform in 1 .. span, the first beginning anywhere
        before the row; in each a run of L tokens anywhere is predicted: one token in K = ``every``. At least one of a
        row is. The predicted are in random order, 1, 2, ...; all others, the context z_{<=c} of the paper, have place
        0 and see each other, as in the authors' code (in the paper's equation the context is in a random order too,
        which no prediction depends on otherwise). There, lengths are drawn with weight 1 / L and runs are whole words;
        here as section 3.1 says. Special tokens are context here; there they stand in the order.

        rng must be a pure function of (seed, step). Call it on the global batch before the batch is split.
        """
        tokens = batch.tokens.numpy()  # (B, T)
        free = (batch.documents.numpy() > 0) & ~self.special[tokens]
        if "next" in batch.targets:  # behind its own part a stream repeats what others predict
            free &= batch.targets["next"].numpy() != IGNORE
        chosen = self._choose(free, rng)
        key = np.where(chosen, rng.random(tokens.shape), 2.0)
        rank = np.argsort(np.argsort(key, axis=1), axis=1) + 1  # (B, T) the predicted come first: 1, 2, ...
        targets = {
            NAME: torch.from_numpy(np.where(chosen, tokens, IGNORE)),
            ORDER: torch.from_numpy(np.where(chosen, rank, 0)),
        }
        return replace(batch, targets=targets)

    def _choose(self, free: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        """(B, T) bool, what is predicted among the tokens that are free to be."""
        B, T = free.shape
        every = self.config.every
        length = rng.integers(1, self.config.span + 1, size=(B, T // every + 2))  # L; enough stretches for any row
        offset = np.floor(rng.random(length.shape) * (every * length - length + 1)).astype(np.int64)
        end = np.cumsum(every * length, axis=1)
        phase = np.floor(rng.random(B) * every * length[:, 0]).astype(np.int64)  # (B,) before the row
        start = end - every * length + offset - phase[:, None]  # (B, stretches) in numbers of free tokens
        place = np.cumsum(free, axis=1) - 1  # (B, T) number of a free token
        chosen = np.zeros((B, T), dtype=bool)
        for b in range(B):
            run = np.searchsorted(start[b], place[b], side="right") - 1  # the last run that begins at or before it
            chosen[b] = free[b] & (run >= 0) & (place[b] - start[b][run] < length[b][run])
        count = free.sum(axis=1)
        pick = np.floor(rng.random(B) * count)  # (B,) for rows of which no token was chosen
        lacking = (count > 0) & ~chosen.any(axis=1)
        return chosen | (lacking[:, None] & free & (place == pick[:, None]))

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Predictions, from the targets alone."""
        return {NAME: int((target_of(batch, NAME) != IGNORE).sum())}

    def loss(self, model: Any, batch: Batch, state: Any) -> tuple[Terms, Any]:
        """The term "permuted": sum of cross entropy in nats. state: the memory carried to the batch that continues.

        Only the predicted positions have a query stream (B, K, D) and logits.
        """
        body = model.body
        inputs = batch.tokens, batch.documents, batch.positions, batch.types
        targets = target_of(batch, NAME)
        asked = columns(targets)  # (B, K)
        memory = Memory(body.arch, state, batch.documents) if batch.continues and body.carries else None
        states = body.forward_two(*inputs, target_of(batch, ORDER), asked, memory)  # (B, K, D)
        real = asked >= 0
        expected = targets.gather(1, asked.clamp(min=0))[real]  # (N,)
        total = model.heads[NAME].loss(states[real], model.token_embedding, expected)
        return {NAME: Term(total, len(expected))}, None if memory is None else memory.state()


def columns(targets: Tensor) -> Tensor:
    """targets (B, T) -> (B, K) int64: the columns of each row's predictions, -1 where a row has fewer than K."""
    predicted = targets != IGNORE
    most = int(predicted.sum(dim=1).max()) if len(targets) else 0
    first = predicted.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # (B, K)
    return torch.where(predicted.gather(1, first), first, -1)
