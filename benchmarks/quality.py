"""Quality of pre-training and fine-tuning on public sets, from finished runs of the recipes.

    wordloom run recipes/imdb-pretrain.toml -o runs/imdb-pretrain    (and imdb-500, imdb-5000, imdb-25000)
    python benchmarks/quality.py imdb
    wordloom run recipes/chnsenticorp-pretrain.toml -o runs/chnsenticorp-pretrain   (and chnsenticorp)
    python benchmarks/quality.py chnsenticorp
    python benchmarks/quality.py sms                                 (trains: ten folds from runs/imdb-pretrain)
    wordloom run recipes/imdb-500-after-sst2.toml -o runs/imdb-500-after-sst2       (after recipes/sst2-loom-tiny.toml)
    python benchmarks/quality.py transfer

Writes benchmarks/results/quality_NAME.json.
"""

from __future__ import annotations

import argparse
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import _common
import numpy as np

from wordloom.api.labelled import divide
from wordloom.api.start import open_start
from wordloom.config import ClassifyConfig, DataConfig, ModelConfig, Recipe, TrainConfig
from wordloom.data.examples import read_examples
from wordloom.metrics import classification_scores, gain_over_seeds

DATA = Path(__file__).parents[2] / "shared" / "data"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def pretraining_facts(run: Path) -> dict[str, Any]:
    """Held-out loss against the unigram entropy; a run not below it by 1 nat counts as failed."""
    manifest, scores = read_json(run / "manifest.json"), read_json(run / "scores.json")["scores"]
    below = scores["below_unigram"]
    return {
        "recipe": (run / "recipe.toml").read_text(encoding="utf-8"),
        "model": manifest["model"],
        "seconds": _seconds(manifest),
        "plan": manifest["frozen"]["plan"] if "frozen" in manifest else None,
        "throughput": manifest.get("throughput"),
        "held_out_loss": scores["loss"],
        "unigram_entropy": manifest["unigram_entropy"],
        "below_unigram": below,
        "margin_required": 1.0,
        "failed": below["low"] < 1.0,
    }


def _seconds(manifest: dict[str, Any]) -> float:
    """Wall clock of the whole run: tokenizer, token store, training, evaluation."""
    ended, created = (datetime.fromisoformat(manifest[key]) for key in ("ended", "created"))
    return (ended - created).total_seconds()


def comparison(run: Path) -> dict[str, Any]:
    row = read_json(run / "scores.json")["gain"]["rows"][0]
    return {**row, "recipe": (run / "recipe.toml").read_text(encoding="utf-8")}


def imdb(runs: Path) -> dict[str, Any]:
    rows = [comparison(run) for n in (500, 5000, 25000) if (run := runs / f"imdb-{n}").joinpath("scores.json").exists()]
    return {"pretraining": pretraining_facts(runs / "imdb-pretrain"), "rows": rows}


def transfer(runs: Path) -> dict[str, Any]:
    """Another task's labels first: what the model scored on them, and what they gain on the second task."""
    first = read_json(runs / "sst2-loom-tiny" / "scores.json")
    before = {"task": "SST-2", "accuracy": first["scores"]["accuracy"], "examples": first["examples"]}
    return {"before": before, "rows": [comparison(runs / "imdb-500-after-sst2")]}


def chnsenticorp(runs: Path) -> dict[str, Any]:
    """The comparison on all test texts, and on those whose text does not occur in train."""
    run = runs / "chnsenticorp"
    train, test = (
        read_examples(str(DATA / "classify/chnsenticorp" / f"{part}.tsv.gz"), text="text_a", label="label")
        for part in ("train", "test")
    )
    seen = {train.key(i) for i in range(len(train))}
    fresh = np.array([test.key(i) not in seen for i in range(len(test))])
    (answers,) = read_json(run / "answers.json").values()
    correct = {arm: np.array(rows, float) for arm, rows in answers.items()}
    return {
        "pretraining": pretraining_facts(runs / "chnsenticorp-pretrain"),
        "full": _row(correct, np.ones(len(test), bool)),
        "deleaked": _row(correct, fresh),
        "recipe": (run / "recipe.toml").read_text(encoding="utf-8"),
    }


