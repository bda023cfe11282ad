"""The tokenizer against transformers, which must give the same ids offline, and against hand-made cases."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, BertTokenizer

from wordloom.config import TokenizerConfig
from wordloom.errors import TokenizerError
from wordloom.text import chinese, training
from wordloom.text.tokenizer import Tokenizer

KINDS = ("wordpiece", "bpe", "byte-bpe", "unigram")


def train(lines: list[str], kind: str = "wordpiece", size: int = 600, lowercase: bool = True) -> Tokenizer:
    return Tokenizer.train(lines, TokenizerConfig(kind=kind, vocab_size=size, lowercase=lowercase))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_same_ids_in_transformers(kind: str, lowercase: bool, lines: list[str], tmp_path: Path) -> None:
    ours = train(lines, kind, lowercase=lowercase)
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    encoded = ours.encode(lines)
    assert len(lines) > 500 and sum(len(e.ids) for e in encoded) > 5000
    for line, got in zip(lines, encoded, strict=True):
        wanted = theirs(line, add_special_tokens=False, return_offsets_mapping=True)
        assert got.ids.tolist() == wanted["input_ids"], line
        assert got.offsets.tolist() == [list(pair) for pair in wanted["offset_mapping"]], line
    for got, ids in zip(encoded, ours.encode_ids(lines), strict=True):
        assert np.array_equal(got.ids, ids)
    first, second = theirs("one two", "three"), ours.encode(["one two", "three"])
    a, b = (e.ids.tolist() for e in second)
    assert first["input_ids"] == [ours.cls_id, *a, ours.sep_id, *b, ours.sep_id]
    assert first["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert theirs.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert theirs.pad_token_id == ours.pad_id == 0 and theirs.mask_token_id == ours.mask_id == 4


@pytest.mark.parametrize("kind", KINDS)
def test_load_gives_back_what_was_saved(kind: str, lines: list[str], tmp_path: Path) -> None:
    ours = train(lines, kind, lowercase=False)
    again = Tokenizer.load(ours.save(tmp_path))
    assert (again.hash, again.kind, again.lowercase, again.vocab_size) == (ours.hash, kind, False, ours.vocab_size)
    assert Tokenizer.load(again.save(tmp_path / "twice")).hash == ours.hash
    assert again.special_ids == [0, 1, 2, 3, 4]
    assert train(lines, kind, lowercase=True).hash != ours.hash


def test_transformers_takes_it_beside_a_bert_config(lines: list[str], tmp_path: Path) -> None:
    for kind in ("wordpiece", "byte-bpe"):
        ours = train(lines, kind)
        ours.save(tmp_path / kind)
        (tmp_path / kind / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 600}))
        theirs = AutoTokenizer.from_pretrained(tmp_path / kind, local_files_only=True)
        assert theirs(lines, add_special_tokens=False)["input_ids"] == [e.tolist() for e in ours.encode_ids(lines)]


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_bert_vocabulary_file(settings: dict[str, bool], lines: list[str], tmp_path: Path) -> None:
    vocabulary = [*training.SPECIAL, "\u2028", "\x85", "the", "the".upper(), "##s", "é", "e", "中", "国", "a", "##b"]
    (tmp_path / "vocab.txt").write_bytes("".join(f"{t}\n" for t in vocabulary).encode())
    settings = settings or {"do_lower_case": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = Tokenizer.load(tmp_path)
    theirs = BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, **settings)
    assert ours.vocab_size == len(vocabulary) and ours.backend.token_to_id("\u2028") == 5
    text = [*lines, "the THE thes é É ab 中国"]
    assert [e.tolist() for e in ours.encode_ids(text)] == theirs(text, add_special_tokens=False)["input_ids"]


def test_roberta_style_special_tokens(lines: list[str], tmp_path: Path) -> None:
    text = train(lines, "byte-bpe").save(tmp_path).joinpath("tokenizer.json").read_text(encoding="utf-8")
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    for ours, theirs in names.items():
        text = text.replace(json.dumps(ours), json.dumps(theirs))
    only = tmp_path / "only"
    only.mkdir()
    (only / "tokenizer.json").write_text(text, encoding="utf-8")
    loaded = Tokenizer.load(only)
    assert loaded.roles["cls_token"] == "<s>" and loaded.mask_id == 4


def spans(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words that word_starts makes, as text."""
    e = tokenizer.encode([text])[0]
    edges = [*np.flatnonzero(e.word_starts), len(e.ids)]
    assert edges[0] == 0
    return [text[e.offsets[a, 0] : e.offsets[b - 1, 1]] for a, b in pairwise(edges)]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_word_starts(kind: str, lines: list[str]) -> None:
    tokenizer = train(lines, kind, size=900)
    wanted = ["Don", "'", "t", "zap", "e", "-", "mail", ",", "Runners", "!"]
    assert spans(tokenizer, "Don't zap e-mail, Runners!") == wanted


