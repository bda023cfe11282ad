"""Minimal pairs from a file: JSONL as BLiMP is published, or TSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordloom.data.readers import file_format, raw_lines, reject_binary, strict_decode
from wordloom.data.tables import open_table, table_rows
from wordloom.errors import ConfigError, DataError

_GOOD, _BAD = ("sentence_good", "good"), ("sentence_bad", "bad")
_PARADIGM, _FIELD, _TERM = ("paradigm", "UID"), ("field",), ("linguistics_term", "term")
_CURE = "name two columns sentence_good and sentence_bad"
Row = tuple[str, tuple[Any, ...]]  # file:line, cells


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one point. paradigm: the phenomenon at its finest; field and term group paradigms,
    "" where the file has none. place: file:line."""

    good: str
    bad: str
    paradigm: str
    field: str
    term: str
    place: str


def read_pairs(path: str | Path, limit: int | None = None) -> list[Pair]:
    """The pairs of a file in its order; with ``limit`` the first so many of each paradigm.

    .jsonl (or .ndjson): objects with sentence_good and sentence_bad (or good, bad), optionally paradigm (or UID, as
    Warstadt et al. 2020 name it; else the file's name), field, linguistics_term (or term). .tsv, not quoted: a first
    line with these names, or none and the columns good, bad and optionally paradigm. Each also compressed.
    "syntax/semantics" and "syntax_semantics" are one field: BLiMP's files spell it both ways.
    Raises DataError with file:line for what is not a pair of sentences.
    """
    path = str(path)
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} leaves no pair", cure="give a number above 0")
    kind = file_format(path)
    if kind not in ("jsonl", "tsv") or Path(path).is_dir():
        raise DataError("minimal pairs are read from .jsonl or .tsv", where=path, cure="write one pair a line there")
    names, rows = _jsonl(path) if kind == "jsonl" else _tsv(path)
    good, bad = (_column(names, known, path) for known in (_GOOD, _BAD))
    others = [next((names.index(n) for n in known if n in names), None) for known in (_PARADIGM, _FIELD, _TERM)]
    stem = Path(path).name.split(".")[0]
    pairs: list[Pair] = []
    seen: Counter[str] = Counter()
    for place, cells in rows:
        sentences = [_sentence(cells[i], names[i], place) for i in (good, bad)]
        paradigm, field, term = ("" if i is None else _name(cells[i], names[i], place) for i in others)
        paradigm = paradigm or stem
        seen[paradigm] += 1
        if limit is None or seen[paradigm] <= limit:
            pairs.append(Pair(sentences[0], sentences[1], paradigm, field.replace("/", "_"), term, place))
    if not pairs:
        raise DataError("no pair in it", where=path, cure="check that the file was written completely")
    return pairs


def _jsonl(path: str) -> tuple[tuple[str, ...], Iterator[Row]]:
    table = open_table(path)
    rows = table_rows(table, list(range(len(table.names))), strict_decode(path))
    return table.names, ((f"{path}:{line}", cells) for line, cells in rows)


def _tsv(path: str) -> tuple[tuple[str, ...], Iterator[Row]]:
    reject_binary(path)
    decoder = strict_decode(path)
    lines = [(number, text) for number, raw, _ in raw_lines(path) if (text := decoder(raw, number)).strip()]
    if not lines:
        raise DataError("no pair in it", where=path, cure="check that the file was written completely")
    names = tuple(cell.strip() for cell in lines[0][1].split("\t"))
    if set(names) & {*_GOOD, *_BAD}:
        lines = lines[1:]
    else:
        names = (_GOOD[0], _BAD[0], _PARADIGM[0])[: len(names)]

    def rows() -> Iterator[Row]:
        for number, text in lines:
            cells = tuple(text.split("\t"))
            if len(cells) != len(names):
                what = f"{len(cells)} tab-separated columns where {len(names)} are expected"
                raise DataError(what, where=f"{path}:{number}", cure="write good, tab, bad, and a paradigm if any")
            yield f"{path}:{number}", cells

    return names, rows()


def _column(names: tuple[str, ...], known: tuple[str, ...], path: str) -> int:
    for name in known:
        if name in names:
            return names.index(name)
    raise DataError(f"no column {known[0]!r} among {', '.join(names)}", where=f"{path}:1", cure=_CURE)


def _sentence(value: object, name: str, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        what = (
            f"{name} is {'empty' if isinstance(value, str) or value is None else type(value).__name__}, not a sentence"
        )
        raise DataError(what, where=place, cure="write the sentence there or remove the pair")
    return value.strip()


def _name(value: object, name: str, place: str) -> str:
    if value is not None and not isinstance(value, str):
        raise DataError(f"{name} is {type(value).__name__}, not a name", where=place, cure="write it as a string")
    return "" if value is None else value.strip()
