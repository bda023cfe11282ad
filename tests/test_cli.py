"""The command line: help without torch, every verb's happy path, no outgoing connection, an exact stop."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from cli_runs import Runs, Said, command

Cli = Callable[..., Said]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    return lambda *words: command(monkeypatch, capfd, *words)


HEAVY = ("torch", "numpy", "numba", "sklearn", "tokenizers", "matplotlib", "pyarrow", "transformers")


@pytest.mark.parametrize("words", [["--help"], ["pretrain", "--help"], ["nonsense"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """What keeps it under half a second; a timing itself would measure the machine."""
    program = (
        "import sys; sys.argv = ['wordloom', *sys.argv[1:]]\n"
        "from wordloom.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"found = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout + done.stderr


def test_predicting_does_not_wait_for_scikit_learn() -> None:
    program = "import sys, wordloom.api.loading; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0


def test_help_names_every_verb(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    verbs = "check tokenizer vectors neighbors analogy similarity odd-one-out export pretrain finetune evaluate predict"
    for verb in (*verbs.split(), "choose", "probe", "run", "demo"):
        assert f"  {verb} " in said.out


def test_python_m_wordloom() -> None:
    done = subprocess.run([sys.executable, "-m", "wordloom", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "pretrain" in done.stdout


# --- the verbs -------------------------------------------------------------------------------------------------------


def test_the_whole_path(cli: Cli, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """check, tokenizer, pretrain, finetune, evaluate, predict, each on what the verb before it left."""
    for path in (runs.corpus, runs.labelled):
        said = cli("check", path)
        assert said.code == 0 and path.name in said.out + str(path) and not said.err
    assert json.loads(cli("check", runs.labelled, "--json").out)

    said = cli("tokenizer", runs.corpus, "-o", tmp_path / "tok", "--size", 140, "--kind", "bpe")
    assert said.code == 0 and "bytes/token" in said.out
    said = cli("pretrain", runs.corpus, "-o", tmp_path / "pre", "--preset", "bert-tiny",
               "--tokenizer", tmp_path / "tok" / "tokenizer", *tiny.flags({**tiny.MODEL, **tiny.TRAIN}))  # fmt: skip
    assert said.code == 0 and "held-out loss" in said.out
    assert (tmp_path / "pre" / "report.html").stat().st_size > 1000
    test = tiny.write_labelled(tmp_path / "test.csv", 12, seed=5)
    said = cli("finetune", tmp_path / "pre", runs.labelled, "-o", tmp_path / "fine", "--test", test,
               *tiny.flags(tiny.TRAIN))  # fmt: skip
    assert said.code == 0 and "TF-IDF" in said.out and "accuracy" in said.out

    said = cli("evaluate", tmp_path / "fine", test, "--json")
    scores = json.loads(said.out)
    kept = json.loads((tmp_path / "fine" / "scores.json").read_text())["scores"]
    found = next(iter(scores["models"].values()))
    assert said.code == 0 and scores["examples"] == 12
    assert found["accuracy"]["value"] == kept["accuracy"]["value"]  # the saved model is the measured one
    said = cli("evaluate", tmp_path / "fine", tmp_path / "fine", test)
    assert said.code == 0 and "no difference" in said.out  # from itself

    texts = [line.split(",")[0] for line in test.read_text().splitlines()[1:]]
    said = cli("predict", tmp_path / "fine", test, "--text", "text", "--json")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0 and [row["text"] for row in rows] == texts
    assert all(row["prediction"] in ("neg", "pos") and abs(sum(row["probabilities"].values()) - 1) < 1e-5
               for row in rows)  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode() + b"\n")))
    said = cli("predict", tmp_path / "fine")
    assert said.code == 0 and [line.split("\t")[0] for line in said.out.splitlines()] == [r["prediction"] for r in rows]


def test_finetune_from_random_weights_with_two_seeds(cli: Cli, tmp_path: Path, runs: Runs) -> None:
    test = tiny.write_labelled(tmp_path / "test.csv", 12, seed=5)
    said = cli("finetune", "bert-tiny", runs.labelled, "-o", tmp_path / "run", "--seeds", 2, "--test", test,
               *tiny.flags(tiny.TINY))  # fmt: skip
    assert said.code == 0, said.err
    assert cli("predict", tmp_path / "run", test, "--text", "text").code == 0


def test_pairs_are_predicted_from_a_file_and_from_standard_input(
    cli: Cli, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("predict", runs.folder / "paired", runs.pairs, "--text", "text", "--pair", "second", "--json")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0 and len(rows) == 24 and {"text", "pair", "prediction"} <= rows[0].keys()
    lines = "".join(f"{row['text']}\t{row['pair']}\n" for row in rows).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    again = [json.loads(line) for line in cli("predict", runs.folder / "paired", "--json").out.splitlines()]
    assert [row["prediction"] for row in again] == [row["prediction"] for row in rows]


RECIPE = """
[corpus]
paths = ["{corpus}"]
[tokenizer]
vocab_size = 150
[model]
preset = "bert-tiny"
layers = 2
width = 32
heads = 4
ffn_width = 64
[train]
steps = 3
batch = 4
length = 32
threads = 1
"""
SECOND = """
[data]
train = "{labelled}"
[finetune]
steps = 3
batch = 4
length = 32
threads = 1
"""


@pytest.mark.parametrize("text", [RECIPE, RECIPE + SECOND], ids=["pretrain", "both"])
def test_run_performs_a_recipe(cli: Cli, tmp_path: Path, runs: Runs, text: str) -> None:
    recipe = tmp_path / "a.toml"
    recipe.write_text(text.format(corpus=runs.corpus, labelled=runs.labelled))
    said = cli("run", recipe, "-o", tmp_path / "out", "--set", "train.steps=2")
    assert said.code == 0, said.err
    assert (tmp_path / "out" / "bundle" / "model.safetensors").exists()
    if "[data]" in text:
        assert cli("predict", tmp_path / "out", runs.labelled, "--text", "text").code == 0


def test_overwrite_replaces_a_run_when_told_to(cli: Cli, tmp_path: Path, runs: Runs) -> None:
    old = runs.copy("finetuned", tmp_path)
    said = cli("finetune", runs.folder / "pretrained", runs.labelled, "-o", old, "--overwrite", "--seed", 5,
               *tiny.flags(tiny.TRAIN))  # fmt: skip
    assert said.code == 0 and json.loads((old / "manifest.json").read_text())["seed"] == 5


# --- stopping --------------------------------------------------------------------------------------------------------


def test_ctrl_c_says_how_to_go_on_and_that_command_works(
    cli: Cli, tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, one line with the command; typed as it stands, it gives the weights of a run never stopped."""
    from wordloom.train.stream import CorruptedStream

    values = {**tiny.TINY, "train.steps": 6, "train.evaluate_every": 3}
    base = ["pretrain", runs.corpus, "--preset", "bert-tiny", *tiny.flags(values)]
    assert cli(*base, "-o", tmp_path / "whole").code == 0
    step = CorruptedStream.step

    def interrupting(self: CorruptedStream, number: int, parts: int) -> Any:
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)  # from the data thread: the main one gets it
        return step(self, number, parts)

    monkeypatch.setattr(CorruptedStream, "step", interrupting)
    said = cli(*base, "-o", tmp_path / "parts")
    monkeypatch.setattr(CorruptedStream, "step", step)
    assert said.code == 130, (said.code, said.err)
    assert "Traceback" not in said.err and "Aborted" not in said.err
    line = next(x for x in (said.out + said.err).splitlines() if "--resume" in x)
    resume = line.partition("wordloom ")[2].split()
    said = cli(*resume)
    assert said.code == 0, said.err
    whole, parts = (tiny.fingerprint(tmp_path / name / "bundle") for name in ("whole", "parts"))
    assert whole["model.safetensors"] == parts["model.safetensors"]


