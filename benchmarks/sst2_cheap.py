"""SST-2 by networks that learn from labels alone: finished runs as results, which render.py puts into which-model.md.

    wordloom run recipes/sst2-dan.toml -o runs/sst2-dan      (and sst2-textcnn)
    python benchmarks/sst2_cheap.py

Writes benchmarks/results/sst2_cheap.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import _common

NAMES = ("dan", "textcnn")


def result(run: Path, name: str) -> dict[str, Any]:
    manifest, scores = (json.loads((run / file).read_text("utf-8")) for file in ("manifest.json", "scores.json"))
    return {
        "command": f"wordloom run recipes/sst2-{name}.toml -o runs/sst2-{name}",
        "recipe": (run / "recipe.toml").read_text("utf-8"),
        "ended": manifest["ended"],
        "seed": manifest["seed"],
        "seconds": manifest["seconds"],
        "model": manifest["model"],
        "scores": {"accuracy": scores["scores"]["accuracy"]},
        "baseline": {"name": scores["baseline"]["name"], "accuracy": scores["baseline"]["scores"]["accuracy"]},
        "paired": scores["paired"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    runs = {name: result(given.runs / f"sst2-{name}", name) for name in NAMES}
    date = max(run["ended"] for run in runs.values())[:10]
    print(_common.write("sst2_cheap", {"date": date, "runs": runs, "machine": _common.machine(1)}))


if __name__ == "__main__":
    main()
