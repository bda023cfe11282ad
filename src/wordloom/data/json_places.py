"""JSON of which one knows in which line a record begins.

json's decoder forgets positions. The lists that hold records are walked here, and all inside a record is decoded by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

_value: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().raw_decode  # (text, begin) -> (value, end)
_BEGINS, _COLON, _ENDS_LIST, _ENDS_OBJECT = (
    re.compile(rf"[ \t\n\r]*([{signs}])[ \t\n\r]*").match for signs in (r"\[{", ":", r",\]", ",}")
)


class Placed(list[Any]):
    """A list, and where in the text each of its items begins, in characters from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[int] = []


def with_starts(items: Any) -> Iterable[tuple[Any, int]]:
    """The items of a list, each with its beginning; 0 where it is not known."""
    return zip(items, items.starts if isinstance(items, Placed) else repeat(0))  # noqa: B905 - repeat has no end


class JsonText:
    """The text of a JSON file. Lines are counted from the place asked for before: near places cost little."""

    def __init__(self, path: str, text: str):
        self.path, self.text = path, text
        self.lines = "\n" in text
        self._at, self._line = 0, 1

    def decode(self, names: Sequence[str] = ()) -> Any:
        """The document. In a text of several lines the list that it is, or that stands under names[0] of it, or under
        names[1] of an object in that list, and so on, is `Placed`.

        Raises ValueError (with lineno) or RecursionError, as json.loads does."""
        if self.lines:
            try:
                begin = len(self.text) - len(self.text.lstrip(" \t\n\r"))
                found, end = _walk(self.text, begin, tuple(names))
                if not self.text[end:].strip(" \t\n\r"):
                    return found
            except (IndexError, ValueError):
                pass  # json.loads says better what is wrong
        return json.loads(self.text)

    def place(self, at: int) -> str:
        """ "file:line" of a character."""
        ahead = at >= self._at
        crossed = self.text.count("\n", *((self._at, at) if ahead else (at, self._at)))
        self._line += crossed if ahead else -crossed
        self._at = at
        return f"{self.path}:{self._line}"

    def item_place(self, at: int, name: str, number: int) -> str:
        """ "file:line" of an item in the list under a name of the object at ``at``, or of that object."""
        if self.lines:
            items = _walk(self.text, at, (name,))[0].get(name)
            at = items.starts[number] if isinstance(items, Placed) else at
        return self.place(at)


def _walk(text: str, at: int, names: tuple[str, ...]) -> tuple[Any, int]:
    """(value, where what follows it begins). Raises IndexError or ValueError where the text is not JSON."""
    if text[at] == "[":
        return _list(text, at, names)
    return _object(text, at, names) if names and text[at] == "{" else _value(text, at)


def _list(text: str, at: int, names: tuple[str, ...]) -> tuple[Placed, int]:
    """Its items are objects that are walked too, as long as there are names."""
    found = Placed()
    _, at = _sign(_BEGINS, text, at)
    if text[at] == "]":
        return found, _sign(_ENDS_LIST, text, at)[1]
    sign = ","
    while sign == ",":
        found.starts.append(at)
        item, at = _object(text, at, names) if names and text[at] == "{" else _value(text, at)
        found.append(item)
        sign, at = _sign(_ENDS_LIST, text, at)
    return found, at


def _object(text: str, at: int, names: tuple[str, ...]) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    _, at = _sign(_BEGINS, text, at)
    if text[at] == "}":
        return found, _sign(_ENDS_OBJECT, text, at)[1]
    sign = ","
    while sign == ",":
        if text[at] != '"':
            raise ValueError("no name")
        key, at = _value(text, at)
        _, at = _sign(_COLON, text, at)
        walked = key == names[0] and text[at] == "["
        found[key], at = _list(text, at, names[1:]) if walked else _value(text, at)
        sign, at = _sign(_ENDS_OBJECT, text, at)
    return found, at


def _sign(match: Callable[[str, int], re.Match[str] | None], text: str, at: int) -> tuple[str, int]:
    """(the sign that stands next, where what follows it begins)."""
    found = match(text, at)
    if found is None:
        raise ValueError("another sign")
    return found[1], found.end()
