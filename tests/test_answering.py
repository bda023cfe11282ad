"""Question answering through the API and the command line: train, score, predict, ask documents."""

import csv
import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import wordloom
from cli_runs import Said, command
from tiny import TINY, shared_data
from wordloom import api
from wordloom.api.answering import DocumentReader
from wordloom.config import AnswerConfig
from wordloom.data.questions import read_questions
from wordloom.errors import ConfigError, DataError
from wordloom.tasks.answer.task import Reader

NAMES, PLACES = ("anna", "berta", "carla", "dora", "emil"), ("rome", "paris", "oslo", "cairo", "delhi")


def write(path: Path, count: int, seed: int = 0) -> Path:
    """Who lives where: every fourth question is about someone the text does not name."""
    rng = random.Random(seed)
    paragraphs = []
    for i in range(count):
        names, places = rng.sample(NAMES, 4), rng.sample(PLACES, 4)
        context = " ".join(f"{n.capitalize()} lives in {p}." for n, p in zip(names, places, strict=True))
        asked = rng.randrange(3)
        qa = {"id": f"q{i}", "question": f"where does {names[asked]} live?", "is_impossible": False,
              "answers": [{"text": places[asked], "answer_start": context.index(places[asked])}]}  # fmt: skip
        if i % 4 == 3:
            other = next(n for n in NAMES if n not in names)
            qa |= {"question": f"where does {other} live?", "answers": [], "is_impossible": True}
        paragraphs.append({"context": context, "qas": [qa]})
    path.write_text(json.dumps({"version": "v2", "data": [{"title": "people", "paragraphs": paragraphs}]}))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("answer")
    train, test = write(folder / "train.json", 60), write(folder / "test.json", 12, seed=1)
    api.finetune("bert-tiny", train, folder / "run", task="answer", quiet=True,
                 **{**TINY, "data.test": str(test), "task.max_windows": 2, "train.length": 32})  # fmt: skip
    return folder / "run", test


Shell = Callable[..., Said]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    def run(*words: object, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        return command(monkeypatch, capfd, *words)

    return run


def test_a_run_is_scored_beside_its_baseline(trained: tuple[Path, Path]) -> None:
    run, test = trained
    scores = json.loads((run / "scores.json").read_text())
    assert scores["main"] == "f1" and scores["examples"] == 12
    assert set(scores["scores"]) == {"f1", "exact_match", "has_answer_f1", "has_answer_exact", "no_answer_accuracy"}
    assert scores["scores"]["f1"]["low"] <= scores["scores"]["f1"]["value"] <= scores["scores"]["f1"]["high"]
    assert "sliding window" in scores["baseline"]["name"] and "verdict" in scores["paired"]
    assert scores["tables"][1]["rows"][0] == ["questions", 12] and scores["samples"]
    assert "Exact match" in (run / "report.html").read_text()
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [r["id"] for r in rows] == [f"q{i}" for i in range(12)] and rows[3]["gold"]["answer"] is None
    assert rows[0]["place"] == f"{test}:1: people, paragraph 1/q0"


def test_a_loaded_run_says_the_same(trained: tuple[Path, Path]) -> None:
    run, test = trained
    predictor = wordloom.load(run)
    records = read_questions(str(test))
    answers = predictor.predict(records.asked)
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    for answer, row, asked in zip(answers, rows, records.asked, strict=True):
        assert (answer.text or None) == row["answer"]
        assert answer.probability == pytest.approx(row["probability"], abs=1e-5)
        assert answer.text == asked.context[answer.start : answer.end] or answer.start == -1
    scores = json.loads((run / "scores.json").read_text())["scores"]
    again = api.evaluate([run], test)
    assert again.scores[str(run)]["f1"].value == pytest.approx(scores["f1"]["value"])
    assert predictor.predict([(q.question, q.context) for q in records.asked]) == answers


def test_predictions_on_the_command_line(trained: tuple[Path, Path], tmp_path: Path, shell: Shell) -> None:
    run, test = trained
    rows = [json.loads(line) for line in shell("predict", run, test, "--json").out.splitlines()]
    assert len(rows) == 12 and all(len(r["n_best"]) <= 5 for r in rows)
    squad = json.loads(shell("predict", run, test, "--format", "squad").out)
    assert squad == {r["id"]: r["answer"] or "" for r in rows}
    assert json.loads(shell("predict", run, test, "--submission", "clue").out) == squad
    cells = list(csv.reader(shell("predict", run, test, "--format", "csv", "--header", "Id,Answer").out.splitlines()))
    assert cells == [["Id", "Answer"], *([r["id"], r["answer"] or ""] for r in rows)]
    table = tmp_path / "ask.tsv"
    table.write_text("question\tcontext\nwhere does anna live?\tAnna lives in rome.\n")
    assert shell("predict", run, table).out.count("\n") == 1
    piped = shell("predict", run, "-", stdin="who?\tAnna lives in rome.\n")
    assert piped.code == 0 and piped.out.rstrip("\n").endswith("\twho?")
    bad = shell("predict", run, "-", stdin="who?\n")
    assert bad.code == 2 and "standard input:1: no context after the question" in bad.err
    wrong = shell("predict", run, test, "--format", "conll")
    assert wrong.code == 2 and "unknown format 'conll'" in wrong.err


def test_faults_are_found_before_training(trained: tuple[Path, Path], tmp_path: Path, shell: Shell) -> None:
    _, test = trained
    said = shell("check", test, "--task", "answer")
    assert said.code == 0 and "12 questions about 12 texts, 3 without an answer" in said.out
    assert "!" not in said.out
    document = json.loads(test.read_text())
    paragraphs = document["data"][0]["paragraphs"]
    again = dict(paragraphs[0]["qas"][0], question="where does zoe live?", id="other")
    moved = dict(again, id="moved", question="who?", answers=[dict(again["answers"][0])])
    moved["answers"][0]["answer_start"] += 2
    gone = dict(again, id="gone", question="why?", answers=[{"text": "nowhere", "answer_start": 0}])
    paragraphs[0]["qas"] += [again, moved, gone, dict(again, id="twice")]
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(document))
    found = {f.name: f for f in api.check([odd], task="answer").facts if f.problem}
    assert {name: fact.count for name, fact in found.items()} == {"faults": 1, "repeats": 1}
    lines = shell("check", odd, "--task", "answer").out
    assert "1 answers do not stand at their offset" in lines and "people, paragraph 1/moved" in lines
    assert lines.count("moved") == lines.count("nowhere)") == 1 and "repaired" not in lines  # said once, as findings
    assert "1 answers stand nowhere in their text" in lines and "people, paragraph 1/gone (nowhere)" in lines
    assert "1 record repeat" in lines and "paragraph 1/twice = " in lines
    del paragraphs[0]["qas"][1:]
    document["data"][0]["paragraphs"][2]["context"] = ""
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(document))
    fault = f"{broken}:1: people, paragraph 3/q2: the context is empty"
    checked = shell("check", broken, "--task", "answer")
    assert checked.code == 2 and fault in checked.out and "for the fault above" in checked.err
    bad = shell("finetune", "bert-tiny", broken, "--task", "answer", "-o", tmp_path / "no")
    assert bad.code == 2 and fault in bad.err
    assert not (tmp_path / "no").exists()


