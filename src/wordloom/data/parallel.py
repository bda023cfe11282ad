"""Pairs of texts: two aligned files, or a table (tsv, csv, jsonl, parquet) with a column for each side.

Nothing is dropped: a side that is empty, or lines that have no partner, are an error, located.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from wordloom.data.examples import text_key
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.readers import (
    file_format,
    raw_lines,
    reject_binary,
    replace_surrogates,
    stdin_lines,
    strict_decode,
    text_lines,
)
from wordloom.data.tables import Table, open_table, table_rows
from wordloom.errors import DataError
from wordloom.text.chinese import has_chinese

# column names tried in this order where none is asked for; of two unnamed columns the first is the source
SOURCES = ("source", "src", "document", "article", "body", "dialogue", "text", "sentence")
TARGETS = ("target", "tgt", "translation", "summary", "highlights", "subjects", "subject", "abstract", "headline")


@dataclass(frozen=True)
class Parallel:
    """E records in file order; the lists are parallel and not to be changed.

    references: what is a right answer to each source, one or more; the first is shown as the gold one. sentences: of
    sources that the file gives as lists. places: "file:line" (parquet: row from 1).
    """

    sources: list[str]
    references: list[tuple[str, ...]]
    places: list[str]
    columns: str = ""
    sentences: list[tuple[str, ...]] | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def subset(self, indices: Sequence[int]) -> Parallel:
        return replace(
            self,
            sources=[self.sources[i] for i in indices],
            references=[self.references[i] for i in indices],
            places=[self.places[i] for i in indices],
            sentences=None if self.sentences is None else [self.sentences[i] for i in indices],
        )

    def key(self, index: int) -> str:
        return text_key(self.sources[index])

    def texts(self) -> Iterator[str]:
        """Both sides, for a vocabulary that serves them."""
        for source, references in zip(self.sources, self.references, strict=True):
            yield source
            yield from references

    @property
    def targets(self) -> list[str]:
        """Every right answer."""
        return [r for group in self.references for r in group]

    def facts(self) -> dict[str, Any]:
        targets = self.targets
        return {
            "source words": sum(len(s.split()) for s in self.sources),
            "target words": sum(len(t.split()) for t in targets),
            "source characters": sum(map(len, self.sources)),
            "target characters": sum(map(len, targets)),
            "references": len(targets),
        }

    def content(self) -> Iterator[str]:
        for source, references in zip(self.sources, self.references, strict=True):
            yield "\x1f".join([source, *references])


def read_parallel(
    path: str, *, source: str | None = None, target: str | None = None, faults: Faults = STRICT
) -> Parallel:
    """path: one table, or aligned files separated by commas, ``train.en,train.de``: the source's, then one for each
    reference, a text a line, whatever their suffix (.gz, .zst, .xz are unpacked).

    source, target: columns of a table by name or, from 1, by number; guessed where None (``columns`` says how). In
    jsonl and parquet a source may be a list of sentences and a target a list of references.
    An empty side is a fault, at its file:line. Raises DataError for unequal line counts, a missing column.
    """
    if "," in path and not Path(path).exists():
        return _read_aligned([part.strip() for part in path.split(",")], faults)
    table = open_table(path, faults)
    here, there, note = _columns(table, source, target)
    sources: list[str] = []
    references: list[tuple[str, ...]] = []
    places: list[str] = []
    sentences: list[tuple[str, ...]] = []
    for line, (given, wanted) in table_rows(table, [here, there], strict_decode(path, faults), faults):
        place = f"{path}:{line}"
        parts = _side(given, "source", table.names[here], place, faults)
        right = _side(wanted, "target", table.names[there], place, faults)
        if parts and right:
            sentences.append(parts)
            sources.append(_joined(parts))
            references.append(right)
            places.append(place)
    if not sources:
        raise NoRecordError("no record in it", where=path, cure="check that the file was written completely")
    listed = any(len(parts) > 1 for parts in sentences)
    most = max(map(len, references))
    note += f"; up to {most} references each" if most > 1 else ""
    return Parallel(sources, references, places, f"{path}: {note}", sentences if listed else None)


def read_sources(path: str, column: str | None = None) -> Iterator[str]:
    """The sources of a file without targets: lines of text, or a column of a table; "-" is standard input.

    A line is a text, an empty one too. Raises DataError as `read_parallel`.
    """
    if path == "-":
        yield from stdin_lines()
        return
    if file_format(path) in (None, "txt"):
        yield from text_lines(path)
        return
    table = open_table(path)
    at, _ = _column(table, column, SOURCES, "source", default=0)
    for line, (given,) in table_rows(table, [at], strict_decode(path)):
        yield _joined(_texts(given, "source", table.names[at], f"{path}:{line}"))


def _read_aligned(paths: list[str], faults: Faults) -> Parallel:
    absent = [p for p in paths if not Path(p).is_file()]
    if absent or len(paths) < 2:
        cure = "give SOURCE,TARGET: two files with as many lines, or one table with both sides"
        raise DataError("no such file", where=absent[0] if absent else paths[0], cure=cure)
    columns = [_lines(path, faults) for path in paths]
    sources: list[str] = []
    references: list[tuple[str, ...]] = []
    places: list[str] = []
    for number, row in enumerate(zip_longest(*columns), start=1):
        if None in row:
            longer, shorter = (next(p for p, v in zip(paths, row, strict=True) if (v is None) == gone)
                               for gone in (False, True))  # fmt: skip
            raise DataError(f"this line has no partner: {shorter} has only {number - 1:,} lines",
                            where=f"{longer}:{number}", cure="give files that are aligned line by line")  # fmt: skip
        if all([_is_sound(text, f"{path}:{number}", faults) for path, text in zip(paths, row, strict=True)]):
            sources.append(row[0].strip())
            references.append(tuple(text.strip() for text in row[1:]))
            places.append(f"{paths[0]}:{number}")
    if not sources:
        raise NoRecordError("no line in it", where=paths[0], cure="check that the file was written completely")
    note = f"{', '.join(paths)}: aligned lines, the first file is the source"
    return Parallel(sources, references, places, note)


def _lines(path: str, faults: Faults) -> Iterable[str]:
    reject_binary(path)
    decoder = strict_decode(path, faults)
    return (decoder(raw, number) for number, raw, _ in raw_lines(path))


def _is_sound(text: str, place: str, faults: Faults) -> bool:
    """Whether a line holds a text; a fault where it does not."""
    if not text.strip():
        cure = "fill it in, or remove the line from all the files"
        faults.add(DataError("an empty line", where=place, cure=cure))
    return bool(text.strip())


def _columns(table: Table, source: str | None, target: str | None) -> tuple[int, int, str]:
    """Indices of both sides, and the choice in words."""
    two = len(table.names) == 2
    here, said = _column(table, source, SOURCES, "source", default=0 if two else None)
    there, more = _column(table, target, TARGETS, "target", default=1 - here if two else None)
    if here == there:
        raise DataError(f"column {table.names[here]!r} is asked for as source and as target", where=table.path,
                        cure=f"choose two of: {', '.join(table.names)}")  # fmt: skip
    guessed = [text for text in (said, more) if text]
    note = f"{table.note}; source {table.names[here]!r}, target {table.names[there]!r}"
    return here, there, note + (f" (guessed; override with {' and '.join(guessed)})" if guessed else "")


def _column(
    table: Table, asked: str | None, names: Sequence[str], side: str, default: int | None
) -> tuple[int, str | None]:
    """(index, the setting to override a guess with)."""
    if asked is not None:
        return table.column(asked), None
    lowered = [name.lower() for name in table.names]
    found = next((lowered.index(name) for name in names if name in lowered), default)
    if found is None:
        raise DataError(f"no column looks like the {side}", where=table.path,
                        cure=f"name it with --set task.{side}=NAME: {', '.join(table.names)}")  # fmt: skip
    return found, f"task.{side}"


def _side(value: object, side: str, name: str, place: str, faults: Faults) -> tuple[str, ...]:
    """As ``_texts``; nothing where it is a fault."""
    try:
        return _texts(value, side, name, place)
    except DataError as error:
        faults.add(error)
        return ()


def _texts(value: object, side: str, name: str, place: str) -> tuple[str, ...]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if side == "source":  # a blank sentence among others says nothing (SciTLDR has one); a blank answer is a mistake
        values = [v for v in values if not isinstance(v, str) or v.strip()]
    if not values or any(v is None or (isinstance(v, str) and not v.strip()) for v in values):
        raise DataError(f"the {side} is empty (column {name!r})", where=place, cure="fill it in or remove the record")
    if not all(isinstance(v, str) for v in values):
        kind = next(type(v).__name__ for v in values if not isinstance(v, str))
        raise DataError(f"the {side} holds {kind}, not text (column {name!r})", where=place,
                        cure=f"name the right column with --set task.{side}=NAME")  # fmt: skip
    return tuple(_clean(str(v).strip(), place) for v in values)


def _joined(parts: Sequence[str]) -> str:
    return ("" if has_chinese(parts[0]) else " ").join(parts)


def _clean(text: str, place: str) -> str:
    if replace_surrogates(text)[1] or "\0" in text:
        raise DataError("half a surrogate pair or a NUL in the text", where=place,
                        cure="remove it: no text encoding can hold it")  # fmt: skip
    return text
