"""Replaced-token detection (Clark et al. 2020): what is sampled, what the model is told, who learns from what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from synthetic import LOOM, MASK, PAD, SPECIAL, V, language, learn, tiny_model

from wordloom import presets
from wordloom.api.objectives import refuse_unfit, without_auxiliary
from wordloom.api.pretraining import layers_of
from wordloom.config import MaskedConfig, ReplacedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError, DataError
from wordloom.model.architecture import Architecture
from wordloom.model.generator import Generator, generator_architecture
from wordloom.model.model import Model
from wordloom.objectives.masked import Masked
from wordloom.objectives.pretraining import Pretraining
from wordloom.objectives.replaced import Replaced
from wordloom.objectives.targets import at_targets
from wordloom.train.optim import _hidden_matrices


def replaced(**config: Any) -> Replaced:
    chosen = ReplacedConfig(**{"generator_width": 0.5, **config})
    masks = Masked(
        MaskedConfig(rate=chosen.rate), vocab_size=V, mask_id=MASK, special_ids=SPECIAL, masked=1.0, random=0.0
    )
    return Replaced(chosen, masks)


def corrupted(rows: int = 8, seed: int = 0, **config: Any) -> Batch:
    return replaced(**config).corrupt(language(rows), np.random.default_rng(seed), 0.0)


def filled(model: Model, objective: Replaced, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model reads, and where it is not the original."""
    inputs = batch.tokens, batch.documents, batch.positions, batch.types
    with torch.no_grad():
        hidden = model.heads["generator"](model.body.embeddings, *inputs)
    return objective.replace_tokens(model, batch, at_targets(hidden, batch.targets["masked"])[0])


def test_the_generators_of_the_paper() -> None:
    """Table 6: a quarter of small, a third of base; layers and embeddings are those of the model."""
    small, base = (presets.architecture(f"electra-{size}", V) for size in ("small", "base"))
    assert isinstance(small, Architecture) and isinstance(base, Architecture)
    a, b = generator_architecture(small, 1 / 4, 1.0), generator_architecture(base, 1 / 3, 1.0)
    assert (a.width, a.heads, a.ffn_width, a.layers, a.embedding_width) == (64, 1, 256, 12, 128)
    assert (b.width, b.heads, b.ffn_width, b.layers, b.embedding_width) == (256, 4, 1024, 12, 768)
    assert (small.width, small.layers, small.heads, small.ffn_width, small.embedding_width) == (256, 12, 4, 1024, 128)
    assert presets.PRESETS["electra-base"].defaults["objective.generator_width"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 12])
def test_any_fraction_gives_a_possible_body(heads: int) -> None:
    arch = Architecture(V, width=24 * heads, layers=3, heads=heads, ffn_width=50, position="rotary")
    for fraction in (0.01, 0.25, 1 / 3, 0.7, 1.0):
        small = generator_architecture(arch, fraction, fraction)
        Generator(small)
        assert small.width <= arch.width and small.width % small.heads == 0 and small.layers >= 1
    assert generator_architecture(arch, 1.0, 1.0).width == arch.width


def test_masked_places_are_all_masks() -> None:
    clean = language(64)
    batch = replaced().corrupt(clean, np.random.default_rng(0), 0.0)
    places = batch.targets["masked"] != IGNORE
    assert torch.equal(batch.tokens == MASK, places) and torch.equal(
        batch.targets["masked"][places], clean.tokens[places]
    )
    assert float(places.sum() / (clean.tokens > 4).sum()) == pytest.approx(0.15, abs=0.02)
    chance = batch.targets["chance"]
    assert chance.shape == batch.tokens.shape and float(chance.min()) >= 0 and float(chance.max()) < 1
    assert float(chance.mean()) == pytest.approx(0.5, abs=0.03)
    again, other = (replaced().corrupt(clean, np.random.default_rng(s), 0.0) for s in (0, 1))
    assert torch.equal(again.targets["chance"], chance) and not torch.equal(other.targets["chance"], chance)


