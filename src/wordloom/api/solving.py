"""``finetune`` of every task but classification: one run, scored beside its baseline."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from wordloom.api.facts import finished_facts
from wordloom.api.kinds import TaskKind, task_kind
from wordloom.api.lora import refuse_lora
from wordloom.api.results import Result, paired_json, say, scores_json
from wordloom.api.settings import own_recipe, recipe_from
from wordloom.api.start import Start, fitting, open_start, refuse_nearsighted
from wordloom.api.training_run import DEFAULTS, open_run, train_task
from wordloom.config import DataConfig, LoraConfig, ModelConfig, Recipe, Strict, TokenizerConfig, TrainConfig
from wordloom.data.parallel import Parallel
from wordloom.disk import jsonable, replace
from wordloom.errors import ConfigError, DataError
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.metrics import paired_tallies, tally_scores
from wordloom.report import render
from wordloom.run import Run
from wordloom.tasks.base import Baseline, Records, Task
from wordloom.train import machine, parallel


@dataclasses.dataclass(frozen=True)
class RecordParts:
    """test: what the scores are measured on, None where none was given."""

    train: Records
    valid: Records
    test: Records | None
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        digest = sha256()
        for part in (self.train, self.valid):
            for piece in part.content():
                digest.update(piece.encode() + b"\0")
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        named = (("train", self.train), ("validation", self.valid), ("test", self.test))
        return {name: {"read as": p.columns, "examples": len(p), **p.facts()} for name, p in named if p is not None}


def tables_of(kind: TaskKind) -> dict[str, type[Strict]]:
    return {"train": TrainConfig, "task": kind.config, "data": DataConfig, "model": ModelConfig,
            "tokenizer": TokenizerConfig, "lora": LoraConfig}  # fmt: skip


def vocabulary_texts(train: Records, config: Any) -> tuple[list[str], list[str] | None]:
    """What the vocabulary of a preset learns from; that of the sources too, where it is one of their own."""
    if getattr(config, "vocabularies", "joint") == "separate":
        assert isinstance(train, Parallel)
        return train.targets, train.sources
    return list(train.texts()), None


def divide_records(
    train: Records, valid: Records | None, test: Records | None, config: DataConfig, seed: int
) -> RecordParts:
    """Take ``labels`` records if so asked, and split a validation part off where none was given; records of the same
    text stay together. Raises DataError where there is nothing to split."""
    notes = []
    if config.labels is not None:
        if config.labels > len(train):
            raise DataError(f"{config.labels} labelled examples were asked for, and there are {len(train)}",
                            where=config.train, cure="ask for fewer, or leave --labels away")  # fmt: skip
        chosen = sorted(random.Random(seed).sample(range(len(train)), config.labels))
        train = train.subset(chosen)
        notes.append(f"{config.labels} labelled examples drawn with seed {seed}")
    if valid is None:
        total = len(train)
        groups: dict[str, list[int]] = {}
        for i in range(total):
            groups.setdefault(train.key(i), []).append(i)
        order = list(groups.values())
        random.Random(seed).shuffle(order)
        left, aside = round(config.valid_fraction * total), set()
        for group in order:
            if len(group) <= left:
                aside.update(group)
                left -= len(group)
        if not aside or len(aside) == total:
            raise DataError(f"{total} examples cannot be split at {config.valid_fraction}", where=config.train,
                            cure="give a validation file of its own, or more examples")  # fmt: skip
        valid = train.subset(sorted(aside))
        train = train.subset([i for i in range(total) if i not in aside])
        notes.append(f"{len(valid)} of {total} examples set aside for validation (--valid gives a file of its own)")
    return RecordParts(train, valid, test, tuple(notes))


def finetune_task(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    task: str,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool = True,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Fine-tune ``model`` on the task's records and leave a run at ``out``; arguments as ``finetune``."""
    kind = task_kind(task)
    if resume and recipe is None:
        recipe = own_recipe(out)
    settings = {**settings, "model.start": str(model), "data.train": str(data), "task.name": task}
    chosen = recipe_from(settings, tables_of(kind), base=recipe, defaults=fitting({**DEFAULTS, **kind.defaults}, model))
    config, data_config = chosen.task, chosen.data
    assert config is not None and data_config is not None
    torch.set_num_threads(machine.pick_threads(chosen.train.threads))
    paths = (data_config.train, data_config.valid, data_config.test)
    train, valid, test = (kind.read(path, data_config, config) if path else None for path in paths)
    assert train is not None
    for part in (train, valid, test):
        if part is not None:
            say(part.columns, quiet)
    parts = divide_records(train, valid, test, data_config, chosen.train.seed)
    start = open_start(model, chosen, *vocabulary_texts(parts.train, config))
    refuse_nearsighted(start.arch, task)
    kind.refuse(start.arch)
    refuse_lora(start, chosen)
    how: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "baseline": baseline, "quiet": quiet}
    return finetune_records(kind, start, parts, chosen, out, **how)


