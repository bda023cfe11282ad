"""The masked objective: what is chosen, what replaces it, and what the loss is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wordloom.config import MaskedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError, DataError
from wordloom.model import heads
from wordloom.model.architecture import Architecture
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.objectives.masked import Masked

torch.set_num_threads(1)
V, MASK, SPECIAL = 200, 4, (0, 1, 2, 3, 4)


def objective(**config: Any) -> Masked:
    return Masked(MaskedConfig(**config), vocab_size=V, mask_id=MASK, special_ids=SPECIAL)


def batch(rows: int = 64, length: int = 128, word: float = 1 / 3, seed: int = 0) -> Batch:
    """Packed rows [CLS] doc [SEP] [CLS] doc [SEP] padding, words of `1 / word` tokens on average."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, V, (rows, length))
    documents = np.ones((rows, length), dtype=np.int64)
    cut, end = length // 3, length - length // 8
    documents[:, cut:] = 2
    documents[:, end:] = 0
    starts = rng.random((rows, length)) < word
    for t, special in ((0, 2), (cut - 1, 3), (cut, 2), (end - 1, 3)):
        tokens[:, t] = special
        starts[:, t] = False
        starts[:, (t + 1) % length] = True
    tokens[:, end:], starts[:, end:], starts[:, 0] = 0, False, False
    positions = torch.arange(length).repeat(rows, 1)
    positions[:, cut:] -= cut
    types = torch.zeros_like(positions)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(documents), positions, types, torch.from_numpy(starts))


def corrupt(b: Batch, seed: int = 0, progress: float = 0.0, **config: Any) -> tuple[Batch, Tensor]:
    out = objective(**config).corrupt(b, np.random.default_rng(seed), progress)
    return out, out.targets["masked"] != IGNORE


UNITS = pytest.mark.parametrize("config", [{}, {"whole_word": True}, {"span": 3.0}], ids=["token", "word", "span"])


@UNITS
def test_targets_hold_the_originals_and_nothing_else_changes(config: dict[str, Any]) -> None:
    b = batch()
    before = b.tokens.clone()
    out, chosen = corrupt(b, **config)
    assert torch.equal(b.tokens, before) and "masked" not in b.targets  # the input is not touched
    assert torch.equal(out.targets["masked"][chosen], b.tokens[chosen])
    assert torch.equal(out.tokens[~chosen], b.tokens[~chosen])
    assert not chosen[b.documents == 0].any()
    assert not chosen[torch.isin(b.tokens, torch.tensor(SPECIAL))].any()
    assert chosen.any(dim=1).all()
    assert out.tokens.dtype == out.targets["masked"].dtype == torch.int64


@UNITS
def test_shares_of_mask_random_and_kept(config: dict[str, Any]) -> None:
    b = batch(rows=1000)
    out, chosen = corrupt(b, **config)
    n = int(chosen.sum())
    assert n > 10_000
    masked = float((out.tokens[chosen] == MASK).float().mean())
    kept = float((out.tokens[chosen] == b.tokens[chosen]).float().mean())
    replaced = out.tokens[chosen & (out.tokens != MASK) & (out.tokens != b.tokens)]
    tokens_per_draw = 9 if "span" in config else 1  # a span is decided as one
    sigma = (tokens_per_draw / n) ** 0.5
    same = 0.1 / (V - len(SPECIAL))  # a random id is the original by chance
    assert masked == pytest.approx(0.8, abs=4 * 0.4 * sigma)
    assert kept == pytest.approx(0.1 + same, abs=4 * 0.3 * sigma)
    assert len(replaced) / n == pytest.approx(0.1 - same, abs=4 * 0.3 * sigma)
    assert not torch.isin(replaced, torch.tensor(SPECIAL)).any()
    assert len(replaced.unique()) > 0.95 * (V - len(SPECIAL))  # from the whole vocabulary
    assert replaced.float().mean() == pytest.approx((V + 4) / 2, rel=0.06)


def test_exact_count_per_row_and_schedule() -> None:
    b = batch()
    maskable = (b.documents > 0) & ~torch.isin(b.tokens, torch.tensor(SPECIAL))
    for progress, rate in ((0.0, 0.3), (0.5, 0.2), (1.0, 0.1)):
        _, chosen = corrupt(b, progress=progress, rate=0.3, rate_end=0.1)
        assert torch.equal(chosen.sum(1), (maskable.sum(1) * rate).round().long())
    _, chosen = corrupt(b, progress=1.0, rate=0.3)
    assert torch.equal(chosen.sum(1), (maskable.sum(1) * 0.3).round().long())


@UNITS
def test_rate_is_met_on_average(config: dict[str, Any]) -> None:
    b = batch(rows=800)
    maskable = (b.documents > 0) & ~torch.isin(b.tokens, torch.tensor(SPECIAL))
    share = corrupt(b, **config)[1].sum() / maskable.sum()
    assert float(share) == pytest.approx(0.15, abs=0.008)


