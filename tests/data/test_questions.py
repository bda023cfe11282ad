"""Questions with answers in a text: every layout read alike, every offset checked, every fault named with its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tiny import shared_data
from wordloom.data.questions import Question, Span, read_questions
from wordloom.errors import DataError

CONTEXT = "手塚治虫は1928年11月3日に生まれた。The cat 😀 sat on the mat, the red mat."


def squad(qas: list[dict[str, Any]], context: str = CONTEXT, title: str | None = "Cats") -> dict[str, Any]:
    return {"version": "1", "data": [{"title": title, "paragraphs": [{"context": context, "qas": qas}]}]}


def write(path: Path, value: Any) -> str:
    text = "".join(json.dumps(v) + "\n" for v in value) if path.suffix == ".jsonl" else json.dumps(value)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


CAT = CONTEXT.index("cat")


def qa(text: str = "cat", start: Any = CAT, **values: Any) -> dict[str, Any]:
    return {"id": "q1", "question": "Who sat?", "answers": [{"text": text, "answer_start": start}], **values}


def test_squad_plain_and_packed(tmp_path: Path) -> None:
    value = squad([qa(), qa("1928年", 5, id="q2"), {"id": 3, "question": "Why?", "answers": [], "is_impossible": True}])
    expected = [
        Question("Who sat?", CONTEXT, "q1"),
        Question("Who sat?", CONTEXT, "q2"),
        Question("Why?", CONTEXT, "3"),
    ]
    for name in ("a.json", "a.json.gz"):
        path = write(tmp_path / name, value)
        read = read_questions(path)
        assert read.asked == expected
        assert read.gold == [(Span("cat", CONTEXT.index("cat")),), (Span("1928年", 5),), ()]
        assert read.places[1] == f"{path}:1: Cats, paragraph 1/q2"
        assert read.unanswerable and read.facts()["unanswerable"] == 1
        assert read.asked[0].context is read.asked[1].context  # one string a text
    for question, spans in zip(read.asked, read.gold, strict=True):
        assert all(question.context[s.start : s.end] == s.text for s in spans)


def test_characters_are_counted_as_characters_beyond_the_first_plane(tmp_path: Path) -> None:
    read = read_questions(write(tmp_path / "a.json", squad([qa("sat", CONTEXT.index("sat"))])))
    assert CONTEXT[read.gold[0][0].start : read.gold[0][0].end] == "sat" and not read.repaired


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("cat", CONTEXT.index("cat") + 2, CONTEXT.index("cat")),  # a little off
        ("cat", CONTEXT.index("cat") - 19, CONTEXT.index("cat")),
        (" cat ", CONTEXT.index(" cat "), CONTEXT.index("cat")),  # white space around it is not the answer
        ("cat", None, CONTEXT.index("cat")),  # no offset: the only place in the text
        ("cat", -1, CONTEXT.index("cat")),
        ("cat", 0, -1),  # too far away
        ("mat", CONTEXT.rindex("mat") - 3, -1),  # two places are near
        ("mat", None, -1),
        ("dog", 3, -1),
        ("mat", CONTEXT.rindex("mat"), CONTEXT.rindex("mat")),
        ("cat", str(CONTEXT.index("cat")), CONTEXT.index("cat")),
        ("cat", float(CONTEXT.index("cat")), CONTEXT.index("cat")),
    ],
)
def test_offsets_are_checked_and_repaired_where_there_is_one_place(
    tmp_path: Path, text: str, start: Any, expected: int
) -> None:
    read = read_questions(write(tmp_path / "a.json", squad([qa(text, start), qa("red", CONTEXT.index("red"), id="2")])))
    assert read.gold[0] == (Span(text.strip(), expected),)
    assert len(read.unfound) == (expected < 0)
    moved = isinstance(start, int) and start >= 0 and expected >= 0 and not CONTEXT.startswith(text, start)
    assert len(read.repaired) == moved
    if expected < 0:
        assert (
            f"1 answers do not stand in their text: scored, not learned from (a.json:1: Cats, paragraph 1/q1 ({text}))"
            in (read.columns)
        )
        assert "stand" not in read.reading
        assert "1 questions have no other answer" in read.columns


def test_tables_and_flat_records_read_alike(tmp_path: Path) -> None:
    start = CONTEXT.index("cat")
    flat = {"question": "Who sat?", "context": CONTEXT}
    forms = {
        "a.jsonl": [flat | {"answers": [{"text": "cat", "answer_start": start}]}],
        "b.jsonl": [flat | {"answers": {"text": ["cat"], "answer_start": [start]}}],
        "c.jsonl": [flat | {"answers": ["cat"]}],
        "d.jsonl": [flat | {"answer": "cat", "answer_start": start}],
        "e.json": [flat | {"answers": [{"text": "cat", "answer_start": start}]}],
    }
    for name, value in forms.items():
        read = read_questions(write(tmp_path / name, value))
        assert (read.asked, read.gold) == ([Question("Who sat?", CONTEXT, "1")], [(Span("cat", start),)]), name
    assert read_questions(str(tmp_path / "a.jsonl")).places == [f"{tmp_path / 'a.jsonl'}:1"]
    table = tmp_path / "f.tsv"
    table.write_text(f"id\tquery\tpassage\tanswer\nx\tWho sat?\t{CONTEXT}\tcat\ny\tWhy?\t{CONTEXT}\t\n")
    read = read_questions(str(table))
    assert read.gold == [(Span("cat", start),), ()] and [q.id for q in read.asked] == ["x", "y"]
    other = tmp_path / "g.csv"
    other.write_text('frage,absatz\n"Who sat?","a cat"\n')
    read = read_questions(str(other), question="frage", context="absatz", answers=False)
    assert read.asked == [Question("Who sat?", "a cat", "2")] and read.answers is None


def test_an_empty_question_is_kept_and_counted(tmp_path: Path) -> None:
    read = read_questions(write(tmp_path / "a.json", squad([qa(question=" "), qa(id="2")])))
    assert len(read) == 2 and "1 questions are empty (a.json:1: Cats, paragraph 1/q1)" in read.columns


FAULTS = {
    "the context is empty": squad([qa()], " "),
    "the context is missing": squad([qa()], None),  # type: ignore[arg-type]
    "the question is missing": squad([{"id": "q1", "answers": []}, qa(id="2")]),
    "the question is no text": squad([qa(question=3)]),
    "the id 'q1' occurs twice, first at {path}:1: Cats, paragraph 1/q1": squad([qa(), qa()]),
    "the question has no answers": squad([{"id": "q1", "question": "Who?"}]),
    "no question has an answer": squad([{"id": "q1", "question": "Who?", "answers": []}]),
    "is_impossible is true, and there is an answer": squad([qa(is_impossible=True)]),
    "answer_start 'x' is not a whole number": squad([qa("cat", "x")]),
    "answer_start True is not a whole number": squad([qa("cat", True)]),
    "an answer has no text": squad([qa(" ", 0)]),
    "the answers are 'cat', not a list": squad([qa(answers="cat")]),
    "2 texts with another number of offsets": [
        {"question": "a", "context": "b", "answers": {"text": ["b", "c"], "answer_start": [0]}}
    ],
    "there is no list 'data'": {"paragraphs": []},
    "there is no list 'paragraphs'": {"data": [{"title": "Cats"}]},
    "there is no list 'qas'": {"data": [{"paragraphs": [{"context": "x"}]}]},
    "an entry of qas is no object": {"data": [{"paragraphs": [{"context": "x", "qas": ["a"]}]}]},
    "no question in it": {"data": []},
    "half a surrogate pair or a NUL in the context": squad([qa()], "a cat \ud83d" + " " * 30),
}


@pytest.mark.parametrize("message", list(FAULTS))
def test_faults_are_named_with_their_place(tmp_path: Path, message: str) -> None:
    path = write(tmp_path / "a.json", FAULTS[message])
    with pytest.raises(DataError) as caught:
        read_questions(path)
    assert message.format(path=path) in str(caught.value)
    assert str(caught.value.where).startswith(path) and caught.value.cure


def test_faults_of_the_file_itself(tmp_path: Path) -> None:
    broken = tmp_path / "a.json"
    broken.write_text('{"data": [\n{"title": }')
    with pytest.raises(DataError, match=r"a.json:2: not JSON"):
        read_questions(str(broken))
    broken.write_text('{"question": "a"}\n{"question": "b"}\n')
    with pytest.raises(DataError, match=r"Name it .jsonl"):
        read_questions(str(broken))
    with pytest.raises(DataError, match="no such file"):
        read_questions(str(tmp_path / "none.json"))
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    with pytest.raises(DataError, match=r"no column of questions.*--text"):
        read_questions(str(tmp_path / "a.csv"))
    (tmp_path / "b.jsonl").write_text('{"question": "a", "context": "b", "answers": []}\n' * 2 + "[]\n")
    with pytest.raises(DataError, match=r"b.jsonl:3"):
        read_questions(str(tmp_path / "b.jsonl"))


def test_questions_about_a_text_stay_together_in_a_split() -> None:
    path = shared_data()
    if path is None:
        pytest.skip("the public data sets are not there: set WORDLOOM_DATA")
    read = read_questions(str(path / "qa/cmrc_drcd_zh/train.json.gz"))
    assert read.key(0) == read.key(1) != read.key(len(read) - 1)
    assert (len(read), len(read.repaired), len(read.unfound)) == (6743, 7, 193)
    # 200 answers of the file are not at their offset (its README); every other span is the text it names
    for question, spans in zip(read.asked, read.gold, strict=True):
        assert all(s.start < 0 or question.context[s.start : s.end] == s.text for s in spans)
    # of the 3 questions without any span as written, every one has a repaired one
    assert not any(all(s.start < 0 for s in spans) for spans in read.gold) and "no other answer" not in read.columns
