"""``predict --format csv | glue | clue``: every row once and in order, under the names that a contest wants."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import wordloom
from cli_runs import Runs, Said, command
from wordloom import api
from wordloom.api import task_tag
from wordloom.api.submitting import GLUE, Submission, classifier_lines, refuse_glue_file, task_lines
from wordloom.config import DataConfig
from wordloom.data.tag_writers import clue
from wordloom.data.tagged import Mention, TagInput, read_tagged
from wordloom.errors import ConfigError, DataError
from wordloom.infer.predictor import Prediction

TEXTS = ["the film was good, to everyone", 'a "bad"\nplot', "the music was grim", "every scene felt lovely"]
IDS = ["q9", "a,1", "007", "x"]


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A contest's test.csv: ids of its own, a line break and quotes inside a text."""
    path = tmp_path / "test.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["Id", "text", "place"], *([i, t, "here"] for i, t in zip(IDS, TEXTS, strict=True))]
        )
    return path


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_csv_has_every_row_once_in_order(runs: Runs, asked: Path, tmp_path: Path) -> None:
    run = runs.folder / "finetuned"
    model = wordloom.load(run)
    labels, p = model.predict(TEXTS), model.predict_proba(TEXTS)
    assert read(api.predict_file(run, str(asked), tmp_path / "a.csv", form="csv")) == [
        ["Id", "prediction"], *map(list, zip(IDS, labels, strict=True))]  # fmt: skip
    wanted = Submission(header=["id", "target"], probability=["pos"])
    made = read(api.predict_file(run, str(asked), tmp_path / "b.csv", form="csv", submission=wanted))
    assert made[0] == ["id", "target"] and [row[0] for row in made[1:]] == IDS
    assert np.allclose([float(row[1]) for row in made[1:]], p[:, model.labels.index("pos")], atol=1e-8)
    both = Submission(id="place", probability=["pos", "neg"], rename={"pos": "1"})
    with pytest.raises(DataError, match="the id 'here' is that of line 2 too"):
        api.predict_file(run, str(asked), tmp_path / "c.csv", form="csv", submission=both)
    both = Submission(probability=["pos", "neg"], rename={"pos": "1"})
    made = read(api.predict_file(run, str(asked), tmp_path / "c.csv", form="csv", submission=both))
    assert made[0] == ["Id", "1", "neg"] and all(abs(float(a) + float(b) - 1) < 1e-6 for _, a, b in made[1:])


def test_withheld_answers_are_empty_cells(runs: Runs, asked: Path) -> None:
    run = runs.folder / "finetuned"
    model = wordloom.load(run)
    highest = np.sort(model.predict_proba(TEXTS).max(1))
    below = float(highest[1] + highest[2]) / 2  # two of the four are less probable
    rows = list(csv.reader(api.predict_lines(run, str(asked), form="csv", abstain=below)))
    assert [row[1] for row in rows[1:]] == [a or "" for a in model.predict(TEXTS, abstain=below)]
    assert sum(not row[1] for row in rows[1:]) == 2 and [row[0] for row in rows[1:]] == IDS
    with pytest.raises(ConfigError, match="CLUE wants an answer for every row"):
        next(api.predict_lines(run, str(asked), form="clue", abstain=0.9))


def test_rows_without_ids_are_numbered_from_0(runs: Runs, tmp_path: Path) -> None:
    lines = tmp_path / "texts.txt"
    lines.write_text("good\nbad\ngrim\n")
    rows = list(csv.reader(api.predict_lines(runs.folder / "finetuned", str(lines), form="csv")))
    assert rows[0] == ["id", "prediction"] and [row[0] for row in rows[1:]] == ["0", "1", "2"]


