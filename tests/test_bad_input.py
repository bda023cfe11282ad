"""Malformed recipes, bundles, runs and flags: one sentence on standard error, exit code 2, nothing touched.

Malformed corpora and labelled files are in tests/data/test_bad_data.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from cli_runs import Runs, Said, command
from wordloom.run import Run

Words = list[Any]


def refused(said: Said, before: dict[str, str], folder: Path, words: str) -> None:
    """One sentence with what, where or the cure, and every file as it was (new folders are allowed to appear)."""
    assert said.code == 2, (said.code, said.out[-500:], said.err[-500:])
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].endswith("."), said.err
    assert "Traceback" not in said.out + said.err
    for word in words.split("|"):
        assert word.lower() in said.err.lower(), (word, said.err)
    after = tiny.fingerprint(folder)
    assert {name: after.get(name) for name in before} == before, "a file was changed"


@pytest.fixture
def check(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[[str, Words], None]:
    def run(words: str, arguments: Words) -> None:
        before = tiny.fingerprint(tmp_path)
        refused(command(monkeypatch, capfd, *arguments), before, tmp_path, words)

    return run


# --- recipes: name -> (text, words of the message); CORPUS and LABELLED stand for files that are fine ---------------

OK = '[corpus]\npaths = ["CORPUS"]\n[train]\nsteps = 2\n'
RECIPES = {
    "broken TOML": (OK + "[model\n", "not a readable TOML file|a.toml"),
    "a value twice": (OK + "steps = 3\n", "not a readable TOML file"),
    "not text": (b"\xff\xfe[train]", "not a readable TOML file"),
    "empty": ("", "needs a table [corpus]"),
    "unknown key": (OK + "stepz = 3\n", "unknown key 'train.stepz'; did you mean 'steps'"),
    "unknown table": (OK + "[modell]\npreset = 'bert-tiny'\n", "unknown key 'modell'; did you mean 'model'"),
    "key of another table": (OK + "[tokenizer]\nrate = 0.1\n", "unknown key 'tokenizer.rate'|known keys"),
    "a table that is a number": ("model = 3\n" + OK, "a.toml|model"),
    "text for a number": (OK.replace("2", '"many"'), "train.steps"),
    "a negative number": (OK.replace("2", "-2"), "train.steps|greater than 0"),
    "two lengths": (OK + "epochs = 2\n", "give one of steps, epochs, minutes, not steps and epochs"),
    "a rate above one": (OK + "[objective]\nrate = 1.5\n", "objective.rate"),
    "an unknown objective": (OK + '[objective]\nname = "causall"\n', "objective.name"),
    "words and spans": (OK + "[objective]\nwhole_word = true\nspan = 3\n", "whole_word and span exclude each other"),
    "pairs not isolated": (
        OK + '[objective]\nnext_sentence = true\ndocuments = "separated"\n',
        "next-sentence pairs are always isolated",
    ),
    "unknown preset": (OK + '[model]\npreset = "bert-tinny"\n', "'bert-tinny'; did you mean 'bert-tiny'"),
    "heads do not divide": (OK + "[model]\nwidth = 30\nheads = 4\n", "width 30 is not divisible by its 4 heads"),
    "longer than the model": (OK + "length = 4096\n", "train.length 4096 is more than the 512 positions"),
    "pre-training from a folder": (OK + '[model]\nstart = "."\n', "config.json"),
    "unknown optimiser": (OK + 'optimiser = "adam"\n', "train.optimiser"),
    "no such corpus": (OK.replace("CORPUS", "CORPUS.gone"), "CORPUS.gone"),
    "corpus is a number": ("[corpus]\npaths = 3\n", "corpus.paths"),
    "no path": ("[corpus]\npaths = []\n[train]\nsteps = 2\n", "[corpus] paths"),
    "no such tokenizer": (OK + '[tokenizer]\npath = "CORPUS.gone"\n', "CORPUS.gone"),
    "data without a model": ('[data]\ntrain = "LABELLED"\n', "needs a table [model]"),
    "no such data": ('[model]\npreset = "bert-tiny"\n[data]\ntrain = "LABELLED.gone"\n', "LABELLED.gone"),
    "an empty name": (OK + '[data]\ntrain = ""\n', "no training file is named"),
    "an empty name alone": ('[model]\npreset = "bert-tiny"\n[data]\ntrain = ""\n', "error: "),
    "no such column": (
        '[model]\npreset = "bert-tiny"\n[data]\ntrain = "LABELLED"\nlabel = "lable"\n', "no column 'lable'"
    ),
    "a comparison without a test": (OK + '[data]\ntrain = "LABELLED"\n[compare]\nseeds = [0]\n', "Set data.test"),
    "both stages, no such data": (OK + '[data]\ntrain = "LABELLED.gone"\n', "LABELLED.gone"),
    "text for a list": (OK + '[data]\ntrain = "LABELLED"\ntest = "LABELLED"\n[compare]\nseeds = "all"\n',
                        "compare.seeds"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_bad_recipe(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs, name: str) -> None:
    """Refused before the run there is replaced, though --overwrite says that it may be."""
    text, words = RECIPES[name]
    path, out = tmp_path / "a.toml", runs.copy("finetuned", tmp_path)
    for stand_in, file in (("CORPUS", runs.corpus), ("LABELLED", runs.labelled)):
        words = words.replace(stand_in, str(file))
        text = text.replace(stand_in, str(file)) if isinstance(text, str) else text
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    check(words, ["run", path, "-o", out, "--overwrite"])


def test_recipe_is_not_there_or_a_folder(check: Callable[[str, Words], None], tmp_path: Path) -> None:
    check("no such recipe|b.toml", ["run", tmp_path / "b.toml", "-o", tmp_path / "out"])
    check("not a readable TOML file", ["run", tmp_path, "-o", tmp_path / "out"])
    assert not (tmp_path / "out").exists()


FLAGS = [
    ("no equals sign", ["--set", "train.lr"], "cannot read --set 'train.lr'|table.key=value"),
    ("unknown key", ["--set", "train.lrr=1"], "unknown key 'train.lrr'; did you mean 'lr'"),
    ("unknown flat key", ["--set", "stepz=1"], "unknown setting 'stepz'; did you mean 'steps'"),
    ("wrong type", ["--set", "train.lr=fast"], "train.lr"),
    ("two lengths", ["--steps", "2", "--epochs", "1"], "give one of steps, epochs, minutes"),
    ("no such recipe", ["--recipe", "gone.toml"], "no such recipe|gone.toml"),
    ("unknown preset", ["--preset", "bert-minni"], "did you mean 'bert-mini'"),
]


@pytest.mark.parametrize(("flags", "words"), [row[1:] for row in FLAGS], ids=[row[0] for row in FLAGS])
def test_bad_flag(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs, flags: Words, words: str) -> None:
    check(words, ["pretrain", runs.corpus, "-o", tmp_path / "out", *flags])
    assert not (tmp_path / "out").exists()  # nor is an empty run left in the way of the corrected command


# --- bundles ---------------------------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 0x40
    path.write_bytes(bytes(data))


BUNDLES: dict[str, tuple[Callable[[Path, Runs], object], str]] = {
    "no weights": (lambda b, _: (b / "model.safetensors").unlink(), "model.safetensors is missing"),
    "a flipped bit": (lambda b, _: flip(b / "model.safetensors"), "model.safetensors is damaged"),
    "cut weights": (
        lambda b, _: (b / "model.safetensors").write_bytes((b / "model.safetensors").read_bytes()[:-99]),
        "model.safetensors is damaged",
    ),
    "weights of another run": (
        lambda b, r: shutil.copy(r.folder / "paired/bundle/model.safetensors", b / "model.safetensors"),
        "model.safetensors is damaged",
    ),
    "no wordloom.json": (lambda b, _: (b / "wordloom.json").unlink(), "wordloom.json"),
    "junk in wordloom.json": (lambda b, _: (b / "wordloom.json").write_bytes(b"\x80junk"), "not readable as JSON"),
    "a list in wordloom.json": (lambda b, _: (b / "wordloom.json").write_text("[]"), "does not hold a JSON object"),
    "half of wordloom.json": (
        lambda b, _: edit(b / "wordloom.json", lambda v: [v.pop("architecture"), v.pop("heads")]),
        "lacks a usable architecture, heads",
    ),
    "a format of the future": (lambda b, _: edit(b / "wordloom.json", lambda v: v.update(format=99)), "format 99"),
    "an unknown head": (
        lambda b, _: edit(b / "wordloom.json", lambda v: v["heads"].update(tagger={})), "unknown head 'tagger'"
    ),
    "no head": (lambda b, _: edit(b / "wordloom.json", lambda v: v.update(heads={})), "head"),
    "another width": (
        lambda b, _: edit(b / "wordloom.json", lambda v: v["architecture"].update(width=64)), "size mismatch"
    ),
    "a width that is text": (
        lambda b, _: edit(b / "wordloom.json", lambda v: v["architecture"].update(width="wide")), "width"
    ),
    "no hashes": (lambda b, _: edit(b / "wordloom.json", lambda v: v.update(hashes={})), "lacks the hash"),
    "no task": (lambda b, _: edit(b / "wordloom.json", lambda v: v["extra"].pop("task")), "without a task"),
    "half a task": (
        lambda b, _: edit(b / "wordloom.json", lambda v: v["extra"]["task"].pop("length")), "settings are damaged"
    ),
    "another number of labels": (
        lambda b, _: edit(
            b / "wordloom.json", lambda v: v["extra"]["task"].update(labels=list("abc"), class_weights=[1] * 3)
        ),
        "(3 labels) is not the one in the weights"
    ),
    "no tokenizer": (lambda b, _: [p.unlink() for p in (b / "tokenizer.json", b / "vocab.txt")], "no tokenizer.json"),
    "junk for a tokenizer": (lambda b, _: (b / "tokenizer.json").write_bytes(b"{}"), "not a tokenizer"),
    "the tokenizer of another run": (
        lambda b, _: edit(b / "tokenizer.json", lambda v: v["normalizer"].update(lowercase=False)),
        "not the one they were trained with",
    ),
    "no config.json": (lambda b, _: (b / "config.json").unlink(), "config.json"),
    "junk in config.json": (lambda b, _: (b / "config.json").write_text("{"), "config.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLES)
def test_bad_bundle(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs, name: str) -> None:
    damage, words = BUNDLES[name]
    run = runs.copy("finetuned", tmp_path)
    damage(run / "bundle", runs)
    check(words, ["predict", run, runs.labelled, "--text", "text"])
    check(words, ["evaluate", run, runs.labelled])


def test_folders_that_are_no_model(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "empty").mkdir()
    shutil.rmtree(runs.copy("finetuned", tmp_path) / "bundle")
    fine = tiny.flags(tiny.TRAIN)
    for words, model in (
        ("no such run or folder|gone", tmp_path / "gone"),
        ("wordloom.json", tmp_path / "empty"),
        ("the run has no bundle", tmp_path / "finetuned"),
        ("without a task|Fine-tune it first", runs.folder / "pretrained"),
    ):
        check(words, ["predict", model, runs.labelled, "--text", "text"])
    for words, model in (
        ("no such folder and no such preset|gone", tmp_path / "gone"),
        ("config.json", tmp_path / "empty"),
        ("the run has no bundle", tmp_path / "finetuned"),
    ):
        check(words, ["finetune", model, runs.labelled, "-o", tmp_path / "out", *fine])
    assert not (tmp_path / "out").exists()


STARTS: dict[str, tuple[Callable[[Path, Runs], object], str]] = {
    "another model": (lambda b, _: edit(b / "config.json", lambda v: v.update(model_type="deberta")), "deberta"),
    "no weights": (lambda b, _: (b / "model.safetensors").unlink(), "model.safetensors"),
    "cut weights": (
        lambda b, _: (b / "model.safetensors").write_bytes((b / "model.safetensors").read_bytes()[:-99]), "damaged"
    ),
    "another size": (lambda b, _: edit(b / "config.json", lambda v: v.update(hidden_size=64)), "shape"),
    "a smaller vocabulary": (lambda b, _: edit(b / "config.json", lambda v: v.update(vocab_size=50)), "shape"),
    "no tokenizer": (lambda b, _: [p.unlink() for p in (b / "tokenizer.json", b / "vocab.txt")], "no tokenizer.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", STARTS)
def test_bad_start(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs, name: str) -> None:
    damage, words = STARTS[name]
    bundle = runs.copy("pretrained", tmp_path) / "bundle"
    damage(bundle, runs)
    check(words, ["finetune", bundle, runs.labelled, "-o", tmp_path / "out", *tiny.flags(tiny.TRAIN)])
    assert not (tmp_path / "out").exists()


# --- runs ------------------------------------------------------------------------------------------------------------


def pretrain(runs: Runs, out: Path, *more: Any, corpus: Path | None = None, **values: Any) -> Words:
    settings = {**tiny.TINY, **{k.replace("__", "."): v for k, v in values.items()}}
    return ["pretrain", corpus or runs.corpus, "-o", out, "--preset", "bert-tiny", *tiny.flags(settings), *more]


def finetune(runs: Runs, out: Path, *more: Any, data: Path | None = None, **values: Any) -> Words:
    settings = {**tiny.TRAIN, **{k.replace("__", "."): v for k, v in values.items()}}
    return ["finetune", runs.folder / "pretrained", data or runs.labelled, "-o", out, *tiny.flags(settings), *more]


def test_a_run_is_not_overwritten(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    old = runs.copy("pretrained", tmp_path)
    recipe = tmp_path / "a.toml"
    recipe.write_text(OK.replace("CORPUS", str(runs.corpus)))
    for arguments in (
        pretrain(runs, old),
        finetune(runs, old),
        finetune(runs, old, "--seeds", 2, "--test", runs.labelled),
        ["tokenizer", runs.corpus, "-o", old],
        ["run", recipe, "-o", old],
        ["demo", "-o", old],
    ):
        check("exists already and is never overwritten unasked|pretrained", arguments)


def test_only_a_run_is_overwritten(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    check("not a Wordloom run", pretrain(runs, tmp_path / "thesis", "--overwrite"))
    check("exists", pretrain(runs, tmp_path / "thesis" / "chapter1.txt", "--overwrite"))


def test_a_run_in_use_is_left_alone(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    old = runs.copy("pretrained", tmp_path)
    with Run.open(old):
        check("in use by another process", pretrain(runs, old, "--overwrite"))
        check("in use by another process", pretrain(runs, old, "--resume"))


RESUMED: dict[str, tuple[dict[str, Any], str]] = {
    "learning rate": ({"train.lr": 0.5}, "cannot resume exactly|lr was 0.003 and is 0.5 now"),
    "more steps": ({"train.steps": 9}, "cannot resume exactly|train.steps was 3 and is 9 now"),
    "seed": ({"train.seed": 4}, "cannot resume exactly|seed"),
    "rate": ({"objective.rate": 0.2}, "objective.rate was 0.3 and is 0.2 now"),
    "objective": ({"objective.next_sentence": True}, "objective.next_sentence"),
    "model": ({"model.layers": 3}, "model.layers was 2 and is 3 now"),
    "dropout": ({"model.dropout": 0.2}, "model.dropout"),
    "tokenizer": ({"tokenizer.vocab_size": 140}, "tokenizer.vocab_size was 150 and is 140 now"),
}


@pytest.mark.parametrize("name", RESUMED)
def test_resume_of_a_changed_recipe(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs, name: str) -> None:
    changes, words = RESUMED[name]
    old = runs.copy("pretrained", tmp_path)
    check(words, pretrain(runs, old, "--resume", **{k.replace(".", "__"): v for k, v in changes.items()}))


def test_resume_on_other_data(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    other = tiny.write_corpus(tmp_path / "other.txt", seed=9)
    check("corpus.paths was", pretrain(runs, runs.copy("pretrained", tmp_path), "--resume", corpus=other))
    fine = runs.copy("finetuned", tmp_path)
    labels = tiny.write_labelled(tmp_path / "other.csv", seed=9)
    check("cannot resume exactly|examples", finetune(runs, fine, "--resume", data=labels))
    check("task.pooling was 'auto' and is 'mean' now", finetune(runs, fine, "--resume", task__pooling="mean"))


def test_resume_of_what_is_no_run(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    check("no such run|gone", pretrain(runs, tmp_path / "gone", "--resume"))
    (tmp_path / "folder").mkdir()
    check("not a Wordloom run", pretrain(runs, tmp_path / "folder", "--resume"))
    damaged = runs.copy("pretrained", tmp_path)
    (damaged / "manifest.json").write_text("{")
    check("manifest.json|unreadable", pretrain(runs, damaged, "--resume"))


def test_a_failed_start_leaves_nothing_in_the_way(
    check: Callable[[str, Words], None], tmp_path: Path, runs: Runs
) -> None:
    check("gone.txt", pretrain(runs, tmp_path / "out", corpus=tmp_path / "gone.txt"))
    check("gone.csv", finetune(runs, tmp_path / "out", data=tmp_path / "gone.csv"))
    assert not (tmp_path / "out").exists()


# --- questions that do not fit the model -----------------------------------------------------------------------------


def test_data_of_another_question(check: Callable[[str, Words], None], tmp_path: Path, runs: Runs) -> None:
    fine, paired = runs.folder / "finetuned", runs.folder / "paired"
    other = tmp_path / "other.csv"
    other.write_text("text,label\nso good,maybe\nso bad,pos\n")
    plain = tmp_path / "plain.csv"
    plain.write_text("text,id\nso very good,1\nso very bad,2\n")
    check("maybe", ["evaluate", fine, other])
    check("label", ["evaluate", fine, plain])
    check("no such|gone.csv", ["evaluate", fine, tmp_path / "gone.csv"])
    check("pairs of texts", ["predict", paired, plain, "--text", "text"])
    check("labels differ", ["evaluate", fine, _other_labels(runs, tmp_path), runs.labelled])
    check("3 models were given", ["evaluate", fine, fine, fine, runs.labelled])
    check("0 models were given", ["evaluate", runs.labelled])
    check("no column 'body'", ["predict", fine, runs.labelled, "--text", "body"])
    check("unknown task 'tagg'", ["finetune", fine, runs.labelled, "-o", tmp_path / "out", "--task", "tagg"])


def _other_labels(runs: Runs, folder: Path) -> Path:
    run = runs.copy("finetuned", folder)
    edit(run / "bundle" / "wordloom.json", lambda v: v["extra"]["task"].update(labels=["no", "yes"]))
    return run


def test_usage_errors_exit_with_2_too(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["pretrian"], ["finetune"], ["pretrain", "--stepz", "3"], ["pretrain", "--steps", "many"]):
        said = command(monkeypatch, capfd, *words)
        assert said.code == 2 and "Error: " in said.err and "Traceback" not in said.err


def test_at_least_forty() -> None:
    """Counted here without the malformed corpora and labelled files, which are more than twenty again."""
    assert len(RECIPES) + len(FLAGS) + len(BUNDLES) + len(STARTS) + len(RESUMED) >= 60
