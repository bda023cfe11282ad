"""What the rendered pages share: tables, scores with intervals, the line about the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def score(s: dict[str, float]) -> str:
    return f"{100 * s['value']:.1f} [{100 * s['low']:.1f}, {100 * s['high']:.1f}]"


def gain(s: dict[str, float]) -> str:
    return f"{100 * s['value']:+.1f} [{100 * s['low']:+.1f}, {100 * s['high']:+.1f}]"


def machine(r: dict[str, Any]) -> str:
    m = r["machine"]
    return f"{m['processor']} ({m['microarchitecture']}), {m['cores']} cores, torch {m['versions']['torch']}{', ' + r['date'][:10] if 'date' in r else ''}."


def cpu(r: dict[str, Any]) -> str:
    m = r["machine"]
    versions = ", ".join(
        f"{name} {m['versions'][name]}" for name in ("numba", "gensim", "fasttext-wheel") if name in m["versions"]
    )
    return f"{m['processor']} ({m['microarchitecture']}), {m['cores']} cores, {versions}, {r['date'][:10]}. `{r['command']}`"


def commands(measured: Iterable[Mapping[str, Any]]) -> str:
    """The commands that measured these, each once."""
    return ", ".join(f"`{command}`" for command in dict.fromkeys(one["command"] for one in measured))


def times(ratio: dict[str, float]) -> str:
    return f"**{ratio['of_medians']:.1f}x** [{ratio['lowest']:.1f}, {ratio['highest']:.1f}]"


def minutes(seconds: float, processor_seconds: float | None) -> str:
    """Of the processor, which other work hardly changes, where the run was made since runs count them."""
    return f"{seconds / 60:.0f} min" if processor_seconds is None else f"{processor_seconds / 60:.0f} min CPU"
