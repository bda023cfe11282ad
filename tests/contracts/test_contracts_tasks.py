"""Every task with every family: it trains, answers one by one as together and again after loading, or says why not.

What its bundle is to public code is the table of docs/tasks.md, "Which family for which task?": exact (an Auto class
opens all of it), body (an Auto class opens the body, the head is ours), none (only Wordloom opens it).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_records

import tiny
from wordloom import api, presets
from wordloom.api.kinds import task_kind
from wordloom.config import DataConfig
from wordloom.disk import jsonable
from wordloom.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
TASKS = ("classify", "tag", "roles", "answer", "retrieve", "generate", "translate", "summarize")
FILES = {"tag": "t.conll", "roles": "r.tsv", "answer": "a.json", "translate": "p.tsv", "summarize": "s.tsv",
         "retrieve": "train.tsv", "generate": "g.txt"}  # fmt: skip
ROWS = {  # row of the table -> a preset of it
    "BERT": "bert-tiny", "RoBERTa": "roberta-tiny", "ALBERT": "albert-tiny", "ELECTRA": "electra-tiny",
    "Loom": "loom-tiny", "XLNet": "xlnet-tiny", "GPT": "gpt-tiny", "GPT-2": "gpt2-tiny", "GPT-3": "gpt3-tiny",
    "RNN, LSTM, GRU": "lstm-tiny", "AWD-LSTM": "awd-lstm", "T5": "t5-tiny", "T5 v1.1": "t5v1.1-tiny",
    "Transformer (2017)": "transformer-tiny", "GRU, LSTM with attention": "gru-seq2seq-tiny",
    "TextCNN": "textcnn-tiny", "DAN": "dan-tiny",
}  # fmt: skip
SMALL = {**tiny.MODEL, "model.ffn_width": 128, "model.hidden": 48}  # GPT's public code has four times the width alone
SETTINGS = {"train.steps": 2, "train.epochs": None, "train.batch": 8, "train.length": 64, "train.threads": 1,
            "tokenizer.vocab_size": 200}  # fmt: skip


def table() -> dict[tuple[str, str], str]:
    """(family, task) -> cell, as the page says it."""
    lines = PAGE.read_text("utf-8").split("## Which family for which task?")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, *body = (row for row in rows if set("".join(row)) - set("- :"))
    return {(row[0], name): cell for row in body for name, cell in zip(head[1:], row[1:], strict=True)}


def write(task: str, folder: Path) -> str:
    if task == "classify":
        lines = [
            f"{'good' if i % 2 else 'bad'}\t{tiny.GOOD[0] if i % 2 else tiny.BAD[0]} number {i}" for i in range(24)
        ]
        folder.mkdir()
        path = folder / "c.tsv"
        path.write_text("label\ttext\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return str(path)
    asked = SimpleNamespace(name=task, source=None, target=None)
    path = Path(tiny_records.write(asked, FILES[task], folder, 0))
    return str(path.parent if task == "retrieve" else path)


def ask(task: str, predictor: Any, data: str, alone: bool) -> list[Any]:
    """Answers to the first inputs of the file, one at a time or together, as plain JSON."""
    if task == "classify":
        inputs = [line.split("\t")[1] for line in Path(data).read_text("utf-8").splitlines()[1:8]]
        answer, row = predictor.predict_proba, lambda given, answer: answer.tolist()
    else:
        records = task_kind(task).read(data, DataConfig(train=data), predictor.task.config)
        inputs, answer, row = predictor.task.inputs(records)[:7], predictor.predict, predictor.task.row
    answers = [answer([x])[0] for x in inputs] if alone else answer(inputs)
    return [jsonable(row(x, a)) for x, a in zip(inputs, answers, strict=True)]


def close(a: Any, b: Any) -> bool:
    """Equal, floats to 1e-4."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4) if isinstance(a, float) else a == b


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", ROWS)
def test_a_task_with_a_family(tmp_path: Path, family: str, task: str) -> None:
    name = ROWS[family]
    known = {f.name for f in fields(presets.PRESETS[name].kind)}
    settings = {**{k: v for k, v in SMALL.items() if k[6:] in known}, **SETTINGS}
    data, said = write(task, tmp_path / "data"), table()[family, task]

    def train() -> Any:
        return api.finetune(name, data, tmp_path / "run", task=task, quiet=True, baseline=False, **settings).predictor

    if said == "":
        with pytest.raises(ConfigError, match=r"decoder|next token|neighbours"):
            train()
        assert not (tmp_path / "run").exists()
        return
    predictor = train()
    assert json.loads((tmp_path / "run" / "bundle" / "wordloom.json").read_text())["twin"] == said
    together = ask(task, predictor, data, alone=False)
    assert ask(task, api.load(tmp_path / "run"), data, alone=False) == together
    assert close(ask(task, predictor, data, alone=True), together)
