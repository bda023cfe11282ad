"""Plots as small hand-made SVG: numbers in, a Markup string out.

Colours come from the page's style sheet by class (``s1`` ... series, ``grid``, ``ink``), so one drawing serves a
light page, a dark page and paper. All text is escaped; every plot has a title for screen readers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH = 840  # of the page's column, so that text in plots is as large as text around them


class Line(NamedTuple):
    """label, [(x, y), ...], CSS classes."""

    label: str
    points: Sequence[tuple[float, float]]
    classes: str = "s1"


class Bar(NamedTuple):
    """A value with its 95 % interval; low and high are None where there is none."""

    value: float
    low: float | None
    high: float | None


class Scale(NamedTuple):
    """A linear map of [low, high] to pixels [a, b]."""

    low: float
    high: float
    a: float
    b: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return round(self.a + (value - self.low) / span * (self.b - self.a), 1)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.7)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """An axis number: 20k, 1.5M, 0.25."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def _text(x: float, y: float, words: object, classes: str = "", anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{classes}" {extra}>{escape(words)}</text>'


def _svg(parts: list[str], height: float, title: str, width: float = WIDTH, classes: str = "") -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" class="{classes}" style="max-width:{width}px">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    return "M" + "L".join(f"{x(a)} {y(b)}" for a, b in points)