def finetune_records(
    kind: TaskKind,
    start: Start,
    parts: RecordParts,
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool = True,
    quiet: bool = False,
) -> Result:
    """One run from a resolved start and divided records."""
    config, task_config = recipe.train, recipe.task
    assert task_config is not None and recipe.data is not None
    world = parallel.start()
    verb = f"wordloom finetune {start.name} {recipe.data.train} --task {task_config.name}"
    again = f"{verb} --out {out} --resume"

    def make() -> Run:
        tables = {k: v for k, v in tables_of(kind).items() if k != "train"}  # [train] is compared by the loop's plan
        return open_run(out, recipe, tables, resume=resume, overwrite=overwrite)

    settled = kind.settle(start) if kind.settle is not None else {}
    task = kind.fit(task_config, parts.train, start.tokenizer, length=config.length, valid=parts.valid,
                    test=parts.test, **settled)  # fmt: skip
    made = task.heads(start.arch)  # what this start has no place for is refused before an old run is replaced
    if lost := sorted(task.keeps & set(start.states or {}) - set(made)):
        raise ConfigError(f"the start's head {lost[0]!r} is left out, beside which its others were trained",
                          where="[task]", cure="set [task] as the start's recipe.toml has it")  # fmt: skip
    with parallel.shared_run(world, make) as run:
        for line in parts.notes:
            say(line, quiet)
        model, outcome = train_task(
            run, world, task, start,
            lambda: kind.stream(task, parts.train, batch=config.batch, seed=config.seed),
            recipe,
            keeps=task.keeps, data=parts.facts(), examples=parts.sha256, resume=resume, again=again, quiet=quiet,
        )  # fmt: skip
        if not world.writes:
            return Result(run.path, "finetune", outcome.scores)
        predictor = TaskPredictor(model, start.tokenizer, task)
        result = measure_task(run, predictor, task, parts, kind if baseline else None, task_config)
        run.update_manifest(
            command=f"{verb} --recipe {Path(out).name}/recipe.toml --out NEW-RUN",
            validation={"metric": task.score[0], "scores": outcome.scores},
            **finished_facts(run, outcome),
        )
        run.finish()
        return dataclasses.replace(result, report=render(run.path))


def measure_task(
    run: Run, predictor: TaskPredictor, task: Task, parts: RecordParts, kind: TaskKind | None, config: Any
) -> Result:
    """Score the test part (else the validation part) beside the baseline of ``kind``; write scores.json,
    predictions.jsonl and the bundle."""
    part = parts.test or parts.valid
    answers = predictor.predict(task.inputs(part))
    tallies = task.tallies(part, answers)
    scores = tally_scores(tallies)
    where = "test" if parts.test is not None else "validation part, which also chose the checkpoint: give --test"
    notes = [f"{task.main} {scores[task.main]} on {len(part)} examples ({where})"]
    values: dict[str, Any] = {"main": task.main, "scores": scores_json(scores), "examples": len(part)}
    beside = None if kind is None else _beside(kind, task, parts, config)
    if beside is not None:
        theirs = task.tallies(part, beside.predict(part))
        their_scores = tally_scores(theirs)
        test = paired_tallies(tallies[task.main], theirs[task.main], task.main, names=("the model", beside.name))
        values["baseline"] = {"name": beside.name, "scores": scores_json(their_scores)}
        values["paired"] = paired_json(test, beside.name)
        notes.append(f"{beside.name}: {their_scores[task.main]}; {test.verdict}")
    values |= task.details(part, answers)
    run.write_scores(jsonable(values))
    _write_predictions(run, task, part, answers)
    predictor.extra["scores"] = values["scores"]
    predictor.save(run.bundle, overwrite=True)
    return Result(run.path, "finetune", values, notes, predictor=predictor)


def _beside(kind: TaskKind, task: Task, parts: RecordParts, config: Any) -> Baseline[Any] | None:
    if kind.yardstick is not None:
        return kind.yardstick(task, parts.train, parts.valid)
    return kind.baseline(parts.train, parts.valid, config) if kind.baseline is not None else None


def _write_predictions(run: Run, task: Task, part: Records, answers: Sequence[Any]) -> None:
    """predictions.jsonl: what was asked, said and right, one line per scored record, in order."""
    rows = (
        {"place": place, **task.row(given, answer), "gold": task.row(given, gold)}
        for place, given, answer, gold in zip(part.places, task.inputs(part), answers, task.gold(part), strict=True)
    )
    text = "".join(json.dumps(jsonable(row), ensure_ascii=False) + "\n" for row in rows)
    replace(run.path / "predictions.jsonl", text.encode("utf-8"))