def test_every_place_is_chosen_equally_often() -> None:
    b = batch(rows=4000)
    _, chosen = corrupt(b)
    column = chosen.float().mean(0)[(b.documents[0] > 0) & ~torch.isin(b.tokens[0], torch.tensor(SPECIAL))]
    assert column.min() > 0.15 - 0.03 and column.max() < 0.15 + 0.03


def test_whole_words_are_chosen_whole() -> None:
    b = batch()
    _, chosen = corrupt(b, whole_word=True)
    inside = ~b.word_starts & (b.documents > 0) & ~torch.isin(b.tokens, torch.tensor(SPECIAL))
    follows = inside[:, 1:] & ~torch.isin(b.tokens[:, :-1], torch.tensor(SPECIAL))
    assert follows.sum() > 1000
    assert torch.equal(chosen[:, 1:][follows], chosen[:, :-1][follows])
    assert not torch.equal(corrupt(b)[1][:, 1:][follows], corrupt(b)[1][:, :-1][follows])  # single tokens do differ


def test_spans_are_whole_words_of_the_stated_mean_length() -> None:
    b = batch(rows=400, length=512, word=0.5)
    out, chosen = corrupt(b, span=3.8)
    # rate is low, so neighbours rarely touch: a maximal run of chosen tokens is one span, now and then two
    begin = chosen.clone()
    begin[:, 1:] &= ~chosen[:, :-1]
    words = float((chosen & b.word_starts).sum() / begin.sum())
    assert 3.8 < words < 3.8 * 1.25
    assert (b.word_starts | torch.isin(b.tokens.roll(1, 1), torch.tensor(SPECIAL)))[begin].all()
    # inside one span all tokens are masked, or none: neighbours agree far more often than 0.8 * 0.8 + 0.2 * 0.2
    both = chosen[:, 1:] & chosen[:, :-1]
    agree = (out.tokens[:, 1:] == MASK)[both] == (out.tokens[:, :-1] == MASK)[both]
    assert agree.float().mean() > 0.95


def test_units_stop_at_documents_and_rows_cut_inside_a_word() -> None:
    tokens = torch.arange(5, 17).reshape(2, 6)
    documents = torch.tensor([[1, 1, 1, 2, 2, 2]] * 2)
    none = torch.zeros(2, 6, dtype=torch.bool)  # no word starts at all: each document is the tail of one word
    b = Batch(tokens, documents, torch.zeros_like(tokens), torch.zeros_like(tokens), none)
    for seed in range(20):
        _, chosen = corrupt(b, seed, whole_word=True, rate=0.5)
        assert all(row.tolist() in ([True] * 3 + [False] * 3, [False] * 3 + [True] * 3) for row in chosen)


def test_one_token_rows_and_rows_with_nothing_to_mask() -> None:
    tokens = torch.tensor([[2, 9, 3, 0], [2, 3, 0, 0], [0, 0, 0, 0]])
    documents = (tokens > 0).long()
    b = Batch(tokens, documents, torch.zeros_like(tokens), torch.zeros_like(tokens), tokens == 9)
    for config in ({}, {"whole_word": True}, {"span": 3.0}):
        _, chosen = corrupt(b, **config)
        assert chosen.nonzero().tolist() == [[0, 1]]
        nothing = Batch(*(t[1:] for t in (tokens, documents, b.positions, b.types)), (tokens == 9)[1:])
        out, chosen = corrupt(nothing, **config)
        assert not chosen.any() and torch.equal(out.tokens, nothing.tokens)


@UNITS
def test_same_generator_same_masks_fresh_ones_each_visit(config: dict[str, Any]) -> None:
    b = batch()
    first, again, other = (corrupt(b, seed, **config)[0] for seed in (1, 1, 2))
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.targets["masked"], again.targets["masked"])
    assert not torch.equal(first.targets["masked"], other.targets["masked"])


def model_of(masked: Masked) -> Model:
    torch.manual_seed(0)
    arch = Architecture(
        vocab_size=V, width=32, layers=2, heads=4, ffn_width=64, max_positions=64, dropout=0, attention_dropout=0
    )
    return Model(Transformer(arch), masked.heads(arch)).double()


def with_pairs(b: Batch) -> Batch:
    pairs = torch.full_like(b.tokens, IGNORE)
    pairs[:, 0] = torch.arange(b.rows) % 2
    return Batch(b.tokens, b.documents, b.positions, b.types, b.word_starts, {"next_sentence": pairs})