def thin(points: Sequence[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """At most ``most`` points: means of equal runs of neighbours."""
    run = -(-len(points) // most) or 1
    groups = [points[i : i + run] for i in range(0, len(points), run)]
    return [(sum(p[0] for p in g) / len(g), sum(p[1] for p in g) / len(g)) for g in groups]


def curve(lines: Sequence[Line], level: tuple[str, float] | None, x_name: str, y_name: str, title: str) -> Markup:
    """Lines over steps, each named at its end, and one dashed level ("unigram entropy")."""
    height, left, right, top, bottom = 320, 52, 132, 14, 40
    every = [p for line in lines for p in line.points]
    heights = [p[1] for p in every] + ([level[1]] if level else [])
    low, high = min(heights), max(heights)
    margin = (high - low) * 0.06 or 0.5
    x = Scale(min(p[0] for p in every), max(p[0] for p in every), left, WIDTH - right)
    y = Scale(max(0.0, low - margin), high + margin, height - bottom, top)
    parts = []
    for tick in ticks(y.low, y.high):
        parts.append(f'<path class="grid" d="M{left} {y(tick)}H{WIDTH - right}"/>')
        parts.append(_text(left - 8, y(tick) + 4, short(tick), "tick", "end"))
    parts += [_text(x(tick), height - bottom + 18, short(tick), "tick") for tick in ticks(x.low, x.high, 6)]
    parts.append(_text((left + WIDTH - right) / 2, height - 4, x_name, "axis"))
    middle = (top + height - bottom) / 2
    parts.append(_text(12, middle, y_name, "axis", extra=f'transform="rotate(-90 12 {middle})"'))
    names: list[tuple[float, str, str]] = []
    if level:
        parts.append(f'<path class="level" d="M{left} {y(level[1])}H{WIDTH - right}"/>')
        names.append((y(level[1]), level[0], "muted"))
    for line in lines:
        parts.append(f'<path class="line {line.classes}" d="{_path(line.points, x, y)}"/>')
        if len(line.points) <= 40:
            parts += [f'<circle class="dot {line.classes}" cx="{x(a)}" cy="{y(b)}" r="2.6"/>' for a, b in line.points]
        names.append((y(line.points[-1][1]), line.label, f"name {line.classes}"))
    for at, name, classes in _apart(names, top, height - bottom):
        parts.append(_text(WIDTH - right + 8, at + 4, name, classes, "start"))
    return _svg(parts, height, title)


def _apart(
    names: list[tuple[float, str, str]], top: float, bottom: float, gap: float = 15
) -> list[tuple[float, str, str]]:
    """Labels moved down, then up, until no two are nearer than ``gap``."""
    placed: list[tuple[float, str, str]] = []
    for at, name, classes in sorted(names):
        placed.append((max(at, placed[-1][0] + gap if placed else top), name, classes))
    shift = max(0.0, placed[-1][0] - bottom) if placed else 0.0
    return [(at - shift, name, classes) for at, name, classes in placed]


def _whisker(bar: Bar, y: Scale, at: float, classes: str) -> str:
    mark = f'<circle class="dot {classes}" cx="{at}" cy="{y(bar.value)}" r="4.5"/>'
    if bar.low is None or bar.high is None:
        return mark
    return f'<path class="whisker {classes}" d="M{at} {y(bar.low)}V{y(bar.high)}"/>{mark}'


def arms(groups: Sequence[tuple[str, dict[str, Bar]]], names: dict[str, str], y_name: str, title: str) -> Markup:
    """For each group (a number of labels) one dot and interval per arm, side by side."""
    height, left, right, top, bottom = 300, 56, 16, 34, 42
    keys = list(names)
    values = [v for _, bars in groups for b in bars.values() for v in (b.value, b.low, b.high) if v is not None]
    margin = (max(values) - min(values)) * 0.08 or 0.05
    y = Scale(min(values) - margin, max(values) + margin, height - bottom, top)
    parts = []
    for tick in ticks(y.low, y.high):
        parts.append(f'<path class="grid" d="M{left} {y(tick)}H{WIDTH - right}"/>')
        parts.append(_text(left - 8, y(tick) + 4, short(tick), "tick", "end"))
    each = (WIDTH - left - right) / len(groups)
    step = min(34.0, each * 0.7 / max(len(keys), 1))
    for g, (name, bars) in enumerate(groups):
        centre = left + each * (g + 0.5)
        parts.append(_text(centre, height - bottom + 20, name, "tick"))
        for k, key in enumerate(keys):
            if key in bars:
                at = round(centre + (k - (len(keys) - 1) / 2) * step, 1)
                parts.append(_whisker(bars[key], y, at, f"s{k + 1}"))
    parts.append(_text((left + WIDTH - right) / 2, height - 4, "labelled examples", "axis"))
    middle = (top + height - bottom) / 2
    parts.append(_text(12, middle, y_name, "axis", extra=f'transform="rotate(-90 12 {middle})"'))
    at = float(left)
    for k, key in enumerate(keys):
        parts.append(f'<circle class="dot s{k + 1}" cx="{at + 5}" cy="12" r="4.5"/>')
        parts.append(_text(at + 15, 16, names[key], f"name s{k + 1}", "start"))
        at += 34 + 7.4 * len(names[key])
    return _svg(parts, height, title)


def interval(model: Bar, other: Bar | None) -> Markup:
    """A table cell's sketch on the scale 0 to 1: the model above, the baseline below."""
    width, height = 168, 26
    x = Scale(0, 1, 4, width - 4)
    parts = [f'<path class="grid" d="M{x(t)} 2V{height - 2}"/>' for t in (0, 0.25, 0.5, 0.75, 1)]
    for bar, at, classes in ((model, 9, "s1"), (other, 18, "s3")):
        if bar is None:
            continue
        if bar.low is not None and bar.high is not None:
            parts.append(f'<path class="whisker {classes}" d="M{x(bar.low)} {at}H{x(bar.high)}"/>')
        parts.append(f'<circle class="dot {classes}" cx="{x(bar.value)}" cy="{at}" r="3"/>')
    return _svg(parts, height, "on the scale 0 to 1", width, "sketch")


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[float]], title: str) -> Markup:
    """Rows gold, columns predicted; the shade is the share of the row, the number the count."""
    n = len(labels)
    cell = max(26, min(64, 520 // n))
    longest = min(16, max(len(str(label)) for label in labels))
    left, top = 26 + 7 * longest, 12 + 22 + (6 * longest if n > 6 else 14)
    size = cell * n
    width, height = max(left + size + 12, 300), top + size + 12
    parts = [_text(left + size / 2, 14, "predicted", "axis")]
    middle = top + size / 2
    parts.append(_text(12, middle, "gold", "axis", extra=f'transform="rotate(-90 12 {middle})"'))
    for i, label in enumerate(labels):
        name = str(label) if len(str(label)) <= 16 else str(label)[:15] + "…"
        at = top + cell * (i + 0.5) + 4
        parts.append(_text(left - 8, at, name, "tick", "end"))
        x, y = left + cell * (i + 0.5), top - 8
        turned = f'transform="rotate(-50 {x} {y})"' if n > 6 else ""
        parts.append(_text(x, y, name, "tick", "start" if n > 6 else "middle", turned))
    for i, row in enumerate(matrix):
        total = sum(row) or 1
        for j, count in enumerate(row):
            x, y, share = left + cell * j, top + cell * i, count / total
            kind = "hit" if i == j else "miss"
            shade = round(share**0.6, 3) if count else 0  # lifts small shares into sight
            parts.append(f'<rect class="cell" x="{x}" y="{y}" width="{cell}" height="{cell}"/>')
            parts.append(
                f'<rect class="{kind}" x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{cell - 2}" '
                f'fill-opacity="{shade}"><title>{escape(labels[i])} read as {escape(labels[j])}: '
                f"{count:g} of {total:g}</title></rect>"
            )
            if count:
                strong = " strong" if shade > 0.55 else ""
                parts.append(_text(x + cell / 2, y + cell / 2 + 4, f"{count:g}", f"count{strong}"))
    return _svg(parts, height, title, width, "" if n > 8 else "square")


def reliability(bins: Sequence[dict[str, float]], name: str, classes: str) -> Markup:
    """Accuracy against confidence, one dot a bin, area by count; the dashed diagonal is perfect calibration."""
    width, height, left, bottom, top = 320, 320, 48, 44, 14
    x = Scale(0, 1, left, width - 14)
    y = Scale(0, 1, height - bottom, top)
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path class="grid" d="M{x(0)} {y(tick)}H{x(1)}M{x(tick)} {y(0)}V{y(1)}"/>')
        parts.append(_text(left - 8, y(tick) + 4, f"{tick:g}", "tick", "end"))
        parts.append(_text(x(tick), height - bottom + 17, f"{tick:g}", "tick"))
    parts.append(f'<path class="level" d="M{x(0)} {y(0)}L{x(1)} {y(1)}"/>')
    points = [(b["confidence"], b["accuracy"]) for b in bins]
    parts += [f'<path class="gap {classes}" d="M{x(c)} {y(c)}V{y(a)}"/>' for c, a in points]
    parts.append(f'<path class="line {classes}" d="{_path(points, x, y)}"/>')
    most = max(b.get("count", 1) for b in bins) or 1
    for b in bins:
        radius = round(2.5 + 5.5 * math.sqrt(b.get("count", 1) / most), 1)
        parts.append(
            f'<circle class="dot {classes}" cx="{x(b["confidence"])}" cy="{y(b["accuracy"])}" r="{radius}">'
            f"<title>{b.get('count', 0):g} examples</title></circle>"
        )
    parts.append(_text(left + (width - left) / 2, height - 6, "mean confidence", "axis"))
    parts.append(_text(12, height / 2, "accuracy", "axis", extra=f'transform="rotate(-90 12 {height / 2})"'))
    return _svg(parts, height, f"reliability {name}", width)


def scatter(points: Sequence[tuple[str, float, float]], title: str) -> Markup:
    """Words at their places; one that would cover a word before it is a dot with its name on hover."""
    height, margin = 620.0, 40.0
    x = Scale(min(p[1] for p in points), max(p[1] for p in points), margin, WIDTH - margin)
    y = Scale(min(p[2] for p in points), max(p[2] for p in points), height - margin, margin)
    parts: list[str] = []
    taken: list[tuple[float, float, float, float]] = []
    for word, a, b in points:
        px, py, half = x(a), y(b), 3.6 * len(word) + 3
        box = (px - half, py - 9, px + half, py + 5)
        if any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
            parts.append(f'<circle class="s1" cx="{px}" cy="{py - 4}" r="2"><title>{escape(word)}</title></circle>')
        else:
            taken.append(box)
            parts.append(_text(px, py, word))
    return _svg(parts, height, title)


def shares(counts: Sequence[tuple[str, float]], title: str) -> Markup:
    """Horizontal bars with their counts: the label distribution."""
    row, left, right = 22, 150, 70
    most = max(c for _, c in counts) or 1
    x = Scale(0, most, left, WIDTH - right)
    parts = []
    for i, (name, count) in enumerate(counts):
        at = i * row
        label = name if len(name) <= 20 else name[:19] + "…"
        parts.append(_text(left - 8, at + 15, label, "tick", "end"))
        parts.append(
            f'<rect class="bar s1" x="{left}" y="{at + 4}" width="{x(count) - left:.1f}" height="{row - 8}" rx="2"/>'
        )
        parts.append(_text(x(count) + 7, at + 15, f"{count:,g}", "tick", "start"))
    return _svg(parts, row * len(counts) + 4, title)
