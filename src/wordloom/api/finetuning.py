"""``finetune``: a start, labelled examples -> a measured classifier in one run directory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from wordloom.api.facts import finished_facts
from wordloom.api.labelled import InMemory, Parts, classify_config, descriptions, divide, from_memory, read
from wordloom.api.linear import TABLES as LINEAR_TABLES
from wordloom.api.linear import WORD2VEC, finetune_linear, is_linear_start, refuse_network_settings
from wordloom.api.lora import refuse_lora
from wordloom.api.measuring import measure
from wordloom.api.results import Result, say
from wordloom.api.settings import own_recipe, recipe_from
from wordloom.api.solving import finetune_task
from wordloom.api.start import Start, fitting, open_start, preferred
from wordloom.api.training_run import DEFAULTS as TRAINING
from wordloom.api.training_run import open_run, train_task
from wordloom.config import (
    ClassifyConfig,
    DataConfig,
    LoraConfig,
    ModelConfig,
    Recipe,
    Strict,
    TokenizerConfig,
    TrainConfig,
    read_recipe,
)
from wordloom.errors import ConfigError
from wordloom.infer.predictor import Predictor
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.model.heads import ClassifyHead
from wordloom.report import render
from wordloom.run import Run
from wordloom.tasks.classify.task import HEAD, Classify, ClassifyStream
from wordloom.train import machine, parallel

TABLES: dict[str, type[Strict]] = {
    "train": TrainConfig,
    "task": ClassifyConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "tokenizer": TokenizerConfig,
    "lora": LoraConfig,
}
DEFAULTS: dict[str, Any] = {"task.name": "classify", **TRAINING}


def finetune(
    model: str | Path,
    data: str | Path | InMemory,
    out: str | Path,
    *,
    task: str | None = None,
    seeds: int = 1,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool = True,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Fine-tune ``model`` on labelled texts and leave a run at ``out``.

    model: a run, a public folder, or a preset (random weights); or, for a linear classifier on averaged
    word vectors, vectors (a run, a folder, a file) or "word2vec", which trains them on the same texts; or "tf-idf".
    data: a labelled file, or (texts, labels). seeds: train so many, keep the best on validation, report all.
    task: "classify", or one of ``api.kinds``, which reads data as its records. settings: recipe keys.
    """
    if task is None:
        task = _task_of(recipe, out if resume else None)
    if task != "classify":
        if isinstance(data, tuple) or seeds > 1:
            raise ConfigError(
                f"--task {task} reads a file, one seed a run", cure="give a path, and --seed for each run"
            )
        how: dict[str, Any] = {"recipe": recipe, "resume": resume, "overwrite": overwrite, "baseline": baseline}
        return finetune_task(model, data, out, task=task, quiet=quiet, **how, **settings)
    if resume and recipe is None:
        recipe = own_recipe(out)
    in_memory = isinstance(data, tuple)
    settings = {**settings, "model.start": str(model), "data.train": "<memory>" if in_memory else str(data)}
    linear = is_linear_start(model)
    if linear:
        chosen = recipe_from(_seeded(settings, model), LINEAR_TABLES, base=recipe)
    else:
        chosen = recipe_from(settings, TABLES, base=recipe, defaults={**fitting(DEFAULTS, model), **preferred(model)})
    task_config, data_config = classify_config(chosen), chosen.data
    assert data_config is not None
    if linear:
        refuse_network_settings(chosen, model)
        if seeds > 1 or chosen.compare is not None:
            what = "a linear classifier on features is the same for every seed"
            raise ConfigError(what, cure="leave --seeds and [compare] out")
    torch.set_num_threads(machine.pick_threads(chosen.train.threads))
    train = from_memory(data, task_config) if isinstance(data, tuple) else read(data, data_config, task_config)
    valid = read(data_config.valid, data_config, task_config) if data_config.valid else None
    test = read(data_config.test, data_config, task_config) if data_config.test else None
    for line in descriptions((train, valid, test)):
        say(line, quiet)
    parts = divide(train, valid, test, data_config, chosen.train.seed)
    if linear:
        return finetune_linear(
            model, parts, chosen, out, resume=resume, overwrite=overwrite, baseline=baseline, quiet=quiet
        )
    start = open_start(model, chosen, parts.train.texts)
    _refuse(start.arch, task_config)
    refuse_lora(start, chosen)
    if resume and chosen.compare is not None:
        seeds = len(chosen.compare.seeds)
    if seeds > 1:
        from wordloom.api.compare import finetune_seeds

        data_parts = (train, valid, test)
        return finetune_seeds(start, data_parts, chosen, out, seeds, resume=resume, overwrite=overwrite, quiet=quiet)
    return finetune_parts(start, parts, chosen, out, resume=resume, overwrite=overwrite, baseline=baseline, quiet=quiet)


