"""Texts with labelled spans: what the task ``tag`` learns from and is scored on.

`data.tag_columns` and `data.tag_json` read the files; this file holds what they read, and decides which of them does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from wordloom.data.examples import text_key
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.errors import DataError
from wordloom.text.units import Units, cut_out


class Span(NamedTuple):
    """Characters start..end - 1 of a text are of a type."""

    start: int
    end: int
    type: str


class Mention(NamedTuple):
    """A span that a model found; score: the probability that it is exactly this one."""

    start: int
    end: int
    type: str
    score: float

    @property
    def span(self) -> Span:
        return Span(self.start, self.end, self.type)


@dataclass(frozen=True)
class TagInput:
    """A text to tag. units: (n, 2) edges of its own tokens, None where there are none. each: every token has a label
    of its own, which is how answers are then written. id: what its record in a file is called."""

    text: str
    units: Units | None = None
    each: bool = False
    id: Any = None

    def tokens(self) -> list[str]:
        """Raises DataError for a text without tokens of its own."""
        if self.units is None:
            raise DataError("the text has no tokens of its own", cure="give it cut into tokens")
        return cut_out(self.text, self.units)


@dataclass
class Notes:
    """What reading had to repair or leave out: sentence -> how often, and the first place."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, place: str, count: int = 1) -> None:
        self.counts[what] += count
        self.first.setdefault(what, place)

    def __str__(self) -> str:
        return "".join(f"; {count:,} {what} (first: {self.first[what]})" for what, count in self.counts.items())


@dataclass(frozen=True)
class Tagged:
    """E labelled texts in file order; the lists are parallel and not to be changed.

    units: edges of a file's own tokens, None where the text has none. spans: sorted; they overlap only where the reader
    was told to allow it. loose: those of them that only a lenient reading of the tags finds (seqeval's strict mode does
    not). glued: the tokens are single characters. each: every token has a label of its own.
    """

    documents: list[str]
    units: list[Units | None]
    spans: list[tuple[Span, ...]]
    loose: list[frozenset[Span]]
    places: list[str]
    columns: str
    glued: bool = False
    each: bool = False

    def __len__(self) -> int:
        return len(self.documents)

    def subset(self, indices: Sequence[int]) -> Tagged:
        return replace(
            self,
            documents=[self.documents[i] for i in indices],
            units=[self.units[i] for i in indices],
            spans=[self.spans[i] for i in indices],
            loose=[self.loose[i] for i in indices],
            places=[self.places[i] for i in indices],
        )

    def key(self, index: int) -> str:
        return text_key(self.documents[index])

    def texts(self) -> Iterator[str]:
        yield from self.documents

    def inputs(self) -> list[TagInput]:
        return [TagInput(text, units, self.each) for text, units in zip(self.documents, self.units, strict=True)]

    def type_counts(self) -> dict[str, int]:
        """type -> spans, the most frequent first."""
        return dict(Counter(span.type for spans in self.spans for span in spans).most_common())

    def facts(self) -> dict[str, Any]:
        tokens = sum(len(u) for u in self.units if u is not None)
        types = self.type_counts()
        values: dict[str, Any] = {"characters": sum(map(len, self.documents))}
        values |= {"tokens": tokens} if tokens else {}
        return {**values, "spans": sum(types.values()), "types": len(types)}

    def content(self) -> Iterator[str]:
        for text, units, spans in zip(self.documents, self.units, self.spans, strict=True):
            yield json.dumps([text, None if units is None else units.tolist(), spans], ensure_ascii=False)


class Reader:
    """Collects the records of one file: checks spans, and keeps what was repaired."""

    def __init__(self, path: str, *, overlaps: bool = False, faults: Faults = STRICT):
        """overlaps: whether spans of one text may overlap."""
        self.path, self.overlaps, self.faults, self.notes = path, overlaps, faults, Notes()
        self.texts: list[str] = []
        self.units: list[Units | None] = []
        self.spans: list[tuple[Span, ...]] = []
        self.loose: list[frozenset[Span]] = []
        self.places: list[str] = []

    def add(
        self, text: str, units: Units | None, spans: Iterable[Span], place: str, loose: Iterable[Span] = ()
    ) -> None:
        """An overlap that is not allowed is a fault."""
        kept = sorted(set(spans))
        for before, span in pairwise(kept):
            if span.start < before.end and not self.overlaps:
                one, two = (f"{text[s.start : s.end]!r} ({s.type}, {s.start} to {s.end})" for s in (before, span))
                self.faults.add(DataError(f"the spans {one} and {two} overlap", where=place,
                                          cure="remove one, or set task.overlaps = 'outermost'"))  # fmt: skip
        self.texts.append(text)
        self.units.append(units)
        self.spans.append(tuple(kept))
        self.loose.append(frozenset(loose))
        self.places.append(place)

    def done(self, columns: str, *, glued: bool = False, each: bool = False) -> Tagged:
        """Raises DataError for a file without a record."""
        if not self.texts:
            raise NoRecordError("no text in it", where=self.path, cure="check that the file was written completely")
        columns = f"{self.path}: {columns}{self.notes}"
        return Tagged(self.texts, self.units, self.spans, self.loose, self.places, columns, glued, each)


def outermost(spans: Iterable[Span]) -> list[Span]:
    """Of spans that overlap the longest, of equally long ones the first: what a flat labelling can hold."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, s)):
        if all(span.end <= other.start or span.start >= other.end for other in kept):
            kept.append(span)
    return sorted(kept)


def on_units(spans: Iterable[Span], units: Units) -> list[tuple[int, int, str]]:
    """Spans in units (first, last + 1, type), widened to whole units; those that touch none are left out, and of those
    that then share a unit the longest is kept."""
    found = []
    for start, end, kind in spans:
        first = int(np.searchsorted(units[:, 1], start, side="right"))
        last = int(np.searchsorted(units[:, 0], end, side="left"))
        if first < last:
            found.append(Span(first, last, kind))
    return [(span.start, span.end, span.type) for span in outermost(found)]


def read_tagged(
    path: str,
    *,
    text: str | None = None,
    label: str | None = None,
    overlaps: bool = False,
    scheme: str = "auto",
    labelled: bool = True,
    faults: Faults = STRICT,
) -> Tagged:
    """Read one file, by its suffix (after .gz, .zst or .xz): .jsonl, .json; .conllu; columns in every other.

    text: column of the tokens (from 1), or key of the text. label: column of the tags or its name, key of the spans.
    overlaps: whether spans may overlap. scheme: "auto", or "each": every token has a label of its own whatever it is.
    labelled: False also reads texts without labels. Faults, with file and line: columns missing, spans that overlap or
    lie outside their text, whatever is neither.
    """
    from wordloom.data import tag_columns, tag_json  # they fill the Reader above

    read: Callable[..., Tagged] = tag_json.read_json if is_json(path) else tag_columns.read_columns
    return read(path, text=text, label=label, overlaps=overlaps, scheme=scheme, labelled=labelled, faults=faults)


def is_json(path: str) -> bool:
    return bare_name(path).endswith((".jsonl", ".ndjson", ".json"))


def bare_name(path: str) -> str:
    """The file's name in lower case without what says how it is compressed."""
    name = str(path).lower()
    for ending in (".gz", ".zst", ".xz"):
        name = name.removesuffix(ending)
    return name
