"""What pre-training gains: the same fine-tuning from pre-trained and from random weights, over labels and seeds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.api.finetuning import TABLES, finetune_parts
from wordloom.api.labelled import Parts, classify_config, descriptions, divide, read
from wordloom.api.measuring import BASELINE
from wordloom.api.results import Result, say, table
from wordloom.api.settings import refuse_changes, required
from wordloom.api.start import Start
from wordloom.config import ClassifyConfig, CompareConfig, Recipe
from wordloom.data.examples import Examples
from wordloom.disk import write_json
from wordloom.errors import ConfigError
from wordloom.metrics import MAIN, Paired, gain_over_seeds
from wordloom.model.interop.files import atomic_folder
from wordloom.report import render
from wordloom.run import Run, read_manifest
from wordloom.tasks.classify.baseline import fit_baseline
from wordloom.train import parallel

Data = tuple[Examples, Examples | None, Examples | None]  # train, valid, test


@dataclass(frozen=True)
class Row:
    """One label count: correct answers (S, n) of every arm on the same n test examples."""

    labels: int
    correct: dict[str, NDArray[np.float64]]

    def gain(self, a: str, b: str) -> Paired:
        return gain_over_seeds(self.correct[a], self.correct[b], names=(a, b))

    def to_json(self) -> dict[str, Any]:
        arms = {name: _score(gain_over_seeds(c, np.zeros_like(c))) for name, c in self.correct.items()}
        row: dict[str, Any] = {"labels": self.labels, "seeds": len(self.correct["tfidf"]), "arms": arms}
        main = "pretrained"
        for other, gained, judged in (
            ("random", "gain", "verdict"),
            ("tfidf", "gain_over_tfidf", "verdict_tfidf"),
            ("beside", "gain_over_beside", "verdict_beside"),
        ):
            if other in self.correct and main in self.correct:
                gain = self.gain(main, other)
                row[gained], row[judged] = _score(gain), _verdict(gain)
        return row


def compare(
    start: Start,
    data: Data,
    recipe: Recipe,
    run: Run,
    *,
    random: bool = True,
    beside: Start | None = None,
    quiet: bool = False,
) -> Result:
    """Fill ``run``: RUN/arms/ARM-LABELS-SEED for every combination (finished ones are kept), then the table. The arms
    are ``start`` ("pretrained"), another start where one stands ``beside`` it, and the random weights of ``start``.

    The examples drawn and the validation part are the same for all arms of a (label count, seed). RUN/bundle is
    the first arm's model of the largest label count and the best validation score.
    """
    train, valid, test = data
    test = _refuse_incomparable(train, test)
    config = recipe.compare or CompareConfig()
    starts = {"pretrained": start}
    if beside is not None:
        starts["beside"] = beside
    if random:
        starts["random"] = start.randomly()
    rows = []
    for labels in config.labels:
        count = len(train) if labels == "all" else labels
        correct: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*starts, "tfidf")}
        for seed in config.seeds:
            chosen = required(recipe.data, "data", "compare").model_copy(
                update={"labels": None if labels == "all" else labels}
            )
            parts = divide(train, valid, test, chosen, seed)
            seeded = recipe.model_copy(
                update={"train": recipe.train.model_copy(update={"seed": seed}), "data": chosen, "compare": None}
            )
            for arm, begins in starts.items():
                say(f"\n{begins.name if arm == 'beside' else arm}, {count} labels, seed {seed}", quiet)
                correct[arm].append(_arm(run.path / "arms" / f"{arm}-{labels}-{seed}", begins, parts, seeded, quiet))
            correct["tfidf"].append(_tfidf(parts, test, classify_config(recipe)))
        rows.append(Row(count, {name: np.stack(values) for name, values in correct.items()}))
    return _finish(run, rows, config, train, test)


def _refuse_incomparable(train: Examples, test: Examples | None) -> Examples:
    """The test part. ConfigError where there is none, or where its labels are numbers."""
    if test is None:
        raise ConfigError("a comparison needs a test file", where="data.test", cure="give --test, or set data.test")
    if train.kind == "regression":
        cure = "fine-tune twice and evaluate A B"
        raise ConfigError("a comparison counts right answers; numbers have none", cure=cure)
    return test


def _arm(folder: Path, start: Start, parts: Parts, recipe: Recipe, quiet: bool) -> NDArray[np.float64]:
    """Correct answers (n,) of one run; a run that finished before is read, one that did not is resumed."""
    if finished(folder):
        say("finished before, kept", quiet)
    else:
        again = f"the same command with --out {folder.parents[1]} --resume"
        finetune_parts(start, parts, recipe, folder, resume=folder.exists(), baseline=False, quiet=quiet, again=again)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    with (folder / "predictions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return np.array([_same(row["gold"], row["predicted"]) for row in rows], dtype=np.float64)


def finished(folder: Path) -> bool:
    """Whether a stage's run ended well; one that exists and did not is resumed."""
    return folder.exists() and read_manifest(folder)["status"] == "finished"


def keep_bundle(run: Run, source: Path) -> None:
    """A stage's bundle becomes the run's."""
    with atomic_folder(run.bundle, overwrite=True) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def _tfidf(parts: Parts, test: Examples, task: ClassifyConfig) -> NDArray[np.float64]:
    beside = fit_baseline(parts.train, None if task.kind == "auto" else task.kind, valid=parts.valid)
    predicted = beside.predict(test.texts, test.pairs)
    return np.array([_same(g, p) for p, g in zip(predicted, test.labels or [], strict=True)], dtype=np.float64)


