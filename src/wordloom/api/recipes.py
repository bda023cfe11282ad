"""``run``: a recipe's stages in order, and the demo, which is one recipe over documentation already on the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from wordloom import demo as corpus_demo
from wordloom.api.checking import check
from wordloom.api.choosing import choose
from wordloom.api.compare import Data, compare, finished, keep_bundle, read_all
from wordloom.api.finetuning import DEFAULTS, finetune, finetune_parts
from wordloom.api.labelled import divide
from wordloom.api.linear import is_linear_start
from wordloom.api.loading import load
from wordloom.api.pretraining import pretrain, refuse_impossible
from wordloom.api.results import Result, say
from wordloom.api.settings import recipe_from, refuse_changes, required
from wordloom.api.start import Start, fitting, open_start, preferred
from wordloom.api.word2vec import vectors
from wordloom.config import (
    ChooseConfig,
    ClassifyConfig,
    CompareConfig,
    CorpusConfig,
    DataConfig,
    LoraConfig,
    MaskedConfig,
    ModelConfig,
    Recipe,
    Strict,
    TokenizerConfig,
    TrainConfig,
    VectorsConfig,
    read_recipe,
)
from wordloom.errors import ConfigError, DataError
from wordloom.report import render
from wordloom.run import Run
from wordloom.train import machine, parallel

TABLES: dict[str, type[Strict]] = {
    "train": TrainConfig,
    "objective": MaskedConfig,
    "task": ClassifyConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "tokenizer": TokenizerConfig,
    "corpus": CorpusConfig,
    "finetune": TrainConfig,
    "compare": CompareConfig,
    "vectors": VectorsConfig,
    "choose": ChooseConfig,
    "lora": LoraConfig,
}


def run_recipe(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Perform a recipe.

    [corpus] alone pre-trains; [data] alone fine-tunes; both pre-train into OUT/pretrained and fine-tune from it;
    [compare] fine-tunes from random weights too, and from its other start, at every label count and seed it names.
    [vectors], with [corpus], trains word vectors; with [data] and model.start = "word2vec" a classifier on them.
    [choose] compares kinds of vectors on [data], or objectives on [corpus].
    """
    chosen = recipe_from(settings, TABLES, base=recipe)
    if chosen.choose is not None:
        return choose(chosen.choose.what, None, out, recipe=chosen, resume=resume, overwrite=overwrite, quiet=quiet)
    if chosen.data is not None and chosen.model.start is not None and is_linear_start(chosen.model.start):
        how: dict[str, Any] = {"recipe": chosen, "resume": resume, "overwrite": overwrite, "quiet": quiet}
        return finetune(chosen.model.start, required(chosen.data.train, "data", "run"), out, **how)
    if chosen.vectors is not None:
        if chosen.data is not None:
            raise ConfigError("[vectors] and [data] are two recipes", cure="write one for each")
        return vectors(None, out, recipe=chosen, resume=resume, overwrite=overwrite, quiet=quiet)
    if chosen.data is None:
        required(chosen.corpus, "corpus", "run")
        return pretrain(None, out, recipe=chosen, resume=resume, overwrite=overwrite, quiet=quiet)
    if chosen.corpus is None and chosen.compare is None:
        start = required(chosen.model.start or chosen.model.preset, "model", "run")
        train = required(chosen.data, "data", "run").train
        return finetune(start, train, out, recipe=chosen, resume=resume, overwrite=overwrite, quiet=quiet)
    parallel.refuse_several("run, of more than one training,")
    values = chosen.model_dump(exclude_none=True, exclude_unset=True)
    if not resume:
        if chosen.corpus is not None and chosen.model.start is None:  # a start is looked at when it is opened
            refuse_impossible(chosen)
        if chosen.compare is not None and chosen.data.test is None:
            raise ConfigError("a comparison needs a test file", where="[data]", cure="set data.test")
        second = _second_stage(chosen)
        _beside(second, read_all(second, quiet=True))
    with Run.open(out) if resume else Run.create(out, values, "compare", overwrite) as run:
        if resume:
            refuse_changes(run, chosen, TABLES)
        return stages(run, chosen, quiet=quiet)


