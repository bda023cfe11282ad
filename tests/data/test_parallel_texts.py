"""Aligned files and tables with two sides: what is read, and one sentence for whatever is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from wordloom.data.parallel import Parallel, read_parallel, read_sources
from wordloom.errors import DataError


def write(path: Path, *lines: str) -> str:
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


def rows(path: Path, *records: object) -> str:
    return write(path, *(json.dumps(r, ensure_ascii=False) for r in records))


def test_aligned_files_of_any_suffix_and_several_references(tmp_path: Path) -> None:
    en = write(tmp_path / "a.en.gz", "one", " two\u2028 b ")
    de = write(tmp_path / "a.de", "eins", "zwei")
    more = write(tmp_path / "b.de", "ein", "zwo")
    found = read_parallel(f"{en},{de}")
    assert found.sources == ["one", "two\u2028 b"] and found.references == [("eins",), ("zwei",)]
    assert found.places == [f"{en}:1", f"{en}:2"] and "aligned lines" in found.columns
    both = read_parallel(f"{en}, {de},{more}")
    assert both.references == [("eins", "ein"), ("zwei", "zwo")]
    assert list(both.texts()) == ["one", "eins", "ein", "two\u2028 b", "zwei", "zwo"]
    assert both.facts()["references"] == 4
    part = both.subset([1])
    assert (part.sources, part.references, part.places) == (["two\u2028 b"], [("zwei", "zwo")], [f"{en}:2"])
    assert list(part.content()) != list(both.subset([0]).content()) and both.key(0) == "one"


def test_a_file_whose_name_has_a_comma_is_a_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a,b.tsv", "Hi.\t嗨。", "Run.\t你用跑的。")
    assert read_parallel(path).references == [("嗨。",), ("你用跑的。",)]


def test_tables(tmp_path: Path) -> None:
    tsv = write(tmp_path / "a.tsv", "Hi there.\t嗨。", 'He said "no.\t不。', "Go on!\t去！")
    found = read_parallel(tsv)
    assert found.sources[1] == 'He said "no.' and "guessed" in found.columns and found.places[2].endswith(":3")
    back = read_parallel(tsv, source="2", target="1")
    assert back.sources == ["嗨。", "不。", "去！"] and "guessed" not in back.columns
    csv = write(tmp_path / "a.csv", "id,summary,document", '1,short,"long, and\nlonger"', "2,brief,wide")
    found = read_parallel(csv)
    assert found.sources == ["long, and\nlonger", "wide"] and found.references == [("short",), ("brief",)]
    assert found.places[1] == f"{csv}:4"
    listed = rows(tmp_path / "s.jsonl", {"source": ["A b.", "C d."], "target": ["x", "y"], "title": "t"},
                  {"source": ["E."], "target": ["z"], "title": "u"})  # fmt: skip
    found = read_parallel(listed)
    assert found.sources == ["A b. C d.", "E."] and found.references == [("x", "y"), ("z",)]
    assert found.sentences == [("A b.", "C d."), ("E.",)] and "up to 2 references" in found.columns
    blank = rows(tmp_path / "b.jsonl", {"source": ["A.", " ", "B."], "target": ["x"]})
    assert read_parallel(blank).sentences == [("A.", "B.")]
    mail = rows(tmp_path / "m.jsonl", {"id": "1", "body": "text", "subjects": ["s1", "s2"]})
    assert read_parallel(mail).references == [("s1", "s2")]
    chinese = rows(tmp_path / "c.jsonl", {"source": ["你好。", "再见。"], "target": "好"})
    assert read_parallel(chinese).sources == ["你好。再见。"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"en": ["a", "b"], "de": ["x"]}, r"no partner: .*a\.de has only 1 lines \(.*a\.en:2\)|a\.en:2.*no partner"),
        ({"en": ["a"], "de": ["x", "y", "z"]}, r"a\.de:2.*no partner"),
        ({"en": ["a", " "], "de": ["x", "y"]}, r"a\.en:2.*an empty line"),
        ({"en": ["a", "b"], "de": ["x", ""]}, r"a\.de:2.*an empty line"),
        ({"en": [], "de": []}, "no line in it"),
        ({"en": ["a"]}, r"a\.de.*no such file"),
        ({"en": ["a\0"], "de": ["x"]}, "a.en"),
    ],
)
def test_bad_aligned_files(tmp_path: Path, content: dict[str, list[str]], match: str) -> None:
    for name, lines in content.items():
        write(tmp_path / f"a.{name}", *lines)
    with pytest.raises(DataError, match=match):
        read_parallel(f"{tmp_path / 'a.en'},{tmp_path / 'a.de'}")


@pytest.mark.parametrize(
    ("records", "settings", "match"),
    [
        ([{"source": "a", "target": ""}], {}, r":1.*the target is empty \(column 'target'\)"),
        ([{"source": "a", "target": "b"}, {"source": None, "target": "b"}], {}, r":2.*the source is empty"),
        ([{"source": "a", "target": "b"}, {"source": "b"}], {}, r":2.*the target is empty"),
        ([{"source": [" ", ""], "target": "b"}], {}, r":1.*the source is empty"),
        ([{"source": "a", "target": []}], {}, r":1.*the target is empty"),
        ([{"source": "a", "target": ["x", " "]}], {}, r":1.*the target is empty"),
        ([{"source": "a", "target": 3}], {}, r":1.*the target holds int, not text"),
        ([{"x": "a", "y": "b", "z": "c"}], {}, r"no column looks like the source.*task\.source=NAME: x, y, z"),
        ([{"source": "a", "y": "b", "z": "c"}], {}, r"no column looks like the target.*task\.target=NAME"),
        ([{"source": "a", "target": "b"}], {"source": "src"}, "no column 'src'"),
        ([{"source": "a", "target": "b"}], {"source": "target"}, "asked for as source and as target"),
    ],
)
def test_bad_tables(tmp_path: Path, records: list[object], settings: dict[str, str], match: str) -> None:
    path = rows(tmp_path / "a.jsonl", *records)
    with pytest.raises(DataError, match=match):
        read_parallel(path, **settings)


def test_sources_alone(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.en", "one", "", "two")
    assert list(read_sources(lines)) == ["one", "", "two"]
    table = rows(tmp_path / "a.jsonl", {"body": ["a.", "b."], "subjects": ["s"]})
    assert list(read_sources(table)) == ["a. b."] and list(read_sources(table, "subjects")) == ["s"]


def test_the_public_sets(shared_data: Path) -> None:
    """Counts of ../shared/data/README.md."""
    folder = shared_data / "translate"
    found = read_parallel(f"{folder / 'multi30k_en_de/dev.en.gz'},{folder / 'multi30k_en_de/dev.de.gz'}")
    assert len(found) == 1014
    chinese = read_parallel(str(folder / "cmn_eng/dev.tsv.gz"))
    assert len(chinese) == 1572 and chinese.references[0][0][-1] in "。！？"
    mail = read_parallel(str(shared_data / "summarize/aeslc/dev.jsonl.gz"))
    assert len(mail) == 1960 and {len(r) for r in mail.references} == {4} and mail.sentences is None
    papers: Parallel = read_parallel(str(shared_data / "summarize/scitldr_a/dev.jsonl.gz"))
    assert len(papers) == 619 and papers.sentences is not None and max(map(len, papers.references)) > 1
