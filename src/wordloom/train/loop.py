"""THE loop. One training step, from data to weights, is ``fit`` below and ``gradients`` under it.

A step is a pure function of (weights, optimiser state, job state, seed, step): the stream makes the step's data from
its number, dropout is seeded by (seed, step, micro-batch). So a resumed run needs no random-number state and replays
nothing, and on a CPU its weights are bitwise those of a run that was never stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from wordloom.config import TrainConfig
from wordloom.data.batch import Batch
from wordloom.errors import RunError, TrainingError
from wordloom.run import Run
from wordloom.train import machine, parallel
from wordloom.train.checkpoint import Checkpoint, Checkpoints, load, load_weights, weights
from wordloom.train.job import Job, Stream, Terms
from wordloom.train.log import RunLog, clock
from wordloom.train.optim import Layers, Optimiser, averages, build_optimiser, exchange, set_frozen, update_average
from wordloom.train.parallel import World
from wordloom.train.plan import Plan, Trial, frozen, make_plan, resume_plan
from wordloom.train.prefetch import Load, Prefetch, load_step
from wordloom.train.schedule import factor

States = dict[int, dict[str, Tensor] | None]  # micro-batch -> what the job carries from step to step


@dataclass(frozen=True)
class Outcome:
    """How training ended. The model holds the best checkpoint's weights (the averaged ones where the recipe averages).

    step: steps done, of ``steps`` planned; fewer where patience ran out. scores: of the best evaluation, at
    ``best_step``. seconds: of the whole run, less what a process that was killed did; processor_seconds: of this
    process's threads meanwhile, which other work on the machine hardly changes. forecast: what --minutes promised, in
    seconds.
    """

    step: int
    steps: int
    scores: dict[str, float]
    best_step: int | None
    seconds: float
    processor_seconds: float
    forecast: float | None
    plan: Plan


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the step was finished and saved; the command line exits with 130."""


@dataclass
class Setting:
    """What every step needs. ``loss``: the model with its loss (compiled where asked). ``module``: DDP around it."""

    job: Job
    model: nn.Module
    config: TrainConfig
    world: World
    device: torch.device
    layers: Layers | None
    optimiser: Optimiser
    loss: nn.Module
    module: nn.Module
    precision: str = "float32"


