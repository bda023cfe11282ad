"""Pre-training that goes on from a run or a public folder: with its tokenizer, its weights and what it learned by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny
from wordloom import api, presets
from wordloom.api.continuing import open_continued, settle
from wordloom.api.start import Start
from wordloom.config import Recipe, read_recipe
from wordloom.errors import ConfigError, WordloomError
from wordloom.model.interop import load_bundle
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.optim import Optimiser

PUBLIC: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
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


def test_the_pooler_of_a_pair_head_goes_on(tmp_path: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    pairs: dict[str, Any] = {"objective.next_sentence": True, "corpus.valid_fraction": 0.2}
    api.pretrain(corpus, tmp_path / "first", preset="bert-tiny", quiet=True, **tiny.TINY, **pairs)
    go_on(tmp_path / "first", corpus, tmp_path / "run", **{"train.lr": 1e-12, "corpus.valid_fraction": 0.2})
    before, after = (load_bundle(tmp_path / run / "bundle").model.heads["next_sentence"] for run in ("first", "run"))
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor, rtol=0, atol=1e-9)


def test_a_public_discriminator_goes_on_as_one(tmp_path: Path, first: Path) -> None:
    tokenizer = Tokenizer.load(first / "tokenizer")
    config = transformers.ElectraConfig(vocab_size=tokenizer.vocab_size, embedding_size=32, **PUBLIC)
    transformers.ElectraForPreTraining(config).save_pretrained(tmp_path / "public")
    tokenizer.save(tmp_path / "public")
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    rows = {k: v for k, v in STEPS.items() if k != "train.length"}  # not given: no longer than the 32 positions
    api.pretrain(corpus, tmp_path / "run", start=str(tmp_path / "public"), quiet=True, **rows, **{"train.steps": 1})
    recipe = read_recipe(tmp_path / "run" / "recipe.toml")
    assert recipe.objective is not None and recipe.objective.name == "replaced" and recipe.train.length == 32
    head = load_bundle(tmp_path / "run" / "bundle").model.heads["replaced"]
    public = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "public").discriminator_predictions
    torch.testing.assert_close(head.dense.weight, public.dense.weight, rtol=0, atol=0.01)  # one step of 1e-3


def test_a_public_vocabulary_may_be_padded(tmp_path: Path, first: Path) -> None:
    """A new masked head has a bias for the rows of the token table that no token has: least of all."""
    tokenizer = Tokenizer.load(first / "tokenizer")
    config = transformers.BertConfig(vocab_size=tokenizer.vocab_size + 7, **PUBLIC)
    transformers.BertModel(config).save_pretrained(tmp_path / "public")
    tokenizer.save(tmp_path / "public")
    go_on(tmp_path / "public", tiny.write_corpus(tmp_path / "c.txt"), tmp_path / "run", **{"train.lr": 1e-12})
    bias = load_bundle(tmp_path / "run" / "bundle").model.heads["masked"].bias.detach()
    assert len(bias) == tokenizer.vocab_size + 7
    torch.testing.assert_close(bias.double().exp().sum().item(), 1.0, rtol=0, atol=1e-5)
    torch.testing.assert_close(bias[-7:], bias.min().expand(7), rtol=0, atol=1e-6)


def test_a_start_without_a_mask_token_replaces_no_run(
    tmp_path: Path, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Tokenizer.load(first / "tokenizer")
    maskless = Tokenizer(known.backend, {role: t for role, t in known.roles.items() if role != "mask_token"})
    monkeypatch.setattr("wordloom.infer.own_tokenizer.own_tokenizer", lambda folder, size, strict: maskless)
    shutil.copytree(first, tmp_path / "run")
    with pytest.raises(WordloomError, match="no mask token"):
        go_on(first, tiny.write_corpus(tmp_path / "c.txt"), tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "bundle").is_dir()


def test_a_public_folder_fills_in_as_many_spans_as_it_has_marks_for(tmp_path: Path) -> None:
    corpus, marks = tiny.write_corpus(tmp_path / "c.txt"), dict[str, Any]({"objective.sentinels": 20})
    api.pretrain(corpus, tmp_path / "t5", preset="t5-tiny", quiet=True, **tiny.TINY, **marks)
    (tmp_path / "t5" / "bundle" / "wordloom.json").unlink()
    start = tmp_path / "t5" / "bundle"
    continued = open_continued(str(start))
    assert continued is not None and continued[1] == {"objective.name": "spans", "objective.sentinels": 20}
    with pytest.raises(WordloomError, match=r"no tokens for 21 missing spans\. Give 20 or fewer"):
        go_on(start, corpus, tmp_path / "run", **{"objective.sentinels": 21})


@pytest.mark.parametrize("key", ["dropout", "attention_dropout"])
def test_a_dropout_that_the_network_has_not_is_refused(key: str) -> None:
    recipe = Recipe.model_validate({"model": {"start": "its run", key: 0.3}})
    tokenizer: Any = None
    encoder, lstm = (
        Start("its run", presets.architecture(f"{name}-tiny", 50), tokenizer, None) for name in ("bert", "lstm")
    )
    assert getattr(settle(encoder, recipe).arch, key) == 0.3
    with pytest.raises(ConfigError, match="the start has no such dropout"):
        settle(lstm, recipe)


def test_a_run_does_not_replace_its_own_start(tmp_path: Path, first: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    go_on(first, corpus, tmp_path / "run")
    for start in (tmp_path / "run", tmp_path / "run" / "bundle"):
        with pytest.raises(WordloomError, match="would replace the model that it starts from"):
            go_on(start, corpus, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "bundle" / "model.safetensors").exists()
