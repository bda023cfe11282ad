"""Contracts of training: it overfits, resumes exactly, is not changed by how a step is cut, reaches every weight,
and is a function of its seed. Numbers in brackets are those of the list in docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from contract_cases import CASES, COVER, Case, Same, Setup, World, losses, set_up, shortened
from torch import Tensor

from wordloom.data.batch import Batch
from wordloom.tasks.classify.task import ClassifyStream
from wordloom.train.stream import CorruptedStream

AMBIGUOUS = (
    "replaced",
    "causal",
    "causal-separated",
    "causal-streams",
    "causal-adaptive",
    "hybrid",
    "permuted",
    "permuted-streams",
    "spans",
)
STEADY = {"schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "clip": 0.0}


@pytest.mark.parametrize("case", COVER, ids=str)
def test_it_overfits_eight_examples(tmp_path: Path, world: World, case: Case) -> None:
    """[1] The same eight rows, or examples, with the same masks: the loss goes to nothing and answers are right.

    What a beginning does not say (the first word of a document, of a span) cannot be learnt by heart: where every token
    is predicted the loss goes down to a fifth. So it does where a generator's samples are guessed, or layers shared.
    """
    setup = set_up(world, case)
    if case.pretrains:
        batch = setup.stream.layout.batch(setup.stream.layout.order(0, 8))
        stream: Any = Same(setup.job.objective.corrupt(batch, np.random.default_rng(0), 0.0))
    else:
        stream = ClassifyStream(setup.job, setup.examples.subset(range(8)), batch=8, seed=0)
    slow = case.variant in AMBIGUOUS or (case.pretrains and case.preset.startswith("albert"))
    setup.train(tmp_path / "run", stream=stream, steps=100 if slow else 60, lr=1e-2, **STEADY)
    found = losses(tmp_path / "run")
    assert found[0] > 0.3 and found[-1] < (0.2 * found[0] if slow else 0.05)


# --- exact resume ----------------------------------------------------------------------------------------------------

OPTIMISERS: dict[str, tuple[int, dict[str, Any]]] = {  # name -> (killed before this step, values of [train])
    "adamw": (5, {"lr": 1e-2}),
    "sgd averaged": (7, {"optimiser": "sgd", "average": True, "lr": 0.1, "schedule": "constant"}),
    "muon": (3, {"optimiser": "muon", "lr": 1e-2, "schedule": "cosine"}),
    "gradual": (2, {"freeze": "gradual", "layer_decay": 0.8, "lr": 1e-2, "schedule": "linear"}),
}
# freezing needs a head with weights of its own: the optimisers' other cases are BERT's
OTHERS = [case for case in COVER if case.preset.startswith("bert")]
RESUMES = [(case, "adamw") for case in COVER] + [
    (OTHERS[i], name) for i, name in zip((0, 6, 3, 7, 2, 8, 3, 5), [*list(OPTIMISERS)[1:] * 3][:8], strict=True)
]


class KilledError(Exception):
    pass


class Kill:
    """The stream, until step ``at``."""

    def __init__(self, stream: Any, at: int):
        self.stream, self.at = stream, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "total_steps":  # what the loop tells the stream
            self.stream.total_steps = value
        else:
            super().__setattr__(name, value)

    def step(self, step: int, parts: int) -> list[Batch]:
        if step >= self.at:
            raise KilledError
        return self.stream.step(step, parts)


@pytest.mark.parametrize(("case", "optimiser"), RESUMES, ids=lambda v: str(v))
def test_stop_and_resume_is_bitwise_one_run(tmp_path: Path, world: World, case: Case, optimiser: str) -> None:
    """[3] Weights, losses and scores; the resumed process starts from other random weights."""
    at, values = OPTIMISERS[optimiser]
    values = values | {"steps": 8, "save_every": 1, "evaluate_every": 4, "micro_batch": 3}
    whole, parts, again = (set_up(world, case, dropout=0.1) for _ in range(3))
    undisturbed = whole.train(tmp_path / "whole", **values)
    with pytest.raises(KilledError):
        parts.train(tmp_path / "parts", stream=Kill(parts.stream, at), **values)
    torch.manual_seed(77)
    with torch.no_grad():
        for p in again.model.parameters():
            p.normal_()
    resumed = again.train(tmp_path / "parts", resume=True, **values)
    assert (resumed.step, resumed.best_step, resumed.scores) == (8, undisturbed.best_step, undisturbed.scores)
    for (name, a), b in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole") and len(losses(tmp_path / "parts")) == 8


# --- one step --------------------------------------------------------------------------------------------------------


def unequal(setup: Setup) -> Any:
    """A stream whose rows, or examples, have very different lengths; eight a step."""
    if not setup.case.pretrains or setup.case.variant.endswith("streams"):
        return setup.stream  # texts of 1 to 4 clauses, some cut into windows; streams have no end to cut
    layout, pad = setup.stream.layout, setup.tokenizer.pad_id
    batch = shortened(layout.batch(layout.order(0, 8)), (32, 9, 17, 5, 30, 12, 25, 7), pad)
    return Same(setup.job.objective.corrupt(batch, np.random.default_rng(0), 0.0))


@pytest.mark.parametrize("case", COVER, ids=str)
def test_how_a_step_is_cut_changes_nothing(tmp_path: Path, world: World, case: Case) -> None:
    """[5] Eight parts of 1 give the gradient and loss of two of 4, and of three of unequal size."""
    steps: dict[int, dict[str, Tensor]] = {}
    first: dict[int, list[float]] = {}
    for size in (1, 4, 3):
        setup = set_up(world, case)
        stream = unequal(setup)
        before = {n: p.detach().clone() for n, p in setup.model.named_parameters()}
        counts = [setup.job.counts(part) for part in stream.step(0, -(-8 // size))]
        alike = len({tuple(c.values()) for c in counts}) == 1
        assert size == 4 or not alike or (size == 1 and not case.pretrains) or case.variant.endswith("streams")
        setup.train(tmp_path / str(size), stream=stream, steps=1, micro_batch=size, optimiser="sgd", lr=1.0,
                    momentum=0.0, **STEADY)  # fmt: skip
        steps[size] = {n: before[n] - p.detach() for n, p in setup.model.named_parameters()}
        first[size] = losses(tmp_path / str(size))
    largest = max(float(g.abs().max()) for g in steps[1].values())
    assert largest > 1e-2
    for size in (4, 3):
        assert first[size] == pytest.approx(first[1], rel=1e-5)
        for name, gradient in steps[size].items():
            assert float((gradient - steps[1][name]).abs().max()) < 2e-5 * largest, (size, name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_trainable_parameter_gets_gradient(world: World, case: Case) -> None:
    """[6]"""
    setup = set_up(world, case)
    terms, _ = setup.job.loss(setup.model.train(), setup.batch(), None)
    torch.stack([term.sum for term in terms.values()]).sum().backward()
    assert terms.keys() == setup.job.counts(setup.batch()).keys()
    for name, p in setup.model.named_parameters():
        if name == "body.embeddings.query" and not case.pretrains:
            continue  # where XLNet's second stream begins, which serves its pre-training alone
        if ".segment" in name and not case.variant.startswith("pairs"):
            continue  # of XLNet's two texts: not computed where there is one
        assert p.requires_grad and p.grad is not None and bool(p.grad.isfinite().all()), name
        assert float(p.grad.abs().max()) > 0, name


@pytest.mark.parametrize("case", COVER, ids=str)
def test_same_seed_same_losses_other_seed_other_losses(tmp_path: Path, world: World, case: Case) -> None:
    """[8] Bitwise, with dropout."""
    found = []
    for run, seed in enumerate((3, 3, 4)):
        set_up(world, case, seed, dropout=0.1).train(tmp_path / str(run), steps=3, seed=seed)
        found.append(losses(tmp_path / str(run)))
    assert found[0] == found[1] and len(found[0]) == 3
    assert all(a != b for a, b in zip(found[0], found[2], strict=True))


@pytest.mark.parametrize("case", COVER, ids=str)
def test_each_source_of_randomness_follows_the_seed(world: World, case: Case) -> None:
    """[8] Order and masks alone, and the weights alone: one of them stuck would hide behind the other."""
    a, b = set_up(world, case, 3), set_up(world, case, 5)
    assert any(a.batch(s).ids != b.batch(s).ids for s in range(3))
    assert not torch.equal(a.model.token_embedding, b.model.token_embedding)
    random = not case.variant.startswith("causal") and not case.variant.endswith("streams")
    if case.pretrains and random:  # fresh masks at every visit of the same rows, the same when a step is made again
        rows = np.arange(8)
        layout: Any = SimpleNamespace(rows_per_epoch=8, order=lambda start, count: rows, batch=a.stream.layout.batch)
        stream = CorruptedStream(layout, a.job.objective.corrupt, rows=8, seed=3)
        name = next(iter(a.job.counts(a.batch())))
        first, again, second = (stream.step(step, 1)[0].targets[name] for step in (0, 0, 1))
        assert torch.equal(first, again) and (first.shape != second.shape or not torch.equal(first, second))
