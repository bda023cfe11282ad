"""The intervals that the READMEs print are those of committed results: a benchmark that is run again cannot leave an
old figure behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_INTERVAL = re.compile(r"\[([+-]?\d[\d.]*), ([+-]?\d[\d.]*)\]")


def intervals(found: Any) -> Iterator[tuple[float, float]]:
    """(low, high) of everything in a result that has both."""
    if isinstance(found, dict):
        ends = [found.get(name, found.get(f"{name}est")) for name in ("low", "high")]
        if all(isinstance(end, (int, float)) for end in ends):
            yield ends[0], ends[1]
        found = list(found.values())
    for part in found if isinstance(found, list) else []:
        yield from intervals(part)


@cache
def printed() -> frozenset[tuple[str, str]]:
    """Every interval as it may be printed: plainly or in per cent, with up to two decimals."""
    known = {ends for path in (ROOT / "benchmarks" / "results").glob("*.json")
             for ends in intervals(json.loads(path.read_text(encoding="utf-8")))}  # fmt: skip
    return frozenset((f"{low * unit:.{digits}f}", f"{high * unit:.{digits}f}")
                     for low, high in known for unit in (1, 100) for digits in (0, 1, 2))  # fmt: skip


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_every_interval_is_that_of_a_result(name: str) -> None:
    said = [
        tuple(end.removeprefix("+") for end in ends) for ends in _INTERVAL.findall((ROOT / name).read_text("utf-8"))
    ]
    assert len(said) > 8
    assert [ends for ends in said if ends not in printed()] == []
