"""Two processes under torchrun give the run of one: the same steps, losses and held-out scores."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from cli_runs import Runs

VALUES = {**tiny.TINY, "train.steps": 6, "train.batch": 6, "train.micro_batch": 3, "train.lr": 3e-3,
          "train.log_every": 1, "train.evaluate_every": 3, "train.precision": "float32"}  # fmt: skip


def torchrun(words: list[Any], processes: int) -> subprocess.CompletedProcess[str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
              "--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "wordloom"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launch, *map(str, words)], env=env, capture_output=True, text=True, timeout=240)


def log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def words(runs: Runs) -> list[Any]:
    return ["pretrain", runs.corpus, "--preset", "bert-tiny", *tiny.flags(VALUES)]


def test_two_processes_give_the_losses_of_one(runs: Runs, words: list[Any], tmp_path: Path) -> None:
    from wordloom import api

    api.pretrain(runs.corpus, tmp_path / "one", preset="bert-tiny", quiet=True, **VALUES)
    done = torchrun([*words, "-o", tmp_path / "two"], 2)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    a, b = ([row["loss"] for row in rows if "loss" in row] for rows in (one, two))
    assert len(a) == 6 and b == pytest.approx(a, rel=1e-5)
    a, b = ([row["evaluation"]["loss"] for row in rows if "evaluation" in row] for rows in (one, two))
    assert len(a) == 2 and b == pytest.approx(a, rel=1e-5)
    assert json.loads((tmp_path / "two" / "manifest.json").read_text())["frozen"]["plan"]["processes"] == 2
    assert done.stdout.count("report:") == 1  # the other process says nothing


def test_an_error_is_said_once_and_stops_every_process(words: list[Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    done = torchrun([*words, "-o", tmp_path / "out"], 2)
    assert done.returncode != 0 and "never overwritten unasked" in done.stderr
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
