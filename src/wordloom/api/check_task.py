"""``check --task NAME``: the files of a task, read as training would read them, and what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from wordloom.api.kinds import task_kind
from wordloom.config import DataConfig, make
from wordloom.data.faults import collect
from wordloom.data.findings import SHOWN, CheckReport, plural
from wordloom.errors import ConfigError
from wordloom.report.wording import fact, words
from wordloom.tasks.base import Records


def check_task(
    task: str, paths: Sequence[str], against: Mapping[str, str], *, text: str | None, label: str | None,
    pair: str | None, settings: Mapping[str, Any] | None = None,
) -> CheckReport:  # fmt: skip
    """The faults of each file, its facts, what reading repaired, its repeated texts, and texts that two of them share.
    settings: keys of [task], as in a recipe."""
    kind = task_kind(task)
    config = make(kind.config, {"name": task, **_of_task(settings or {})})
    names = [Path(p).name for p in paths]
    splits = dict(zip(names if len(set(names)) == len(names) else paths, paths, strict=True)) | dict(against)
    report, read = CheckReport(), {}
    for name, path in splits.items():
        data = DataConfig(train=path, text=text, label=label, pair=pair)
        records, malformed = collect(partial(kind.read, path, data, config))
        report.add_malformed(name, malformed, bool(records))
        if records is None:
            continue
        report.add("columns", name, getattr(records, "reading", records.columns), 1)
        facts = getattr(records, "sizes", records.facts)()
        sizes = "; ".join(f"{words(key)}: {fact(value, key)}" for key, value in facts.items())
        report.add("size", name, f"{plural(len(records), 'record')}; {sizes}", len(records))
        for said, found in getattr(records, "faults", dict)().items():
            if found:
                report.add("faults", name, f"{len(found):,} {said}", len(found), True, found[:SHOWN])
        _repeats(report, name, records)
        read[name] = _groups(records, records.key)
    for (a, first), (b, second) in combinations(read.items(), 2):
        shared = [(place, first[key][0]) for key, places in second.items() if key in first for place in places]
        said = f"{len(shared):,} texts of {b} also occur in {a} (but for case and punctuation)"
        shown = [f"{place} = {other}" for place, other in shared[:SHOWN]]
        report.add("leak", f"{a} and {b}", said, len(shared), bool(shared), shown)
    return report


def _of_task(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keys without "task."; what reading does not look at is accepted as training would."""
    for key in settings:
        if not key.startswith("task."):
            raise ConfigError("checking reads the keys of [task] alone", where=key, cure="leave it out")
    return {key.removeprefix("task."): value for key, value in settings.items()}


def _repeats(report: CheckReport, part: str, records: Records) -> None:
    whole = getattr(records, "repeat_key", records.key)  # several questions about one text repeat nothing
    again = [places for places in _groups(records, whole).values() if len(places) > 1]
    if again:
        count = sum(len(places) - 1 for places in again)
        said = f"{plural(count, 'record')} repeat an earlier text (but for case and punctuation)"
        report.add("repeats", part, said, count, True, [f"{p[1]} = {p[0]}" for p in again[:SHOWN]])


def _groups(records: Records, key: Callable[[int], str]) -> dict[str, list[str]]:
    """What makes a text the same -> places of the records with it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for i, place in enumerate(records.places):
        groups[key(i)].append(place)
    return groups
