"""``check --task NAME``: the files of a task, read as training would read them, and what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from wordloom.api.kinds import task_kind
from wordloom.config import DataConfig, make
from wordloom.data.findings import SHOWN, CheckReport, plural
from wordloom.report.wording import fact, words
from wordloom.tasks.base import Records


def check_task(
    task: str, paths: Sequence[str], against: Mapping[str, str], *, text: str | None, label: str | None,
    pair: str | None,
) -> CheckReport:  # fmt: skip
    """Facts of each file, its repeated texts, and texts that two of them share. Raises DataError as reading does."""
    kind = task_kind(task)
    names = [Path(p).name for p in paths]
    splits = dict(zip(names if len(set(names)) == len(names) else paths, paths, strict=True)) | dict(against)
    report, read = CheckReport(), {}
    for name, path in splits.items():
        config = make(kind.config, {"name": task})
        records = kind.read(path, DataConfig(train=path, text=text, label=label, pair=pair), config)
        report.add("columns", name, records.columns, 1)
        sizes = "; ".join(f"{words(key)}: {fact(value, key)}" for key, value in records.facts().items())
        report.add("size", name, f"{plural(len(records), 'record')}; {sizes}", len(records))
        read[name] = _groups(report, name, records)
    for (a, first), (b, second) in combinations(read.items(), 2):
        shared = [(place, first[key][0]) for key, places in second.items() if key in first for place in places]
        said = f"{len(shared):,} texts of {b} also occur in {a} (but for case and punctuation)"
        shown = [f"{place} = {other}" for place, other in shared[:SHOWN]]
        report.add("leak", f"{a} and {b}", said, len(shared), bool(shared), shown)
    return report


def _groups(report: CheckReport, part: str, records: Records) -> dict[str, list[str]]:
    """What makes a text the same -> places of the records with it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for i, place in enumerate(records.places):
        groups[records.key(i)].append(place)
    again = [places for places in groups.values() if len(places) > 1]
    if again:
        count = sum(len(places) - 1 for places in again)
        said = f"{plural(count, 'record')} repeat an earlier text (but for case and punctuation)"
        report.add("repeats", part, said, count, True, [f"{p[1]} = {p[0]}" for p in again[:SHOWN]])
    return groups
