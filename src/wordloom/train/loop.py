"""THE loop. One training step, from data to weights, is ``fit`` below and ``gradients`` under it.

A step is a pure function of (weights, optimiser state, job state, seed, step): the stream makes the step's data from
its number, dropout is seeded by (seed, step, micro-batch). So a resumed run needs no random-number state and replays
nothing, and on a CPU its weights are bitwise those of a run that was never stopped.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from wordloom.config import TrainConfig
from wordloom.data.batch import Batch
from wordloom.errors import RunError, TrainingError
from wordloom.run import Run
from wordloom.train import machine, parallel
from wordloom.train.checkpoint import Checkpoint, Checkpoints, Index, load, load_weights, weights
from wordloom.train.job import Job, Stream, Terms
from wordloom.train.log import RunLog, clock
from wordloom.train.optim import Layers, Optimiser, averages, build_optimiser, exchange, set_frozen, update_average
from wordloom.train.parallel import World
from wordloom.train.plan import Plan, Trial, frozen, make_plan, resume_plan
from wordloom.train.schedule import factor

States = dict[int, dict[str, Tensor] | None]  # micro-batch -> what the job carries from step to step


@dataclass(frozen=True)
class Outcome:
    """How training ended. The model holds the best checkpoint's weights (the averaged ones where the recipe averages).

    step: steps done, of ``steps`` planned; fewer where patience ran out. scores: of the best evaluation, at
    ``best_step``. seconds: of this process. forecast: what --minutes promised, in seconds.
    """

    step: int
    steps: int
    scores: dict[str, float]
    best_step: int | None
    seconds: float
    forecast: float | None
    plan: Plan


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the step was finished and saved; the command line exits with 130."""


@dataclass(frozen=True)
class Load:
    """One step's data: micro-batches, counts per term over all of them, tokens that are not padding."""

    parts: list[Batch]
    totals: dict[str, int]
    tokens: int


@dataclass
class Setting:
    """What every step needs. ``module`` is (DDP around) the model with its loss."""

    job: Job
    model: nn.Module
    stream: Stream
    config: TrainConfig
    world: World
    device: torch.device
    optimiser: Optimiser
    module: nn.Module
    precision: str = "float32"


def fit(
    job: Job,
    model: nn.Module,
    stream: Stream,
    config: TrainConfig,
    run: Run,
    *,
    resume: bool = False,
    layers: Layers | None = None,
    facts: Mapping[str, Any] | None = None,
    unigram_entropy: float | None = None,
    flops_per_token: float | None = None,
    resume_command: str | None = None,
    quiet: bool = False,
    tensorboard: bool = True,
    world: World | None = None,
    device: str | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Train ``model`` in place and keep everything in ``run``.

    layers: (depth, parameters) from the embeddings up, for layer_decay and freeze. facts: hashes of what the numbers
    depend on (tokenizer, data); a resumed run with others is refused. unigram_entropy and flops_per_token are for
    display. world: from ``parallel.start()``; only rank 0 writes.

    Raises RunError where the run cannot be resumed exactly, TrainingError on a non-finite loss, lack of memory or a
    full disk, Interrupted after Ctrl-C.
    """
    begun = now()
    world = world or parallel.start()
    s = _setting(job, model, stream, config, world, machine.pick_device(device), layers)
    kept = Checkpoints(run.checkpoints, job.score, writes=world.writes)
    plan = _plan(s, run, dict(facts or {}), resume, now)
    s.precision = plan.precision
    log = RunLog(
        run,
        plan,
        config.log_every,
        unigram_entropy=unigram_entropy,
        flops_per_token=flops_per_token,
        quiet=quiet or not world.writes,
        tensorboard=tensorboard,
    )
    step, states, average = _restore(s, kept, log, run) if resume else (0, {}, {})
    set_frozen(model, layers, config.freeze, step, plan.steps)
    s.module = _module(s)
    saved = step
    with _signals(world) as stop, _Prefetch(stream, job, plan.parts, step, plan.steps) as loads, _logging(log, step):
        while True:
            if plan.evaluates(step) and kept.index.evaluation(step) is None and not stop():
                log.pause()
                scores = _evaluate(s, average)
                if world.writes:
                    log.evaluation(step, scores)
                kept.evaluated(step, scores)
                log.go_on()
            tired = config.patience is not None and kept.without_gain() >= config.patience
            if step >= plan.steps or tired or stop():
                break
            load = loads.next()
            if set_frozen(model, layers, config.freeze, step, plan.steps):
                s.module = _module(s)
            terms = gradients(s, load, states, step)
            norm = _clip(model, config.clip)
            _refuse_nonfinite(terms, norm, load, step, config)
            rate = factor(step, plan.steps, config)
            s.optimiser.step(rate)
            step += 1
            if config.average and (count := averages(step, plan.steps)):
                update_average(average, model, count)
            if world.writes:
                log.step(step, {n: t.row() for n, t in terms.items()}, config.lr * rate, norm, load.tokens)
            stop.agree()
            if plan.saves(step) or stop():
                log.pause()
                run.sync_log()
                kept.save(_checkpoint(s, step, states, average, log))
                saved = step
                log.go_on()
        if stop():
            raise _interrupted(log, run, saved, plan, resume_command)
    return _finish(s, kept, plan, step, now() - begun, quiet)
