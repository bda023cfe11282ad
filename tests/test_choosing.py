"""``choose vectors`` and ``finetune`` on features, end to end on a tiny corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import wordloom
from cli_runs import Said, command
from wordloom import api
from wordloom.api import candidates, choosing
from wordloom.api.clock import measure_bundle, sample
from wordloom.disk import write_json
from wordloom.errors import BundleError, ConfigError, DataError, WordloomError
from wordloom.infer.linear import LinearPredictor
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats import open_vectors, save_text

VECTORS = {"vectors.dimension": 16, "vectors.epochs": 2, "vectors.threads": 1, "vectors.buckets": 200}
BERT = {**tiny.MODEL, **tiny.TOKENIZER, "model.preset": "bert-tiny", "train.batch": 4, "train.length": 32,
        "train.threads": 1, "finetune.steps": 2, "finetune.batch": 4, "finetune.length": 32,
        "finetune.threads": 1}  # fmt: skip
TIMED = {"tf-idf": 40.0, "skip-gram": 10.0, "frozen": 900.0, "finetuned": 950.0, "imported": 12.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choosing")
    tiny.write_labelled(folder / "train.csv", 60)
    tiny.write_labelled(folder / "test.csv", 40, seed=1)
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    save_text(Vectors(["the", "film", "good", "bad", "fine", "poor", "great"], rows), folder / "given.txt")
    return folder


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times by name: a test of the program must not depend on the machine's."""
    monkeypatch.setattr(
        choosing,
        "measure_bundle",
        lambda bundle, texts: {"microseconds": TIMED[bundle.parent.name], "alone": 99.0, "memory": None},
    )


def choose(files: Path, out: Path, *names: str, **more: Any) -> api.Result:
    settings = {
        "test": str(files / "test.csv"),
        "candidates": list(names),
        "minutes": 0.01,
        "quiet": True,
        **VECTORS,
        **BERT,
    }
    return wordloom.choose("vectors", files / "train.csv", out, **{**settings, **more})


