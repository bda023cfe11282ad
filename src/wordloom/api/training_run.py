"""What every fine-tuning of a network does between its data and its scores, whatever the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from wordloom.api.facts import settle_kernels
from wordloom.api.lora import adapted
from wordloom.api.pretraining import layers_of
from wordloom.api.settings import refuse_changes
from wordloom.api.start import Start
from wordloom.config import Recipe, Strict
from wordloom.model.lora import merge
from wordloom.model.model import Model
from wordloom.run import Run
from wordloom.train.job import Stream
from wordloom.train.loop import Outcome, fit
from wordloom.train.parallel import World

# Small models at small label counts: many passes, the best by validation kept.
DEFAULTS: dict[str, Any] = {
    "train.epochs": 10.0,
    "train.batch": 16,
    "train.lr": 3e-4,
    "train.schedule": "linear",
    "train.warmup": 0.1,
    # A run pre-trained without dropout must not be fine-tuned without it; on few labels it is what regularises.
    "model.dropout": 0.1,
    "model.attention_dropout": 0.0,
}


def open_run(
    out: str | Path, recipe: Recipe, tables: Mapping[str, type[Strict]], *, resume: bool, overwrite: bool
) -> Run:
    """A fresh run, or the one to resume, which must be of the same ``tables``; data are compared by their hash."""
    if not resume:
        return Run.create(out, recipe.model_dump(exclude_none=True, exclude_unset=True), "finetune", overwrite)
    run = Run.open(out)
    refuse_changes(run, recipe, tables, {"data.train", "data.valid"})
    return run


def train_task(
    run: Run,
    world: World,
    task: Any,
    start: Start,
    stream: Callable[[], Stream],
    recipe: Recipe,
    *,
    keeps: Set[str],
    data: Mapping[str, Any],
    examples: str,
    resume: bool,
    again: str,
    quiet: bool,
    more: Callable[[Model], Mapping[str, Any]] = lambda model: {},
) -> tuple[Model, Outcome]:
    """Heads on the start's body, trained on ``stream``; the model with its best weights, calibrated, LoRA merged.

    keeps: heads whose weights go on. data: facts of the parts; examples: the hash of what is learned from. more: facts
    of the model beside the usual ones. The stream is made after the heads: some tasks settle there how they read.
    """
    settle_kernels(run)
    model = start.build(task.heads, recipe.train.seed, keeps)
    lora = adapted(model, start, recipe)
    made = stream()
    hashes = {**start.hashes, "examples": examples}
    if world.writes and "model" not in run.manifest:
        count = sum(p.numel() for p in model.parameters())
        facts = {"start": start.name, "parameters": count, "layers": start.arch.layers, "width": start.arch.width}
        run.update_manifest(
            parent=start.name, start=list(start.report), task=task.name, data=data, hashes=hashes,
            model={**facts, **more(model), **lora},
        )  # fmt: skip
    outcome = fit(
        task, model, made, recipe.train, run,
        resume=resume, layers=layers_of(model), facts=hashes, resume_command=again, quiet=quiet, world=world,
    )  # fmt: skip
    if world.writes:
        merge(model)
        task.calibrate(model)
    return model, outcome