def _row(correct: dict[str, np.ndarray], keep: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {"examples": int(keep.sum()), "arms": {}}
    for arm, values in correct.items():
        score = gain_over_seeds(values[:, keep], np.zeros_like(values[:, keep]))
        row["arms"][arm] = {"value": score.difference, "low": score.low, "high": score.high}
    for other in ("random", "tfidf"):
        gain = gain_over_seeds(correct["pretrained"][:, keep], correct[other][:, keep], names=("pretrained", other))
        row[f"gain_over_{other}"] = {
            "value": gain.difference,
            "low": gain.low,
            "high": gain.high,
            "verdict": gain.verdict,
        }
    return row


def sms(runs: Path, folds: int = 10) -> dict[str, Any]:
    """Ten folds over the messages left after removing repeats; each message is scored once, by a model that never
    saw it. The threshold-free recall is at a false-positive rate of at most 0.5 %."""
    from wordloom.tasks.classify.baseline import fit_baseline

    path = DATA / "classify/sms_spam/sms.tsv"
    examples = read_examples(str(path), label="1", text="2")
    first: dict[str, int] = {}
    for i in range(len(examples)):
        first.setdefault(examples.key(i), i)
    unique = examples.subset(sorted(first.values()))
    recipe = Recipe(
        model=ModelConfig(dropout=0.1, attention_dropout=0.0),
        data=DataConfig(train=str(path)),
        task=ClassifyConfig(pooling="mean"),
        train=TrainConfig(epochs=8, batch=32, length=128, lr=1e-3, schedule="linear", warmup=0.1, threads=1),
    )
    start = open_start(runs / "imdb-pretrain", recipe, unique.texts)
    fold_of = _folds(unique.labels or [], folds)
    names = sorted(set(map(str, unique.labels or [])))
    probabilities = {name: np.zeros((len(unique), 2)) for name in ("model", "tfidf")}
    for fold in range(folds):
        held, rest = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        test = unique.subset(held.tolist())
        parts = divide(unique.subset(rest.tolist()), None, test, DataConfig(train=str(path)), fold)
        probabilities["model"][held] = _fold(start, parts, recipe, runs / "sms" / f"fold-{fold}")
        probabilities["tfidf"][held] = fit_baseline(parts.train, valid=parts.valid).predict_proba(test.texts)
    gold = np.array([names.index(str(v)) for v in unique.labels or []])
    scores = {arm: classification_scores(gold, p, "single", names) for arm, p in probabilities.items()}
    wanted = ("accuracy", "f1", "precision", "recall", "recall_at_fpr_0.5", "auroc", "mcc")
    return {
        "messages": len(examples),
        "after_removing_repeats": len(unique),
        "folds": folds,
        "start": "runs/imdb-pretrain",
        "recipe": recipe.model_dump(exclude_unset=True, exclude={"data"}, mode="json"),
        "scores": {
            arm: {k: {"value": s[k].value, "low": s[k].low, "high": s[k].high} for k in wanted if k in s}
            for arm, s in scores.items()
        },
    }


def _folds(labels: list[Any], folds: int) -> np.ndarray:
    """Stratified: the examples of each label, shuffled, dealt out in turn."""
    rng, fold_of = np.random.default_rng(13), np.zeros(len(labels), int)
    for name in sorted(set(map(str, labels))):
        members = rng.permutation([i for i, v in enumerate(labels) if str(v) == name])
        fold_of[members] = np.arange(len(members)) % folds
    return fold_of


def _fold(start: Any, parts: Any, recipe: Recipe, folder: Path) -> np.ndarray:
    from wordloom.api.finetuning import finetune_parts

    result = finetune_parts(start, parts, recipe, folder, overwrite=folder.exists(), baseline=False, quiet=True)
    assert result.predictor is not None
    return result.predictor.predict_proba(parts.test.texts)


SETS = {"imdb": imdb, "chnsenticorp": chnsenticorp, "sms": sms, "transfer": transfer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(SETS))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    values = SETS[given.name](given.runs)
    facts = {"command": f"python benchmarks/quality.py {given.name}", "date": f"{date.today()}"}
    print(_common.write(f"quality_{given.name}", {**facts, "machine": _common.machine(2), **values}))


if __name__ == "__main__":
    main()
