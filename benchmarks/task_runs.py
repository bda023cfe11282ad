"""Finished runs of the task recipes as results: what each scored, beside its baseline.

    wordloom run recipes/multi30k-transformer.toml -o runs/multi30k-transformer      (and others, by their names)
    python benchmarks/task_runs.py multi30k-transformer

A result that is there is kept unless it is named again. Writes benchmarks/results/tasks.json.
"""

from __future__ import annotations

import argparse
import json
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
    if read_recipe(run / "recipe.toml").train != read_recipe(RECIPES / f"{name}.toml").train:
        raise SystemExit(f"{run} was trained otherwise than recipes/{name}.toml says now. Run the recipe again.")
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    return {
        "command": f"wordloom run recipes/{name}.toml -o runs/{name}",
        "recipe": (run / "recipe.toml").read_text("utf-8"),
        "ended": manifest["ended"],
        "seed": manifest["seed"],
        "seconds": manifest["seconds"],
        "threads": manifest["machine"]["cores"],
        "model": manifest["model"],
        "main": scores["main"],
        "examples": scores["examples"],
        "scores": scores["scores"],
        "baseline": scores.get("baseline"),
        "paired": scores.get("paired"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="of recipes, whose runs are RUNS/NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text("utf-8"))["runs"] if RESULT.exists() else {}
    kept |= {name: result(given.runs / name, name) for name in given.names}
    runs = {name: kept[name] for name in sorted(kept)}
    date = max(run["ended"] for run in runs.values())[:10]
    print(_common.write("tasks", {"date": date, "runs": runs, "machine": _common.machine(1)}))


if __name__ == "__main__":
    main()
