"""What is decided before step 0 and frozen in the manifest: steps, micro-batches, precision, threads.

A resumed run takes these values from the manifest; any difference between then and now that could change a number is
refused by name.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from wordloom.config import TrainConfig
from wordloom.disk import jsonable
from wordloom.errors import ConfigError, RunError
from wordloom.run import versions
from wordloom.train import machine
from wordloom.train.job import Stream
from wordloom.train.parallel import World

EVALUATIONS = 10  # per run, where evaluate_every is absent
EVALUATION_SHARE = 0.2  # of a --minutes budget, at most
MEMORY_SHARE = 0.5  # of what is free: the estimate comes from one part of one step
WARM_UP, TIMED = 2, 8  # steps of the throughput measurement
RESOLVED = {"steps", "epochs", "minutes", "micro_batch", "precision", "threads", "evaluate_every", "save_every"}
HARMLESS = {"overwrite", "log_every"}


@dataclass(frozen=True)
class Plan:
    """parts: micro-batches per step, over all ranks. forecast: seconds, where --minutes chose the steps."""

    steps: int
    parts: int
    evaluate_every: int
    save_every: int | None
    precision: str
    threads: int
    processes: int
    device: str
    forecast: float | None = None

    def evaluates(self, step: int) -> bool:
        return step > 0 and (step % self.evaluate_every == 0 or step == self.steps)

    def saves(self, step: int) -> bool:
        """Always where it evaluates: the best checkpoint must exist, and an evaluation can fail."""
        return self.evaluates(step) or (self.save_every is not None and step % self.save_every == 0)


@dataclass(frozen=True)
class Trial:
    """What a plan may try out before step 0; none of it changes the weights.

    part(parts): forward and backward of the first of ``parts`` micro-batches of step 0.
    step(step, parts): one whole step with learning rate 0. evaluate(): one evaluation. clock(): seconds.
    """

    part: Callable[[int], None]
    step: Callable[[int, int], None]
    evaluate: Callable[[], object]
    clock: Callable[[], float]


def make_plan(
    config: TrainConfig, stream: Stream, world: World, device: torch.device, precision: str, trial: Trial
) -> Plan:
    """Decide what the recipe left open. Rank 0 decides for all; every rank takes part in the trials."""
    start = trial.clock()
    smallest = getattr(stream, "smallest_step", None)  # of a stream whose steps differ in size
    parts = world.share(pick_parts(config, world, device, trial, smallest))
    forecast = None
    if config.minutes is not None:
        step_seconds, evaluation_seconds = measure(trial, parts, 60 * config.minutes)
        left = 60 * config.minutes - (trial.clock() - start)
        steps, every = fit_minutes(left, step_seconds, evaluation_seconds, config.evaluate_every)
        evaluations = math.ceil(steps / every)
        forecast = trial.clock() - start + steps * step_seconds + evaluations * evaluation_seconds
        steps, every, forecast = world.share((steps, every, forecast))
    else:
        steps = count_steps(config, stream)
        every = config.evaluate_every or math.ceil(steps / EVALUATIONS)
    return Plan(
        steps=steps,
        parts=parts,
        evaluate_every=every,
        save_every=config.save_every,
        precision=precision,
        threads=torch.get_num_threads(),
        processes=world.size,
        device=device.type,
        forecast=forecast,
    )


def count_steps(config: TrainConfig, stream: Stream) -> int:
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return max(1, math.ceil(config.epochs * stream.steps_per_epoch - 1e-9))
    cure = "give one of steps, epochs, minutes"
    raise ConfigError("nothing says how long to train", where="[train]", cure=cure)


def fit_minutes(
    seconds: float, step_seconds: float, evaluation_seconds: float, evaluate_every: int | None
) -> tuple[int, int]:
    """(steps, evaluate_every) that fill ``seconds``; evaluations take a fifth of it at most, one always happens."""
    if evaluate_every is not None:
        per_step = step_seconds + evaluation_seconds / evaluate_every
        return max(1, int(seconds / per_step)), evaluate_every
    evaluations = EVALUATIONS
    if evaluation_seconds * evaluations > EVALUATION_SHARE * seconds:
        evaluations = max(1, int(EVALUATION_SHARE * seconds / evaluation_seconds))
    steps = max(1, int((seconds - evaluations * evaluation_seconds) / step_seconds))
    return steps, math.ceil(steps / evaluations)


def measure(trial: Trial, parts: int, budget: float) -> tuple[float, float]:
    """(seconds per step, seconds per evaluation): median of a few steps after warm-up, at most 5% of the budget."""
    start, times = trial.clock(), []
    for step in range(WARM_UP + TIMED):
        before = trial.clock()
        trial.step(step, parts)
        now = trial.clock()
        if step >= WARM_UP:
            times.append(now - before)
        if times and now - start > 0.05 * budget:
            break
    before = trial.clock()
    trial.evaluate()
    return statistics.median(times), trial.clock() - before


def pick_parts(
    config: TrainConfig, world: World, device: torch.device, trial: Trial, smallest: int | None = None
) -> int:
    """Micro-batches per step: a multiple of the processes, as few as memory allows, one row each at least.

    smallest: rows of the smallest step, where steps differ.
    """
    rows = min(config.batch, smallest or config.batch)
    if rows < world.size:
        cure = f"set train.batch to {world.size} or more, or use fewer processes"
        raise ConfigError(f"{rows} rows cannot be shared by {world.size} processes", cure=cure)
    most = rows // world.size * world.size
    if config.micro_batch != "auto":
        parts = math.ceil(config.batch / config.micro_batch)
        parts = math.ceil(parts / world.size) * world.size
        if parts > config.batch:
            cure = f"make train.batch a multiple of {world.size}"
            raise ConfigError(f"{config.batch} rows cannot be split into {parts} micro-batches", cure=cure)
        return min(parts, most)
    if device.type == "cuda":
        return _try_parts(rows, world, trial)
    probe = max(parts for parts in _choices(rows, world.size) if parts <= 8 * world.size)
    with machine.PeakMemory() as peak:
        trial.part(probe)
    free = machine.available_memory(device)
    if peak.bytes is None or free is None:
        return world.size
    allowed = MEMORY_SHARE * free / world.size
    fitting = (parts for parts in _choices(rows, world.size) if peak.bytes * probe / parts <= allowed)
    return next(fitting, most)


def _choices(batch: int, size: int) -> Iterator[int]:
    """size, 2 size, 4 size, ... up to the batch."""
    parts = size
    while parts <= batch:
        yield parts
        parts *= 2


def _try_parts(batch: int, world: World, trial: Trial) -> int:
    for parts in _choices(batch, world.size):
        try:
            trial.part(parts)
        except RuntimeError as error:
            if not machine.out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            continue
        return parts
    return batch // world.size * world.size


# --- frozen facts ----------------------------------------------------------------------------------------------------


def frozen(plan: Plan, config: TrainConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest keeps, and what a resumed run must find unchanged."""
    return jsonable(
        {
            "plan": asdict(plan),
            "asked": config.model_dump(include=RESOLVED),
            "train": config.model_dump(exclude=RESOLVED | HARMLESS),
            "facts": dict(facts),
            "versions": versions(),
            "processor": torch.backends.cpu.get_cpu_capability(),
        }
    )


