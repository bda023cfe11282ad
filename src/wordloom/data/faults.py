"""What is wrong with the records of a file: training refuses the first fault, ``check`` reads on and lists them all."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TypeVar

from wordloom.errors import DataError

R = TypeVar("R")
_PLACE = re.compile(r"(.*?):(\d+)(?:: .*)?", re.DOTALL)  # "file:line", perhaps with what is there


class NoRecordError(DataError):
    """A file without a record. Where other faults were found before it, it only follows from them."""


class Faults:
    """Where a reader takes the faults of records: ``add`` raises them, or keeps them, and the reader goes on.

    A DataError that is not taken here ends the file. found: kept faults by their sentence, in reading order; the same
    one is kept once, since a part of a file may be read twice.
    """

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep
        self.found: dict[str, DataError] = {}

    def add(self, error: DataError) -> None:
        if not self.keep:
            raise error
        if not (self.found and isinstance(error, NoRecordError)):
            error.__traceback__ = error.__context__ = None  # they hold the frames of the reader, its records with them
            self.found.setdefault(str(error), error)


STRICT = Faults()  # every reader's default: it raises and so holds nothing


def collect(read: Callable[..., R]) -> tuple[R | None, list[str]]:
    """(what ``read(faults=...)`` finds of sound records, or None where a fault ended the file; the faults as sentences,
    file by file in the order of the lines)."""
    faults, found = Faults(keep=True), None
    try:
        found = read(faults=faults)
    except DataError as error:
        faults.add(error)
    return found, _in_order(faults.found)


def _in_order(found: dict[str, DataError]) -> list[str]:
    """What has no line comes last: it ended the file."""
    files: dict[str, int] = {}
    keys: dict[str, tuple[int, int]] = {}
    for said, error in found.items():
        place = _PLACE.fullmatch(error.where or "")
        file, line = (place[1], int(place[2])) if place else (error.where or "", sys.maxsize)
        keys[said] = files.setdefault(file, len(files)), line
    return sorted(keys, key=keys.__getitem__)
