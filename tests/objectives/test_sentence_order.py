"""Sentence order (Lan et al. 2020, section 3.1): the rows, exactly swapped, and the term of the loss."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import SPECIAL, optimise, tiny_model

from wordloom.api.objectives import refuse_unfit
from wordloom.config import MaskedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.pairs import PairRows
from wordloom.errors import ConfigError, DataError
from wordloom.objectives.masked import Masked

IDS = {"cls_id": 2, "sep_id": 3, "pad_id": 0}
FIRST = 10  # id of the stream's first token: a token is its place


def store(lengths: list[int], sentence: int) -> Any:
    """Documents of these lengths in which every token is another, a sentence every so many tokens."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sentences = np.concatenate([np.arange(a, b, sentence) for a, b in pairwise(starts)])
    return SimpleNamespace(
        tokens=np.arange(FIRST, FIRST + starts[-1], dtype=np.uint16),
        starts=starts,
        sentences=sentences.astype(np.int64),
        word_bits=np.full(starts[-1] // 8 + 1, 255, np.uint8),
        word_table=None,
        folder="store",
        place=lambda d: f"a.txt:{d}",
    )


def pairs(batch: Batch, target: str) -> list[tuple[list[int], list[int], int]]:
    """(A, B, label) of every pair, after checking the form [CLS] A [SEP] B [SEP] and its types."""
    found = []
    for r in range(batch.rows):
        for number in range(1, int(batch.documents[r].max()) + 1):
            here = (batch.documents[r] == number).nonzero().flatten()
            part, labels = batch.tokens[r][here].tolist(), batch.targets[target][r][here].tolist()
            middle = part.index(3)
            assert part[0] == 2 and part[-1] == 3 and part.count(3) == 2
            assert batch.types[r][here].tolist() == [0] * (middle + 1) + [1] * (len(part) - middle - 1)
            assert labels[0] in (0, 1) and set(labels[1:]) <= {IGNORE}
            assert batch.positions[r][here].tolist() == list(range(len(part)))
            found.append((part[1:middle], part[middle + 1 : -1], labels[0]))
    return found


def rows_of(lengths: list[int], sentence: int, epochs: int = 1, length: int = 48, **options: Any) -> Batch:
    rows = PairRows(store(lengths, sentence), length, seed=5, **IDS, **options)
    return rows.batch(rows.order(0, epochs * rows.rows_per_epoch))


def test_the_two_pieces_change_places_exactly() -> None:
    lengths = [30, 2, 90, 14, 64, 41] * 8
    labels = []
    for a, b, label in pairs(rows_of(lengths, 6, epochs=4, swaps=True), "sentence_order"):
        first, second = (b, a) if label else (a, b)
        assert first and second and first + second == list(range(first[0], first[0] + len(first) + len(second)))
        labels.append(label)
    assert len(labels) > 300 and abs(np.mean(labels) - 0.5) < 2.5 / np.sqrt(len(labels))  # five deviations


def test_every_token_once_an_epoch_and_words_keep_their_marks() -> None:
    """A swap loses nothing, where a random piece does; the mark of a word's start goes with its token."""
    lengths = [40] * 30
    batch = rows_of(lengths, 5, swaps=True)
    tokens = [t for a, b, _ in pairs(batch, "sentence_order") for t in a + b]
    assert sorted(tokens) == list(range(FIRST, FIRST + 1200))
    assert batch.word_starts is not None and batch.word_starts.equal(batch.tokens >= FIRST)


def test_unswapped_rows_are_those_of_next_sentence() -> None:
    """The same cut and the same coin: only what label 1 means is another."""
    lengths = [40, 25, 33] * 10
    order = pairs(rows_of(lengths, 5, swaps=True), "sentence_order")
    follow = pairs(rows_of(lengths, 5), "next_sentence")
    assert [p[2] for p in order] == [p[2] for p in follow] and 0 < sum(p[2] for p in order) < len(order)
    for ours, theirs in zip(order, follow, strict=True):
        assert ours == theirs if ours[2] == 0 else ours[1] == theirs[0] and ours[0] != theirs[1]


def test_one_document_is_enough() -> None:
    assert len(pairs(rows_of([400], 5, swaps=True), "sentence_order")) >= 8
    with pytest.raises(DataError, match="at least two documents"):
        rows_of([400], 5)


def masked(**config: Any) -> Masked:
    return Masked(MaskedConfig(sentence_order=True, **config), vocab_size=29, mask_id=4, special_ids=SPECIAL)


def small(batch: Batch) -> Batch:
    """The batch with ids of a vocabulary of 29 words."""
    tokens = torch.where(batch.tokens >= FIRST, 5 + (batch.tokens - FIRST) % 24, batch.tokens)
    return Batch(**{**batch.__dict__, "tokens": tokens})


@torch.no_grad()
def test_the_term_is_written_out() -> None:
    objective = masked()
    model = tiny_model(objective.heads).double()
    assert set(model.heads) == {"masked", "sentence_order"}
    batch = objective.corrupt(small(rows_of([40, 30] * 4, 5, swaps=True)), np.random.default_rng(0), 0.0)
    terms, state = objective.loss(model, batch, "carried")
    hidden = model(batch.tokens, batch.documents, batch.positions, batch.types)
    head, expected, count = model.heads["sentence_order"], 0.0, 0
    for r, t in (batch.tokens == 2).nonzero().tolist():
        pooled = torch.tanh(head.pooler.dense.weight @ hidden[r, t] + head.pooler.dense.bias)
        logits = head.output.weight @ pooled + head.output.bias
        label = int(batch.targets["sentence_order"][r, t])
        expected -= float(logits[label] - logits.logsumexp(0))
        count += 1
    assert count > 6 and terms["sentence_order"].count == count and terms["sentence_order"].weight == 1.0
    assert float(terms["sentence_order"].sum) == pytest.approx(expected, rel=1e-12)
    assert {k: t.count for k, t in terms.items()} == dict(objective.counts(batch)) and state == "carried"


def test_a_tiny_model_learns_the_order() -> None:
    """Words of a text rise: what comes later has the larger numbers."""
    objective = masked(rate=0.1)
    model = tiny_model(objective.heads)
    rows = PairRows(store([24] * 400, 4), 32, seed=0, **IDS, swaps=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        batch = objective.corrupt(small(rows.batch(rows.order(64 * step, 64))), np.random.default_rng(step), 0.0)
        optimise(model.train(), optimiser, objective.loss(model, batch, None)[0])
    held_out = PairRows(store([24] * 100, 4), 32, seed=99, **IDS, swaps=True)
    batch = objective.corrupt(small(held_out.batch(held_out.order(0, 100))), np.random.default_rng(99), 1.0)
    with torch.no_grad():
        term = objective.loss(model.eval(), batch, None)[0]["sentence_order"]
    assert float(term.sum) / term.count < 0.15  # by chance 0.69


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"no 'sentence_order' targets.*pairs rows"):
        masked().counts(masked().corrupt(small(rows_of([40, 30], 5)), np.random.default_rng(0), 0.0))
    with pytest.raises(ConfigError, match="sentence-order pairs are always isolated"):
        refuse_unfit(MaskedConfig(sentence_order=True, documents="separated"), "full", "bert-tiny")
