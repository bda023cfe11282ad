"""``check`` lists every fault of a file with its line, in one reading; training refuses the first of them."""

import gzip
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from wordloom import api
from wordloom.data.check import check
from wordloom.data.collection import read_collection
from wordloom.data.examples import read_examples
from wordloom.data.faults import STRICT, Faults, NoRecordError, collect
from wordloom.data.findings import LISTED
from wordloom.data.frames import read_frames
from wordloom.data.parallel import read_parallel
from wordloom.data.prompts import read_prompts
from wordloom.data.questions import read_questions
from wordloom.data.tagged import read_tagged
from wordloom.errors import DataError


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


CONTEXT = "Anna lives in Rome."


def qa(name: str, **values: Any) -> dict[str, Any]:
    return {"id": name, "question": "Who?", "answers": [{"text": "Anna", "answer_start": 0}], **values}


SQUAD = {"data": [
    {"title": "A", "paragraphs": [
        {"context": CONTEXT, "qas": [
            qa("good"), qa("a", question=None), qa("good"),
            qa("c", answers=[{"text": " ", "answer_start": 0}, {"text": "Rome", "answer_start": "x"}]), "no object",
            qa("d", is_impossible=True), {"id": "e", "question": "Why?"}, qa("f", answers="Anna")]},
        {"context": " ", "qas": [qa("g")]}, {"context": CONTEXT}]},
    {"title": "B"},
    {"title": "C", "paragraphs": [{"context": CONTEXT, "qas": [qa("last")]}]}]}  # fmt: skip

PROPBANK = "d 0 {} {} X * {} {} {}"
FRAMES = "\n".join([
    PROPBANK.format(0, "Anna", "-", "-", "(ARG0*)"), PROPBANK.format(1, "ran", "run", "01", "(V*)"), "",
    PROPBANK.format(0, "Anna", "-", "-", "(ARG0*"), PROPBANK.format(1, "ran", "run", "01", "(V*)"), "",
    PROPBANK.format(0, "Anna", "-", "-", "*"), PROPBANK.format(1, "ran", "run", "01", "V"), "",
    PROPBANK.format(0, "Anna", "-", "-", "*"), PROPBANK.format(1, "ran", "run", "01", "(V*) *"), "",
    PROPBANK.format(0, "Anna", "-", "-", "*"), PROPBANK.format(1, "ran", "-", "-", "(V*)"), "",
    *[PROPBANK.format(0, "He", "-", "-", "(ARG0*)"),
      PROPBANK.format(1, "sat", "sit", "01", "(V*)"), ""] * 4])  # fmt: skip

