"""Which vectors, which objective? Finished runs of ``recipes/choose-*.toml``, of which render.py makes which-model.md.

    wordloom run recipes/choose-sms.toml -o runs/choose-sms      (imdb-500, imdb-25000, chnsenticorp, agnews, objective)
    python benchmarks/choice.py sms

Writes benchmarks/results/choice_NAME.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import _common

SETS = ("sms", "imdb-500", "imdb-25000", "chnsenticorp", "agnews", "objective")


def result(run: Path) -> dict[str, Any]:
    """Every candidate's row, the advice (of vectors), and what was run."""
    manifest, scores = (json.loads((run / name).read_text("utf-8")) for name in ("manifest.json", "scores.json"))
    return {
        "command": f"wordloom run recipes/{run.name}.toml -o runs/{run.name}",
        "date": manifest["ended"][:10],
        "recipe": (run / "recipe.toml").read_text("utf-8"),
        "seed": manifest["seed"],
        "data": manifest.get("data"),
        **{key: scores[key] for key in ("choose", "objectives") if key in scores},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=SETS)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()
    for name in given.names:
        values = {**result(given.runs / f"choose-{name}"), "machine": _common.machine(2)}
        print(_common.write(f"choice_{name}", values))


if __name__ == "__main__":
    main()
