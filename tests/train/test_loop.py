"""The loop: exact resume, cutting a step into micro-batches, seeds, stopping, refusals."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_training import ToyJob, ToyModel, ToyStream

from wordloom.config import TrainConfig
from wordloom.data.batch import Batch
from wordloom.errors import ConfigError, RunError, TrainingError
from wordloom.run import Run, versions
from wordloom.train import checkpoint, machine, optim
from wordloom.train.loop import Interrupted, Outcome, fit
from wordloom.train.parallel import World

BASE = {
    "steps": 12,
    "batch": 8,
    "micro_batch": 4,
    "lr": 1e-2,
    "threads": 1,
    "precision": "float32",
    "log_every": 1,
    "evaluate_every": 12,
}
RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd averaged": {"optimiser": "sgd", "average": True, "lr": 0.5, "schedule": "constant"},
    "muon": {"optimiser": "muon", "schedule": "cosine"},
    "layers": {"layer_decay": 0.5, "freeze": "gradual", "schedule": "linear"},
    "bfloat16": {"precision": "bfloat16"},
}


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(BASE | changes)


def train(path: Path, settings: TrainConfig, **options: Any) -> tuple[Outcome, ToyModel]:
    """One process's part of a run: begins it, or goes on with it."""
    model = options.pop("model", None) or ToyModel(options.pop("dropout", 0.1))
    job, stream = options.pop("job", None) or ToyJob(memory=True), options.pop("stream", None) or ToyStream()
    resume = options.setdefault("resume", path.exists())
    options = {"quiet": True, "tensorboard": False, "layers": model.layers()} | options
    with Run.open(path) if path.exists() else Run.create(path, {}, "toy") as run:
        return fit(job, model, stream, settings, run, **options | {"resume": resume}), model


def losses(path: Path) -> list[float]:
    with Run.open(path) as run:
        return [row["loss"] for row in run.read_log() if "loss" in row]


def content(path: Path) -> dict[str, Any]:
    """All that a run leaves, less what depends on the clock."""
    with Run.open(path) as run:
        rows = [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in run.read_log()]
    index = json.loads((path / "checkpoints" / "index.json").read_text())
    last = index.pop("kept")[0]  # the second newest may be that of an interruption
    files = {p.name: p.read_bytes() for p in sorted((path / "checkpoints" / last).iterdir())}
    return {"rows": rows, "index": index, "last": last, "files": files}


class Stops(ToyJob):
    """Sends this process a signal in the middle of step ``at`` (0-based)."""

    def __init__(self, at: int, number: int = signal.SIGINT):
        super().__init__(memory=True)
        self.at, self.number, self.calls = at, number, 0

    def loss(self, model: nn.Module, batch: Batch, state: Any) -> Any:
        self.calls += 1
        if self.calls == 2 * self.at + 1:  # two micro-batches a step
            signal.raise_signal(self.number)
        return super().loss(model, batch, state)


# --- resume ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "at"), [("adamw", 1), ("adamw", 6), ("sgd averaged", 10), ("muon", 7), ("layers", 4), ("bfloat16", 5)]
)
def test_stop_and_resume_is_bitwise_one_run(tmp_path: Path, name: str, at: int) -> None:
    settings = config(**RECIPES[name], evaluate_every=3, log_every=2)
    whole, model = train(tmp_path / "whole", settings)
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", settings, job=Stops(at))
    outcome, resumed = train(tmp_path / "parts", settings, model=ToyModel(seed=5))  # weights come from the checkpoint
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    assert (outcome.step, outcome.scores, outcome.best_step) == (12, whole.scores, whole.best_step)
    for (key, a), b in zip(model.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_step_saves_and_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "r", config(), job=Stops(4, number), quiet=False, resume_command="loom --resume r")
    assert "stopped and saved at step 5 of 12; go on with: loom --resume r" in capsys.readouterr().err
    assert checkpoint.load(tmp_path / "r/checkpoints/step-00000005").step == 5
    assert Run.open(tmp_path / "r").manifest["status"] == "interrupted"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("when", ["last step", "last evaluation", "patience"])