CASES: dict[str, tuple[Any, dict[str, str | bytes], list[str], int]] = {
    # reader; files, the first is read; faults in order; records without any
    "columns": (read_tagged, {"a.conll": b"Anna B-PER\nsat O\n\nAnna B-PER x\nsat O\n\nBob\nHe  B-PER\n"
                              b"J\xfcrg B-PER\n"},
                ["a.conll:4: 3 columns, and the lines before have 2", "a.conll:7: 1 columns, and the lines before",
                 "a.conll:9: not valid UTF-8"], 3),
    "conllu": (read_tagged, {"a.conllu": "1\tAnna" + "\t_" * 7 + "\tNE=B-PER\nx\tsat\n2\tsat" + "\t_" * 3 + "\n"},
               ["a.conllu:2: 'x' is not the number of a token", "a.conllu:3: 5 columns, and CoNLL-U has ten"], 1),
    "spans": (read_tagged, {"a.jsonl": lines(
        {"text": "Anna sat", "spans": [[0, 4, "PER"]]},
        {"text": "Anna", "spans": [[0, 9, "PER"], [2, 2, "X"], [0, 4, "PER"]]},
        {"text": "Anna sat", "spans": [[0, 6, "PER"], [5, 8, "X"]]}, "{broken", ["no", "object"],
        {"text": "Anna", "spans": [{"start": 0, "end": 2, "type": "PER", "text": "Bo"}]}, {"text": "Anna"},
        {"text": " ", "spans": []})},
        ["a.jsonl:2: the span 0 to 9 (PER) lies outside its text of 4 characters", "a.jsonl:2: the span 2 to 2 (X)",
         "a.jsonl:3: the spans 'Anna s' (PER, 0 to 6) and 'sat' (X, 5 to 8) overlap", "a.jsonl:4: not valid JSON",
         "a.jsonl:5: not a JSON object", "a.jsonl:6: at 0 to 2 stands",
         "a.jsonl:7: no spans", "a.jsonl:8: empty text"], 4),
    "array": (read_tagged, {"a.json": '[\n{"text": "Anna", "spans": []},\n{"text": "Bo", "spans": [[1, 3, "X"]]},\n3]'},
              ["a.json:3: record 2: the span 1 to 3", "a.json:4: record 3: not a JSON object"], 2),
    "tokens": (read_tagged, {"a.jsonl": lines(
        {"tokens": ["Anna"], "tags": ["B-PER"]}, {"tokens": ["a", "b"], "tags": ["O"]}, {"tokens": [], "tags": []},
        {"tokens": ["x"], "tags": [3]})},
        ["a.jsonl:2: 2 tokens and 1 tags", "a.jsonl:3: no list of tokens", "a.jsonl:4: the tags are numbers"], 1),
    "squad": (read_questions, {"a.json": json.dumps(SQUAD, indent=0)},
              ["A, paragraph 1/a: the question is missing", "A, paragraph 1/good: the id 'good' occurs twice, ",
               "A, paragraph 1/c: an answer has no text", "A, paragraph 1/c: answer_start 'x' is not a whole number",
               "A, paragraph 1: an entry of qas is no object", "A, paragraph 1/d: is_impossible is true",
               "A, paragraph 1/e: the question has no answers", "A, paragraph 1/f: the answers are 'Anna', not a list",
               "A, paragraph 2/g: the context is empty", "A, paragraph 3: there is no list 'qas'",
               "B: there is no list 'paragraphs'"], 4),
    "questions": (read_questions, {"a.jsonl": lines(
        {"question": "Who?", "context": CONTEXT, "answer": "Anna"}, {"question": "Who?", "answer": "Anna"}, "{",
        {"question": "Who?", "context": CONTEXT, "answers": [{"text": "Anna", "answer_start": "x"}]})},
        ["a.jsonl:2: the context is missing", "a.jsonl:3: not JSON", "a.jsonl:4: answer_start 'x'"], 2),
    "table": (read_parallel, {"a.tsv": "source\ttarget\na\tb\n\t \nc\n d \te\tf\ng\th\n"},
              ["a.tsv:3: the source is empty", "a.tsv:3: the target is empty", "a.tsv:4: 1 column where 2",
               "a.tsv:5: 3 columns where 2"], 2),
    "prompts": (read_prompts, {"a.jsonl": lines({"prompt": "a", "response": "b"}, {"prompt": "a", "response": " "},
                                                "[]", {"prompt": 3, "response": "b"})},
                ["a.jsonl:2: the response is empty", "a.jsonl:3: a JSON array", "a.jsonl:4: the prompt holds int"], 1),
    "texts": (read_prompts, {"a.jsonl": lines({"text": "a"}, {"text": None}, {"text": 3}, {"text": "b"})},
              ["a.jsonl:2: the text is empty", "a.jsonl:3: the text holds int"], 2),
    "frames": (read_frames, {"a.conll": FRAMES},
               ["a.conll:5: argument V begins inside argument ARG0", "a.conll:8: column 9 holds 'V'",
                "a.conll:11: 10 columns where",
                "a.conll:13: 0 predicates and 1 columns"], 7),
    "pairs": (read_collection, {"a.jsonl": lines({"query": "q", "positive": "a"}, {"query": "", "positive": "a"},
                                                 {"query": "q", "positive": []}, {"query": "r", "positive": "b"})},
              ["a.jsonl:2: no query", "a.jsonl:3: no document for this query"], 2),
    "documents": (read_collection, {"a.jsonl": lines({"_id": "1", "text": "one two"}, {"_id": "", "text": "a b"},
                                                     {"_id": "1", "text": "c d"}, {"_id": "3", "text": ["x"]})},
                  ["a.jsonl:2: a document without an id", "a.jsonl:3: the document id '1' stands at",
                   "a.jsonl:4: text holds list"], 1),
    "judgments": (read_collection, {
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\n"
                          "q1\td1\t1\nq9\td1\t1\nq1\td9\t1\nq1\td1\t2\nq2\td1\tx\nq1\t1\nq3\td1\t1\n",
        "corpus.jsonl": lines({"_id": "d1", "text": "one"}, {"_id": "d1", "text": "two"}),
        "queries.jsonl": lines({"_id": "q1", "text": "who"}, {"_id": "q1", "text": "who"}, {"_id": "q2", "text": ""},
                               {"_id": "q3", "text": []})},
        ["corpus.jsonl:2: the document id 'd1' stands at", "queries.jsonl:2: the query id 'q1' is there twice",
         "queries.jsonl:3: the query 'q2' has no text", "queries.jsonl:4: text holds list",
         "test.tsv:3: judges the query 'q9', which is not in",
         "test.tsv:4: judges the document 'd9', which is not in", "test.tsv:5: the document 'd1' is judged twice",
         "test.tsv:6: the relevance 'x' is no whole number", "test.tsv:7: 2 columns where 3 are expected"], 2),
    "labels": (read_examples, {"a.jsonl": lines({"text": "a", "label": "x"}, {"text": "", "label": "x"}, "{",
                                                {"text": "b", "label": None}, {"text": "c", "label": ["x", "y"]},
                                                {"text": "d", "label": "y"})},
               ["a.jsonl:2: no text in column", "a.jsonl:3: not JSON", "a.jsonl:4: no label in column"], 3),
    "one label": (partial(read_examples, kind="single"), {"a.jsonl": lines(
        {"text": "a", "label": "x"}, {"text": "c", "label": ["x", "y"]}, {"text": "d", "label": "y"}, {"label": "y"})},
        ["a.jsonl:2: 2 labels where one is expected", "a.jsonl:4: no text in column"], 2),
    "fasttext": (read_examples, {"a.txt": "__label__x good\n__label__y\n__label__ bad\n__label__y fine\n"},
                 ["a.txt:2: no text on this line", "a.txt:3: no label on this line"], 2),
}  # fmt: skip


