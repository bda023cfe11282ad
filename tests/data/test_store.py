"""The token store against Tokenizer.encode, and what happens when its files are damaged."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from wordloom.config import TokenizerConfig
from wordloom.data import store as store_module
from wordloom.data import varint
from wordloom.data.store import TokenStore, build_store, build_stores
from wordloom.errors import DataError
from wordloom.text.sentences import sentence_starts
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.training import SPECIAL


class Doc(NamedTuple):
    text: str
    file: str
    line: int


TEXT = "the court of appeal held that Contracts were void. Nobody had signed them! Why? don't stop-me now"
WORDS = TEXT.split()


def documents(count: int = 60, extra: str = "") -> list[Doc]:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) + extra for _ in range(count)]
    texts[3] = " \n "  # a document without a token
    return [Doc(text, f"part{i // 25}.txt", 1 + 3 * (i % 25)) for i, text in enumerate(texts)]


def tokenizer_of(kind: str = "wordpiece", extra: str = "") -> Tokenizer:
    return Tokenizer.train([d.text for d in documents(extra=extra)], TokenizerConfig(kind=kind, vocab_size=300))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizer_of()


@pytest.fixture
def store(tokenizer: Tokenizer, tmp_path: Path) -> TokenStore:
    return build_store(documents(), tokenizer, tmp_path / "store")


def check_against_encode(store: TokenStore, tokenizer: Tokenizer, docs: list[Doc]) -> None:
    assert store.documents == len(docs)
    for d, doc in enumerate(docs):
        a, b = store.starts[d : d + 2]
        wanted = tokenizer.encode([doc.text])[0]
        assert store.tokens[a:b].tolist() == wanted.ids.tolist()
        assert store.word_starts(a, b).tolist() == wanted.word_starts.tolist()
        edges = [0, *sentence_starts(doc.text)]
        first = wanted.offsets[:, 0].tolist()
        sentences = {next((i for i, at in enumerate(first) if at >= edge), None) for edge in edges}
        assert store.sentence_starts(a, b).tolist() == [i in sentences for i in range(b - a)]
        assert store.place(d) == f"{doc.file}:{doc.line}"


@pytest.mark.parametrize(
    ("kind", "extra", "words"),
    [
        ("wordpiece", "", "by_token"),
        ("wordpiece", " 我爱北京天安门。你好", "by_position"),  # jieba decides, not the id
        ("bpe", "", "by_position"),
        ("byte-bpe", " é 😀", "by_position"),
        ("unigram", "", "by_position"),
    ],
)
def test_store_holds_what_encode_gives(kind: str, extra: str, words: str, tmp_path: Path) -> None:
    docs, tokenizer = documents(extra=extra), tokenizer_of(kind, extra)
    store = build_store(docs, tokenizer, tmp_path / "store")
    assert store.manifest["words"] == words and store.tokens.dtype == np.uint16
    check_against_encode(store, tokenizer, docs)


def test_manifest_by_hand(tokenizer: Tokenizer, store: TokenStore) -> None:
    docs, manifest = documents(), store.manifest
    ids = np.concatenate(tokenizer.encode_ids([d.text for d in docs]))
    counts = Counter(ids.tolist())
    entropy = -sum(n / len(ids) * math.log(n / len(ids)) for n in counts.values())
    assert store.unigram_entropy == pytest.approx(entropy, rel=1e-12)
    size = sum(len(d.text.encode()) for d in docs)
    assert store.bytes_per_token == size / len(ids)
    assert (manifest["documents"], manifest["empty_documents"], manifest["tokens"]) == (60, 1, len(ids))
    assert manifest["sha256"] == hashlib.sha256(ids.astype("<u2").tobytes()).hexdigest()
    assert store.tokenizer_hash == tokenizer.hash
    assert manifest["sources"] == [[0, "part0.txt"], [25, "part1.txt"], [50, "part2.txt"]]
    assert manifest["special_tokens_in_text"] == 0


def test_special_tokens_typed_in_the_text_are_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = build_store([Doc("the [MASK] court [SEP]", "a", 1)], tokenizer, tmp_path / "store")
    assert store.manifest["special_tokens_in_text"] == 2
    assert tokenizer.mask_id in store.tokens


def test_large_vocabulary_uses_four_bytes(tmp_path: Path) -> None:
    words = [*SPECIAL, *(f"w{i}" for i in range(70_000))]
    (tmp_path / "vocab.txt").write_text("".join(w + "\n" for w in words), encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    docs = [Doc("w1 w69999 w65531. w65532", "a", 1), Doc("w0", "a", 2)]
    store = build_store(docs, tokenizer, tmp_path / "store")
    assert store.tokens.dtype == np.uint32 and store.tokens.max() == 70_004
    check_against_encode(TokenStore.open(tmp_path / "store", verify=True), tokenizer, docs)


def test_result_does_not_depend_on_workers_or_chunks(
    tokenizer: Tokenizer, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_CHUNK", 200)
    seen: list[int] = []
    for workers in (1, 2, 3):
        other = build_store(
            iter(documents()), tokenizer, tmp_path / f"s{workers}", workers=workers, progress=seen.append
        )
        for name in store.manifest["files"]:
            assert (store.folder / name).read_bytes() == (other.folder / name).read_bytes(), name
        assert seen == sorted(seen) and seen[-1] == sum(len(d.text) for d in documents())
        seen.clear()


def test_size_on_disk(tmp_path: Path) -> None:
    """At most 1.1 times two bytes a token, also for documents of one paragraph each."""
    sentence = "Nobody had signed the contracts, and the court of appeal held that they were void because of it. "
    docs = [Doc(sentence * (1 + i % 3), "novel.txt", i + 1) for i in range(3000)]
    store = build_store(docs, tokenizer_of(), tmp_path / "store")
    size = sum(path.stat().st_size for path in store.folder.iterdir())
    assert size <= 1.1 * 2 * len(store.tokens)


DAMAGE = {
    "missing tokens": lambda f: (f / "tokens.bin").unlink(),
    "missing sentences": lambda f: (f / "sentences.bin").unlink(),
    "cut tokens": lambda f: (f / "tokens.bin").write_bytes((f / "tokens.bin").read_bytes()[:-2]),
    "longer lines": lambda f: (f / "lines.bin").write_bytes((f / "lines.bin").read_bytes() + b"\0"),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "half a manifest": lambda f: (f / "manifest.json").write_text('{"format": "wordloom'),
    "manifest of a list": lambda f: (f / "manifest.json").write_text("[]"),
    "binary manifest": lambda f: (f / "manifest.json").write_bytes(b"\xff\x00\x81"),
    "other version": lambda f: edit(f, "version", 99),
    "no counts": lambda f: edit(f, "tokens", None),
    "strange dtype": lambda f: edit(f, "dtype", "object"),
}


def edit(folder: Path, key: str, value: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {key: value}))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_when_opened(damage: str, store: TokenStore) -> None:
    DAMAGE[damage](store.folder)
    with pytest.raises(DataError) as caught:
        TokenStore.open(store.folder)
    assert caught.value.cure and "store" in str(caught.value)


def test_verify_notices_a_changed_byte(store: TokenStore) -> None:
    for name in store.manifest["files"]:
        data = bytearray((store.folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        original = (store.folder / name).read_bytes()
        (store.folder / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            TokenStore.open(store.folder, verify=True)
        (store.folder / name).write_bytes(original)
    TokenStore.open(store.folder, verify=True)


def test_wrong_document_lengths_are_noticed(store: TokenStore) -> None:
    data = bytearray((store.folder / "documents.bin").read_bytes())
    data[0] ^= 1
    (store.folder / "documents.bin").write_bytes(data)
    with pytest.raises(DataError, match=r"documents\.bin counts"):
        TokenStore.open(store.folder)


def test_nothing_is_overwritten_and_nothing_left_behind(tokenizer: Tokenizer, store: TokenStore) -> None:
    before = (store.folder / "manifest.json").read_bytes()
    with pytest.raises(DataError, match="exists already"):
        build_store(documents(), tokenizer, store.folder)
    assert (store.folder / "manifest.json").read_bytes() == before

    def broken():  # type: ignore[no-untyped-def]
        yield from documents()
        raise DataError("broken file", where="x.txt:7")

    with pytest.raises(DataError, match="broken file"):
        build_store(broken(), tokenizer, store.folder.parent / "other")
    with pytest.raises(DataError, match="no token"):
        build_store([Doc(" ", "a", 1)], tokenizer, store.folder.parent / "other")
    assert [path.name for path in store.folder.parent.iterdir()] == ["store"]


def test_full_disk_is_a_sentence(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wordloom.data.store_writer.StoreWriter._append", full)
    with pytest.raises(DataError, match="No space left on device"):
        build_store(documents(), tokenizer, tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_split_keeps_equal_texts_together(tokenizer: Tokenizer, tmp_path: Path) -> None:
    docs = [Doc("the " + "court " * (i % 50) + "held", "a.txt", i + 1) for i in range(400)]
    train, valid = build_stores(iter(docs), tokenizer, tmp_path / "t", tmp_path / "v", 0.3, seed=5)
    sides = [{s.tokens[a:b].tobytes() for a, b in zip(s.starts, s.starts[1:], strict=False)} for s in (train, valid)]
    assert train.documents + valid.documents == 400 and not sides[0] & sides[1]
    assert 0.1 < valid.documents / 400 < 0.5
    lines = [int(s.place(d).split(":")[1]) for s in (train, valid) for d in range(s.documents)]
    assert sorted(lines) == list(range(1, 401))
    again = build_stores(docs, tokenizer, tmp_path / "t2", tmp_path / "v2", 0.3, seed=5)
    assert again[1].manifest["sha256"] == valid.manifest["sha256"]
    other = build_stores(docs, tokenizer, tmp_path / "t3", tmp_path / "v3", 0.3, seed=6)
    assert other[1].manifest["sha256"] != valid.manifest["sha256"]


@pytest.mark.parametrize("count", [2, 3, 20])
@pytest.mark.parametrize("fraction", [0.0001, 0.49])
def test_split_leaves_no_side_empty(count: int, fraction: float, tokenizer: Tokenizer, tmp_path: Path) -> None:
    docs = [Doc(f"court {WORDS[i % len(WORDS)]} {i}", "a.txt", i + 1) for i in range(count)]
    for seed in range(4):
        train, valid = build_stores(docs, tokenizer, tmp_path / f"t{seed}", tmp_path / f"v{seed}", fraction, seed)
        assert train.documents >= 1 and valid.documents >= 1


def test_one_document_cannot_be_split(tokenizer: Tokenizer, tmp_path: Path) -> None:
    docs = [Doc("the court", "a", 1), Doc("the court", "a", 2), Doc(" ", "a", 3)]
    with pytest.raises(DataError, match="1 different documents cannot be split"):
        build_stores(docs, tokenizer, tmp_path / "t", tmp_path / "v", 0.1)
    assert not list(tmp_path.iterdir())


def test_varints() -> None:
    values = np.array([0, 1, 127, 128, 16_383, 16_384, 2**40, 2**62], np.int64)
    data = np.frombuffer(varint.encode(values), np.uint8)
    assert len(data) == 1 + 1 + 1 + 2 + 2 + 3 + 6 + 9
    assert varint.decode(data, 8).tolist() == values.tolist()  # type: ignore[union-attr]
    assert varint.decode(data[:-1], 8) is None and varint.decode(data, 7) is None and varint.decode(data, 9) is None
    assert varint.decode(np.full(12, 255, np.uint8), 1) is None
    signed = np.array([0, -1, 1, -2, 10**9, -(10**9)], np.int64)
    assert varint.zigzag(signed[:4]).tolist() == [0, 1, 2, 3]
    assert varint.unzigzag(varint.zigzag(signed)).tolist() == signed.tolist()


def test_store_may_be_moved(store: TokenStore, tmp_path: Path) -> None:
    shutil.move(store.folder, tmp_path / "elsewhere")
    assert TokenStore.open(tmp_path / "elsewhere", verify=True).place(30) == "part1.txt:16"
