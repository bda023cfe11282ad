"""Documents, queries and judgments from files: what is read, and one sentence for what is wrong."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from wordloom.data.collection import known_items, read_collection
from wordloom.data.documents import Document, DocumentColumns, Documents
from wordloom.errors import DataError


def write_lines(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def beir(folder: Path, qrels: str = "q1\td1\t1\nq2\td2\t2\nq2\td1\t0\n", header: bool = True) -> Path:
    write_lines(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "On tea", "text": "Tea is a drink."},
        {"_id": "d2", "title": "", "text": "Coffee too."},
        {"_id": "d3", "title": "", "text": " "},
    )
    write_lines(folder / "queries.jsonl", {"_id": "q1", "text": "what is tea"}, {"_id": "q2", "text": "coffee"})
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" * header + qrels, encoding="utf-8")
    return folder / "qrels" / "test.tsv"


def test_beir_folder(tmp_path: Path) -> None:
    path = beir(tmp_path)
    for given in (path, tmp_path):  # a folder with one file of judgments is that file
        found = read_collection(given)
        assert found.ids == ("q1", "q2") and found.queries == ("what is tea", "coffee")
        assert found.judgments == ({"d1": 1}, {"d2": 2, "d1": 0})
        assert [d.full for d in found.documents] == ["On tea Tea is a drink.", "Coffee too.", ""]
        assert found.positives(1) == [1] and found.rows == {"d1": 0, "d2": 1}
        assert "1 documents without text" in found.columns and found.facts()["without text"] == 1
    part = found.subset([1])
    assert part.queries == ("coffee",) and part.documents == found.documents and part.places == (f"{path}:3",)


def test_compressed_and_trec_columns(tmp_path: Path) -> None:
    beir(tmp_path)
    raw = (tmp_path / "corpus.jsonl").read_bytes()
    (tmp_path / "corpus.jsonl").unlink()
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(raw))
    trec = tmp_path / "qrels" / "trec.txt"
    trec.write_text("q1 0 d1 1\nq2 0 d2 2\nq2 0 d1 0\n")
    assert read_collection(trec).judgments == ({"d1": 1}, {"d2": 2, "d1": 0})
    with pytest.raises(DataError, match="2 files of judgments"):
        read_collection(tmp_path)


@pytest.mark.parametrize(
    ("qrels", "line", "said"),
    [
        ("q1\td9\t1\n", 2, "'d9', which is not in the corpus"),
        ("q1\td1\t1\nq9\td1\t1\n", 3, "'q9', which is not in the file of queries"),
        ("q1\td1\thigh\n", 2, "'high' is no whole number"),
        ("q1\td1\t0.5\n", 2, "'0.5' is no whole number"),
        ("q1\td1\n", 2, "2 columns where 3"),
        ("q1\td1\t1\nq1\td1\t2\n", 3, "judged twice"),
        ("", 0, "no judgment"),
    ],
)
def test_bad_judgments(tmp_path: Path, qrels: str, line: int, said: str) -> None:
    path = beir(tmp_path, qrels)
    with pytest.raises(DataError, match=said) as error:
        read_collection(path)
    assert error.value.where == (f"{path}:{line}" if line else str(path)) and error.value.cure


@pytest.mark.parametrize(
    ("file", "row", "said"),
    [
        ("corpus.jsonl", {"_id": "d1", "title": "", "text": "again"}, "'d1' stands at .*corpus.jsonl:1 too"),
        ("corpus.jsonl", {"title": "", "text": "no id"}, "without an id"),
        ("corpus.jsonl", {"_id": "d4", "title": "", "text": ["a", "list"]}, "holds list, not text"),
        ("queries.jsonl", {"_id": "q1", "text": "again"}, "'q1' is there twice"),
        ("queries.jsonl", {"_id": "q7", "text": "  "}, "'q7' has no text"),
        ("queries.jsonl", "{broken", "not JSON"),
    ],
)
def test_bad_documents_and_queries(tmp_path: Path, file: str, row: object, said: str) -> None:
    path = beir(tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as end:
        end.write((row if isinstance(row, str) else json.dumps(row)) + "\n")
    lines = len((tmp_path / file).read_text().splitlines())
    with pytest.raises(DataError, match=said) as error:
        read_collection(path)
    assert error.value.where == f"{tmp_path / file}:{lines}"


def test_pairs_with_several_documents_and_negatives(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "pairs.jsonl",
        {"query": "tea", "positive": ["a drink", "a leaf"], "negative": "a car"},
        {"query": "car", "positive": "a car", "negative": []},
        {"query": "tea", "positive": "a plant", "negative": None},
    )
    found = read_collection(path)
    assert found.queries == ("tea", "car") and found.judged
    assert [[found.documents[n].text for n in found.positives(i)] for i in range(2)] == [
        ["a drink", "a leaf", "a plant"], ["a car"]]  # fmt: skip
    assert [found.documents[n].text for n in found.negatives(0)] == ["a car"] and not found.negatives(1)
    write_lines(path, {"query": "tea", "positive": "x"}, {"query": "", "positive": "y"})
    with pytest.raises(DataError, match="no query") as error:
        read_collection(path)
    assert error.value.where == f"{path}:2"


def test_asked_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["frage", "antwort", "nummer"], ["was ist das", "es ist Tee", 1], ["wer", "er", 2]])
    assert not read_collection(path).judged
    found = read_collection(path, text="frage", pair="antwort")
    assert found.judged and found.queries == ("was ist das", "wer")


def test_documents_alone_are_known_items(tmp_path: Path) -> None:
    texts = ("the text", "First one here. The second. A third.", "one two three", "x")
    titles = ("Title", "", "", "")
    items = [Document(c, *row, "f:1") for c, row in zip("abcd", zip(titles, texts, strict=True), strict=True)]
    found = known_items(items)
    assert found.queries == ("Title", "First one here.", "one two") and not found.judged
    assert [d.text for d in found.documents] == ["the text", "The second. A third.", "three"]
    assert found.judgments == ({"a": 1}, {"b": 1}, {"c": 1}) and "1 documents of less than two words" in found.columns
    path = write_lines(tmp_path / "raw.txt", "一句话。另一句话。", "第二个文档。还有一句。")
    assert read_collection(path).queries == ("一句话。", "第二个文档。")


def test_document_sources(tmp_path: Path) -> None:
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "b.txt").write_text("One file,\n\none document.")
    (tmp_path / "texts" / "deep" / "a.txt").write_text("Another.")
    (tmp_path / "texts" / "empty.txt").write_text(" \n")
    source = Documents(tmp_path / "texts")
    assert [(d.id, d.text) for d in source] == [("b.txt", "One file,\n\none document."), ("deep/a.txt", "Another.")]
    assert source.empty.count == 1
    lines = write_lines(tmp_path / "lines.txt", "first", "second")
    assert [(d.id, d.text) for d in Documents(lines)] == [("1", "first"), ("2", "second")]
    rows = {"id": 7, "headline": "H", "body": "B"}, {"id": 8, "headline": "", "body": "C"}
    table = write_lines(tmp_path / "t.jsonl", *rows)
    assert [d[:3] for d in Documents(table)] == [("7", "H", "B"), ("8", "", "C")]
    chosen = Documents(table, DocumentColumns(title="body", text="headline"))
    assert next(iter(chosen))[:3] == ("7", "B", "H")
    with pytest.raises(DataError, match="no column 'nope'"):
        list(Documents(table, DocumentColumns(text="nope")))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError):
        list(Documents(empty))
