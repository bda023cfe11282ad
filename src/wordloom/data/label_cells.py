"""Cells of a label column: which kind of labels they hold, and the labels."""

from __future__ import annotations

import json
from typing import Any, Literal

from wordloom.data.tables import is_number
from wordloom.errors import DataError

Kind = Literal["single", "multi", "regression"]

REGRESSION_VALUES = 20  # more distinct non-integer numbers than this are a scale, not class names


def infer_kind(raw: list[Any], separator: str) -> Kind:
    """What the cells of a column look like; separator: between the labels of a cell."""
    lists = [value for value in raw if isinstance(value, list) or _json_list(value) is not None]
    if lists and all(isinstance(value, list) and len(value) == 1 for value in raw):
        return "single"  # fastText lines and JSON that put the one label in a list
    if lists or sum(isinstance(value, str) and separator in value for value in raw) > len(raw) / 2:
        return "multi"
    if all(is_number(value) for value in raw):
        numbers = {float(value) for value in raw}
        if sum(not number.is_integer() for number in numbers) > REGRESSION_VALUES:
            return "regression"
    return "single"


def _json_list(value: object) -> list[Any] | None:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, list) else None
    return None


def label_of(value: Any, kind: Kind, separator: str, place: str) -> str | list[str] | float:
    """The label or labels of a cell, or its number. Raises DataError where it is none."""
    if kind == "regression":
        if not is_number(value):
            cure = "write a number, or use --kind single (kind=single)"
            raise DataError(f"label {value!r} is not a number", where=place, cure=cure)
        return float(value)
    listed = value if isinstance(value, list) else _json_list(value) if kind == "multi" else None
    if kind == "single":
        if listed is not None:
            if len(listed) != 1:
                what = f"{len(listed)} labels where one is expected"
                raise DataError(what, where=place, cure="give one label, or use --kind multi (kind=multi)")
            value = listed[0]
        return _name(value, place)
    parts = listed if listed is not None else str(value).split(separator) if isinstance(value, str) else [value]
    return list(dict.fromkeys(_name(part, place) for part in parts))


def _name(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    name = str(value).strip() if isinstance(value, str) or is_number(value) else ""
    if not name:
        what = f"label {value!r} is not a name"
        cure = "write a word or number, or name the label column with --label (label=...)"
        raise DataError(what, where=place, cure=cure)
    return name
