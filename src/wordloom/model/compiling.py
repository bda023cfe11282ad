"""Machine code that always comes from disk, so that a machine's first run has the bits of all its later ones.

Numba keeps a compiled function on disk with the functions it uses linked in, and optimises it once more with them. The
process that compiled it goes on with those as optimised the first time, so sums are in another order there (seen in the
norm and in the loss: last bits of most values, the fifth digit of a loss after six steps of a tiny model). Therefore
another process compiles, and this one reads what that has kept. Where no process can be started, or nothing be kept,
this one compiles.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeVar

Loop = TypeVar("Loop")
_HERE = "WORDLOOM_COMPILES"  # set in a process that was started to compile


def from_disk(loop: Loop) -> Loop:
    """A function of ``njit(cache=True)``, not called yet, whose module is quick to import."""
    loop._cache = _Elsewhere(loop._cache, loop)  # type: ignore[attr-defined]
    return loop


class _Elsewhere:
    """Numba's cache of one function; what it lacks is compiled by another process and read again."""

    def __init__(self, cache: Any, loop: Any) -> None:
        self._cache, self._loop = cache, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, types: Any, target: Any) -> Any:
        found = self._cache.load_overload(types, target)
        if found is None and _may_start():
            _compile(self._loop, types)
            found = self._cache.load_overload(types, target)
        return found


def _may_start() -> bool:
    """Whether ``sys.executable`` is a Python to start: in a frozen program it is that program."""
    frozen = getattr(sys, "frozen", False) or not Path(sys.executable or "").name.lower().startswith("python")
    return not frozen and _HERE not in os.environ


def _compile(loop: Any, types: Any) -> None:
    function = loop.py_func
    wanted = pickle.dumps((function.__module__, function.__name__, types))  # to a process of our own, never to disk
    start = "import sys; sys.path[:] = sys.argv[1:]; from wordloom.model.compiling import main; main()"
    command = [sys.executable, "-c", start, *sys.path]
    try:
        subprocess.run(command, input=wanted, env={**os.environ, _HERE: "1"}, capture_output=True, check=False)
    except OSError:
        return


def main() -> None:
    """What the other process does."""
    module, name, types = pickle.load(sys.stdin.buffer)
    getattr(importlib.import_module(module), name).compile(types)