def test_documents_are_asked_and_cited(trained: tuple[Path, Path], tmp_path: Path, shell: Shell) -> None:
    run, _ = trained
    texts = {"a.txt": "Dora lives in oslo.\nEmil lives in cairo.", "b.txt": "Anna lives in rome. She is glad."}
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    reader = DocumentReader(run, folder)
    found = reader.ask("where does anna live?")
    assert found.passages == 2 and found.answers  # each shares "lives", stemmed
    for cited in found.answers:
        assert texts[cited.document][cited.start : cited.end] == cited.text and cited.text in cited.passage
        assert cited.place.endswith(f"{cited.document}:1")
        assert texts[cited.document][cited.passage_start :].startswith(cited.passage)
    assert reader.ask("zoe?").passages == 0
    with pytest.raises(DataError, match="the question is empty"):
        reader.ask(" ")
    with pytest.raises(ConfigError, match="reader's share"):
        reader.ask("who?", reader_share=0.0)
    out = shell("answer", run, "where does anna live?", "--documents", folder, "--json", "-n", 1)
    row = json.loads(out.out)
    assert row["cited"][0]["document"] == "b.txt" and len(row["cited"]) == 1
    plain = shell("answer", run, "-", "--documents", folder, stdin="where does dora live?\n\nzoe?\n")
    assert plain.code == 0 and "a.txt (" in plain.out and "no passage shares a word with the question" in plain.out
    wrong = shell("answer", tmp_path, "who?", "--documents", folder)
    assert wrong.code == 2


def test_a_head_of_features_goes_on_and_is_not_dropped_unsaid(trained: tuple[Path, Path], tmp_path: Path) -> None:
    _, test = trained
    first, on = tmp_path / "first", tmp_path / "on"
    values = {"train.length": 32, "train.steps": 2, "train.threads": 1, "quiet": True, "baseline": False}
    api.finetune("bert-tiny", test, first, task="answer", **{**TINY, **values, "task.features": True})
    with pytest.raises(ConfigError, match=r"head 'near' is left out.*Set \[task\]"):
        api.finetune(first, test, on, task="answer", **values)
    assert not on.exists()
    api.finetune(first, test, on, task="answer", **{**values, "task.features": True, "train.lr": 1e-9})
    before, after = (wordloom.load(run).model.heads["near"].state_dict() for run in (first, on))
    assert all(torch.allclose(after[name], value, atol=1e-6) for name, value in before.items())
    assert wordloom.load(on).predict([("where?", "Anna lives in rome.")])


def test_an_index_is_asked_as_a_folder_is(trained: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    run, _ = trained
    table = tmp_path / "docs.jsonl"
    table.write_text('{"_id": "x", "text": "Anna lives in rome."}\n{"_id": "y", "text": "Dora lives in oslo."}\n')
    api.index(table, tmp_path / "index", quiet=True)
    found = api.answer(run, "where is anna?", tmp_path / "index", answers=1)
    assert found.answers[0].document == "x" and found.passages >= 1


def test_every_question_of_the_public_sets_is_read_and_scored() -> None:
    folder = shared_data()
    if folder is None:
        pytest.skip("the public data sets are not there: set WORDLOOM_DATA")
    rules = {}
    for name in ("subjqa/dev.json.gz", "cmrc_drcd_zh/dev.json.gz", "jaquad/dev.json.gz"):
        records = read_questions(str(folder / "qa" / name))
        task = object.__new__(Reader)  # scores need no model
        task.config = AnswerConfig()
        rules[name] = task.rule(records).name
        right = task.tallies(records, task.gold(records))
        assert all(t.value == 1 for t in right.values()) and len(right["f1"].counts) == len(records)
    assert list(rules.values()) == ["words", "cmrc", "characters"]


def test_what_a_start_has_no_place_for_does_not_cost_the_old_run(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, test = trained
    shutil.copytree(run, tmp_path / "run")
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="no segments"):
        api.finetune("roberta-tiny", test, tmp_path / "run", task="answer", overwrite=True, quiet=True,
                     **{**TINY, "task.match": True})  # fmt: skip
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before
