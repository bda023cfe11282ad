"""``choose objective``: six objectives on one token store, stopped and resumed; its numbers made again elsewhere."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
import wordloom
from cli_runs import command
from wordloom import api
from wordloom.api import choosing_objective
from wordloom.api.labelled import Parts, divide, read
from wordloom.api.linear import finetune_frozen
from wordloom.api.objective_scores import beginnings, frozen_probe, unigram_bits_per_byte
from wordloom.api.start import open_start
from wordloom.config import ClassifyConfig, DataConfig, Recipe
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError, DataError
from wordloom.tasks.classify.features_encoder import encode
from wordloom.tasks.classify.task import Classify

NAMES = ("causal", "masked", "hybrid", "replaced", "permuted", "spans")
SMALL: dict[str, Any] = {
    **tiny.MODEL, "train.batch": 4, "train.length": 32, "train.threads": 1, "tokenizer.vocab_size": 300,
    "corpus.valid_fraction": 0.1, "size": "tiny", "minutes": 0.004, "quiet": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objectives")
    tiny.write_corpus(folder / "corpus.txt", 120)
    tiny.write_labelled(folder / "labelled.csv", 60)
    tiny.write_labelled(folder / "test.csv", 30, seed=1)
    pairs = "the film was good.\tthe film good was.\nevery scene felt bad.\tevery felt scene bad.\n"
    (folder / "pairs.tsv").write_text(pairs)
    return folder


def choose(files: Path, out: Path, **more: Any) -> api.Result:
    given = {"pairs": str(files / "pairs.tsv"), "data.train": str(files / "labelled.csv"),
             "data.test": str(files / "test.csv")}  # fmt: skip
    return wordloom.choose("objective", files / "corpus.txt", out, **{**SMALL, **given, **more})


@pytest.fixture(scope="module")
def made(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six; stopped before the fifth, then resumed."""
    folder = tmp_path_factory.mktemp("chosen") / "run"
    with pytest.MonkeyPatch.context() as patch:
        real = choosing_objective.pretrain

        def stops(*args: Any, **how: Any) -> Any:
            if how["recipe"].objective.name == "permuted":
                raise KeyboardInterrupt
            return real(*args, **how)

        patch.setattr(choosing_objective, "pretrain", stops)
        with pytest.raises(KeyboardInterrupt, match=r"resume with: wordloom choose objective --out .* --resume"):
            choose(files, folder)
    before = {name: tiny.fingerprint(folder / "objectives" / name) for name in NAMES[:4]}
    again = wordloom.choose("objective", None, folder, resume=True, quiet=True)
    assert before == {name: tiny.fingerprint(folder / "objectives" / name) for name in NAMES[:4]}
    assert len(again.scores["objectives"]["rows"]) == 6
    return folder


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((folder / "scores.json").read_text())["objectives"]
    return {row["objective"]: row for row in found["rows"]}


def test_one_table(made: Path) -> None:
    rows = rows_of(made)
    assert tuple(rows) == NAMES
    assert [row["preset"] for row in rows.values()] == [f"{n}-tiny" for n in choosing_objective.PRESETS.values()]
    has = {
        key: {name for name, row in rows.items() if row[key] is not None} for key in ("bits_per_byte", "pairs", "probe")
    }
    assert has["bits_per_byte"] == {"causal", "hybrid"}
    assert has["pairs"] == {"causal", "masked", "hybrid", "permuted"}
    assert has["probe"] == set(NAMES) and all(row["random"]["value"] > 0 for row in rows.values())
    page = (made / "report.html").read_text()
    assert all(f">{name}<" in page for name in NAMES) and "bits per byte" in page and "probe, accuracy" in page


def test_all_read_the_same_tokens(made: Path) -> None:
    hashes = {
        TokenStore.open(folder / "store" / "train", verify=True).manifest["sha256"]
        for folder in (made / "prepared", *(made / "objectives" / name for name in NAMES))
    }
    assert len(hashes) == 1
    manifests = {name: json.loads((made / "objectives" / name / "manifest.json").read_text()) for name in NAMES}
    vocabularies = {name: manifest["tokenizer"]["vocab_size"] for name, manifest in manifests.items()}
    assert {v for name, v in vocabularies.items() if name != "spans"} == {300} and vocabularies["spans"] == 400


def test_bits_per_byte_are_transformers(made: Path) -> None:
    """The sum of the public model's log p's over the same beginnings."""
    import transformers

    public = transformers.AutoModelForCausalLM.from_pretrained(made / "objectives/causal/bundle").eval()
    start = api.language_model(made / "objectives/causal").start_id
    store = TokenStore.open(made / "prepared/store/valid")
    nats = tokens = 0.0
    for d in range(store.documents):
        ids = [int(t) for t in store.tokens[store.starts[d] : store.starts[d + 1]]][:31]
        logs = public(torch.tensor([[start, *ids]])).logits[0].detach().double().log_softmax(-1)
        nats -= sum(float(logs[i, token]) for i, token in enumerate(ids))
        tokens += len(ids)
    expected = nats / math.log(2) / (tokens * store.bytes_per_token)
    score = rows_of(made)["causal"]["bits_per_byte"]
    assert math.isclose(score["value"], expected, rel_tol=1e-5) and score["low"] <= expected <= score["high"]


