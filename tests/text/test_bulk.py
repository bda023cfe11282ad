"""The fast path must give what the library gives, character for character."""

from __future__ import annotations

import numpy as np
import pytest

from wordloom.config import TokenizerConfig
from wordloom.text import bulk
from wordloom.text.bulk import BulkEncoder
from wordloom.text.sentences import sentence_starts
from wordloom.text.tokenizer import Tokenizer


def reference(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[bool], list[bool]]:
    """One text through Tokenizer.encode and sentence_starts, token by token."""
    encoded = tokenizer.encode([text])[0]
    first = encoded.offsets[:, 0].tolist()
    sentence = [False] * len(first)
    for start in [0, *sentence_starts(text)]:
        after = [i for i, offset in enumerate(first) if offset >= start]
        if after:
            sentence[after[0]] = True
    return encoded.ids.tolist(), encoded.word_starts.tolist(), sentence


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "byte-bpe", "unigram"])
def test_bulk_equals_the_library(kind: str, lowercase: bool, lines: list[str]) -> None:
    config = TokenizerConfig(kind=kind, vocab_size=600, lowercase=lowercase)
    tokenizer = Tokenizer.train(lines, config)
    text = [*lines, "\ud800 lone", 'Mr. X. Yes. "No!" he said. 你好！”他说。好\nNew line. 3.14 ok']
    encoder = BulkEncoder(tokenizer)
    assert (encoder.words is not None) == (kind in ("wordpiece", "bpe"))
    for _ in range(2):  # the second time from memory
        got = encoder.encode(text)
        for d, line in enumerate(text):
            part = slice(got.starts[d], got.starts[d + 1])
            wanted = reference(tokenizer, line)
            assert (got.ids[part].tolist(), got.word_starts[part].tolist()) == wanted[:2], line
            assert got.sentence_starts[part].tolist() == wanted[2], line


def test_every_character_of_the_first_planes() -> None:
    tokenizer = Tokenizer.train(["abc xyz"], TokenizerConfig(vocab_size=100))
    codes = [*range(0xD800), *range(0xE000, 0x11000, 7), *range(0x1F300, 0x1F700, 3), *range(0x20000, 0x20100)]
    texts = [f"a{chr(code)}b {chr(code)} {chr(code)}{chr(code)}c" for code in codes]
    encoder = BulkEncoder(tokenizer)
    got = encoder.encode(texts)
    wanted = tokenizer.encode_ids(texts)
    assert np.array_equal(got.ids, np.concatenate(wanted))
    assert np.array_equal(np.diff(got.starts), [len(ids) for ids in wanted])


def test_a_full_memory_is_emptied(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.train(lines, TokenizerConfig(vocab_size=600))
    wanted = BulkEncoder(tokenizer).encode(lines)
    monkeypatch.setattr(bulk, "_SLOTS", 128)
    small = BulkEncoder(tokenizer)
    for at in range(0, len(lines), 4):
        got = small.encode(lines[at : at + 4])
        part = slice(wanted.starts[at], wanted.starts[min(at + 4, len(lines))])
        assert np.array_equal(got.ids, wanted.ids[part])
        assert np.array_equal(got.sentence_starts, wanted.sentence_starts[part])


def test_nothing() -> None:
    tokenizer = Tokenizer.train(["a"], TokenizerConfig(vocab_size=100))
    got = BulkEncoder(tokenizer).encode([])
    assert len(got.ids) == 0 and got.starts.tolist() == [0]
    assert BulkEncoder(tokenizer).encode(["", " "]).starts.tolist() == [0, 0, 0]
