"""Hybrid masked + causal: each row is its own objective's, causal rows see the past alone, one head serves both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from synthetic import LOOM, MASK, SPECIAL, V, language, learn, tiny_model
from torch import Tensor

from wordloom import presets
from wordloom.api.objectives import predicted_share, refuse_unfit
from wordloom.config import CausalConfig, HybridConfig, MaskedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError, DataError
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.objectives.causal import Causal
from wordloom.objectives.hybrid import Hybrid, causal_rows
from wordloom.objectives.masked import Masked
from wordloom.objectives.pretraining import Pretraining


def masked(**config: Any) -> Masked:
    return Masked(MaskedConfig(**config), vocab_size=V, mask_id=MASK, special_ids=SPECIAL)


def hybrid(**config: Any) -> Hybrid:
    chosen = HybridConfig(**config)
    return Hybrid(chosen, masked(rate=chosen.rate, rate_end=chosen.rate_end), Causal(CausalConfig()))


def corrupted(rows: int = 8, seed: int = 0, **config: Any) -> Batch:
    return hybrid(**config).corrupt(language(rows), np.random.default_rng(seed), 0.5)


def test_each_row_is_its_own_objectives() -> None:
    clean = language(16)
    batch = hybrid(causal_share=0.25).corrupt(clean, np.random.default_rng(3), 0.5)
    alone = masked(rate=0.3, rate_end=0.15).corrupt(clean, np.random.default_rng(3), 0.5)
    following = Causal(CausalConfig()).corrupt(clean, np.random.default_rng(3), 0.5).targets["causal"]
    rows = causal_rows(batch)
    assert int(rows.sum()) == 4
    assert torch.equal(batch.tokens[rows], clean.tokens[rows])
    assert torch.equal(batch.targets["causal"][rows], following[rows])
    assert (batch.targets["masked"][rows] == IGNORE).all() and (batch.targets["causal"][~rows] == IGNORE).all()
    assert torch.equal(batch.tokens[~rows], alone.tokens[~rows])
    assert torch.equal(batch.targets["masked"][~rows], alone.targets["masked"][~rows])
    assert (batch.targets["masked"][~rows] != IGNORE).any(dim=1).all()


def test_targets_stand_where_the_issue_says() -> None:
    """A causal row predicts token i + 1 at i; a masked row token i at i: no shift."""
    clean = language(16)
    batch = hybrid(causal_share=0.5).corrupt(clean, np.random.default_rng(0), 0.0)
    for r in range(16):
        for t in range(32):
            after, here = int(batch.targets["causal"][r, t]), int(batch.targets["masked"][r, t])
            assert after == IGNORE or (after == clean.tokens[r, t + 1] and here == IGNORE)
            assert here == IGNORE or here == clean.tokens[r, t]


@pytest.mark.parametrize(("rows", "share", "counts"), [(64, 1 / 16, {4}), (8, 1 / 16, {1}), (8, 15 / 16, {7}),
                                                       (6, 0.25, {1, 2}), (2, 0.5, {1}), (1, 0.5, {0, 1})])  # fmt: skip
def test_how_many_rows_are_causal(rows: int, share: float, counts: set[int]) -> None:
    seen = [int(causal_rows(corrupted(rows, seed, causal_share=share)).sum()) for seed in range(40)]
    assert set(seen) == counts
    if len(counts) == 2 and rows > 1:
        assert np.mean(seen) == pytest.approx(rows * share, abs=0.4)
    which = torch.stack([causal_rows(corrupted(rows, seed, causal_share=share)) for seed in range(40)]).sum(0)
    assert rows > 8 or bool((which > 0).all())  # any row may be


def hidden(model: Model, batch: Batch) -> Tensor:
    with torch.no_grad():
        inputs = batch.tokens, batch.documents, batch.positions, batch.types
        found: Tensor = model.eval().body(*inputs, causal_rows=causal_rows(batch))
        return found


@pytest.mark.parametrize("slots", [{}, LOOM], ids=["bert", "loom"])
def test_causal_rows_do_not_see_the_future_and_masked_rows_do(slots: dict[str, Any]) -> None:
    model = tiny_model(hybrid().heads, **slots).double()
    batch = corrupted(4, causal_share=0.5)
    rows, before = causal_rows(batch), hidden(model, batch)
    t = 9
    tokens = batch.tokens.clone()
    tokens[:, t] = 5 + (tokens[:, t] - 4) % (V - 5)
    after = hidden(model, Batch(**{**batch.__dict__, "tokens": tokens}))
    moved = (after - before).abs().amax(-1)  # (B, T)
    same_text = batch.documents == 1
    assert moved[rows][:, :t].max() == 0 and moved[:, t:][same_text[:, t:]].min() > 1e-6
    assert moved[~rows][:, :t].min() > 1e-6
    assert moved[~same_text].max() == 0


@pytest.mark.parametrize("slots", [{}, LOOM], ids=["bert", "loom"])
def test_rows_equal_those_of_a_model_that_is_one_or_the_other(slots: dict[str, Any]) -> None:
    model = tiny_model(hybrid().heads, **slots).double()
    decoder = tiny_model(hybrid().heads, **slots, attention="causal").double()
    decoder.load_state_dict(model.state_dict())
    batch = corrupted(6, causal_share=0.5)
    rows, both = causal_rows(batch), hidden(model, batch)
    with torch.no_grad():
        inputs = batch.tokens, batch.documents, batch.positions, batch.types
        full, past = model.body(*inputs), decoder.eval().body(*inputs)
    torch.testing.assert_close(both[rows], past[rows], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both[~rows], full[~rows], rtol=1e-12, atol=1e-12)
    assert float((full - past)[batch.documents > 0].abs().max()) > 1e-2


def test_a_row_of_one_document_is_causal_too() -> None:
    """Where no mask is needed for documents, the causal one must still be there."""
    model = tiny_model(hybrid().heads)
    tokens = language(2).tokens[:, :12]
    ones, zeros = torch.ones_like(tokens), torch.zeros_like(tokens)
    positions = torch.arange(12).repeat(2, 1)
    weights: list[Tensor] = []
    with torch.no_grad():
        model.eval().body(tokens, ones, positions, zeros, weights, causal_rows=torch.tensor([True, False]))
    for w in weights:  # (B, H, T, S)
        assert w[0].triu(1).abs().max() == 0 and w[1].triu(1).max() > 0


@torch.no_grad()
def test_the_loss_is_written_out() -> None:
    objective = hybrid(causal_share=0.25)
    model = tiny_model(objective.heads).double()
    assert set(model.heads) == {"masked"}
    batch = corrupted(8, causal_share=0.25)
    terms, state = objective.loss(model, batch, "carried")
    log_p = model.heads["masked"](hidden(model, batch), model.token_embedding).log_softmax(-1)
    for name, weight in (("masked", 0.75), ("causal", 0.25)):
        places = (batch.targets[name] != IGNORE).nonzero().tolist()
        expected = -sum(float(log_p[r, t, batch.targets[name][r, t]]) for r, t in places)
        assert float(terms[name].sum) == pytest.approx(expected, rel=1e-12)
        assert (terms[name].count, terms[name].weight) == (len(places), weight)
    assert {k: t.count for k, t in terms.items()} == dict(objective.counts(batch)) and state == "carried"
    # text of 2 x 14 words: each document of a causal row predicts all of its 15 or 14 tokens but the first
    assert terms["causal"].count == 2 * (15 + 13)


@torch.no_grad()
def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """Parts of one kind among them."""
    objective = hybrid(causal_share=0.25)
    model = tiny_model(objective.heads).double()
    batch = corrupted(8, causal_share=0.25)
    whole = objective.loss(model, batch, None)[0]
    for parts in (3, 8):
        found = [objective.loss(model, part, None)[0] for part in batch.split(parts)]
        for name, term in whole.items():
            assert sum(p[name].count for p in found) == term.count
            assert float(sum(p[name].sum for p in found)) == pytest.approx(float(term.sum), rel=1e-12)
    moved = batch.to("cpu")
    assert torch.equal(causal_rows(moved), causal_rows(batch))


def test_every_parameter_gets_gradient_from_each_term() -> None:
    objective = hybrid(causal_share=0.5)
    model = tiny_model(objective.heads, **LOOM)
    for name in ("masked", "causal"):
        model.zero_grad()
        objective.loss(model, corrupted(8, causal_share=0.5), None)[0][name].sum.backward()
        for key, p in model.named_parameters():
            assert p.grad is not None and p.grad.abs().sum() > 0, (name, key)


@pytest.mark.parametrize("seed", [0, 1])  # a masked row, a causal one
def test_a_single_held_out_row_has_a_loss(seed: int) -> None:
    """It is masked or causal; nothing of the other kind must not make the loss nan: no checkpoint would ever be the
    best."""
    objective = hybrid(causal_share=0.5)
    row = objective.corrupt(language(1), np.random.default_rng(seed), 0.5)
    scores = Pretraining(objective, [row]).evaluate(tiny_model(objective.heads))
    (kind,) = {"masked", "causal"} & set(scores)
    assert bool(causal_rows(row)) == (kind == "causal")
    assert scores["loss"] == pytest.approx(0.5 * scores[kind]) and np.isfinite(scores["perplexity"])


def test_a_tiny_model_learns_both() -> None:
    """The language's words are equally frequent: log 24 = 3.18 nats. Knowing the rule is worth 2.6 of them."""
    objective = hybrid(causal_share=0.5, rate_end=None)
    losses = learn(objective, tiny_model(objective.heads, **LOOM), steps=80, rows=32)
    assert losses["causal"] < 1.6 and losses["masked"] < 1.6


