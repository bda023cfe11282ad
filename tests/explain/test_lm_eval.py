"""``probe`` and lm-eval's harness on the exported folder: the same log p of every sentence, the same accuracy."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")  # both are read when datasets is first imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

import tiny
from wordloom import api

# lm-eval's blimp task but for where its rows come from, and for the space that its harness puts before a sentence
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {file}
  cache_dir: {cache}
output_type: multiple_choice
validation_split: train
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
target_delimiter: "{delimiter}"
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
DELIMITERS = {"spaced": " ", "bare": ""}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"the network was asked for: {args}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield


def write_pairs(path: Path) -> Path:
    """40 pairs: a tie, 19 with two words changed about, 20 of two sentences of one kind, where chance decides."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(40):
        good = bad = tiny.sentence(rng).capitalize()
        if i >= 20:
            bad = tiny.sentence(rng).capitalize()
        elif i:
            words = good.split()
            a, b = rng.choice(len(words), 2, replace=False)
            words[a], words[b] = words[b], words[a]
            bad = " ".join(words)
        rows.append({"sentence_good": good, "sentence_bad": bad, "UID": "toy"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_lm_eval_says_the_same(tmp_path: Path, no_network: None) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    corpus = tiny.write_corpus(tmp_path / "corpus.txt")
    short = {"tokenizer.vocab_size": 400, "train.steps": 30, "train.lr": 0.01}
    api.pretrain(corpus, tmp_path / "run", preset="gpt2-tiny", quiet=True, **{**tiny.TINY, **short})
    api.export_model(tmp_path / "run", tmp_path / "hf")
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    (tmp_path / "tasks").mkdir()
    for name, delimiter in DELIMITERS.items():
        values = {"name": name, "file": pairs, "cache": tmp_path / "cache", "delimiter": delimiter}
        (tmp_path / "tasks" / f"{name}.yaml").write_text(TASK.format(**values))

    # one sentence at a time: in batches rounding may part two equal sentences, and a tie is no tie any more
    model = HFLM(pretrained=str(tmp_path / "hf"), device="cpu", dtype="float32", batch_size=1)
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    said: Any = simple_evaluate(model, tasks=list(DELIMITERS), task_manager=manager, bootstrap_iters=0)
    for name, delimiter in DELIMITERS.items():
        ours = api.probe(tmp_path / "run", pairs, leading_space=bool(delimiter))
        assert model.tokenizer.convert_ids_to_tokens(model.prefix_token_id) == ours.settings["start"]
        rows = sorted(said["samples"][name], key=lambda row: row["doc_id"])
        theirs = np.array([[float(log_p) for log_p, _ in row["filtered_resps"]] for row in rows])
        found = np.stack([ours.scores.good, ours.scores.bad], axis=1)
        assert theirs.shape == (40, 2) and np.abs(theirs - found).max() < 1e-3
        accuracy = ours.scores.mean_of_pairs()
        assert said["results"][name]["acc,none"] == pytest.approx(accuracy.ties_right.value, abs=1e-12)
        assert accuracy.ties == 1 and 0.5 < accuracy.ties_right.value < 1  # it could have been another number
        apart = np.abs(found[:, 0] - found[:, 1])
        assert (apart[apart > 0] > 1e-3).all()  # and no pair is decided by rounding
