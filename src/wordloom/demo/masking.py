"""A docstring -> its sentences without names: what is left is language."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

NAME = "name"  # what a masked identifier becomes

_DIRECTIVE = re.compile(r"\s*\.\. ?([\w:-]*?)::")
_DIRECTIVES_OF_PROSE = frozenset(
    ["note", "warning", "tip", "important", "caution", "hint", "attention", "danger", "admonition", "seealso"]
)
_LETTERS = re.compile(r"[^\W\d_]")


def prose(docstring: str) -> str:
    """The sentences of a docstring on one line: no doctests, code or maths blocks, directives, rulers or tables."""
    kept: list[str] = []
    block = -1  # indent of the line that opened a block to leave out; -1: none
    doctest = fenced = False
    for line in inspect.cleandoc(docstring).split("\n"):
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if bare.startswith("```"):
            fenced = not fenced
            continue
        if not bare:
            doctest = False
            continue
        if block >= 0 and indent <= block:
            block = -1
        doctest = doctest or bare.startswith((">>>", "In ["))  # its output runs to the next empty line
        if fenced or doctest or block >= 0:
            continue
        directive = _DIRECTIVE.match(line)
        if directive:
            block = -1 if directive[1] in _DIRECTIVES_OF_PROSE else indent
            continue
        if bare.startswith((".. _", ".. [", ":orphan:", "@")):  # link targets, references
            continue
        if bare.endswith("::"):
            block, bare = indent, bare[:-1]
        if len(_LETTERS.findall(bare)) * 2 > len(bare):
            kept.append(bare)
    return " ".join(kept)


_CODE = re.compile(
    r"""https?://[^\s)>\]]+|www\.[^\s)>\]]+|[\w.+-]+@[\w-]+\.\w+ # addresses
    |<[^>]+>                                     # targets of links, tags
    |[A-Za-z_]\w+(?:\.\w+)+(?:\(\))?             # import paths, files, attributes
    |(?:\.{0,2}/)?\w+(?:/\w+){2,}                # paths
    |\w*_\w*                                     # snake_case, dunders
    |\w*[a-z0-9][A-Z]\w*                         # camelCase, CamelCase
    |[A-Z]{2,}[a-z]{2,}\w*                       # XMLParser
    |\w+(?=\()                                   # calls
    |(?<!\S)--?[A-Za-z][\w-]+                     # command-line options
    |\w*\d+\.\d+\w*(?:\.\w+)*                  # versions, decimals
    """,
    re.VERBOSE,
)
_ROLE = re.compile(r":[a-z][\w:]*:(?=`)")  # :class:`x`
_NAMES = re.compile(rf"(?<![\w-]){NAME}(?:[\s.:/(),-]*[\s.:/(-]{NAME}(?![\w-]))+")


class Masker:
    """Replaces what names a package or a piece of code by ``NAME``; a list of names becomes one.

    names: lower-case import and distribution names; those of five letters or more also inside a word
        ("torchscript"), shorter ones as whole words only.

    Works on one white-space token at a time and remembers it: words repeat, and a cache makes a regular
    expression of ten alternatives affordable.
    """

    def __init__(self, names: Iterable[str]):
        self._inside = sorted(n for n in names if len(n) >= 5)
        self._whole = frozenset(n for n in names if len(n) < 5)
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        known = self._known
        tokens = [known[t] if t in known else known.setdefault(t, self._token(t)) for t in text.split()]
        return _NAMES.sub(NAME, " ".join(t for t in tokens if t))

    def _token(self, token: str) -> str:
        token = _CODE.sub("\0", _ROLE.sub("", token))
        token = re.sub(r"[\w-]+", lambda m: "\0" if self._is_package(m[0].lower()) else m[0], token)
        token = re.sub(r"[`*~|]+", "", token)
        return re.sub(r"\w*\0[\w\0]*", NAME, token)

    def _is_package(self, word: str) -> bool:
        return any(part in self._whole for part in word.split("-")) or any(n in word for n in self._inside)
