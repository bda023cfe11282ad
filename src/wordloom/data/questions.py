"""Questions about texts whose answers are spans of them: SQuAD's JSON (1.1 and 2.0), JSONL, CSV, TSV, Parquet.

Every answer is held against its context. One that is not at its offset is taken from where it is, if that is the only
place within ``NEAR`` characters of the offset (of the context, where no offset is given); else it has no span: nothing
can be learned from it, but it is still a right answer to compare with, as in the official scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from wordloom.data.examples import text_key
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.question_files import SHAPE, Record, question_records
from wordloom.data.readers import replace_surrogates
from wordloom.errors import DataError

NEAR = 20  # characters from a wrong offset: those of CMRC 2018's files are off by one or two
SHOWN = 3  # places named of what was repaired or not found
_WHOLE = re.compile(r"-?\d{1,18}(?:\.0)?")  # an offset; more digits than those count no characters


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
    places: "file:line", of JSON with what is there: "file:line: title, paragraph 3/question id", "file:line: record 3".
    columns: how it was read, in words; reading: the same without what ``faults`` says. repaired, unfound: places of the
    answers that stood elsewhere, and that stand nowhere.
    """

    asked: list[Question]
    answers: list[tuple[Span, ...]] | None
    places: list[str]
    columns: str = ""
    repaired: tuple[str, ...] = ()
    unfound: tuple[str, ...] = ()
    reading: str = ""

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

    def sizes(self) -> dict[str, Any]:
        """``facts`` without what ``faults`` says."""
        contexts = self.contexts()
        values = {"contexts": len(contexts), "characters_of_a_context": sum(map(len, contexts)) / max(1, len(contexts))}
        if self.answers is None:
            return values
        return values | {
            "unanswerable": sum(not a for a in self.answers),
            "answers": sum(map(len, self.answers)),
        }

    def facts(self) -> dict[str, Any]:
        if self.answers is None:
            return self.sizes()
        odd = {"answers_repaired": len(self.repaired), "answers_not_in_their_context": len(self.unfound)}
        return self.sizes() | odd

    def content(self) -> Iterable[str]:
        for question, answers in zip(self.asked, self.gold, strict=True):
            yield json.dumps([*question, answers], ensure_ascii=True)


def read_questions(
    path: str,
    *,
    question: str | None = None,
    context: str | None = None,
    answers: bool = True,
    faults: Faults = STRICT,
) -> Questions:
    """Read a file; how it was read is told by its suffix.

    .json: {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text",
    "answer_start"}], "is_impossible"}]}]}]}, or a list of flat records. The others: records with question, context,
    and answers (as above, or {"text": [...], "answer_start": [...]}), or answer with or without answer_start.
    question, context: names of these two columns. answers: they are needed; else they may be absent.

    An empty question is counted and kept: CMRC 2018's trial file has one, and its scores are of all. Faults, with file
    and line: not that format, no question, an empty context, an id that occurs twice, an answer of another type, a
    question that is said to be unanswerable and has an answer.
    """
    return _collect(path, question_records(path, question, context, faults), answers, faults)


# ---- checks


@dataclass
class _Odd:
    """Places of what is read all the same, and said: questions without words, answers that were moved, or not found."""

    empty: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    unfound: list[str] = field(default_factory=list)


def _collect(path: str, records: Iterator[Record], needed: bool, faults: Faults) -> Questions:
    asked: list[Question] = []
    answers: list[tuple[Span, ...]] = []
    places: list[str] = []
    odd = _Odd()
    seen: dict[str, str] = {}
    without = 0
    shared: dict[str, str] = {}  # questions about a text share one string: its tokens are looked up by it
    for record in records:
        place, own = record.place, "" if record.id is None else str(record.id)
        if own in seen:
            faults.add(DataError(f"the id {own!r} occurs twice, first at {seen[own]}", where=place,
                                 cure="give each question its own id"))  # fmt: skip
        seen.setdefault(own, place)
        try:
            question, context = _text(record.question, "question", place), _text(record.context, "context", place)
            context = shared.setdefault(context, context)
            found = _answers(record, context, needed, odd, faults)
        except DataError as error:
            faults.add(error)
            continue
        if not question.strip():
            odd.empty.append(place)
        without += record.answers is None and record.impossible is not True
        asked.append(Question(question, context, own))
        answers.append(found)
        places.append(place)
    if not asked:
        raise NoRecordError("no question in it", where=path, cure="check that the file was written completely")
    if needed and not any(answers):
        raise NoRecordError("no question has an answer", where=path, cure="give a file with answers")
    kept = answers if without == 0 and any(answers) else None
    reading = _reading(path, asked, kept, odd)
    columns = reading + _repairs(path, kept, odd)
    return Questions(asked, kept, places, columns, tuple(odd.repaired), tuple(odd.unfound), reading)