@dataclass(frozen=True)
class Losses:
    """Of one step: sums (P, N) float64 of N terms in P micro-batches, over all ranks."""

    sums: Tensor
    totals: dict[str, int]
    weights: list[float]

    def terms(self) -> dict[str, tuple[float, int, float]]:
        """name -> (sum, count, weight)."""
        sums = self.sums.sum(0).tolist()
        return {name: (sums[i], self.totals[name], self.weights[i]) for i, name in enumerate(self.totals)}


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
    processor: Callable[[], float] = time.process_time,
) -> Outcome:
    """Train ``model`` in place and keep everything in ``run``.

    layers: (depth, parameters) from the embeddings up, for layer_decay and freeze. facts: hashes of what the numbers
    depend on (tokenizer, data); a resumed run with others is refused. unigram_entropy and flops_per_token are for
    display. world: from ``parallel.start()``; only rank 0 writes.

    Raises RunError where the run cannot be resumed exactly, TrainingError on a non-finite loss, lack of memory or a
    full disk, Interrupted after Ctrl-C.
    """
    begun, begun_processor = now(), processor()
    world = world or parallel.start()
    s = _setting(job, model, config, world, machine.pick_device(device), layers)
    plan = _plan(s, stream, run, dict(facts or {}), resume, now)
    if hasattr(stream, "total_steps"):  # a stream whose corruption follows a schedule asks how long the run is
        stream.total_steps = plan.steps
    kept = Checkpoints(run.checkpoints, job.score, writes=world.writes)
    log = RunLog(run, plan, config.log_every, unigram_entropy, flops_per_token, quiet, tensorboard, world.writes)
    step, states, average = _restore(s, kept, log, run) if resume else (0, {}, {})
    earlier = run.manifest if resume else {}
    before, before_processor = (float(earlier.get(key, 0.0)) for key in ("seconds_before", "processor_seconds_before"))
    set_frozen(model, layers, config.freeze, step, plan.steps)
    s.module = parallel.wrap(s.loss, world)
    with Prefetch(stream, job, plan.parts, step, plan.steps) as loads, _Stop(world) as stop, log.opened(step):
        while True:
            if plan.evaluates(step) and kept.index.evaluation(step) is None and not stop.agreed:
                with log.paused():
                    scores = _evaluate(s, average)
                    log.evaluation(step, scores, job.score[0])
                    kept.evaluated(step, scores)
            tired = config.patience is not None and kept.without_gain() >= config.patience
            if step >= plan.steps or tired or stop.agreed:
                break
            load = loads.next()
            if set_frozen(model, layers, config.freeze, step, plan.steps):
                s.module = parallel.wrap(s.loss, world)
            losses = gradients(s, load, states, step)
            norm = _clip(model, config.clip)
            _refuse_nonfinite(losses, norm, load, step, config)
            rate = factor(step, plan.steps, config)
            s.optimiser.step(rate)
            step += 1
            if config.average and (count := averages(step, plan.steps)):
                update_average(average, model, count)
            log.step(step, losses.terms(), config.lr * rate, norm, load.tokens)
            stop.agree()
            if plan.saves(step) or stop.agreed:
                with log.paused():
                    kept.save(_checkpoint(s, step, states, average, log))
    stop.agree()  # once more: the signal may have come during the last evaluation
    if stop.agreed:  # everything is saved: a resumed run goes on, or only finishes
        if world.writes:
            spent = {"seconds_before": before + now() - begun}
            run.update_manifest(**spent, processor_seconds_before=before_processor + processor() - begun_processor)
        log.say(f"stopped and saved at step {step} of {plan.steps}; go on with: {resume_command or 'resume=True'}")
        raise Interrupted(f"stopped at step {step}")
    spent = {"seconds": before + now() - begun, "processor_seconds": before_processor + processor() - begun_processor}
    return _finish(s, kept, plan, step, spent, log)


def gradients(s: Setting, load: Load, states: States, step: int) -> Losses:
    """Leave in ``.grad`` the gradient of sum over terms of weight * (all sums / all counts); advance ``states``.

    The divisor is the total over micro-batches and ranks, so how a step is cut changes nothing but rounding.
    """
    mine = s.world.parts(len(load.parts))
    sums = torch.zeros(len(load.parts), len(load.totals), dtype=torch.float64, device=s.device)
    weights = [0.0] * len(load.totals)
    for part in mine:
        torch.manual_seed(_dropout_seed(s.config.seed, step, part))
        batch = load.parts[part].to(s.device)
        local = contextlib.nullcontext() if part == mine[-1] else parallel.no_sync(s.module)
        with local, machine.memory_errors(step):
            with _autocast(s):
                terms, states[part] = s.module(batch, states.get(part))
            # DDP averages over ranks; the totals already hold every rank's counts, hence the factor.
            (s.world.size * _combine(terms, load.totals)).backward()
        sums[part] = torch.stack([terms[name].sum.detach().double() for name in load.totals])
        weights = [terms[name].weight for name in load.totals]
    return Losses(s.world.sum(sums).cpu(), load.totals, weights)


def _combine(terms: Terms, totals: Mapping[str, int]) -> Tensor:
    if terms.keys() != totals.keys():
        raise ValueError(f"loss() gave terms {sorted(terms)}, counts() gave {sorted(totals)}")
    return torch.stack([t.weight * t.sum.float() / max(1, totals[name]) for name, t in terms.items()]).sum()


class _WithLoss(nn.Module):
    """The model with its loss as one module, so that DDP's hooks see one forward pass."""

    def __init__(self, job: Job, model: nn.Module):
        super().__init__()
        self.model = model
        self._job = job

    def forward(self, batch: Batch, state: Any) -> tuple[Terms, Any]:
        return self._job.loss(self.model, batch, state)


