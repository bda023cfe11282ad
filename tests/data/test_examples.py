"""Labelled files: the counts of the public sets' README, guesses, and the promises of split and sample."""

import csv
import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wordloom.data.examples import Examples, read_examples, stream_texts, text_key
from wordloom.errors import DataError

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"public data sets are not at {DATA}")

PUBLIC = {
    "sms_spam/train.tsv": (3902, {"ham": 3379, "spam": 523}),
    "sms_spam/dev.tsv": (558, {"ham": 483, "spam": 75}),
    "sms_spam/test.tsv": (1114, {"ham": 965, "spam": 149}),
    "sms_spam/sms.tsv": (5574, {"ham": 4827, "spam": 747}),
    "sst2/train.tsv.gz": (60614, None),
    "sst2/dev.tsv.gz": (6735, None),
    "sst2/test.tsv.gz": (872, {"1": 444, "0": 428}),
    "imdb/train.jsonl.gz": (25000, {"0": 12500, "1": 12500}),
    "agnews10k/train.tsv.gz": (10001, None),
    "agnews10k/test.tsv.gz": (7600, dict.fromkeys(["World", "Sports", "Business", "Sci/Tech"], 1900)),
    "chnsenticorp/train.tsv.gz": (9600, None),
    "chnsenticorp/dev.tsv.gz": (1200, None),
    "chnsenticorp/test.tsv.gz": (1200, None),
    "masakhanews_yor/train.tsv.gz": (1433, None),
    "masakhanews_yor/dev.tsv.gz": (206, None),
    "masakhanews_yor/test.tsv.gz": (411, None),
}


@needs_data
@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_have_their_published_counts(name: str) -> None:
    examples = read_examples(str(DATA / "classify" / name))
    count, labels = PUBLIC[name]
    assert len(examples) == count and examples.kind == "single"
    if labels:
        assert Counter(examples.labels) == labels


@needs_data
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_quoted_tsv_agrees_with_the_csv_module(split: str) -> None:
    path = DATA / f"classify/masakhanews_yor/{split}.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    examples = read_examples(str(path))
    assert examples.texts == [row["text"].strip() for row in rows]
    assert examples.labels == [row["category"] for row in rows]
    assert examples.label_names() == (DATA / "classify/masakhanews_yor/labels.txt").read_text().split()


@needs_data
def test_unquoted_tsv_agrees_with_plain_splitting() -> None:
    path = DATA / "classify/sms_spam/sms.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    examples = read_examples(str(path))
    assert examples.texts == [text.strip() for _, text in rows] and examples.labels == [label for label, _ in rows]
    assert read_examples(str(path), text="2", label="1") == Examples(
        examples.texts, examples.labels, examples.places, columns=read_examples(str(path), text="2", label="1").columns
    )


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "text", "want"),
    [
        ("a.csv", "Review,Sentiment\nso good,pos\nso bad,neg\n", ["so good", "so bad"]),
        (
            "b.csv",
            "id,words used,grp\n1,so good it is,x\n2,so bad it is,y\n3,fine thing it is,x\n4,bad it is,y\n",
            None,
        ),
        ("c.tsv", "pos\tso good\nneg\tso bad\npos\tgreat\nneg\tpoor\n", ["so good", "so bad", "great", "poor"]),
        ("d.csv", "text;label\nso good, really;1\nso bad;0\n", ["so good, really", "so bad"]),
        (
            "e.jsonl",
            '{"label": true, "text": "so good"}\n\n{"label": false, "text": "so bad"}\n',
            ["so good", "so bad"],
        ),
        ("f.txt", "__label__pos so good\nso bad __label__neg\n", ["so good", "so bad"]),
    ],
)
def test_columns_are_guessed_and_said(tmp_path: Path, name: str, text: str, want: list[str] | None) -> None:
    examples = read_examples(write(tmp_path / name, text))
    assert examples.texts == (want or ["so good it is", "so bad it is", "fine thing it is", "bad it is"])
    assert len(examples.label_names()) == 2
    assert "guessed" in examples.columns or "fastText" in examples.columns


def test_named_columns_pairs_and_parquet(tmp_path: Path) -> None:
    table = {"sentence1": ["a b", "c d"], "sentence2": ["e", "f"], "label": [1, 0], "note": ["long long text"] * 2}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    examples = read_examples(str(tmp_path / "a.parquet"))
    assert (examples.texts, examples.pairs, examples.labels) == (["a b", "c d"], ["e", "f"], ["1", "0"])
    assert examples.places == [f"{tmp_path}/a.parquet:1", f"{tmp_path}/a.parquet:2"]
    other = read_examples(str(tmp_path / "a.parquet"), text="note", label="sentence2")
    assert (
        other.pairs is None
        and other.labels == ["e", "f"]
        and other.columns.endswith(": 4 columns; guessed: one label each; override with --kind (kind=...)")
    )


