"""When a classifier answers: at a stated precision, not below a probability; and labels by description alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

import tiny
from cli_runs import Runs, command
from wordloom import api
from wordloom.config import RetrieveConfig, TokenizerConfig
from wordloom.errors import ConfigError, DataError
from wordloom.infer.abstaining import selective_scores, withheld
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.model.architecture import Architecture
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.tasks.classify.decisions import Threshold, share
from wordloom.tasks.retrieve.task import Retrieve
from wordloom.text.tokenizer import Tokenizer

# steps: the start is barely pre-trained, and its positions still stand before its words
VALUES: dict[str, Any] = {**tiny.TRAIN, "train.steps": 120, "train.lr": 3e-3, "baseline": False, "quiet": True}


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95, 1.0])
def test_the_threshold_is_the_least_that_is_precise_enough(wanted: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        gold = rng.random(60) < 0.4
        p = np.floor(100 * (0.3 * gold + rng.random(60) * 0.7)) / 100  # ties among them
        precision, recall, values = precision_recall_curve(gold, p)
        found = Threshold.fit("spam", p, gold, wanted)
        answers = p >= found.value
        assert (found.given, found.right) == (answers.sum(), (answers & gold).sum())
        good = precision[:-1] >= wanted
        if good.any():
            assert recall_score(gold, answers) == pytest.approx(recall[:-1][good].max())
            assert precision_score(gold, answers) >= wanted and found.value == values[good].min()
        else:
            assert precision_score(gold, answers) == pytest.approx(precision[:-1].max())


def test_decisions_and_exact_intervals() -> None:
    p = np.array([[0.6, 0.3, 0.1], [0.85, 0.1, 0.05], [0.2, 0.3, 0.5]])
    made = Threshold("ham", 0.8, 0.99, 10, 10)
    labels = ("ham", "spam", "other")
    assert made.decide(p, labels).tolist() == [1, 0, 2]  # 0.6 is the likeliest, and not enough
    assert Threshold.from_json(json.loads(json.dumps(made.to_json()))) == made
    scores = made.scores(np.array([0, 0, 2]), p, labels)
    assert (scores["precision"].value, scores["recall"].value) == (1.0, 0.5)
    assert "0.8, where 10 of 10 validation answers were right; asked for: 0.99" in scores["precision"].note
    for n in (1, 30, 300):  # n of n right: the probability p with p^n = 0.025
        assert share(n, n, "").low == pytest.approx(0.025 ** (1 / n)) and share(n, n, "").high == 1.0
    assert (share(0, 0, "").low, share(0, 0, "").high) == (0.0, 1.0)


def test_withheld_answers_and_what_is_left() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.75, 0.25], [0.2, 0.8]])
    answers = withheld(["a", "b", "a", "b"], p, ("a", "b"), 0.7)
    assert answers == ["a", None, "a", "b"]
    found = selective_scores(["a", "a", "b", "b"], answers, 0.7)
    assert found["coverage"].value == 0.75 and found["answered_accuracy"].value == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def careful(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("careful")
    train, test = (tiny.write_labelled(folder / f"{n}.jsonl", 60, seed=s) for n, s in (("train", 1), ("test", 2)))
    values: dict[str, Any] = {"task.positive": "pos", "task.precision": 0.9, "valid_fraction": 0.3, "test": str(test)}
    api.finetune(runs.folder / "pretrained", train, folder / "run", **VALUES, **values)
    return folder


def test_a_run_states_its_threshold_and_keeps_to_it(careful: Path) -> None:
    scores = json.loads((careful / "run" / "scores.json").read_text())
    task = json.loads((careful / "run" / "bundle" / "wordloom.json").read_text())["extra"]["task"]
    kept = task["threshold"]
    assert (kept["label"], kept["wanted"]) == ("pos", 0.9) and kept["right"] >= 0.9 * kept["given"] > 0
    rows = [json.loads(line) for line in (careful / "run" / "predictions.jsonl").read_text().splitlines()]
    predictor = api.load(careful / "run")
    index = predictor.labels.index("pos")
    for row in rows:
        assert (row["predicted"] == "pos") == (row["probabilities"][index] >= round(kept["value"], 6))
    gold, said = ([row[key] for row in rows] for key in ("gold", "predicted"))
    assert scores["scores"]["precision"]["value"] == pytest.approx(precision_score(gold, said, pos_label="pos"))
    assert scores["scores"]["recall"]["value"] == pytest.approx(recall_score(gold, said, pos_label="pos"))
    assert np.sum(scores["confusion"]["matrix"], axis=0)[index] == said.count("pos")
    texts = [json.loads(line)["text"] for line in (careful / "test.jsonl").read_text().splitlines()]
    assert predictor.predict(texts) == said


def test_answers_are_withheld_on_the_command_line(
    careful: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run, test = str(careful / "run"), str(careful / "test.jsonl")
    predictor = api.load(run)
    texts = [json.loads(line)["text"] for line in (careful / "test.jsonl").read_text().splitlines()]
    p = predictor.predict_proba(texts)
    below = float(np.median(p.max(1)))
    wanted = withheld(predictor.predict(texts), p, predictor.labels, below)
    assert predictor.predict(texts, abstain=below) == wanted and None in wanted and wanted.count(None) < len(texts)
    shown = command(monkeypatch, capfd, "predict", run, test, "--json", "--abstain", below).out.splitlines()
    assert [json.loads(line)["prediction"] for line in shown] == wanted
    plain = list(api.predict_lines(run, test, abstain=below))
    assert [line.split("\t")[0] for line in plain] == [w or "(none)" for w in wanted]
    found = json.loads(command(monkeypatch, capfd, "evaluate", run, test, "--json", "--abstain", below).out)["models"][
        run
    ]
    assert found["coverage"]["value"] == pytest.approx(1 - wanted.count(None) / len(texts))
    for value in (1.5, 0):
        with pytest.raises(ConfigError, match="no probability between 0 and 1"):
            predictor.predict(texts, abstain=value)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"task.precision": 0.9}, "positive and precision belong together"),
        ({"task.precision": 0.9, "task.positive": "spam"}, "'spam' does not occur"),
        ({"task.precision": 0.9, "task.positive": "pos", "task.kind": "multi"}, "of one label each"),
    ],
)
def test_thresholds_that_make_no_sense(runs: Runs, tmp_path: Path, values: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        api.finetune(runs.folder / "pretrained", runs.labelled, tmp_path / "run", **VALUES, **values)


# --- labels by description -------------------------------------------------------------------------------------------

WORDS = {"ball": (1, 0), "goal": (0.9, 0.1), "sport": (0.8, 0.1), "bank": (0, 1), "money": (0.1, 0.9), "coin": (0, 0.7)}


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text(f"{len(WORDS)} 2\n" + "".join(f"{w} {x} {y}\n" for w, (x, y) in WORDS.items()), encoding="utf-8")
    return path


def test_the_nearest_description(
    vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    described = {"sports": "sport", "business": "money bank"}
    found = api.zero_shot(vectors, ["ball goal", "coin", "unheard"], described)
    assert [f.label for f in found] == ["sports", "business", None]
    wanted = np.dot((0.8, 0.1), (0, 1)) / np.hypot(0.8, 0.1)
    assert found[1].cosines[0] == pytest.approx(wanted, abs=1e-6) and found[2].cosines.tolist() == [0, 0]
    (tmp_path / "a.txt").write_text("ball goal\ncoin\n", encoding="utf-8")
    flags = ["--zero-shot", "sports=sport", "--zero-shot", "business=money bank"]
    shown = command(monkeypatch, capfd, "predict", vectors, tmp_path / "a.txt", "--json", *flags).out.splitlines()
    assert [json.loads(line)["prediction"] for line in shown] == ["sports", "business"]
    assert next(api.zero_shot_lines(vectors, str(tmp_path / "a.txt"), flags[1::2])).startswith("sports\t")


def test_an_encoder_of_texts_is_asked(tmp_path: Path) -> None:
    texts = tiny.documents(20)
    tokenizer = Tokenizer.train(texts, TokenizerConfig(vocab_size=150))
    task = Retrieve(RetrieveConfig(query_prefix="about "), tokenizer, length=32)
    torch.manual_seed(0)
    arch = Architecture(vocab_size=tokenizer.vocab_size, width=16, layers=1, heads=2, ffn_width=32, init_std=0.2)
    model = Model(Transformer(arch), task.heads(arch))
    TaskPredictor(model, tokenizer, task).save(tmp_path / "bundle")
    described = {"a": "the film was good", "b": "awful music"}
    found = api.zero_shot(tmp_path / "bundle", [*texts[:5], " "], described)
    wanted = (task.embed(model, texts[:5]) @ task.embed(model, list(described.values()), "query").T).numpy()
    assert np.stack([f.cosines for f in found[:5]]) == pytest.approx(wanted, abs=1e-6) and found[5].label is None
    assert [f.label for f in found[:5]] == [list(described)[i] for i in wanted.argmax(1)]


def test_what_zero_shot_refuses(runs: Runs, vectors: Path) -> None:
    with pytest.raises(ConfigError, match="is no encoder of texts"):
        api.zero_shot(runs.folder / "finetuned", ["a"], {"a": "x", "b": "y"})
    with pytest.raises(ConfigError, match="no word of the description of 'b'"):
        api.zero_shot(vectors, ["ball"], {"a": "ball", "b": "unheard"})
    with pytest.raises(ConfigError, match="fewer than two labels"):
        api.zero_shot(vectors, ["ball"], {"a": "ball"})
    with pytest.raises(ConfigError, match="cannot read 'sports'"):
        list(api.zero_shot_lines(vectors, "-", ["sports"]))
    with pytest.raises(DataError, match="described twice"):
        list(api.zero_shot_lines(vectors, "-", ["a=x", "a=y"]))
