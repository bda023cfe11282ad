"""A command line in this process, and one finished run of each kind, for the tests that need nothing else."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny
from wordloom import cli


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: object) -> Said:
    """``wordloom WORDS`` in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["wordloom", *map(str, words)])
    capfd.readouterr()
    code: object = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code
    said = capfd.readouterr()
    return Said(int(code or 0), said.out, said.err)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Runs:
    """corpus, labelled file, and finished runs: pre-trained, fine-tuned from it, fine-tuned on pairs."""

    folder: Path

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.txt"

    @property
    def labelled(self) -> Path:
        return self.folder / "train.csv"

    @property
    def pairs(self) -> Path:
        return self.folder / "pairs.jsonl"

    def copy(self, name: str, to: Path) -> Path:
        """A copy of a run that a test may damage."""
        return Path(shutil.copytree(self.folder / name, to / name))


def make_runs(folder: Path) -> Runs:
    from wordloom import api

    runs = Runs(folder)
    tiny.write_corpus(runs.corpus)
    tiny.write_labelled(runs.labelled)
    tiny.write_labelled(runs.pairs, pairs=True)
    api.pretrain(runs.corpus, folder / "pretrained", preset="bert-tiny", quiet=True, **tiny.TINY)
    api.finetune(folder / "pretrained", runs.labelled, folder / "finetuned", quiet=True, **tiny.TRAIN)
    api.finetune(folder / "pretrained", runs.pairs, folder / "paired", pair="second", baseline=False, quiet=True,
                 **tiny.TRAIN)  # fmt: skip
    return runs
