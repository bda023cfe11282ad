"""Ids to text piece by piece: together the whole text, never half a character, nothing of a stop string."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from wordloom.config import TokenizerConfig
from wordloom.infer.text_pieces import Pieces, text_after
from wordloom.text.tokenizer import Tokenizer

MIXED = [*tiny.documents(40), "don't stop, we'll see. it's fine", "今天天气很好", "naïve café 🎉🎉 привет мир"] * 2


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "byte-bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(MIXED, TokenizerConfig(kind=request.param, vocab_size=320))


def streamed(pieces: Pieces, ids: list[int]) -> list[str]:
    return [*(pieces.push(i) for i in ids), pieces.finish()]


def test_pieces_are_the_text(tokenizer: Tokenizer) -> None:
    """Random ids, broken characters among them, and real texts, longer than the window."""
    rng = np.random.default_rng(0)
    before = tokenizer.encode_ids(["the film was"])[0].tolist()
    texts = [rng.integers(0, tokenizer.vocab_size, 300).tolist() for _ in range(5)]
    texts += [ids.tolist() for ids in tokenizer.encode_ids([" ".join(MIXED), "the 🎉 don't", "今天"])]
    for ids in texts:
        shown = streamed(Pieces(tokenizer, before, ["\u0000never"]), ids)
        assert "".join(shown) == text_after(tokenizer, before, ids)


def test_the_join_is_that_of_the_whole(tokenizer: Tokenizer) -> None:
    """Prompt and answer, one after the other, are the text of all their ids."""
    ids = tokenizer.encode_ids(["the film was great in the evening"])[0].tolist()
    for cut in range(1, len(ids)):
        before, after = ids[:cut], ids[cut:]
        assert tokenizer.decode(before) + text_after(tokenizer, before, after) == tokenizer.decode(ids)


def test_no_piece_ends_inside_a_character() -> None:
    """🎉 is four bytes and 天 is three; a vocabulary that never saw them spells them byte by byte."""
    tokenizer = Tokenizer.train(tiny.documents(40), TokenizerConfig(kind="byte-bpe", vocab_size=300))
    text = "the 🎉天 film"
    ids = tokenizer.encode_ids([text])[0].tolist()
    shown = streamed(Pieces(tokenizer, [], []), ids)
    assert "".join(shown) == text
    assert not any("\ufffd" in piece for piece in shown)
    assert [p for p in shown if "🎉" in p] and sum(p == "" for p in shown) >= 5  # the bytes before the last wait


def test_a_broken_end_is_shown_at_last() -> None:
    tokenizer = Tokenizer.train(tiny.documents(40), TokenizerConfig(kind="byte-bpe", vocab_size=300))
    ids = tokenizer.encode_ids(["a🎉"])[0].tolist()[:-1]
    pieces = Pieces(tokenizer, [], [])
    assert "\ufffd" not in "".join(pieces.push(i) for i in ids)
    assert "\ufffd" in pieces.finish()


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (["was"], "the film "),
        (["was", "film"], "the "),
        ([" in th"], "the film was great"),
        (["zebra"], None),
        ([], None),
    ],
)
def test_stop_strings(tokenizer: Tokenizer, stop: list[str], expected: str | None) -> None:
    text = "the film was great in the evening"
    ids = tokenizer.encode_ids([text])[0].tolist()
    pieces = Pieces(tokenizer, [], stop)
    shown = []
    for i in ids:
        shown.append(pieces.push(i))
        if pieces.stopped:
            break
    shown.append(pieces.finish())
    assert "".join(shown) == (text if expected is None else expected)
    assert pieces.stopped == (expected is not None)
    assert pieces.push(ids[0]) == "" or not pieces.stopped


def test_what_may_become_a_stop_waits() -> None:
    tokenizer = Tokenizer.train(["aab aac aad"], TokenizerConfig(kind="byte-bpe", vocab_size=270))
    pieces = Pieces(tokenizer, [], ["aab"])
    one = {c: tokenizer.encode_ids([c])[0].tolist() for c in "aabcd"}
    shown = [pieces.push(i) for c in "aacaab" for i in one[c]]
    assert shown == ["", "", "aac", "", "", ""]
    assert pieces.stopped
