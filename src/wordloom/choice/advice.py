"""Which candidate to take, in plain words: the cheapest of those that cannot be told from the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from wordloom.choice.comparison import Row

ALIKE = 1.25  # times as long to answer: within that, two timings of a small batch are the same
QUICK = 100.0  # microseconds: 10,000 texts a second on one core; nobody chooses between 30 and 50
MANY = 10_000_000  # more examples than this are not worth naming


@dataclass(frozen=True)
class Advice:
    """recommended: name of the candidate; sentences: the advice and its reason; changes: what would change it."""

    recommended: str
    sentences: list[str]
    changes: list[str]


def recommend(rows: Sequence[Row], examples: int, *, percent: bool = True, tested: bool = True) -> Advice:
    """rows: best first, as ``side_by_side`` gives them, on ``examples``. tested: on a test part, not on validation.

    Of those that are as good as the best the one that answers fastest, timings within 25 % or of at most 100 us being
    the same; of these the one that is trained fastest, pre-training counted in.
    """
    best = rows[0]
    good = [row for row in rows if row.as_good]
    enough = max(QUICK, ALIKE * min(row.costs.microseconds for row in good))
    chosen = min((r for r in good if r.costs.microseconds <= enough), key=lambda r: (r.costs.seconds, -r.score.value))
    points = _Points(percent)
    return Advice(
        chosen.name, _reason(chosen, best, good, enough, points), _changes(chosen, rows, examples, points, tested)
    )


@dataclass(frozen=True)
class _Points:
    percent: bool

    def level(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"

    def gap(self, value: float) -> str:
        return f"{100 * abs(value):.1f} points" if self.percent else f"{abs(value):.3f}"


def _reason(chosen: Row, best: Row, good: Sequence[Row], enough: float, points: _Points) -> list[str]:
    cost = f"{_micro(chosen.costs.microseconds)} a text, {_seconds(chosen.costs.seconds)} to train"
    if len(good) == 1:
        return [f"Take {chosen.title}: it is better than every other candidate ({cost})."]
    others = [row for row in good if row is not chosen]
    said = [f"Take {chosen.title}: it scores {points.level(chosen.score.value)} and costs {cost}."]
    if chosen is not best and chosen.against_best is not None:
        test = chosen.against_best
        ends = sorted((-test.low, -test.high))
        span = " to ".join(f"{100 * end:+.1f}" if points.percent else f"{end:+.3f}" for end in ends)
        said.append(
            f"{best.title} scored highest, {points.level(best.score.value)}, but these examples do not show that it is "
            f"better: its lead of {points.gap(test.difference)} may be anything from {span}."
        )
    slower = [row for row in others if row.costs.microseconds > enough]
    if slower:
        times = ", ".join(
            f"{row.title} ({row.costs.microseconds / chosen.costs.microseconds:.3g} times)" for row in slower
        )
        said.append(f"As good, but slower to answer: {times}.")
    longer = [row for row in others if row not in slower]
    if longer:
        times = ", ".join(f"{row.title} ({_seconds(row.costs.seconds)})" for row in longer)
        said.append(f"As good and as fast to answer, but longer to train: {times}.")
    return said


def _changes(chosen: Row, rows: Sequence[Row], examples: int, points: _Points, tested: bool) -> list[str]:
    said = []
    if not tested:
        said.append("There was no test file: the validation part also chose penalties and checkpoints, so that all "
                    "scores are optimistic. Give --test.")  # fmt: skip
    test = chosen.against_best
    if test is not None and test.difference < 0:
        wide = (test.high - test.low) / 2
        needed = examples * (wide / test.difference) ** 2
        if math.isfinite(needed) and examples < needed < MANY:
            said.append(
                f"A larger test: if {rows[0].title} is really {points.gap(test.difference)} better, "
                f"some {_round(needed):,} examples would show it; these are {examples:,}."
            )
    fast = [row for row in rows if not row.as_good and ALIKE * row.costs.microseconds < chosen.costs.microseconds]
    if fast and chosen.costs.microseconds > QUICK:
        row = max(fast, key=lambda r: r.score.value)
        ratio = chosen.costs.microseconds / row.costs.microseconds
        said.append(
            f"Speed above all: {row.title} answers {ratio:.3g} times as fast, at {points.level(row.score.value)} "
            f"where {chosen.title} has {points.level(chosen.score.value)}."
        )
    said.append("More labels, or more raw text and time to pre-train on it: what learns from those gains most; "
                "run this again then.")  # fmt: skip
    return said


def _micro(value: float) -> str:
    return f"{value:.0f} µs" if value < 10_000 else f"{value / 1000:.0f} ms"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s" if value < 180 else f"{value / 60:.0f} min"


def _round(value: float) -> int:
    """Two digits."""
    digits = max(0, math.floor(math.log10(value)) - 1)
    return math.ceil(value / 10**digits) * 10**digits
