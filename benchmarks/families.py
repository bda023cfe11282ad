"""Learning is real: every family pre-trained on baby10m, in one table, each beside what it must beat.

    wordloom run recipes/baby10m-gpt2-mini.toml -o runs/baby10m-gpt2-mini           (and the other baby10m-*.toml)
    python benchmarks/families.py [NAME ...] [--threads 1] [--pairs 200]

One tokenizer for all (training it again gives the same), so losses per token compare within an objective, and bits per
byte among causal rows: the others see what stands around a token. Beside each run: the unigram entropy of its training
tokens; for causal rows the modified Kneser-Ney 5-gram on all training text (`ngrams`); BLiMP (the first --pairs of each
of the 67 paradigms) for causal, masked and permuted rows; and a probe: a linear classifier on the frozen mean states
(of an encoder-decoder, the encoder's) for AG News topics, against the same network with random weights (three seeds),
paired on the test texts. A measured row is kept; --again measures it anew.
Writes benchmarks/results/families.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RESULT = common.RESULTS / "families.json"
CAUSAL = ("rnn-mini", "lstm-mini", "gru-mini", "gpt-mini", "gpt2-mini", "gpt3-mini")
ENCODERS = ("bert-tiny", "roberta-tiny", "albert-tiny", "electra-tiny", "loom-tiny", "xlnet-tiny")
ORDER = (*CAUSAL, *ENCODERS, "t5-tiny", "t5v1.1-tiny", "transformer-tiny")
PROBED = 4000  # labelled texts of the probe: a fifth of them choose the penalty
SEEDS = 3  # of the random weights


def measure(run: Path, pairs: int) -> dict[str, Any]:
    """One row of the table. Raises RunError where the run is not finished."""
    from wordloom.run import read_manifest

    manifest = read_manifest(run)
    scores = json.loads((run / "scores.json").read_text("utf-8"))["scores"]
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    objective, frozen = _objective(run), manifest["frozen"]
    row: dict[str, Any] = {
        "objective": objective,
        "parameters": manifest["model"]["parameters"],
        "tokens": frozen["plan"]["steps"] * frozen["train"]["batch"] * frozen["train"]["length"],
        "seconds": manifest.get("seconds"),
        "processor_seconds": manifest.get("processor_seconds"),
        "unigram_entropy": manifest.get("unigram_entropy"),
        "scores": scores,
        "terms": next(s["evaluation"] for s in reversed(steps) if "evaluation" in s),
        "curve": [{"step": s["step"], "loss": s["evaluation"]["loss"]} for s in steps if "evaluation" in s],
        "probe": probe(run),
    }
    if objective == "causal":
        from ngrams import measure as measure_ngrams

        row["ngrams"] = measure_ngrams(run, 5)
    if objective == "spans":  # its loss counts marks and ends too, so the run does not set the two side by side
        from wordloom.data.store import TokenStore

        row["unigram_entropy"] = TokenStore.open(run / "store" / "train").unigram_entropy
    if objective in ("causal", "masked", "hybrid", "permuted"):
        from wordloom import api

        found = api.probe(run, DATA / "probe" / "blimp.jsonl.gz", limit=pairs).to_json()
        row["blimp"] = {k: found[k] for k in ("convention", "mean_of_paradigms", "fields")}
    return row


def _objective(run: Path) -> str:
    from wordloom import presets
    from wordloom.config import read_recipe

    recipe = read_recipe(run / "recipe.toml")
    return recipe.objective.name if recipe.objective else presets.preset(str(recipe.model.preset)).objective


def probe(run: Path) -> dict[str, Any]:
    """Accuracy of a linear classifier on frozen states, before and after pre-training."""
    from wordloom.api.start import open_start
    from wordloom.config import ClassifyConfig, Recipe
    from wordloom.data.examples import read_examples
    from wordloom.metrics import gain_over_seeds
    from wordloom.tasks.classify.features_encoder import encode
    from wordloom.tasks.classify.linear import DENSE_GRID, fit_linear
    from wordloom.tasks.classify.task import Classify

    folder = DATA / "classify" / "agnews10k"
    train, test = (read_examples(str(folder / f"{part}.tsv.gz"), text="1", label="2") for part in ("train", "test"))
    train, held = train.sample(PROBED, 0).split(0.2, 0)
    start = open_start(run, Recipe(), [])
    task = Classify.fit(ClassifyConfig(pooling="mean"), train, start.tokenizer, length=128)
    gold, answers, right = (task.space.targets(p.labels or [], p.places) for p in (train, held, test))

    def correct(begin: Any, seed: int) -> np.ndarray:
        model = begin.build(lambda arch: {}, seed)
        x, y, z = (encode(task, model, part.texts) for part in (train, held, test))
        linear = fit_linear(x, gold, task.space, held=(y, answers), grid=DENSE_GRID)
        return np.asarray(linear.logits(z).argmax(1) == right if task.space.outputs > 1 else 0)

    ours = correct(start, 0)
    random = np.stack([correct(start.randomly(), seed) for seed in range(SEEDS)])
    gain = gain_over_seeds(np.stack([ours] * SEEDS), random, names=("pre-trained", "random"))
    return {
        "task": f"AG News, {PROBED} labels, {len(test)} test texts",
        "pre-trained": float(ours.mean()),
        "random": float(random.mean()),
        "gain": {"value": gain.difference, "low": gain.low, "high": gain.high},
        "verdict": gain.verdict,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *ORDER])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=200, help="of each BLiMP paradigm")
    parser.add_argument("--again", action="store_true", help="measure rows that were measured before")
    options = parser.parse_args()
    import torch

    from wordloom.api.compare import finished

    torch.set_num_threads(options.threads)
    kept = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"rows": {}}
    for name in options.names or ORDER:
        run = options.runs / f"baby10m-{name}"
        if (name in kept["rows"] and not options.again) or not finished(run):
            continue
        row = measure(run, options.pairs)
        kept["rows"][name] = row
        print(name, f"loss {row['scores']['loss']['value']:.3f} unigram {row['unigram_entropy'] or math.nan:.3f}",
              row["probe"]["verdict"], flush=True)  # fmt: skip
        kept["rows"] = {n: kept["rows"][n] for n in ORDER if n in kept["rows"]}
        facts = {"what": __doc__.split("\n")[0], "date": date.today().isoformat(), "pairs": options.pairs,
                 "command": f"python benchmarks/families.py --pairs {options.pairs}",
                 "machine": common.machine(options.threads)}  # fmt: skip
        RESULT.write_text(json.dumps({**facts, "rows": kept["rows"]}, indent=1) + "\n", encoding="utf-8")
    print(RESULT, file=sys.stderr)


if __name__ == "__main__":
    main()
