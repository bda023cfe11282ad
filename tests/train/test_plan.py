"""What is settled before step 0: steps from epochs or minutes, micro-batches from memory."""

from __future__ import annotations

import pytest
import torch
from toy_training import ToyStream

from wordloom.config import TrainConfig
from wordloom.errors import ConfigError
from wordloom.train import machine, plan
from wordloom.train.parallel import World
from wordloom.train.plan import Plan, Trial, count_steps, fit_minutes, make_plan, measure, pick_parts

CPU = torch.device("cpu")


class FakeTime:
    """A clock that trials move: a step takes ``step`` seconds, the first two five times as long."""

    def __init__(self, step: float, evaluation: float):
        self.now, self.steps, self._step, self._evaluation = 0.0, 0, step, evaluation

    def trial(self) -> Trial:
        return Trial(lambda parts: None, self._one_step, self._evaluate, lambda: self.now)

    def _one_step(self, step: int, parts: int) -> None:
        self.now += self._step * (5 if self.steps < 2 else 1)
        self.steps += 1

    def _evaluate(self) -> None:
        self.now += self._evaluation


def test_epochs() -> None:
    stream = ToyStream()  # 10 steps an epoch
    assert count_steps(TrainConfig(epochs=3), stream) == 30
    assert count_steps(TrainConfig(epochs=0.25), stream) == 3
    assert count_steps(TrainConfig(epochs=0.3), stream) == 3
    assert count_steps(TrainConfig(steps=7), stream) == 7
    with pytest.raises(ConfigError):
        count_steps(TrainConfig(), stream)


def test_throughput_is_the_median_after_warm_up() -> None:
    time = FakeTime(step=0.5, evaluation=3.0)
    assert measure(time.trial(), 1, budget=10_000) == (0.5, 3.0)
    assert time.steps == plan.WARM_UP + plan.TIMED
    slow = FakeTime(step=100.0, evaluation=3.0)
    assert measure(slow.trial(), 1, budget=60)[0] == 100.0 and slow.steps == 3  # not eight slow steps


@pytest.mark.parametrize(("step", "evaluation"), [(0.1, 0.0), (0.1, 1.0), (2.0, 0.5), (0.01, 30.0)])
def test_minutes_are_filled_and_not_overrun(step: float, evaluation: float) -> None:
    time = FakeTime(step, evaluation)
    made = make_plan(TrainConfig(minutes=5, micro_batch=64), ToyStream(64), World(), CPU, "float32", time.trial())
    evaluations = sum(made.evaluates(n) for n in range(1, made.steps + 1))
    actual = time.now + made.steps * step + evaluations * evaluation
    assert actual == pytest.approx(made.forecast)
    assert 300 * 0.98 - step - evaluation <= actual <= 300 + 1e-6
    assert evaluations * evaluation <= 60 + evaluation  # a fifth, or the one that always happens


def test_minutes_with_a_stated_evaluation_interval() -> None:
    assert fit_minutes(100, 1.0, 10.0, 10) == (50, 10)
    assert fit_minutes(0.1, 1.0, 10.0, None) == (1, 1)  # too little time for anything: one step, one evaluation


def test_evaluations_and_saves_fall_on_known_steps() -> None:
    made = Plan(10, 1, 4, 3, "float32", 1, 1, "cpu")
    assert [s for s in range(11) if made.evaluates(s)] == [4, 8, 10]
    assert [s for s in range(1, 11) if made.saves(s)] == [3, 4, 6, 8, 9, 10]


@pytest.mark.parametrize(("batch", "micro", "size", "parts"), [(8, 8, 1, 1), (8, 3, 1, 3), (8, 8, 2, 2), (9, 3, 2, 4)])
def test_a_stated_micro_batch(batch: int, micro: int, size: int, parts: int) -> None:
    config = TrainConfig(batch=batch, micro_batch=micro)
    assert pick_parts(config, World(0, size), CPU, FakeTime(1, 1).trial()) == parts


@pytest.mark.parametrize(("batch", "micro"), [(1, 1), (3, 1)])
def test_rows_that_cannot_be_shared_are_refused(batch: int, micro: int) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        pick_parts(TrainConfig(batch=batch, micro_batch=micro), World(0, 2), CPU, FakeTime(1, 1).trial())


@pytest.mark.parametrize(("free", "parts"), [(10**9, 1), (1600, 1), (1599, 2), (400, 4), (1, 32)])
def test_the_micro_batch_follows_from_memory(monkeypatch: pytest.MonkeyPatch, free: int, parts: int) -> None:
    """An eighth of the batch took 100 bytes: the whole takes 800, and half of what is free may be used."""

    class Measured(machine.PeakMemory):
        def __exit__(self, *error: object) -> None:
            self.bytes = 100

    monkeypatch.setattr(machine, "PeakMemory", Measured)
    monkeypatch.setattr(machine, "available_memory", lambda device: free)
    tried = []
    trial = Trial(tried.append, lambda step, parts: None, lambda: None, lambda: 0.0)
    assert pick_parts(TrainConfig(batch=32), World(), CPU, trial) == parts
    assert tried == [8]


def test_a_gpu_halves_until_it_fits() -> None:
    tried = []

    def part(parts: int) -> None:
        tried.append(parts)
        if parts < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    trial = Trial(part, lambda step, parts: None, lambda: None, lambda: 0.0)
    assert pick_parts(TrainConfig(batch=32), World(), torch.device("cuda"), trial) == 4 and tried == [1, 2, 4]


def test_peak_memory_sees_an_allocation() -> None:
    with machine.PeakMemory() as peak:
        block = torch.ones(64 << 20, dtype=torch.uint8)
    assert block[0] == 1
    assert peak.bytes is None or peak.bytes > 50 << 20


def test_the_precision_follows_from_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16, amx, expected in ((True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda bf16=bf16: bf16)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert machine.pick_precision("auto", CPU) == expected
        assert machine.pick_precision("float32", CPU) == "float32"
