"""Texts to go on from: raw text, or prompts with their responses (JSONL, tables).

Nothing of a table is dropped: an empty side is an error, located. Raw text is read as pre-training reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wordloom.config import CorpusConfig
from wordloom.data.corpus import Corpus
from wordloom.data.examples import text_key
from wordloom.data.faults import STRICT, Faults
from wordloom.data.readers import (
    file_format,
    replace_surrogates,
    stdin_lines,
    strict_decode,
    text_lines,
)
from wordloom.data.tables import Table, longest_text, open_table, table_rows
from wordloom.errors import DataError

# field names tried in this order where none is asked for
PROMPTS = ("prompt", "instruction", "question", "query", "input", "source")
RESPONSES = ("response", "completion", "output", "answer", "reply", "chosen", "target")
TEXTS = ("text", "content", "body", "document")
CONTEXT = "input"  # beside an "instruction": what it is about (Taori et al. 2023's layout); may be empty


@dataclass(frozen=True)
class Prompts:
    """E records in file order; the lists are parallel and not to be changed.

    prompts: "" of raw texts, and then of all records. places: "file:line" (parquet: row from 1).
    """

    prompts: list[str]
    responses: list[str]
    places: list[str]
    columns: str = ""

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def prompted(self) -> bool:
        return any(self.prompts)

    def subset(self, indices: Sequence[int]) -> Prompts:
        prompts, responses, places = (
            [part[i] for i in indices] for part in (self.prompts, self.responses, self.places)
        )
        return replace(self, prompts=prompts, responses=responses, places=places)

    def key(self, index: int) -> str:
        return text_key(self.prompts[index] or self.responses[index])

    def texts(self) -> Iterator[str]:
        for prompt, response in zip(self.prompts, self.responses, strict=True):
            if prompt:
                yield prompt
            yield response

    def facts(self) -> dict[str, Any]:
        sides = {"prompt": self.prompts, "response": self.responses} if self.prompted else {"text": self.responses}
        return {
            f"{name} {unit}": sum(len(t.split()) if unit == "words" else len(t) for t in side)
            for name, side in sides.items()
            for unit in ("words", "characters")
        }

    def content(self) -> Iterator[str]:
        for prompt, response in zip(self.prompts, self.responses, strict=True):
            yield f"{prompt}\x1f{response}"


def read_prompts(
    path: str, *, prompt: str | None = None, response: str | None = None, text: str | None = None,
    faults: Faults = STRICT,
) -> Prompts:  # fmt: skip
    """path: a table with prompts and responses; or raw text: a .txt file, a folder, a table with a column of text.

    prompt, response, text: columns of a table by name or, from 1, by number; guessed where None (``columns`` says
    how). Where the prompt is "instruction" and there is an "input", the prompt is both, a line each.
    An empty side, or one that is no text, is a fault, at its file:line. Raises DataError for a missing column.
    """
    if file_format(path) in (None, "txt"):
        asked = next((name for name in (prompt, response, text) if name is not None), None)
        if asked is not None:
            raise DataError(
                f"no column {asked!r}: this is raw text", where=path, cure="name no columns, or give a table"
            )
        return _raw(path)
    table = open_table(path, faults)
    there = _named(table, response, RESPONSES) if text is None else None
    here = _named(table, prompt, PROMPTS, but=there) if text is None else None
    if here is None and there is None:
        return _texts(table, text, faults)
    if here is None or there is None:
        side, other = ("prompt", "response") if here is None else ("response", "prompt")
        known = ", ".join(table.names)
        raise DataError(f"column {table.names[there if here is None else here]!r} looks like the {other}, and none like"  # type: ignore[index]
                        f" the {side}", where=path,
                        cure=f"name it with --set task.{side}=NAME, or --set task.text=NAME for texts without prompts: "
                             f"{known}")  # fmt: skip
    return _pairs(table, here, there, prompt is None or response is None, faults)


def read_asked(path: str, *, prompt: str | None = None, text: str | None = None) -> Iterator[str]:
    """The prompts of a file without responses: lines of text, or a column of a table; "-" is standard input."""
    if path == "-":
        yield from stdin_lines()
        return
    if file_format(path) in (None, "txt"):
        yield from text_lines(path)
        return
    table = open_table(path)
    at = _named(table, prompt or text, (*PROMPTS, *TEXTS))
    at = 0 if at is None and len(table.names) == 1 else at
    if at is None:
        raise DataError("no column looks like the prompt", where=path,
                        cure=f"name it with --text: {', '.join(table.names)}")  # fmt: skip
    beside = _context(table, at)
    for line, cells in table_rows(table, [at, *beside], strict_decode(path)):
        yield _prompt(table, at, cells, f"{path}:{line}")


def _raw(path: str) -> Prompts:
    corpus = Corpus(CorpusConfig(paths=(path,)))
    found = [(d.text, f"{d.file}:{d.line}") for d in corpus]
    notes = "; ".join(corpus.report.lines()).replace(f"{path}: ", "")
    return Prompts([""] * len(found), [t for t, _ in found], [p for _, p in found], f"{path}: raw text; {notes}")


def _texts(table: Table, asked: str | None, faults: Faults) -> Prompts:
    at = _named(table, asked, TEXTS)
    guess = "" if asked is not None else " (guessed; override with task.text, task.prompt and task.response)"
    at = longest_text(table) if at is None else at
    if at is None:
        raise DataError("no column looks like text", where=table.path,
                        cure=f"name it with --set task.text=NAME: {', '.join(table.names)}")  # fmt: skip
    texts, places = [], []
    for line, (value,) in table_rows(table, [at], strict_decode(table.path, faults), faults):
        place = f"{table.path}:{line}"
        try:
            texts.append(_cell(value, "text", table.names[at], place))
        except DataError as error:
            faults.add(error)
        else:
            places.append(place)
    note = f"{table.path}: {table.note}; texts from {table.names[at]!r}{guess}"
    return Prompts([""] * len(texts), texts, places, note)


def _pairs(table: Table, here: int, there: int, guessed: bool, faults: Faults) -> Prompts:
    if here == there:
        raise DataError(f"column {table.names[here]!r} is asked for as prompt and as response", where=table.path,
                        cure=f"choose two of: {', '.join(table.names)}")  # fmt: skip
    beside = [c for c in _context(table, here) if c != there]
    prompts, responses, places = [], [], []
    for line, cells in table_rows(table, [here, *beside, there], strict_decode(table.path, faults), faults):
        place = f"{table.path}:{line}"
        try:
            prompt = _prompt(table, here, cells[:-1], place)
            response = _cell(cells[-1], "response", table.names[there], place)
        except DataError as error:
            faults.add(error)
            continue
        prompts.append(prompt)
        responses.append(response)
        places.append(place)
    said = " and ".join(repr(table.names[c]) for c in (here, *beside))
    note = f"{table.path}: {table.note}; prompt {said}, response {table.names[there]!r}"
    return Prompts(prompts, responses, places,
                   note + (" (guessed; override with task.prompt and task.response)" if guessed else ""))  # fmt: skip


def _named(table: Table, asked: str | None, names: Sequence[str], but: int | None = None) -> int | None:
    if asked is not None:
        return table.column(asked)
    lowered = [name.lower() for name in table.names]
    return next((lowered.index(n) for n in names if n in lowered and lowered.index(n) != but), None)


def _context(table: Table, at: int) -> list[int]:
    """The column that stands beside an instruction, if there is one."""
    lowered = [name.lower() for name in table.names]
    return [lowered.index(CONTEXT)] if lowered[at] == "instruction" and CONTEXT in lowered else []


def _prompt(table: Table, at: int, cells: Sequence[Any], place: str) -> str:
    prompt = _cell(cells[0], "prompt", table.names[at], place)
    if len(cells) > 1 and cells[1] not in (None, ""):
        prompt += "\n" + _cell(cells[1], "prompt", CONTEXT, place)
    return prompt


def _cell(value: object, side: str, name: str, place: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"the {side} is empty (column {name!r})", where=place, cure="fill it in or remove the record")
    if not isinstance(value, str):
        raise DataError(f"the {side} holds {type(value).__name__}, not text (column {name!r})", where=place,
                        cure=f"name the right column with --set task.{side}=NAME")  # fmt: skip
    if replace_surrogates(value)[1] or "\0" in value:
        raise DataError("half a surrogate pair or a NUL in the text", where=place,
                        cure="remove it: no text encoding can hold it")  # fmt: skip
    return value.strip()
