"""N-gram masking against the distribution of Lan et al. 2020, section 4.1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from wordloom.config import MaskedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError
from wordloom.objectives.masked import Masked

V, MASK, SPECIAL = 200, 4, (0, 1, 2, 3, 4)


def objective(**config: Any) -> Masked:
    return Masked(MaskedConfig(**config), vocab_size=V, mask_id=MASK, special_ids=SPECIAL)


def text(rows: int, length: int, word: float = 0.5, special: float = 0.0, seed: int = 0) -> Batch:
    """Rows of two documents, words of 1 / word tokens on average, some special tokens among them."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, V, (rows, length))
    starts = rng.random((rows, length)) < word
    odd = rng.random((rows, length)) < special
    tokens[odd], starts[odd] = 3, False
    documents = np.ones((rows, length), dtype=np.int64)
    documents[:, length // 2 :] = 2
    zeros = torch.zeros(rows, length, dtype=torch.int64)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(documents), zeros, zeros, torch.from_numpy(starts))


def units(batch: Batch, ngram: int, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """(whole, last): words in each n-gram by run of text between edges; the last of a run may be cut by its end."""
    masked = objective(ngram=ngram)
    tokens, documents = batch.tokens.numpy(), batch.documents.numpy()
    maskable = (documents > 0) & ~masked.special[tokens]
    starts = masked._unit_starts(batch, maskable, documents, np.random.default_rng(seed))
    assert batch.word_starts is not None
    words = batch.word_starts.numpy()
    whole: list[list[int]] = []
    last: list[list[int]] = []
    for r in range(batch.rows):
        run: list[int] = []
        for t in range(tokens.shape[1]):
            edge = t == 0 or not maskable[r, t - 1] or documents[r, t] != documents[r, t - 1]
            if not maskable[r, t]:
                assert not starts[r, t]
                continue
            if edge and run:
                whole.append(run[:-1])
                last.append(run[-1:])
                run = []
            assert starts[r, t] or not edge  # an edge begins an n-gram
            assert words[r, t] or edge or not starts[r, t]  # and nothing but a word or an edge does
            if starts[r, t]:
                run.append(1)
            elif words[r, t]:
                run[-1] += 1
        whole.append(run[:-1])
        last.append(run[-1:])
    return whole, last


@pytest.mark.parametrize("longest", [3, 5])
def test_lengths_follow_one_over_n(longest: int) -> None:
    whole, last = units(text(rows=60, length=400), longest)
    lengths = np.concatenate([np.array(run, dtype=np.int64) for run in whole])
    found = np.bincount(lengths, minlength=longest + 1)[1:]
    expected = (1 / np.arange(1, longest + 1)) / sum(1 / k for k in range(1, longest + 1))
    if longest == 3:
        np.testing.assert_allclose(expected, [6 / 11, 3 / 11, 2 / 11])
    assert len(found) == longest and found.sum() > 4000
    # a run cannot end in a whole n-gram that would not have fitted: half a word in a hundred is lost to that
    np.testing.assert_allclose(found / found.sum(), expected, atol=4 * 0.5 / np.sqrt(found.sum()) + 0.004)
    assert max(n for run in last for n in run) <= longest


def test_edges_begin_an_ngram_and_nothing_is_lost() -> None:
    batch = text(rows=40, length=60, special=0.15)
    whole, last = units(batch, 3)
    assert len(whole) > 200 and min(len(a) + len(b) for a, b in zip(whole, last, strict=True)) >= 0


def test_one_word_ngrams_are_whole_words() -> None:
    batch = text(rows=30, length=64, special=0.1)
    tokens, documents = batch.tokens.numpy(), batch.documents.numpy()
    maskable = (documents > 0) & ~objective().special[tokens]
    one, word = (
        objective(**config)._unit_starts(batch, maskable, documents, np.random.default_rng(1))
        for config in ({"ngram": 1}, {"whole_word": True})
    )
    np.testing.assert_array_equal(one, word)


def test_chosen_ngrams_are_whole_and_of_the_stated_lengths() -> None:
    """Where few are chosen they rarely touch: maximal runs of chosen words are then n-grams."""
    batch = text(rows=400, length=400, word=1.0)
    out = objective(ngram=3, rate=0.03).corrupt(batch, np.random.default_rng(3), 0.0)
    chosen = (out.targets["masked"] != IGNORE).numpy()
    assert chosen.mean() == pytest.approx(0.03, abs=0.002)
    padded = np.pad(chosen, ((0, 0), (1, 1))).astype(int)
    begins, ends = (np.argwhere(np.diff(padded, axis=1) == sign)[:, 1] for sign in (1, -1))
    share = np.bincount(ends - begins, minlength=4)[1:4] / len(begins)
    # touching moves a few per cent of the mass upwards; uniform lengths would give a third each
    np.testing.assert_allclose(share, [6 / 11, 3 / 11, 2 / 11], atol=0.05)


def test_the_rate_is_met_and_words_stay_whole() -> None:
    batch = text(rows=500, length=128, word=0.6, special=0.02)
    out = objective(ngram=3).corrupt(batch, np.random.default_rng(0), 0.0)
    chosen = out.targets["masked"] != IGNORE
    special = torch.isin(batch.tokens, torch.tensor(SPECIAL))
    assert not chosen[special].any()
    assert float(chosen.sum() / (~special).sum()) == pytest.approx(0.15, abs=0.006)
    assert batch.word_starts is not None
    inside = ~batch.word_starts[:, 1:] & ~special[:, 1:] & ~special[:, :-1]
    inside &= batch.documents[:, 1:] == batch.documents[:, :-1]
    assert inside.sum() > 5000 and torch.equal(chosen[:, 1:][inside], chosen[:, :-1][inside])


def test_rows_without_words_and_batches_without_word_starts() -> None:
    empty = text(rows=2, length=8, special=1.1)
    assert (objective(ngram=3).corrupt(empty, np.random.default_rng(0), 0.0).targets["masked"] == IGNORE).all()
    bare = Batch(empty.tokens, empty.documents, empty.positions, empty.types)
    with pytest.raises(ConfigError, match="n-gram masking need word starts"):
        objective(ngram=3).corrupt(bare, np.random.default_rng(0), 0.0)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"ngram": 3, "whole_word": True}, "whole_word and ngram exclude each other"),
        ({"ngram": 3, "span": 3.0}, "span and ngram exclude each other"),
        ({"whole_word": True, "span": 3.0}, "whole_word and span exclude each other"),
        ({"next_sentence": True, "sentence_order": True}, "next_sentence and sentence_order exclude each other"),
        ({"ngram": 0}, "greater than or equal to 1"),
    ],
)
def test_what_excludes_what(values: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        MaskedConfig(**values)
