"""Beams on encoder-decoders (T5, v1.1, Marian) give the answers and scores of the public library's ``generate``."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from generation_peers import ENDS, VOCABULARY, prompts

from wordloom import presets
from wordloom.data.batch import Batch
from wordloom.infer import source_stepper
from wordloom.infer.decode import Answer, generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.steppers import make_stepper
from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead
from wordloom.model.interop import save_hf
from wordloom.model.model import Model

transformers = pytest.importorskip("transformers")
SOURCES = [*prompts(3, seed=11), [9]]  # of different lengths
TOKENS, BEAMS = 12, 4
EARLY, PENALTIES = (False, True, "never"), (0.5, 1.0, 2.0)
PRESETS = ("t5-tiny", "t5v1.1-tiny", "transformer-tiny")
PRESET = pytest.mark.parametrize("preset", PRESETS)


@cache
def our_model(preset: str) -> Model:
    """Random weights, norms and biases too, that a few steps have brought near four answers of 0 to 9 tokens for each
    source: new ones repeat a token for ever, and no setting of the search matters."""
    torch.manual_seed(0)
    small: dict[str, Any] = {"width": 32, "heads": 2, "ffn_width": 48, "max_positions": 32}
    arch = presets.architecture(preset, VOCABULARY, **small, dropout=0.0, attention_dropout=0.0)
    model = Model(make_body(arch), {"causal": CausalHead(arch)})
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.1)
    draw, words = random.Random(0), [n for n in range(2, VOCABULARY) if n not in ENDS]
    pairs = [
        (s, [*(draw.choice(words) for _ in range(draw.randrange(10))), draw.choice(ENDS)])
        for s in SOURCES for _ in range(4)
    ]  # fmt: skip
    read, given, said = (side(rows) for rows in zip(*((s, [0, *t[:-1]], t) for s, t in pairs), strict=True))
    real, head = said.documents > 0, model.heads["causal"]
    assert isinstance(head, CausalHead)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        hidden = model.body(given.tokens, given.documents, given.positions, given.types, read)[real]
        loss = head.loss(hidden, model.token_embedding, said.tokens[real], 0.1) / len(hidden)
        if loss.item() < 1.3:
            return model.eval()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    raise AssertionError("it has not learned them")


def side(texts: tuple[list[int], ...]) -> Batch:
    """A text a row, padded on the right."""
    longest = max(map(len, texts))
    tokens = torch.tensor([[*t, *[0] * (longest - len(t))] for t in texts])
    real = torch.arange(longest) < torch.tensor([[len(t)] for t in texts])
    return Batch(tokens, real.long(), torch.arange(longest).expand_as(tokens), torch.zeros_like(tokens))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beams")


@cache
def their_model(preset: str, folder: Path) -> Any:
    """The public class with the same weights."""
    save_hf(folder / preset, our_model(preset), tokens={"eos": ENDS[0]})
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / preset).eval()


def settings(early: Any, penalty: float, answers: int = BEAMS) -> Decoding:
    return Decoding(max_tokens=TOKENS, beams=BEAMS, length_penalty=penalty, early_stopping=early, answers=answers)


def public(theirs: Any, how: Decoding) -> list[list[tuple[list[int], float]]]:
    """(ids, score) of every answer of every source, all sources in one batch."""
    given = side(tuple(SOURCES))
    found = theirs.generate(
        given.tokens, attention_mask=given.documents, max_new_tokens=how.max_tokens, do_sample=False,
        num_beams=how.beams, length_penalty=how.length_penalty, early_stopping=how.early_stopping,
        num_return_sequences=how.answers, eos_token_id=ENDS, repetition_penalty=how.repetition_penalty,
        no_repeat_ngram_size=how.no_repeat_ngram, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    rows = [(ids, float(s)) for ids, s in zip(found.sequences[:, 1:].tolist(), found.sequences_scores, strict=True)]
    return [rows[i : i + how.answers] for i in range(0, len(rows), how.answers)]


def assert_same(ours: list[list[Answer]], theirs: list[list[tuple[list[int], float]]]) -> None:
    for answers, expected in zip(ours, theirs, strict=True):
        for answer, (ids, score) in zip(answers, expected, strict=True):
            n = len(answer.ids)
            assert list(answer.ids) == ids[:n]
            assert answer.ended == (n < len(ids) and ids[n] in ENDS)
            assert set(ids[n + answer.ended :]) <= {0, ENDS[0]}  # padded to the longest
            assert answer.score == pytest.approx(score, abs=1e-4)


@PRESET
@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_best_answers_of_a_batch_are_the_librarys(
    preset: str, early: Any, penalty: float, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if penalty == 2.0:  # the ordinary forward pass, where the others run the compiled step
        monkeypatch.setattr(source_stepper, "can_fuse", lambda *parts: False)
    model = our_model(preset)
    ours = generate(make_stepper(model), SOURCES, settings(early, penalty), ENDS)
    assert_same(ours, public(their_model(preset, folders), settings(early, penalty)))
    assert len({len(a.ids) for row in ours for a in row if a.ended}) > 2
    best = generate(make_stepper(model), SOURCES, settings(early, penalty, answers=1), ENDS)
    assert best == [row[:1] for row in ours]


@PRESET
def test_rules_see_the_answer_and_not_the_source(preset: str, folders: Path) -> None:
    how = Decoding(max_tokens=TOKENS, beams=BEAMS, answers=2, repetition_penalty=1.7, no_repeat_ngram=1)
    ours = generate(make_stepper(our_model(preset)), SOURCES, how, ENDS)
    assert_same(ours, public(their_model(preset, folders), how))


def test_every_setting_finds_other_answers() -> None:
    """Else to equal the library would say nothing of it."""
    found = {
        (early, penalty): [
            [a.ids for a in row]
            for preset in PRESETS
            for row in generate(make_stepper(our_model(preset)), SOURCES, settings(early, penalty), ENDS)
        ]
        for early in EARLY for penalty in PENALTIES
    }  # fmt: skip
    assert found[False, 0.5] != found[False, 1.0] != found[False, 2.0] != found[False, 0.5]
    assert all(any(found[early, p] != found[False, p] for p in PENALTIES) for early in (True, "never"))
