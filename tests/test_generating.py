"""``generate`` and ``fill``: the verbs, the Python functions, and what they refuse."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
import wordloom
from cli_runs import Runs, command
from wordloom import api, presets
from wordloom.config import TokenizerConfig
from wordloom.errors import ConfigError
from wordloom.infer.generator import LanguageModel
from wordloom.infer.sampling import Decoding
from wordloom.model.build import make_body
from wordloom.model.heads import MaskedHead
from wordloom.model.interop import save_bundle
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished tiny runs by kind: causal Transformer, LSTM of streams, hybrid."""
    folder = tmp_path_factory.mktemp("generating")
    corpus = tiny.write_corpus(folder / "corpus.txt")
    rows: dict[str, dict[str, Any]] = {
        "gpt2": {"preset": "gpt2-tiny", **tiny.MODEL, "tokenizer.vocab_size": 300},
        "lstm": {
            "preset": "lstm-tiny", "model.layers": 1, "model.width": 24,
            "tokenizer.vocab_size": 300,
        },
        "hybrid": {"preset": "bert-tiny", **tiny.MODEL, "objective.name": "hybrid", "tokenizer.vocab_size": 150},
    }  # fmt: skip
    for name, settings in rows.items():
        api.pretrain(corpus, folder / name, quiet=True, **{**tiny.TRAIN, **settings})
    return {name: folder / name for name in rows}


@pytest.mark.parametrize("kind", ["gpt2", "lstm", "hybrid"])
def test_streamed_is_whole(kind: str, made: dict[str, Path]) -> None:
    model = api.language_model(made[kind])
    (answer,) = model.generate(["the film"], max_tokens=12, temperature=1.0, seed=5)[0]
    assert api.generate(model, "the film", max_tokens=12, temperature=1.0, seed=5) == [answer]
    pieces = list(api.stream(model, "the film", max_tokens=12, temperature=1.0, seed=5))
    assert "".join(pieces) == answer.text
    assert answer.text and len(answer.ids) <= 12
    again = api.generate(model, ["a plot", "the film"], max_tokens=12, temperature=1.0, seed=5)
    assert again[0] != again[1]


def test_start_is_that_of_the_training(made: dict[str, Path]) -> None:
    """[CLS] before a document of its own, [SEP] where documents followed each other in streams."""
    for kind, role in {"gpt2": "cls_id", "lstm": "sep_id", "hybrid": "cls_id"}.items():
        model = api.language_model(made[kind])
        assert model.start_id == getattr(model.tokenizer, role)
        assert model.encode("")[0] == model.start_id


def test_length_is_what_fits(made: dict[str, Path]) -> None:
    model = api.language_model(made["gpt2"])
    limit = model.model.arch.limit
    assert limit is not None
    long = "the film was great to everyone " * limit
    ids = model.encode(long)
    with pytest.raises(ConfigError, match=f"do not fit a model of {limit} positions"):
        model.generate([long])
    fits = model.tokenizer.decode(ids[1 : limit - 8])
    longest = len(model.encode(fits))
    assert len(model.generate([fits])[0][0].ids) <= limit - longest + 1 < 64
    with pytest.raises(ConfigError, match="Ask for at most"):
        model.generate([fits], max_tokens=64)


def test_stop_strings_end_an_answer(made: dict[str, Path]) -> None:
    model = api.language_model(made["gpt2"])
    settings: dict[str, Any] = {"max_tokens": 30, "temperature": 1.0, "seed": 2}
    ((whole,), (other,)) = model.generate(["the", "an actor"], **settings)
    assert len(whole.text) > 6
    stop = whole.text[4:7]
    ((cut,), (second,)) = model.generate(["the", "an actor"], [stop], **settings)
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.end == "stop"
    assert second.text == other.text.split(stop)[0]
    assert "".join(model.stream("the", [stop], **settings)) == cut.text


