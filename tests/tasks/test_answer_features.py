"""What of a question stands near each token: against plain loops, in windows, and in networks that know no word."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_answers import build, reader
from tiny_tasks import WORDS

from wordloom.config import TokenizerConfig
from wordloom.data.questions import Question, Questions, Span
from wordloom.model.architecture import Architecture
from wordloom.model.interop import load_bundle, save_bundle
from wordloom.model.near_head import NearHead
from wordloom.tasks.answer.nearness import AROUND, BESIDE, WIDTH, Units, nearness, numbered
from wordloom.tasks.answer.stream import AnswerStream
from wordloom.tasks.answer.task import HEAD, NEAR, span_logits
from wordloom.text.tokenizer import Tokenizer


def units(words: list[int], sentences: list[int], question: list[int]) -> Units:
    return Units(*(np.array(x, np.int32) for x in (words, sentences, question)))


def test_features_by_hand() -> None:
    """Text 7 8 | 5 6 7 5, question 5 6 9: 5 stands twice in the text, 9 nowhere."""
    found = nearness(units([7, 8, 5, 6, 7, 5], [0, 0, 1, 1, 1, 1], [5, 6, 9]))
    twice, once = np.log1p(1 / 2), np.log(2)
    whole = twice + once + once  # of 5, 6 and 9
    assert found.shape == (6, WIDTH) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], [0, 0, 1, 1, 0, 1])
    np.testing.assert_allclose(found[:, 1], [twice, once, twice, once, twice, twice], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 2], [0, 0, 1, 1, 0, 0])  # "5 6" stands in the question, "7 5" does not
    np.testing.assert_allclose(found[4, 3:9], [0, twice, once, twice, 0, 0], rtol=1e-6)  # 8 5 6 | 5 - -
    np.testing.assert_allclose(found[:, 9:13], (2 * twice + once) / whole, rtol=1e-6)  # all within five
    np.testing.assert_allclose(found[:, 13], np.array([0, 0, 1, 1, 1, 1]) * (twice + once) / whole, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 14], [0, 0, 1, 1, 1, 1])
    # of the pairs "5 6" and "6 9" the first stands in the text, once
    np.testing.assert_allclose(found[:, 15:19], once / (2 * once), rtol=1e-6)


def test_the_best_sentence_is_the_one_with_most_and_ties_are_all_best() -> None:
    words, sentences = list(range(1, 24)), [0] * 12 + [1] * 11  # 12 and 11 words of the question
    assert nearness(units(words, sentences, words))[:, 14].tolist() == [1] * 12 + [0] * 11
    assert nearness(units(words[:22], [0] * 11 + [1] * 11, words))[:, 14].tolist() == [1] * 22


Keys = list[tuple[int, ...]]


def plain(words: list[int], sentences: list[int], question: list[int]) -> list[list[float]]:
    """The definition, in loops. A unit is a tuple of one word or of two neighbours, () where one of them is a mark."""

    def of_size(run: list[int], size: int) -> Keys:
        keys = [tuple(run[i : i + size]) for i in range(len(run))]
        return [key if len(key) == size and min(key) >= 0 else () for key in keys]

    def described(size: int) -> tuple[list[float], list[float], list[list[float]]]:
        text, asked = of_size(words, size), set(of_size(question, size)) - {()}
        weight = {key: math.log(1 + 1 / max(1, text.count(key))) for key in [*text, *asked]} | {(): 0.0}
        whole = sum(weight[key] for key in asked) or 1.0
        match = [weight[key] if key in asked else 0.0 for key in text]
        of_sentence = {}
        for s in sentences:
            inside = {key for key, number in zip(text, sentences, strict=True) if number == s}
            of_sentence[s] = sum(weight[key] for key in asked & inside)
        rows = []
        for i, s in enumerate(sentences):
            around = [sum(match[max(0, i - size) : i + size + 1]) / whole for size in AROUND]
            best = of_sentence[s] > 0 and of_sentence[s] >= max(of_sentence.values()) - 1e-9
            rows.append([*around, of_sentence[s] / whole, float(best)])
        return [weight[key] for key in text], match, rows

    own, match, single = described(1)
    _, paired, double = described(2)
    found = []
    for i in range(len(words)):
        beside = [match[i + offset] if 0 <= i + offset < len(words) else 0.0 for offset in BESIDE]
        in_pair = paired[i] > 0 or (i > 0 and paired[i - 1] > 0)
        found.append([float(match[i] > 0), own[i], float(in_pair), *beside, *single[i], *double[i]])
    return found


WORD = st.one_of(st.integers(-1, 5), st.sampled_from([70_000, 70_001, 2**30]))  # -1: a mark


@settings(deadline=None, derandomize=True, max_examples=120)
@given(st.lists(st.lists(WORD, min_size=1, max_size=30), max_size=5), st.lists(WORD, max_size=8))
def test_features_are_their_definition(text: list[list[int]], question: list[int]) -> None:
    words = [word for sentence in text for word in sentence]
    sentences = [2 * number for number, sentence in enumerate(text) for _ in sentence]  # numbers may be left out
    found = nearness(units(words, sentences, question))
    expected = np.array(plain(words, sentences, question)).reshape(-1, WIDTH)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_words_are_compared_by_their_text() -> None:
    """A byte-level vocabulary has tokens of its own for a word where a text begins, and for its capitals."""
    texts = ["Vienna is a city. How warm is Vienna, and how old? The river Danube, it is said, flows through it."] * 9
    for kind in ("byte-bpe", "wordpiece", "unigram"):
        config = TokenizerConfig(kind=kind, vocab_size=320, lowercase=False, strip_accents=False)
        tokenizer = Tokenizer.train(texts, config)
        made = reader(tokenizer, QUESTIONS, length=64, features=True).windows(QUESTIONS.asked)
        text = QUESTIONS.asked[0].context
        matching = nearness(made.units[0])[:, 0] > 0
        spans = made.contexts[0].characters[matching]
        inside = np.zeros(len(text), bool)
        for a, b in spans.tolist():
            inside[a:b] = True
        said = "".join(c if i else " " for c, i in zip(text, inside.tolist(), strict=True)).split()
        assert {"Vienna", "how"} <= set(said) and not {"cold", "tell", "me"} & set(said), kind


QUESTIONS = Questions([Question("How? Vienna?", "Vienna: cold; tell me how.", "1")], [(Span("cold", 8),)], ["a.json:1"])


def test_an_unknown_character_is_not_another_one() -> None:
    tokenizer = Tokenizer.train(["abc"] * 9, TokenizerConfig(vocab_size=60))
    asked = [Question("Ω", "Ψ a Ω .")]
    task = reader(tokenizer, Questions(asked, [(Span("a", 2),)], ["a:1"]), features=True, match=True)
    made = task.windows(asked)
    assert made.contexts[0].ids.tolist()[:3:2] == [tokenizer.unk_id] * 2  # both
    assert nearness(made.units[0])[:, 0].tolist() == [0, 0, 1, 0]
    assert made.windows.types[-5:].tolist() == [1] * 5  # segments know tokens alone: neither is marked


def test_marks_and_blanks_have_no_number() -> None:
    numbers: dict[str, int] = {}
    found = numbered("Go, go 5 东!", np.array([[0, 2], [2, 3], [4, 6], [6, 6], [7, 8], [9, 10], [10, 11]]), numbers)
    assert found.tolist() == [0, -1, 0, -1, 1, 2, -1] and list(numbers) == ["go", "5", "东"]


def test_windows_have_their_texts_features(tokenizer: Tokenizer, arch: Architecture) -> None:
    """A window's tokens are told what stands around them in the whole text, in whatever order windows are read; and of
    the whole question, also where the window holds only its beginning."""
    data = after_the_name(6, 0, length=50)
    data = Questions([q._replace(question=f"good film {q.question}") for q in data.asked], data.answers, data.places)
    task = reader(tokenizer, data, length=24, features=True, question=2)
    windows = task.windows(data.asked)
    order = np.random.default_rng(0).permutation(len(windows.sizes))
    assert len(order) > 2 * len(data)
    which, place = windows.pieces(order)
    near = task.batch(windows, order).examples["near"].numpy()
    for e, asked in enumerate(data.asked):
        words, question = asked.context.split(), set(asked.question.split())
        starts = {0} | {i + 1 for i, c in enumerate(asked.context) if c == " "}
        mine = windows.owner[order][which] == e
        at = (windows.begin[order][which] + place)[mine]
        np.testing.assert_array_equal(near[mine], nearness(windows.units[e])[at])
        of_word = np.cumsum([a in starts for a in windows.contexts[e].characters[:, 0].tolist()]) - 1
        expected = np.array([word in question for word in words])[of_word]
        whole_words = np.array([len(tokenizer.encode_ids([w])[0]) == 1 for w in words])[of_word]
        np.testing.assert_array_equal(near[mine, 0][whole_words[at]], expected[at][whole_words[at]])


def test_the_head_adds_nothing_at_first_then_reads_state_and_features(tokenizer: Tokenizer, arch: Architecture) -> None:
    data = after_the_name(6, 0)
    task = reader(tokenizer, data, length=48, features=True)
    model = build(task, arch)
    windows = task.windows(data.asked)
    batch = task.batch(windows, np.arange(len(windows.sizes)))
    with torch.no_grad():
        before, nulls = span_logits(model, batch)
        alone = build(task, arch)
        del alone.heads[NEAR]
        alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith(f"heads.{NEAR}")})
        assert torch.equal(span_logits(alone, batch)[0], before)
        torch.nn.init.normal_(model.heads[NEAR].output.weight)
        assert torch.equal(span_logits(model, batch)[1], nulls)
        head, rng = model.heads[NEAR], torch.Generator().manual_seed(0)
        states, near = torch.randn(2, arch.width, generator=rng), torch.randn(2, WIDTH, generator=rng)
        one = head(states[:1], near[:1])
        assert not torch.allclose(one, head(states[1:], near[:1])) and not torch.allclose(
            one, head(states[:1], near[1:])
        )
        for kind in (torch.float64, torch.bfloat16):
            found = span_logits(model.to(kind), batch)[0]
            assert found.dtype == kind and found.isfinite().all()
    assert NEAR not in build(reader(tokenizer, data), arch).heads


def test_sentences_of_tokens(tokenizer: Tokenizer) -> None:
    text = "The film was good. The plot was bad! A scene."
    task = reader(tokenizer, after_the_name(4, 0), features=True)
    made = task.windows([Question("film", text)])
    starts = made.contexts[0].characters[:, 0]
    numbers = dict(zip(starts.tolist(), made.units[0].sentences.tolist(), strict=True))
    first, second, third = (numbers[text.index(part)] for part in ("The film", "The plot", "A scene"))
    assert first < second < third
    assert {n for a, n in numbers.items() if a < text.index("The plot")} == {first}
    assert {n for a, n in numbers.items() if a >= text.index("A scene")} == {third}


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
        term = task.loss(model, stream.step(step, 1)[0])[0][HEAD]
        (term.sum / term.count).backward()
        optimiser.step()
    f1 = task.tallies(held, task.predict(model, task.inputs(held)))["f1"].value
    assert f1 > 0.7 if features else f1 < 0.3


def test_a_bundle_keeps_the_head(tmp_path: Path, tokenizer: Tokenizer, arch: Architecture) -> None:
    task = reader(tokenizer, after_the_name(4, 0), features=True)
    assert task.keeps == {HEAD, NEAR}
    model = build(task, arch)
    torch.nn.init.normal_(model.heads[NEAR].output.weight)
    save_bundle(tmp_path / "bundle", model, "answer", {})
    found = load_bundle(tmp_path / "bundle")
    back = found.model.heads[NEAR]
    assert isinstance(back, NearHead) and back.settings() == {"features": WIDTH}
    for name, value in model.heads[NEAR].state_dict().items():
        assert torch.equal(value, back.state_dict()[name])
