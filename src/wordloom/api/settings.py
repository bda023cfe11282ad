"""Keyword arguments and command-line flags -> keys of a recipe (recipe < flag)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from wordloom.config import OBJECTIVES, Recipe, Strict, make, merge, near_miss, read_recipe
from wordloom.errors import ConfigError, RunError
from wordloom.run import Run, read_manifest

T = TypeVar("T")

LENGTHS = ("steps", "epochs", "minutes")


def required(value: T | None, table: str, verb: str) -> T:
    """The table of a recipe, or an error that says who needs it."""
    if value is None:
        raise ConfigError(
            f"{verb} needs a table [{table}]", cure=f"add [{table}] to the recipe or give it as arguments"
        )
    return value


def recipe_from(
    settings: Mapping[str, Any],
    tables: Mapping[str, type[Strict]],
    *,
    base: str | Path | Recipe | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe from a base (file or object), defaults below it and flat settings above it.

    settings: flat ("lr") or dotted ("train.lr") keys; a flat key belongs to the first table that has it.
    tables: name -> model, in the order in which flat keys are looked up.
    Raises ConfigError for a key no table has, naming the near miss.
    """
    overlay: dict[str, Any] = {}
    for key, value in ((_dotted(k, tables), v) for k, v in settings.items() if v is not None):
        if overlay.setdefault(key, value) != value:
            raise ConfigError(f"{key} is given twice, as {overlay[key]!r} and {value!r}", cure="give it once")
    if isinstance(base, Recipe):
        values = base.model_dump(exclude_unset=True)
    elif base is not None:
        values = read_recipe(base).model_dump(exclude_unset=True)
    else:
        values = {}
    given = set(overlay) | {f"{t}.{k}" for t, v in values.items() if isinstance(v, Mapping) for k in v}
    chosen = {k: v for k, v in (defaults or {}).items() if k not in given and not _another_length(k, given)}
    for table, replaced in _lengths_replaced(overlay):
        values[table] = {k: v for k, v in values.get(table, {}).items() if k not in replaced}
    return make(Recipe, merge(merge(values, chosen), overlay), where=base if isinstance(base, (str, Path)) else None)


def own_recipe(out: str | Path) -> Path:
    """The recipe a run was started with. RunError where the folder is not a run."""
    read_manifest(out)
    return Path(out) / "recipe.toml"


def refuse_changes(
    run: Run, chosen: Recipe, tables: Mapping[str, type[Strict]], hashed: Set[str] = frozenset()
) -> None:
    """A resumed run does what it was started to do: RunError names the first key of ``tables`` that differs.

    hashed: dotted keys left out here because a hash of the content they name is compared.
    """
    before = read_recipe(run.path / "recipe.toml")
    for table, model in tables.items():
        was, now = ((getattr(r, table) or model.model_construct()).model_dump() for r in (before, chosen))
        for key in was:
            if f"{table}.{key}" not in hashed and was[key] != now.get(key):  # another objective has other keys
                run.close()
                raise RunError(
                    f"cannot resume exactly: {table}.{key} was {was[key]!r} and is {now.get(key)!r} now",
                    where=run.path,
                    cure="use what the run was started with, or start a new run",
                )


def _dotted(key: str, tables: Mapping[str, type[Strict]]) -> str:
    if "." in key:
        return key
    keys = {table: [*model.model_fields] for table, model in tables.items()}
    if "objective" in keys:
        keys["objective"] = list(dict.fromkeys(k for model in OBJECTIVES.values() for k in model.model_fields))
    for table, its in keys.items():
        if key in its:
            return f"{table}.{key}"
    hint = near_miss(key, sorted({k for its in keys.values() for k in its}), "known")
    raise ConfigError(f"unknown setting {key!r}{hint}", cure="correct that name")


def _another_length(key: str, given: set[str]) -> bool:
    """Whether the user already said how long in another unit, so that this default must stay away."""
    table, _, name = key.partition(".")
    return name in LENGTHS and any(f"{table}.{unit}" in given for unit in LENGTHS)


def _lengths_replaced(overlay: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """A flag that says how long replaces whatever unit the recipe used."""
    tables = {k.partition(".")[0] for k in overlay if k.partition(".")[2] in LENGTHS}
    return [(table, LENGTHS) for table in tables]


def parse_assignment(text: str) -> tuple[str, Any]:
    """``"train.lr=3e-4"`` -> ("train.lr", 0.0003): the value is read as TOML, or as a plain string."""
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"cannot read --set {text!r}", cure="write it as table.key=value, for example train.lr=3e-4")
    try:
        return key.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
