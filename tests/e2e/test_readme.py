"""README.md runs: every fenced block after ``<!-- test -->``, in order, in one folder, on tiny data.

The blocks are run as they stand but for the values in TINY, which are appended to the commands that train and set for
the Python functions; files a block names and that do not exist are made (see ``make_files``).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import tiny
from wordloom import cli

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
MARKED = re.compile(r"<!-- test -->\s*```(bash|sh|python)\n(.*?)```", re.DOTALL)
TRAINS = ("pretrain", "finetune", "run", "tokenizer")

pytestmark = pytest.mark.skipif(not README.exists(), reason="README.md is not written yet")


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of the marked blocks."""
    return [(m[1], m[2]) for m in MARKED.finditer(text)]


def make_files(code: str, folder: Path) -> None:
    """Tiny files for the data names in a block: a corpus for .txt and for folders, labelled ones for the others."""
    for name in re.findall(r"[\w./-]+\.(?:txt|csv|tsv|jsonl)\b", code):
        path = folder / name
        if (path.is_absolute() and not str(path).startswith(str(folder))) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            tiny.write_corpus(path)
        elif path.suffix == ".tsv":
            rows = zip(*tiny.labelled(24)[:2], strict=True)
            path.write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in rows))
        else:
            tiny.write_labelled(path, seed=len(name))


def shrink(command: str) -> str:
    """The command with its length, sizes and steps made tiny."""
    words = shlex.split(command, comments=True)
    if "wordloom" not in words or len(words) <= words.index("wordloom") + 1:
        return command
    verb = words[words.index("wordloom") + 1]
    if verb not in TRAINS:
        return command
    if verb == "tokenizer":
        return command + " --set tokenizer.vocab_size=150"
    for flag in ("--minutes", "--epochs", "--steps", "--batch", "--length", "--labels", "--seeds"):
        command = re.sub(rf"{flag}[ =]\S+", "", command)
    settings = {**tiny.TRAIN, **(tiny.MODEL if verb == "pretrain" or "bert-" in command else {})}
    settings |= tiny.TOKENIZER if verb == "pretrain" else {}
    return f"{command.strip()} {shlex.join(tiny.flags(settings))}"


def shrink_python(code: str) -> str:
    """The block with the training functions given tiny values, which win over its own."""
    head = (
        "import functools, wordloom\n"
        f"TINY, TRAIN = {tiny.TINY!r}, {tiny.TRAIN!r}\n"
        "def small(function, values):\n"
        "    drop = {'steps', 'epochs', 'minutes', 'batch', 'length', 'labels', 'preset'}\n"
        "    return lambda *a, **k: function(*a, **{n: v for n, v in k.items() if n not in drop}, **values)\n"
        "wordloom.pretrain = small(wordloom.pretrain, TINY | {'preset': 'bert-tiny'})\n"
        "wordloom.finetune = small(wordloom.finetune, TRAIN)\n"
    )
    return head + code


def run(command: list[str], folder: Path, text: str | None = None) -> str:
    bin_folder = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, input=text, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_marked_block_runs(tmp_path: Path) -> None:
    found = blocks(README.read_text(encoding="utf-8"))
    assert {language for language, _ in found} >= {"python"} and len(found) >= 2, "README.md has no marked blocks"
    for language, code in found:
        make_files(code, tmp_path)
        if language == "python":
            run([sys.executable, "-c", shrink_python(code)], tmp_path)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if not line or line.startswith("#"):
                continue
            if line.startswith(("make ", "pip ", "python -m venv", "git ", "wordloom demo")):
                continue  # set-up; the demo has tests/test_demo.py and its own command
            run(["bash", "-euo", "pipefail", "-c", shrink(line)], tmp_path)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_every_verb_and_flag_in_it_exists(name: str) -> None:
    """Also of the blocks that are not run, and of the translation, whose examples are its own."""
    if not (ROOT / name).exists():
        pytest.skip(f"{name} is not written yet")
    verbs = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    fences = re.findall(r"```(?:bash|sh)\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    found = [line.partition("wordloom ")[2] for code in fences for line in code.splitlines() if "wordloom " in line]
    assert found
    for command in found:
        words = shlex.split(command, comments=True)
        known = {option for p in verbs[words[0]].params for option in p.opts}
        for word in words[1:]:
            assert not word.startswith("-") or word == "-" or word.partition("=")[0] in known, (words[0], word)
