"""A toy language model with its job and stream: everything the loop asks for, in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordloom.data.batch import Batch
from wordloom.train.job import Term, Terms

VOCABULARY, WIDTH = 23, 8


class ToyModel(nn.Module):
    def __init__(self, dropout: float = 0.1, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.head.weight = self.embedding.weight  # tied, as in BERT
        self.pair = nn.Linear(WIDTH, 2)
        self.unused = nn.Linear(WIDTH, 2)  # a head this job never calls
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.dropout(torch.tanh(self.hidden(self.embedding(tokens)))))

    def layers(self) -> list[tuple[int, list[nn.Parameter]]]:
        return [(0, [self.embedding.weight]), (1, [*self.hidden.parameters(), *self.norm.parameters()])]


class ToyStream:
    """Rows of unequal length; the data of a step depends on (seed, step) only."""

    def __init__(self, rows: int = 8, seed: int = 0, poison: int | None = None):
        self.rows, self.seed, self.poison = rows, seed, poison

    @property
    def steps_per_epoch(self) -> int:
        return 10

    def step(self, step: int, parts: int) -> list[Batch]:
        rng = torch.Generator().manual_seed(1000 * self.seed + step)
        tokens = torch.randint(1, VOCABULARY, (self.rows, 6), generator=rng)
        lengths = torch.randint(1, 7, (self.rows, 1), generator=rng)
        real = torch.arange(6) < lengths
        batch = Batch(
            tokens=tokens * real,
            documents=real.long(),
            positions=torch.arange(6).expand(self.rows, 6),
            types=torch.zeros_like(tokens),
            targets={"pair": tokens[:, :1] % 2, "poison": torch.full_like(tokens, int(step == self.poison))},
            ids=tuple(f"toy.txt:{step * self.rows + row}" for row in range(self.rows)),
        )
        return batch.split(parts)


class ToyJob:
    """Two terms with unequal counts; learns the successor of each token."""

    score = ("loss", False)

    def __init__(self, memory: bool = False):
        self.memory = memory

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"tokens": batch.real_tokens, "pair": batch.rows}

    def loss(self, model: nn.Module, batch: Batch, state: Any) -> tuple[Terms, Any]:
        hidden = model(batch.tokens)
        if self.memory:  # a carried state that the next step's loss depends on
            carried = torch.zeros(WIDTH) if state is None else state["mean"]
            hidden = hidden + 0.1 * carried
            state = {"mean": hidden.detach().mean((0, 1))}
        real = batch.documents > 0
        logits = model.head(hidden)[real]
        target = (batch.tokens[real] + 1) % VOCABULARY
        tokens = F.cross_entropy(logits.float(), target, reduction="sum")
        if batch.targets["poison"].any():
            tokens = tokens * float("nan")
        pair = F.cross_entropy(model.pair(hidden[:, 0]).float(), batch.targets["pair"][:, 0], reduction="sum")
        return {"tokens": Term(tokens, len(target)), "pair": Term(pair, batch.rows, 0.5)}, state

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        batch = ToyStream(16, seed=99).step(0, 1)[0]
        terms, _ = ToyJob.loss(self, model, batch, None)
        return {"loss": (terms["tokens"].sum / terms["tokens"].count).item()}
