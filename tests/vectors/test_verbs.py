"""The verbs of vectors from the command line: what they print, and what they say of bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from cli_runs import Said, command
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats import open_vectors, save_text, save_vectors

WORDS = ["king", "queen", "man", "woman", "apple"]
ROWS = [[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.1, 1.0, 0.0], [0.1, -1.0, 0.0], [0.0, 0.0, 1.0]]
Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return lambda *words: command(monkeypatch, capfd, *words)


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    save_text(Vectors(WORDS, np.array(ROWS, np.float32)), tmp_path / "v.txt")
    return tmp_path / "v.txt"


def test_queries(run: Run, vectors: Path) -> None:
    said = run("neighbors", vectors, "king", "-k", 2)
    assert said.code == 0 and [line.split("\t")[0] for line in said.out.splitlines()] == ["man", "queen"]
    assert float(said.out.split("\t")[1].split()[0]) == pytest.approx(1.1 / np.sqrt(2 * 1.01), abs=1e-4)
    said = run("neighbors", vectors, "king", "queen", "-k", 1, "--json")
    assert [json.loads(line)["word"] for line in said.out.splitlines()] == ["king", "queen"]
    assert run("analogy", vectors, "man", "king", "woman", "-k", 1).out.split("\t")[0] == "queen"
    assert run("analogy", vectors, "man", "king", "woman", "--method", "mul").out.split("\t")[0] == "queen"
    assert float(run("similarity", vectors, "king", "apple").out) == 0
    assert run("odd-one-out", vectors, "king", "man", "apple").out.strip() == "apple"


def test_evaluate(run: Run, vectors: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("king\tman\t9\nking\tapple\t5\nKing\tWoman\t1\nking\tpear\t1\n")
    said = run("evaluate", vectors, pairs, "--json")
    found = json.loads(said.out)
    assert said.code == 0 and found["metric"] == "spearman" and found["total"] == 4
    model = found["models"][str(vectors)]
    assert model["covered"] == 3 and model["value"] == pytest.approx(1.0)
    analogies = tmp_path / "analogies.txt"
    analogies.write_text(": royal\nman king woman queen\nwoman queen man king\n: fruit\nman king woman pear\n")
    out = run("evaluate", vectors, vectors, analogies).out
    assert "accuracy" in out and "royal" in out and "no difference" in out


def test_export_and_open_again(run: Run, vectors: Path, tmp_path: Path) -> None:
    for form in ("text", "glove", "binary", "fasttext", "gensim", "folder"):
        target = tmp_path / f"out.{form}"
        assert run("export", vectors, "--to", form, "-o", target).code == 0
        again = open_vectors(target)
        assert again.words == WORDS and (again.matrix == np.array(ROWS, np.float32)).all()


def test_an_export_replaces_a_file_only_when_asked(run: Run, vectors: Path, tmp_path: Path) -> None:
    for form in ("text", "glove", "binary", "fasttext", "gensim", "folder"):
        target = tmp_path / f"out.{form}"
        assert run("export", vectors, "--to", form, "-o", target).code == 0
        save_text(Vectors(WORDS[:3], np.array(ROWS[:3], np.float32)), tmp_path / "other.txt", overwrite=True)
        before = tiny.fingerprint(tmp_path)
        said = run("export", tmp_path / "other.txt", "--to", form, "-o", target)
        assert said.code == 2 and str(target) in said.err and "overwrite" in said.err, said.err
        assert tiny.fingerprint(tmp_path) == before
        assert run("export", tmp_path / "other.txt", "--to", form, "-o", target, "--overwrite").code == 0
        assert open_vectors(target).words == WORDS[:3]


def test_words_with_spaces_are_exported_as_each_format_can(run: Run, tmp_path: Path) -> None:
    spaced = Vectors(["new york", "a"], np.eye(2, dtype=np.float32))
    save_vectors(spaced, tmp_path / "spaced")
    for form in ("fasttext", "gensim", "folder"):
        assert run("export", tmp_path / "spaced", "--to", form, "-o", tmp_path / form).code == 0
        assert open_vectors(tmp_path / form).words == spaced.words
        said = run("export", tmp_path / "spaced", "--to", form, "-o", tmp_path / "x", "--space", "_")
        assert said.code == 2 and "keeps spaces" in said.err
    for form in ("text", "glove", "binary"):
        said = run("export", tmp_path / "spaced", "--to", form, "-o", tmp_path / form)
        assert said.code == 2 and "'new york'" in said.err and "--space _" in said.err
        assert not (tmp_path / form).exists()
        assert run("export", tmp_path / "spaced", "--to", form, "-o", tmp_path / form, "--space", "_").code == 0
        assert open_vectors(tmp_path / form).words == ["new_york", "a"]


BAD: dict[str, tuple[list[Any], str]] = {
    "no corpus": (["vectors", "-o", "OUT"], "no corpus was given"),
    "a corpus that is gone": (["vectors", "gone.txt", "-o", "OUT"], "gone.txt"),
    "no word often enough": (["vectors", "CORPUS", "-o", "OUT", "--min-count", "100000"], "min_count"),
    "an unknown objective": (["vectors", "CORPUS", "-o", "OUT", "--objective", "glove"], "vectors.objective"),
    "no dimension": (["vectors", "CORPUS", "-o", "OUT", "--dimension", "0"], "vectors.dimension|greater than 0"),
    "n-grams on a GPU": (
        ["vectors", "CORPUS", "-o", "OUT", "--device", "cuda", "--subwords"],
        "subwords are trained on the processor alone",
    ),
    "an unknown device": (["vectors", "CORPUS", "-o", "OUT", "--device", "tpu"], "vectors.device"),
    "n-grams upside down": (["vectors", "CORPUS", "-o", "OUT", "--set", "vectors.min_n=9"], "min_n 9 is more than"),
    "an unknown key": (["vectors", "CORPUS", "-o", "OUT", "--set", "vectors.windw=3"], "did you mean 'window'"),
    "a folder that is taken": (["vectors", "CORPUS", "-o", "TAKEN"], "never overwritten"),
    "resume of nothing": (["vectors", "-o", "OUT", "--resume"], "no such run"),
    "neighbors of a stranger": (["neighbors", "VECTORS", "kin"], "'kin'|king"),
    "similarity of a stranger": (["similarity", "VECTORS", "king", "pear"], "'pear'"),
    "one word out of one": (["odd-one-out", "VECTORS", "pear"], ""),
    "an unknown method": (["analogy", "VECTORS", "king", "man", "queen", "--method", "div"], "div"),
    "vectors that are gone": (["neighbors", "gone.bin", "king"], "gone.bin"),
    "vectors that are text": (["neighbors", "CORPUS", "king"], "corpus.txt"),
    "a folder without vectors": (["neighbors", "TAKEN", "king"], "no word vectors"),
    "an unknown encoding": (["neighbors", "VECTORS", "king", "--encoding", "utf-9"], "utf-9"),
    "an unknown format": (["export", "VECTORS", "--to", "glove2", "-o", "OUT"], "glove2|text, glove, binary"),
    "an export over a file": (["export", "VECTORS", "--to", "text", "-o", "CORPUS"], "corpus.txt"),
    "pairs without scores": (["evaluate", "VECTORS", "CORPUS"], "corpus.txt"),
    "three vectors": (["evaluate", "VECTORS", "VECTORS", "VECTORS", "CORPUS"], "3 vectors"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(run: Run, vectors: Path, tmp_path: Path, name: str) -> None:
    arguments, words = BAD[name]
    tiny.write_corpus(tmp_path / "corpus.txt")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    places = {"CORPUS": "corpus.txt", "VECTORS": "v.txt", "TAKEN": "taken", "OUT": "out"}
    before = tiny.fingerprint(tmp_path)
    said = run(*(tmp_path / places[a] if a in places else a for a in arguments))
    assert said.code == 2, (said.out, said.err)
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].endswith((".", "?")), said.err
    assert "Traceback" not in said.out
    for word in filter(None, words.split("|")):
        assert word in said.err, said.err
    after = tiny.fingerprint(tmp_path)
    assert {file: after.get(file) for file in before} == before