def _dropout_seed(seed: int, step: int, part: int) -> int:
    """63 bits from (seed, step, part): neighbouring steps get unrelated seeds."""
    mixed = hashlib.blake2b(f"{seed} {step} {part}".encode(), digest_size=8).digest()
    return int.from_bytes(mixed, "little") >> 1


def _autocast(s: Setting) -> torch.autocast:
    return torch.autocast(s.device.type, dtype=torch.bfloat16, enabled=s.precision == "bfloat16")


def _clip(model: nn.Module, limit: float) -> float:
    """Norm of the whole gradient before clipping it to ``limit`` (Pascanu et al. 2013, algorithm 1)."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    if limit:
        return nn.utils.clip_grad_norm_(parameters, limit).item()
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item()


def _refuse_nonfinite(losses: Losses, norm: float, load: Load, step: int, config: TrainConfig) -> None:
    """Raised on every rank alike, before the weights are touched."""
    bad = [i for i, row in enumerate(losses.sums.isfinite().all(1).tolist()) if not row]
    if not bad and math.isfinite(norm):
        return
    ids = [name for part in bad or range(len(load.parts)) for name in load.parts[part].ids]
    named = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    what = f"the {'loss' if bad else 'gradient'} is not finite (documents: {named or 'unnamed'})"
    cure = f"lower train.lr (now {config.lr}), set train.precision to float32, or look at these documents"
    raise TrainingError(what, where=f"step {step}", cure=cure)


# --- around the loop -------------------------------------------------------------------------------------------------


def _setting(
    job: Job, model: nn.Module, config: TrainConfig, world: World, device: torch.device, layers: Layers | None
) -> Setting:
    if device.type == "cpu":
        machine.keep_freed_memory()
    model.to(device).train()
    loss: nn.Module = _WithLoss(job, model)
    if config.compile:
        loss = torch.compile(loss)  # type: ignore[assignment]
    return Setting(job, model, config, world, device, layers, build_optimiser(model, config, layers), loss, loss)


def _plan(s: Setting, stream: Stream, run: Run, facts: dict[str, Any], resume: bool, now: Callable[[], float]) -> Plan:
    """The plan of the manifest when resuming, else a new one, frozen there before step 0."""
    before = run.manifest.get("frozen") if resume else None
    threads = s.config.threads or (before["plan"]["threads"] if before else None)
    torch.set_num_threads(machine.pick_threads(threads))
    if before:
        plan = resume_plan(before, s.config, facts, s.world, s.device)
        s.precision = plan.precision
        return plan
    if not resume and (run.checkpoints / "index.json").exists():
        cure = "resume it or start a new run"
        raise RunError("the run has checkpoints already", where=run.path, cure=cure)
    s.precision = s.world.share(machine.pick_precision(s.config.precision, s.device))
    s.module = parallel.wrap(s.loss, s.world)
    plan = make_plan(s.config, stream, s.world, s.device, s.precision, _trial(s, stream, now))
    s.optimiser = build_optimiser(s.model, s.config, s.layers)  # the trials' state is dropped
    if s.world.writes:
        run.checkpoints.mkdir(exist_ok=True)  # its entry reaches the disk with the manifest's
        run.update_manifest(frozen=frozen(plan, s.config, facts))
    return plan


def _trial(s: Setting, stream: Stream, now: Callable[[], float]) -> Trial:
    def part(parts: int) -> None:
        load = load_step(stream, s.job, 0, parts)
        try:
            with parallel.no_sync(s.module), _autocast(s):
                terms, _ = s.module(load.parts[s.world.rank].to(s.device), None)
                _combine(terms, load.totals).backward()
        finally:
            s.model.zero_grad(set_to_none=True)

    def step(step: int, parts: int) -> None:
        load = load_step(stream, s.job, step, parts)
        losses = gradients(s, load, {}, step)
        _refuse_nonfinite(losses, _clip(s.model, s.config.clip), load, step, s.config)
        s.optimiser.step(0.0)  # a learning rate of 0 leaves the weights as they are, to the bit

    return Trial(part, step, lambda: _evaluate(s, {}), now)


def _evaluate(s: Setting, average: dict[str, Tensor]) -> dict[str, float]:
    """Rank 0 evaluates (with the averaged weights where there are any) and tells the others."""
    scores: dict[str, float] = {}
    if s.world.writes:
        exchange(average, s.model)
        s.model.eval()
        with torch.no_grad(), _autocast(s):
            scores = {name: float(value) for name, value in s.job.evaluate(s.model).items()}
        s.model.train()
        exchange(average, s.model)
        if s.job.score[0] not in scores:
            raise ValueError(f"evaluate() gave {sorted(scores)}, without the score {s.job.score[0]!r}")
    return s.world.share(scores)


def _checkpoint(s: Setting, step: int, states: States, average: dict[str, Tensor], log: RunLog) -> Checkpoint:
    tensors = {"model": weights(s.model), "optimiser": s.optimiser.state(), "average": average}
    merged = {part: state for mine in s.world.gather(states) for part, state in mine.items() if state is not None}
    tensors["state"] = {f"{part}/{name}": t for part, state in merged.items() for name, t in state.items()}
    return Checkpoint(step, {stem: t for stem, t in tensors.items() if t}, log.state())


def _restore(s: Setting, kept: Checkpoints, log: RunLog, run: Run) -> tuple[int, States, dict[str, Tensor]]:
    """Load the newest whole checkpoint and cut the log back to it; step 0 where none was saved yet."""
    found, trouble = kept.restore() if s.world.writes else (None, None)
    kept.index = s.world.share(kept.index)
    if not s.world.writes and kept.index.kept:
        found = load(kept.folder / kept.index.kept[0])
    step = found.step if found else 0
    if s.world.writes:
        run.update_manifest(status="running")
        evaluated = kept.index.evaluation(step) is not None
        run.cut_log(lambda row: row.get("step", 0) < step + ("evaluation" not in row or evaluated))
    if found is None:
        return 0, {}, {}
    if trouble:
        log.say(f"note: {trouble}; going on from step {step}, the newest whole checkpoint")
    load_weights(s.model, found.tensors["model"], kept.folder)
    s.optimiser.load(found.tensors.get("optimiser", {}))
    log.restore(found.log)
    average = {name: t.to(s.device) for name, t in found.tensors.get("average", {}).items()}
    states: States = {}
    for key, tensor in found.tensors.get("state", {}).items():
        part, _, name = key.partition("/")
        if int(part) in s.world.parts(int(part) + 1):
            states.setdefault(int(part), {})[name] = tensor.to(s.device)  # type: ignore[index]
    return step, states, average


def _finish(s: Setting, kept: Checkpoints, plan: Plan, step: int, spent: Mapping[str, float], log: RunLog) -> Outcome:
    """Put the best weights into the model and say what came of the forecast."""
    s.world.barrier()
    best = kept.best()
    if best is not None:
        load_weights(s.model, best.tensors["model"], kept.folder)
        exchange({name: t.to(s.device) for name, t in best.tensors.get("average", {}).items()}, s.model)
    set_frozen(s.model, s.layers, "none", step, plan.steps)
    if plan.forecast is not None:
        log.say(f"forecast {clock(plan.forecast)}, took {clock(spent['seconds'])} for {step} steps")
    best_step = kept.best_step()
    scores = kept.index.evaluation(best_step) if best_step is not None else None
    return Outcome(step, plan.steps, scores or {}, best_step, forecast=plan.forecast, plan=plan, **spent)


class _Stop:
    """Ctrl-C and SIGTERM ask for a stop after the step; a second Ctrl-C of a single process stops at once."""

    def __init__(self, world: World):
        self._world, self._asked, self.agreed = world, False, False
        self._before: dict[int, Any] = {}

    def agree(self) -> None:
        """Called by every rank after every step and at the end, so that all of them stop at the same one."""
        self.agreed = any(self._world.gather(self._asked)) if self._world.size > 1 else self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and self._world.size == 1:  # torchrun repeats the signal the terminal has sent already
            raise KeyboardInterrupt
        self._asked = True

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
