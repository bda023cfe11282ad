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
        for other, key in (("random", "gain"), ("tfidf", "gain_over_tfidf")):
            if other in self.correct and main in self.correct:
                gain = self.gain(main, other)
                row[key] = _score(gain)
                row["verdict" if key == "gain" else "verdict_tfidf"] = _verdict(gain)
        return row


def compare(
    start: Start,
    data: Data,
    recipe: Recipe,
    run: Run,
    *,
    arms: tuple[str, ...] = ("pretrained", "random"),
    quiet: bool = False,
) -> Result:
    """Fill ``run``: RUN/arms/ARM-LABELS-SEED for every combination (finished ones are kept), then the table.

    The examples drawn and the validation part are the same for all arms of a (label count, seed). RUN/bundle is
    the first arm's model of the largest label count and the best validation score.
    """
    train, valid, test = data
    test = _refuse_incomparable(train, test)
    config = recipe.compare or CompareConfig()
    starts = {"pretrained": start, "random": start.randomly()}
    rows = []
    for labels in config.labels:
        count = len(train) if labels == "all" else labels
        correct: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*arms, "tfidf")}
        for seed in config.seeds:
            chosen = required(recipe.data, "data", "compare").model_copy(
                update={"labels": None if labels == "all" else labels}
            )
            parts = divide(train, valid, test, chosen, seed)
            seeded = recipe.model_copy(
                update={"train": recipe.train.model_copy(update={"seed": seed}), "data": chosen, "compare": None}
            )
            for arm in arms:
                say(f"\n{arm}, {count} labels, seed {seed}", quiet)
                correct[arm].append(
                    _arm(run.path / "arms" / f"{arm}-{labels}-{seed}", starts[arm], parts, seeded, quiet)
                )
            correct["tfidf"].append(_tfidf(parts, test, classify_config(recipe)))
        rows.append(Row(count, {name: np.stack(values) for name, values in correct.items()}))
    return _finish(run, rows, arms[0], config, train, test, quiet)


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


def _finish(
    run: Run, rows: list[Row], arm: str, config: CompareConfig, train: Examples, test: Examples, quiet: bool
) -> Result:
    best = _best_run(run, arm, config)
    keep_bundle(run, best / "bundle")
    shown = json.loads((best / "scores.json").read_text(encoding="utf-8"))
    last = rows[-1].to_json()
    values = {
        "main": MAIN["single"],
        "scores": {"accuracy": last["arms"][arm]},
        "examples": len(test),
        "gain": {"metric": "accuracy", "rows": [row.to_json() for row in rows]},
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
    notes = [*gain_table(rows), *(_sentence(row) for row in rows)]
    return Result(run.path, "compare", values, notes, render(run.path))


def _best_run(run: Run, arm: str, config: CompareConfig) -> Path:
    """The run of the largest label count whose validation part scored best."""

    def validation(folder: Path) -> tuple[float, float]:
        kept = read_manifest(folder)["validation"]
        return kept["scores"][kept["metric"]], -kept["scores"]["loss"]

    return max((run.path / "arms" / f"{arm}-{config.labels[-1]}-{seed}" for seed in config.seeds), key=validation)


def gain_table(rows: list[Row]) -> list[str]:
    names = list(rows[0].correct)
    body = []
    for row in rows:
        arms = row.to_json()["arms"]
        cells = [
            f"{100 * arms[n]['value']:.1f} [{100 * arms[n]['low']:.1f}, {100 * arms[n]['high']:.1f}]" for n in names
        ]
        body.append([f"{row.labels} labels", *cells])
    return table(body, ["accuracy, %", *(BASELINE if n == "tfidf" else n for n in names)])


def _sentence(row: Row) -> str:
    if "random" not in row.correct:
        names = ("the model", BASELINE)
        gain = gain_over_seeds(row.correct["pretrained"], row.correct["tfidf"], names=names)
        return f"{row.labels} labels, against {BASELINE}: {gain.verdict}"
    gain = row.gain("pretrained", "random")
    size = f"{100 * gain.difference:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{row.labels} labels: pre-training gains {size} over random weights ({gain.verdict})"


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
        return compare(start, (train, valid, test), several, run, arms=("pretrained",), quiet=quiet)


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