def _task_of(recipe: str | Path | Recipe | None, out: str | Path | None) -> str:
    """The task that a recipe, or that of the run to resume, names; "classify" where there is none."""
    if recipe is None and out is not None:
        recipe = own_recipe(out)
    if recipe is not None and not isinstance(recipe, Recipe):
        recipe = read_recipe(recipe)
    return recipe.task.name if recipe is not None and recipe.task is not None else "classify"


def _seeded(settings: dict[str, Any], model: str | Path) -> dict[str, Any]:
    """A flat seed is that of the division, and of the vectors where these are trained."""
    if "seed" not in settings:
        return settings
    seed = settings["seed"]
    keys = ["train.seed", *(["vectors.seed"] if str(model) == WORD2VEC else [])]
    return {k: v for k, v in settings.items() if k != "seed"} | dict.fromkeys(keys, seed)


def _refuse(arch: AnyArchitecture, config: ClassifyConfig) -> None:
    """Before a run is created, or an old one replaced."""
    if reads_source(arch):
        raise ConfigError(
            "an encoder-decoder writes text, and has no one vector of a text to classify", where="MODEL",
            cure="use an encoder, a causal or a recurrent model; or teach this one to write labels: --task translate "
                 "on lines of text, tab, label",
        )  # fmt: skip
    if config.pooling != "auto":
        with torch.device("meta"):
            ClassifyHead(arch, 1, config.pooling)


def finetune_parts(
    start: Start,
    parts: Parts,
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool = True,
    quiet: bool = False,
    again: str | None = None,
) -> Result:
    """One fine-tuning run from a resolved start and divided data. again: the command that resumes it."""
    config, task_config = recipe.train, classify_config(recipe)
    world = parallel.start()
    source = recipe.data.train if recipe.data is not None else "DATA"
    command = f"wordloom finetune {start.name} {source} --recipe {Path(out).name}/recipe.toml --out NEW-RUN"
    again = again or f"wordloom finetune {start.name} {source} --out {out} --resume"

    def make() -> Run:
        tables = {k: v for k, v in TABLES.items() if k != "train"}  # [train] is compared by the loop's plan
        return open_run(out, recipe, tables, resume=resume, overwrite=overwrite)

    with parallel.shared_run(world, make) as run:
        for line in parts.notes:
            say(line, quiet)
        names = parts.test.label_names() if parts.test is not None else ()
        task = Classify.fit(
            task_config, parts.train, start.tokenizer, length=config.length, valid=parts.valid,
            names=[*names, *parts.valid.label_names()],
        )  # fmt: skip
        model, outcome = train_task(
            run, world, task, start,
            lambda: ClassifyStream(task, parts.train, batch=config.batch, seed=config.seed),
            recipe,
            keeps=task.keeps, data=parts.facts(), examples=parts.sha256, resume=resume, again=again, quiet=quiet,
            more=lambda model: {"pooling": model.heads[HEAD].pooling},
        )  # fmt: skip
        if not world.writes:
            return Result(run.path, "finetune", outcome.scores)
        cleaned = bool(recipe.data and recipe.data.clean_html)
        predictor = Predictor(model, task.tokenizer, task, {"clean_html": cleaned})
        result = measure(run, predictor, task, parts, baseline=baseline)
        validation = {"metric": task.score[0], "scores": outcome.scores}
        run.update_manifest(command=command, validation=validation, **finished_facts(run, outcome))
        run.finish()
        return dataclasses.replace(result, report=render(run.path))
