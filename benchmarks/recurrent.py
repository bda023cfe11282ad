"""What to watch when training an RNN: one setting changed at a time, the held-out curve of each.

    python benchmarks/recurrent.py [--steps 500] [--seeds 2] [--only GROUP ...] [--folder runs/recurrent]

The row lstm-tiny (1 x 128) learns next tokens of baby10m, 2,048 tokens a step, or, where it is about dropout, of
tiny Shakespeare (0.3 M tokens) for three times the steps, so that it reads the text many times and can overfit. Every
arm of a corpus has the same tokens, order and number of steps; only what its name says differs. A finished arm in
``folder`` is not trained again.
Writes benchmarks/results/recurrent.json.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import _common as common

RESULT = common.RESULTS / "recurrent.json"
DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TOKENS = 2048  # of a step
BASE = {
    "preset": "lstm-tiny", "train.batch": 16, "train.length": 128, "train.optimiser": "muon", "train.lr": 1e-2,
    "train.schedule": "wsd", "train.warmup": 0.02, "train.decay": 0.4, "train.threads": 1, "train.precision": "float32",
    "tokenizer.kind": "byte-bpe", "tokenizer.vocab_size": 4000, "tokenizer.lowercase": False,
}  # fmt: skip
CORPORA: dict[str, dict[str, Any]] = {
    "baby10m": {"corpus.paths": [str(DATA / "pretrain" / "baby10m.txt.gz")], "corpus.documents": "line",
                "corpus.valid_fraction": 0.01},
    "tinyshakespeare": {"corpus.paths": [str(DATA / "pretrain" / "tinyshakespeare.txt.gz")],
                        "corpus.valid_fraction": 0.1, "tokenizer.vocab_size": 2000},
}  # fmt: skip


def _rows(length: int) -> dict[str, Any]:
    return {"train.length": length, "train.batch": TOKENS // length}


SGD = {"train.optimiser": "sgd", "train.momentum": 0.0, "train.lr": 10.0}
GROUPS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {  # group -> (corpus, name of the arm -> what differs)
    "cell": ("baby10m", {"LSTM": {}, "GRU": {"preset": "gru-tiny"}, "Elman": {"preset": "rnn-tiny"}}),
    "optimiser and rate": ("baby10m", {
        "Muon 3e-3": {"train.lr": 3e-3}, "Muon 1e-2": {}, "Muon 3e-2": {"train.lr": 3e-2},
        "AdamW 1e-3": {"train.optimiser": "adamw", "train.lr": 1e-3},
        "AdamW 3e-3": {"train.optimiser": "adamw", "train.lr": 3e-3},
        "AdamW 1e-2": {"train.optimiser": "adamw", "train.lr": 1e-2},
    }),
    "clipping": ("baby10m", {
        "Muon, at 1": {}, "Muon, off": {"train.clip": 0.0},
        "Elman, Muon, at 1": {"preset": "rnn-tiny"}, "Elman, Muon, off": {"preset": "rnn-tiny", "train.clip": 0.0},
        "plain SGD 10, at 0.25": {**SGD, "train.clip": 0.25}, "plain SGD 10, off": {**SGD, "train.clip": 0.0},
    }),
    "forget bias": ("baby10m", {"0": {"model.forget_bias": 0.0}, "1": {}, "3": {"model.forget_bias": 3.0}}),
    "truncation": ("baby10m", {
        "16 tokens": _rows(16), "32 tokens": _rows(32), "128 tokens": {}, "512 tokens": _rows(512),
        "128, state not carried": {"objective.documents": "isolated"},
    }),
    "dropout": ("tinyshakespeare", {
        "none": {},
        "output 0.3": {"model.dropout_output": 0.3},
        "input 0.3": {"model.dropout_input": 0.3},
        "embedding rows 0.2": {"model.dropout_embedding": 0.2},
        "recurrent weights 0.3": {"model.weight_drop": 0.3},
        "all four": {"model.dropout_output": 0.3, "model.dropout_input": 0.3, "model.dropout_embedding": 0.2,
                     "model.weight_drop": 0.3},
    }),
}  # fmt: skip


def arm(name: str, corpus: str, changes: dict[str, Any], seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training: its held-out curve, or where it broke down."""
    from wordloom import api
    from wordloom.api.pretraining import prepare
    from wordloom.config import CorpusConfig, TokenizerConfig
    from wordloom.errors import TrainingError
    from wordloom.run import read_manifest

    steps = options.steps * (3 if corpus == "tinyshakespeare" else 1)
    settings = {**BASE, **CORPORA[corpus], **changes, "train.steps": steps, "train.evaluate_every": steps // 5}
    settings |= {"train.seed": seed}
    paths = settings.pop("corpus.paths")
    run = options.folder / f"{_key(settings)}"
    prepared = options.folder / f"prepared-{corpus}"
    if not prepared.exists():
        tables = [{k.partition(".")[2]: v for k, v in settings.items() if k.startswith(t)} for t in ("corpus.", "tok")]
        prepare(prepared, CorpusConfig(paths=tuple(paths), **tables[0]), TokenizerConfig(**tables[1]), 0, True)
    if not (run / "manifest.json").exists() or read_manifest(run)["status"] != "finished":
        try:
            api.pretrain(paths, run, prepared=prepared, quiet=True, overwrite=True, **settings)
        except TrainingError as error:
            return {"name": name, "seed": seed, "broke": str(error), "curve": _curve(run)}
    return {"name": name, "seed": seed, "curve": _curve(run), "unigram_entropy": read_manifest(run)["unigram_entropy"],
            "tokens": steps * TOKENS}  # fmt: skip


def _curve(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{"step": r["step"], "loss": round(r["evaluation"]["loss"], 4)} for r in rows if "evaluation" in r]


def _key(settings: dict[str, Any]) -> str:
    """A folder's name: what differs from the base, in words."""
    parts = [f"{k.rpartition('.')[2]}-{v}" for k, v in sorted(settings.items()) if BASE.get(k) != v]
    return "_".join(part.replace("/", "-") for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--folder", type=Path, default=Path("runs") / "recurrent")
    options = parser.parse_args()
    result: dict[str, Any] = {"groups": {}}
    if RESULT.exists():
        result = json.loads(RESULT.read_text("utf-8"))
    result |= {"date": date.today().isoformat(), "machine": common.machine(1), "steps": options.steps}
    result |= {"seeds": options.seeds, "command": common.command()}
    for group in options.only:
        corpus, arms = GROUPS[group]
        rows = []
        for name, changes in arms.items():
            for seed in range(options.seeds):
                rows.append(arm(name, corpus, changes, seed, options))
                print(group, "|", name, seed, [p["loss"] for p in rows[-1]["curve"]], flush=True)
        result["groups"][group] = {"corpus": corpus, "rows": rows}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
