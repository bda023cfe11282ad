"""The permuted objective: what is chosen, in which order, its loss, and that a model learns by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import Tensor

from wordloom.config import PermutedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError, DataError
from wordloom.model.architecture import Architecture
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.objectives.permuted import Permuted, columns
from wordloom.train.job import Term

torch.set_num_threads(1)
V, SPECIAL = 50, (0, 1, 2)
ARCH = Architecture(
    vocab_size=V, width=32, layers=2, heads=2, ffn_width=64, position="xl", two_stream=True, qkv_bias=False,
    embedding_norm=False, inner_dropout=True, dropout=0.0, attention_dropout=0.0,
)  # fmt: skip


def objective(**values: object) -> Permuted:
    return Permuted(PermutedConfig(**values), vocab_size=V, special_ids=SPECIAL)


def rows(tokens: Tensor, documents: Tensor | None = None, continues: bool = False) -> Batch:
    documents = torch.ones_like(tokens) if documents is None else documents
    positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
    return Batch(tokens, documents, positions, torch.zeros_like(tokens), continues=continues)


def random_rows(count: int = 64, length: int = 96, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, V, (count, length), generator=g)  # special tokens among them
    documents = torch.where(torch.arange(length) < length - 7, 1 + (torch.arange(length) >= 40).long(), 0)
    return rows(tokens, documents.expand(count, -1).clone())


def corrupted(batch: Batch, seed: int = 0, **values: object) -> Batch:
    return objective(**values).corrupt(batch, np.random.default_rng(seed), 0.0)


def model_of(arch: Architecture = ARCH, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(Transformer(arch), objective().heads(arch))


def test_targets_are_the_tokens_themselves() -> None:
    batch = random_rows()
    after = corrupted(batch)
    targets, order = after.targets["permuted"], after.targets["order"]
    chosen = targets != IGNORE
    assert torch.equal(after.tokens, batch.tokens)  # nothing is replaced
    assert torch.equal(targets[chosen], batch.tokens[chosen])
    assert not bool(chosen[batch.documents == 0].any())
    assert not bool(torch.isin(batch.tokens[chosen], torch.tensor(SPECIAL)).any())
    assert torch.equal(order > 0, chosen)
    for row in order:  # 1 .. N, each once
        assert sorted(row[row > 0].tolist()) == list(range(1, int((row > 0).sum()) + 1))


@pytest.mark.parametrize(("every", "span"), [(6, 5), (2, 1), (6, 1), (3, 4)])
def test_one_token_in_k_is_predicted(every: int, span: int) -> None:
    """Over many rows the share is 1 / K, at every place of a row; 4 deviations of a binomial count as equal."""
    tokens = torch.full((4000, 60), 9)
    chosen = (corrupted(rows(tokens), every=every, span=span).targets["permuted"] != IGNORE).float()
    share = 1 / every
    deviation = (share * (1 - share) / len(tokens)) ** 0.5
    assert abs(float(chosen.mean()) - share) < 4 * deviation / 60**0.5 * span**0.5
    assert float((chosen.mean(0) - share).abs().max()) < 4.5 * deviation


def test_runs_are_spans_of_the_paper() -> None:
    """Runs that are not cut have lengths up to 5, all of them; two runs may touch, which makes longer ones."""
    tokens = torch.full((500, 200), 9)
    chosen = corrupted(rows(tokens)).targets["permuted"] != IGNORE
    lengths = [len(list(run)) for row in chosen.tolist() for is_chosen, run in groupby(row) if is_chosen]
    shares = np.bincount(lengths, minlength=11)[1:6] / len(lengths)
    assert max(lengths) <= 10 and (shares > 0.12).all() and (shares < 0.28).all()


def test_order_is_uniform() -> None:
    """The first of two predicted tokens comes first in half of the rows; a pure function of the generator."""
    tokens = torch.full((2000, 24), 9)
    order = corrupted(rows(tokens)).targets["order"]
    first = torch.stack([o[o > 0][:2] for o in order if int((o > 0).sum()) >= 2])
    assert abs(float((first[:, 0] < first[:, 1]).float().mean()) - 0.5) < 0.05
    assert torch.equal(order, corrupted(rows(tokens)).targets["order"])
    assert not torch.equal(order, corrupted(rows(tokens), seed=1).targets["order"])


def test_short_rows_predict_one_token() -> None:
    tokens = torch.tensor([[1, 9, 2, 0], [1, 2, 0, 0], [1, 9, 9, 2]])
    documents = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    for seed in range(20):
        targets = corrupted(rows(tokens, documents), seed=seed).targets["permuted"]
        count = (targets != IGNORE).sum(1).tolist()
        assert count[0] == 1 and count[1] == 0 and count[2] >= 1
        assert targets[0, 1] == 9


def test_a_stream_predicts_its_own_part_alone() -> None:
    batch = random_rows()
    following = batch.tokens.clone()
    following[:, 50:] = IGNORE
    after = corrupted(replace(batch, targets={"next": following}))
    assert not bool((after.targets["permuted"][:, 50:] != IGNORE).any())
    assert set(after.targets) == {"permuted", "order"}


def test_columns() -> None:
    x = IGNORE
    targets = torch.tensor([[x, 5, x, 7], [x, x, x, 3], [x, x, x, x]])
    assert columns(targets).tolist() == [[1, 3], [3, -1], [-1, -1]]
    assert columns(targets[2:]).shape == (1, 0)


def test_loss_is_the_sum_over_predicted_positions() -> None:
    """One prediction at a time, every other position out of the query stream: the same sum, whatever the split."""
    batch, model = corrupted(random_rows(6, 30)), model_of().double()
    terms, state = objective().loss(model, batch, None)
    assert state is None and list(terms) == ["permuted"]
    term = terms["permuted"]
    assert term.count == objective().counts(batch)["permuted"] == int((batch.targets["permuted"] != IGNORE).sum())
    total = torch.zeros((), dtype=torch.float64)
    for b, t in torch.nonzero(batch.targets["permuted"] != IGNORE).tolist():
        inputs = [x[b : b + 1] for x in (batch.tokens, batch.documents, batch.positions, batch.types)]
        order = batch.targets["order"][b : b + 1]
        asked = torch.tensor([[t]])
        states = model.body.forward_two(*inputs, order, asked)
        logits = states[0, 0] @ model.token_embedding.T + model.heads["permuted"].bias
        total = total - logits.log_softmax(-1)[batch.tokens[b, t]]
    torch.testing.assert_close(term.sum, total, rtol=1e-12, atol=0)
    parts = [objective().loss(model, part, None)[0]["permuted"] for part in batch.split(4)]
    torch.testing.assert_close(sum(p.sum for p in parts), term.sum, rtol=1e-12, atol=0)
    assert sum(p.count for p in parts) == term.count


def test_loss_without_predictions() -> None:
    batch = corrupted(rows(torch.ones(2, 8, dtype=torch.int64)))  # special tokens alone
    term = objective().loss(model_of(), batch, None)[0]["permuted"]
    assert term.count == 0 and float(term.sum.detach()) == 0.0
    term.sum.backward()


def test_the_memory_goes_along() -> None:
    model = model_of(replace(ARCH, memory=10))
    batches = [corrupted(rows(torch.randint(3, V, (2, 12)), continues=True), seed=s) for s in range(2)]
    _, state = objective().loss(model, batches[0], None)
    assert state["memory"].shape == (2, 2, 10, 32) and not state["memory"].requires_grad
    with_memory, _ = objective().loss(model, batches[1], state)
    without, _ = objective().loss(model, batches[1], None)
    assert not torch.equal(with_memory["permuted"].sum, without["permuted"].sum)
    _, nothing = objective().loss(model, replace(batches[0], continues=False), state)
    assert nothing is None


def test_refusals() -> None:
    with pytest.raises(DataError, match="permuted"):
        objective().loss(model_of(), random_rows(2, 20), None)
    blind = replace(ARCH, two_stream=False)
    with pytest.raises(ConfigError, match="no query stream"):
        objective().loss(model_of(blind), corrupted(random_rows(2, 20)), None)


def test_a_small_model_learns() -> None:
    """Rows that count up from anywhere: neighbours on either side tell the token, frequencies nothing."""
    g = torch.Generator().manual_seed(5)
    model = model_of(replace(ARCH, init_std=0.1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses: list[float] = []
    for step in range(70):
        tokens = 10 + (torch.randint(0, 40, (32, 1), generator=g) + torch.arange(24)) % 40
        term: Term = objective().loss(model, corrupted(rows(tokens), seed=step), None)[0]["permuted"]
        loss = term.sum / term.count
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    unigram = float(np.log(40))
    assert losses[0] > unigram - 0.2 and np.mean(losses[-5:]) < unigram / 3
