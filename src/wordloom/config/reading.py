"""TOML or plain values -> a table, or one sentence that says which key is wrong."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from wordloom.config.objectives import OBJECTIVES
from wordloom.config.recipe import Recipe
from wordloom.config.strict import Strict
from wordloom.config.tasks import TASKS
from wordloom.errors import ConfigError


def read_recipe(path: str | Path, overlay: dict[str, Any] | None = None) -> Recipe:
    """Parse a TOML recipe; ``overlay`` maps dotted keys ("train.lr") to values and wins (recipe < flag)."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("no such recipe", where=path, cure="give the path of a .toml recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"not a readable TOML file: {error}", where=path, cure="correct that line") from None
    return make(Recipe, merge(values, overlay or {}), where=path)


def merge(values: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Values with each dotted key of ``overlay`` replaced; None means "not given" and changes nothing."""
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for dotted, value in overlay.items():
        if value is None:
            continue
        table, _, key = dotted.partition(".")
        if not isinstance(merged.setdefault(table, {}), dict):
            raise ConfigError(f"[{table}] must be a table", cure=f"write it as [{table}] with keys below it")
        merged[table][key] = value
    return merged


M = TypeVar("M", bound=Strict)


def make(model: type[M], values: dict[str, Any], where: str | Path | None = None) -> M:
    """Validate; the error names the key, the near miss, and what is allowed."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_plain(model, error), where=where, cure="correct that key") from None


def _plain(model: type[BaseModel], error: ValidationError) -> str:
    errors = error.errors()
    first = errors[0]
    if first["type"] == "extra_forbidden":
        names, inner = _walk(model, first["loc"][:-1])
        assert inner is not None  # an unknown key stands in a table
        key = ".".join([*names, str(first["loc"][-1])])
        return f"unknown key {key!r}{near_miss(str(first['loc'][-1]), list(inner.model_fields), 'known keys')}"
    key = ".".join(_walk(model, first["loc"])[0])
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["tag"]
        known = TASKS if key == "task" else OBJECTIVES
        return f"{key}.name {tag!r} is unknown{near_miss(tag, list(known), 'known')}"
    said = [e["msg"].removeprefix("Value error, ") for e in errors if ".".join(_walk(model, e["loc"])[0]) == key]
    said[1:] = [message.removeprefix("Input should be ") for message in said[1:]]  # the members of a union
    return f"{key}: {' or '.join(said)}" if key else said[0]


def near_miss(word: str, known: list[str], otherwise: str) -> str:
    """What to add to "unknown ...": the name that was meant, or all there are."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; {otherwise}: {', '.join(sorted(known))}"


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The names of fields at the head of a location, and the table they lead to; what follows are places in lists."""
    names: list[str] = []
    inner: type[BaseModel] | None = model
    tables: list[type[BaseModel]] = []
    for part in loc:
        if len(tables) > 1:  # the part is the tag that says which table it is
            inner, tables = next((t for t in tables if t.model_fields["name"].default == part), None), []
            continue
        if inner is None or part not in inner.model_fields:
            break
        names.append(str(part))
        tables = _tables(inner.model_fields[str(part)].annotation)
        inner = tables[0] if len(tables) == 1 else None
    return names, inner


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The tables a field may be, optional or not."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [table for member in get_args(annotation) for table in _tables(member)]