def test_ctrl_c_at_the_end_is_heard_and_a_resumed_run_only_finishes(tmp_path: Path, when: str) -> None:
    class InEvaluation(ToyJob):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            signal.raise_signal(signal.SIGTERM)
            return super().evaluate(model)

    settings = config(evaluate_every=4, patience=1, lr=1e-9) if when == "patience" else config()
    whole, _ = train(tmp_path / "whole", settings)
    job = Stops(11) if when == "last step" else InEvaluation(memory=True)
    for _ in range(2 if when == "patience" else 1):
        with pytest.raises(Interrupted):
            train(tmp_path / "r", settings, job=job)
    with Run.open(tmp_path / "r") as run:
        assert run.manifest["status"] == "interrupted"
    outcome, _ = train(tmp_path / "r", settings)
    assert (outcome.step, outcome.scores) == (whole.step, whole.scores)
    assert content(tmp_path / "r") == content(tmp_path / "whole")


def test_the_seconds_of_a_resumed_run_are_of_all_its_parts(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        now, processor = _clock(chain([100], repeat(130))), _clock(chain([3], repeat(10)))
        train(tmp_path / "r", config(), job=Stops(5), now=now, processor=processor)
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["processor_seconds_before"] == 7
    now, processor = _clock(chain([1000], repeat(1002))), _clock(chain([20], repeat(21)))
    outcome, _ = train(tmp_path / "r", config(), now=now, processor=processor)
    assert outcome.seconds == 32 and outcome.processor_seconds == 8


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    class Twice(Stops):
        def loss(self, model: nn.Module, batch: Batch, state: Any) -> Any:
            if self.calls == 2:
                signal.raise_signal(self.number)
            return super().loss(model, batch, state)

    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tmp_path / "r", config(), job=Twice(1))
    assert not isinstance(stopped.value, Interrupted)


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    first, model = train(tmp_path / "r", config())
    kept = content(tmp_path / "r")
    again, same = train(tmp_path / "r", config(), model=ToyModel(seed=5))
    assert content(tmp_path / "r") == kept and again.scores == first.scores
    assert torch.equal(model.head.weight, same.head.weight)


def test_a_run_with_checkpoints_is_not_started_over(tmp_path: Path) -> None:
    train(tmp_path / "r", config())
    with pytest.raises(RunError, match="has checkpoints already"):
        train(tmp_path / "r", config(), resume=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": {"lr": 2e-2}}, "train.lr was 0.01 and is 0.02 now"),
        ({"config": {"steps": 13}}, "train.steps was 12 and is 13 now"),
        ({"config": {"micro_batch": 2}}, "train.micro_batch was 4 and is 2 now"),
        ({"config": {"precision": "bfloat16"}}, "train.precision was 'float32' and is 'bfloat16' now"),
        ({"config": {"seed": 1}}, "train.seed was 0 and is 1 now"),
        ({"config": {"threads": 2}}, "plan.threads was 1 and is 2 now"),
        ({"facts": {"tokenizer": "def"}}, "facts.tokenizer was 'abc' and is 'def' now"),
        ({"facts": {}}, "facts.tokenizer was 'abc' and is None now"),
        ({"versions": {"torch": "1.0"}}, "versions.torch was"),
    ],
)
def test_a_difference_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], named: str
) -> None:
    facts = {"tokenizer": "abc"}
    with pytest.raises(Interrupted):
        train(tmp_path / "r", config(), job=Stops(3), facts=facts)
    if "versions" in change:
        monkeypatch.setattr("wordloom.train.plan.versions", lambda: versions() | change["versions"])
    try:
        with pytest.raises(RunError, match=named):
            train(tmp_path / "r", config(**change.get("config", {})), facts=change.get("facts", facts))
    finally:
        torch.set_num_threads(1)


def test_what_the_recipe_leaves_open_is_taken_from_the_manifest(tmp_path: Path) -> None:
    open_recipe = config(steps=None, epochs=1.2, micro_batch="auto", precision="auto")
    with pytest.raises(Interrupted):
        train(tmp_path / "r", open_recipe, job=Stops(2))
    plan = json.loads((tmp_path / "r/manifest.json").read_text())["frozen"]["plan"]
    outcome, _ = train(tmp_path / "r", open_recipe)
    assert outcome.step == plan["steps"] == 12 and dataclasses.asdict(outcome.plan) == plan


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path / "r", config(), job=Stops(3))
    other = ToyModel()
    other.extra = nn.Linear(2, 2)
    with pytest.raises(RunError, match=r"another model: extra\.bias, extra\.weight"):
        train(tmp_path / "r", config(), model=other)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_cutting_a_step_changes_nothing_but_rounding(tmp_path: Path) -> None:
    """Rows have 1 to 6 real tokens: an average of averages would fail this by far."""
    for rows in (8, 4, 2, 1):
        train(tmp_path / f"m{rows}", config(micro_batch=rows), dropout=0.0, job=ToyJob())
    for rows in (4, 2, 1):
        assert losses(tmp_path / f"m{rows}") == pytest.approx(losses(tmp_path / "m8"), rel=2e-5)


