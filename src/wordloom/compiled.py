"""Numba's machine code on disk: never that of another version, and the same bits from the first run on.

``keep_by_sources``: Numba keeps a compiled function under its name, its line and a hash of its own file. A kernel takes
most of its code from other files, and would be found there when only those have changed: after an upgrade, or an edit.

``from_disk``: what Numba keeps has the functions it uses linked in, and is optimised once more with them. The process
that compiled it goes on with those as optimised the first time, so sums are in another order there (in the norm and in
the loss: last bits of most values; the fifth digit of a loss after six steps of a tiny model). So another process
compiles, and this one reads what that has kept. Where no process can be started, or nothing be kept, this one compiles.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from numba import types

Loop = TypeVar("Loop")
_HERE = "WORDLOOM_COMPILES"  # set in a process that was started to compile


def keep_by_sources(kernels: list[Any], sources: list[ModuleType]) -> None:
    """Give each kernel (``njit(cache=True)``, not called yet) a name on disk that holds a hash of all its sources.

    Where Numba keeps it is left to Numba: beside the source, or in the user's cache where that cannot be written.
    """
    digest = hashlib.sha256()
    for module in sources:
        folder, _, name = module.__name__.rpartition(".")
        digest.update(pkgutil.get_data(folder, f"{name}.py") or b"")
    for kernel in kernels:
        if _is_compiled(kernel):
            function = kernel.py_func
            function.__qualname__ = f"{function.__name__}_{digest.hexdigest()[:16]}"
            kernel.enable_caching()


def from_disk(loop: Loop) -> Loop:
    """A function of ``njit(cache=True)``, not called yet, whose module is quick to import."""
    if _is_compiled(loop):
        loop._cache = _Elsewhere(loop._cache, loop)  # type: ignore[attr-defined]
    return loop


def _is_compiled(loop: Any) -> bool:
    """Not so under NUMBA_DISABLE_JIT, where ``njit`` gives the plain function."""
    return hasattr(loop, "py_func")


class _Elsewhere:
    """Numba's cache of one function; what it lacks is compiled by another process and read again."""

    def __init__(self, cache: Any, loop: Any) -> None:
        self._cache, self._loop = cache, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, arguments: Any, target: Any) -> Any:
        found = self._cache.load_overload(arguments, target)
        if found is None and _may_start():
            with _alone(Path(self._cache.cache_path)):  # Numba's index knows no lock, and two writers lose an entry
                found = self._cache.load_overload(arguments, target)
                if found is None:
                    _compile(self._loop, arguments)
                    found = self._cache.load_overload(arguments, target)
        return found


def _may_start() -> bool:
    """Whether ``sys.executable`` is a Python to start: in a frozen program it is that program."""
    frozen = getattr(sys, "frozen", False) or not Path(sys.executable or "").name.lower().startswith("python")
    return not frozen and _HERE not in os.environ


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # nothing can be kept there
            folder.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context((folder / "wordloom.lock").open("a"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _compile(loop: Any, arguments: Any) -> None:
    function = loop.py_func
    wanted = json.dumps([function.__module__, function.__name__, *map(_told, arguments)])
    start = "import sys; sys.path[:] = sys.argv[2:]; from wordloom.compiled import main; main(sys.argv[1])"
    command = [sys.executable, "-c", start, wanted, *sys.path]
    try:
        done = subprocess.run(command, env={**os.environ, _HERE: "1"}, capture_output=True, check=False)
        why = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2] if done.returncode else ""
    except OSError as error:
        why = str(error)
    if why:
        what = f"{function.__name__} could not be compiled by a process of its own ({why})"
        warnings.warn(f"{what}; the last bits of this run may differ from a later one's", stacklevel=2)


def main(wanted: str) -> None:
    """What the other process does."""
    module, name, *arguments = json.loads(wanted)
    getattr(importlib.import_module(module), name).compile(tuple(map(_meant, arguments)))


def _told(kind: Any) -> Any:
    """A Numba type in words: the name of a number's; ["array", of what, dimensions, layout]; ["tuple", of what ...]."""
    if isinstance(kind, types.Array):
        return ["array", str(kind.dtype), kind.ndim, kind.layout]
    if isinstance(kind, (types.Tuple, types.UniTuple)):
        return ["tuple", *map(_told, kind.types)]
    return str(kind)


def _meant(told: Any) -> Any:
    """The type of which ``_told`` told."""
    if isinstance(told, str):
        return getattr(types, told)
    what, *rest = told
    if what == "tuple":
        return types.BaseTuple.from_types([_meant(one) for one in rest])
    dtype, dimensions, layout = rest
    return types.Array(getattr(types, dtype), dimensions, layout)
