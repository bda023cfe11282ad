"""``finetune``: a start, labelled examples -> a measured classifier in one run directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordloom.api.facts import finished_facts, settle_kernels
from wordloom.api.labelled import InMemory, Parts, descriptions, divide, from_memory, read
from wordloom.api.pretraining import layers_of
from wordloom.api.results import Result, say, scores_json
from wordloom.api.settings import own_recipe, recipe_from, refuse_changes
from wordloom.api.start import Start, open_start
from wordloom.config import ClassifyConfig, DataConfig, ModelConfig, Recipe, Strict, TokenizerConfig, TrainConfig
from wordloom.data.examples import Examples
from wordloom.errors import ConfigError
from wordloom.infer.predictor import Predictor
from wordloom.metrics import MAIN, Score, paired, point_scores, reliability
from wordloom.report import render
from wordloom.run import Run, replace
from wordloom.tasks.baseline import Baseline, fit_baseline
from wordloom.tasks.calibrate import calibrated
from wordloom.tasks.classify import Classify, ClassifyStream
from wordloom.train import machine, parallel
from wordloom.train.loop import fit

TABLES: dict[str, type[Strict]] = {
    "train": TrainConfig,
    "task": ClassifyConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "tokenizer": TokenizerConfig,
}
# Small models at small label counts: many passes, the best by validation kept.
DEFAULTS: dict[str, Any] = {
    "task.name": "classify",
    "train.epochs": 10.0,
    "train.batch": 16,
    "train.lr": 3e-4,
    "train.schedule": "linear",
    "train.warmup": 0.1,
    # A run pre-trained without dropout must not be fine-tuned without it; on few labels it is what regularises.
    "model.dropout": 0.1,
    "model.attention_dropout": 0.0,
}
BASELINE = "TF-IDF + logistic regression"
WORST = 20  # errors the report shows


def finetune(
    model: str | Path,
    data: str | Path | InMemory,
    out: str | Path,
    *,
    task: str = "classify",
    seeds: int = 1,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool = True,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Fine-tune ``model`` on labelled texts and leave a run at ``out``.

    model: a run, a Hugging Face BERT folder, or a preset (random weights). data: a labelled file, or
    (texts, labels). seeds: train so many, keep the best on validation, report all. settings: recipe keys.
    """
    if task != "classify":
        raise ConfigError(f"unknown task {task!r}", cure="use --task classify")
    if resume and recipe is None:
        recipe = own_recipe(out)
    in_memory = isinstance(data, tuple)
    settings = {**settings, "model.start": str(model), "data.train": "<memory>" if in_memory else str(data)}
    chosen = recipe_from(settings, TABLES, base=recipe, defaults=DEFAULTS)
    task_config, data_config = chosen.task or ClassifyConfig(), chosen.data
    assert data_config is not None
    torch.set_num_threads(machine.pick_threads(chosen.train.threads))
    train = from_memory(data, task_config) if isinstance(data, tuple) else read(data, data_config, task_config)
    valid = read(data_config.valid, data_config, task_config) if data_config.valid else None
    test = read(data_config.test, data_config, task_config) if data_config.test else None
    for line in descriptions((train, valid, test)):
        say(line, quiet)
    start = open_start(model, chosen, train.texts)
    if resume and chosen.compare is not None:
        seeds = len(chosen.compare.seeds)
    if seeds > 1:
        from wordloom.api.compare import finetune_seeds

        data_parts = (train, valid, test)
        return finetune_seeds(start, data_parts, chosen, out, seeds, resume=resume, overwrite=overwrite, quiet=quiet)
    parts = divide(train, valid, test, data_config, chosen.train.seed)
    return finetune_parts(start, parts, chosen, out, resume=resume, overwrite=overwrite, baseline=baseline, quiet=quiet)


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
    config, task_config = recipe.train, recipe.task or ClassifyConfig()
    world = parallel.start()
    values = recipe.model_dump(exclude_none=True, exclude_unset=True)
    source = recipe.data.train if recipe.data is not None else "DATA"
    command = f"wordloom finetune {start.name} {source} --recipe {Path(out).name}/recipe.toml --out NEW-RUN"
    again = again or f"wordloom finetune {start.name} {source} --out {out} --resume"

    def make() -> Run:
        if not resume:
            return Run.create(out, values, "finetune", overwrite)
        run = Run.open(out)
        refuse_changes(run, recipe, {k: v for k, v in TABLES.items() if k != "train"}, {"data.train", "data.valid"})
        return run

    with parallel.shared_run(world, make) as run:
        for line in parts.notes:
            say(line, quiet)
        names = parts.test.label_names() if parts.test is not None else ()
        task = Classify.fit(
            task_config, parts.train, start.tokenizer, length=config.length, valid=parts.valid,
            names=[*names, *parts.valid.label_names()],
        )  # fmt: skip
        settle_kernels(run)
        model = start.build(task.heads, config.seed)
        stream = ClassifyStream(task, parts.train, batch=config.batch, seed=config.seed)
        if world.writes and "model" not in run.manifest:
            run.update_manifest(
                parent=start.name,
                start=list(start.report),
                data=parts.facts(),
                model={"start": start.name, "parameters": sum(p.numel() for p in model.parameters()),
                       "layers": start.arch.layers, "width": start.arch.width, "pooling": task_config.pooling},
                hashes={"tokenizer": start.tokenizer.hash, "examples": parts.sha256},
            )  # fmt: skip
        outcome = fit(
            task,
            model,
            stream,
            config,
            run,
            resume=resume,
            layers=layers_of(model),
            facts={"tokenizer": start.tokenizer.hash, "examples": parts.sha256},
            resume_command=again,
            quiet=quiet,
            world=world,
        )
        if not world.writes:
            return Result(run.path, "finetune", outcome.scores)
        result = _measure(run, task, model, parts, recipe, baseline=baseline)
        validation = {"metric": task.score[0], "scores": outcome.scores}
        run.update_manifest(command=command, validation=validation, **finished_facts(run, outcome))
        run.finish()
        return dataclasses.replace(result, report=render(run.path))