def test_unigram_by_hand(made: Path) -> None:
    train, valid = (TokenStore.open(made / "prepared/store" / part) for part in ("train", "valid"))
    counts = Counter(train.tokens.tolist())
    texts = beginnings(valid, 9)
    assert max(len(t.ids) for t in texts) == 8
    total = len(train.tokens) + 300
    bits = sum(-math.log2((counts[int(i)] + 1) / total) for t in texts for i in t.ids)
    found = unigram_bits_per_byte(train, valid, 9)
    assert math.isclose(found.value, bits / sum(len(t.ids) for t in texts) / valid.bytes_per_token)


def parts_of(files: Path) -> Parts:
    data = DataConfig(train=str(files / "labelled.csv"))
    train, test = (read(files / name, data, ClassifyConfig()) for name in ("labelled.csv", "test.csv"))
    return divide(train, None, test, data, 0)


@pytest.mark.parametrize("name", ["causal", "masked"])
def test_probe_is_that_of_finetune_on_frozen_states(made: Path, files: Path, tmp_path: Path, name: str) -> None:
    """The bundle that `finetune_frozen` makes, a classifier of its own, scores the same."""
    run, parts = made / "objectives" / name, parts_of(files)
    found = frozen_probe(run, parts, ClassifyConfig(), 128, 0)
    recipe = Recipe.model_validate({"train": {"length": 128, "seed": 0}})
    start = open_start(str(run), recipe, parts.train.texts)
    for begin, score in ((start, found.score), (start.randomly(), found.random)):
        result = finetune_frozen(begin, parts, recipe, tmp_path / "frozen", overwrite=True, quiet=True)
        assert math.isclose(result.scores["scores"]["accuracy"]["value"], score.value)
    assert math.isclose(found.gain.difference, found.score.value - found.random.value)


def test_states_of_spans_are_the_encoders(made: Path, files: Path) -> None:
    """The mean of the public T5 encoder's last states."""
    import transformers

    run, parts = made / "objectives/spans", parts_of(files)
    public = transformers.T5EncoderModel.from_pretrained(run / "bundle").eval()
    start = open_start(str(run), Recipe(), parts.train.texts)
    task = Classify.fit(ClassifyConfig(pooling="mean"), parts.train, start.tokenizer, length=128, valid=parts.valid)
    words, texts = start.tokenizer, parts.valid.texts
    rows = []
    for ids in words.encode_ids(texts):
        x = torch.tensor([[words.cls_id, *ids.tolist(), words.sep_id]])
        rows.append(public(x).last_hidden_state[0].mean(0).detach().double().numpy())
    found = encode(task, start.build(task.heads, 0), texts)
    assert np.abs(found - np.stack(rows)).max() < 1e-4


def test_as_a_recipe_and_as_a_verb(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    more = {**{k: v for k, v in SMALL.items() if "." in k}, "choose.objectives": ["causal", "spans"]}
    said = command(
        monkeypatch, capfd, "choose", "objective", files / "corpus.txt", "-o", tmp_path / "run", "--minutes", 0.004,
        "--size", "tiny", "--labelled", files / "labelled.csv", *tiny.flags(more),
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "bits per byte" in said.out and "against random" in said.out and "minimal pairs" not in said.out
    values = json.loads((tmp_path / "run/scores.json").read_text())
    assert [row[0] for row in values["tables"][0]["rows"]] == ["causal", "spans"]
    recipe = tmp_path / "run" / "recipe.toml"
    assert 'what = "objective"' in recipe.read_text()
    again = api.run_recipe(recipe, tmp_path / "again", quiet=True)
    assert again.kind == "choose" and len(again.scores["objectives"]["rows"]) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"objectives": ["causal"]}, "one alone is no choice"),
        ({"preset": "bert-tiny"}, "comes with a model of its own"),
        ({"train.steps": 5}, "takes the minutes of the comparison"),
        ({"objectives": ["causal", "nope"]}, "Input should be 'causal'"),
        ({"size": "huge"}, "Input should be 'tiny'"),
        ({"seed": 1, "objectives": ["causal", "masked"], "corpus.paths": ["nowhere.txt"]}, "nowhere.txt"),
        ({"pairs": "nowhere.tsv"}, "nowhere.tsv"),
    ],
)
def test_what_is_refused_before_anything_is_made(
    files: Path, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        choose(files, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()
