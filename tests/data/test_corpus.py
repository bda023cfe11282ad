"""Corpus reading against hand-written files and the independent counts of the public sets' README."""

import gzip
import json
import lzma
import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from wordloom.config import CorpusConfig
from wordloom.data.corpus import Corpus, CorpusReport, Document
from wordloom.data.readers import raw_lines, strip_html

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"public data sets are not at {DATA}")

PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress, "": bytes}


def corpus(*paths: Path, **values: object) -> Corpus:
    return Corpus(CorpusConfig(paths=tuple(str(p) for p in paths), **values))


def texts(*paths: Path, **values: object) -> list[str]:
    return [d.text for d in corpus(*paths, **values)]


ROWS = [("first text here", "a"), ('second, with "quotes"', "b"), ("dritter Text ü 中文", "c")]


def content(kind: str) -> bytes:
    if kind == "txt":
        return "".join(text + "\n" for text, _ in ROWS).encode()
    if kind == "jsonl":
        return "".join(json.dumps({"id": i, "body": text}) + "\n" for text, i in ROWS).encode()
    if kind == "csv":
        return ("body,id\n" + "".join('"' + t.replace('"', '""') + f'",{i}\n' for t, i in ROWS)).encode()
    if kind == "tsv":
        return ("id\tbody\n" + "".join(f"{i}\t{t}\n" for t, i in ROWS)).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [i for _, i in ROWS], "body": [t for t, _ in ROWS]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("suffix", PACK)
def test_every_format_and_compression_gives_the_same_documents(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"x.{kind}{suffix}"
    path.write_bytes(PACK[suffix](content(kind)))
    source = corpus(path)
    assert [d.text for d in source] == [text for text, _ in ROWS]
    first = 2 if kind in ("csv", "tsv") else 1
    assert list(source) == [Document(t, str(path), first + i) for i, (t, _) in enumerate(ROWS)]  # restartable
    assert source.report.documents == 3
    if kind != "txt":
        assert any("'body' (guessed" in note for note in source.report.notes)


def test_zstd_and_gzip_files_of_several_frames_are_read_to_the_end(tmp_path: Path) -> None:
    for suffix in (".gz", ".zst", ".xz"):
        path = tmp_path / f"x.txt{suffix}"
        path.write_bytes(PACK[suffix](b"one\n") + PACK[suffix](b"two\n" * 100_000))
        assert len(texts(path)) == 100_001


def test_lines_end_at_newline_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\u2028still\u0085one\x0cand\ntwo\r\nthree".encode())
    assert texts(path) == ["one\u2028still\u0085one\x0cand", "two", "three"]
    assert [raw for _, raw, _ in raw_lines(path)][1:] == [b"two", b"three"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 1000])