def test_the_loss_is_totals_over_totals_by_hand(tmp_path: Path) -> None:
    model, stream, job = ToyModel(0.0), ToyStream(), ToyJob()
    terms, _ = job.loss(model, stream.step(0, 1)[0], None)
    expected = terms["tokens"].sum / terms["tokens"].count + 0.5 * terms["pair"].sum / 8
    train(tmp_path / "r", config(steps=1, micro_batch=2), model=model, job=job)
    assert losses(tmp_path / "r")[0] == pytest.approx(expected.item(), rel=1e-6)


def test_the_first_update_by_hand(tmp_path: Path) -> None:
    """SGD without momentum or decay: w - lr * clipped gradient."""
    model = ToyModel(0.0)
    terms, _ = ToyJob().loss(model, ToyStream().step(0, 1)[0], None)
    (terms["tokens"].sum / terms["tokens"].count + 0.5 * terms["pair"].sum / 8).backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()
    expected = {n: (p - 0.1 * p.grad * 0.5 / norm).detach() for n, p in model.named_parameters() if p.grad is not None}
    settings = config(
        steps=1, optimiser="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", warmup=0.0, lr=0.1, clip=0.5
    )
    _, trained = train(tmp_path / "r", settings, dropout=0.0, job=ToyJob())
    for name, p in trained.named_parameters():
        if name in expected:
            torch.testing.assert_close(p.detach(), expected[name], rtol=1e-5, atol=1e-7)
    with Run.open(tmp_path / "r") as run:
        assert run.read_log()[0]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


def test_seeds(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tmp_path / name, config(seed=seed))  # same data and weights: the seed draws the dropout here
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert all(x != y for x, y in zip(losses(tmp_path / "a"), losses(tmp_path / "c"), strict=True))


def test_it_learns(tmp_path: Path) -> None:
    outcome, model = train(tmp_path / "r", config(steps=80), dropout=0.0)
    assert outcome.scores["loss"] < 0.5
    model.eval()
    assert ToyJob().evaluate(model)["loss"] == pytest.approx(outcome.scores["loss"], rel=1e-6)


def test_averaged_weights_are_the_mean_of_the_last_quarter(tmp_path: Path) -> None:
    settings = config(**RECIPES["sgd averaged"], save_every=1)
    seen = []

    def keep(*args: Any) -> None:
        folder = args[0]
        saved = original(*args)
        seen.append(checkpoint.load(folder).tensors)
        return saved

    original = checkpoint.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", keep)
        _, model = train(tmp_path / "r", settings)
    weights = torch.stack([t["model"]["hidden.weight"] for t in seen[9:]])
    assert len(seen) == 12 and len(weights) == 3
    torch.testing.assert_close(seen[-1]["average"]["hidden.weight"], weights.mean(0), rtol=1e-6, atol=1e-7)
    assert torch.equal(model.hidden.weight, seen[-1]["average"]["hidden.weight"])  # fit leaves the averaged ones


# --- evaluation and stopping -----------------------------------------------------------------------------------------


class Scripted(ToyJob):
    score = ("accuracy", True)

    def __init__(self, accuracies: list[float]):
        super().__init__()
        self.accuracies, self.weights = list(accuracies), []

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        self.weights.append(model.hidden.weight.detach().clone())
        return {"loss": 1.0, "accuracy": self.accuracies[len(self.weights) - 1]}


def test_patience_stops_and_the_best_weights_are_left(tmp_path: Path) -> None:
    job = Scripted([0.5, 0.7, float("nan"), 0.7, 0.9])
    outcome, model = train(tmp_path / "r", config(evaluate_every=2, patience=2), job=job)
    assert (outcome.step, outcome.best_step, outcome.scores["accuracy"]) == (8, 4, 0.7)
    assert torch.equal(model.hidden.weight, job.weights[1]) and not torch.equal(job.weights[1], job.weights[3])
    kept = sorted(p.name for p in (tmp_path / "r/checkpoints").glob("step-*"))
    assert kept == ["step-00000004", "step-00000006", "step-00000008"]  # best, and the newest two


