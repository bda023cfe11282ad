"""Contracts of models that write, of query streams and of sources: for every preset that has them, by what its
architecture can do. A new preset enters by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from contract_cases import CASES, LENGTH, OBJECTIVES, Case, Setup, World, changed, set_up
from torch import Tensor

from wordloom import presets
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError
from wordloom.infer import source_stepper, steppers
from wordloom.infer.steppers import make_stepper
from wordloom.model import kernels
from wordloom.model.architecture import Architecture
from wordloom.model.build import reads_source
from wordloom.model.model import Model
from wordloom.objectives.targets import states_of

# Of one objective all variants but other heads are the same model; a hybrid model writes by its causal rows.
LEARNS = [case for case in CASES if case.pretrains and "documents" not in OBJECTIVES[case.variant]]
WRITES = [case for case in LEARNS if OBJECTIVES[case.variant].get("name") in ("causal", "hybrid", "spans")]
TWO_STREAM = [case for case in CASES if OBJECTIVES.get(case.variant, {}).get("name") == "permuted"]
READS = [case for case in CASES if OBJECTIVES.get(case.variant, {}).get("name") == "spans"]


def ready(world: World, case: Case) -> Setup:
    """The case in evaluation mode, every parameter moved: a bias or a norm that is left out shows."""
    setup = set_up(world, case)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in setup.model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    setup.model.eval()
    return setup


def test_the_grid_holds_all_that_can() -> None:
    """Every preset that writes next tokens, has a query stream, or reads a source; and no others."""
    rows = {case.preset: presets.architecture(case.preset, 100) for case in CASES}
    two = {name for name, arch in rows.items() if getattr(arch, "two_stream", False)}
    reads = {name for name, arch in rows.items() if reads_source(arch)}
    causal = {name for name, arch in rows.items() if arch.attention == "causal"}
    assert {case.preset for case in TWO_STREAM} == two != set()
    assert {case.preset for case in READS} == reads != set()
    assert {case.preset for case in WRITES} >= reads | causal and causal
    # encoders learn the hybrid objective, and networks without attention nothing of the kind
    encoders = {name for name, arch in rows.items() if isinstance(arch, Architecture)} - two
    assert {case.preset for case in WRITES} == encoders | reads | causal


@pytest.mark.parametrize("case", [case for case in LEARNS if case not in WRITES], ids=str)
def test_what_cannot_write_says_so(world: World, case: Case) -> None:
    """So that the grid of those that can leaves none out."""
    with pytest.raises(ConfigError, match="does not predict the next token"):
        make_stepper(set_up(world, case).model.eval())


# --- cached = uncached -----------------------------------------------------------------------------------------------


def row(ids: Sequence[int]) -> Batch:
    tokens = torch.tensor([[*ids]])
    return Batch(tokens, torch.ones_like(tokens), torch.arange(len(ids))[None], torch.zeros_like(tokens))


@torch.no_grad()
def read_anew(model: Model, hybrid: bool, prompt: Sequence[int], text: Sequence[int]) -> Tensor:
    """Logits (V,) after the whole text, one row in one forward pass. prompt: the source, of a model that reads one."""
    name = model.next_token_head(hybrid)
    assert name is not None
    if reads_source(model.arch):
        given = row([model.body.start_id, *text])  # type: ignore[list-item]
        more: dict[str, Any] = {"source": row(prompt)}
    else:
        given = row([*prompt, *text])
        more = {"causal_rows": torch.ones(1, dtype=torch.bool)} if hybrid else {}
    hidden = model.body(given.tokens, given.documents, given.positions, given.types, **more)
    return model.heads[name](hidden[0, -1][None], model.token_embedding)[0]


@pytest.mark.parametrize("case", WRITES, ids=str)
def test_cached_is_uncached(world: World, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token for token, of prompts of different lengths and of rows that change places: by the compiled step where the
    model has one, and by the ordinary forward pass."""
    model = ready(world, case).model
    token_for_token(model, case.variant == "hybrid")
    if isinstance(model.arch, Architecture) and kernels.backend() != "torch":
        for room in (steppers, source_stepper):
            monkeypatch.setattr(room, "can_fuse", lambda *parts: False)
        token_for_token(model, case.variant == "hybrid")


def token_for_token(model: Model, hybrid: bool) -> None:
    V, steps = model.arch.vocab_size, 11
    draw = torch.Generator().manual_seed(2)
    prompts = [torch.randint(0, V, (n,), generator=draw).tolist() for n in (9, 1, 6)]
    texts: list[list[int]] = [[], [], []]
    assert max(map(len, prompts)) + steps <= LENGTH
    stepper = make_stepper(model, hybrid)
    logits, state = stepper.begin(prompts, steps)
    for i in range(steps):
        wanted = torch.stack([read_anew(model, hybrid, p, t) for p, t in zip(prompts, texts, strict=True)])
        assert float(wanted.std()) > 0.05
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
        if i in (4, 7):  # as beams do: the same rows in another order, then some left out and others twice
            rows = [2, 0, 1] if i == 4 else [1, 1, 0, 2]
            state, logits = stepper.reorder(state, torch.tensor(rows)), logits[rows]
            prompts, texts = [prompts[r] for r in rows], [texts[r] for r in rows]
        chosen = torch.randint(0, V, (len(texts),), generator=draw)
        chosen[0] = logits[0].argmax()
        texts = [[*text, token] for text, token in zip(texts, chosen.tolist(), strict=True)]
        logits, state = stepper.step(chosen, state)


