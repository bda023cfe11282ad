"""Hashed features beside a tagger's network: which, where, how they add up, and that a whole run keeps them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

import tiny
from wordloom import api
from wordloom.config import TagConfig
from wordloom.data.tagged import Span, Tagged
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.interop import load_bundle
from wordloom.model.model import Model
from wordloom.model.surface_head import SurfaceHead
from wordloom.tasks.tag.features import features, hashed, shape
from wordloom.tasks.tag.task import Tagging, TagStream
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.units import find_units

BUCKETS = 4096


def test_what_a_word_looks_like_by_hand() -> None:
    words = ["Mr", "McDonald", "2005"]
    assert set(features(words, 1)) == {
        "bias", "w:mcdonald", "W:McDonald", "shape:XxXxx", "kind:mixed", "p1:m", "p2:mc", "p3:mcd", "p4:mcdo", "s1:d",
        "s2:ld", "s3:ald", "s4:nald", "-2w:<>", "-2shape:<>", "-1w:mr", "-1shape:Xx", "1w:2005", "1shape:dd", "2w:<>",
        "2shape:<>", "-1,0:mr mcdonald", "0,1:mcdonald 2005",
    }  # fmt: skip
    assert shape("McDonald's-2005") == "XxXxx'x-dd"
    assert features(list("北京大学"), 1) == [
        "bias", "-2:<>", "-1:北", "0:京", "1:大", "2:学",
        "-2,-1:<>北", "-1,0:北京", "0,1:京大", "1,2:大学", "-1,1:北大",
    ]  # fmt: skip
    assert set(features(["Ó", "ti", "lọ"], 0)) == {
        "bias", "w:ó", "W:Ó", "shape:X", "kind:title", "-2w:<>", "-2shape:<>", "-1w:<>", "-1shape:<>", "1w:ti",
        "1shape:xx", "2w:lọ", "2shape:xx", "-1,0:<> ó", "0,1:ó ti",
    }  # fmt: skip
    assert "w:и" in features(["и"], 0) and "0:あ" in features(["あ"], 0) and "0:·" in features(["·"], 0)


def test_numbers_are_checksums_and_texts_do_not_touch() -> None:
    texts = [["Ann", "sleeps"], [], ["北", "\ud800"]]
    bags = hashed(texts, 1000)
    names = [features(words, i) for words in texts for i in range(len(words))]
    assert np.diff(bags.starts).tolist() == [len(n) for n in names] and bags.starts[0] == 0
    for n, (a, b) in enumerate(itertools.pairwise(bags.starts.tolist())):
        expected = [crc32(name.encode("utf-8", "surrogatepass")) % 1000 for name in names[n]]
        assert bags.ids[a:b].tolist() == expected
    assert np.array_equal(bags.ids[bags.starts[2] :], hashed(texts[2:], 1000).ids)


def test_the_head_adds_up_weights() -> None:
    head = SurfaceHead(None, 5, 2).eval()
    assert not head.weight.any()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 10], [2, 20], [4, 40], [8, 80], [16, 160]]))
    found = head(torch.tensor([0, 1, 1, 4]), torch.tensor([0, 3, 3]))
    assert found.tolist() == [[5, 50], [0, 0], [16, 160]]


def test_features_left_out_in_training_count_the_same_on_average() -> None:
    torch.manual_seed(0)
    head = SurfaceHead(None, 1, 1, dropout=0.25)
    torch.nn.init.ones_(head.weight)
    found = head(torch.zeros(40_000, dtype=torch.int64), torch.arange(0, 40_000, 4)).squeeze(1)
    assert sorted({round(x * 0.75) for x in found.tolist()}) == [0, 1, 2, 3, 4]
    assert found.mean().item() == pytest.approx(4, abs=0.05)
    assert head.eval()(torch.zeros(4, dtype=torch.int64), torch.tensor([0])).item() == 4


def capitals(count: int, seed: int, length: int = 12) -> Tagged:
    """What has a capital is a name; the words themselves say nothing, and hardly any stands there twice."""
    rng = np.random.default_rng(seed)
    texts, spans = [], []
    for _ in range(count):
        words = ["".join(rng.choice(list("abcdefgh"), rng.integers(3, 9))) for _ in range(length)]
        chosen = set(rng.choice(length, 3, replace=False).tolist())
        text = " ".join(word.capitalize() if i in chosen else word for i, word in enumerate(words))
        units = find_units(text, "spaces")
        texts.append(text)
        spans.append(tuple(Span(int(units[i, 0]), int(units[i, 1]), "PER") for i in sorted(chosen)))
    return Tagged(texts, [find_units(t, "spaces") for t in texts], spans, [frozenset()] * count,
                  [f"a.conll:{i}" for i in range(count)], "a")  # fmt: skip


def built(tokenizer: Tokenizer, arch: Any, data: Tagged, **config: Any) -> tuple[Tagging, Model]:
    given = {"features": BUCKETS, "feature_dropout": 0.0, "dropout": 0.0, **config}
    task = Tagging.fit(TagConfig(**given), data, tokenizer, length=24, valid=data)
    torch.manual_seed(0)
    return task, Model(make_body(arch), task.heads(arch)).eval()


@pytest.mark.parametrize("crf", [False, True])
def test_they_find_names_that_no_one_has_seen(tokenizer: Tokenizer, arch: Architecture, crf: bool) -> None:
    """The tokenizer lower-cases: to the network all words look alike, and only the features see a capital."""
    train, held = capitals(300, 0), capitals(24, 1)
    scores = {}
    for buckets in (0, BUCKETS):
        task, model = built(tokenizer, arch, train, crf=crf, features=buckets)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        stream = TagStream(task, train, batch=30, seed=0)
        for step in range(60):
            optimiser.zero_grad()
            term = task.loss(model, stream.step(step, 1)[0])[0]["tag"]
            (term.sum / term.count).backward()
            optimiser.step()
        answers = task.predict(model, task.inputs(held))
        scores[buckets] = task.tallies(held, answers)["f1"].value
    assert scores[BUCKETS] > 0.9 and scores[0] < 0.6


def test_windows_and_batches_change_nothing(tokenizer: Tokenizer, arch: Architecture) -> None:
    """The states are left out: every word's scores are its features', in whatever window and batch it is read."""
    data = capitals(6, 2, length=60)
    task, model = built(tokenizer, arch, data)
    with torch.no_grad():
        model.heads["tag"].output.weight.zero_()
        model.heads["surface"].weight.normal_(generator=torch.Generator().manual_seed(3))
    given = [task.read(i) for i in data.inputs()]
    windows = task.windows(given)
    assert len(windows.unit_starts) - 1 > len(data) * 2
    words = [[text[a:b] for a, b in units.tolist()] for text, units in given]
    expected = torch.stack(
        [
            sum((model.heads["surface"].weight[crc32(name.encode()) % BUCKETS] for name in features(some, i)),
                torch.zeros(len(task.labels)))
            for some in words for i in range(len(some))
        ]
    )  # fmt: skip
    for task.budget in (8192, 1):
        torch.testing.assert_close(task._run(model, windows)[0], expected.detach(), rtol=1e-4, atol=1e-4)


def test_new_features_leave_the_network_as_it_was(tokenizer: Tokenizer, arch: Architecture) -> None:
    data = capitals(4, 0)
    with_, without = (built(tokenizer, arch, data, features=n) for n in (BUCKETS, 0))
    assert with_[0].evaluate(with_[1])["loss"] == without[0].evaluate(without[1])["loss"]


def test_a_run_keeps_them(tmp_path: Path) -> None:
    """Trained in micro-batches, written, opened, used."""
    for name, seed in (("a", 0), ("b", 1)):
        data = capitals(32, seed)
        both = zip(data.documents, data.spans, strict=True)
        rows = [{"text": text, "spans": [[*span] for span in spans]} for text, spans in both]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given: dict[str, Any] = {**tiny.MODEL, **tiny.TRAIN, "train.steps": 40, "train.lr": 2e-2, "train.length": 32,
                             "train.micro_batch": 3, "tokenizer.vocab_size": 120, "task.crf": True,
                             "baseline": False}  # fmt: skip
    given |= {"task.features": BUCKETS, "task.units": "spaces", "quiet": True}
    result = api.finetune("bert-tiny", tmp_path / "a.jsonl", tmp_path / "run", task="tag",
                          **{"data.test": str(tmp_path / "b.jsonl")}, **given)  # fmt: skip
    assert result.scores["scores"]["f1"]["value"] > 0.8
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.twin == "body" and isinstance(bundle.model.heads["surface"], SurfaceHead)
    assert bundle.model.heads["surface"].weight.shape == (BUCKETS, 3)
    predictor = TaskPredictor.load(tmp_path / "run" / "bundle", lambda name: Tagging.restore)
    found = predictor.predict(["abcdef Hgfedc aabbcc"])[0]
    assert [(m.start, m.end, m.type) for m in found] == [(7, 13, "PER")]