@pytest.mark.parametrize("chunk", [1 << 23, 100])
def test_samples_follow_the_generators_distribution(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Chances in equal steps: each id comes as often as its probability says, to one."""
    monkeypatch.setattr("wordloom.model.generator.LOGITS", chunk)
    model = tiny_model(replaced().heads).double()
    generator, n = model.heads["generator"], 4000
    state = torch.randn(1, generator.body.arch.width, dtype=torch.float64)
    chance = (torch.arange(n) + 0.5) / n
    ids = generator.sample(state.expand(n, -1), model.token_embedding, chance)
    wanted = generator.head(state, model.token_embedding).detach().softmax(-1)[0] * n
    found = torch.bincount(ids, minlength=V)
    assert float((found - wanted).abs().max()) <= 1.0 and float(wanted.max()) > 2 * n / V
    assert generator.sample(state, model.token_embedding, torch.tensor([1 - 2**-24])).item() <= V - 1


def test_samples_stand_at_masked_places_alone_and_labels_say_where_they_differ() -> None:
    objective, clean = replaced(rate=0.4), language(64)
    model = tiny_model(objective.heads)
    batch = objective.corrupt(clean, np.random.default_rng(0), 0.0)
    tokens, changed = filled(model, objective, batch)
    places = batch.targets["masked"] != IGNORE
    assert torch.equal(tokens[~places], clean.tokens[~places]) and not changed[~places].any()
    for r, t in places.nonzero().tolist():
        assert bool(changed[r, t]) == (int(tokens[r, t]) != int(clean.tokens[r, t]))
    assert 0 < int((places & ~changed).sum()) < int(places.sum())  # now and then the sample is the original
    # a generator that is sure of one word: all places hold it, and where it was the original nothing is replaced
    with torch.no_grad():
        model.heads["generator"].head.bias[9] += 1e4
    tokens, changed = filled(model, objective, batch)
    assert (tokens[places] == 9).all() and torch.equal(changed, places & (clean.tokens != 9))
    assert int((places & (clean.tokens == 9)).sum()) > 3


def test_the_loss_is_written_out() -> None:
    objective, clean = replaced(), language(6)
    model = tiny_model(objective.heads).double()
    batch = corrupted(6)
    with torch.no_grad():
        terms, state = objective.loss(model, batch, "carried")
        tokens, changed = filled(model, objective, batch)
        generator = model.heads["generator"]
        inputs = batch.tokens, batch.documents, batch.positions, batch.types
        log_p = generator.head(generator(model.body.embeddings, *inputs), model.token_embedding).log_softmax(-1)
        logits = model.heads["replaced"](model.body(tokens, *inputs[1:]))  # (B, T)
    places = (batch.targets["masked"] != IGNORE).nonzero().tolist()
    expected = -sum(float(log_p[r, t, clean.tokens[r, t]]) for r, t in places)
    assert float(terms["masked"].sum) == pytest.approx(expected, rel=1e-12)
    assert (terms["masked"].count, terms["masked"].weight) == (len(places), 1.0)
    sign = torch.where(changed, 1.0, -1.0)
    real = clean.tokens != PAD
    expected = float(-F.logsigmoid(sign * logits)[real].sum())  # equation of section 2: -log D or -log (1 - D)
    assert float(terms["replaced"].sum) == pytest.approx(expected, rel=1e-12)
    assert (terms["replaced"].count, terms["replaced"].weight) == (6 * 30, 50.0)  # [CLS] and [SEP] among them
    assert {k: t.count for k, t in terms.items()} == dict(objective.counts(batch)) and state == "carried"


def of_generator(model: Model) -> dict[str, torch.nn.Parameter]:
    return dict(model.heads["generator"].named_parameters())


def test_the_models_loss_teaches_the_generator_nothing_and_both_share_the_embeddings() -> None:
    objective = replaced()
    model = tiny_model(objective.heads)
    objective.loss(model, corrupted(), None)[0]["replaced"].sum.backward()
    assert all(p.grad is None for p in of_generator(model).values())
    others = [(n, p) for n, p in model.named_parameters() if not n.startswith("heads.generator")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in others)
    model.zero_grad(set_to_none=True)
    objective.loss(model, corrupted(), None)[0]["masked"].sum.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in of_generator(model).values())
    reached = {n for n, p in others if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {n for n, _ in others if n.startswith("body.embeddings.")}
    assert "body.embeddings.tokens.weight" in reached and "body.embeddings.positions.weight" in reached


def test_the_embeddings_have_one_owner() -> None:
    """Checkpoints and optimiser see the generator's layers, and the shared tables once."""
    objective = replaced()
    model = tiny_model(objective.heads)
    keys = model.state_dict().keys()
    assert any(k.startswith("heads.generator.body.layers.1.") for k in keys)
    assert not any("embeddings" in k for k in keys if k.startswith("heads."))
    assert len({t.data_ptr() for t in model.state_dict().values()}) == len(keys)
    listed = {id(p) for _, parameters in layers_of(model) for p in parameters}
    matrices = _hidden_matrices(model, {id(p): depth for depth, ps in layers_of(model) for p in ps})
    for name, p in of_generator(model).items():
        assert (id(p) in listed) != name.startswith("head.")
        assert (id(p) in matrices) == (p.ndim == 2 and "layers." in name), name
    kept = without_auxiliary(model, objective)
    assert set(kept.heads) == {"replaced"} and kept.body is model.body


@torch.no_grad()
def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """The samples are those of the whole batch: chances come with it, whatever torch's generator has done since."""
    objective = replaced()
    model = tiny_model(objective.heads).double()
    batch = corrupted(8)
    whole = objective.loss(model, batch, None)[0]
    for parts in (3, 8):
        torch.manual_seed(parts)
        found = [objective.loss(model, part, None)[0] for part in batch.split(parts)]
        for name, term in whole.items():
            assert sum(p[name].count for p in found) == term.count
            assert float(sum(p[name].sum for p in found)) == pytest.approx(float(term.sum), rel=1e-12)


def test_evaluation_is_the_same_at_every_call() -> None:
    objective = replaced()
    model = tiny_model(objective.heads, dropout=0.1)
    job = Pretraining(objective, corrupted(8).split(2))
    first = job.evaluate(model)
    torch.manual_seed(12)
    assert job.evaluate(model) == first
    assert first["loss"] == pytest.approx(first["masked"] + 50 * first["replaced"])


def test_a_tiny_model_learns_both() -> None:
    """Words are equally frequent: log 24 = 3.18 nats. Replaced or not: the entropy of the labels is what chance has."""
    objective = replaced(weight=10.0, rate=0.2)
    model = tiny_model(objective.heads, **LOOM)
    losses = learn(objective, model, steps=80, rows=32)
    _, changed = filled(
        model.eval(), objective, objective.corrupt(language(256, seed=7), np.random.default_rng(7), 1.0)
    )
    share = float(changed.sum()) / (256 * 30)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert losses["masked"] < 2.2 and 0.03 < share < 0.2
    assert losses["replaced"] < 0.6 * entropy


def test_what_is_refused() -> None:
    for preset, what in (
        ("lstm-tiny", "needs a Transformer encoder, which lstm-tiny is not"),
        ("gpt2-tiny", "gpt2-tiny does not see what follows"),
    ):
        with pytest.raises(ConfigError, match=what):
            refuse_unfit(ReplacedConfig(), presets.architecture(preset, 50), preset)
    batch = corrupted()
    bare = Batch(**{**batch.__dict__, "targets": {"masked": batch.targets["masked"]}})
    objective = replaced()
    with pytest.raises(DataError, match=r"no 'chance' targets.*Corrupt"):
        objective.loss(tiny_model(objective.heads), bare, None)
