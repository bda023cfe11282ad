"""The first process that uses a loop computes the bits of all later ones (``compiled``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from wordloom import compiled

# Widths at which a loop that its own process compiled differs from the same read from disk
SCRIPT = """
import hashlib, torch
from wordloom.model import native, native_loops
torch.set_num_threads(1)
torch.manual_seed(0)
x, y, w = torch.randn(40, 256), torch.randn(40, 256), torch.randn(256)
out = native.dropout_add_norm(x, y, w, w, 0.0, 1e-6, (0, 0))
losses = native.cross_entropy(x, torch.arange(40))
print(hashlib.sha1(b"".join(t.numpy().tobytes() for t in (*out, losses, x))).hexdigest(),
      sum(native_loops.cross_entropy.stats.cache_misses.values()))
"""


def said(cache: Path, **environment: str) -> tuple[str, int]:
    """Hash of the results, and how often the process compiled the loss itself."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
    bits, misses = done.stdout.split()
    return bits, int(misses)


def test_the_first_run_has_the_bits_of_the_second(tmp_path: Path) -> None:
    first, second = said(tmp_path / "cache"), said(tmp_path / "cache")
    assert first == second and second[1] == 0


def test_a_process_that_may_start_none_compiles_itself(tmp_path: Path) -> None:
    bits, misses = said(tmp_path / "cache", WORDLOOM_COMPILES="1")
    assert misses == 1 and len(bits) == 40


@pytest.mark.parametrize("value", [
    np.zeros((2, 3), np.float32), np.zeros(2, bool), np.zeros((2, 3)).T, np.zeros((4, 4))[::2, ::2], 1, True,
    np.uint32(1), np.float32(1), (1, 2), (True, np.int64(1), np.zeros(1, np.int8)), ((1, 2), True),
])  # fmt: skip
def test_the_other_process_is_told_every_type(value: object) -> None:
    kind = numba.typeof(value)
    assert compiled._meant(json.loads(json.dumps(compiled._told(kind)))) == kind


@pytest.mark.parametrize("executable", ["", "/opt/shop/server", None])
def test_no_other_program_is_started(executable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert not compiled._may_start()


def test_without_numba_s_compiler_the_loops_are_plain_python() -> None:
    script = "import torch; from wordloom.model import native, native_step; import wordloom.vectors.training;"
    script += "x = torch.ones(2, 4); print(native.cross_entropy(x, torch.tensor([0, 1])).tolist())"
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[1.386")  # log 4


def test_a_compiler_that_fails_is_said_and_this_process_compiles(tmp_path: Path) -> None:
    """Another process that cannot import the loop's module: the first entry of its path hides NumPy."""
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    script = SCRIPT.replace(
        "import hashlib, torch", f"import hashlib, sys, torch; sys.path.insert(0, {str(tmp_path)!r})"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert "could not be compiled by a process of its own (ImportError: no numpy here)" in done.stderr
    assert done.stdout.split()[1] == "1"


def test_a_frozen_program_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not compiled._may_start()