def written(folder: Path, files: dict[str, str | bytes]) -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / next(iter(files)))


@pytest.mark.parametrize("name", list(CASES))
def test_every_fault_is_listed_and_the_first_refused(tmp_path: Path, name: str) -> None:
    read, files, expected, sound = CASES[name]
    path = written(tmp_path, files)
    records, found = collect(partial(read, path))
    assert records is not None and len(records) == sound
    assert len(found) == len(expected), "\n".join(found)
    for said, words in zip(found, expected, strict=True):
        assert words in said and ": " in said and said.endswith("."), said
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) in collect(partial(read, path))[1]
    assert not STRICT.found


def test_squad_faults_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(SQUAD, indent=0))
    rows = path.read_text().split("\n")
    _, found = collect(partial(read_questions, str(path)))

    def below(words: str) -> str:
        """What stands below the brace that a fault is located at."""
        (said,) = (said for said in found if words in said)
        line = int(said.removeprefix(f"{path}:").partition(":")[0])
        assert rows[line - 1] == "{"
        return rows[line]

    assert below("the question is missing") == '"id": "a",'
    assert below("answer_start 'x'") == '"text": "Rome",'  # the answer's own line, not its question's
    assert below("there is no list 'qas'") == f'"context": "{CONTEXT}"'
    assert below("there is no list 'paragraphs'") == '"title": "B"'


def test_what_ends_the_reading_is_listed_with_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\n\nthree\nfour\n")
    (tmp_path / "a.de").write_text("eins\nzwei\n\n")
    records, found = collect(partial(read_parallel, f"{tmp_path}/a.en,{tmp_path}/a.de"))
    assert records is None and len(found) == 3
    assert "a.en:2: an empty line" in found[0] and "a.en:4: this line has no partner" in found[1]
    assert "a.de:3: an empty line" in found[2]


def test_that_no_record_is_left_is_no_fault_beside_others(tmp_path: Path) -> None:
    path = written(tmp_path, {"a.jsonl": lines({"prompt": "", "response": "a"})})
    assert len(collect(partial(read_prompts, path))[1]) == 1
    path = written(tmp_path, {"a.json": json.dumps([{"question": None, "context": "a"}])})
    assert [said for said in collect(partial(read_questions, path))[1] if "is missing" not in said] == []
    path = written(tmp_path, {"b.jsonl": "{\n"})
    assert ["not JSON" in said for said in collect(partial(read_prompts, path))[1]] == [True]
    path = written(tmp_path, {"c.conll": "\n"})
    assert ["no sentence in it" in said for said in collect(partial(read_tagged, path))[1]] == [True]


def test_faults_are_raised_or_kept_once() -> None:
    strict, kept = Faults(), Faults(keep=True)
    with pytest.raises(DataError, match=r"a:1: wrong"):
        strict.add(DataError("wrong", where="a:1"))
    kept.add(NoRecordError("nothing", where="a"))
    for _ in range(2):
        kept.add(DataError("wrong", where="a:1", cure="mend it"))
    kept.add(NoRecordError("nothing at all", where="a"))
    assert list(kept.found) == ["a: nothing", "a:1: wrong. Mend it."] and not strict.found


