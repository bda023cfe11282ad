"""Files with labelled spans: every format is read to the same records, every fault is one sentence with its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from wordloom.data.tagged import Span, Tagged, on_units, outermost, read_tagged
from wordloom.errors import DataError
from wordloom.text.units import find_units

JOHN = [Span(0, 4, "PER"), Span(11, 20, "LOC")]  # of "John is in East York ."
COLUMNS = "John B-PER\nis O\nin O\nEast B-LOC\nYork I-LOC\n. O\n"


def write(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def records(data: Tagged) -> list[tuple[str, tuple[Span, ...]]]:
    return list(zip(data.texts(), data.spans, strict=True))


@pytest.mark.parametrize(
    "content",
    [
        COLUMNS,
        COLUMNS.replace(" ", "\t"),
        "-DOCSTART- -X- O\n\n" + COLUMNS.replace(" ", " NN "),
        COLUMNS.replace("B-LOC", "B_LOC").replace("I-LOC", "I_LOC"),
        COLUMNS.replace("B-PER", "S-PER").replace("I-LOC", "E-LOC"),
        COLUMNS.replace("B-", "I-"),
        COLUMNS.replace("B-", "").replace("I-", ""),
        COLUMNS + "\t\n \n\n",
        COLUMNS.replace("\n", "\r\n"),
    ],
)
def test_columns(tmp_path: Path, content: str) -> None:
    data = read_tagged(write(tmp_path, "a.conll", content))
    assert records(data) == [("John is in East York .", tuple(JOHN))]
    assert data.loose == [frozenset()] and not data.each
    assert data.inputs()[0].tokens() == ["John", "is", "in", "East", "York", "."]


def test_sentences_places_and_chosen_columns(tmp_path: Path) -> None:
    content = "1 a X B-P\n2 b Y O\n\t\n3 c Z O\n"
    data = read_tagged(write(tmp_path, "a.bio", content), text="2", label="4")
    assert list(data.texts()) == ["a b", "c"] and data.spans == [(Span(0, 1, "P"),), ()]
    assert [place.rpartition(":")[2] for place in data.places] == ["1", "4"]
    tags = read_tagged(write(tmp_path, "b.bio", content), text="2", label="3")
    assert tags.each and tags.spans[0] == (Span(0, 1, "X"), Span(2, 3, "Y"))


def test_an_i_that_nothing_began_is_read_counted_and_loose(tmp_path: Path) -> None:
    data = read_tagged(write(tmp_path, "a.conll", "a O\nb I-X\nc I-X\n\nd B-X\ne B-X\n"))
    assert data.spans[0] == (Span(2, 5, "X"),) and data.loose == [frozenset(data.spans[0]), frozenset()]
    assert "1 I- without a B- before it" in data.columns and "a.conll:2" in data.columns


def test_chinese_characters_and_words(tmp_path: Path) -> None:
    data = read_tagged(write(tmp_path, "a.txt", "".join(f"{c} O\n" for c in "在北京的\u3000大会")))
    assert data.glued and list(data.texts()) == ["在北京的\u3000大会"]
    words = read_tagged(write(tmp_path, "b.txt", "在 O\n北京 B-LOC\nAPEC B-ORG\n"))
    assert not words.glued and list(words.texts()) == ["在北京 APEC"]
    assert words.spans[0] == (Span(1, 3, "LOC"), Span(4, 8, "ORG"))


def test_conllu(tmp_path: Path) -> None:
    rows = [("1-2", "Aux", "_"), ("1", "A", "NE=B-LOC|SpaceAfter=No"), ("2", "ux", "NE=I-LOC"), ("2.1", "e", "_"),
            ("3", "va", "_")]  # fmt: skip
    lines = [f"{i}\t{form}\t_\tNOUN\t_\t_\t0\t_\t_\t{misc}\n" for i, form, misc in rows]
    path = write(tmp_path, "a.conllu", "# sent_id = 1\n# text = Aux va\n" + "".join(lines) + "\n")
    data = read_tagged(path)
    assert records(data) == [("Aux va", (Span(0, 3, "LOC"),))] and data.inputs()[0].tokens() == ["A", "ux", "va"]
    assert read_tagged(path, label="upos").spans[0] == tuple(Span(a, b, "NOUN") for a, b in ((0, 1), (1, 3), (4, 6)))


TEXT = "John is in East York ."


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "labels": [[0, 4, "PER"], [11, 20, "LOC"]]},
        {"text": TEXT, "label": [[0, 4, "PER"], [11, 20, "LOC"]], "id": 1},
        {"text": TEXT, "entities": [{"start_offset": 0, "end_offset": 4, "label": "PER"},
                                    {"start_offset": 11, "end_offset": 20, "label": "LOC"}]},
        {"text": TEXT, "label": {"PER": {"John": [[0, 3]]}, "LOC": {"East York": [[11, 19]]}}},
        {"text": TEXT, "spans": [{"start": 0, "end": 4, "type": "PER", "score": 0.9, "surface": "John"},
                                 {"start": 10, "end": 21, "type": "LOC"}]},
        {"data": {"text": TEXT}, "annotations": [{"result": [
            {"type": "labels", "value": {"start": 0, "end": 4, "text": "John", "labels": ["PER"]}},
            {"type": "labels", "value": {"start": 11, "end": 20, "text": "East York", "labels": ["LOC"]}},
            {"type": "choices", "value": {"choices": ["x"]}}]}]},
        {"text": TEXT, "label": [{"start": 0, "end": 4, "labels": ["PER"]},
                                 {"start": 11, "end": 20, "labels": ["LOC"]}]},
        {"tokens": TEXT.split(), "ner_tags": ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["lines", "array"])
def test_json(tmp_path: Path, record: dict[str, Any], form: str) -> None:
    lines = f"{json.dumps(record)}\n\n"
    path = write(tmp_path, "a.jsonl", lines) if form == "lines" else write(tmp_path, "a.json", f"[{lines}]")
    data = read_tagged(path)
    assert records(data) == [(TEXT, tuple(JOHN))]
    assert data.places == [f"{path}:1" if form == "lines" else f"{path}:1: record 1"]


def test_label_studio_leaves_out_what_nobody_annotated(tmp_path: Path) -> None:
    """A skipped annotation is none, the first that is not skipped counts, and no annotation is not "no name"."""

    def result(a: int, b: int, kind: str) -> dict[str, Any]:
        return {"result": [{"type": "labels", "value": {"start": a, "end": b, "labels": [kind]}}]}

    tasks = [
        {"data": {"text": TEXT}, "annotations": []},
        {"data": {"text": TEXT}, "annotations": [{**result(0, 4, "LOC"), "was_cancelled": True}]},
        {"data": {"text": TEXT}, "annotations": [{**result(0, 4, "LOC"), "was_cancelled": True}, result(0, 4, "PER")]},
        {"data": {"text": TEXT}, "annotations": [result(11, 20, "LOC"), result(0, 4, "PER")]},
        {"data": {"text": TEXT}, "annotations": [{"result": []}]},
    ]
    path = write(tmp_path, "a.json", json.dumps(tasks))
    data = read_tagged(path)
    assert [spans for _, spans in records(data)] == [(Span(0, 4, "PER"),), (Span(11, 20, "LOC"),), ()]
    assert (
        f"2 records that nobody annotated, or that were skipped, left out (first: {path}:1: record 1)" in data.columns
    )
    assert f"1 records with several annotations, of which the first is read (first: {path}:1: record 4)" in data.columns
    with pytest.raises(DataError, match="no record is annotated"):
        read_tagged(write(tmp_path, "b.json", json.dumps(tasks[:2])))
    minimal = [{"text": TEXT, "label": [{"start": 0, "end": 4, "labels": ["PER"]}], "annotation_id": 1, "annotator": 1},
               {"text": TEXT, "annotation_id": 2, "annotator": 1}]  # fmt: skip
    data = read_tagged(write(tmp_path, "min.json", json.dumps(minimal)))
    assert [spans for _, spans in records(data)] == [(Span(0, 4, "PER"),), ()]


def line(**values: Any) -> str:
    return '{"text": "ok", "spans": []}\n' + json.dumps(values) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.conll", "a O\nb\n", r"a\.conll:2: 1 columns, and the lines before have 2"),
        ("a.conll", "a\nb\n", r"a\.conll:1: one column"),
        ("a.conll", "a\tO\n\tO\n", r"a\.conll:2: an empty column"),
        ("a.conll", "\n\n", "no sentence in it"),
        ("a.conllu", "1\ta\tO\n", r"a\.conllu:1: 3 columns, and CoNLL-U has ten"),
        ("a.conllu", "x\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", r"a\.conllu:1: 'x' is not the number of a token"),
        ("a.conllu", "1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", r"no entity tags in MISC"),
        ("a.jsonl", line(text="abc", spans=[[0, 4, "X"]]), r"a\.jsonl:2: the span 0 to 4 \(X\) lies outside its text"),
        ("a.jsonl", line(text="abc", spans=[[2, 2, "X"]]), r":2: the span 2 to 2"),
        ("a.jsonl", line(text="abc", spans=[[0, "2", "X"]]), r":2: \[0, '2', 'X'\] is not a span"),
        ("a.jsonl", line(text="abc", spans=[[0, 2]]), r":2: \[0, 2\] is not a span"),
        ("a.jsonl", line(text="abc", spans=[[0, 2, "X"], [1, 3, "Y"]]), r":2: the spans 'ab' .* and 'bc' .* overlap"),
        ("a.jsonl", line(text="abcd", spans=[[0, 4, "X"], [1, 2, "Y"], [2, 3, "Z"]]), r":2: the spans 'abcd'"),
        ("a.jsonl", line(text="abc", label={"X": {"ab": [[1, 2]]}}), r":2: at 1 to 3 stands 'bc', not 'ab'"),
        ("a.jsonl", line(text="abc", label={"X": [[1, 2]]}), r":2: the spans of 'X' are not an object"),
        ("a.jsonl", line(text=" ", spans=[]), r":2: empty text"),
        ("a.jsonl", line(body="abc", spans=[]), r":2: no text \(keys: body, spans\)"),
        ("a.jsonl", line(text="abc"), r":2: no spans"),
        ("a.jsonl", '{"text": "ok", "spans": []}\n{"text"\n', r":2: not valid JSON"),
        ("a.jsonl", '{"text": "ok", "spans": []}\n[1]\n', r":2: not a JSON object"),
        ("a.jsonl", json.dumps({"tokens": ["a", "b"], "tags": ["O"]}), r":1: 2 tokens and 1 tags"),
        ("a.jsonl", json.dumps({"tokens": ["a", "b"], "tags": [0, 1]}), r":1: the tags are numbers without names"),
        ("a.json", "[1, ", "not valid JSON"),
        ("a.jsonl", "", "no record in it"),
    ],
)
def test_faults_are_located(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_tagged(write(tmp_path, name, content))


def test_broken_bytes_are_located(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(b"plain O\nwords O\n" * 9 + b"caf\xe9 O\n")
    with pytest.raises(DataError, match=r"a\.conll:19: not valid UTF-8"):
        read_tagged(str(path))


def test_overlaps_are_kept_when_asked_for_and_repairs_are_counted(tmp_path: Path) -> None:
    spans = [[0, 3, "X"], [1, 2, "Y"], [0, 3, "X"], [3, 5, "Z"]]
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "abc d", "spans": [*spans, [3, 4, "W"]]}))
    data = read_tagged(path, overlaps=True)
    assert data.spans == [(Span(0, 3, "X"), Span(1, 2, "Y"), Span(4, 5, "Z"))]
    for said in ("1 spans were there twice", "1 spans lost white space", "1 spans of white space alone"):
        assert said in data.columns
    assert outermost(data.spans[0]) == [Span(0, 3, "X"), Span(4, 5, "Z")]


def test_compressed(tmp_path: Path) -> None:
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(COLUMNS.encode()))
    assert read_tagged(str(path)).spans == [tuple(JOHN)]


def test_spans_on_units_are_widened_and_never_overlap() -> None:
    units = find_units("abc def gh", "words")
    assert on_units([Span(1, 2, "A"), Span(2, 5, "B")], units) == [(0, 2, "B")]
    assert on_units([Span(0, 3, "A"), Span(8, 10, "B")], units) == [(0, 1, "A"), (2, 3, "B")]
    assert on_units([Span(3, 4, "A")], units) == []


@pytest.mark.parametrize(
    ("name", "spans", "strays"),
    [  # counted in the files with grep; the test file of MSRA marks single characters by S-
        ("wnut17/train.conll", 1975, 0), ("wnut17/test.conll", 1079, 0), ("cluener/dev.jsonl.gz", 3072, 0),
        ("peopledaily_msra/test.conll.gz", 6181, 0), ("masakhaner2_yor/test.conll.gz", 2009, 1),
    ],
)  # fmt: skip
def test_public_sets(name: str, spans: int, strays: int) -> None:
    folder = tiny.shared_data()
    if folder is None:
        pytest.skip("the public data sets are not here (WORDLOOM_DATA)")
    data = read_tagged(str(folder / "tag" / name))
    assert sum(map(len, data.spans)) == spans and sum(map(len, data.loose)) == strays
