"""Tables of tasks and strategies as docs/ shows them: units, verdicts and points of a curve, from made-up results."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"processor": "P", "microarchitecture": "m", "cores": 2, "versions": {"torch": "2"}}


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def page(module: str, section: str, result: dict[str, Any]) -> str:
    return "\n\n".join(getattr(importlib.import_module(module), section)(result))


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def task(main: str, value: float, gain: float, **more: Any) -> dict[str, Any]:
    return {
        "command": "wordloom run X", "seconds": 600.0, "processor_seconds": None, "threads": 1, "main": main,
        "model": {"parameters": 2_000_000}, "scores": {main: interval(value)},
        "baseline": {"name": "rule", "scores": {main: interval(value - gain)}},
        "paired": {"difference": interval(gain)}, **more,
    }  # fmt: skip


def test_bits_are_not_percent_and_curves_have_the_metrics_own_unit() -> None:
    curve = [{"labels": 2000, "score": interval(2.0), "gain": interval(-0.25)}]
    runs = {"a": task("bits_per_byte", 1.84, -0.35, curve=curve), "b": task("f1", 0.5, 0.125, curve=[])}
    said = page("_using", "tasks", {"runs": runs, "machine": MACHINE})
    assert "bits_per_byte 1.84 [1.83, 1.85] | rule: 2.19 [2.18, 2.20] | -0.35 [-0.36, -0.34]" in said
    assert "f1 50.0 [49.0, 51.0] | rule: 37.5 [36.5, 38.5] | +12.5 [+11.5, +13.5]" in said
    assert "2,000: 2.00 [1.99, 2.01], -0.25 [-0.26, -0.24] against the baseline; all: 1.84 [1.83, 1.85]" in said
    assert "`recipes/b.toml` by training examples" not in said


def strategy(
    value: float, verdict: str | None = None, difference: float = 0.0, start: str = "runs/a"
) -> dict[str, Any]:
    row = {"start": start, "rate": 1e-3, "accuracy": interval(value), "per_seed": [value] * 3, "seconds": [40.0, 50.0]}
    if verdict is not None:
        low, high = difference - 0.02, difference + 0.02
        row["against_full"] = {"difference": difference, "low": low, "high": high, "verdict": verdict}
    return row


def test_strategies_are_ranked_by_the_stored_verdict() -> None:
    found = {
        "full": strategy(0.75), "frozen": strategy(0.70, "full is better", -0.05),
        "lora": strategy(0.78, "no difference", 0.03),  # the interval is above 0, the test says no
        "continued": strategy(0.80, "continued is better", 0.05, start="runs/b"),
    }  # fmt: skip
    facts = {"command": "C", "machine": MACHINE, "seeds": [0, 1, 2], "strategies": found, "continued_seconds": 600.0}
    said = page("_which", "strategies", facts)
    assert "Better than training everything: *continued*; not told apart from it: *lora*; worse: *frozen*" in said
    assert "from runs/a;" in said and "*continued* goes on from runs/b, 10 minutes more." in said


def run(folder: Path, recipe: str, score: float) -> None:
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipe)
    facts = {"status": "finished", "ended": "2026", "seed": 0, "seconds": 1.0, "machine": {"cores": 1}, "model": {}}
    (folder / "manifest.json").write_text(json.dumps(facts))
    scores = {"main": "f1", "examples": 9, "scores": {"f1": interval(score)}}
    (folder / "scores.json").write_text(json.dumps(scores))


def test_points_of_a_curve_are_of_the_recipe_and_of_as_many_labels_as_they_say(tmp_path: Path) -> None:
    sys.modules.pop("task_runs", None)
    task_runs = importlib.import_module("task_runs")
    recipe = (ROOT / "recipes" / "jaquad.toml").read_text()
    some = recipe.replace("[data]", "[data]\nlabels = 1_000")
    run(tmp_path / "jaquad", recipe, 0.5)
    run(tmp_path / "jaquad-labels-1000", some, 0.4)
    run(tmp_path / "jaquad-labels-200", some.replace("1_000", "200"), 0.3)
    (tmp_path / "jaquad-labels-200-old").mkdir()
    points = task_runs.all_seeds(tmp_path, "jaquad")["curve"]
    assert [(p["labels"], p["score"]["value"]) for p in points] == [(200, 0.3), (1000, 0.4)]
    run(tmp_path / "jaquad-labels-300", some, 0.4)
    with pytest.raises(SystemExit, match="not trained from 300 labels"):
        task_runs.all_seeds(tmp_path, "jaquad")
    (tmp_path / "jaquad-labels-300" / "recipe.toml").write_text(
        some.replace("1_000", "300").replace("match = true\n", "")
    )
    with pytest.raises(SystemExit, match="by more than the labels"):
        task_runs.all_seeds(tmp_path, "jaquad")