def test_word_starts_byte_level(lines: list[str]) -> None:
    assert spans(train(lines, "byte-bpe"), "Don't zap, Runners!") == ["Don", "'t", "zap", ",", "Runners", "!"]


@pytest.mark.parametrize("kind", KINDS)
def test_chinese_words_are_those_of_jieba(kind: str, lines: list[str]) -> None:
    text = "我爱北京天安门。hello中国x"
    found = spans(train(lines, kind), text)
    assert "".join(found) == text
    assert found == ["我", "爱", "北京", "天安门", "。", "hello", "中国", "x"]


def test_without_jieba_every_character_is_a_word(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chinese, "_jieba", lambda: None)
    assert chinese.segmenter() == "characters"
    assert spans(train(lines), "我爱北京 ok") == ["我", "爱", "北", "京", "ok"]


def test_empty_and_broken_texts(lines: list[str]) -> None:
    tokenizer = train(lines)
    empty, surrogate, plain = tokenizer.encode(["", "the \ud800 court", "the court"])
    assert empty.ids.shape == (0,) and empty.offsets.shape == (0, 2) and empty.word_starts.shape == (0,)
    assert surrogate.offsets[-1].tolist() == [6, 11]
    assert surrogate.ids[-1] == plain.ids[-1]
    assert empty.ids.dtype == empty.offsets.dtype == np.int32
    assert tokenizer.encode([]) == []
    with pytest.raises(TokenizerError, match="only strings"):
        tokenizer.encode([None])  # type: ignore[list-item]


def test_decode_leaves_special_tokens_out(lines: list[str]) -> None:
    for kind in KINDS:
        tokenizer = train(lines, kind)
        ids = tokenizer.encode_ids(["the court held"])[0]
        assert tokenizer.decode([tokenizer.cls_id, *ids, tokenizer.sep_id]) == "the court held"


@pytest.mark.parametrize("kind", KINDS)
def test_short_text_gives_a_smaller_vocabulary_and_says_so(kind: str) -> None:
    for text in ("a", "中", "hello hello world"):
        tokenizer = Tokenizer.train([text], TokenizerConfig(kind=kind, vocab_size=5000))
        assert tokenizer.vocab_size < 500
        assert "instead of 5,000" in tokenizer.notes[-1]
        assert tokenizer.decode(tokenizer.encode_ids([text])[0]).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_never_outgrows_the_size_asked_for(kind: str, lines: list[str]) -> None:
    for size in (300, 500):
        assert train(lines, kind, size=size).vocab_size <= size


def test_sample_is_even_bounded_and_repeatable() -> None:
    texts = [f"{i:05d}" * 20 for i in range(50_000)]  # 5 million characters
    sample = training.sample(iter(texts), 1)
    numbers = [int(text[:5]) for text in sample.texts]
    assert 500_000 <= sum(map(len, sample.texts)) <= 1_000_000
    assert set(np.diff(numbers)) == {8} and numbers[0] == 0 and numbers[-1] > 49_980
    assert sample.texts == training.sample(iter(texts), 1).texts
    assert "1 of 5 million" in sample.notes[0]
    assert training.sample(["x" * 200_000], 1).notes == ()


def test_strip_accents_is_a_choice() -> None:
    config = TokenizerConfig(vocab_size=200)
    text = ["ọ̀rọ̀ àwọn ọmọ café"] * 3
    assert "é" not in Tokenizer.train(text, config).backend.get_vocab()
    kept = Tokenizer.train(text, config.model_copy(update={"strip_accents": False}))
    assert any("é" in token for token in kept.backend.get_vocab())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no tokenizer.json"),
        ({"tokenizer.json": "{"}, "not a tokenizer"),
        ({"tokenizer.json": '{"model": {"type": "nope"}}'}, "not a tokenizer"),
        ({"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n"}, "twice"),
        ({"vocab.txt": "a\nb\n"}, "no line '[PAD]'"),
        ({"vocab.txt": b"\xff\xfe"}, "not UTF-8"),
        ({"vocab.txt": "a\n", "tokenizer_config.json": "[1]"}, "not a JSON object"),
        ({"vocab.txt": "a\n", "tokenizer_config.json": "{"}, "not readable JSON"),
    ],
)
def test_folders_that_hold_no_tokenizer(files: dict[str, str | bytes], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.load(tmp_path)
    assert message in str(caught.value) and caught.value.cure


def test_tokenizer_without_mask_token(lines: list[str], tmp_path: Path) -> None:
    text = train(lines).save(tmp_path).joinpath("tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace("[MASK]", "[GONE]"), encoding="utf-8")
    with pytest.raises(TokenizerError, match="mask token"):
        Tokenizer.load(tmp_path)


def test_nothing_to_learn_from() -> None:
    for texts in ([], [" \n"]):
        with pytest.raises(TokenizerError, match="no text"):
            Tokenizer.train(texts, TokenizerConfig())
    with pytest.raises(TokenizerError, match="no room"):
        Tokenizer.train(["a"], TokenizerConfig(vocab_size=5))