def _same(gold: Any, predicted: Any) -> bool:
    """Whether an answer is right: the label, or all labels and no other."""
    return set(gold) == set(predicted) if isinstance(gold, list) else gold == predicted


def _finish(run: Run, rows: list[Row], config: CompareConfig, train: Examples, test: Examples) -> Result:
    best = _best_run(run, config)
    keep_bundle(run, best / "bundle")
    shown = json.loads((best / "scores.json").read_text(encoding="utf-8"))
    last = rows[-1].to_json()
    values = {
        "main": MAIN["single"],
        "scores": {"accuracy": last["arms"]["pretrained"]},
        "examples": len(test),
        "gain": {"metric": "accuracy", "beside": config.beside, "rows": [row.to_json() for row in rows]},
        **{k: shown[k] for k in ("confusion", "calibration", "worst") if k in shown},
    }
    run.write_scores(values)
    answers = {row.labels: {name: c.astype(int).tolist() for name, c in row.correct.items()} for row in rows}
    write_json(run.path / "answers.json", answers)  # right or wrong: labels -> arm -> (seeds, test examples)
    parts = {"train": train, "test": test}
    run.update_manifest(
        seeds=list(config.seeds),
        data={name: {"read as": p.columns, "examples": len(p)} for name, p in parts.items()},
    )
    run.finish()
    notes = [*gain_table(rows, config.beside), *(line for row in rows for line in _sentences(row, config.beside))]
    return Result(run.path, "compare", values, notes, render(run.path))


def _best_run(run: Run, config: CompareConfig) -> Path:
    """The run of the largest label count whose validation part scored best."""

    def validation(folder: Path) -> tuple[float, float]:
        kept = read_manifest(folder)["validation"]
        return kept["scores"][kept["metric"]], -kept["scores"]["loss"]

    return max((run.path / "arms" / f"pretrained-{config.labels[-1]}-{seed}" for seed in config.seeds), key=validation)


def gain_table(rows: list[Row], beside: str | None = None) -> list[str]:
    names, titles = list(rows[0].correct), {"tfidf": BASELINE, "beside": str(beside)}
    body = []
    for row in rows:
        arms = row.to_json()["arms"]
        cells = [
            f"{100 * arms[n]['value']:.1f} [{100 * arms[n]['low']:.1f}, {100 * arms[n]['high']:.1f}]" for n in names
        ]
        body.append([f"{row.labels} labels", *cells])
    return table(body, ["accuracy, %", *(titles.get(n, n) for n in names)])


def _sentences(row: Row, beside: str | None) -> list[str]:
    lines = []
    if "random" in row.correct:
        gain = row.gain("pretrained", "random")
        lines.append(f"{row.labels} labels: pre-training gains {_size(gain)} over random weights ({gain.verdict})")
    if "beside" in row.correct:
        gain = row.gain("pretrained", "beside")
        lines.append(f"{row.labels} labels: {_size(gain)} against {beside} ({_verdict(gain)})")
    if not lines:
        gain = gain_over_seeds(row.correct["pretrained"], row.correct["tfidf"], names=("the model", BASELINE))
        lines.append(f"{row.labels} labels, against {BASELINE}: {gain.verdict}")
    return lines


def _size(gain: Paired) -> str:
    return f"{100 * gain.difference:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _score(gain: Paired) -> dict[str, float]:
    return {"value": gain.difference, "low": gain.low, "high": gain.high}


def _verdict(gain: Paired) -> str:
    return "no difference" if gain.verdict == "no difference" else "better" if gain.difference > 0 else "worse"


def finetune_seeds(
    start: Start, data: Data, recipe: Recipe, out: str | Path, seeds: int, *, resume: bool, overwrite: bool, quiet: bool
) -> Result:
    """``finetune --seeds N``: one arm, N seeds, the best on validation kept as the bundle."""
    parallel.refuse_several("finetune --seeds")
    train, valid, test = data
    _refuse_incomparable(train, test)
    labels = recipe.data.labels if recipe.data is not None and recipe.data.labels is not None else "all"
    first = recipe.train.seed
    config = CompareConfig(labels=(labels,), seeds=tuple(range(first, first + seeds)))
    several = recipe.model_copy(update={"compare": config})
    values = several.model_dump(exclude_none=True, exclude_unset=True)
    with Run.open(out) if resume else Run.create(out, values, "finetune", overwrite) as run:
        if resume:
            refuse_changes(run, several, {**TABLES, "compare": CompareConfig})
        run.update_manifest(parent=start.name)
        return compare(start, (train, valid, test), several, run, random=False, quiet=quiet)


def read_all(recipe: Recipe, quiet: bool) -> Data:
    """train, valid and test of [data]."""
    config, task = required(recipe.data, "data", "run"), classify_config(recipe)
    if not config.train:
        raise ConfigError("no training file is named", where="data.train", cure="name a labelled file")
    parts = [read(path, config, task) if path else None for path in (config.train, config.valid, config.test)]
    for line in descriptions(parts):
        say(line, quiet)
    assert parts[0] is not None
    return parts[0], parts[1], parts[2]
