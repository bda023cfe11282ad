"""The task tag from a file to answers: through the API and the command line, in every output format."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from cli_runs import command
from wordloom import api, presets
from wordloom.api.kinds import task_kind
from wordloom.data.tag_writers import inline
from wordloom.data.tagged import Mention, TagInput, read_tagged
from wordloom.errors import ConfigError

SETTINGS: dict[str, Any] = {
    **tiny.TINY,
    "train.steps": 40,
    "train.lr": 1e-2,
    "train.batch": 8,
    "task.baseline_steps": 20,
}


def write_conll(path: Path, count: int = 24, seed: int = 0) -> Path:
    """Clauses whose subject is a span of type WHAT and whose mood is one of type GOOD or BAD."""
    lines = []
    for text in tiny.documents(count, seed):
        for word in text.replace(".", " .").split():
            low = word.lower()
            kind = "GOOD" if low in tiny.GOOD else "BAD" if low in tiny.BAD else None
            article = low in ("the", "this", "an", "every", "that") and not (lines and lines[-1].startswith("in"))
            goes_on = low in ("film", "plot", "actor", "scene", "music", "ending")
            tag = f"B-{kind}" if kind else "B-WHAT" if article and low != "the" else "I-WHAT" if goes_on else "O"
            lines.append(f"{word} {'O' if tag == 'I-WHAT' and not lines[-1].endswith('WHAT') else tag}")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tag")
    train, test = write_conll(folder / "train.conll"), write_conll(folder / "test.conll", 10, seed=5)
    result = api.finetune("bert-tiny", train, folder / "run", task="tag", test=str(test), quiet=True, **SETTINGS)
    assert result.scores["main"] == "f1" and result.scores["scores"]["f1"]["value"] > 0.5
    return folder / "run"


def test_a_run_holds_scores_tables_answers_and_its_baseline(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    assert {"f1", "precision", "recall", "strict_f1", "accuracy"} <= set(scores["scores"])
    assert scores["scores"]["f1"]["low"] < scores["scores"]["f1"]["value"] < scores["scores"]["f1"]["high"]
    assert [row[0] for row in scores["tables"][0]["rows"]] and scores["samples"][0]["gold"]
    pytest.importorskip("pycrfsuite")
    assert scores["baseline"]["name"] == "feature CRF" and scores["paired"]["metric"] == "f1"
    page = (run / "report.html").read_text()
    assert "Spans by type" in page and "Token accuracy" not in page.split("<body")[0]
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    gold = sum(len(spans) for spans in read_tagged(str(run.parent / "test.conll")).spans)
    assert sum(len(row["gold"]["spans"]) for row in rows) == gold == sum(r[1] for r in scores["tables"][0]["rows"])


def test_evaluate_and_predict_say_what_the_run_says(run: Path) -> None:
    test = run.parent / "test.conll"
    report = api.evaluate([run], test)
    values = json.loads((run / "scores.json").read_text())["scores"]
    assert report.scores[str(run)]["f1"].value == pytest.approx(values["f1"]["value"])
    predictor = api.load(run)
    text = "This film was warm. An actor seemed grim."
    (found,) = predictor.predict([text])
    assert found and all(isinstance(m, Mention) for m in found)
    assert [text[m.start : m.end] for m in found if m.type == "BAD"] == ["grim"]


def test_the_command_line(run: Path, tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("This film was warm.\n\nAn actor seemed grim.\n")
    said = command(monkeypatch, capfd, "predict", run, lines, "--json")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0 and [r["text"] for r in rows] == lines.read_text().split("\n")[:3] and rows[1]["spans"] == []
    assert all(r["text"][s["start"] : s["end"]] == s["surface"] for r in rows for s in r["spans"])

    said = command(monkeypatch, capfd, "predict", run, lines, "--format", "inline")
    assert "[grim|BAD]" in said.out and "\x1b" not in said.out and len(said.out.splitlines()) == 3
    assert command(monkeypatch, capfd, "predict", run, lines).out == said.out

    monkeypatch.delenv("NO_COLOR", raising=False)
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        pairs = [(TagInput("go up\nnow", None, False), [Mention(0, 2, "A", 1.0), Mention(3, 5, "B", 1.0)])]
        assert list(inline(pairs)) == [
            "\x1b[1;31mgo\x1b[0m \x1b[2;31mA\x1b[0m \x1b[1;32mup\x1b[0m \x1b[2;32mB\x1b[0m now"
        ]
        terminal.setenv("NO_COLOR", "1")
        assert list(inline(pairs)) == ["[go|A] [up|B] now"]

    out = tmp_path / "out.conll"
    assert command(monkeypatch, capfd, "predict", run, lines, "--format", "conll", "--out", out).code == 0
    spans = [tuple(s) for s in read_tagged(str(out)).spans]
    jsonl = tmp_path / "out.jsonl"
    command(monkeypatch, capfd, "predict", run, out, "--format", "jsonl", "-o", jsonl)
    assert [tuple(s) for s in read_tagged(str(jsonl)).spans] == spans and sum(map(len, spans)) >= 2
    again = command(monkeypatch, capfd, "predict", run, lines, "--format", "conll", "--out", out)
    assert again.code == 2 and "is there already" in again.err


def test_docbin_is_what_spacy_reads(run: Path, tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    text = "  This film was warm.\tAn actor  seemed grim."
    (tmp_path / "in.txt").write_text(text + "\n")
    out = tmp_path / "out.spacy"
    refused = command(monkeypatch, capfd, "predict", run, tmp_path / "in.txt", "--format", "docbin")
    assert refused.code == 2 and "name a file with --out" in refused.err.lower()
    assert command(monkeypatch, capfd, "predict", run, tmp_path / "in.txt", "--format", "docbin", "-o", out).code == 0
    (doc,) = DocBin().from_disk(out).get_docs(spacy.blank("xx").vocab)
    (found,) = api.load(run).predict([text])
    assert doc.text == text and found
    assert [(e.start_char, e.end_char, e.label_) for e in doc.ents] == [(m.start, m.end, m.type) for m in found]


def test_check_finds_the_same_faults(tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    good = write_conll(tmp_path / "good.conll", 6)
    other = write_conll(tmp_path / "other.conll", 4)
    said = command(monkeypatch, capfd, "check", good, "--against", other, "--task", "tag")
    assert said.code == 0 and "BIO tags" in said.out and "4 texts of other.conll also occur in good.conll" in said.out
    (tmp_path / "bad.jsonl").write_text('{"text": "abc", "spans": [[0, 9, "X"]]}\n')
    said = command(monkeypatch, capfd, "check", tmp_path / "bad.jsonl", "--task", "tag")
    assert said.code == 2 and "bad.jsonl:1: the span 0 to 9 (X) lies outside its text of 3 characters" in said.out
    assert "for the fault above" in said.err
    said = command(monkeypatch, capfd, "check", tmp_path / "bad.jsonl", other, "--task", "tag", "--json")
    facts = json.loads(said.out)["facts"]
    assert said.code == 2 and [(f["part"], f["count"]) for f in facts if f["name"] == "malformed"] == [("bad.jsonl", 1)]
    assert any(f["part"] == "other.conll" for f in facts)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    data = write_conll(tmp_path / "a.conll")
    with pytest.raises(ConfigError, match="an encoder-decoder writes text"):
        api.finetune("t5-tiny", data, tmp_path / "run", task="tag", quiet=True, **tiny.TRAIN, **tiny.TOKENIZER)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="an encoder-decoder writes text"):
        task_kind("tag").refuse(presets.architecture("lstm-seq2seq-tiny", 100))


def test_a_tagger_goes_on_from_another_one(run: Path, tmp_path: Path) -> None:
    """The body's weights go on, the head is made for the new labels."""
    data = tmp_path / "a.jsonl"
    rows = [{"text": t, "spans": [[0, 3, "OTHER"]]} for t in tiny.documents(12)]
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    short = {**tiny.TRAIN, "train.steps": 2}
    result = api.finetune(run, data, tmp_path / "run", task="tag", baseline=False, quiet=True, **short)
    assert api.load(tmp_path / "run").task.labels == ("O", "B-OTHER", "I-OTHER")
    assert result.predictor is not None
