"""What a run says while it trains: a progress bar or plain lines, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import torch

from wordloom.run import Run
from wordloom.train import machine
from wordloom.train.plan import Plan

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch.utils.tensorboard import SummaryWriter

SMOOTHING = 0.98  # of the loss the plateau is judged by
PLATEAU = 0.02  # "sits at the unigram entropy": within this share of it
PLATEAU_STEPS = 200


class RunLog:
    """The log of a run; silent on ranks that do not write.

    ``state()`` goes into the checkpoint, so that a resumed run's log reads like one run's.

    unigram_entropy: nats per token of the corpus, compared with the job's first term (what a model that knows only
    word frequencies reaches). flops_per_token: forward and backward, for the share of the machine's peak.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        log_every: int,
        unigram_entropy: float | None = None,
        flops_per_token: float | None = None,
        quiet: bool = False,
        tensorboard: bool = True,
        writes: bool = True,
        out: IO[str] | None = None,
    ):
        self._run, self._plan, self._every = run, plan, log_every
        self._unigram, self._flops, self._quiet, self._writes = unigram_entropy, flops_per_token, quiet, writes
        self._out = out or sys.stderr
        self._peak = None
        if flops_per_token is not None and writes:
            dtype = torch.bfloat16 if plan.precision == "bfloat16" else torch.float32
            self._peak = machine.matmul_peak(torch.device(plan.device), dtype)
        self._want_tensorboard = tensorboard
        self._tensorboard: SummaryWriter | None = None
        self._bar: Progress | None = None
        self._window: dict[str, list[float]] = {}  # term -> [sum, count, weight] since the last line
        self._smooth: float | None = None
        self._at_plateau, self._plateau_said = 0, False
        self._tokens, self._seconds, self._total_seconds, self._total_steps, self._started = 0, 0.0, 0.0, 0, 0.0

    # --- state

    def state(self) -> dict[str, Any]:
        return {
            "window": self._window,
            "smooth": self._smooth,
            "at_plateau": self._at_plateau,
            "plateau_said": self._plateau_said,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._window = {name: list(values) for name, values in state["window"].items()}
        self._smooth, self._at_plateau = state["smooth"], state["at_plateau"]
        self._plateau_said = state["plateau_said"]

    # --- what the loop calls

    @contextlib.contextmanager
    def opened(self, step: int) -> Iterator[None]:
        """Open the outputs; rows and events after ``step`` were cut or are purged."""
        if self._want_tensorboard and self._writes:
            self._tensorboard = _tensorboard(self._run, step)
        if self._writes and not self._quiet and self._out.isatty():
            self._bar = _bar(self._out, self._plan.steps, step)
        self._started = time.perf_counter()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.stop()
            if self._tensorboard is not None:
                self._tensorboard.close()
            self._bar = self._tensorboard = None

    def step(
        self, step: int, terms: Mapping[str, tuple[float, int, float]], lr: float, norm: float, tokens: int
    ) -> None:
        """One step done (``step`` counts from 1). terms: name -> (sum, count, weight) over all micro-batches."""
        if not self._writes:
            return
        now = time.perf_counter()
        self._seconds += now - self._started
        self._started = now
        self._tokens += tokens
        for name, (total, count, weight) in terms.items():
            kept = self._window.setdefault(name, [0.0, 0, weight])
            kept[0], kept[1], kept[2] = kept[0] + total, kept[1] + count, weight
        self._watch_plateau(step, terms)
        self._total_steps += 1
        if step % self._every == 0 or step == self._plan.steps:
            self._line(step, lr, norm)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Saving and evaluating: not training time. The rows so far reach the disk first."""
        self._seconds += time.perf_counter() - self._started
        self._run.sync_log()
        yield
        self._started = time.perf_counter()

    def evaluation(self, step: int, scores: Mapping[str, float], main: str = "loss") -> None:
        """All scores are logged; loss and ``main``, which the best checkpoint is chosen by, are said."""
        if not self._writes:
            return
        self._run.log({"step": step, "evaluation": dict(scores)})
        self._run.sync_log()
        self._scalars(step, {f"valid/{name}": value for name, value in scores.items()})
        shown = {name: scores[name] for name in ("loss", main) if name in scores}
        self.say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in shown.items()))

    def say(self, text: str) -> None:
        if self._quiet or not self._writes:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._out, flush=True)

    # --- lines

    def _line(self, step: int, lr: float, norm: float) -> None:
        losses = {name: total / count for name, (total, count, _) in self._window.items() if count}
        loss = sum(self._window[name][2] * value for name, value in losses.items())
        speed = self._tokens / self._seconds if self._seconds else 0.0
        self._total_seconds += self._seconds
        row: dict[str, Any] = {"step": step, "loss": loss, "terms": losses, "lr": lr, "gradient_norm": norm}
        row["tokens_per_second"] = round(speed, 1)
        if self._peak is not None and self._flops is not None:
            row["share_of_peak"] = round(speed * self._flops / self._peak, 4)
        self._run.log(row)
        scalars = {"train/loss": loss, "train/lr": lr, "train/gradient_norm": norm, "train/tokens_per_second": speed}
        self._scalars(step, scalars | {f"train/{name}": value for name, value in losses.items()})
        left = (self._plan.steps - step) * self._total_seconds / max(1, self._total_steps)
        self._show(step, row, left)
        self._window, self._tokens, self._seconds = {}, 0, 0.0

    def _show(self, step: int, row: dict[str, Any], left: float) -> None:
        text = f"loss {row['loss']:.4f}"
        if self._unigram is not None:
            text += f" (unigram {self._unigram:.3f})"
        text += f"  {row['tokens_per_second']:,.0f} tokens/s"
        if "share_of_peak" in row:
            text += f"  {row['share_of_peak']:.0%} of peak"
        text += f"  {clock(left)} left"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, text=text)
        else:
            self.say(f"step {step}/{self._plan.steps}  {text}")

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._tensorboard is None:
            return
        try:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)
        except OSError as error:  # a picture of the run is not worth the run
            self._tensorboard = None
            self.say(f"TensorBoard files are no longer written: {error}")

    def _watch_plateau(self, step: int, terms: Mapping[str, tuple[float, int, float]]) -> None:
        total, count, _ = next(iter(terms.values()))
        if self._unigram is None or not count:
            return
        loss = total / count
        self._smooth = loss if self._smooth is None else SMOOTHING * self._smooth + (1 - SMOOTHING) * loss
        near = abs(self._smooth - self._unigram) <= PLATEAU * self._unigram
        self._at_plateau = self._at_plateau + 1 if near else 0
        if self._at_plateau >= PLATEAU_STEPS and not self._plateau_said:
            self._plateau_said = True
            note = f"stuck at the unigram plateau for {self._at_plateau} steps: the model knows word frequencies only"
            self._run.log({"step": step, "note": note})
            self.say(f"step {step}: {note}. Raise train.lr or lengthen the warm-up; see docs/troubleshooting.md.")


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _bar(out: IO[str], steps: int, step: int) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
    bar = Progress(*columns, console=Console(file=out))
    bar.add_task("train", total=steps, completed=step, text="")
    bar.start()
    return bar


def _tensorboard(run: Run, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import: only here
    except ImportError:
        return None
    return SummaryWriter(str(run.tensorboard), purge_step=step + 1)
