"""The Python functions: the same path as the command line, in memory and from files; numbers that repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

import tiny
import wordloom
from cli_runs import Runs
from wordloom import api
from wordloom.api.labelled import descriptions
from wordloom.data.examples import read_examples
from wordloom.errors import BundleError, ConfigError, DataError


def scores_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "scores.json").read_text())["scores"]


def test_public_names() -> None:
    assert set(wordloom.__all__) <= set(api.__all__)
    assert all(callable(getattr(api, name)) for name in api.__all__) and wordloom.load is api.load
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = wordloom.lode


def test_load_predict_evaluate_save(runs: Runs, tmp_path: Path) -> None:
    model = wordloom.load(runs.folder / "finetuned")
    texts, labels, _ = tiny.labelled(30, seed=3)
    predicted, probabilities = model.predict(texts), model.predict_proba(texts)
    assert probabilities.shape == (30, 2) and set(predicted) <= set(model.labels)
    assert [model.labels[i] for i in probabilities.argmax(1)] == predicted
    path = tiny.write_labelled(tmp_path / "test.jsonl", 30, seed=3)
    scores = model.evaluate(path)
    assert scores["accuracy"].value == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    assert scores["macro_f1"].value == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-12)
    assert scores["mcc"].value == pytest.approx(matthews_corrcoef(labels, predicted), abs=1e-12)
    assert scores["accuracy"].low <= scores["accuracy"].value <= scores["accuracy"].high
    model.save(tmp_path / "copy")
    np.testing.assert_array_equal(wordloom.load(tmp_path / "copy").predict_proba(texts), probabilities)
    with pytest.raises(BundleError, match="already exists"):
        model.save(tmp_path / "copy")


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_labels_in_memory_are_those_of_a_file(runs: Runs, tmp_path: Path, kind: str) -> None:
    """One path: the same examples from a file and from lists give the same model."""
    texts, labels, _ = tiny.labelled(24, kind)
    path = tiny.write_labelled(tmp_path / "a.jsonl", 24, kind)
    values = {**tiny.TRAIN, "task.kind": kind, "baseline": False, "quiet": True}
    a = api.finetune(runs.folder / "pretrained", (texts, labels), tmp_path / "memory", **values)
    b = api.finetune(runs.folder / "pretrained", path, tmp_path / "file", **values)
    assert a.predictor is not None and b.predictor is not None
    np.testing.assert_array_equal(a.predictor.predict_proba(texts), b.predictor.predict_proba(texts))
    assert scores_of(a.path) == scores_of(b.path)


def test_two_pretrainings_with_one_seed_are_the_same_files(runs: Runs, tmp_path: Path) -> None:
    """From the raw text on: tokenizer, store, order, masks, weights."""
    for name in ("a", "b"):
        api.pretrain(runs.corpus, tmp_path / name, preset="bert-tiny", quiet=True, **tiny.TINY)
    a, b = (tiny.fingerprint(tmp_path / name) for name in ("a", "b"))
    for name in ("bundle/model.safetensors", "bundle/tokenizer.json", "store/train/tokens.bin", "scores.json"):
        assert a.get(name) == b.get(name) and (name in a or "store" in name), name
    assert {n: h for n, h in a.items() if n.startswith("store/") and not n.endswith(".json")} == {
        n: h for n, h in b.items() if n.startswith("store/") and not n.endswith(".json")
    }
    api.pretrain(runs.corpus, tmp_path / "c", preset="bert-tiny", quiet=True, seed=1, **tiny.TINY)
    assert tiny.fingerprint(tmp_path / "c")["bundle/model.safetensors"] != a["bundle/model.safetensors"]


def test_held_out_loss_does_not_depend_on_the_batch(runs: Runs, tmp_path: Path) -> None:
    """Nor does its interval: with a learning rate of nothing, runs differ in nothing but the batch."""
    found = []
    for batch in (2, 6):
        values = {**tiny.TINY, "train.batch": batch, "train.lr": 1e-12, "corpus.valid_fraction": 0.3}
        api.pretrain(runs.corpus, tmp_path / str(batch), preset="bert-tiny", quiet=True, **values)
        found.append(scores_of(tmp_path / str(batch)))
    for name, score in found[0].items():
        for part in ("value", "low", "high"):
            assert found[1][name][part] == pytest.approx(score[part], rel=1e-5), name


def test_pretraining_helps_where_it_must(runs: Runs, tmp_path: Path) -> None:
    """A finished run is a start: its body is in the fine-tuned model, and other weights are not."""
    from wordloom.model.interop import load_bundle

    values = {**tiny.TRAIN, "train.freeze": "body", "baseline": False, "quiet": True}
    api.finetune(runs.folder / "pretrained", runs.labelled, tmp_path / "run", **values)
    before, after = (load_bundle(p / "bundle").model.body for p in (runs.folder / "pretrained", tmp_path / "run"))
    for (name, a), b in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


def test_a_resumed_finished_run_gives_the_same_result(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("pretrained", tmp_path)
    before = tiny.fingerprint(folder / "bundle")["model.safetensors"], scores_of(folder)
    result = api.pretrain(None, folder, recipe=folder / "recipe.toml", resume=True, quiet=True)
    assert (tiny.fingerprint(folder / "bundle")["model.safetensors"], scores_of(folder)) == before
    assert result.path == folder


def test_compare_draws_the_same_examples_for_every_arm(runs: Runs, tmp_path: Path) -> None:
    test = tiny.write_labelled(tmp_path / "test.csv", 20, seed=8)
    values = {**tiny.TRAIN, "data.train": str(runs.labelled), "data.test": str(test), "compare.labels": [12, "all"],
              "compare.seeds": [0, 1], "model.start": str(runs.folder / "pretrained"),
              "task.name": "classify"}  # fmt: skip
    result = api.run_recipe(wordloom.config.Recipe(), tmp_path / "run", quiet=True, **values)
    rows = result.scores["gain"]["rows"]
    assert [row["labels"] for row in rows] == [12, 24] and set(rows[0]["arms"]) == {"pretrained", "random", "tfidf"}
    for labels in (12, "all"):
        for seed in (0, 1):
            arms = [json.loads((tmp_path / f"run/arms/{arm}-{labels}-{seed}/manifest.json").read_text())
                    for arm in ("pretrained", "random")]  # fmt: skip
            assert arms[0]["hashes"]["examples"] == arms[1]["hashes"]["examples"]
    accuracy = rows[0]["arms"]["pretrained"]["value"]
    by_hand = []
    for seed in (0, 1):
        lines = (tmp_path / f"run/arms/pretrained-12-{seed}/predictions.jsonl").read_text().splitlines()
        by_hand += [row["gold"] == row["predicted"] for row in map(json.loads, lines)]
    assert len(by_hand) == 40 and accuracy == pytest.approx(np.mean(by_hand))


def test_compare_sets_another_start_beside(runs: Runs, tmp_path: Path) -> None:
    """The gain counted by hand from both arms' answers; a start that is not there is refused before anything runs."""
    test = tiny.write_labelled(tmp_path / "test.csv", 20, seed=8)
    values = {**tiny.TRAIN, "data.train": str(runs.labelled), "data.test": str(test), "compare.seeds": [0, 1],
              "model.start": str(runs.folder / "finetuned"), "compare.beside": str(runs.folder / "pretrained"),
              "task.name": "classify"}  # fmt: skip
    result = api.run_recipe(wordloom.config.Recipe(), tmp_path / "run", quiet=True, **values)
    (row,) = result.scores["gain"]["rows"]
    right = {}
    for arm in ("pretrained", "beside"):
        lines = [(tmp_path / f"run/arms/{arm}-all-{s}/predictions.jsonl").read_text().splitlines() for s in (0, 1)]
        right[arm] = [row["gold"] == row["predicted"] for seed in lines for row in map(json.loads, seed)]
    by_hand = np.mean(right["pretrained"]) - np.mean(right["beside"])
    assert row["gain_over_beside"]["value"] == pytest.approx(by_hand)
    for arm, start in (("pretrained", "finetuned"), ("beside", "pretrained")):
        manifest = json.loads((tmp_path / f"run/arms/{arm}-all-0/manifest.json").read_text())
        assert manifest["parent"] == str(runs.folder / start)
    assert any(f"against {runs.folder / 'pretrained'}" in note for note in result.notes)
    assert f"Gain over {runs.folder / 'pretrained'}" in (tmp_path / "run/report.html").read_text()
    with pytest.raises(ConfigError, match="no such folder and no such preset"):
        api.run_recipe(
            wordloom.config.Recipe(), tmp_path / "no", quiet=True, **{**values, "compare.beside": "runs/gone"}
        )
    assert not (tmp_path / "no").exists()


