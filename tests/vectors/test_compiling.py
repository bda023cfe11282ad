"""Compiled kernels on disk are those of the sources as they are."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import pytest
from numba.core.caching import InTreeCacheLocator

from wordloom.compiled import keep_by_sources

INNER = """
from numba import njit
@njit(inline="always")
def inner(x):
    return x + {}
"""
OUTER = """
from numba import njit
from cached_kernels.inner import inner
@njit(cache=True)
def outer(x):
    return inner(x)
"""


@pytest.fixture
def value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bool], tuple[int, int]]]:
    """f(number, keep) -> outer(0), loads from disk: of a fresh import where ``inner`` adds ``number``."""
    package = tmp_path / "cached_kernels"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "outer.py").write_text(OUTER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget() -> None:
        for name in [m for m in sys.modules if m.startswith("cached_kernels")]:
            del sys.modules[name]

    def found(number: int, keep: bool = True) -> tuple[int, int]:
        forget()
        (package / "inner.py").write_text(INNER.format(number))
        importlib.invalidate_caches()
        outer = importlib.import_module("cached_kernels.outer")
        if keep:
            keep_by_sources([outer.outer], [outer, sys.modules["cached_kernels.inner"]])
        return outer.outer(0), sum(outer.outer.stats.cache_hits.values())

    yield found
    forget()


def test_an_edit_of_a_file_that_a_kernel_uses_is_seen(value: Callable[..., tuple[int, int]]) -> None:
    assert value(1) == (1, 0)
    assert value(1) == (1, 1)  # found on disk
    assert value(2) == (2, 0)  # compiled again: without ``keep_by_sources`` this is 1
    assert value(1) == (1, 1)


def test_where_the_package_cannot_be_written_the_users_cache_is_taken(
    value: Callable[..., tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(InTreeCacheLocator, "ensure_cache_path", refused)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")  # NUMBA_CACHE_DIR would come before both
    assert value(1) == (1, 0) and value(1) == (1, 1) and value(2) == (2, 0)
    assert len(list((tmp_path / "cache").rglob("*.nbi"))) == 2
    assert not list((tmp_path / "cached_kernels").rglob("*.nbi"))
