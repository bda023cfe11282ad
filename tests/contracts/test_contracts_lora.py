"""[13] LoRA with every task: thin products alone change the body, and the written bundle scores as the run."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tiny_records
import torch

import tiny
from wordloom import api, presets
from wordloom.api.kinds import task_kind
from wordloom.config import make
from wordloom.model.interop import load_bundle

CASES = [  # task, row, name of its files, settings
    ("tag", "electra-tiny", "a.conll", {}),
    ("roles", "bert-tiny", "a.conll", {}),
    ("answer", "xlnet-tiny", "a.json", {"task.features": True}),
    ("answer", "t5-tiny", "a.json", {}),
    ("retrieve", "loom-tiny", "set/qrels/train.tsv", {}),
    ("generate", "gpt2-tiny", "a.txt", {}),
    ("translate", "t5v1.1-tiny", "a.tsv", {"task.source": "1", "task.target": "2"}),
    ("summarize", "transformer-tiny", "a.jsonl", {"task.source": "source", "task.target": "target"}),
]


@pytest.mark.parametrize(("task", "preset", "name", "settings"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_a_task_is_learned_by_thin_products(
    tmp_path: Path, task: str, preset: str, name: str, settings: dict[str, Any]
) -> None:
    start, run = tmp_path / "start", tmp_path / "run"
    known = {field.name for field in fields(presets.PRESETS[preset].kind)}
    shape = {key: value for key, value in tiny.MODEL.items() if key[6:] in known}
    vocabulary = 320 if presets.PRESETS[preset].defaults.get("tokenizer.kind") == "byte-bpe" else 200
    api.pretrain(tiny.write_corpus(tmp_path / "corpus.txt"), start, preset=preset, quiet=True,
                 **{**shape, **tiny.TRAIN, "tokenizer.vocab_size": vocabulary})  # fmt: skip
    own = {key.removeprefix("task."): value for key, value in settings.items()}
    config = make(task_kind(task).config, {"name": task, **own})
    train, test = (tiny_records.write(config, name, tmp_path / part, seed) for seed, part in enumerate("ab"))
    api.finetune(start, train, run, task=task, quiet=True, baseline=False,
                 **{**tiny.TRAIN, **settings, "train.lr": 1e-2, "lora.rank": 2, "data.test": test})  # fmt: skip
    before, after = (load_bundle(folder / "bundle").model.body.state_dict() for folder in (start, run))
    changed = {n: (v - before[n]).double() for n, v in after.items() if n in before and not torch.equal(v, before[n])}
    assert changed and set(after) == set(before)
    assert all(v.ndim == 2 and torch.linalg.matrix_rank(v, rtol=1e-4) <= 2 for v in changed.values())
    said = json.loads((run / "scores.json").read_text())
    found = api.evaluate([run], test).scores[str(run)]
    assert found[said["main"]].value == pytest.approx(said["scores"][said["main"]]["value"], abs=1e-6)