# --- query streams ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TWO_STREAM, ids=str)
def test_a_target_never_sees_itself(world: World, case: Case) -> None:
    """Another token under a target: the state it is predicted from stays, as do those before it in the order, in other
    documents and rows; those after it in the order move."""
    setup = ready(world, case)
    with torch.no_grad():
        _, carried = setup.job.loss(setup.model, setup.batch(0), None)  # a stream goes on from what it remembers
    batch = setup.batch(1)
    assert (carried is not None) == batch.continues == case.variant.endswith("streams")
    before = predicted_from(setup, batch, carried)
    places = (batch.targets["permuted"] != IGNORE).nonzero()  # (N, 2) as the states, row by row
    order, document = (t[places[:, 0], places[:, 1]] for t in (batch.targets["order"], batch.documents))
    moves = 0
    for n, (r, c) in enumerate(places.tolist()):
        other = 20 if int(batch.tokens[r, c]) != 20 else 21
        moved = (predicted_from(setup, changed(batch, r, c, other), carried) - before).abs().amax(-1)
        later = (places[:, 0] == r) & (document == document[n]) & (order > order[n])
        assert float(moved[n]) < 1e-6 and float((moved * ~later).max()) < 1e-6
        assert bool((moved[later] > 1e-6).all())
        moves += int(later.sum())
    assert moves > len(places) // 2 > 8


@torch.no_grad()
def predicted_from(setup: Setup, batch: Batch, carried: Any) -> Tensor:
    """(N, D) what the head is given to predict the batch's targets from, in the loss itself."""
    head: Any = setup.model.heads["permuted"]
    loss, head.loss = head.loss, Mock(wraps=head.loss)
    try:
        setup.job.loss(setup.model, batch, carried)
        return head.loss.call_args.args[0]
    finally:
        head.loss = loss


# --- sources ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def states(setup: Setup, batch: Batch) -> Tensor:
    """(N, D) of the decoder's tokens, row by row."""
    return states_of(setup.model, batch, None)[0][batch.documents > 0]


def beside(batch: Batch, left: int, right: int) -> Batch:
    """The batch with columns of padding on both sides, and other tokens in all padding."""

    def wide(t: Tensor, fill: int) -> Tensor:
        return torch.nn.functional.pad(t, (left, right), value=fill)

    documents = wide(batch.documents, 0)
    tokens = torch.where(documents > 0, wide(batch.tokens, 0), 23)
    targets = {name: wide(t, IGNORE) for name, t in batch.targets.items()}
    return replace(batch, tokens=tokens, documents=documents, positions=wide(batch.positions, 0),
                   types=wide(batch.types, 0), targets=targets, word_starts=None)  # fmt: skip


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("case", READS, ids=str)
def test_padding_of_either_side_changes_nothing(world: World, case: Case) -> None:
    """Of source and target, before and behind, whatever tokens lie in it: the same states, the same loss."""
    setup = ready(world, case)
    batch = setup.batch()
    assert batch.source is not None and int(batch.documents.max()) > 1
    expected = states(setup, batch)
    with torch.no_grad():
        before, _ = setup.job.loss(setup.model, batch, None)
    for target, source in (((0, 0), (0, 3)), ((0, 0), (2, 0)), ((0, 3), (0, 0)), ((2, 0), (0, 0)), ((1, 2), (2, 1))):
        more = replace(beside(batch, *target), source=beside(batch.source, *source))
        close(states(setup, more), expected)
        with torch.no_grad():
            after, _ = setup.job.loss(setup.model, more, None)
        for name, term in before.items():
            assert after[name].count == term.count and float(after[name].sum) == pytest.approx(
                float(term.sum), rel=1e-5
            )


@pytest.mark.parametrize("case", READS, ids=str)
def test_a_packed_pair_is_a_pair_alone(world: World, case: Case) -> None:
    """Nothing of the other pairs of its row; and all of its own source."""
    setup = ready(world, case)
    batch = setup.batch()
    assert batch.source is not None
    hidden = torch.zeros(*batch.tokens.shape, setup.model.arch.width)
    hidden[batch.documents > 0] = states(setup, batch)
    r = int(batch.documents.amax(1).argmax())
    for number in range(1, int(batch.documents[r].max()) + 1):
        mine, its = batch.documents[r] == number, batch.source.documents[r] == number
        source = row(batch.source.tokens[r][its].tolist())
        pair = replace(row(batch.tokens[r][mine].tolist()), source=source)
        alone = states(setup, pair)
        close(alone, hidden[r][mine])
        for place in range(source.tokens.shape[1]):
            other = 20 if int(source.tokens[0, place]) != 20 else 21
            moved = states(setup, replace(pair, source=changed(source, 0, place, other))) - alone
            assert float(moved.abs().max()) > 1e-4, place
