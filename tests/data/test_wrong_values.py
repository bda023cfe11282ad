"""Values of the wrong kind, deep inside a file: a fault with its place, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wordloom import api
from wordloom.data.collection import read_collection
from wordloom.data.questions import read_questions
from wordloom.data.tables import open_table
from wordloom.data.tagged import read_tagged
from wordloom.errors import DataError

DEEP = "[" * 100_000 + "]" * 100_000


def task_of(result: Any) -> dict[str, Any]:
    """Of Label Studio's export."""
    return {"data": {"text": "a b"}, "annotations": [{"result": result}]}


@pytest.mark.parametrize(
    "record",
    [
        task_of(None), task_of(5), task_of("ab"), task_of([5]), task_of([None]), task_of({"value": {}}),
        {"text": "a b", "label": {"X": {"a": 5}}}, {"text": "a b", "label": {"X": {"a": None}}},
        {"text": "a b", "label": {"X": {"a": True}}},
    ],
)  # fmt: skip
def test_spans_of_the_wrong_kind(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1"):
        read_tagged(str(path))


def test_a_region_of_another_kind_is_no_span(tmp_path: Path) -> None:
    regions = [{"value": {"choices": ["good"]}}, {"value": {"start": 0, "end": 1, "labels": ["X"]}}, {"type": "rating"}]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(task_of(regions)) + "\n", encoding="utf-8")
    assert [tuple(span) for span in read_tagged(str(path)).spans[0]] == [(0, 1, "X")]


@pytest.mark.parametrize(("name", "text"), [
    ("a.jsonl", DEEP + "\n"), ("a.json", DEEP), ("a.json", f'[\n{{"text": {DEEP}}}\n]'),
])  # fmt: skip
def test_tagged_json_too_deep(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl?:\d"):
        read_tagged(str(tmp_path / name))


def test_a_cell_too_deep_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'question,context,answers\nq,a b,"{DEEP}"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv:2: the answers are"):
        read_questions(str(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text(f'text,label\nq,"{DEEP}"\nr,x\n', encoding="utf-8")
    assert api.check(tmp_path / "b.csv").count("size", "b.csv") == 2


@pytest.mark.parametrize("start", ["9" * 400, "²", "1e5", "-", "1.0.0"])
def test_an_offset_that_counts_no_characters(start: str, tmp_path: Path) -> None:
    record = {"question": "q", "context": "a b", "answers": [{"text": "b", "answer_start": start}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: answer_start .{1,45} is not a whole number"):
        read_questions(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("score", ["²", "9" * 5000])
def test_a_relevance_that_is_no_number(score: str, tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "a b"}\n', encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "a"}\n', encoding="utf-8")
    qrels = tmp_path / "qrels" / "test.tsv"
    qrels.write_text(f"q\td\t1\nq\td\t{score}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test\.tsv:2: the relevance"):
        read_collection(qrels)


def test_a_column_number_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\nc,d\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column '²'"):
        open_table(str(tmp_path / "a.csv")).column("²")
    (tmp_path / "a.conll").write_text("EU B-ORG\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column '²'"):
        read_tagged(str(tmp_path / "a.conll"), text="²")


HALF = "\ud83d"


def test_half_a_surrogate_pair_in_a_name_can_be_printed(tmp_path: Path) -> None:
    """In titles and ids, which no model reads, it becomes U+FFFD; the report of any file can be written as UTF-8."""
    qas = [{"id": f"i{HALF}", "question": "q", "answers": [{"text": f"x{HALF}", "answer_start": 0}]},
           {"id": "2", "question": None, "answers": []},
           {"id": "3", "question": "q", "answers": [{"text": "a", "answer_start": 0}]}]  # fmt: skip
    document = {"data": [{"title": f"T{HALF}", "paragraphs": [{"context": "a b", "qas": qas}]}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    said = "\n".join(api.check(path, task="answer").lines())
    assert "T\ufffd, paragraph 1/i\ufffd (x\ufffd)".encode() in said.encode("utf-8")
    assert "T\ufffd, paragraph 1/2: the question is missing" in said
    del qas[1]
    path.write_text(json.dumps(document), encoding="utf-8")
    read = read_questions(str(path))
    assert read.asked[0].id == "i\ufffd" and read.columns.encode("utf-8") and read.places[0].encode("utf-8")

    spans = [{"start": 5, "end": 9, "type": f"X{HALF}"}]
    path.write_text(json.dumps([{"text": "a", "spans": spans}, {"text": "b", "spans": []}]), encoding="utf-8")
    said = "\n".join(api.check(path, task="tag").lines())
    assert "the span 5 to 9 (X\ufffd) lies outside".encode() in said.encode("utf-8")
