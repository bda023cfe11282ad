"""Semantic role labelling from a file to a scored run, and what its users get back: Python, table, JSON, columns."""

import io
import json
import re
from pathlib import Path

import pytest
import tiny_roles
from typer.testing import CliRunner

from wordloom import api
from wordloom.cli import app
from wordloom.config import read_recipe
from wordloom.data.frames import Argument, Frame, read_frames
from wordloom.errors import ConfigError, DataError
from wordloom.tasks.roles.answers import Answer

TINY = {
    "model.layers": 1, "model.width": 32, "model.heads": 2, "model.ffn_width": 32, "tokenizer.vocab_size": 60,
    "train.steps": 30, "train.batch": 16, "train.length": 48, "train.threads": 1, "train.lr": 1e-2,
    "train.evaluate_every": 15,
}  # fmt: skip
FILES = ("train", "valid", "test")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("roles")
    return {name: tiny_roles.write(folder / f"{name}.conll", 30, seed) for seed, name in enumerate(FILES)}


@pytest.fixture(scope="module")
def run(files, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("roles-run") / "run"
    api.finetune("bert-tiny", files["train"], out, task="roles", valid=str(files["valid"]), test=str(files["test"]),
                 quiet=True, **TINY)  # fmt: skip
    return out


def test_a_run_is_scored_beside_its_baseline(run, files):
    scores = json.loads((run / "scores.json").read_text())
    assert scores["main"] == "f1" and scores["examples"] == 30
    names = {"f1", "precision", "recall", "f1_predicted", "predicate_f1", "sense_accuracy", "perfect_frames"}
    assert names <= set(scores["scores"]) and names <= set(scores["baseline"]["scores"])
    assert "arguments" not in scores["scores"] and scores["paired"]["metric"] == "f1"
    gold = read_frames(files["test"])
    rows = scores["tables"][0]["rows"]
    assert sum(row[1] for row in rows) == sum(
        a.label != "V" for s in gold.sentences for f in s.frames for a in f.arguments
    )
    answers = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [a["place"] for a in answers] == gold.places
    said = answers[0]["gold"]["frames"][0]
    assert said["predicate"]["lemma"] in ("run", "give") and {"label", "start", "end", "text"} == set(
        said["arguments"][0]
    )
    assert "Arguments by label" in (run / "report.html").read_text()


def test_evaluate_says_what_the_run_said(run, files):
    scores = json.loads((run / "scores.json").read_text())["scores"]
    (found,) = api.evaluate([run], files["test"]).scores.values()
    assert {name: found[name].value for name in found} == {name: s["value"] for name, s in scores.items()}


def test_sentences_in_who_did_what_to_whom_out(run):
    text = "She gave the ball to nobody today"
    predictor = api.load(run)
    (answer,) = predictor.predict([{"text": text, "predicates": [1]}])
    frame = answer.frames[0]
    assert (frame.index, frame.lemma) == (1, "give") and any(a.label == "V" for a in frame.arguments)
    row = predictor.task.row({"text": text, "predicates": [1]}, answer)
    for argument in row["frames"][0]["arguments"]:
        assert text[slice(*argument["characters"])] == argument["text"]
        assert " ".join(row["words"][argument["start"] : argument["end"]]) == argument["text"]
    assert predictor.task.line(text, answer).startswith(f"{text}\n  gave [give")


def test_the_table_says_who_did_what_to_whom(run):
    arguments = [(0, 1, "ARG0"), (1, 2, "V"), (2, 4, "ARG1"), (5, 6, "ARG2"), (6, 7, "C-ARG1"), (7, 8, "R-ARGM-TMP")]
    frame = Frame(1, "give", "give.01", tuple(Argument(*a) for a in arguments))
    words = ("She", "gave", "the", "ball", "to", "nobody", "whole", "when")
    assert api.load(run).task.line(" ".join(words), Answer(words, (frame,), (frame,))).split("\n") == [
        "She gave the ball to nobody whole when",
        "  gave [give.01]",
        "    ARG0        who                   She",
        "    ARG1        whom, what            the ball",
        "    ARG2                              nobody",
        "    C-ARG1      whom, what (goes on)  whole",
        "    R-ARGM-TMP  when (refers back)    when",
    ]


def test_check_reads_the_file_as_training_would(files, tmp_path):
    report = api.check([files["train"]], against=[files["valid"]], task="roles")
    assert any("predicates" in fact.text for fact in report.facts) and report.count("leak") > 0
    (tmp_path / "bad.conll").write_text(files["train"].read_text().replace("(V*)", "V", 1))
    malformed = api.check([tmp_path / "bad.conll"], task="roles").facts[0]
    assert malformed.count == 1 and re.search(r"bad\.conll:\d+: column 9 holds 'V'", malformed.places[0])


def test_predict_on_the_command_line(run, files, monkeypatch, tmp_path):
    lines = "He ran today\n\nthe dog gave up it\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    found = CliRunner().invoke(app, ["predict", str(run), "-", "--json"], input=lines)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [row["text"] for row in rows] == lines.split("\n")[:3] and rows[1]["frames"] == []
    # columns: a file of frames comes back with its other columns, readable again, in its own order
    said = list(api.predict_lines(run, str(files["test"]), form="conll"))
    (tmp_path / "said.conll").write_text("\n".join(said) + "\n")
    again, gold = read_frames(tmp_path / "said.conll"), read_frames(files["test"])
    assert [s.words for s in again.sentences] == [s.words for s in gold.sentences]
    assert [[f.index for f in s.frames] for s in again.sentences] == [
        [f.index for f in s.frames] for s in gold.sentences
    ]
    assert len(list(api.predict_lines(run, str(files["test"]), form="props"))) == len(said)
    with pytest.raises(ConfigError, match="unknown format"):
        next(api.predict_lines(run, str(files["test"]), form="conl"))


def test_without_marks_predicates_are_found(run, files, tmp_path):
    plain = [[*line.split("\t")[:6], "-", "-"] if line else [] for line in files["test"].read_text().split("\n")]
    (tmp_path / "plain.conll").write_text("\n".join("\t".join(cells) for cells in plain))
    marked = api.predict_lines(run, str(files["test"]), as_json=True)
    found = api.predict_lines(run, str(tmp_path / "plain.conll"), as_json=True)
    words = [(json.loads(a)["words"], json.loads(b)["words"]) for a, b in zip(marked, found, strict=True)]
    assert all(a == b for a, b in words)


def test_predicted_predicates_can_be_what_is_scored(run, files, tmp_path):
    settings = {k: v for k, v in TINY.items() if k.startswith("train")} | {"task.predicates": "predicted"}
    valid = str(files["valid"])
    result = api.finetune(run, files["train"], tmp_path / "run", task="roles", valid=valid, quiet=True, **settings)
    assert "f1_gold" in result.scores["scores"] and "found" in result.scores["scores"]["f1"]["note"]


def test_what_cannot_work_is_said(files, tmp_path):
    with pytest.raises(ConfigError, match="an encoder-decoder writes text"):
        api.finetune("t5-tiny", files["train"], tmp_path / "a", task="roles", quiet=True, **{"train.steps": 1})
    (tmp_path / "bad.conll").write_text(files["train"].read_text().replace("(ARG0*)", "(ARG0*", 1))
    with pytest.raises(DataError, match=r"bad\.conll:\d+: argument"):
        api.finetune("bert-tiny", tmp_path / "bad.conll", tmp_path / "b", task="roles", quiet=True, **TINY)
    (tmp_path / "none.conll").write_text(
        "d\t0\t0\tYes\tUH\t*\t-\t-\n\nd\t1\t0\tNo\tUH\t*\t-\t-\n\nd\t2\t0\tWell\tUH\t*\t-\t-\n"
    )
    with pytest.raises(DataError, match="no sentence has a predicate"):
        api.finetune("bert-tiny", tmp_path / "none.conll", tmp_path / "c", task="roles", quiet=True,
                     valid=str(files["valid"]), **TINY)  # fmt: skip


@pytest.mark.parametrize("name", ["propbank-ewt", "propbank-ewt-bilstm"])
def test_recipes_are_of_this_task(name):
    recipe = read_recipe(Path(__file__).resolve().parents[2] / "recipes" / f"{name}.toml")
    assert recipe.task is not None and recipe.task.name == "roles"
