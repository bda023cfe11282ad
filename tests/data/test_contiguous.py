"""Contiguous streams against a plain Python reference: nothing lost, nothing twice, nothing replayed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from wordloom.data.batch import IGNORE
from wordloom.data.contiguous import ContiguousRows
from wordloom.data.order import epoch_order
from wordloom.data.store import TokenStore, build_store
from wordloom.errors import ConfigError, DataError
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.training import SPECIAL

SEP = 3


class Doc(NamedTuple):
    text: str
    file: str
    line: int


def make(folder: Path, lengths: list[int]) -> TokenStore:
    """Documents of these many words, all different, every fourth word in two pieces (the second starts no word)."""
    vocabulary = [*SPECIAL, *(f"W{i}" for i in range(sum(lengths))), "##x"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(w + "\n" for w in vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    docs, number = [], 0
    for line, length in enumerate(lengths, 1):
        words = [f"W{i}" + "x" * (i % 4 == 3) for i in range(number, number + length)]
        number += length
        docs.append(Doc(" ".join(words), "a.txt", line))
    return build_store(docs, Tokenizer.load(folder), folder / "store", workers=1)


def text_of(store: TokenStore, seed: int, epoch: int) -> tuple[list[int], list[bool]]:
    """An epoch as one list: [SEP], then each document with [SEP]; and where words start."""
    documents = [d for d in range(store.documents) if store.starts[d + 1] > store.starts[d]]
    order = epoch_order(epoch * len(documents), len(documents), len(documents), seed)[1]
    tokens, starts = [SEP], [False]
    for d in (documents[i] for i in order):
        a, b = store.starts[d], store.starts[d + 1]
        tokens += [*store.tokens[a:b].tolist(), SEP]
        starts += [*store.word_starts(a, b).tolist(), False]
    return tokens, starts


LENGTHS = [7, 1, 0, 12, 3, 30, 0, 5]


@pytest.mark.parametrize(("length", "streams"), [(5, 3), (4, 1), (1, 4), (100, 2), (9, 7), (8, 2)])
def test_each_stream_is_its_part_of_the_text(length: int, streams: int, tmp_path: Path) -> None:
    store = make(tmp_path, LENGTHS)
    rows = ContiguousRows(store, length, streams=streams, sep_id=SEP, seed=5)
    steps = rows.rows_per_epoch // streams
    assert rows.rows_per_epoch == steps * streams
    for epoch in (0, 1, 2):
        text, starts = text_of(store, 5, epoch)
        inputs: list[list[int]] = [[] for _ in range(streams)]
        targets: list[list[int]] = [[] for _ in range(streams)]
        words: list[list[bool]] = [[] for _ in range(streams)]
        for step in range(steps):
            batch = rows.batch(rows.order(epoch * rows.rows_per_epoch + step * streams, streams))
            assert batch.tokens.shape == (streams, length) and (batch.documents == 1).all() and batch.continues
            assert (batch.positions == torch.arange(length)).all() and not batch.types.any()
            for i in range(streams):
                inputs[i] += batch.tokens[i].tolist()
                targets[i] += batch.targets["next"][i].tolist()
                words[i] += batch.word_starts[i].tolist()  # type: ignore[index]
        read, predicted = [], []
        for i in range(streams):
            own = [t != IGNORE for t in targets[i]]
            size = sum(own)
            assert own == [True] * size + [False] * (len(own) - size)  # nothing ignored before the stream's end
            assert targets[i][: size - 1] == inputs[i][1:size]  # also across the edges of rows
            begin = len(read)
            assert words[i][:size] == starts[begin : begin + size]
            read += inputs[i][:size]
            predicted += targets[i][:size]
        assert read == text[:-1] and predicted == text[1:]


def test_next_target_crosses_the_row_edge_by_hand(tmp_path: Path) -> None:
    store = make(tmp_path, [6])
    a = store.tokens.tolist()
    assert len(a) == 7  # W3x is two tokens
    rows = ContiguousRows(store, 3, streams=2, sep_id=SEP, seed=0)  # 8 predictions, 4 a stream, 2 steps
    first, second = rows.batch([0, 1]), rows.batch([2, 3])
    assert first.tokens.tolist() == [[SEP, *a[:2]], a[3:6]]
    assert first.targets["next"].tolist() == [a[:3], a[4:7]]
    assert second.tokens.tolist() == [a[2:5], [a[6], SEP, SEP]]  # behind its part a row reads on, round the end
    assert second.targets["next"].tolist() == [[a[3], IGNORE, IGNORE], [SEP, IGNORE, IGNORE]]
    assert second.ids == ("a.txt:1",) * 2


def test_any_batch_is_made_alone_and_in_any_order(tmp_path: Path) -> None:
    store = make(tmp_path, LENGTHS)
    rows, fresh = (ContiguousRows(store, 5, streams=3, sep_id=SEP, seed=1) for _ in range(2))
    numbers = rows.order(0, 3 * rows.rows_per_epoch)
    whole = rows.batch(numbers)
    shuffled = np.random.default_rng(0).permutation(numbers)
    again = fresh.batch(shuffled)
    assert again.tokens.equal(whole.tokens[shuffled]) and again.targets["next"].equal(whole.targets["next"][shuffled])
    assert again.ids == tuple(whole.ids[i] for i in shuffled)
    late = ContiguousRows(store, 5, streams=3, sep_id=SEP, seed=1).batch(rows.order(2 * rows.rows_per_epoch + 3, 3))
    assert late.tokens.equal(whole.tokens[2 * rows.rows_per_epoch + 3 :][:3])
    n = rows.rows_per_epoch
    assert not whole.tokens[:n].equal(whole.tokens[n : 2 * n])
    other = ContiguousRows(store, 5, streams=3, sep_id=SEP, seed=2).batch(numbers)
    assert not other.tokens.equal(whole.tokens)


def test_names_say_which_documents_a_row_holds(tmp_path: Path) -> None:
    store = make(tmp_path, LENGTHS)
    rows = ContiguousRows(store, 6, streams=2, sep_id=SEP, seed=1)
    batch = rows.batch(range(rows.rows_per_epoch))
    stored = store.tokens.tolist()
    checked = 0
    for r, name in enumerate(batch.ids):
        real = [t for t in batch.tokens[r].tolist() if t != SEP]
        if stored.count(real[0]) == stored.count(real[-1]) == 1:  # not the second piece of a word
            lines = [int(np.searchsorted(store.starts, stored.index(t), side="right")) for t in (real[0], real[-1])]
            assert name == f"a.txt:{lines[0]}" + (f" to a.txt:{lines[1]}" if lines[0] != lines[1] else "")
            checked += 1
    assert checked > 3


def test_impossible_numbers_and_empty_stores(tmp_path: Path) -> None:
    store = make(tmp_path, [3])
    for length, streams in ((0, 1), (4, 0)):
        with pytest.raises(ConfigError, match="above 0"):
            ContiguousRows(store, length, streams=streams, sep_id=SEP, seed=0)
    with pytest.raises(ConfigError, match="5 tokens cannot be divided into 6 streams"):
        ContiguousRows(make(tmp_path / "b", [1, 2]), 4, streams=6, sep_id=SEP, seed=0)
    store.starts = np.zeros(2, np.int64)
    store.tokens = store.tokens[:0]
    with pytest.raises(DataError, match="no token"):
        ContiguousRows(store, 4, streams=1, sep_id=SEP, seed=0)
