"""Records of files of questions: SQuAD's JSON, flat JSON, tables. Each knows its line; `data.questions` checks them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from wordloom.data.faults import Faults
from wordloom.data.json_places import JsonText, with_starts
from wordloom.data.readers import COMPRESSIONS, replace_surrogates, strict_decode, whole_text
from wordloom.data.tables import Table, open_table, table_rows
from wordloom.errors import DataError

QUESTION_NAMES, CONTEXT_NAMES = ("question", "query"), ("context", "passage", "paragraph", "document", "text")
ID_NAMES = ("id", "qid", "question_id")
SHAPE = "write SQuAD's layout: data, paragraphs, context, qas, question, id, answers, text, answer_start"
_LISTS = ("data", "paragraphs", "qas")  # one in the other


class Record(NamedTuple):
    """place: "file:line", of JSON with what names it there. question to impossible: as they stand in the file.
    source, at: the JSON text it comes from, and where it begins there."""

    place: str
    question: Any
    context: Any
    id: Any
    answers: Any
    impossible: Any
    source: JsonText | None = None
    at: int = 0

    def answer_place(self, number: int) -> str:
        """The place of one of its answers, from 0: its own line in JSON."""
        if self.source is None:
            return self.place
        own = self.source.place(self.at)
        return self.source.item_place(self.at, "answers", number) + self.place.removeprefix(own)


def question_records(path: str, question: str | None, context: str | None, faults: Faults) -> Iterator[Record]:
    """The records of a file; question, context: names of these columns of a table. Raises DataError for what is no such
    file at all."""
    name = path.lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    if name.endswith(".json"):
        return _json_records(path, faults)
    return _table_records(open_table(path, faults), question, context, faults)


def _json_records(path: str, faults: Faults) -> Iterator[Record]:
    if not Path(path).is_file():
        raise DataError("no such file", where=path, cure="correct the path")
    source = JsonText(path, whole_text(path, faults))
    try:
        document = source.decode(_LISTS)
    except (ValueError, RecursionError) as error:
        reason, line = getattr(error, "msg", str(error)), getattr(error, "lineno", 1)
        cure = "name it .jsonl if each line is a record" if reason == "Extra data" else "write it again, whole"
        raise DataError(f"not JSON ({reason})", where=f"{path}:{line}", cure=cure) from None
    yield from (
        _flat_records(document, source, faults)
        if isinstance(document, list)
        else _squad_records(document, source, faults)
    )


def _flat_records(document: list[Any], source: JsonText, faults: Faults) -> Iterator[Record]:
    for number, (record, at) in enumerate(with_starts(document), start=1):
        named = f"record {number}"
        try:
            found = _flat(record, f"{source.place(at)}: {named}", str(number))
        except DataError as error:
            faults.add(error)
        else:
            yield found._replace(source=source, at=at)


def _squad_records(document: Any, source: JsonText, faults: Faults) -> Iterator[Record]:
    articles = _list(document, "data", source.path, faults)
    for number, (article, at) in enumerate(with_starts(articles), start=1):
        title = article.get("title") if isinstance(article, dict) else None
        name = _printable(title) if isinstance(title, str) and title else f"article {number}"
        paragraphs = _list(article, "paragraphs", f"{source.place(at)}: {name}", faults)
        for count, (paragraph, begin) in enumerate(with_starts(paragraphs), start=1):
            named = f"{name}, paragraph {count}"
            qas = _list(paragraph, "qas", f"{source.place(begin)}: {named}", faults)
            context = paragraph.get("context") if qas else None
            for qa, start in with_starts(qas):
                if not isinstance(qa, dict):
                    where = f"{source.place(start)}: {named}"
                    faults.add(DataError("an entry of qas is no object", where=where, cure=SHAPE))
                    continue
                own = _printable(qa.get("id"))
                yield Record(f"{source.place(start)}: {named}/{own}", qa.get("question"), context, own,
                             qa.get("answers"), qa.get("is_impossible"), source, start)  # fmt: skip


def _printable(name: Any) -> Any:
    """A title or an id without halves of surrogate pairs: it stands in reports and answers, which are UTF-8."""
    return replace_surrogates(name)[0] if isinstance(name, str) else name


def _list(value: Any, key: str, where: str, faults: Faults) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if isinstance(found, list):
        return found
    faults.add(DataError(f"there is no list {key!r}", where=where, cure=SHAPE))
    return []


def _flat(record: Any, place: str, number: str) -> Record:
    if not isinstance(record, dict):
        raise DataError("not a JSON object", where=place, cure="write {question, context, answers} for each")
    question = next((record[n] for n in QUESTION_NAMES if n in record), None)
    context = next((record[n] for n in CONTEXT_NAMES if n in record), None)
    own = _printable(next((record[n] for n in ID_NAMES if record.get(n) is not None), number))
    answers = _answers_of(record)
    return Record(place, question, context, own, answers, record.get("is_impossible"))


def _answers_of(record: dict[str, Any]) -> Any:
    """The list of answers, from any of the spellings; None where there is none."""
    if record.get("answers") is None:
        if record.get("answer") is None:
            return None
        start = record.get("answer_start")
        return [{"text": record["answer"], "answer_start": start}] if str(record["answer"]).strip() else []
    given = record["answers"]
    if isinstance(given, str):  # a cell of a table
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return given
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        starts = given.get("answer_start")
        starts = [None] * len(given["text"]) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(given["text"]):
            return f"{len(given['text'])} texts with another number of offsets"
        return [{"text": t, "answer_start": s} for t, s in zip(given["text"], starts, strict=True)]
    return given


def _table_records(table: Table, question: str | None, context: str | None, faults: Faults) -> Iterator[Record]:
    if not table.header:
        table = _named(table, question, context)
    lower = {name.lower(): name for name in reversed(table.names)}

    def pick(asked: str | None, names: Sequence[str], what: str, flag: str) -> str:
        if asked is not None:
            return table.names[table.column(asked)]
        found = next((lower[n] for n in names if n in lower), None)
        if found is None:
            cure = f"name it with {flag}; there are {', '.join(table.names)}"
            raise DataError(f"no column of {what}s", where=table.path, cure=cure)
        return found

    columns = {
        "question": pick(question, QUESTION_NAMES, "question", "--text"),
        "context": pick(context, CONTEXT_NAMES, "context", "--pair"),
    }
    for name in ("answers", "answer", "answer_start", "is_impossible"):
        if name in lower:
            columns[name] = lower[name]
    own = next((lower[n] for n in ID_NAMES if n in lower), None)
    if own is not None:
        columns["id"] = own
    numbers = [table.names.index(name) for name in columns.values()]
    for line, cells in table_rows(table, numbers, strict_decode(table.path, faults), faults):
        yield _flat(dict(zip(columns, cells, strict=True)), f"{table.path}:{line}", str(line))


def _named(table: Table, question: str | None, context: str | None) -> Table:
    """The table with its first row as names, where that row has those of a question and a context: these alone do not
    make `has_header` see one."""
    first = tuple(str(cell).strip() for cell in table.sample[0]) if table.sample else ()
    lower = {cell.lower() for cell in first}
    wanted = [[asked.lower()] if asked else names
              for asked, names in ((question, QUESTION_NAMES), (context, CONTEXT_NAMES))]  # fmt: skip
    return replace(table, header=True, names=first) if all(lower & {*names} for names in wanted) else table
