"""A made-up language that a tiny model learns in seconds, and the tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from wordloom.data.batch import Batch
from wordloom.model.architecture import Architecture
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.presets import PRESETS
from wordloom.train.job import Terms

PAD, CLS, SEP, MASK = 0, 2, 3, 4
SPECIAL = (0, 1, 2, 3, 4)
V = 29
WORDS = V - len(SPECIAL)  # 24, each as frequent as the others

# Loom's slots: layer 0 sees everything, layer 1 four tokens to each side
LOOM: dict[str, Any] = {**PRESETS["loom-tiny"].values, "width": 32, "heads": 4, "ffn_width": 64, "window": 5}


def language(rows: int, length: int = 32, seed: int = 0, noise: float = 0.1) -> Batch:
    """Rows [CLS] text [SEP] [CLS] text [SEP] padding: after word w comes 5 w + 1 (mod 24), now and then any word."""
    rng = np.random.default_rng(seed)
    cut, end = length // 2, length - 2
    words = rng.integers(0, WORDS, (rows, length))
    for t in range(1, length):
        follows = rng.random(rows) >= noise
        words[:, t] = np.where(follows, (5 * words[:, t - 1] + 1) % WORDS, words[:, t])
    tokens = torch.from_numpy(words + len(SPECIAL))
    documents = torch.ones(rows, length, dtype=torch.int64)
    documents[:, cut:], documents[:, end:] = 2, 0
    tokens[:, 0] = tokens[:, cut] = CLS
    tokens[:, cut - 1] = tokens[:, end - 1] = SEP
    tokens[:, end:] = PAD
    positions = torch.arange(length).repeat(rows, 1)
    positions[:, cut:] -= cut
    return Batch(tokens, documents, positions * (documents > 0), torch.zeros_like(tokens))


def tiny_model(make_heads: Any, seed: int = 0, **slots: Any) -> Model:
    """Two layers of 32, with the heads that ``make_heads`` makes from the architecture."""
    torch.manual_seed(seed)
    values = {
        "width": 32,
        "layers": 2,
        "heads": 4,
        "ffn_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "max_positions": 64,
        "init_std": 0.1,
    }
    arch = Architecture(vocab_size=V, **(values | slots))
    return Model(Transformer(arch), make_heads(arch))


def learn(objective: Any, model: Model, steps: int, rows: int = 64, lr: float = 1e-2) -> dict[str, float]:
    """Train on fresh text in every step -> the value of each term on text that was not seen."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * min(1.0, 2 - 2 * step / steps)
        batch = objective.corrupt(language(rows, seed=1000 + step), np.random.default_rng(step), step / steps)
        optimise(model.train(), optimiser, objective.loss(model, batch, None)[0])
    held_out = objective.corrupt(language(256, seed=7), np.random.default_rng(7), 1.0)
    with torch.no_grad():
        terms, _ = objective.loss(model.eval(), held_out, None)
    return {name: float(term.sum) / term.count for name, term in terms.items()}


def optimise(model: nn.Module, optimiser: torch.optim.Optimizer, terms: Mapping[str, Any]) -> None:
    optimiser.zero_grad()
    total(terms).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def total(terms: Terms | Mapping[str, Any]) -> torch.Tensor:
    """What the loop optimises."""
    return torch.stack([term.weight * term.sum / max(1, term.count) for term in terms.values()]).sum()