def test_damaged_text_is_located_in_a_file_that_is_one_document(tmp_path: Path) -> None:
    good = json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [qa("a"), qa("b")]}]}]}, indent=0).encode()
    rows = good.split(b"\n")
    line = next(i for i, row in enumerate(rows, start=1) if b"Anna lives" in row)
    rows[line - 1] = rows[line - 1].replace(b"Rome", b"R\xf6m")
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + b"\n".join(rows)))
    with pytest.raises(DataError, match=rf"a\.json\.gz:{line}: not valid UTF-8"):
        read_questions(str(path))
    assert len(collect(partial(read_questions, str(path)))[1]) == 1


def test_check_lists_the_faults_of_all_files_and_goes_on(tmp_path: Path) -> None:
    bad = lines({"text": "one two", "spans": []}, *[{"text": "x", "spans": [[0, 9, "X"]]}] * (LISTED + 5))
    first = written(tmp_path, {"a.jsonl": bad})
    second = written(tmp_path, {"b.jsonl": lines("{")})
    report = api.check(
        [first, second], against=[written(tmp_path, {"c.jsonl": bad[: bad.index("\n") + 1]})], task="tag"
    )
    listed = {fact.part: fact for fact in report.facts if fact.name == "malformed"}
    assert {part: fact.count for part, fact in listed.items()} == {"a.jsonl": LISTED + 5, "b.jsonl": 1}
    assert report.count("malformed") == LISTED + 6 and all(fact.problem for fact in listed.values())
    assert len(listed["a.jsonl"].places) == LISTED + 1 and listed["a.jsonl"].places[-1] == "and 5 more"
    assert f"{first}:2: the span 0 to 9" in listed["a.jsonl"].places[0]
    assert {fact.part for fact in report.facts if fact.name == "size"} == {"a.jsonl", "c.jsonl"}
    assert report.count("leak") == 1  # of the sound record of a
    assert "b.jsonl:1: not valid JSON" in "\n".join(report.lines())


def test_check_of_labelled_texts_lists_faults_too(tmp_path: Path) -> None:
    path = written(tmp_path, {"a.csv": "text,label\na b,x\n,x\nc d,\ne f,y\ng,h,i\n"})
    empty = written(tmp_path, {"b.csv": "text,label\n,x\n"})
    report = check([path], against={"b": empty})
    listed = {fact.part: fact.places for fact in report.facts if fact.name == "malformed"}
    assert [said.split(": ")[0].rpartition(":")[2] for said in listed["a.csv"]] == ["3", "4", "6"]
    assert len(listed["b"]) == 1 and report.count("size") == 2


def test_kept_faults_let_their_records_go(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "a", "target": "b"}\n' + '{"source": "x\n{"source": "a", "target": ""}\n', "utf-8")
    faults = Faults(keep=True)
    read_parallel(str(path), faults=faults)
    assert len(faults.found) == 2
    assert all(e.__traceback__ is None and e.__context__ is None for e in faults.found.values())


def test_a_record_with_a_faulty_part_is_read_without_it(tmp_path: Path) -> None:
    """So what check says of the file is said of what is sound, not of the records that have no fault."""
    path = tmp_path / "a.jsonl"
    path.write_text(lines({"text": "ab cd", "spans": [[0, 2, "X"], [3, 9, "X"]]}, {"text": "ef", "spans": []}), "utf-8")
    report = api.check(path, task="tag")
    (malformed,) = [fact for fact in report.facts if fact.name == "malformed"]
    assert malformed.text == "1 fault to correct before training; all else here is said of what is sound"
    assert report.count("size") == 2


def test_a_file_that_cannot_be_opened_does_not_hide_the_others(tmp_path: Path) -> None:
    files = {
        "good.tsv": lines("text\tlabel", "a good film\tpos", "a bad film\tneg", "a nice one\tpos"),
        "empty.tsv": "",
        "lines.txt": "\ufeff__label__pos one two\n__label__neg three\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    report = check([str(tmp_path / name) for name in files], against={"test": str(tmp_path / "empty.tsv")})
    assert [fact.part for fact in report.facts if fact.name == "malformed"] == ["empty.tsv", "test"]
    text = "\n".join(report.lines())
    assert "3 records" in text and "2 records" in text  # a byte order mark does not make a corpus of a .txt
