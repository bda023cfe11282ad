"""What of a question stands near each token: by hand, in windows, and in a network that knows no word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_answers import build, reader
from tiny_tasks import WORDS

from wordloom.data.questions import Question, Questions, Span
from wordloom.model.architecture import Architecture
from wordloom.model.interop import load_bundle
from wordloom.model.near_head import NearHead
from wordloom.tasks.answer.nearness import WIDTH, nearness
from wordloom.tasks.answer.stream import AnswerStream
from wordloom.tasks.answer.task import span_logits
from wordloom.text.tokenizer import Tokenizer


def test_features_by_hand() -> None:
    """Text 7 8 | 5 6 7 5, question 5 6 9: 5 stands twice in the text, 9 nowhere."""
    ids = np.array([7, 8, 5, 6, 7, 5], np.int32)
    found = nearness(ids, np.array([0, 0, 1, 1, 1, 1], np.int32), np.array([5, 6, 9], np.int32))
    twice, once = np.log1p(1 / 2), np.log(2)
    whole = twice + once + once  # of 5, 6 and 9
    assert found.shape == (6, WIDTH) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], [0, 0, 1, 1, 0, 1])
    np.testing.assert_allclose(found[:, 1], [twice, once, twice, once, twice, twice], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 2], [0, 0, 1, 1, 0, 0])  # "5 6" stands in the question, "7 5" does not
    np.testing.assert_allclose(found[4, 3:9], [0, twice, once, twice, 0, 0], rtol=1e-6)  # 8 5 6 | 5 - -
    np.testing.assert_allclose(found[0, 3:9], [0, 0, 0, 0, twice, once], rtol=1e-6)  # - - - | 8 5 6
    np.testing.assert_allclose(found[:, 9:13], (2 * twice + once) / whole, rtol=1e-6)  # all within five
    np.testing.assert_allclose(found[:, 13], np.array([0, 0, 1, 1, 1, 1]) * (twice + once) / whole, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 14], [0, 0, 1, 1, 1, 1])
    # of the pairs "5 6" and "6 9" the first stands in the text, once
    np.testing.assert_allclose(found[:, 15:19], once / (2 * once), rtol=1e-6)
    np.testing.assert_allclose(found[:, 19], np.array([0, 0, 1, 1, 1, 1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 20], [0, 0, 1, 1, 1, 1])


def test_distances_and_empty_texts() -> None:
    ids = np.full(101, 3, np.int32)
    ids[50] = 5
    found = nearness(ids, np.zeros(101, np.int32), np.array([5], np.int32))
    for column, size in enumerate((5, 10, 20, 40), start=9):
        assert np.flatnonzero(found[:, column]).tolist() == list(range(50 - size, 50 + size + 1))
    assert not found[:, 15:].any()  # a question of one word has no pair
    assert nearness(ids[:0], np.zeros(0, np.int32), ids).shape == (0, WIDTH)
    assert not nearness(ids[:3], np.zeros(3, np.int32), ids[:0])[:, 9:].any()


def test_windows_have_their_texts_features(tokenizer: Tokenizer, arch: Architecture) -> None:
    """A window's tokens are told what stands around them in the whole text, in whatever order windows are read."""
    data = after_the_name(6, 0, length=50)
    task = reader(tokenizer, data, length=24, features=True)
    windows = task.windows(data.asked)
    order = np.random.default_rng(0).permutation(len(windows.sizes))
    assert len(order) > 2 * len(data)
    which, place = windows.pieces(order)
    batch = task.batch(windows, order)
    for e, asked in enumerate(data.asked):
        context, question = windows.contexts[e], tokenizer.encode_ids([asked.question])[0]
        expected = nearness(context.ids, context.sentences, question)
        mine = windows.owner[order][which] == e
        at = windows.begin[order][which] + place
        np.testing.assert_array_equal(batch.examples["near"].numpy()[mine], expected[at[mine]])
    with torch.no_grad():
        model = build(task, arch)
        before = span_logits(model, batch)[0]
        model.heads["near"].output.weight.normal_(generator=torch.Generator().manual_seed(1))
        added = span_logits(model, batch)[0] - before
        states = torch.zeros(len(added), arch.width)
        assert added.abs().mean() > 0.01 and "near" not in build(reader(tokenizer, data), arch).heads
        assert model.heads["near"](states, batch.examples["near"]).shape == added.shape


def test_sentences_of_tokens(tokenizer: Tokenizer) -> None:
    asked = [Question("film", "The film was good. The plot was bad! A scene.")]
    context = reader(tokenizer, after_the_name(4, 0), features=True).windows(asked).contexts[0]
    text = asked[0].context
    of = {text[a:b]: int(s) for (a, b), s in zip(context.characters.tolist(), context.sentences.tolist(), strict=True)}
    assert of["film"] == of["good"] < of["plot"] == of["bad"] < of["scene"]


def after_the_name(count: int, seed: int, length: int = 12) -> Questions:
    """The answer is the word after the one that is asked for: nothing else tells it from the others."""
    rng = np.random.default_rng(seed)
    asked, answers = [], []
    for i in range(count):
        words = list(rng.permutation(WORDS)[: min(length, len(WORDS))])
        words += list(rng.choice(words[2:], max(0, length - len(words))))
        at = int(rng.integers(min(length, len(WORDS)) - 1)) if length <= len(WORDS) else 0
        start = len(" ".join(words[: at + 1])) + 1
        asked.append(Question(words[at], " ".join(words), str(i)))
        answers.append((Span(words[at + 1], start),))
    return Questions(asked, answers, [f"a.json:{i}" for i in range(count)])


@pytest.mark.parametrize("features", [False, True])
def test_a_reader_learns_where_to_look(tokenizer: Tokenizer, arch: Architecture, features: bool) -> None:
    train, held = after_the_name(200, 0), after_the_name(40, 1)
    task = reader(tokenizer, train, length=48, features=features)
    model = build(task, arch)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    stream = AnswerStream(task, train, batch=25, seed=0)
    for step in range(40):
        optimiser.zero_grad()
        term = task.loss(model, stream.step(step, 1)[0])[0]["answer"]
        (term.sum / term.count).backward()
        optimiser.step()
    f1 = task.tallies(held, task.predict(model, task.inputs(held)))["f1"].value
    assert f1 > 0.7 if features else f1 < 0.3


def test_a_bundle_keeps_the_head(tmp_path: Path, tokenizer: Tokenizer, arch: Architecture) -> None:
    from wordloom.model.interop import save_bundle

    task = reader(tokenizer, after_the_name(4, 0), features=True)
    model = build(task, arch)
    torch.nn.init.normal_(model.heads["near"].output.weight)
    save_bundle(tmp_path / "bundle", model, "answer", {})
    back = load_bundle(tmp_path / "bundle").model.heads["near"]
    assert isinstance(back, NearHead) and back.settings() == {"features": WIDTH}
    for name, value in model.heads["near"].state_dict().items():
        assert torch.equal(value, back.state_dict()[name])
