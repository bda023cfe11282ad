"""torchrun with two processes over gloo on the loopback gives the losses of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = str(Path(__file__).with_name("parallel_script.py"))


def launch(folder: Path, *launcher: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return rows, [json.loads(p.read_text()) for p in sorted(folder.glob("rank*.json"))], done.stderr


def test_two_processes_are_one_run(tmp_path: Path) -> None:
    one, (alone,), _ = launch(tmp_path / "one")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two, ranks, _ = launch(tmp_path / "two", *launcher)
    assert [row["step"] for row in one] == [row["step"] for row in two] and len(one) == 8 + 3
    for a, b in zip(one, two, strict=True):
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
            assert b["terms"] == pytest.approx(a["terms"], rel=1e-5)
            assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-4)
        else:
            assert b["evaluation"] == pytest.approx(a["evaluation"], rel=1e-5)
    assert len(ranks) == 2
    for rank in ranks:
        assert rank["interrupted"] == alone["interrupted"] == "stopped at step 5"
        assert rank["scores"] == pytest.approx(alone["scores"], rel=1e-5) and rank["best"] == alone["best"]
        assert rank["weight"] == pytest.approx(alone["weight"], rel=1e-4, abs=1e-5)
        assert rank["refused"] == alone["refused"] and "step 2: the loss is not finite" in rank["refused"]
        assert "exists already" in rank["exists"]  # rank 0's refusal is every rank's
    assert ranks[0]["weight"] == ranks[1]["weight"]
