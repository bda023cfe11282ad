"""Packed rows against a plain Python reference, the order of rows, and next-sentence pairs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from wordloom.data.batch import IGNORE, Batch
from wordloom.data.order import epoch_order
from wordloom.data.packing import PackedRows, PairRows
from wordloom.data.store import TokenStore, build_store
from wordloom.errors import ConfigError, DataError
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.training import SPECIAL


class Doc(NamedTuple):
    text: str
    file: str
    line: int


PAD, CLS, SEP = 0, 2, 3
IDS = {"cls_id": CLS, "sep_id": SEP, "pad_id": PAD}
FIRST = 6  # id of the first word; "." is 5


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [*SPECIAL, ".", *(f"W{i}" for i in range(3000)), "##x"]
    (folder / "vocab.txt").write_text("".join(w + "\n" for w in words), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return Tokenizer.load(folder)


def make(tokenizer: Tokenizer, folder: Path, lengths: list[int], sentence: int = 0) -> TokenStore:
    """Documents of these many tokens, all different; every ``sentence`` tokens a full stop; some words in two."""
    docs, number = [], 0
    for line, length in enumerate(lengths, 1):
        words: list[str] = []
        size = 0
        while size < length:
            if sentence and size % sentence == sentence - 1:
                words.append(".")
                size += 1
            elif number % 5 == 4 and size + 2 <= length and not sentence:
                words.append(f"W{number}x")  # unknown in one piece: W<number> ##x
                size += 2
            else:
                words.append(f"W{number}")
                size += 1
            number += 1
        docs.append(Doc(" ".join(words), "a.txt", line))
    store = build_store(docs, tokenizer, folder / "store", workers=1)
    assert np.diff(store.starts).tolist() == lengths
    return store


def naive_rows(store: TokenStore, length: int, min_piece: int, isolated: bool) -> list[dict[str, list[int]]]:
    """The rule of PackedRows in plain Python, a list a row."""
    words = store.word_starts(0, len(store.tokens)).tolist()
    fresh = {"tokens": [], "documents": [], "positions": [], "words": [], "docs": []}
    rows: list[dict[str, list[int]]] = []
    row: dict[str, list[int]] | None = None
    min_piece = min(min_piece, length - 2)
    for d in range(store.documents):
        at, end = int(store.starts[d]), int(store.starts[d + 1])
        while at < end:
            if row is not None:
                room = length - len(row["tokens"]) - (2 if isolated else 1)
                if room < min(min_piece, end - at):
                    row = None
            if row is None:
                row = {key: [] for key in fresh}
                rows.append(row)
                if not isolated:
                    row["tokens"], row["words"] = [CLS], [0]
                room = length - len(row["tokens"]) - (2 if isolated else 1)
            n = min(room, end - at)
            row["docs"].append(d)
            piece = [int(t) for t in store.tokens[at : at + n]]
            bits = [int(w) for w in words[at : at + n]]
            row["tokens"] += [CLS, *piece, SEP] if isolated else [*piece, SEP]
            row["words"] += [0, *bits, 0] if isolated else [*bits, 0]
            if isolated:
                number = max(row["documents"], default=0) + 1
                row["documents"] += [number] * (n + 2)
                row["positions"] += range(n + 2)
            at += n
    for row in rows:
        if not isolated:
            row["documents"], row["positions"] = [1] * len(row["tokens"]), list(range(len(row["tokens"])))
        for key, filler in (("tokens", PAD), ("documents", 0), ("positions", 0), ("words", 0)):
            row[key] += [filler] * (length - len(row[key]))
    return rows


LENGTHS = [5, 1, 0, 40, 3, 17, 0, 0, 2, 8, 9, 33, 1, 1, 1, 60, 12, 7]


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize(("length", "min_piece"), [(8, 8), (16, 8), (16, 1), (32, 8), (128, 8), (4, 8)])
def test_rows_equal_the_reference(
    length: int, min_piece: int, isolated: bool, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    store = make(tokenizer, tmp_path, LENGTHS)
    kind = "isolated" if isolated else "separated"
    rows = PackedRows(store, length, seed=0, documents=kind, min_piece=min_piece, **IDS)
    wanted = naive_rows(store, length, min_piece, isolated)
    assert rows.rows_per_epoch == len(wanted)
    batch = rows.batch(np.arange(len(wanted))[::-1])
    for r, row in enumerate(reversed(wanted)):
        assert batch.tokens[r].tolist() == row["tokens"]
        assert batch.documents[r].tolist() == row["documents"]
        assert batch.positions[r].tolist() == row["positions"]
        assert batch.word_starts is not None and batch.word_starts[r].tolist() == [bool(w) for w in row["words"]]
        first, last = store.place(row["docs"][0]), store.place(row["docs"][-1])
        assert batch.ids[r] == (first if first == last else f"{first} to {last}")
    assert not batch.types.any()


@pytest.mark.parametrize("kind", ["isolated", "separated"])
def test_every_token_once_an_epoch(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = make(tokenizer, tmp_path, LENGTHS * 5)
    rows = PackedRows(store, 32, seed=3, documents=kind, **IDS)  # type: ignore[arg-type]
    for epoch in range(2):
        batch = rows.batch(rows.order(epoch * rows.rows_per_epoch, rows.rows_per_epoch))
        seen = batch.tokens[batch.tokens >= 5].numpy()
        assert np.array_equal(np.sort(seen), np.sort(np.asarray(store.tokens)))
        assert len(batch.ids) == batch.rows


def test_by_hand(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = make(tokenizer, tmp_path, [2, 3, 12])
    a = store.tokens.tolist()
    batch = PackedRows(store, 12, seed=0, min_piece=3, **IDS).batch([0, 1])
    # 4 + 5 slots leave 3 slots, room for 1 token of the third document, fewer than min_piece: padding
    assert batch.tokens.tolist() == [
        [CLS, *a[:2], SEP, CLS, *a[2:5], SEP, PAD, PAD, PAD],
        [CLS, *a[5:15], SEP],
    ]
    assert batch.documents.tolist() == [[1] * 4 + [2] * 5 + [0] * 3, [1] * 12]
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 0, 0]
    joined = PackedRows(store, 12, seed=0, min_piece=3, documents="separated", **IDS).batch([0])
    assert joined.tokens.tolist() == [[CLS, *a[:2], SEP, *a[2:5], SEP, *a[5:8], SEP]]
    assert joined.positions.tolist() == [list(range(12))]


def test_four_byte_ids(tmp_path: Path) -> None:
    words = [*SPECIAL, *(f"w{i}" for i in range(70_000))]
    (tmp_path / "vocab.txt").write_text("".join(w + "\n" for w in words), encoding="utf-8")
    docs = [Doc("w69999 w1 w65535", "a", 1), Doc("w2 w3", "a", 2)]
    store = build_store(docs, Tokenizer.load(tmp_path), tmp_path / "store")
    batch = PackedRows(store, 16, seed=0, **IDS).batch([0])
    assert batch.tokens[0, :9].tolist() == [CLS, 70_004, 6, 65_540, SEP, CLS, 7, 8, SEP]
    pairs = PairRows(store, 16, seed=0, **IDS).batch([0])
    assert 70_004 in pairs.tokens


def test_bits_by_position_equal_bits_by_token(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = make(tokenizer, tmp_path, LENGTHS)
    by_token = PackedRows(store, 16, seed=0, **IDS).batch(range(5))
    bits = np.packbits(store.word_starts(0, len(store.tokens)))
    (store.folder / "words.bin").write_bytes(bits.tobytes())
    store.manifest["words"] = "by_position"
    other = TokenStore(store.folder, store.manifest)
    assert other.word_table is None
    assert PackedRows(other, 16, seed=0, **IDS).batch(range(5)).word_starts.equal(by_token.word_starts)  # type: ignore
    assert other.word_starts(3, 29).tolist() == store.word_starts(3, 29).tolist()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 17, 64, 1000])
def test_order_is_a_permutation_in_every_epoch(rows: int) -> None:
    epochs, numbers = epoch_order(0, 3 * rows, rows, seed=7)
    assert epochs.tolist() == [0] * rows + [1] * rows + [2] * rows
    for epoch in range(3):
        assert sorted(numbers[epochs == epoch].tolist()) == list(range(rows))
    assert np.array_equal(epoch_order(rows // 2, rows, rows, 7)[1], numbers[rows // 2 : rows // 2 + rows])


def test_order_differs_by_epoch_and_seed_and_looks_random() -> None:
    first = epoch_order(0, 2000, 1000, seed=1)[1]
    assert not np.array_equal(first[:1000], first[1000:])
    assert not np.array_equal(first[:1000], epoch_order(0, 1000, 1000, seed=2)[1])
    # mean rank correlation of position and row over seeds: 0 with standard deviation 1 / sqrt(20 * 1000)
    correlations = [np.corrcoef(np.arange(1000), epoch_order(0, 1000, 1000, s)[1])[0, 1] for s in range(20)]
    assert abs(np.mean(correlations)) < 0.03 and np.std(correlations) < 0.06
    # neighbours in the order are not neighbours in the store: a random permutation has 2 such pairs on average
    neighbours = [np.sum(np.abs(np.diff(epoch_order(0, 1000, 1000, s)[1])) == 1) for s in range(20)]
    assert 0.5 < np.mean(neighbours) < 4
    # the first row of an epoch may be any: 200 seeds meet nearly all of 32 equal parts of the rows
    assert len({int(epoch_order(0, 1, 1024, s)[1][0]) // 32 for s in range(200)}) > 25


def test_rows_too_short_and_stores_without_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = make(tokenizer, tmp_path, [3, 4])
    with pytest.raises(ConfigError, match="rows of 3 tokens"):
        PackedRows(store, 3, seed=0, **IDS)
    with pytest.raises(ConfigError, match="no pair"):
        PairRows(store, 7, seed=0, **IDS)
    one = make(tokenizer, tmp_path / "one", [1])
    assert PackedRows(one, 8, seed=0, **IDS).batch([0]).tokens[0, :4].tolist() == [CLS, FIRST, SEP, PAD]
    with pytest.raises(DataError, match="at least two documents"):
        PairRows(one, 8, seed=0, **IDS)
    lone = make(tokenizer, tmp_path / "lone", [1, 1, 1])
    with pytest.raises(DataError, match="long enough"):
        PairRows(lone, 8, seed=0, **IDS)


def pairs_of(batch: Batch, row: int) -> list[tuple[list[int], list[int], int]]:
    """(A, B, label) of every pair of a row, after checking its form."""
    found = []
    tokens, documents = batch.tokens[row], batch.documents[row]
    labels = batch.targets["next_sentence"][row]
    for number in range(1, int(documents.max()) + 1):
        here = (documents == number).nonzero().flatten()
        part, types, places = tokens[here].tolist(), batch.types[row][here].tolist(), batch.positions[row][here]
        assert here.tolist() == list(range(int(here[0]), int(here[-1]) + 1))
        assert places.tolist() == list(range(len(part)))
        first = part.index(SEP)
        assert part[0] == CLS and part[-1] == SEP and part.count(SEP) == 2 and part.count(CLS) == 1
        assert types == [0] * (first + 1) + [1] * (len(part) - first - 1)
        assert labels[here[0]] in (0, 1) and (labels[here[1:]] == IGNORE).all()
        found.append((part[1:first], part[first + 1 : -1], int(labels[here[0]])))
    padding = documents == 0
    assert (tokens[padding] == PAD).all() and (labels[padding] == IGNORE).all()
    return found


@pytest.mark.parametrize("length", [8, 32, 64])
@pytest.mark.parametrize("sentence", [0, 7])
def test_pairs_follow_the_documents(length: int, sentence: int, tokenizer: Tokenizer, tmp_path: Path) -> None:
    lengths = [30, 2, 0, 1, 90, 14, 5, 64, 41] * 4
    store = make(tokenizer, tmp_path, lengths, sentence=sentence)
    stream, starts = store.tokens.tolist(), store.starts
    owner = np.repeat(np.arange(store.documents), np.diff(starts))
    where = {token: i for i, token in enumerate(stream) if token not in (5, tokenizer.vocab_size - 1)}
    rows = PairRows(store, length, seed=4, **IDS)
    labels, covered = [], set()
    for epoch in range(4):
        batch = rows.batch(rows.order(epoch * rows.rows_per_epoch, rows.rows_per_epoch))
        for r in range(batch.rows):
            for a, b, label in pairs_of(batch, r):
                assert a and b
                known = next(i for i, token in enumerate(a) if token in where)
                at = where[a[known]] - known
                assert stream[at : at + len(a)] == a
                follows = stream[at + len(a) : at + len(a) + len(b)] == b
                labels.append(label)
                if label == 0:
                    assert follows and owner[at] == owner[at + len(a) + len(b) - 1]
                    covered.update(range(at, at + len(a) + len(b)))
                elif b != [5]:
                    known = next(i for i, token in enumerate(b) if token in where)
                    other = where[b[known]] - known
                    assert stream[other : other + len(b)] == b
                    assert owner[other] != owner[at] and owner[other] == owner[other + len(b) - 1]
                    assert other in store.sentences
    # half of the labels are 1: five standard deviations
    assert abs(np.mean(labels) - 0.5) < 2.5 / np.sqrt(len(labels))
    alone = len(stream) - rows.skipped_tokens
    assert rows.skipped_tokens >= 4 and len(covered) > 0.8 * alone


def test_pairs_are_cut_at_sentences(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = make(tokenizer, tmp_path, [28] * 20, sentence=7)
    rows = PairRows(store, 31, seed=0, **IDS)
    assert rows.rows_per_epoch == 20
    batch = rows.batch(rows.order(0, 20))
    sizes = {len(a) for r in range(20) for a, _, _ in pairs_of(batch, r)}
    assert sizes == {7, 14, 21}
    b = [pair for r in range(20) for pair in pairs_of(batch, r) if pair[2] == 0]
    assert b and all(len(first) + len(second) == 28 for first, second, _ in b)


def test_pairs_are_a_pure_function_and_new_in_every_epoch(tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = make(tokenizer, tmp_path, [40] * 30, sentence=5)
    rows, same, other = (PairRows(store, 43, seed=seed, **IDS) for seed in (1, 1, 2))
    n = rows.rows_per_epoch
    order = rows.order(0, 2 * n)
    assert sorted((order[:n] % n).tolist()) == list(range(n)) and set(order[n:] // n) == {1}
    batch = rows.batch(order)
    alone = same.batch(order[5:6])
    assert alone.tokens[0].equal(batch.tokens[5]) and alone.ids[0] == batch.ids[5]
    assert alone.targets["next_sentence"][0].equal(batch.targets["next_sentence"][5])
    assert not rows.batch(np.arange(n)).tokens.equal(rows.batch(np.arange(n) + n).tokens)
    assert not rows.batch(np.arange(n)).tokens.equal(other.batch(np.arange(n)).tokens)
    assert batch.split(2)[1].targets["next_sentence"].shape == (n, 43)