def test_what_is_refused_and_what_it_costs() -> None:
    with pytest.raises(ConfigError, match="gpt2-tiny does not see what follows a masked token"):
        refuse_unfit(HybridConfig(), presets.architecture("gpt2-tiny", 50), "gpt2-tiny")
    with pytest.raises(ConfigError, match="needs a Transformer encoder, which lstm-tiny is not"):
        refuse_unfit(HybridConfig(), presets.architecture("lstm-tiny", 50), "lstm-tiny")
    refuse_unfit(HybridConfig(), presets.architecture("loom-tiny", 50), "loom-tiny")
    with pytest.raises(DataError, match="no 'causal' targets"):
        hybrid().counts(masked().corrupt(language(2), np.random.default_rng(0), 0.0))
    assert predicted_share(HybridConfig(causal_share=0.5, rate=0.2)) == pytest.approx(0.6)


def test_loom_rows_have_as_many_weights_as_berts() -> None:
    for size in presets.SIZES:
        bert, loom = (
            sum(p.numel() for layer in Transformer(presets.architecture(f"{name}-{size}", 8)).layers  # type: ignore[arg-type]
                for p in layer.parameters() if p.ndim == 2)
            for name in ("bert", "loom")
        )  # fmt: skip
        assert loom == pytest.approx(bert, rel=0.03)
