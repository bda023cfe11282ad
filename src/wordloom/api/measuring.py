"""What a finished classifier is worth: scores with intervals beside TF-IDF, calibration, errors, the bundle."""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wordloom.api.labelled import Parts
from wordloom.api.results import Result, paired_json, scores_json
from wordloom.data.examples import Examples
from wordloom.disk import replace
from wordloom.infer.predictor import Answers, Predictor
from wordloom.metrics import MAIN, Score, paired, point_scores, reliability
from wordloom.run import Run
from wordloom.tasks.classify.baseline import Baseline, fit_baseline
from wordloom.tasks.classify.calibrate import calibrated

BASELINE = "TF-IDF + logistic regression"
WORST = 20  # errors the report shows


class Calibrated(Answers, Protocol):
    """A task with a temperature: ``Classify`` and ``LinearClassifier``."""

    temperature: float


def measure(
    run: Run, predictor: Predictor, task: Calibrated, parts: Parts, *, baseline: bool, chose: str = "checkpoint"
) -> Result:
    """Score beside the baseline; write scores.json, predictions.jsonl and the bundle.

    task: the predictor's. chose: what the validation part chose.
    """
    part = parts.test or parts.valid
    logits = predictor.logits(part.texts, part.pairs)
    probabilities = task.probabilities(logits)
    scores = task.scores(part, probabilities)
    values: dict[str, Any] = {"main": MAIN[task.kind], "scores": scores_json(scores), "examples": len(part)}
    notes = [_headline(task, scores, parts, chose)]
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


def _headline(task: Calibrated, scores: dict[str, Score], parts: Parts, chose: str) -> str:
    name = MAIN[task.kind]
    where = (
        "test" if parts.test is not None else f"validation part, which also chose the {chose}: optimistic; give --test"
    )
    return f"{name} {scores[name]} on {len(parts.test or parts.valid)} examples ({where})"


def _beside(
    task: Calibrated, gold: NDArray, probabilities: NDArray, beside: Baseline, part: Examples
) -> dict[str, Any]:
    theirs = beside.predict_proba(part.texts, part.pairs)
    baseline = "TF-IDF + ridge regression" if task.kind == "regression" else BASELINE
    test = paired(gold, probabilities, theirs, task.kind, names=("the model", baseline))
    return {
        "baseline": {"name": baseline, "scores": scores_json(beside.evaluate(part))},
        "paired": paired_json(test, baseline),
    }


def _details(
    task: Calibrated, part: Examples, gold: NDArray, probabilities: NDArray, raw: NDArray | None
) -> dict[str, Any]:
    """Confusion matrix, reliability bins before and after the temperature, most confident errors."""
    if task.kind != "single":
        return {}
    assert raw is not None
    index = {name: i for i, name in enumerate(task.labels)}
    predicted = np.array([index[name] for name in task.decode(probabilities)])
    confidence = probabilities[np.arange(len(predicted)), predicted]
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


def _write_predictions(run: Run, task: Calibrated, part: Examples, probabilities: NDArray) -> None:
    """predictions.jsonl: one line per scored example, in input order."""
    decoded = task.decode(probabilities)
    rows = (
        {"place": place, "gold": gold, "predicted": value, "probabilities": np.atleast_1d(p).round(6).tolist()}
        for place, gold, value, p in zip(part.places, part.labels or [], decoded, probabilities, strict=True)
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    replace(run.path / "predictions.jsonl", text.encode("utf-8"))