@pytest.mark.usefixtures("timed")
def test_end_to_end_stopped_and_resumed(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("tf-idf", "skip-gram", "imported", "frozen", "finetuned")
    given = str(files / "given.txt")
    real = candidates.finetune_parts

    def stopped(*args: Any, **how: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(candidates, "finetune_parts", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"resume with: wordloom choose vectors .* --resume"):
        choose(files, tmp_path / "run", *names, **{"choose.vectors": given})
    before = {name: tiny.fingerprint(tmp_path / "run" / "candidates" / name) for name in names[:4]}
    pretrained = tiny.fingerprint(tmp_path / "run" / "pretrained")
    monkeypatch.setattr(candidates, "finetune_parts", real)
    capsys.readouterr()
    result = wordloom.choose("vectors", None, tmp_path / "run", resume=True)
    assert capsys.readouterr().out.count("finished before, kept") == 4
    assert before == {name: tiny.fingerprint(tmp_path / "run" / "candidates" / name) for name in names[:4]}
    assert pretrained == tiny.fingerprint(tmp_path / "run" / "pretrained")

    found = result.scores["choose"]
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == set(names) and not found["left_out"]
    for name in names:
        scores = json.loads((tmp_path / "run" / "candidates" / name / "scores.json").read_text())
        assert rows[name]["score"]["value"] == scores["scores"]["accuracy"]["value"]
        assert rows[name]["size"] > 0 and rows[name]["microseconds"] == TIMED[name]
        opened = wordloom.load(tmp_path / "run" / "candidates" / name)
        assert opened.evaluate(files / "test.csv")["accuracy"].value == pytest.approx(
            scores["scores"]["accuracy"]["value"]
        )
    assert rows["imported"]["pretraining"] is None and rows["tf-idf"]["pretraining"] == 0
    assert rows["frozen"]["pretraining"] == rows["finetuned"]["pretraining"] > 0
    assert rows["skip-gram"]["pretraining"] > 0
    chosen = wordloom.load(tmp_path / "run")
    kept = wordloom.load(tmp_path / "run" / "candidates" / found["recommended"])
    np.testing.assert_array_equal(
        chosen.predict_proba(["the film was good"]), kept.predict_proba(["the film was good"])
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Which one?" in page and found["advice"][0] in page and "recommended" in page
    assert "Take " in result.summary() and "What would change this advice" in result.summary()


@pytest.mark.usefixtures("timed")
def test_what_was_trained_on_is_not_judged(files: Path, tmp_path: Path) -> None:
    """Test texts that occur in train would be won by learning by heart."""
    rows = (files / "train.csv").read_text().splitlines()[1:6]
    (tmp_path / "test.csv").write_text((files / "test.csv").read_text() + "\n".join(rows) + "\n")
    result = choose(files, tmp_path / "run", "tf-idf", "skip-gram", test=str(tmp_path / "test.csv"))
    said = result.scores["choose"]["notes"]
    kept = [n for n in said if "occur in the training texts and are left out" in n]
    assert kept and result.scores["examples"] == 45 - int(kept[0].split()[0])
    everything = tmp_path / "same.csv"
    everything.write_text((files / "train.csv").read_text().splitlines()[0] + "\n" + rows[0] + "\n")
    with (
        pytest.raises(DataError, match="every test text occurs")
        if int(kept[0].split()[0]) == 5
        else pytest.raises(WordloomError)
    ):
        choose(files, tmp_path / "run2", "tf-idf", "skip-gram", test=str(everything))


@pytest.mark.usefixtures("timed")
def test_a_candidate_that_cannot_be_had_is_left_out(files: Path, tmp_path: Path) -> None:
    result = choose(files, tmp_path / "run", "tf-idf", "skip-gram", "frozen", "cbow", **{"vectors.min_count": 5000},
                    )  # fmt: skip
    left_out = result.scores["choose"]["left_out"]
    assert set(left_out) == {"skip-gram", "CBOW"} and "5000" in left_out["CBOW"]
    assert "left out: CBOW" in result.summary()


@pytest.mark.usefixtures("timed")
def test_epochs_are_fitted_to_the_minutes(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a pass that is thrown away: between 1 and 30."""
    settings = {k: v for k, v in VECTORS.items() if k != "vectors.epochs"}
    for minutes, expected in ((1e-6, 1), (1e6, candidates.MOST_EPOCHS)):
        out = tmp_path / f"run{expected}"
        wordloom.choose("vectors", files / "train.csv", out, test=str(files / "test.csv"), quiet=True, minutes=minutes,
                        candidates=["tf-idf", "skip-gram"], **settings)  # fmt: skip
        model = json.loads((out / "candidates" / "skip-gram" / "manifest.json").read_text())["model"]
        assert model["epochs"] == expected
        assert not (out / "throw-away").exists() and not (out / "candidates" / "skip-gram" / "word2vec").exists()


def test_the_clock_measures_a_bundle(files: Path, tmp_path: Path) -> None:
    run = api.finetune("tf-idf", files / "train.csv", tmp_path / "run", quiet=True).path
    write_json(tmp_path / "texts.json", sample(["the film was good"] * 1000, None))
    found = measure_bundle(run / "bundle", tmp_path / "texts.json")
    assert 0 < found["microseconds"] <= found["alone"] and (found["memory"] is None or found["memory"] > 10**7)
    assert sample(list("abc"), list("xyz")) == {"texts": ["a", "b", "c"], "pairs": ["x", "y", "z"]}
    spread = sample([str(i) for i in range(1000)], None)["texts"]
    assert len(set(spread)) == 256 and int(spread[-1]) > 990


# --- finetune on features --------------------------------------------------------------------------------------------


def test_finetune_word2vec(files: Path, tmp_path: Path) -> None:
    """An ordinary run: TF-IDF beside it, a bundle that opens, its vectors a start of their own."""
    result = api.finetune(
        "word2vec", files / "train.csv", tmp_path / "run", test=str(files / "test.csv"), quiet=True, **VECTORS
    )
    assert result.scores["baseline"]["scores"]["accuracy"] and "calibration" in result.scores
    opened = wordloom.load(tmp_path / "run")
    assert isinstance(opened, LinearPredictor) and opened.predict(["the film was good."])
    inside = open_vectors(tmp_path / "run" / "bundle" / "vectors")
    assert inside.matrix.dtype == np.float32 and inside.dimension == 16
    again = api.finetune(tmp_path / "run" / "bundle" / "vectors", files / "train.csv", tmp_path / "second", quiet=True)
    assert again.predictor is not None
    lines = list(api.predict_lines(tmp_path / "run", str(files / "test.csv"), as_json=True))
    assert len(lines) == 40 and set(json.loads(lines[0])["probabilities"]) == {"neg", "pos"}
    with pytest.raises(BundleError, match="no weights to start from"):
        api.finetune(tmp_path / "run", files / "train.csv", tmp_path / "third", quiet=True)
    kept = api.finetune("word2vec", files / "train.csv", tmp_path / "run", resume=True, quiet=True)
    assert kept.notes[0].startswith("finished before")


def test_its_recipe_does_it_again(files: Path, tmp_path: Path) -> None:
    """On [corpus] and [vectors], one thread: the same answers."""
    tiny.write_corpus(tmp_path / "corpus.txt")
    settings = {**VECTORS, "corpus.paths": [str(tmp_path / "corpus.txt")]}
    first = api.finetune("word2vec", files / "train.csv", tmp_path / "a", quiet=True, baseline=False, **settings)
    again = api.run_recipe(tmp_path / "a" / "recipe.toml", tmp_path / "b", quiet=True)
    assert first.predictor is not None and again.predictor is not None
    texts = ["the film was good", "an actor seemed dull"]
    np.testing.assert_array_equal(first.predictor.predict_proba(texts), again.predictor.predict_proba(texts))


def test_vectors_beside_a_bert_run(files: Path, runs: Any, tmp_path: Path) -> None:
    """A paired test across families: they answer the same question."""
    api.finetune(files / "given.txt", runs.labelled, tmp_path / "run", quiet=True, pair=None)
    report = api.evaluate([tmp_path / "run", runs.folder / "finetuned"], runs.labelled)
    assert report.test is not None and len(report.scores) == 2


def test_the_pretext_of_kinds(files: Path, tmp_path: Path) -> None:
    for kind in ("multi", "regression"):
        tiny.write_labelled(tmp_path / f"{kind}.jsonl", 40, kind)
        result = api.finetune(files / "given.txt", tmp_path / f"{kind}.jsonl", tmp_path / kind, kind=kind, quiet=True)
        assert result.scores["paired"]["verdict"]
    tiny.write_labelled(tmp_path / "pairs.jsonl", 40, pairs=True)
    api.finetune(files / "given.txt", tmp_path / "pairs.jsonl", tmp_path / "pairs", pair="second", quiet=True)
    assert wordloom.load(tmp_path / "pairs").predict(["good film"], ["bad film"])


def test_sklearn_takes_vectors(files: Path) -> None:
    from wordloom.sklearn import TextClassifier

    texts, labels, _ = tiny.labelled(40)
    model = TextClassifier(str(files / "given.txt")).fit(texts, labels)
    assert model.score(texts, labels) > 0.5 and model.predict_proba(texts[:3]).shape == (3, 2)


BAD: dict[str, tuple[list[Any], str]] = {
    "nothing to choose": (["choose", "tea", "TRAIN", "-o", "OUT"], "choose 'tea'|choose vectors"),
    "one candidate": (
        ["choose", "vectors", "TRAIN", "-o", "OUT", "--set", 'choose.candidates=["cbow"]'],
        "one alone is no choice",
    ),
    "an unknown candidate": (
        ["choose", "vectors", "TRAIN", "-o", "OUT", "--set", 'choose.candidates=["glove"]'],
        "choose.candidates",
    ),
    "vectors that are none": (["choose", "vectors", "TRAIN", "-o", "OUT", "--vectors", "TRAIN"], "train.csv"),
    "a corpus that is gone": (["choose", "vectors", "TRAIN", "-o", "OUT", "--corpus", "gone.txt"], "gone.txt"),
    "a start that is gone": (["choose", "vectors", "TRAIN", "-o", "OUT", "--start", "gone"], "no such folder"),
    "no minutes": (["choose", "vectors", "TRAIN", "-o", "OUT", "--minutes", "0"], "minutes"),
    "steps of its own": (
        ["choose", "vectors", "TRAIN", "-o", "OUT", "--set", "train.steps=5"],
        "train.steps|choose.minutes",
    ),
    "no data": (["choose", "vectors", "-o", "OUT"], "[data]"),
    "resume of nothing": (["choose", "vectors", "-o", "OUT", "--resume"], "no such run"),
    "more labels than there are": (
        ["choose", "vectors", "TRAIN", "-o", "OUT", "--labels", "999"],
        "999 examples asked",
    ),
    "seeds of a linear classifier": (
        ["finetune", "word2vec", "TRAIN", "-o", "OUT", "--seeds", "3"],
        "same for every seed",
    ),
    "a batch of a linear classifier": (
        ["finetune", "tf-idf", "TRAIN", "-o", "OUT", "--batch", "3"],
        "train.batch says nothing",
    ),
    "training of given vectors": (["finetune", "GIVEN", "TRAIN", "-o", "OUT", "--epochs", "3"], "not trained here"),
    "words too rare": (["finetune", "word2vec", "TRAIN", "-o", "OUT", "--set", "vectors.min_count=999"], "min_count"),
    "vectors of another kind": (["finetune", "TRAIN", "TRAIN", "-o", "OUT"], "no file of word vectors"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, words = BAD[name]
    places = {"TRAIN": files / "train.csv", "GIVEN": files / "given.txt", "OUT": tmp_path / "out"}
    run: Callable[..., Said] = lambda *a: command(monkeypatch, capfd, *a)  # noqa: E731
    said = run(*(places.get(a, a) for a in arguments))
    assert said.code == 2, (said.out, said.err)
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].endswith((".", "?")), said.err
    for word in words.split("|"):
        assert word in said.err, said.err


def test_two_recipes_at_once_are_refused(files: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[choose]\n[data]\ntrain = "{files / "train.csv"}"\n[compare]\nseeds = [0]\n')
    with pytest.raises(ConfigError, match=r"\[choose\] and \[compare\]"):
        api.run_recipe(recipe, tmp_path / "out")
