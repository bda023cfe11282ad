"""Pre-flight of labelled records: labels, repeats, contradictions, and leaks between splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from wordloom.data.examples import Examples
from wordloom.data.findings import SHOWN, CheckReport, bound, check_near, plural, quote, stride
from wordloom.data.near import NearIndex, unspaced

RARE = 10  # a label with fewer records


@dataclass(frozen=True)
class Split:
    """One file of labelled records. texts: both texts of a pair joined. keys: what makes two texts the same.
    groups: key -> records with it. near: index of the distinct texts (every k-th beyond the limit)."""

    name: str
    examples: Examples
    texts: list[str]
    keys: list[str]
    groups: dict[str, list[int]]
    near: NearIndex


def check_split(report: CheckReport, name: str, examples: Examples, near_limit: int) -> Split:
    """Facts of one split, and what the comparison with another one needs."""
    texts = [examples.both(i) for i in range(len(examples))]
    keys = [examples.key(i) for i in range(len(examples))]
    report.add("columns", name, examples.columns, 1)
    _sizes(report, name, examples, texts)
    _check_labels(report, name, examples)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        groups[key].append(i)
    _check_repeats(report, name, examples, [group for group in groups.values() if len(group) > 1])
    firsts = [group[0] for group in groups.values()]
    step = stride(len(firsts), near_limit)
    distinct = ((texts[i], i) for i in firsts[::step])
    near = check_near(report, name, distinct, examples.places.__getitem__, len(firsts), step)
    return Split(name, examples, texts, keys, dict(groups), near)


def _sizes(report: CheckReport, name: str, examples: Examples, texts: list[str]) -> None:
    words, characters = sum(len(t.split()) for t in texts), sum(map(len, texts))
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    size = f"{plural(len(texts), 'record')}, "
    if 2 * sum(map(unspaced, texts)) < len(texts):  # Chinese and Japanese put no space between words
        size += f"{words:,} words, "
    size += f"{characters:,} characters; {characters / len(texts):,.0f} characters a record"
    size += f", longest {len(texts[longest]):,} ({examples.places[longest]})"
    report.add("size", name, size, len(texts))
    damaged = [i for i, t in enumerate(texts) if "\ufffd" in t]
    if damaged:
        said = f"{len(damaged):,} records hold U+FFFD: text lost in an earlier conversion"
        report.add("replacement", name, said, len(damaged), True, [examples.places[i] for i in damaged[:SHOWN]])


def _check_labels(report: CheckReport, part: str, examples: Examples) -> None:
    if examples.labels is None:
        report.add("labels", part, "no labels", 0)
        return
    if examples.kind == "regression":
        values = np.array(examples.labels, dtype=float)
        said = f"numbers from {values.min():g} to {values.max():g}, mean {values.mean():g}"
        report.add("labels", part, f"{said}, standard deviation {values.std():g}", len(values))
        return
    counts = Counter(name for i in range(len(examples)) for name in examples.label_set(i))
    shown = [f"{name}: {n:,} ({n / len(examples):.1%})" for name, n in counts.most_common(20)]
    more = f", and {len(counts) - 20} more" if len(counts) > 20 else ""
    said = f"{plural(len(counts), 'label')}; {', '.join(shown)}{more}"
    report.add("labels", part, said, len(counts), len(counts) < 2)
    rare = sorted((n, name) for name, n in counts.items() if n < RARE)
    if rare:
        named = ", ".join(f"{name}: {n}" for n, name in rare[:10]) + (", ..." if len(rare) > 10 else "")
        said = f"{plural(len(rare), 'label')} with fewer than {RARE} records ({named})"
        report.add("rare", part, said, len(rare), True)


def _check_repeats(report: CheckReport, part: str, examples: Examples, repeated: list[list[int]]) -> None:
    if not repeated:
        return
    more = sum(len(group) - 1 for group in repeated)
    same = sum(len(group) - len({" ".join(examples.both(i).split()) for i in group}) for group in repeated)
    places = [f"{examples.places[g[1]]} = {examples.places[g[0]]} {quote(examples.texts[g[0]])}" for g in repeated]
    said = f"{more:,} records repeat an earlier text ({same:,} exactly, the others but for case and punctuation)"
    report.add("repeats", part, said, more, True, places[:SHOWN])
    if examples.labels is None or examples.kind == "regression":
        return
    torn = [(g, _other_label(examples, g)) for g in repeated]
    conflicts = [(g[0], other) for g, other in torn if other is not None]
    if conflicts:
        said = f"{len(conflicts):,} texts occur with different labels"
        places = [_versus(examples, i, examples, j) for i, j in conflicts[:SHOWN]]
        report.add("conflicts", part, said, len(conflicts), True, places)


def _other_label(examples: Examples, group: list[int]) -> int | None:
    """The first record of a group whose label is not that of the group's first."""
    first = set(examples.label_set(group[0]))
    return next((i for i in group if set(examples.label_set(i)) != first), None)


def _versus(a: Examples, i: int, b: Examples, j: int) -> str:
    first, second = ", ".join(a.label_set(i)), ", ".join(b.label_set(j))
    return f"{a.places[i]} ({first}) / {b.places[j]} ({second}) {quote(a.texts[i])}"


def check_leak(report: CheckReport, a: Split, b: Split, limit: int) -> None:
    """Texts of b (the later split) that also occur in a, exactly or nearly."""
    part = f"{a.name} and {b.name}"
    shared = [i for i, key in enumerate(b.keys) if key in a.groups]
    if shared:
        exact = {" ".join(text.split()) for text in a.texts}
        same = sum(" ".join(b.texts[i].split()) in exact for i in shared)
        said = (
            f"{len(shared):,} of {len(b.keys):,} texts of {b.name} also occur in {a.name} ({same:,} exactly, the others"
        )
        places = [_pair(b, i, a, a.groups[b.keys[i]][0], "=") for i in shared[:SHOWN]]
        report.add("leak", part, f"{said} but for case and punctuation)", len(shared), True, places)
        torn = [(i, j) for i in shared if (j := _disagrees(b.examples, i, a.examples, a.groups[b.keys[i]])) is not None]
        if torn:
            places = [_versus(b.examples, i, a.examples, j) for i, j in torn[:SHOWN]]
            said = f"{len(torn):,} of them have another label there"
            report.add("leak_conflicts", part, said, len(torn), True, places)
    step = stride(len(b.keys), limit)
    found = []
    for i in range(0, len(b.keys), step):
        if b.keys[i] not in a.groups and (match := a.near.find(b.texts[i])) is not None:
            found.append(_pair(b, i, a, match[0], f"~{match[1]:.2f}"))
    if found:
        total, step = max((len(b.keys), step), (len(a.groups), stride(len(a.groups), limit)), key=lambda x: x[1])
        said = f"{len(found):,} more texts of {b.name} nearly repeat one of {a.name} ({bound(total, step)})"
        report.add("near_leak", part, said, len(found), True, found[:SHOWN])
    elif not shared:
        report.add("leak", part, f"no text of {b.name} occurs in {a.name}, exactly or nearly", 0)


def _pair(b: Split, i: int, a: Split, j: int, sign: str) -> str:
    return f"{b.examples.places[i]} {sign} {a.examples.places[j]} {quote(b.texts[i])}"


def _disagrees(b: Examples, i: int, a: Examples, same: list[int]) -> int | None:
    """A record of a with the same text where no record of a with it has the label of record i."""
    if a.labels is None or b.labels is None or "regression" in (a.kind, b.kind):
        return None
    label = set(b.label_set(i))
    return None if any(set(a.label_set(j)) == label for j in same) else same[0]