def test_scores_are_those_of_the_saved_model(runs: Runs, tmp_path: Path) -> None:
    """What scores.json says is what the folder answers: nothing is measured before the last change."""
    test = tiny.write_labelled(tmp_path / "test.csv", 20, seed=8)
    values = {**tiny.TRAIN, "train.lr": 3e-3, "train.steps": 30, "train.average": True}
    api.finetune(runs.folder / "pretrained", runs.labelled, tmp_path / "run", test=str(test), quiet=True, **values)
    again = {k: s.value for k, s in api.load(tmp_path / "run").evaluate(test).items()}
    assert again == pytest.approx({k: s["value"] for k, s in scores_of(tmp_path / "run").items()}, abs=1e-9)


def test_bad_calls(runs: Runs, tmp_path: Path) -> None:
    for call, error, message in (
        (lambda: api.pretrain(None, tmp_path / "a"), ConfigError, r"needs a table \[corpus\]"),
        (lambda: api.pretrain(runs.corpus, tmp_path / "a", stesp=3), ConfigError, "did you mean 'steps'"),
        (lambda: api.finetune("bert-tiny", (["a"], []), tmp_path / "a"), DataError, "1 texts and 0 labels"),
        (lambda: api.finetune("bert-tinny", runs.labelled, tmp_path / "a"), ConfigError, "no such preset"),
        (lambda: api.load(tmp_path / "gone"), BundleError, "no such run or folder"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert not (tmp_path / "a").exists()


def test_files_read_alike_share_a_line(tmp_path: Path) -> None:
    train, test = tiny.write_labelled(tmp_path / "a.csv", 24), tiny.write_labelled(tmp_path / "b.csv", 24, seed=1)
    other = tmp_path / "c.csv"
    other.write_text("body,stars\nso good,pos\nso bad,neg\nbad,neg\n")
    a, b, c = (read_examples(str(path)) for path in (train, test, other))
    lines = descriptions((a, None, b, c))
    assert len(lines) == 2 and lines[0].startswith(f"{train}, {test}: ") and lines[1] == c.columns
    assert len(a.columns) - len(str(train)) < 140 and "--text, --label, --kind (text=...)" in a.columns


class _SeenError(Exception):
    """Holds the texts from which a tokenizer would be learned."""


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_a_preset_s_tokenizer_reads_the_training_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """Not the part set aside for validation, nor labels that --labels leaves out."""
    labelled = (f"so w{i}\t{'pos' if i % 2 else 'neg'}\n" if task == "classify" else f"w{i} O\n\n" for i in range(20))
    path = tmp_path / "data.tsv"
    path.write_text(("text\tlabel\n" if task == "classify" else "") + "".join(labelled))

    def stop(_model: str, _recipe: object, texts: list[str], *_sources: object) -> None:
        raise _SeenError(*texts)

    module = "finetuning" if task == "classify" else "solving"
    monkeypatch.setattr(f"wordloom.api.{module}.open_start", stop)
    counts = []
    for settings in ({}, {"data.labels": 10}):
        with pytest.raises(_SeenError) as seen:
            api.finetune("bert-tiny", path, tmp_path / "run", task=task, **{"data.valid_fraction": 0.5, **settings})
        counts.append(len(set(seen.value.args)))
    assert max(counts) <= 10 and 0 < counts[1] < counts[0]
