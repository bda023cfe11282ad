"""``finetune textcnn-tiny`` and ``dan-tiny`` from labels alone: what they take by themselves, resume, use, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from wordloom import api
from wordloom.config import read_recipe
from wordloom.errors import WordloomError
from wordloom.tasks.classify.task import HEAD
from wordloom.train.loop import fit

ROWS = ("textcnn-tiny", "dan-tiny")
TRAIN: dict[str, Any] = {"model.width": 24, "train.epochs": 12, "train.length": 16, "train.threads": 1,
                         "tokenizer.vocab_size": 200, "data.valid_fraction": 0.25, "quiet": True}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_it_learns_and_is_used(tmp_path: Path, row: str) -> None:
    """Windows of 16 tokens: most texts have several. The words that tell the classes apart are six each."""
    data, test = (tiny.write_labelled(tmp_path / f"{name}.jsonl", 96, seed=seed) for seed, name in enumerate("ab"))
    result = api.finetune(row, data, tmp_path / "run", **{"data.test": str(test), "train.lr": 1e-2, **TRAIN})
    assert result.scores["scores"]["accuracy"]["value"] > 0.95
    found = api.evaluate([tmp_path / "run"], test)
    assert found.scores[str(tmp_path / "run")]["accuracy"].value == result.scores["scores"]["accuracy"]["value"]
    predictor = api.load(tmp_path / "run")
    assert predictor.predict(["the film was lovely", "the film was awful", "the music was great " * 12]) == [
        *("pos", "neg", "pos")
    ]
    again = api.finetune(tmp_path / "run", data, tmp_path / "again", **(TRAIN | {"train.epochs": 1, "model.width": 24}))
    assert again.predictor is not None and again.predictor.model.arch == predictor.model.arch


def test_a_row_says_how_it_is_trained(tmp_path: Path) -> None:
    """Its rate and its dropout, unless others are given; nothing of Transformers."""
    data = tiny.write_labelled(tmp_path / "a.jsonl", 24)
    few = TRAIN | {"train.epochs": None, "train.steps": 1}
    model = api.finetune("textcnn-tiny", data, tmp_path / "a", **few).predictor.model  # type: ignore[union-attr]
    assert read_recipe(tmp_path / "a" / "recipe.toml").train.lr == 1e-3
    assert (model.heads[HEAD].dropout, model.heads[HEAD].pooling, model.arch.widths) == (0.5, "max", (3, 4, 5))
    given = {"task.dropout": 0.2, "task.pooling": "mean", "model.widths": [2], "train.lr": 2e-3}
    model = api.finetune("textcnn-tiny", data, tmp_path / "b", **few, **given).predictor.model  # type: ignore[union-attr]
    assert (model.heads[HEAD].dropout, model.heads[HEAD].pooling, model.arch.widths) == (0.2, "mean", (2,))
    assert read_recipe(tmp_path / "b" / "recipe.toml").train.lr == 2e-3


@pytest.mark.parametrize("row", ROWS)
def test_a_stopped_run_goes_on_bit_by_bit(tmp_path: Path, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny.write_labelled(tmp_path / "a.jsonl", 48)
    how = TRAIN | {"train.epochs": None, "train.steps": 6, "train.save_every": 2, "baseline": False}
    whole = api.finetune(row, data, tmp_path / "whole", **how).predictor

    def stopped(task: Any, model: Any, stream: Any, *args: Any, **kwargs: Any) -> Any:
        step = stream.step
        stream.step = lambda number, parts: step(number, parts) if number < 3 else 1 / 0
        return fit(task, model, stream, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("wordloom.api.training_run.fit", stopped)
        with pytest.raises(ZeroDivisionError):
            api.finetune(row, data, tmp_path / "parts", **how)
    parts = api.finetune(row, data, tmp_path / "parts", resume=True, baseline=False, quiet=True).predictor
    assert whole is not None and parts is not None
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[name]), name


@pytest.mark.parametrize("row", ROWS)
def test_what_they_cannot_do(tmp_path: Path, row: str) -> None:
    corpus = tiny.write_corpus(tmp_path / "corpus.txt", 8)
    with pytest.raises(WordloomError, match=f"{row} sees a token .* not pre-trained"):
        api.pretrain(corpus, tmp_path / "pretrained", preset=row, quiet=True)
    assert not (tmp_path / "pretrained").exists()
    data = tiny.write_labelled(tmp_path / "a.jsonl", 24)
    few = TRAIN | {"train.epochs": None, "train.steps": 1, "baseline": False}
    for pooling in ("cls", "last"):
        with pytest.raises(WordloomError, match="reads one token"):
            api.finetune(row, data, tmp_path / "run", **few, **{"task.pooling": pooling})
        assert not (tmp_path / "run").exists()
    api.finetune(row, data, tmp_path / "run", **few)
    with pytest.raises(WordloomError, match="LoRA adapts the layers of Transformers"):
        api.finetune(tmp_path / "run", data, tmp_path / "lora", **few, **{"lora.rank": 2})
    with pytest.raises(WordloomError, match="cannot learn answer"):  # a run as well as a preset
        questions = tmp_path / "q.jsonl"
        lines = [{"question": "Who?", "context": f"It was Ann, {n}.", "answer": "Ann"} for n in range(20)]
        questions.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        api.finetune(tmp_path / "run", questions, tmp_path / "answers", task="answer", quiet=True)
    with pytest.raises(WordloomError, match="does not predict the next token"):
        api.generate(tmp_path / "run", ["The film"])
