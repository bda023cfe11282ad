"""Fine-tuning strategies side by side: the same start, labels, seeds and steps; only what is trained differs.

    python benchmarks/strategies.py recipes/strategies-imdb-500.toml --continued runs/imdb-continued
                                          (after recipes/baby10m-loom-tiny.toml and recipes/imdb-continued.toml)

Each strategy first takes the learning rate that is best for it on the validation part of the first seed (ties: the
lower loss), then trains every seed with it; the difference to training everything is paired by seed and test text. What
finished before by the same recipe and start is kept, and so is what the result file says of strategies that are not
asked for; "full" is always among them. --continued: the recipe's start after more pre-training, on text of the task;
the strategy "continued" trains all of that. Writes benchmarks/results/NAME_OF_RECIPE.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import _common
import numpy as np

from wordloom.api import finetune
from wordloom.api.compare import finished
from wordloom.config import Recipe, read_recipe
from wordloom.metrics import gain_over_seeds

# name -> (what differs from the recipe, learning rates to choose from)
STRATEGIES: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "full": ({}, (3e-4, 1e-3, 2e-3)),
    "frozen": ({"train.freeze": "body"}, (1e-3, 1e-2, 5e-2)),
    "gradual": ({"train.freeze": "gradual"}, (3e-4, 1e-3, 2e-3)),
    "layer-decay": ({"train.layer_decay": 0.7}, (3e-4, 1e-3, 2e-3)),
    "lora": ({"lora.rank": 8, "lora.alpha": 16.0}, (1e-3, 3e-3, 1e-2)),
    "continued": ({}, (3e-4, 1e-3, 2e-3)),
}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def train(recipe: Path, start: str, folder: Path, values: dict[str, Any], test: bool) -> Path:
    """One run; read where it finished before, resumed where it did not. Raises SystemExit where it is another one.
    test: whether it is scored, which takes longer than 500 labels take to learn."""
    if folder.exists():
        _refuse_other(folder, recipe, start, values)
    if not finished(folder):
        again = folder.exists()
        data = toml_of(recipe)["data"]["train"]
        finetune(start, data, folder, recipe=None if again else _recipe(recipe, test), resume=again, baseline=False,
                 quiet=True, **({} if again else values))  # fmt: skip
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        shutil.rmtree(folder / "bundle", ignore_errors=True)
    return folder


def _recipe(path: Path, test: bool) -> Recipe:
    recipe = read_recipe(path)
    if test or recipe.data is None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"test": None})})


def _refuse_other(folder: Path, recipe: Path, start: str, values: dict[str, Any]) -> None:
    theirs = toml_of(folder / "recipe.toml")
    expected = {f"{table}.{key}": v for table, row in toml_of(recipe).items() for key, v in row.items()}
    expected |= {"model.start": start, **values}
    expected.pop("data.test", None)  # the runs among which the rate is chosen have none
    for dotted, value in expected.items():
        table, _, key = dotted.partition(".")
        if theirs.get(table, {}).get(key) != value:
            raise SystemExit(
                f"{folder} was trained with another {dotted} than {value!r}. Remove it, or give another --out."
            )


def toml_of(recipe: Path) -> dict[str, Any]:
    return tomllib.loads(recipe.read_text(encoding="utf-8"))


def validation(folder: Path) -> tuple[float, float]:
    kept = read_json(folder / "manifest.json")["validation"]
    return kept["scores"][kept["metric"]], -kept["scores"]["loss"]


def correct(folder: Path) -> np.ndarray:
    """(n,) 1 where a test text was answered right."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([row["gold"] == row["predicted"] for row in map(json.loads, lines)], float)


def measured(
    recipe: Path, start: str, out: Path, name: str, seeds: list[int], threads: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Facts of a strategy, and its right answers (S, n)."""
    values, rates = STRATEGIES[name]

    def run(kind: str, seed: int, rate: float, test: bool = True) -> Path:
        settings = {**values, "train.seed": seed, "train.lr": rate, "train.threads": threads}
        return train(recipe, start, out / f"{name}-{kind}{rate}-{seed}", settings, test)

    tried = {rate: run("choice-", seeds[0], rate, test=False) for rate in rates}
    best = max(rates, key=lambda rate: validation(tried[rate]))
    folders = [run("", seed, best) for seed in seeds]
    right = np.stack([correct(folder) for folder in folders])
    manifests = [read_json(folder / "manifest.json") for folder in folders]
    sure = gain_over_seeds(right, np.zeros_like(right))  # over seeds and texts
    facts = {
        "start": start,
        "settings": values,
        "rates_tried": {str(rate): validation(folder)[0] for rate, folder in tried.items()},
        "rate": best,
        "accuracy": {"value": float(right.mean()), "low": sure.low, "high": sure.high},
        "per_seed": right.mean(1).tolist(),
        "seconds": [round(m["seconds"], 1) for m in manifests],
    }
    return facts, right


def _seconds(run: Path) -> float:
    return float(read_json(run / "manifest.json")["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, help="default: runs/NAME-OF-RECIPE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--continued", help='the start of the strategy "continued"; without it that is left out')
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    out = args.out or Path("runs") / args.recipe.stem
    out.mkdir(parents=True, exist_ok=True)
    path = _common.RESULTS / f"{args.recipe.stem.replace('-', '_')}.json"
    facts, right = (read_json(path)["strategies"] if path.exists() else {}), {}
    for name in [n for n in STRATEGIES if n in {"full", *args.strategies}]:
        start = args.continued if name == "continued" else toml_of(args.recipe)["model"]["start"]
        if start is None:
            continue
        facts[name], right[name] = measured(args.recipe, start, out, name, args.seeds, args.threads)
        if name != "full":
            gain = gain_over_seeds(right[name], right["full"], names=(name, "full"))
            facts[name]["against_full"] = {"difference": gain.difference, "low": gain.low, "high": gain.high,
                                           "p": gain.p_value, "verdict": gain.verdict}  # fmt: skip
        row = facts[name]["accuracy"]
        verdict = facts[name].get("against_full", {}).get("verdict", "")
        print(f"{name:12} {100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]  {verdict}")
    result = {
        "command": f"python benchmarks/strategies.py {args.recipe}"
        + (f" --continued {args.continued}" if args.continued else ""),
        "date": date.today().isoformat(),
        "machine": _common.machine(args.threads),
        "seeds": args.seeds,
        "recipe": args.recipe.read_text(encoding="utf-8"),
        "continued_seconds": None if args.continued is None else _seconds(Path(args.continued)),
        "strategies": {name: facts[name] for name in STRATEGIES if name in facts},
    }
    print(_common.write(args.recipe.stem.replace("-", "_"), result))


if __name__ == "__main__":
    main()
