"""Whatever kills a run, going on with it gives the undisturbed run's files, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def harness(folder: Path, scenario: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("kill_harness.py")), str(folder), scenario]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout) | {"stderr": done.stderr}


def test_killed_at_twenty_seeded_moments(tmp_path: Path) -> None:
    outcome = harness(tmp_path, "kill")
    assert outcome["wrong"] == [] and outcome["kills"] == 20
    assert outcome["died"] >= 1  # on a loaded machine some victims may end before their moment


@pytest.mark.parametrize("when", ["before", "middle"])
def test_killed_at_every_write_and_rename(tmp_path: Path, when: str) -> None:
    outcome = harness(tmp_path, when)
    assert outcome["wrong"] == [] and outcome["operations"] > 20


def test_a_full_disk_at_every_write_and_rename(tmp_path: Path) -> None:
    """One clear sentence, nothing half-written, the last good checkpoint loads, and the run goes on from it."""
    outcome = harness(tmp_path, "full")
    assert outcome["wrong"] == [] and outcome["operations"] > 20
    said = outcome["stderr"].splitlines()
    assert len(said) == outcome["operations"] and all("No space left on device. Free disk space" in s for s in said)
