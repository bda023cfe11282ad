"""Compiled kernels on disk, so that they are never those of another version.

Numba keeps a compiled function under its name, its line and a hash of its own file. A kernel takes most of its code
from other files, and would be found there when only those have changed: after an upgrade in place, or an edit.
"""

from __future__ import annotations

import hashlib
import pkgutil
from types import ModuleType
from typing import Any


def keep_by_sources(kernels: list[Any], sources: list[ModuleType]) -> None:
    """Give each kernel (``njit(cache=True)``, not called yet) a name on disk that holds a hash of all its sources.

    Where Numba keeps it is left to Numba: beside the source, or in the user's cache where that cannot be written.
    """
    digest = hashlib.sha256()
    for module in sources:
        folder, _, name = module.__name__.rpartition(".")
        digest.update(pkgutil.get_data(folder, f"{name}.py") or b"")
    for kernel in kernels:
        function = kernel.py_func
        function.__qualname__ = f"{function.__name__}_{digest.hexdigest()[:16]}"
        kernel.enable_caching()
