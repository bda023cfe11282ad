"""Every preset x objective variant and preset x task variant, at tiny size, wired as ``wordloom.api`` wires them.

At tiny size the presets differ in their number of heads alone, so contracts that train for long run on ``COVER``:
every variant once, the presets in turn. Everything else runs on all of ``CASES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import tiny
from wordloom import presets
from wordloom.config import ClassifyConfig, MaskedConfig, TrainConfig
from wordloom.data.batch import Batch
from wordloom.data.examples import Examples
from wordloom.data.packing import PackedRows, PairRows
from wordloom.data.store import TokenStore
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.objectives.masked import Masked
from wordloom.objectives.pretraining import Pretraining
from wordloom.run import Run
from wordloom.tasks.classify import Classify, ClassifyStream
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.loop import Outcome, fit
from wordloom.train.stream import CorruptedStream

LENGTH = 32
OBJECTIVES: dict[str, dict[str, Any]] = {
    "masked": {},
    "whole-word": {"whole_word": True},
    "span": {"span": 2.0},
    "next-sentence": {"next_sentence": True},
    "schedule": {"rate": 0.3, "rate_end": 0.1},
    "separated": {"documents": "separated"},
}
TASKS: dict[str, dict[str, Any]] = {
    f"{kind}{'-balanced' if weights == 'balanced' else ''}-{pooling}": {
        "kind": kind, "class_weights": weights, "pooling": pooling
    }
    for kind, weights in (("single", "none"), ("single", "balanced"), ("multi", "none"), ("multi", "balanced"),
                          ("pairs", "none"), ("regression", "none"))
    for pooling in ("cls", "mean")
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the grid: a preset with an objective, or with a task."""

    preset: str
    variant: str

    @property
    def pretrains(self) -> bool:
        return self.variant in OBJECTIVES

    def __str__(self) -> str:
        return f"{self.preset}-{self.variant}"


VARIANTS = [*OBJECTIVES, *TASKS]
CASES = [Case(preset, variant) for preset in presets.PRESETS for variant in VARIANTS]
COVER = [Case(list(presets.PRESETS)[i % len(presets.PRESETS)], variant) for i, variant in enumerate(VARIANTS)]


@dataclass(frozen=True)
class World:
    """What the cases share: a tokenizer and a token store of the same text."""

    tokenizer: Tokenizer
    store: TokenStore


@dataclass
class Setup:
    """A case ready to train. ``layers`` as fine-tuning passes them; ``examples`` of a task."""

    case: Case
    job: Any
    model: Model
    stream: Any
    tokenizer: Tokenizer
    examples: Examples | None = None
    layers: list[tuple[int, list[nn.Parameter]]] = field(default_factory=list)

    def batch(self, step: int = 0) -> Batch:
        return self.stream.step(step, 1)[0]

    def train(self, path: Path, resume: bool = False, stream: Any = None, **config: Any) -> Outcome:
        settings = TrainConfig.model_validate(TRAIN | config)
        with Run.open(path) if resume else Run.create(path, {}, "contract") as run:
            return fit(self.job, self.model, stream or self.stream, settings, run, resume=resume, layers=self.layers,
                       quiet=True, tensorboard=False)  # fmt: skip


TRAIN: dict[str, Any] = {
    "steps": 4, "batch": 8, "micro_batch": 8, "length": LENGTH, "threads": 1, "precision": "float32", "log_every": 1
}  # fmt: skip


def heads_of(preset: str) -> dict[str, int]:
    """The preset's row with its slots at tiny size: its own number of heads, 4 wide where 32 does not divide."""
    heads = presets.PRESETS[preset].values["heads"]
    width = 32 if 32 % heads == 0 else 4 * heads
    return {"layers": 2, "width": width, "heads": heads, "ffn_width": 64, "max_positions": LENGTH}


def set_up(world: World, case: Case, seed: int = 0, dropout: float = 0.0, batch: int = 8, **changes: Any) -> Setup:
    """seed: of the weights, the order and the masks. changes: values of the objective's or the task's table."""
    return (_pretraining if case.pretrains else _classifying)(world, case, seed, dropout, batch, changes)


