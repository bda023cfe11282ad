"""Pre-training that goes on from a run or a public folder: with its tokenizer, its weights and what it learned by."""

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
from wordloom.model.interop import load_bundle
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.optim import Optimiser

STEPS = {"train.batch": 4, "train.length": 32, "train.threads": 1, "train.evaluate_every": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished masked run."""
    folder = tmp_path_factory.mktemp("continuing")
    corpus = tiny.write_corpus(folder / "corpus.txt")
    api.pretrain(corpus, folder / "run", preset="bert-tiny", quiet=True, **tiny.TINY, **{"objective.rate": 0.2})
    return folder / "run"


def go_on(start: Path | str, corpus: Path, out: Path, **settings: Any) -> Any:
    return api.pretrain(corpus, out, start=str(start), quiet=True, **{**STEPS, "train.steps": 1, **settings})


def test_the_weights_the_tokenizer_and_the_objective_go_on(tmp_path: Path, first: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "other.txt")
    go_on(first, corpus, tmp_path / "run", **{"train.lr": 1e-12})
    before, after = (load_bundle(run / "bundle").model.state_dict() for run in (first, tmp_path / "run"))
    assert before.keys() == after.keys()  # the masked head among them
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-9)
    assert Tokenizer.load(tmp_path / "run" / "tokenizer").hash == Tokenizer.load(first / "tokenizer").hash
    objective = read_recipe(tmp_path / "run" / "recipe.toml").objective
    assert objective is not None and (objective.name, objective.rate) == ("masked", 0.2)  # type: ignore[union-attr]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["parent"] == str(first)


def test_it_resumes_bitwise(tmp_path: Path, first: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    go_on(first, corpus, tmp_path / "whole", **{"train.steps": 4})
    calls, step = [0], Optimiser.step

    def stops(self: Optimiser, factor: float) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        step(self, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimiser, "step", stops)
        with pytest.raises(KeyboardInterrupt):
            go_on(first, corpus, tmp_path / "parts", **{"train.steps": 4})
    api.pretrain(None, tmp_path / "parts", resume=True, quiet=True)
    whole, parts = (load_bundle(tmp_path / name / "bundle").model.state_dict() for name in ("whole", "parts"))
    assert all(parts[name].equal(tensor) for name, tensor in whole.items())


def test_from_a_public_folder(tmp_path: Path, first: Path) -> None:
    """The folder is a bundle without our own facts: what transformers would write."""
    public = tmp_path / "public"
    public.mkdir()
    for file in (first / "bundle").iterdir():
        if file.name not in ("wordloom.json", "recipe.toml"):
            (public / file.name).write_bytes(file.read_bytes())
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    go_on(public, corpus, tmp_path / "run", **{"train.lr": 1e-12})
    before, after = load_bundle(first / "bundle").model, load_bundle(tmp_path / "run" / "bundle").model
    torch.testing.assert_close(after.token_embedding, before.token_embedding, rtol=0, atol=1e-9)
    torch.testing.assert_close(after.heads["masked"].bias, before.heads["masked"].bias, rtol=0, atol=1e-9)


def test_what_the_start_decides_is_refused(tmp_path: Path, first: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    for start, settings, message in (
        (first, {"model.layers": 3}, "has its layers"),
        (first, {"preset": "bert-tiny"}, "has its preset"),
        (first, {"tokenizer.vocab_size": 99}, "has its tokenizer"),
        (first, {"train.length": 4096}, "positions"),
        (first, {"objective.name": "causal"}, "causal objective does not fit"),
        ("bert-tiny", {}, "is a preset"),
    ):
        with pytest.raises(WordloomError, match=message):
            go_on(start, corpus, tmp_path / "run", **settings)
        assert not (tmp_path / "run").exists()


def test_an_objective_that_it_did_not_learn_gets_a_new_head(tmp_path: Path, first: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    go_on(first, corpus, tmp_path / "run", **{"objective.name": "replaced"})
    assert "replaced" in load_bundle(tmp_path / "run" / "bundle").model.heads
