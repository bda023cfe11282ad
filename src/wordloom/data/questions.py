"""Questions about texts whose answers are spans of them: SQuAD's JSON (1.1 and 2.0), JSONL, CSV, TSV, Parquet.

Every answer is held against its context. One that is not at its offset is taken from where it is, if that is the only
place within ``NEAR`` characters of the offset (of the context, where no offset is given); else it has no span: nothing
can be learned from it, but it is still a right answer to compare with, as in the official scripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from wordloom.data.examples import text_key
from wordloom.data.readers import (
    COMPRESSIONS,
    open_file,
    reject_binary,
    replace_surrogates,
    strict_decode,
)
from wordloom.data.tables import Table, open_table, table_rows
from wordloom.errors import DataError

NEAR = 20  # characters from a wrong offset: those of CMRC 2018's files are off by one or two
SHOWN = 3  # places named of what was repaired or not found
QUESTION_NAMES, CONTEXT_NAMES = ("question", "query"), ("context", "passage", "paragraph", "document", "text")
ID_NAMES = ("id", "qid", "question_id")


class Question(NamedTuple):
    """What is asked, and of which text. id: of the file, or the line's number; "" where there is none."""

    question: str
    context: str
    id: str = ""


class Span(NamedTuple):
    """A right answer. start: its first character in the context; -1: it does not stand there."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Questions:
    """E questions in file order; the lists are parallel and not to be changed.

    answers: right answers of each, none where the text holds no answer; None for a file without answers.
    places: "file: paragraph/question id", or "file:line". columns: how it was read, in words. repaired, unfound:
    places of the answers that stood elsewhere, and that stand nowhere.
    """

    asked: list[Question]
    answers: list[tuple[Span, ...]] | None
    places: list[str]
    columns: str = ""
    repaired: tuple[str, ...] = ()
    unfound: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.asked)

    def subset(self, indices: Sequence[int]) -> Questions:
        answers = None if self.answers is None else [self.answers[i] for i in indices]
        return replace(self, asked=[self.asked[i] for i in indices], answers=answers,
                       places=[self.places[i] for i in indices])  # fmt: skip

    @property
    def gold(self) -> list[tuple[Span, ...]]:
        """``answers``, which are there. Raises DataError where the file has none."""
        if self.answers is None:
            where = self.places[0] if self.places else None
            raise DataError("the questions have no answers", where=where, cure="give a file with answers")
        return self.answers

    @property
    def unanswerable(self) -> bool:
        """Whether some question has no answer: the official script of SQuAD 2.0 then applies."""
        return not all(self.gold)

    def key(self, index: int) -> str:
        """The context: all questions about a text stay on one side of a split."""
        return text_key(self.asked[index].context)

    def repeat_key(self, index: int) -> str:
        """Equal where a question is asked twice of the same text."""
        return f"{self.key(index)}\n{text_key(self.asked[index].question)}"

    def faults(self) -> dict[str, Sequence[str]]:
        """What ``check`` warns of: sentence -> places."""
        return {
            "answers do not stand at their offset, and were found nearby": self.repaired,
            "answers stand nowhere in their text: no model can give them": self.unfound,
        }

    def contexts(self) -> list[str]:
        """Each context once, in order."""
        return list(dict.fromkeys(q.context for q in self.asked))

    def texts(self) -> Iterable[str]:
        return [*self.contexts(), *(q.question for q in self.asked)]

    def facts(self) -> dict[str, Any]:
        contexts = self.contexts()
        values = {"contexts": len(contexts), "characters_of_a_context": sum(map(len, contexts)) / max(1, len(contexts))}
        if self.answers is None:
            return values
        return values | {
            "unanswerable": sum(not a for a in self.answers),
            "answers": sum(map(len, self.answers)),
            "answers_repaired": len(self.repaired),
            "answers_not_in_their_context": len(self.unfound),
        }

    def content(self) -> Iterable[str]:
        for question, answers in zip(self.asked, self.gold, strict=True):
            yield json.dumps([*question, answers], ensure_ascii=True)


def read_questions(
    path: str, *, question: str | None = None, context: str | None = None, answers: bool = True
) -> Questions:
    """Read a file; how it was read is told by its suffix.

    .json: {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
    "answer_start"}], "is_impossible"}]}]}]}, or a list of flat records. The others: records with question, context,
    and answers (as above, or {"text": [...], "answer_start": [...]}), or answer with or without answer_start.
    question, context: names of these two columns. answers: they are needed; else they may be absent.

    An empty question is counted and kept: CMRC 2018's trial file has one, and its scores are of all. Raises DataError,
    with file and place: not that format, no question, an empty context, an id that occurs twice, an answer of another
    type, a question that is said to be unanswerable and has an answer.
    """
    name = path.lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    records = _squad_records(path) if name.endswith(".json") else _table_records(open_table(path), question, context)
    return _collect(path, records, answers)


# ---- records of a file: (place, question, context, id, answers or None, impossible or None)

Record = tuple[str, Any, Any, Any, Any, Any]


def _squad_records(path: str) -> Iterator[Record]:
    if not Path(path).is_file():
        raise DataError("no such file", where=path, cure="correct the path")
    reject_binary(path)
    with open_file(path) as file:
        text = strict_decode(path)(file.read().removeprefix(b"\xef\xbb\xbf"), 1)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason, line = getattr(error, "msg", str(error)), getattr(error, "lineno", 1)
        cure = "name it .jsonl if each line is a record" if reason == "Extra data" else "write it again, whole"
        raise DataError(f"not JSON ({reason})", where=f"{path}:{line}", cure=cure) from None
    if isinstance(document, list):
        for number, record in enumerate(document, start=1):
            yield _flat(record, f"{path}: record {number}", str(number))
        return
    for number, article in enumerate(_list(document, "data", path), start=1):
        title = article.get("title") if isinstance(article, dict) else None
        name = title if isinstance(title, str) and title else f"article {number}"
        for count, paragraph in enumerate(_list(article, "paragraphs", f"{path}: {name}"), start=1):
            where = f"{path}: {name}, paragraph {count}"
            for qa in _list(paragraph, "qas", where):
                if not isinstance(qa, dict):
                    raise DataError("an entry of qas is no object", where=where, cure=_SHAPE)
                place = f"{where}/{qa.get('id')}"
                yield (place, qa.get("question"), paragraph.get("context"), qa.get("id"), qa.get("answers"),
                       qa.get("is_impossible"))  # fmt: skip


_SHAPE = "write SQuAD's layout: data, paragraphs, context, qas, question, id, answers, text, answer_start"


def _list(value: Any, key: str, where: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise DataError(f"there is no list {key!r}", where=where, cure=_SHAPE)
    return found


def _flat(record: Any, place: str, number: str) -> Record:
    if not isinstance(record, dict):
        raise DataError("not a JSON object", where=place, cure="write {question, context, answers} for each")
    question = next((record[n] for n in QUESTION_NAMES if n in record), None)
    context = next((record[n] for n in CONTEXT_NAMES if n in record), None)
    own = next((record[n] for n in ID_NAMES if record.get(n) is not None), number)
    return place, question, context, own, _answers_of(record), record.get("is_impossible")


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
        except ValueError:
            return given
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        starts = given.get("answer_start")
        starts = [None] * len(given["text"]) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(given["text"]):
            return f"{len(given['text'])} texts with another number of offsets"
        return [{"text": t, "answer_start": s} for t, s in zip(given["text"], starts, strict=True)]
    return given


def _table_records(table: Table, question: str | None, context: str | None) -> Iterator[Record]:
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
    for line, cells in table_rows(table, numbers, strict_decode(table.path)):
        yield _flat(dict(zip(columns, cells, strict=True)), f"{table.path}:{line}", str(line))


def _named(table: Table, question: str | None, context: str | None) -> Table:
    """The table with its first row as names, where that row has those of a question and a context: these alone do not
    make `has_header` see one."""
    first = tuple(str(cell).strip() for cell in table.sample[0]) if table.sample else ()
    lower = {cell.lower() for cell in first}
    wanted = [[asked.lower()] if asked else names
              for asked, names in ((question, QUESTION_NAMES), (context, CONTEXT_NAMES))]  # fmt: skip
    return replace(table, header=True, names=first) if all(lower & {*names} for names in wanted) else table


# ---- checks


def _collect(path: str, records: Iterator[Record], needed: bool) -> Questions:
    asked: list[Question] = []
    answers: list[tuple[Span, ...]] = []
    places: list[str] = []
    repaired: list[str] = []
    unfound: list[str] = []
    empty: list[str] = []
    seen: dict[str, str] = {}
    without = 0
    shared: dict[str, str] = {}  # questions about a text share one string: its tokens are looked up by it
    for place, question, context, own, given, impossible in records:
        question = _text(question, "question", place)
        if not question.strip():
            empty.append(place)
        context = _text(context, "context", place)
        context = shared.setdefault(context, context)
        own = "" if own is None else str(own)
        if own in seen:
            raise DataError(f"the id {own!r} occurs twice, first at {seen[own]}", where=place,
                            cure="give each question its own id")  # fmt: skip
        seen[own] = place
        if given is None and impossible is not True:
            if needed:
                raise DataError("the question has no answers", where=place,
                                cure="give its answers; an empty list says that the text holds none")  # fmt: skip
            without += 1
        found = _spans(given or [], context, place, repaired, unfound)
        if impossible is True and found:
            raise DataError("is_impossible is true, and there is an answer", where=place, cure="correct one of them")
        asked.append(Question(question, context, own))
        answers.append(found)
        places.append(place)
    if not asked:
        raise DataError("no question in it", where=path, cure="check that the file was written completely")
    if needed and not any(answers):
        raise DataError("no question has an answer", where=path, cure="give a file with answers")
    labelled = without == 0 and any(answers)
    kept = answers if labelled else None
    said = _said(path, asked, kept, empty, repaired, unfound)
    return Questions(asked, kept, places, said, tuple(repaired), tuple(unfound))


def _text(value: Any, what: str, place: str) -> str:
    if not isinstance(value, str) or (what == "context" and not value.strip()):
        found = "is empty" if isinstance(value, str) else "is missing" if value is None else "is no text"
        raise DataError(f"the {what} {found}", where=place, cure="fill it in or remove the question")
    text, broken = replace_surrogates(value)  # one character each: offsets stay
    if broken or "\0" in text:
        cure = "remove it: no text encoding can hold it"
        raise DataError(f"half a surrogate pair or a NUL in the {what}", where=place, cure=cure)
    return text


def _spans(given: Any, context: str, place: str, repaired: list[str], unfound: list[str]) -> tuple[Span, ...]:
    if not isinstance(given, list):
        raise DataError(f"the answers are {str(given)[:60]!r}, not a list", where=place, cure=_SHAPE)
    spans = []
    for answer in given:
        text = answer.get("text") if isinstance(answer, dict) else answer
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise DataError("an answer has no text", where=place, cure="fill it in, or write no answer at all")
        start = _offset(start, place)
        span = _locate(text, start, context)
        if span.start < 0:
            unfound.append(f"{place} ({_short(text)})")
        elif start is not None and start >= 0 and not context.startswith(text, start):
            repaired.append(f"{place} ({_short(text)})")
        spans.append(span)
    return tuple(spans)


def _offset(value: Any, place: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not str(value).strip().removeprefix("-").removesuffix(".0").isdecimal():
        raise DataError(f"answer_start {value!r} is not a whole number", where=place, cure="correct it")
    return int(float(value))


def _locate(text: str, start: int | None, context: str) -> Span:
    """The answer without white space around it, at its offset or at the only place near it; else at -1."""
    inner = text.strip()
    lead = len(text) - len(text.lstrip())
    if start is not None and start >= 0:
        if context.startswith(text, start):
            return Span(inner, start + lead)
        low, high = max(0, start - NEAR), start + NEAR + len(inner)
    else:
        low, high = 0, len(context)
    first = context.find(inner, low, high)
    alone = first >= 0 and context.find(inner, first + 1, high) < 0
    return Span(inner, first if alone else -1)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _said(
    path: str,
    asked: list[Question],
    answers: list[tuple[Span, ...]] | None,
    empty: list[str],
    repaired: list[str],
    unfound: list[str],
) -> str:
    said = f"{path}: {len(asked):,} questions about {len({q.context for q in asked}):,} texts"
    if answers is None:
        said += ", without answers"
    elif missing := sum(not a for a in answers):
        said += f", {missing:,} without an answer in their text"
    for found, what in (
        (empty, "questions are empty"),
        (repaired, f"answers stood elsewhere within {NEAR} characters and were moved"),
        (unfound, "answers do not stand in their text: scored, not learned from"),
    ):
        if found:
            shown = [place.removeprefix(f"{path}: ").removeprefix(f"{path}:") for place in found[:SHOWN]]
            said += f"; {len(found):,} {what} ({'; '.join(shown)}{'; ...' if found[SHOWN:] else ''})"
    hopeless = sum(bool(a) and all(s.start < 0 for s in a) for a in answers or [])
    return said + (f"; {hopeless:,} questions have no other answer" if hopeless else "")