def test_verb_generate(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", made["gpt2"], "--max-tokens", 8, "--temperature", "1", "--seed", 4]
    plain = command(monkeypatch, capfd, *words, "--prompt", "the film")
    assert plain.code == 0 and plain.out.strip()
    streamed = command(monkeypatch, capfd, *words, "--prompt", "the film", "--stream")
    assert streamed.out == plain.out
    monkeypatch.setattr(sys, "stdin", io.StringIO("the film\n"))
    assert command(monkeypatch, capfd, *words, "--prompt", "-").out == plain.out
    said = command(monkeypatch, capfd, *words, "--prompt", "the film", "--prompt", "a", "--answers", 2, "--json")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [r["prompt"] for r in rows] == ["the film", "the film", "a", "a"]
    assert {r["end"] for r in rows} <= {"end", "length"} and all(r["tokens"] <= 8 for r in rows)
    best = command(monkeypatch, capfd, "generate", made["gpt2"], "-p", "the", "--beams", 3, "--answers", 3, "--json")
    scores = [json.loads(line)["score"] for line in best.out.splitlines()]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    search = ("generate", made["gpt2"], "-p", "the", "--beams", 3, "--json", "--early-stopping")
    for word, value in (("true", True), ("false", False), ("never", "never")):
        asked: list[Any] = []
        monkeypatch.setattr(Decoding, "of", classmethod(lambda cls, values, asked=asked: asked.append(values) or cls()))
        command(monkeypatch, capfd, *search, word)
        assert asked[0]["early_stopping"] == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top-k", 3], "at temperature 0 nothing is"),
        (["--stream", "--json"], "one plain answer can be streamed"),
        (["--stream", "--beams", 2], "no search with beams"),
        (["--beams", 2, "--stop", "x"], "knows no stop strings"),
        (["--beams", 2, "--early-stopping", "soon"], "early_stopping must be true, false or 'never', not 'soon'"),
        (["--max-tokens", 0], "max_tokens must be at least 1"),
        (["--temperature", -1], "temperature must be at least 0"),
    ],
)
def test_verb_generate_refuses(
    words: list[Any], said: str, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = command(monkeypatch, capfd, "generate", made["gpt2"], "-p", "the", *words)
    assert found.code == 2 and said in found.err and found.err.count("\n") == 1


def test_fill_is_the_library(runs: Runs) -> None:
    """Probabilities of the public masked model of the same bundle, each mask alone."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    bundle = runs.folder / "pretrained" / "bundle"
    theirs, tokenizer = AutoModelForMaskedLM.from_pretrained(bundle).eval(), AutoTokenizer.from_pretrained(bundle)
    text = "the [MASK] was [MASK] to everyone"
    found = wordloom.fill(runs.folder / "pretrained", text, top=4)
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs).logits[0, inputs["input_ids"][0] == tokenizer.mask_token_id].softmax(-1)
    assert len(found) == 2
    for candidates, row in zip(found, expected, strict=True):
        best = row.topk(4)
        assert [c.token for c in candidates] == tokenizer.convert_ids_to_tokens(best.indices.tolist())
        assert [c.probability for c in candidates] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert all(c.text.count("[MASK]") == 1 for candidates in found for c in candidates if c.token != "[MASK]")
    assert wordloom.fill(runs.folder / "pretrained", text.replace("[MASK]", "<mask>"), top=4) == found


def test_fill_shows_text_and_not_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A vocabulary of bytes spells a space Ġ and a line break Ċ; a reader is shown what they are."""
    tokenizer = Tokenizer.train([*tiny.documents(), "a\nb"], TokenizerConfig(kind="byte-bpe", vocab_size=400))
    arch = presets.architecture("bert-tiny", tokenizer.vocab_size, width=16, heads=2, ffn_width=16)
    model = Model(make_body(arch), {"masked": MaskedHead(arch)})
    wanted = ["Ġfilm", "Ċ", "Ġ", "[SEP]"]
    with torch.no_grad():
        for rank, token in enumerate(wanted):
            model.heads["masked"].bias[tokenizer.backend.token_to_id(token)] = 50.0 - rank  # type: ignore[operator]
    save_bundle(tmp_path / "run", model, "pretrained", {}, also=tokenizer.save)
    (found,) = wordloom.fill(tmp_path / "run", "the [MASK]!", top=4)
    assert [c.token for c in found] == wanted and [c.word for c in found] == ["film", "\n", " ", "[SEP]"]
    assert [c.text for c in found] == ["the film!", "the \n!", "the  !", "the [SEP]!"]
    said = command(monkeypatch, capfd, "fill", tmp_path / "run", "the [MASK]!", "--top", 4)
    rows = [line.split("\t")[1:] for line in said.out.splitlines()]
    assert rows == [["film", "the film!"], ["'\\n'", "the \\n!"], ["' '", "the  !"], ["[SEP]", "the [SEP]!"]]


def test_verb_fill(runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    run = runs.folder / "pretrained"
    one = command(monkeypatch, capfd, "fill", run, "the <mask> was cold", "--top", 3)
    rows = [line.split("\t") for line in one.out.splitlines()]
    assert len(rows) == 3 and all(len(row) == 3 and row[2].endswith("was cold") for row in rows)
    said = command(monkeypatch, capfd, "fill", run, "[MASK] [MASK]", "--json")
    assert [len(m) for m in json.loads(said.out)["masks"]] == [5, 5]
    two = command(monkeypatch, capfd, "fill", run, "[MASK] [MASK]")
    assert two.out.startswith("mask 1 of 2, alone\n")
    for words, expected in {
        ("the film",): "the text has no mask",
        ("[MASK]", "--top", 0): "0 candidates",
        ("[MASK] " * 600,): "does not fit a model of",
    }.items():
        refused = command(monkeypatch, capfd, "fill", run, *words)
        assert refused.code == 2 and expected in refused.err


def test_each_does_its_own(
    made: dict[str, Path], runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A masked model asked to generate, a causal one asked to fill: one sentence with the cure."""
    masked = command(monkeypatch, capfd, "generate", runs.folder / "pretrained", "-p", "the")
    assert masked.code == 2 and "cannot generate" in masked.err and "wordloom fill" in masked.err
    causal = command(monkeypatch, capfd, "fill", made["gpt2"], "the [MASK]")
    assert causal.code == 2 and "cannot fill" in causal.err and "wordloom generate" in causal.err
    both = api.language_model(made["hybrid"])
    assert both.generate(["the"], max_tokens=3)[0][0].text is not None
    assert len(both.fill("the [MASK] was")[0]) == 5


def test_hybrid_generates_by_its_causal_rows(made: dict[str, Path]) -> None:
    """The next token is that of a causal row of the ordinary forward pass, cached or not."""
    loaded: LanguageModel = api.language_model(made["hybrid"])
    model, ids = loaded.model, loaded.encode("the film was")
    (answer,) = loaded.generate(["the film was"], max_tokens=6)[0]
    for token in answer.ids:
        x = torch.tensor([ids])
        with torch.no_grad():
            hidden = model.body(
                x, torch.ones_like(x), torch.arange(len(ids))[None], torch.zeros_like(x),
                causal_rows=torch.ones(1, dtype=torch.bool),
            )  # fmt: skip
            assert int(model.heads["masked"](hidden[0, -1], model.token_embedding).argmax()) == token
        ids.append(token)
