"""A tagger's bundle is a public token classifier: AutoModelForTokenClassification gives the same logits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import PUBLIC, D, V, public_model

import tiny
from wordloom import presets
from wordloom.config import TagConfig, TokenizerConfig
from wordloom.data.tagged import Mention, Span, Tagged
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.build import make_body
from wordloom.model.crf import CRF
from wordloom.model.interop import apply_states, load_bundle, load_hf, save_bundle
from wordloom.model.model import Model
from wordloom.model.tag_head import TagHead
from wordloom.tasks.tag.task import Tagging
from wordloom.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
EXACT = ("bert", "roberta", "albert", "electra", "xlnet", "gpt2", "gpt3")
SMALL = {"layers": 2, "width": 32, "heads": 4, "ffn_width": 128, "max_positions": 40}


def tagger(kind: str, tokenizer: Tokenizer, crf: bool = False) -> tuple[Tagging, Model]:
    values: dict[str, Any] = {**SMALL, "pad_id": tokenizer.pad_id}
    if kind == "roberta":
        values["position_offset"] = int(tokenizer.pad_id or 0) + 1
    arch = presets.architecture(f"{kind}-tiny", tokenizer.vocab_size, **values)
    data = Tagged(["a b"], [None], [(Span(0, 1, "LOC"), Span(2, 3, "PER"))], [frozenset()], ["a:1"], "")
    task = Tagging.fit(TagConfig(crf=crf), data, tokenizer, length=32)
    torch.manual_seed(1)
    model = Model(make_body(arch), task.heads(arch)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return task, model


@pytest.mark.parametrize("kind", EXACT)
def test_logits_are_the_public_ones(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    task, model = tagger(kind, tokenizer)
    TaskPredictor(model, tokenizer, task).save(tmp_path / "b")
    assert load_bundle(tmp_path / "b").twin == "exact"
    public = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "b").eval()
    assert tuple(public.config.id2label[i] for i in range(5)) == task.labels == LABELS
    line = tiny.documents(1)[0][:30]
    ids = torch.tensor([[tokenizer.cls_id, *tokenizer.encode_ids([line])[0].tolist(), tokenizer.sep_id]])
    with torch.no_grad():
        theirs = public(input_ids=ids).logits
        zero, places = torch.zeros_like(ids), torch.arange(ids.shape[1])[None]
        ours = model.heads["tag"](model.body(ids, zero + 1, places, zero))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
    predictor = TaskPredictor.load(tmp_path / "b", lambda name: Tagging.restore)
    assert predictor.predict([line]) == task.predict(model, [line])


@pytest.mark.parametrize(
    ("kind", "crf", "twin"),
    [("bert", True, "body"), ("loom", False, "body"), ("gpt", False, "body"), ("lstm", True, "none")],
)
def test_bundles_without_a_public_head(kind: str, crf: bool, twin: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    if kind == "lstm":
        arch: Any = presets.architecture("lstm-tiny", tokenizer.vocab_size, width=16)
        task, _ = tagger("bert", tokenizer, crf)
        model = Model(make_body(arch), task.heads(arch)).eval()
    else:
        task, model = tagger(kind, tokenizer, crf)
    assert isinstance(model.heads["crf"], CRF) if crf else "crf" not in model.heads
    TaskPredictor(model, tokenizer, task).save(tmp_path / "b")
    assert load_bundle(tmp_path / "b").twin == twin
    named = json.loads((tmp_path / "b" / "config.json").read_text())["architectures"]
    assert not any("TokenClassification" in name for name in named)  # public code would answer without the chain
    predictor = TaskPredictor.load(tmp_path / "b", lambda name: Tagging.restore)
    lines = tiny.documents(10)
    answers = predictor.predict(lines)
    assert answers == task.predict(model, lines) and isinstance(next(m for a in answers for m in a), Mention)


@pytest.mark.parametrize("kind", ["bert", "roberta", "albert", "gpt2", "gpt_neo"])
@pytest.mark.parametrize("named", [True, False])
def test_public_token_classifiers_are_read(kind: str, named: bool, tmp_path: Path, monkeypatch: Any) -> None:
    """Also where config.json does not say which class it is; and BERT's classifier of texts is not taken for one."""
    names = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert", "gpt2": "GPT2", "gpt_neo": "GPTNeo"}
    config_class, values, classes = PUBLIC[kind]
    monkeypatch.setitem(
        PUBLIC, kind, (config_class, values, {**classes, "tag": f"{names[kind]}ForTokenClassification"})
    )
    public = public_model(kind, "tag", torch.float32, num_labels=5)
    public.save_pretrained(tmp_path / "p")
    if not named:
        path = tmp_path / "p" / "config.json"
        path.write_text(path.read_text().replace('"architectures"', '"forgotten"'))
    found = load_hf(tmp_path / "p")
    assert "tag" in found.states and "classify" not in found.states and len(found.labels) == 5
    model = Model(make_body(found.arch), {"tag": TagHead(found.arch, 5)}).eval()
    assert apply_states(model, found.states) == []
    ids = torch.randint(2, V, (2, 9), generator=torch.Generator().manual_seed(0))
    zero, places = torch.zeros_like(ids), torch.arange(9).expand(2, 9)
    with torch.no_grad():
        ours = model.heads["tag"](model.body(ids, zero + 1, places, zero))
        torch.testing.assert_close(ours, public(input_ids=ids).logits, rtol=1e-4, atol=2e-5)
    other = public_model(kind, "classify", torch.float32)
    other.save_pretrained(tmp_path / "c")
    assert {"classify"} <= set(load_hf(tmp_path / "c").states) and "tag" not in load_hf(tmp_path / "c").states
    assert model.body.arch.width == D


def test_labels_must_be_as_many_as_classes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from wordloom.errors import BundleError

    _, model = tagger("bert", tokenizer)
    with pytest.raises(BundleError, match="2 label names for 5 classes"):
        save_bundle(tmp_path / "b", model, "tag", {"labels": ["a", "b"]})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(tiny.documents(80), TokenizerConfig(vocab_size=120))