def _text(value: Any, what: str, place: str) -> str:
    if not isinstance(value, str) or (what == "context" and not value.strip()):
        found = "is empty" if isinstance(value, str) else "is missing" if value is None else "is no text"
        raise DataError(f"the {what} {found}", where=place, cure="fill it in or remove the question")
    text, broken = replace_surrogates(value)  # one character each: offsets stay
    if broken or "\0" in text:
        cure = "remove it: no text encoding can hold it"
        raise DataError(f"half a surrogate pair or a NUL in the {what}", where=place, cure=cure)
    return text


def _answers(record: Record, context: str, needed: bool, odd: _Odd, faults: Faults) -> tuple[Span, ...]:
    given = record.answers or []
    if needed and record.answers is None and record.impossible is not True:
        raise DataError("the question has no answers", where=record.place,
                        cure="give its answers; an empty list says that the text holds none")  # fmt: skip
    if not isinstance(given, list):
        raise DataError(f"the answers are {str(given)[:60]!r}, not a list", where=record.place, cure=SHAPE)
    if record.impossible is True and given:
        what = "is_impossible is true, and there is an answer"
        raise DataError(what, where=record.place, cure="correct one of them")
    spans = []
    for number, answer in enumerate(given):
        try:
            spans.append(_span(answer, number, record, context, odd))
        except DataError as error:
            faults.add(error)
    return tuple(spans)


def _span(answer: Any, number: int, record: Record, context: str, odd: _Odd) -> Span:
    text = answer.get("text") if isinstance(answer, dict) else answer
    start = answer.get("answer_start") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError("an answer has no text", where=record.answer_place(number),
                        cure="fill it in, or write no answer at all")  # fmt: skip
    offset = _offset(start, record, number)
    text = replace_surrogates(text)[0]
    span = _locate(text, offset, context)
    if span.start < 0:
        odd.unfound.append(f"{record.answer_place(number)} ({_short(text)})")
    elif offset is not None and offset >= 0 and not context.startswith(text, offset):
        odd.repaired.append(f"{record.answer_place(number)} ({_short(text)})")
    return span


def _offset(value: Any, record: Record, number: int) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not _WHOLE.fullmatch(str(value).strip()):
        what = f"answer_start {_short(repr(value))} is not a whole number"
        raise DataError(what, where=record.answer_place(number), cure="correct it")
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


def _reading(path: str, asked: list[Question], answers: list[tuple[Span, ...]] | None, odd: _Odd) -> str:
    said = f"{path}: {len(asked):,} questions about {len({q.context for q in asked}):,} texts"
    if answers is None:
        said += ", without answers"
    elif missing := sum(not a for a in answers):
        said += f", {missing:,} without an answer in their text"
    return said + _counted(path, odd.empty, "questions are empty")


def _repairs(path: str, answers: list[tuple[Span, ...]] | None, odd: _Odd) -> str:
    said = _counted(path, odd.repaired, f"answers stood elsewhere within {NEAR} characters and were moved")
    said += _counted(path, odd.unfound, "answers do not stand in their text: scored, not learned from")
    hopeless = sum(bool(a) and all(s.start < 0 for s in a) for a in answers or [])
    return said + (f"; {hopeless:,} questions have no other answer" if hopeless else "")


def _counted(path: str, found: list[str], what: str) -> str:
    """With the first places, the file by its bare name."""
    shown = "; ".join(Path(path).name + place.removeprefix(path) for place in found[:SHOWN])
    return f"; {len(found):,} {what} ({shown}{'; ...' if found[SHOWN:] else ''})" if found else ""
