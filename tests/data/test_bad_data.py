"""Malformed corpora and labelled files: one sentence with the place and the cure, never another exception."""

import gzip
import json
import lzma
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from wordloom.config import CorpusConfig
from wordloom.data.check import check
from wordloom.data.corpus import Corpus
from wordloom.data.examples import read_examples
from wordloom.errors import DataError

JUNK = random.Random(0).randbytes(5000)
TEXT = b"".join(b"line %d of a text that compresses\n" % i for i in range(5000))
GOOD = b"text,label\nso good,pos\n"


def parquet(**columns: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


# name of the file, its bytes, place after the file name ("" = the whole file), words of the message
CORPORA = [
    ("junk.txt", JUNK, "", "not UTF-8"),
    ("utf16.txt", "some text\n".encode("utf-16"), "", "UTF-16"),
    ("utf16-no-mark.txt", "some text\n".encode("utf-16-le") * 9, "", "NUL"),
    ("gb18030.txt", "这是一个中文文本的例子。\n".encode("gb18030") * 9, "", "GB18030"),
    ("nul.txt", b"\0" * 100, "", "NUL"),
    ("empty.txt", b"", "", "no text in the corpus"),
    ("blank.txt", b"\n \n\t\n", "", "no text in the corpus"),
    ("cut.txt.gz", gzip.compress(TEXT)[:-200], "", "truncated"),
    ("junk.txt.gz", JUNK, "", "damaged"),
    ("named-wrong.txt", gzip.compress(TEXT), "", "named|suffix .gz"),
    ("cut.txt.xz", lzma.compress(TEXT)[:-200], "", "truncated"),
    ("junk.txt.xz", JUNK, "", "damaged"),
    ("cut.jsonl.zst", zst(b'{"text": "so long"}\n' * 9000)[:-20], "", "truncated"),
    ("junk.txt.zst", JUNK, "", "damaged"),
    ("readme.md", b"# title", "", "unknown suffix"),
    ("data.txt.bz2", b"BZh9", "", "unknown suffix"),
    ("a.jsonl", b'{"text": "fine"}\n{"text": "cut off\n', ":2", "not JSON"),
    ("arrays.jsonl", b'["text", "label"]\n', ":1", "JSON array, not an object"),
    ("one.jsonl", b'[\n{"text": "a"}\n]\n', ":1", "one big JSON document"),
    ("numbers.jsonl", b'{"a": 1}\n{"a": 2}\n', "", "no column looks like text"),
    ("deep.jsonl", b"[" * 100_000 + b"\n", ":1", "not JSON"),
    ("late.jsonl", b'{"text": "fine"}\n' * 20_000 + b"{}}\n", ":20001", "not JSON"),
    ("mixed.jsonl", b'{"text": "fine fine"}\n' * 20_000 + b'{"text": 5}\n', ":20001", "holds int, not text"),
    ("open.csv", b'id,text\n1,"never closed\n2,so long\n', ":2", "never closed"),
    ("quotes.csv", b'id,text\n1,fine\n2,"a" b\n', ":3", "broken quoting"),
    ("wide.csv", b"id,text\n1,fine\n2,one,two\n", ":3", "3 columns where 2 are expected"),
    ("narrow.tsv", b"id\ttext\n1\tfine\n2\n", ":3", "1 column where 2 are expected"),
    ("twice.csv", b"text,text\na,b\n", ":1", "two columns named 'text'"),
    ("junk.parquet", JUNK, "", "not a readable parquet file"),
    ("cut.parquet", parquet(text=["so long"] * 99)[:-9], "", "not a readable parquet file"),
    (
        "middle.parquet",
        (p := parquet(text=[str(i) * 9 for i in range(99)]))[:20] + b"\xff" * 40 + p[60:],
        "",
        "parquet",
    ),
    ("binary.parquet", parquet(text=[b"ab", b"cd"]), "", "no column looks like text"),
    ("none.parquet", parquet(text=pa.array([], pa.string())), "", "no row"),
]


@pytest.mark.parametrize(("name", "data", "place", "words"), CORPORA, ids=[row[0] for row in CORPORA])
def test_bad_corpus(tmp_path: Path, name: str, data: bytes, place: str, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for read in (lambda: list(Corpus(CorpusConfig(paths=(str(path),)))), lambda: check(str(path))):
        assert_plain(read, f"{path}{place}", words)


LABELLED: list[tuple[str, bytes, dict[str, Any], str, str]] = [
    ("a.csv", b"text,label\nso good,pos\nso bad,\n", {}, ":3", "no label in column 'label'"),
    ("a.csv", b"text,label\nso good,pos\n ,neg\n", {}, ":3", "no text in column 'text'"),
    ("a.csv", b"text,label\nso good,pos\nso, bad,neg\n", {}, ":3", "3 columns where 2 are expected"),
    ("a.csv", b"text,label\n", {}, "", "no record"),
    ("a.csv", b"", {}, "", "no record"),
    ("a.csv", GOOD + b"caf\xe9,neg\n", {}, ":3", "not valid UTF-8"),
    ("a.csv", GOOD + b"nul\0,neg\n", {}, ":3", "NUL"),
    ("a.csv", GOOD, {"label": "lable"}, "", "no column 'lable'. Choose one of: text, label"),
    ("a.csv", GOOD, {"text": "7"}, "", "no column '7'"),
    ("a.csv", GOOD, {"text": "text", "label": "text"}, "", "asked for twice"),
    ("a.csv", b"text,label\nso good,0.5\nso bad,abc\n", {"kind": "regression"}, ":3", "'abc' is not a number"),
    ("a.csv", b"text,label\nso good,nan\n", {"kind": "regression"}, ":2", "not a number"),
    ("a.csv", b"id,url\n1,2\n3,4\n", {}, "", "no column looks like"),
    ("a.csv", GOOD + b"<br /> ,neg\n", {"clean_html": True}, ":3", "empty text once the markup"),
    ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": 2\n', {}, ":2", "not JSON"),
    ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', {}, ":2", "no label in column 'label'"),
    ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": 3, "label": 1}\n', {"text": "text"}, ":2", "holds int, not text"),
    ("a.jsonl", b'{"text": "a", "label": {"x": 1}}\n', {}, ":1", "is not a name"),
    ("a.jsonl", b'{"text": "a", "label": NaN}\n', {}, ":1", "is not a name"),
    ("a.jsonl", b'{"text": "a", "label": ["x", "y"]}\n', {"kind": "single"}, ":1", "2 labels where one"),
    ("a.jsonl", b'{"text": "\\ud83d half", "label": 1}\n', {}, ":1", "surrogate"),
    ("a.txt", b"no label here\n", {}, ":1", "no label in this .txt file"),
    ("a.txt", b"__label__x good\nno label\n", {}, ":2", "no label on this line"),
    ("a.txt", b"__label__x good\n__label__y\n", {}, ":2", "no text on this line"),
    ("a.tsv", b"pos\tso good\nneg\tso\tbad\npos\tso so\nneg\tno\n", {}, ":2", "3 columns where 2"),
    ("a.parquet", parquet(text=["a", None], label=["x", "y"]), {}, ":2", "no text in column 'text'"),
    ("a.csv.gz", gzip.compress(GOOD * 5000)[:-30], {}, "", "truncated"),
    ("a.xlsx", b"PK\x03\x04", {}, "", "unknown suffix"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "options", "place", "words"), LABELLED)
def test_bad_labelled_file(
    tmp_path: Path, name: str, data: bytes, options: dict[str, Any], place: str, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert_plain(lambda: read_examples(str(path), **options), f"{path}{place}", words)
    assert path.read_bytes() == data


def test_only_one_class(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GOOD + b"very good,pos\n")
    assert_plain(lambda: read_examples(str(path)).require_trainable(), str(path), "all 2 records have the label 'pos'")


def test_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.doc").write_bytes(b"x")
    for name, words in [
        ("no.txt", "no such file"),
        ("empty", "no readable"),
        ("other", "no readable"),
        ("*.txt", "no r"),
    ]:
        where = str(tmp_path / name)
        assert_plain(lambda where=where: Corpus(CorpusConfig(paths=(where,))), where, words)
    assert_plain(lambda: read_examples(str(tmp_path / "no.csv")), str(tmp_path / "no.csv"), "no such file")
    assert_plain(lambda: read_examples(str(tmp_path / "other")), str(tmp_path / "other"), "is a folder, not a file")


def test_absent_columns_of_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"body": "so it goes"}) + "\n")
    corpus = Corpus(CorpusConfig(paths=(str(path),), text="text"))
    assert_plain(lambda: list(corpus), str(path), "no column 'text'. Choose one of: body")


def assert_plain(read: Any, where: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read()
    message = str(caught.value)
    assert caught.value.where == where and any(word in message for word in words.split("|")), message
    assert caught.value.cure and "\n" not in message and "Traceback" not in message
