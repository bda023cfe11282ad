"""Beam search gives the answers and scores of the public library's ``generate``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from generation_peers import ENDS, peers, prompts

from wordloom.errors import ConfigError
from wordloom.infer import steppers
from wordloom.infer.decode import generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.steppers import make_stepper


@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("early", [True, False, "never"])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -0.5])
def test_beams_are_the_library(beams: int, early: Any, penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if penalty == 2.0:
        monkeypatch.setattr(steppers, "can_fuse", lambda *rows: False)
    theirs, model = peers()
    how = Decoding(max_tokens=14, beams=beams, length_penalty=penalty, early_stopping=early, answers=beams)
    ended = 0
    for text in prompts(3, seed=6):
        x = torch.tensor([text])
        expected = theirs.generate(
            x, attention_mask=torch.ones_like(x), max_new_tokens=14, do_sample=False, num_beams=beams,
            length_penalty=penalty, early_stopping=early, num_return_sequences=beams, return_dict_in_generate=True,
            output_scores=True,
        )  # fmt: skip
        answers = generate(make_stepper(model), [text], how, ENDS)[0]
        assert len(answers) == beams
        for answer, row, score in zip(
            answers, expected.sequences[:, len(text) :], expected.sequences_scores, strict=True
        ):
            ids = row.tolist()
            assert list(answer.ids) == ids[: len(answer.ids)]
            assert set(ids[len(answer.ids) + answer.ended :]) <= {ENDS[0]}  # padded to the longest
            assert not answer.ended or ids[len(answer.ids)] in ENDS
            assert answer.score == pytest.approx(float(score), abs=1e-4)
            ended += answer.ended
    assert ended


def test_rules_and_batches() -> None:
    """Several prompts at once are each searched as if alone; the rules see every beam's own text."""
    theirs, model = peers()
    texts = prompts(4, seed=8)
    how = Decoding(max_tokens=12, beams=3, repetition_penalty=1.3, no_repeat_ngram=2)
    together = generate(make_stepper(model), texts, how, ENDS)
    for text, found in zip(texts, together, strict=True):
        (answer,) = generate(make_stepper(model), [text], how, ENDS)[0]
        assert (found[0].ids, found[0].ended) == (answer.ids, answer.ended)
        x = torch.tensor([text])
        expected = theirs.generate(
            x, attention_mask=torch.ones_like(x), max_new_tokens=12, do_sample=False, num_beams=3,
            repetition_penalty=1.3, no_repeat_ngram_size=2,
        )[0, len(text) :].tolist()  # fmt: skip
        assert list(answer.ids) == [i for i in expected if i not in ENDS]


def test_one_beam_is_greedy() -> None:
    _, model = peers()
    text = prompts(1, seed=9)
    greedy = generate(make_stepper(model), text, Decoding(max_tokens=10), ENDS)
    assert generate(make_stepper(model), text, Decoding(max_tokens=10, beams=1), ENDS) == greedy


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beams": 2, "temperature": 1.0}, "draws none"),
        ({"beams": 2, "answers": 3}, "2 beams cannot give 3 answers"),
        ({"answers": 2}, "one and the same"),
        ({"top_k": 3}, "at temperature 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p must be above 0"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"temprature": 1.0}, "unknown setting 'temprature'"),
    ],
)
def test_refusals(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Decoding.of(settings)