def test_pieces_of_a_line_never_cut_a_character(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.txt"
    lines = ["aé中😀" * 3, "", "x", "😀😀"]
    path.write_bytes("\n".join(lines).encode())
    got: dict[int, bytes] = {}
    for line, raw, _ in raw_lines(path, limit + 3):
        raw.decode()
        got[line] = got.get(line, b"") + raw
    assert [got[n].decode() for n in (1, 2, 3, 4)] == lines


def test_damage_is_counted_located_and_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    good = b"good line of text\n" * 20
    path.write_bytes(good + b"caf\xe9\xef\xbf\xbd au lait\nnul\0\0here\n\xef\xbf\xbd was there\nword word word word\n")
    source = corpus(path, max_chars=10)
    got = [d.text for d in source]
    report = source.report
    assert "caf\ufffd" in got[40] and got[42] == "nulhere"
    assert report.findings["broken_utf8"].count == 1 and report.findings["broken_utf8"].places == [f"{path}:21"]
    assert report.findings["nul"].count == 2 and report.findings["nul"].places == [f"{path}:22"]
    assert report.count("long") == 23 and all(len(text) <= 10 for text in got)
    assert got[-2:] == ["word word", "word word"]
    assert any("U+FFFD" in line and f"{path}:21" in line for line in report.lines())
    assert json.loads(json.dumps(report.to_json()))["findings"]["nul"]["count"] == 2


def test_empty_documents_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a b"}\n{"text": ""}\n{"text": null}\n{"other": 1}\n\n{"text": "\\ud83d\\u0000x"}\n')
    source = corpus(path, text="text")
    assert [(d.text, d.line) for d in source] == [("a b", 1), ("\ufffdx", 6)]
    assert {k: f.count for k, f in source.report.findings.items()} == {"empty": 3, "broken_utf8": 1, "nul": 1}


def test_units_of_txt_are_detected_stated_and_overridable(tmp_path: Path) -> None:
    line, blank = tmp_path / "line.txt", tmp_path / "blank.txt"
    line.write_text("a\nb\nc\n\n")  # blank lines at the end separate nothing
    blank.write_text("\n\na\nb\n\n \nc\n")
    assert texts(line) == ["a", "b", "c"]
    source = corpus(blank)
    assert [(d.text, d.line) for d in source] == [("a\nb", 3), ("c", 7)]
    assert "blank lines" in " ".join(source.report.lines())
    assert texts(blank, documents="line") == ["a", "b", "c"]
    assert texts(blank, documents="file") == ["a\nb\n\n \nc"]
    for i in range(12):
        (tmp_path / f"doc{i:02}.txt").write_text(f"page {i}\n\nmore")
    assert texts(tmp_path / "doc*.txt") == [f"page {i}\n\nmore" for i in range(12)]


@pytest.mark.parametrize("unit", ["line", "blank-line", "file"])
def test_long_documents_are_cut_at_white_space_and_lose_nothing(tmp_path: Path, unit: str) -> None:
    words = [f"word{i}" for i in range(5000)]
    path = tmp_path / "a.txt"
    path.write_text(" ".join(words) if unit == "line" else "\n".join(words))
    source = corpus(path, documents=unit, max_chars=997)
    if unit == "line":
        assert source.report.count("long") == 0
    got = [d.text for d in source]
    assert " ".join(got).split() == words
    assert max(map(len, got)) <= 997 and source.report.count("long") == 1 and len(got) < 60


def test_folders_globs_and_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("z.txt", "b/a.txt", "b/c.jsonl", ".hidden/x.txt", "b/.y.txt", "b/readme.md"):
        (tmp_path / name).write_text(json.dumps({"text": name}))
    source = corpus(tmp_path)
    assert [os.path.relpath(f, tmp_path) for f in source.files()] == ["z.txt", "b/a.txt", "b/c.jsonl"]
    assert source.report.findings["left_out"].places == [str(tmp_path / "b/readme.md")]
    again = corpus(tmp_path / "*" / "*.txt", tmp_path / "b", tmp_path / "b" / "a.txt")  # each file once
    assert [os.path.relpath(f, tmp_path) for f in again.files()] == ["b/a.txt", "b/c.jsonl"]


def test_workers_reports_merge_to_the_report_of_one_reading(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.txt").write_bytes(b"fine fine fine\n" * 5 + b"br\xffken\n\n")
    source = corpus(tmp_path)
    whole = list(source)
    worker = pickle.loads(pickle.dumps(source))
    parts, merged = [], source.new_report()
    for path in worker.files():
        report = CorpusReport()
        parts += list(worker.read_file(path, report))
        merged.merge(report)
    assert parts == whole and merged == source.report and merged.files == 3


def test_html_is_removed_on_request() -> None:
    assert strip_html("a<br />b &amp; <b>c</b> 1 < 2 &lt;3") == "a b & c 1 < 2 <3"


def test_tsv_quoting_is_decided_from_the_content(tmp_path: Path) -> None:
    plain, quoted = tmp_path / "plain.tsv", tmp_path / "quoted.tsv"
    plain.write_text('1\t"he said\n2\tinch 5" pipe\n3\t"all of it"\n')
    quoted.write_text('id\ttext\n1\t"with ""quotes"" and\nnewline"\n2\tplain words\n')
    assert texts(plain) == ['"he said', 'inch 5" pipe', '"all of it"']
    source = corpus(quoted)
    assert [(d.text, d.line) for d in source] == [('with "quotes" and\nnewline', 2), ("plain words", 4)]
    assert "not quoted" not in source.report.lines()[1] and ", quoted" in source.report.lines()[1]


# documents by the README of the data sets; baby10m: 24,583; novels: 3 books
@needs_data
@pytest.mark.parametrize(
    ("name", "count", "unit"),
    [
        ("pretrain/baby10m.txt.gz", 24_583, "line"),
        ("pretrain/english_novels.txt.gz", 3, "blank-line"),
        ("pretrain/zh_reviews.txt.gz", 36_256, "line"),
        ("pretrain/yoruba.txt.gz", 2_155, "blank-line"),
        ("retrieve/scifact/corpus.jsonl.gz", 5_183, "line"),
    ],
)
def test_public_corpora_have_their_published_counts(name: str, count: int, unit: str) -> None:
    source = corpus(DATA / name, max_chars=10_000_000)
    assert sum(1 for _ in source) == count and source.unit == unit
    assert not source.report.findings
