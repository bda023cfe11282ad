"""Finished runs of the task recipes as results: what each scored, beside its baseline.

    wordloom run recipes/wnut17.toml -o runs/wnut17                              (and others, by their names)
    wordloom run recipes/wnut17.toml -o runs/wnut17-1 --set train.seed=1         (other seeds, where a run is short)
    wordloom run recipes/jaquad.toml -o runs/jaquad-labels-2000 --set data.labels=2000     (points of a learning curve)
    python benchmarks/task_runs.py wnut17 jaquad

The first seed's scores are shown with their intervals, the main score of every seed beside them, and the median time:
the processor's, which other work hardly changes, where the runs tell it. A result that is there is kept unless it is
named again. Writes benchmarks/results/tasks.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import _common

RESULT = _common.RESULTS / "tasks.json"
RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def result(run: Path, name: str) -> dict[str, Any]:
    """Facts of one run. Raises SystemExit where it has not finished, or is of another recipe than stands there now."""
    from wordloom.config import read_recipe

    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    if manifest["status"] != "finished":
        raise SystemExit(f"{run} is {manifest['status']}. Resume it first.")
    ours, theirs = (read_recipe(path).train for path in (run / "recipe.toml", RECIPES / f"{name}.toml"))
    said = theirs.model_dump(exclude_unset=True, exclude={"seed"})  # the run's own recipe also holds what is usual
    if said != {key: value for key, value in ours.model_dump().items() if key in said}:
        raise SystemExit(f"{run} was trained otherwise than recipes/{name}.toml says now. Run the recipe again.")
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    return {
        "command": f"wordloom run recipes/{name}.toml -o runs/{name}",
        "recipe": (run / "recipe.toml").read_text("utf-8"),
        "ended": manifest["ended"],
        "seed": manifest["seed"],
        "seconds": manifest["seconds"],
        "processor_seconds": manifest.get("processor_seconds"),
        "threads": manifest["machine"]["cores"],
        "model": manifest["model"],
        "main": scores["main"],
        "examples": scores["examples"],
        "scores": scores["scores"],
        "baseline": scores.get("baseline"),
        "paired": scores.get("paired"),
    }


def all_seeds(runs: Path, name: str) -> dict[str, Any]:
    """``result`` of RUNS/NAME, with the main score of it and of every RUNS/NAME-SEED."""
    first = result(runs / name, name)
    others = [result(run, name) for run in sorted(runs.glob(f"{name}-[1-9]"))]
    if len({_without(run["recipe"], "seed") for run in (first, *others)}) > 1:
        raise SystemExit(f"the runs of {name} differ by more than the seed. Train each from the recipe as it stands.")
    if len({run["seed"] for run in (first, *others)}) != 1 + len(others):
        raise SystemExit(f"two runs of {name} have the same seed. Train each with --set train.seed=NUMBER.")
    seconds = statistics.median(run["seconds"] for run in (first, *others))
    of_processor = [run["processor_seconds"] for run in (first, *others) if run["processor_seconds"] is not None]
    alone = statistics.median(of_processor) if len(of_processor) == 1 + len(others) else None
    return first | {
        "median_seconds": seconds,
        "median_processor_seconds": alone,
        "seeds": [_seed(run) for run in (first, *others)],
        "curve": _curve(runs, name, first),
    }


def _curve(runs: Path, name: str, first: dict[str, Any]) -> list[dict[str, Any]]:
    """The main score with fewer labels, of every RUNS/NAME-labels-N; fewest first."""
    found = []
    for folder in runs.glob(f"{name}-labels-*"):
        number = folder.name.removeprefix(f"{name}-labels-")
        if not number.isdecimal() or not folder.is_dir():
            continue
        run = result(folder, name)
        if f"labels = {number}" not in run["recipe"].replace("_", "").splitlines():
            raise SystemExit(f"{folder} was not trained from {number} labels. Name it after its data.labels.")
        if _without(run["recipe"], "labels") != _without(first["recipe"], "labels"):
            raise SystemExit(f"{folder} differs from {runs / name} by more than the labels. Train it from the recipe.")
        found.append({"labels": int(number)} | _seed(run))
    return sorted(found, key=lambda point: point["labels"])


def _without(recipe: str, key: str) -> str:
    return "\n".join(line for line in recipe.splitlines() if not line.startswith(f"{key} = "))


def _seed(run: dict[str, Any]) -> dict[str, Any]:
    paired = run["paired"]
    gain = paired and paired["difference"]
    return {"seed": run["seed"], "seconds": run["seconds"], "score": run["scores"][run["main"]], "gain": gain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="of recipes, whose runs are RUNS/NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text("utf-8"))["runs"] if RESULT.exists() else {}
    kept |= {name: all_seeds(given.runs, name) for name in given.names}
    runs = {name: kept[name] for name in sorted(kept)}
    date = max(run["ended"] for run in runs.values())[:10]
    print(_common.write("tasks", {"date": date, "runs": runs, "machine": _common.machine(1)}))


if __name__ == "__main__":
    main()
