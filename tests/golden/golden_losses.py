"""Losses of the first 20 steps of three tiny runs: an alarm, not a proof.

A figure that moved says that *something* about the numbers changed (initial values, order, masks, dropout, optimiser,
arithmetic), nothing about whether it became wrong: the proofs are the contracts, the parity tests and the checks by
hand. A change that is meant, such as another order of the data, writes the file again:

    python tests/golden/golden_losses.py tests/golden/losses.json

and the commit says why the figures moved. Processors and library versions round differently; 1e-4 leaves room for it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny
from wordloom import api

VALUES: dict[str, Any] = {
    **tiny.TINY, "train.steps": 20, "train.lr": 3e-3, "train.log_every": 1, "train.precision": "float32",
    "model.dropout": 0.1, "model.attention_dropout": 0.1, "train.seed": 7,
}  # fmt: skip
PRETRAIN: dict[str, Any] = {
    **VALUES, "objective.rate": 0.15, "train.optimiser": "adamw", "train.warmup": 0.05, "train.decay": 0.2,
}  # fmt: skip


def runs(folder: Path) -> dict[str, Path]:
    corpus, data = tiny.write_corpus(folder / "corpus.txt"), tiny.write_labelled(folder / "train.csv")
    paths = {name: folder / name.replace(" ", "-") for name in ("masked", "next sentence", "classify")}
    api.pretrain(corpus, paths["masked"], preset="bert-tiny", quiet=True, **PRETRAIN)
    more = {
        "objective.next_sentence": True,
        "objective.whole_word": True,
        "train.optimiser": "muon",
        "corpus.valid_fraction": 0.2,
    }
    api.pretrain(corpus, paths["next sentence"], preset="bert-tiny", quiet=True, **{**PRETRAIN, **more})
    fine = {k: v for k, v in VALUES.items() if k.startswith("train.") or "dropout" in k}
    api.finetune(paths["masked"], data, paths["classify"], baseline=False, quiet=True, **fine)
    return paths


def losses() -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, path in runs(Path(folder)).items():
            rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
            found[name] = [round(row["loss"], 6) for row in rows if "loss" in row]
        return found


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    rows = [f'  "{name}": {json.dumps(values)}' for name, values in losses().items()]
    Path(sys.argv[1]).write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