def test_it_saves_before_it_evaluates(tmp_path: Path) -> None:
    class Fails(ToyJob):
        def evaluate(self, model: nn.Module) -> dict[str, float]:
            raise ZeroDivisionError("a bug in a metric")

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "r", config(evaluate_every=5), job=Fails())
    outcome, _ = train(tmp_path / "r", config(evaluate_every=5), job=ToyJob())
    assert outcome.step == 12
    with Run.open(tmp_path / "r") as run:
        assert [row["step"] for row in run.read_log() if "evaluation" in row] == [5, 10, 12]


@pytest.mark.parametrize("freeze", ["body", "embeddings", "gradual"])
def test_frozen_layers_do_not_move(tmp_path: Path, freeze: str) -> None:
    start, (_, model) = ToyModel(), train(tmp_path / "r", config(freeze=freeze, steps=2), job=ToyJob())
    moved = {n for (n, p), q in zip(model.named_parameters(), start.parameters(), strict=True) if not torch.equal(p, q)}
    body = {"hidden.weight", "hidden.bias", "norm.weight", "norm.bias"}
    assert "pair.weight" in moved and "embedding.weight" not in moved
    # gradual, 2 steps: heads alone in step 0, one layer more in step 1.
    assert moved & body == (set() if freeze == "body" else body)


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_non_finite_loss_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    model = ToyModel()
    with pytest.raises(TrainingError) as refused:
        train(tmp_path / "r", config(save_every=7), model=model, stream=ToyStream(poison=7))
    assert "step 7: the loss is not finite (documents: toy.txt:56, " in str(refused.value)
    assert "Lower train.lr (now 0.01)" in str(refused.value)
    saved = checkpoint.load(tmp_path / "r/checkpoints/step-00000007")
    for name, p in checkpoint.weights(model).items():
        assert torch.equal(p, saved.tensors["model"][name])


def test_a_non_finite_gradient_is_refused_too(tmp_path: Path) -> None:
    class Steep(ToyJob):
        def loss(self, model: nn.Module, batch: Batch, state: Any) -> Any:
            terms, state = super().loss(model, batch, state)
            zero = model.hidden.weight.sum() * 0
            return terms | {"tokens": terms["tokens"]._replace(sum=terms["tokens"].sum + zero.sqrt())}, state

    with pytest.raises(TrainingError, match="step 0: the gradient is not finite"):
        train(tmp_path / "r", config(clip=0.0), job=Steep())


def test_lack_of_memory_is_one_sentence(tmp_path: Path) -> None:
    class Huge(ToyJob):
        def loss(self, model: nn.Module, batch: Batch, state: Any) -> Any:
            torch.empty(2**60)
            return super().loss(model, batch, state)

    with pytest.raises(TrainingError, match=r"step 0: not enough memory for one micro-batch\. Set train\.micro_batch"):
        train(tmp_path / "r", config(), job=Huge())


def test_nothing_says_how_long(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing says how long"):
        train(tmp_path / "r", config(steps=None))


def test_an_error_in_the_data_thread_is_the_loops_error(tmp_path: Path) -> None:
    class Broken(ToyStream):
        def step(self, step: int, parts: int) -> list[Batch]:
            if step == 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO), "tokens.bin")
            return super().step(step, parts)

    with pytest.raises(OSError, match=r"tokens\.bin"):
        train(tmp_path / "r", config(), stream=Broken())


# --- trials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_trials_leave_no_trace_in_the_numbers(tmp_path: Path, name: str) -> None:
    """Minutes and an automatic micro-batch try real steps out first; the run is the one their choice states."""
    ticks = iter(range(10**6))
    settings = RECIPES[name]
    tried, _ = train(tmp_path / "a", config(steps=None, minutes=0.5, micro_batch="auto", **settings), now=_clock(ticks))
    assert tried.steps > 1 and tried.forecast is not None
    micro = 8 // tried.plan.parts
    train(tmp_path / "b", config(steps=tried.steps, micro_batch=micro, **settings))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


def _clock(ticks: Any) -> Callable[[], float]:
    return lambda: float(next(ticks))


def test_the_forecast_is_printed_beside_the_time_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "r", config(steps=None, minutes=0.4), quiet=False, now=_clock(iter(range(10**6))))
    assert "forecast 0:2" in capsys.readouterr().err


def test_ranks_share_the_micro_batches() -> None:
    assert [list(World(rank, 2).parts(4)) for rank in (0, 1)] == [[0, 2], [1, 3]]


def test_the_allocator_setting_is_harmless() -> None:
    assert machine.keep_freed_memory() in (True, False)
    assert torch.ones(1000).sum() == 1000
    assert optim.averages(12, 12) == 3
