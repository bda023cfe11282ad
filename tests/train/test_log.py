"""What a run says: lines, metrics.jsonl, TensorBoard, the plateau warning."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from wordloom.run import Run
from wordloom.train import machine
from wordloom.train.log import PLATEAU_STEPS, RunLog, clock
from wordloom.train.plan import Plan


def plan(steps: int) -> Plan:
    return Plan(steps, 1, steps, None, "float32", 1, 1, "cpu")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    with Run.create(tmp_path / "r", {}, "toy") as opened:
        yield opened


def test_a_row_is_totals_over_totals_since_the_last(run: Run) -> None:
    log = RunLog(run, plan(4), 2, quiet=True, tensorboard=False)
    with log.opened(0):
        log.step(1, {"a": (10.0, 1, 1.0), "b": (1.0, 1, 0.5)}, 0.1, 2.0, 7)
        log.step(2, {"a": (2.0, 3, 1.0), "b": (1.0, 3, 0.5)}, 0.2, 3.0, 7)
    row = run.read_log()[0]
    assert row["terms"] == {"a": 3.0, "b": 0.5} and row["loss"] == 3.25  # not (10 + 2/3) / 2
    assert (row["step"], row["lr"], row["gradient_norm"]) == (2, 0.2, 3.0)


def test_a_plain_line_shows_what_the_issue_of_a_run_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "matmul_peak", lambda *args: 1e9)
    out = io.StringIO()
    log = RunLog(run, plan(100), 1, unigram_entropy=6.25, flops_per_token=1.0, tensorboard=False, out=out)
    with log.opened(0):
        log.step(1, {"masked": (14.0, 2, 1.0)}, 0.1, 1.0, 500)
    line = out.getvalue()
    assert line.startswith("step 1/100  loss 7.0000 (unigram 6.250)  ")
    assert "tokens/s" in line and "% of peak" in line and line.endswith(" left\n")
    assert run.read_log()[0]["share_of_peak"] >= 0


def test_the_plateau_is_named_once(run: Run) -> None:
    out = io.StringIO()
    log = RunLog(run, plan(1000), 1000, unigram_entropy=5.0, tensorboard=False, out=out)
    with log.opened(0):
        for step in range(1, 3 * PLATEAU_STEPS):
            log.step(step, {"masked": (5.05 * 10, 10, 1.0)}, 0.1, 1.0, 1)
    notes = [row for row in run.read_log() if "note" in row]
    assert len(notes) == 1 and notes[0]["step"] == PLATEAU_STEPS and "stuck at the unigram plateau" in notes[0]["note"]
    assert out.getvalue().count("stuck at the unigram plateau") == 1


def test_a_falling_loss_is_no_plateau(run: Run) -> None:
    log = RunLog(run, plan(1000), 1000, unigram_entropy=5.0, quiet=True, tensorboard=False)
    with log.opened(0):
        for step in range(1, 800):
            log.step(step, {"masked": (9.0 - step * 0.01, 1, 1.0)}, 0.1, 1.0, 1)
    assert run.read_log() == []


def test_tensorboard_files_read_back(run: Run) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with (log := RunLog(run, plan(2), 1, quiet=True)).opened(0):
        log.step(1, {"a": (10.0, 4, 1.0)}, 0.1, 2.0, 7)
        log.evaluation(1, {"loss": 1.25})
    events = event_accumulator.EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert events.Scalars("train/loss")[0].value == 2.5 and events.Scalars("valid/loss")[0].value == 1.25


def test_a_rank_that_does_not_write_is_silent(run: Run) -> None:
    out = io.StringIO()
    log = RunLog(run, plan(2), 1, writes=False, out=out)
    with log.opened(0):
        log.step(1, {"a": (10.0, 4, 1.0)}, 0.1, 2.0, 7)
        log.evaluation(1, {"loss": 1.25})
        log.say("hello")
    assert run.read_log() == [] and out.getvalue() == "" and not run.tensorboard.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(run: Run) -> None:
    out = Terminal()
    log = RunLog(run, plan(2), 1, unigram_entropy=3.0, tensorboard=False, out=out)
    with log.opened(0):
        log.step(1, {"a": (10.0, 4, 1.0)}, 0.1, 2.0, 7)
        log.step(2, {"a": (10.0, 4, 1.0)}, 0.1, 2.0, 7)
        log.evaluation(2, {"loss": 1.25})
    assert "2/2" in out.getvalue() and "(unigram 3.000)" in out.getvalue() and "step 2: loss 1.2500" in out.getvalue()


def test_an_evaluation_says_the_loss_and_the_main_score(run: Run) -> None:
    out = io.StringIO()
    log = RunLog(run, plan(2), 1, tensorboard=False, out=out)
    with log.opened(0):
        log.evaluation(1, {"masked": 1.25, "loss": 1.25, "perplexity": 3.5})
        log.evaluation(2, {"loss": 1.0, "accuracy": 0.5, "ece": 0.1}, "accuracy")
    assert out.getvalue() == "step 1: loss 1.2500\nstep 2: loss 1.0000, accuracy 0.5000\n"
    assert run.read_log()[1]["evaluation"] == {"loss": 1.0, "accuracy": 0.5, "ece": 0.1}


def test_clock() -> None:
    assert [clock(s) for s in (0, 61, 3661)] == ["0:00", "1:01", "1:01:01"]
