"""Optimisers, layer factors, freezing and averaging against hand arithmetic and torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from toy_training import ToyModel

from wordloom.config import TrainConfig
from wordloom.errors import ConfigError
from wordloom.train.optim import averages, build_optimiser, exchange, set_frozen, update_average


def give_gradients(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def groups(model: ToyModel, **values: Any) -> dict[str, dict[str, Any]]:
    built = build_optimiser(model, TrainConfig(**values), model.layers())
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: g for part in built.parts for g in part.param_groups for p in g["params"]}


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "muon"])
def test_every_parameter_has_one_group_and_vectors_do_not_decay(optimiser: str) -> None:
    model = ToyModel()
    found = groups(model, optimiser=optimiser, weight_decay=0.3, layer_decay=0.5)
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, p in model.named_parameters():
        assert found[name]["weight_decay"] == (0.3 if p.ndim == 2 else 0.0)
    # Head (above the top): 1; the only block: 0.5; embeddings: 0.25.
    assert found["pair.weight"]["layer_factor"] == 1.0
    assert found["hidden.bias"]["layer_factor"] == 0.5
    assert found["embedding.weight"]["layer_factor"] == 0.25


def test_adamw_by_hand() -> None:
    """First step of Loshchilov & Hutter 2019, algorithm 2: m/v corrected are g and g^2."""
    model = ToyModel()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    built = build_optimiser(model, TrainConfig(lr=0.1, weight_decay=0.2, layer_decay=0.5), model.layers())
    give_gradients(model)
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    built.step(0.25)
    depth = {"embedding": 0.25, "hidden": 0.5, "norm": 0.5, "pair": 1.0, "unused": 1.0, "head": 1.0}
    for name, p in model.named_parameters():
        lr = 0.1 * 0.25 * depth[name.split(".")[0]]
        decay = 1 - lr * 0.2 if p.ndim == 2 else 1.0
        expected = start[name] * decay - lr * gradients[name].sign()
        torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-6)
        assert p.grad is None


def test_muon_takes_hidden_matrices_and_orthogonalises_their_update() -> None:
    """Compared with U V^T of torch.linalg.svd; Newton-Schulz of 5 steps brings singular values to 0.7-1.2."""
    model = ToyModel()
    built = build_optimiser(model, TrainConfig(optimiser="muon", lr=1.0, weight_decay=0.0), model.layers())
    muon = next(part for part in built.parts if isinstance(part, torch.optim.Muon))
    assert [id(p) for g in muon.param_groups for p in g["params"]] == [id(model.hidden.weight)]
    start = model.hidden.weight.detach().clone()
    give_gradients(model)
    u, _, vt = torch.linalg.svd(model.hidden.weight.grad)
    built.step(1.0)
    update = (start - model.hidden.weight.detach()) / (0.2 * 8**0.5)  # scaled to AdamW's size: 0.2 sqrt(max(A, B))
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.6 and singular.max() < 1.3
    cosine = (update * (u @ vt)).sum() / (update.norm() * (u @ vt).norm())
    assert cosine > 0.97


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "muon"])
def test_state_reads_back(optimiser: str) -> None:
    config = TrainConfig(optimiser=optimiser)
    a, b = ToyModel(), ToyModel()
    one, two = build_optimiser(a, config, a.layers()), build_optimiser(b, config, b.layers())
    for step in range(2):
        give_gradients(a, step)
        give_gradients(b, step)
        one.step(1.0)
        two.step(1.0)
    fresh = build_optimiser(b, config, b.layers())
    fresh.load(two.state())
    give_gradients(a, 9)
    give_gradients(b, 9)
    one.step(0.5)
    fresh.step(0.5)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    assert one.state().keys() == fresh.state().keys()


def test_a_rate_of_zero_moves_nothing() -> None:
    for optimiser in ("adamw", "sgd", "muon"):
        model, start = ToyModel(), ToyModel()
        give_gradients(model)
        build_optimiser(model, TrainConfig(optimiser=optimiser), model.layers()).step(0.0)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), start.parameters(), strict=True))


def trainable(model: ToyModel) -> set[str]:
    return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}


def test_freezing() -> None:
    heads, body = (
        {"pair", "unused", "head"} & {n.split(".")[0] for n, _ in ToyModel().named_parameters()},
        {"hidden", "norm"},
    )
    model = ToyModel()
    set_frozen(model, model.layers(), "body", 0, 10)
    assert trainable(model) == heads
    model = ToyModel()
    set_frozen(model, model.layers(), "embeddings", 0, 10)
    assert trainable(model) == heads | body
    # gradual over two layers and 16 steps: one layer more every 4 steps, all from step 8 on.
    expected = [heads] * 4 + [heads | body] * 4 + [heads | body | {"embedding"}] * 8
    model, changes = ToyModel(), []
    for step in range(16):
        changes.append(set_frozen(model, model.layers(), "gradual", step, 16))
        assert trainable(model) == expected[step]
        fresh = ToyModel()  # a pure function of the step: what a resumed run computes
        set_frozen(fresh, fresh.layers(), "gradual", step, 16)
        assert trainable(fresh) == expected[step]
    assert [step for step, changed in enumerate(changes) if changed] == [0, 4, 8]


def test_layers_are_needed_where_they_matter() -> None:
    with pytest.raises(ConfigError, match=r"train\.freeze"):
        set_frozen(ToyModel(), None, "body", 0, 1)
    with pytest.raises(ConfigError, match=r"train\.layer_decay"):
        build_optimiser(ToyModel(), TrainConfig(layer_decay=0.9))


def test_the_average_is_the_mean_and_exchange_is_its_own_inverse() -> None:
    model, average, seen = ToyModel(), {}, []
    for count in range(1, 6):
        with torch.no_grad():
            model.hidden.weight.add_(torch.randn(8, 8))
        seen.append(model.hidden.weight.detach().clone())
        update_average(average, model, count)
    torch.testing.assert_close(average["hidden.weight"], torch.stack(seen).mean(0))
    kept = average["hidden.weight"].clone()
    exchange(average, model)
    assert torch.equal(model.hidden.weight, kept)
    exchange(average, model)
    assert torch.equal(model.hidden.weight, seen[-1]) and torch.equal(average["hidden.weight"], kept)
    assert [averages(step, 12) for step in (8, 9, 10, 12)] == [0, 0, 1, 3]