def _pretraining(world: World, case: Case, seed: int, dropout: float, rows: int, changes: dict[str, Any]) -> Setup:
    tokenizer, config = world.tokenizer, MaskedConfig(**(OBJECTIVES[case.variant] | changes))
    objective = Masked(
        config, vocab_size=tokenizer.vocab_size, mask_id=tokenizer.mask_id, special_ids=tokenizer.special_ids
    )
    ids = {"cls_id": tokenizer.cls_id, "sep_id": tokenizer.sep_id, "pad_id": tokenizer.pad_id}
    layout: Any = (
        PairRows(world.store, LENGTH, seed=seed, **ids)
        if config.next_sentence
        else PackedRows(world.store, LENGTH, seed=seed, documents=config.documents, **ids)
    )
    held_out = objective.corrupt(layout.batch(layout.order(0, 12)), np.random.default_rng(99), 1.0).split(3)
    model = _model(case, tokenizer, objective.heads, seed, dropout)
    stream = CorruptedStream(layout, objective.corrupt, rows=rows, seed=seed)
    return Setup(case, Pretraining(objective, held_out), model, stream, tokenizer, None, _layers(model))


def _classifying(world: World, case: Case, seed: int, dropout: float, batch: int, changes: dict[str, Any]) -> Setup:
    examples, valid = examples_of(case, 24, 0), examples_of(case, 12, 1)
    values = TASKS[case.variant] | {"dropout": dropout} | changes
    values["kind"] = "single" if values["kind"] == "pairs" else values["kind"]
    task = Classify.fit(ClassifyConfig(**values), examples, world.tokenizer, length=LENGTH, valid=valid)
    model = _model(case, world.tokenizer, task.heads, seed, dropout)
    stream = ClassifyStream(task, examples, batch=batch, seed=seed)
    return Setup(case, task, model, stream, world.tokenizer, examples, _layers(model))


def examples_of(case: Case, count: int, seed: int) -> Examples:
    kind = str(TASKS[case.variant]["kind"])
    pairs, kind = kind == "pairs", "single" if kind == "pairs" else kind
    texts, labels, second = tiny.labelled(count, kind, pairs, seed)
    return Examples(texts, labels, [f"a.csv:{i + 2}" for i in range(count)], second, kind)  # type: ignore[arg-type]


def _model(case: Case, tokenizer: Tokenizer, heads: Callable[..., Any], seed: int, dropout: float) -> Model:
    # a deviation of 0.2 instead of 0.02: at 32 wide the paper's value leaves attention flat and tests blind
    arch = presets.architecture(
        case.preset, tokenizer.vocab_size, dropout=dropout, attention_dropout=dropout, init_std=0.2,
        pad_id=tokenizer.pad_id, **heads_of(case.preset),
    )  # fmt: skip
    torch.manual_seed(seed)
    return Model(Transformer(arch), heads(arch))


def _layers(model: Model) -> list[tuple[int, list[nn.Parameter]]]:
    return [(depth, list(module.parameters())) for depth, module in enumerate(model.body.layers_by_depth())]


class Same:
    """A stream that gives the same batch at every step, whole or cut by rows."""

    def __init__(self, batch: Batch):
        self.batch = batch

    @property
    def steps_per_epoch(self) -> int:
        return 1

    def step(self, step: int, parts: int) -> list[Batch]:
        return self.batch.split(parts)


def shortened(batch: Batch, lengths: Sequence[int], pad_id: int) -> Batch:
    """The batch with row r cut after ``lengths[r]`` tokens and padded: rows of unequal length."""
    keep = torch.arange(batch.tokens.shape[1]) < torch.tensor(lengths)[:, None]
    return replace(
        batch,
        tokens=batch.tokens.where(keep, torch.tensor(pad_id)),
        documents=batch.documents * keep,
        positions=batch.positions * keep,
        types=batch.types * keep,
        word_starts=None if batch.word_starts is None else batch.word_starts & keep,
        targets={name: t.where(keep, torch.tensor(-100)) for name, t in batch.targets.items()},
    )


def losses(path: Path) -> list[float]:
    with Run.open(path) as run:
        return [row["loss"] for row in run.read_log() if "loss" in row]


def outputs(setup: Setup, batch: Batch) -> torch.Tensor:
    """Every head's answer on the batch, one vector: what two models must agree in to be the same."""
    model = setup.model.eval()
    with torch.no_grad():
        if not setup.case.pretrains:
            from wordloom.tasks.classify import window_logits

            return window_logits(model, batch).flatten()
        hidden = model(batch.tokens, batch.documents, batch.positions, batch.types)[batch.documents > 0]
        found = [model.heads["masked"](hidden, model.token_embedding).flatten()]
        if "next_sentence" in model.heads:
            found.append(model.heads["next_sentence"](hidden).flatten())
        return torch.cat(found)