def test_kinds(tmp_path: Path) -> None:
    scale = "".join(f'{{"text": "t{i}", "label": {i / 7:.3f}}}\n' for i in range(40))
    assert read_examples(write(tmp_path / "r.jsonl", scale)).kind == "regression"
    stars = "".join(f'{{"text": "t{i}", "label": {i % 5}.0}}\n' for i in range(40))
    assert read_examples(write(tmp_path / "s.jsonl", stars)).kind == "single"
    assert read_examples(write(tmp_path / "s.jsonl", stars), kind="regression").labels == [
        float(i % 5) for i in range(40)
    ]
    multi = read_examples(write(tmp_path / "m.csv", "text,label\na b,x|y\nc d,x\ne f,z | x\ng h,[]\n"))
    assert multi.kind == "multi" and multi.labels == [["x", "y"], ["x"], ["z", "x"], []]
    assert multi.label_names() == ["x", "y", "z"]
    few = read_examples(write(tmp_path / "f.csv", "text,label\na b,x|y\nc d,x\ne f,z\n"))
    assert few.labels == ["x|y", "x", "z"] and "'|' in 1 of 3 labels is read as part of the name" in few.columns
    assert read_examples(write(tmp_path / "n.csv", "text,label\na,10\nb,9\nc,-1\n")).label_names() == ["-1", "9", "10"]


def test_unlabelled_input_is_read_only_when_allowed(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.txt", "one text\nanother\n")
    assert read_examples(plain, require_label=False).labels is None
    table = write(tmp_path / "a.csv", "id,text\n1,so it goes\n2,so it went\n")
    assert read_examples(table, require_label=False).texts == ["so it goes", "so it went"]
    for path in (plain, table):
        with pytest.raises(DataError, match="label"):
            read_examples(path)


def made(labels: list[str], texts: list[str] | None = None) -> Examples:
    texts = texts or [f"text number {i}" for i in range(len(labels))]
    return Examples(texts, labels, [f"f:{i + 1}" for i in range(len(labels))])


def test_split_is_stratified_disjoint_deterministic_and_keeps_duplicates_together() -> None:
    texts = [f"Text, number {i // 3}!" if i % 3 else f"text NUMBER {i // 3}" for i in range(600)]
    examples = made([("a", "a", "b")[i // 3 % 3] for i in range(600)], texts)
    rest, valid = examples.split(0.2, seed=3)
    assert len(rest) + len(valid) == 600 and set(rest.places).isdisjoint(valid.places)
    assert not {text_key(t) for t in rest.texts} & {text_key(t) for t in valid.texts}
    assert abs(Counter(valid.labels)["a"] - 80) < 3 and abs(Counter(valid.labels)["b"] - 40) < 3
    assert examples.split(0.2, seed=3)[1] == valid != examples.split(0.2, seed=4)[1]
    with pytest.raises(DataError, match="cannot be split"):
        made(["a", "b"], ["same", "Same!"]).split(0.5, 0)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 57, 99, 100])
def test_sample_has_exactly_n_in_proportion(n: int) -> None:
    examples = made(["a"] * 90 + ["b"] * 8 + ["c"] * 2)
    sample = examples.sample(n, seed=0)
    counts = Counter(sample.labels)
    assert len(sample) == n == len(set(sample.places))
    assert n < 3 or (set(counts) == {"a", "b", "c"} and abs(counts["a"] - 0.9 * n) < 2)
    assert sample == examples.sample(n, seed=0)
    assert set(examples.sample(10, seed=0).places) <= set(examples.sample(57, seed=0).places)


def test_without_texts_of() -> None:
    kept, removed = made(["a", "b", "c"], ["One two.", "three", "four"]).without_texts_of(made(["x"], ["one  TWO"]))
    assert (kept.texts, kept.places, removed) == (["three", "four"], ["f:2", "f:3"], 1)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("It's GOOD!", "it s good", True),
        ("ọ̀wọ̀", "ọ́wọ́", False),
        ("की", "का", False),
        (":-)", ":-(", False),
        ("Ａ１", "a1", True),
    ],
)
def test_text_key(a: str, b: str, same: bool) -> None:
    assert (text_key(a) == text_key(b)) is same


def test_require_trainable(tmp_path: Path) -> None:
    made(["a", "b"]).require_trainable()
    with pytest.raises(DataError, match="all 2 records have the label 'a'"):
        made(["a", "a"]).require_trainable()
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "x y"}) + "\n")
    with pytest.raises(DataError, match="no labels"):
        read_examples(path, require_label=False).require_trainable()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\nfirst one,a\nsecond one,\n,b\n"),
        ("a.jsonl", '{"text": "first one", "label": 1}\n{"text": "second one"}\n{"text": null}\n'),
        ("a.txt", "__label__a first one\nsecond one\n\n"),
    ],
)
def test_texts_come_one_by_one_and_without_a_look_at_labels(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    texts = stream_texts(str(path))
    assert (next(texts), next(texts)) == ("first one", "second one")
    with pytest.raises(DataError, match=f"{name}:{4 if name == 'a.csv' else 3}: no text"):
        next(texts)


def test_pairs_come_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("premise\thypothesis\tlabel\n" + "".join(f"one {i}\ttwo {i}\t{i % 2}\n" for i in range(30)))
    examples = read_examples(str(path))
    assert examples.pairs is not None
    assert list(stream_texts(str(path), pairs=True)) == list(zip(examples.texts, examples.pairs, strict=True))
    assert list(stream_texts(str(path))) == examples.texts
    with pytest.raises(DataError, match="reads pairs of texts"):
        next(stream_texts(str(path), text="premise", pairs=True))