# --- no connection ---------------------------------------------------------------------------------------------------


class ConnectionAttemptedError(AssertionError):
    pass


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every way out of the process through Python's sockets raises, and is remembered if the error is swallowed."""
    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        attempts.append(arguments)
        raise ConnectionAttemptedError(f"a connection was attempted: {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return attempts


def test_the_block_blocks(no_network: list[Any]) -> None:
    import urllib.request

    with pytest.raises(ConnectionAttemptedError):
        urllib.request.urlopen("http://localhost:9/")
    with pytest.raises(ConnectionAttemptedError), socket.socket() as s:
        s.connect(("127.0.0.1", 9))
    assert len(no_network) == 2


def test_no_verb_makes_a_connection(
    cli: Cli, tmp_path: Path, runs: Runs, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "a.toml"
    recipe.write_text((RECIPE + SECOND).format(corpus=runs.corpus, labelled=runs.labelled))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    model = runs.folder / "finetuned"
    verbs: list[list[Any]] = [
        ["check", runs.corpus, "--against", runs.labelled],
        ["tokenizer", runs.corpus, "-o", tmp_path / "tok", "--size", "auto"],
        ["pretrain", runs.corpus, "-o", tmp_path / "pre", "--preset", "bert-tiny", *tiny.flags(tiny.TINY)],
        ["finetune", tmp_path / "pre", runs.labelled, "-o", tmp_path / "fine", *tiny.flags(tiny.TRAIN)],
        ["evaluate", tmp_path / "fine", model, runs.labelled],
        ["predict", tmp_path / "fine", runs.labelled, "--text", "text"],
        ["run", recipe, "-o", tmp_path / "both"],
        ["vectors", runs.corpus, "-o", tmp_path / "words", "--dimension", "8", "--epochs", "1"],
        ["neighbors", tmp_path / "words", "film", "-k", "3"],
        ["export", tmp_path / "words", "--to", "binary", "-o", tmp_path / "words.bin"],
        ["similarity", tmp_path / "words.bin", "film", "plot"],
    ]
    for words in verbs:
        said = cli(*words)
        assert said.code == 0, (words[0], said.err)
    assert no_network == []
