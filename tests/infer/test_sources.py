"""Encoder-decoders asked from text: sources and answers equal those of transformers for the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch

import tiny
from wordloom import api, presets
from wordloom.config import TokenizerConfig
from wordloom.errors import ConfigError
from wordloom.infer.generator import LanguageModel
from wordloom.infer.steppers import make_stepper
from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead
from wordloom.model.interop import save_hf
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
TEXTS = ["the film was great to everyone", "an actor", "", "  every scene, in the evening. "]


def own_tokenizer() -> Tokenizer:
    """As pre-training with the spans objective makes it: [SEP] ends a text."""
    trained = Tokenizer.train(tiny.documents(), TokenizerConfig(kind="byte-bpe", vocab_size=320))
    return trained.with_sentinels(10)


def public_tokenizer() -> Tokenizer:
    """As T5 and Marian publish theirs: </s> ends a text, and nothing has the role of [CLS] or [SEP]."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=200, special_tokens=[*special.values()], show_progress=False
    )  # fmt: skip
    backend.train_from_iterator(tiny.documents(), trainer)
    frame = tokenizers.processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    backend.post_processor = frame
    return Tokenizer(backend, special)


@pytest.fixture(scope="module", params=["t5-tiny", "transformer-tiny"])
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[own_tokenizer, public_tokenizer])
def folder(preset: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A public folder of T5 or Marian with large random weights: no two tokens are nearly as likely."""
    tokenizer: Tokenizer = request.param()
    torch.manual_seed(3)
    small: dict[str, Any] = {"width": 32, "heads": 2, "ffn_width": 32, "max_positions": 40, "pad_id": tokenizer.pad_id}
    arch = presets.architecture(preset, tokenizer.vocab_size, **small)
    model = Model(make_body(arch), {"causal": CausalHead(arch)})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.3)
    path = tmp_path_factory.mktemp(preset) / "folder"
    save_hf(path, model, tokens=tokenizer.ends, also=tokenizer.save)
    return path


def test_a_source_is_what_the_public_tokenizer_makes_of_it(folder: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    model = api.language_model(folder)
    assert [model.encode(text) for text in TEXTS] == theirs(TEXTS)["input_ids"]


def test_an_answer_is_the_librarys(folder: Path) -> None:
    """Its text too: it does not go on from the source, so nothing joins it to that."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    model = api.language_model(folder)
    for text in TEXTS[:2]:
        inputs = {k: v for k, v in tokenizer(text, return_tensors="pt").items() if k != "token_type_ids"}
        ids = theirs.generate(**inputs, max_new_tokens=8, do_sample=False)[0, 1:]
        (answer,) = model.generate([text], max_tokens=8)[0]
        assert [*answer.ids, *[model.tokenizer.eos_id] * (answer.end == "end")] == ids.tolist()
        assert answer.text == tokenizer.decode(ids, skip_special_tokens=True)
        assert "".join(model.stream(text, max_tokens=8)) == answer.text
        best = model.generate([text], max_tokens=8, beams=2)[0][0]
        assert best.text == tokenizer.decode(best.ids, skip_special_tokens=True)


def test_an_answer_has_positions_of_its_own(folder: Path) -> None:
    """Beside a source that fills them an answer may still be as long; a causal model shares them between both."""
    model = api.language_model(folder)
    assert isinstance(model, LanguageModel)
    limit = model.model.arch.limit
    assert model.stepper.room(39) == limit == (40 if model.model.arch.position == "sinusoidal" else None)
    word = next(w for w in ("a", "the") if len(model.encode(w)) < 4)
    long = word
    while limit is not None and len(model.encode(f"{long} {word}")) <= limit:
        long += f" {word}"
    (answer,) = model.generate([long])[0]
    assert answer.end == "end" or len(answer.ids) == (limit or 64)


def test_room_of_a_causal_and_a_recurrent_model() -> None:
    small: dict[str, Any] = {"width": 16, "heads": 2, "ffn_width": 16, "max_positions": 12}
    for preset, values, room in (("gpt2-tiny", small, 8), ("lstm-tiny", {"width": 16}, None)):
        arch = presets.architecture(preset, 50, **values)
        stepper = make_stepper(Model(make_body(arch), {"causal": CausalHead(arch)}).eval())
        assert stepper.room(5) == room
        if room is not None:
            stepper.begin([[1] * 5], room - 1)  # fits
            with pytest.raises(ConfigError, match="Ask for at most 8 tokens"):
                stepper.begin([[1] * 5], room)