def stages(run: Run, recipe: Recipe, *, quiet: bool) -> Result:
    """Pre-train (once: a finished stage is kept), then fine-tune or compare."""
    if recipe.corpus is not None:
        folder = run.path / "pretrained"
        if not finished(folder):
            first = recipe.model_copy(update=dict.fromkeys(("task", "data", "finetune", "compare", "lora")))
            pretrain(None, folder, recipe=first, resume=folder.exists(), quiet=quiet)
        model = str(folder)
    else:
        model = str(required(recipe.model.start or recipe.model.preset, "model", "run"))
    second = _second_stage(recipe)
    torch.set_num_threads(machine.pick_threads(second.train.threads))
    data = read_all(second, quiet)
    start = open_start(model, second, data[0].texts)
    run.update_manifest(parent=model)
    if recipe.compare is not None:
        return compare(start, data, second, run, beside=_beside(second, data), quiet=quiet)
    parts = divide(*data, required(second.data, "data", "run"), second.train.seed)
    folder, notes = run.path / "finetuned", ["the fine-tuning had finished before, and was kept"]
    if not finished(folder):
        again = f"the same command with --out {run.path} --resume"
        notes = finetune_parts(start, parts, second, folder, resume=folder.exists(), quiet=quiet, again=again).notes
    keep_bundle(run, folder / "bundle")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    run.write_scores(scores)
    run.finish()
    return Result(run.path, "finetune", scores, notes, render(run.path))


def _beside(recipe: Recipe, data: Data) -> Start | None:
    if recipe.compare is None or recipe.compare.beside is None:
        return None
    return open_start(recipe.compare.beside, recipe, data[0].texts)


def _second_stage(recipe: Recipe) -> Recipe:
    """The fine-tuning's own recipe. After a pre-training, [finetune] is its [train], and [model] and [tokenizer]
    were about the pre-training: the dropouts are those of ``finetune`` again."""
    values = recipe.model_dump(exclude_unset=True, exclude_none=True)
    if "corpus" in values:
        values["train"] = values.get("finetune", {})
        values = {k: v for k, v in values.items() if k in ("train", "task", "data", "compare", "lora")}
    start = recipe.model.start or recipe.model.preset or ""
    defaults = DEFAULTS if recipe.corpus is not None else {**fitting(DEFAULTS, start), **preferred(start)}
    return recipe_from({}, TABLES, base=Recipe.model_validate(values), defaults=defaults)


DEMO_LABELS = (200, 2000)


def demo(
    out: str | Path, *, minutes: float = 3.0, resume: bool = False, overwrite: bool = False, quiet: bool = False
) -> Result:
    """The whole path on documentation already on this machine; see ``wordloom.demo`` for the corpus and the task."""
    parallel.refuse_several("demo")
    recipe = demo_recipe(Path(out), minutes)
    values = recipe.model_dump(exclude_none=True, exclude_unset=True)
    with Run.open(out) if resume else Run.create(out, values, "compare", overwrite) as run:
        if "task" not in run.manifest:  # a resumed demo keeps its corpus, whatever was installed since
            run.update_manifest(task=_demo_data(run.path / "data", quiet))
        result = stages(run, recipe, quiet=quiet)
    example = "Returns the mean of the array elements along the given axis, ignoring missing values."
    answer = load(out).predict([example])[0]
    notes = [
        *result.notes,
        f'example: "{example}" -> {answer}',
        f"next: wordloom predict {out} -",
        f"      wordloom evaluate {out} {run.path / 'data' / 'test.jsonl'}",
    ]
    return Result(result.path, "demo", result.scores, notes, result.report, result.predictor)


def _demo_data(folder: Path, quiet: bool) -> dict[str, Any]:
    """Write corpus, training and test files; what was found, for the manifest. Raises where a test text leaks."""
    say("reading the documentation on this machine ...", quiet)
    found = corpus_demo.collect_documentation(workers=machine.pick_threads(None))
    files = corpus_demo.write_demo(folder, found.docs, seed=0, labels=DEMO_LABELS)
    report = found.report
    say(
        f"{report['kept']} texts, {report['words']:,} words of {report['packages']} packages "
        f"in {report['seconds']:.0f} s; task: which of {len(files.labels)} packages is this from?",
        quiet,
    )
    findings = check([str(files.corpus)], against=[str(files.test)])
    exact, near = findings.count("leak"), findings.count("near_leak")
    if exact:
        cure = "report the list of packages installed here"
        raise DataError(f"{exact} test texts occur in the pre-training corpus", where=files.test, cure=cure)
    say(f"check: no test text occurs in the pre-training corpus; {near} are half quoted in it", quiet)
    return {"documentation": report, "labels": files.labels, "leaks": exact, "near leaks": near}


def demo_recipe(out: Path, minutes: float) -> Recipe:
    """The demo as a recipe; demo.toml beside this file states its values."""
    data = out / "data"
    values = read_recipe(Path(__file__).parent / "demo.toml").model_dump(exclude_unset=True)
    values["corpus"]["paths"] = (str(data / "corpus.txt.gz"),)
    values["train"]["minutes"] = minutes
    values["data"] |= {"train": str(data / "train.jsonl"), "test": str(data / "test.jsonl")}
    return Recipe.model_validate(values)
