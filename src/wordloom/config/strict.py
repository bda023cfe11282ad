"""What every table of a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def name_or(default: str) -> Callable[[Any], str]:
    """What tells the tables of a union apart: their key ``name``, ``default`` where a table names none."""
    return lambda value: str(value.get("name", default) if isinstance(value, dict) else getattr(value, "name", default))
