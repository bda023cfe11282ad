"""Which column of a labelled table is the text, which the label: asked for, or guessed and said so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from wordloom.data.readers import is_table, strict_decode
from wordloom.data.tables import (
    ID_NAMES,
    LABEL_NAMES,
    PAIR_NAMES,
    TEXT_NAMES,
    Table,
    longest_text,
    mean_length,
    open_table,
    table_rows,
)
from wordloom.errors import DataError


@dataclass(frozen=True)
class Columns:
    """Which columns hold what (indices). guessed: setting (text, label, pair) -> the guess in words."""

    text: int
    label: int | None
    pair: int | None
    guessed: dict[str, str]


def guess_columns(
    table: Table, text: str | None, label: str | None, pair: str | None, require_label: bool = True
) -> Columns:
    """Columns asked for, the others guessed: label and text by name, else by content."""
    said = {}
    label_at = table.column(label) if label is not None else None
    text_at = table.column(text) if text is not None else None
    if label is None:
        label_at, why = _guess_label(table, text_at, require_label)
        if label_at is not None:
            said["label"] = f"label {table.names[label_at]!r}{why}"
        elif require_label:
            cure = f"name the label column with --label (label=...): {', '.join(table.names)}"
            raise DataError("no column looks like a label", where=table.path, cure=cure)
        else:
            said["label"] = "no label column"
    if text is None:
        text_at, why = _guess_text(table, label_at)
        if text_at is None:
            cure = f"name the text column with --text (text=...): {', '.join(table.names)}"
            raise DataError("no column looks like text", where=table.path, cure=cure)
        said["text"] = f"text {table.names[text_at]!r}{why}"
    assert text_at is not None
    pair_at = table.column(pair) if pair is not None else None
    if pair is None and text is None:
        partner = PAIR_NAMES.get(table.names[text_at].lower())
        named = [i for i, name in enumerate(table.names) if name.lower() == partner]
        if named and named[0] != label_at:
            pair_at = named[0]
            said["pair"] = f"second text {table.names[pair_at]!r}"
    used = [c for c in (text_at, label_at, pair_at) if c is not None]
    if len(set(used)) < len(used):
        what = "the same column is asked for twice (text, pair, label)"
        raise DataError(what, where=table.path, cure=f"choose different ones of: {', '.join(table.names)}")
    return Columns(text_at, label_at, pair_at, said)


def _guess_text(table: Table, label: int | None) -> tuple[int | None, str]:
    """(column, why in words: nothing where its name says it)."""
    for name in TEXT_NAMES:
        for i, own in enumerate(table.names):
            if own.lower() == name and i != label and mean_length(table, i) > 0:
                return i, ""
    others = [i for i in range(len(table.names)) if i != label and mean_length(table, i) > 0]
    best = max(others, key=lambda i: mean_length(table, i), default=None)
    return best, " (longest)"


def _guess_label(table: Table, text: int | None, require_label: bool) -> tuple[int | None, str]:
    for name in LABEL_NAMES:
        for i, own in enumerate(table.names):
            if own.lower() == name and i != text:
                return i, ""
    free = [i for i in range(len(table.names)) if i not in (text, longest_text(table))]
    kinds = {i: _distinct(table, i) for i in free}
    # A column of prediction input is taken as a label only where its values repeat a lot (ids and dates do not).
    most = len(table.sample) * (0.5 if require_label else 0.1)
    few = {i: n for i, n in kinds.items() if 2 <= n <= max(2 if require_label else 0, most) and n < len(table.sample)}
    best = min(few, key=lambda i: (few[i], i), default=None)
    count = 0 if best is None else few[best]
    return best, f" ({count} values in {len(table.sample)} rows)"


def _distinct(table: Table, column: int) -> int:
    """Distinct short cells of a column; 0 where it cannot hold labels."""
    cells = [row[column] for row in table.sample]
    if any(not isinstance(cell, str | int) or len(str(cell)) > 60 for cell in cells):
        return 0
    return len({str(cell) for cell in cells})


def read_ids(path: str, asked: str | None) -> tuple[str, list[Any] | None]:
    """What the rows of a file are called: (name of the column, its cells in order), or ("id", None) where the file has
    no such column: then a row's number, from 0, is its id.

    asked: the column by name or, from 1, by number; else the first named as ``ID_NAMES``. "-", lines of text and
    folders have none.
    Raises DataError for a column that is not there, an id that is empty or there twice.
    """
    if path == "-" or os.path.isdir(path) or not is_table(path):
        if asked is not None:
            raise DataError(
                "no columns here, so no ids", where=path, cure="leave --id out: the row's number, from 0, is it"
            )
        return "id", None
    table = open_table(path)
    lowered = [name.lower() for name in table.names]
    at = table.column(asked) if asked is not None else next((lowered.index(n) for n in ID_NAMES if n in lowered), None)
    if at is None:
        return "id", None
    seen: dict[Any, int] = {}
    for line, (cell,) in table_rows(table, [at], strict_decode(path)):
        if not isinstance(cell, str | int) or not str(cell).strip():
            raise DataError(f"no id in column {table.names[at]!r}", where=f"{path}:{line}",
                            cure="fill it in, or name another column with --id")  # fmt: skip
        if cell in seen:
            raise DataError(f"the id {cell!r} is that of line {seen[cell]} too", where=f"{path}:{line}",
                            cure="correct it, or name another column with --id")  # fmt: skip
        seen[cell] = line
    return table.names[at], list(seen)