def test_glue_and_clue_files(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    run, test = runs.folder / "finetuned", tmp_path / "test.tsv"
    test.write_text("index\tsentence\n" + "".join(f"{i + 3}\t{t!r}\n" for i, t in enumerate(TEXTS)))
    predict = ("predict", run, test, "--rename", "neg=0", "--rename", "pos=1")
    said = command(monkeypatch, capfd, *predict, "--submission", "glue", "--out", tmp_path / "SST-2.tsv")
    assert said.code == 0, said.err
    header, *rows = (tmp_path / "SST-2.tsv").read_text().splitlines()
    wanted = [{"neg": "0", "pos": "1"}[a] for a in wordloom.load(run).predict([repr(t) for t in TEXTS])]
    assert header == "index\tprediction" and rows == [f"{i + 3}\t{word}" for i, word in enumerate(wanted)]
    lines = tmp_path / "test.json"  # CLUE's files are lines of JSON, named .json
    lines.write_text("".join(json.dumps({"id": i + 7, "sentence": t}) + "\n" for i, t in enumerate(TEXTS)))
    said = command(
        monkeypatch, capfd, "predict", run, lines, "--format", "clue", "-o", tmp_path / "tnews11_predict.json"
    )
    made = [json.loads(line) for line in (tmp_path / "tnews11_predict.json").read_text().splitlines()]
    answers = wordloom.load(run).predict(TEXTS)
    assert made == [{"id": i + 7, "label": a} for i, a in enumerate(answers)]


BAD: list[tuple[list[str], str]] = [
    (
        ["--format", "csv", "--header", "id"],
        "names 1 columns, and there are 2. Write for example --header Id,prediction",
    ),
    (["--format", "csv", "--id", "nummer"], "no column 'nummer'"),
    (["--format", "csv", "--probability", "po"], "the model has no label 'po'; did you mean 'pos'?"),
    (["--format", "csv", "--rename", "good=1"], "the model has no label 'good'"),
    (["--format", "csv", "--rename", "pos"], "'pos' is not LABEL=WORD"),
    (["--format", "glue", "--header", "a,b"], "--header: has no meaning with --format glue"),
    (["--json", "--id", "Id"], "--id: has no meaning with this output"),
    (["--format", "clu"], "did you mean 'clue'?"),
    (["--format", "glue", "--out", "SST2.tsv"], "GLUE has no file 'SST2.tsv'; did you mean 'SST-2.tsv'?"),
    (["--format", "glue", "--out", "SST-2.tsv"], "SST-2.tsv holds 0, 1, and the model says 'neg'"),
    (["--format", "glue", "--out", "STS-B.tsv"], "STS-B.tsv holds numbers, and the model gives labels"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_what_cannot_be_written_is_said(
    runs: Runs, asked: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    answer: Said = command(monkeypatch, capfd, "predict", runs.folder / "finetuned", asked, *words)
    assert answer.code == 2 and said.lower() in answer.err.lower() and "Traceback" not in answer.err
    assert answer.err.count("\n") == 1 and not answer.out and list(tmp_path.iterdir()) == [asked]


def answers(values: list[Any], p: list[list[float]] | None = None) -> Iterator[Prediction]:
    return (Prediction(v, np.array(p[i] if p else [0.5, 0.5])) for i, v in enumerate(values))


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("idx,text\n5,a\n6,b\n")
    many = SimpleNamespace(kind="multi", labels=("good", "very long"))
    values = [("good",), ()]
    assert list(classifier_lines("csv", str(file), answers(values), many, Submission(), None)) == [
        "idx,prediction", "5,good", "6,"]  # fmt: skip
    with pytest.raises(ConfigError, match="'very long' holds a space"):
        list(classifier_lines("csv", str(file), answers([("good", "very long"), ()]), many, Submission(), None))
    spelt = Submission(rename={"very long": "long"})
    assert "5,good long" in list(classifier_lines("csv", str(file), answers([(*many.labels,), ()]), many, spelt, None))
    with pytest.raises(ConfigError, match="GLUE takes one label a row"):
        next(classifier_lines("glue", str(file), answers(values), many, Submission(), None))
    number = SimpleNamespace(kind="regression", labels=())
    lines = list(classifier_lines("glue", str(file), answers([2.5, 1 / 3]), number, Submission(), None))
    assert lines == ["index\tprediction", "5\t2.5", "6\t0.333333333"]
    refuse_glue_file(Path("STS-B.tsv"), (), Submission())
    with pytest.raises(ConfigError, match=r"QNLI\.tsv holds labels, and the model gives numbers"):
        refuse_glue_file(Path("QNLI.tsv"), (), Submission())
    for name, words in GLUE.items():
        refuse_glue_file(Path("out") / name, words, Submission())
    with pytest.raises(ConfigError, match="a number"):
        next(classifier_lines("clue", str(file), answers([1.0, 2.0]), number, Submission(), None))


def test_a_row_too_few_or_too_many_is_never_written(tmp_path: Path) -> None:
    file, one = tmp_path / "in.csv", SimpleNamespace(kind="single", labels=("a", "b"))
    file.write_text("id,text\n5,a\n6,b\n")
    for count in (1, 3):
        with pytest.raises(ValueError, match="zip"):
            list(classifier_lines("csv", str(file), answers(["a"] * count), one, Submission(), None))


def test_texts_as_cells(tmp_path: Path) -> None:
    file = tmp_path / "in.tsv"
    file.write_text("id\tsource\nn1\ta\nn2\tb\n")
    kind: Any = SimpleNamespace(cell=lambda answer: answer, own_id=None)
    rows = csv.reader(
        "\n".join(task_lines(str(file), iter([("a", 'x, "y"'), ("b", "")]), kind, Submission())).splitlines()
    )
    assert list(rows) == [["id", "prediction"], ["n1", 'x, "y"'], ["n2", ""]]
    kind = SimpleNamespace(cell=lambda answer: answer, own_id=lambda given: given.upper())
    named = Submission(header=["Id", "Answer"])
    assert list(task_lines("squad.json", iter([("a", "x")]), kind, named)) == ["Id,Answer", "A,x"]
    with pytest.raises(ConfigError, match="--probability: has no meaning with --format csv"):
        next(task_lines(str(file), iter(()), kind, Submission(probability=["x"])))


def test_cluener_is_written_as_it_is_read(tmp_path: Path) -> None:
    text = "浙商银行的叶老桂在浙商银行"
    mentions = [Mention(0, 4, "company", 0.9), Mention(5, 8, "name", 0.8), Mention(9, 13, "company", 0.7)]
    lines = [json.loads(line) for line in clue([(TagInput(text, id=12), mentions), (TagInput("无"), [])])]
    assert lines == [
        {"id": 12, "label": {"company": {"浙商银行": [[0, 3], [9, 12]]}, "name": {"叶老桂": [[5, 7]]}}},
        {"id": 1, "label": {}},
    ]
    file = tmp_path / "again.json"
    file.write_text(json.dumps({**lines[0], "text": text}, ensure_ascii=False), encoding="utf-8")
    assert list(read_tagged(str(file)).spans[0]) == [m.span for m in mentions]
    task: Any = SimpleNamespace(as_input=lambda given: TagInput(given.text))
    file.write_text(json.dumps({"id": 0, "text": "a b"}) + "\n\n" + json.dumps({"id": 4, "text": "c"}) + "\n")
    given = task_tag.unlabelled(str(file), DataConfig(train=str(file)), task)
    assert [(g.text, g.id) for g in given] == [("a b", 0), ("c", 4)]