def _measure(run: Run, task: Classify, model: Any, parts: Parts, recipe: Recipe, *, baseline: bool) -> Result:
    """Calibrate, score beside the baseline, save the bundle, write the report."""
    task.calibrate(model)
    predictor = Predictor(model, task.tokenizer, task, {"clean_html": bool(recipe.data and recipe.data.clean_html)})
    part = parts.test or parts.valid
    logits = task.logits(model, part.texts, part.pairs)
    probabilities = task.probabilities(logits)
    scores = task.scores(part, probabilities)
    values: dict[str, Any] = {"main": MAIN[task.kind], "scores": scores_json(scores), "examples": len(part)}
    notes = [_headline(task, scores, parts)]
    gold = task.space.targets(part.labels or [], part.places)
    if baseline:
        beside = fit_baseline(parts.train, valid=parts.valid, space=task.space)
        beside.save(run.path / "baseline")
        values |= _beside(task, gold, probabilities, beside, part)
        theirs = values["baseline"]
        notes += [f"{theirs['name']}: {theirs['scores'][MAIN[task.kind]]['value']:.4f}; {values['paired']['verdict']}"]
    values |= _details(
        task, part, gold, probabilities, calibrated(logits, task.kind, 1.0) if task.kind != "regression" else None
    )
    run.write_scores(values)
    _write_predictions(run, task, part, probabilities)
    predictor.extra["scores"] = values["scores"]
    predictor.save(run.bundle, overwrite=True)
    return Result(run.path, "finetune", values, notes, predictor=predictor)


def _headline(task: Classify, scores: dict[str, Score], parts: Parts) -> str:
    name = MAIN[task.kind]
    where = (
        "test"
        if parts.test is not None
        else "validation part, which also chose the checkpoint: optimistic; give --test"
    )
    return f"{name} {scores[name]} on {len(parts.test or parts.valid)} examples ({where})"


def _beside(task: Classify, gold: NDArray, probabilities: NDArray, beside: Baseline, part: Examples) -> dict[str, Any]:
    theirs = beside.predict_proba(part.texts, part.pairs)
    baseline = "TF-IDF + ridge regression" if task.kind == "regression" else BASELINE
    test = paired(gold, probabilities, theirs, task.kind, names=("the model", baseline))
    return {
        "baseline": {"name": baseline, "scores": scores_json(beside.evaluate(part))},
        "paired": {
            "name": baseline,
            "metric": test.metric,
            "difference": {"value": test.difference, "low": test.low, "high": test.high},
            "p": test.p_value,
            "verdict": test.verdict,
        },
    }


def _details(
    task: Classify, part: Examples, gold: NDArray, probabilities: NDArray, raw: NDArray | None
) -> dict[str, Any]:
    """Confusion matrix, reliability bins before and after the temperature, most confident errors."""
    if task.kind != "single":
        return {}
    assert raw is not None
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    matrix = np.zeros((len(task.labels), len(task.labels)), dtype=int)
    np.add.at(matrix, (gold, predicted), 1)
    wrong = np.flatnonzero(predicted != gold)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return {
        "confusion": {"labels": list(task.labels), "matrix": matrix.tolist()},
        "calibration": {
            "temperature": task.temperature,
            "ece_before": point_scores(gold, raw)["ece"],
            "ece_after": point_scores(gold, probabilities)["ece"],
            "before": reliability(gold, raw),
            "after": reliability(gold, probabilities),
        },
        "worst": [
            {
                "text": part.texts[i],
                "pair": part.pairs[i] if part.pairs else None,
                "gold": task.labels[gold[i]],
                "predicted": task.labels[predicted[i]],
                "confidence": float(confidence[i]),
                "place": part.places[i],
            }
            for i in worst
        ],
    }


def _write_predictions(run: Run, task: Classify, part: Examples, probabilities: NDArray) -> None:
    """predictions.jsonl: one line per scored example, in input order."""
    decoded = task.decode(probabilities)
    rows = (
        {"place": place, "gold": gold, "predicted": value, "probabilities": np.atleast_1d(p).round(6).tolist()}
        for place, gold, value, p in zip(part.places, part.labels or [], decoded, probabilities, strict=True)
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    replace(run.path / "predictions.jsonl", text.encode("utf-8"))