@torch.no_grad()
def test_loss_is_the_sum_over_masked_tokens_written_out() -> None:
    masked = objective(next_sentence=True)
    model = model_of(masked)
    b = masked.corrupt(with_pairs(batch(rows=3, length=24)), np.random.default_rng(0), 0.0)
    terms, state = masked.loss(model, b, "carried")
    hidden = model(b.tokens, b.documents, b.positions, b.types)
    log_p = model.heads["masked"](hidden, model.token_embedding).log_softmax(-1)  # over every token here
    expected, count = 0.0, 0
    for r, t in (b.targets["masked"] != IGNORE).nonzero().tolist():
        expected -= float(log_p[r, t, b.targets["masked"][r, t]])
        count += 1
    assert terms["masked"].count == count and float(terms["masked"].sum) == pytest.approx(expected, rel=1e-12)
    log_q = model.heads["next_sentence"](hidden[:, 0]).log_softmax(-1)
    expected = -float(log_q[torch.arange(3), torch.tensor([0, 1, 0])].sum())
    assert terms["next_sentence"].count == 3
    assert float(terms["next_sentence"].sum) == pytest.approx(expected, rel=1e-12)
    assert {k: t.count for k, t in terms.items()} == dict(masked.counts(b)) and state == "carried"


@torch.no_grad()
def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    masked = objective(next_sentence=True)
    model = model_of(masked)
    whole = masked.corrupt(with_pairs(batch(rows=8, length=24)), np.random.default_rng(0), 0.0)
    total, _ = masked.loss(model, whole, None)
    parts = [masked.loss(model, part, None)[0] for part in whole.split(3)]
    for name, term in total.items():
        assert sum(p[name].count for p in parts) == term.count
        assert float(sum(p[name].sum for p in parts)) == pytest.approx(float(term.sum), rel=1e-12)


def test_every_parameter_gets_gradient() -> None:
    masked = objective(next_sentence=True)
    model = model_of(masked)
    b = masked.corrupt(with_pairs(batch(rows=4, length=24)), np.random.default_rng(0), 0.0)
    terms, _ = masked.loss(model, b, None)
    sum(t.sum for t in terms.values()).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_vocabulary_logits_only_at_masked_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = objective()
    model = model_of(masked)
    b = masked.corrupt(batch(rows=4, length=24), np.random.default_rng(0), 0.0)
    shapes = []

    def spy(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        shapes.append((x.shape[0], weight.shape[0]))  # its logits are (N, V)
        return linear_cross_entropy(x, weight, bias, targets)

    linear_cross_entropy = heads.linear_cross_entropy
    monkeypatch.setattr(heads, "linear_cross_entropy", spy)
    masked.loss(model, b, None)
    assert shapes == [(int((b.targets["masked"] != IGNORE).sum()), V)]


def test_memorises_a_few_rows() -> None:
    masked = objective(rate=0.3)
    model = model_of(masked).float().train()
    b = masked.corrupt(batch(rows=4, length=16), np.random.default_rng(0), 0.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        term = masked.loss(model, b, None)[0]["masked"]
        losses.append(float(term.sum.detach()) / term.count)
        optimiser.zero_grad()
        (term.sum / term.count).backward()
        optimiser.step()
    assert losses[0] == pytest.approx(np.log(V), rel=0.1) and losses[-1] < 0.1


def test_clear_errors() -> None:
    b = batch(rows=2, length=24)
    bare = Batch(b.tokens, b.documents, b.positions, b.types)
    for config in ({"whole_word": True}, {"span": 3.0}):
        with pytest.raises(ConfigError, match="need word starts"):
            corrupt(bare, **config)
    with pytest.raises(DataError, match="no 'masked' targets"):
        objective().counts(b)
    with pytest.raises(DataError, match=r"no 'next_sentence' targets.*pairs rows"):
        objective(next_sentence=True).counts(corrupt(b)[0])
    with pytest.raises(ConfigError, match="nothing but special tokens"):
        Masked(MaskedConfig(), vocab_size=5, mask_id=4, special_ids=range(5))


def test_a_word_far_beyond_the_budget_is_taken_only_where_nothing_else_can_be() -> None:
    def chosen_columns(starts: list[int], rate: float, seed: int) -> list[int]:
        marks = torch.tensor([starts], dtype=torch.bool)
        tokens = torch.arange(5, 5 + len(starts))[None]
        zeros = torch.zeros_like(tokens)
        b = Batch(tokens, torch.ones_like(tokens), zeros, zeros, marks)
        return corrupt(b, seed, whole_word=True, rate=rate)[1][0].nonzero().flatten().tolist()

    long_and_short = [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]  # one word of 8 tokens, four of one; budget 2
    for seed in range(20):
        columns = chosen_columns(long_and_short, 0.15, seed)
        assert len(columns) == 2 and min(columns) >= 8
        assert chosen_columns([1, 0, 0, 1], 0.1, seed) == [3]  # the budget is never below one token
        assert chosen_columns([1, 0, 0, 0, 0], 0.15, seed) == [0, 1, 2, 3, 4]