def resume_plan(
    before: Mapping[str, Any], config: TrainConfig, facts: Mapping[str, Any], world: World, device: torch.device
) -> Plan:
    """The plan of the manifest; RunError naming the first difference that would make the resumed numbers others."""
    plan = Plan(**before["plan"])
    now = frozen(plan, config, facts)
    now["plan"]["processes"], now["plan"]["device"] = world.size, device.type
    now["plan"]["threads"] = torch.get_num_threads()
    wanted, asked = dict(now.pop("asked")), dict(before["asked"])
    # What the recipe leaves open was settled at step 0; what it states must be what was settled.
    micro = math.ceil(config.batch / plan.parts)
    settled = {
        "micro_batch": micro,
        "steps": plan.steps,
        "precision": plan.precision,
        "evaluate_every": plan.evaluate_every,
    }
    for key, value in wanted.items():
        if value in (None, "auto") or value == asked[key] or settled.get(key) == value or key == "threads":
            continue
        was = settled.get(key, asked[key])
        raise RunError(*_difference(f"train.{key}", was, value), cure=_CURE)
    for key, was, value in _differences("", {k: before[k] for k in now}, now):
        raise RunError(*_difference(key, was, value), cure=_CURE)
    return plan


_CURE = "use what the run was started with, or start a new run"


def _difference(key: str, was: Any, value: Any) -> tuple[str]:
    return (f"cannot resume exactly: {key} was {was!r} and is {value!r} now",)


def _differences(path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(set(a) | set(b)):
            yield from _differences(f"{path}.{key}" if path else key, a.get(key), b.get(key))
    elif a != b:
        yield path, a, b
