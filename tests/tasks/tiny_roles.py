"""Tiny sentences with frames: two verbs, one of them in two senses, and arguments that a model can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from wordloom.config import RolesConfig, TokenizerConfig
from wordloom.data.frames import Argument, Frame, FrameRecords, Sentence, frame_lines
from wordloom.model.build import AnyArchitecture, make_body
from wordloom.model.model import Model
from wordloom.tasks.roles.task import Roles
from wordloom.text.tokenizer import Tokenizer

NAMES = ("she", "he", "the dog", "a very old man", "nobody")
THINGS = ("the ball", "it", "a red book with torn pages", "the news")
TIMES = ("today", "in the morning", "last week")


def sentence(rng: np.random.Generator, place: str = "") -> Sentence:
    """NAME ran [TIME] | NAME gave THING to NAME [TIME] | NAME gave up THING: senses run.01, give.01, give_up.08."""
    words: list[str] = []
    arguments: list[Argument] = []

    def add(label: str, text: str) -> None:
        start = len(words)
        words.extend(text.split())
        if label:
            arguments.append(Argument(start, len(words), label))

    add("ARG0", str(rng.choice(NAMES)))
    kind, index = int(rng.integers(3)), len(words)
    lemma, sense = (("run", "run.01"), ("give", "give.01"), ("give", "give_up.08"))[kind]
    add("V", ("ran", "gave", "gave up")[kind])
    if kind:
        add("ARG1", str(rng.choice(THINGS)))
    if kind == 1:
        add("", "to")
        add("ARG2", str(rng.choice(NAMES)))
    if kind != 2 and rng.random() < 0.6:
        add("ARGM-TMP", str(rng.choice(TIMES)))
    return Sentence(tuple(words), (Frame(index, lemma, sense, tuple(arguments)),), place)


def two_clauses(rng: np.random.Generator, place: str = "") -> Sentence:
    """Two sentences joined by "and": two predicates, each with arguments on its own side."""
    a, b = sentence(rng), sentence(rng)
    shift = len(a.words) + 1
    moved = tuple(
        Frame(f.index + shift, f.lemma, f.sense, tuple(Argument(s + shift, e + shift, n) for s, e, n in f.arguments))
        for f in b.frames
    )
    return Sentence((*a.words, "and", *b.words), (*a.frames, *moved), place)


def records(count: int, seed: int = 0) -> FrameRecords:
    """Sentences with one, two and (every sixth) no predicate."""
    rng = np.random.default_rng(seed)
    makers = (sentence, two_clauses)
    found = [makers[i % 2](rng, f"a.conll:{i + 1}") for i in range(count)]
    return FrameRecords([Sentence(("yes", "!"), (), s.place) if i % 6 == 5 else s for i, s in enumerate(found)], "tiny")


def write(path: Path, count: int, seed: int = 0) -> Path:
    path.write_text("\n".join(frame_lines(records(count, seed).sentences)) + "\n", encoding="utf-8")
    return path


def tokenizer() -> Tokenizer:
    return Tokenizer.train(list(records(200, 9).texts()), TokenizerConfig(vocab_size=60))


def build(
    train: FrameRecords, arch: AnyArchitecture, own: Tokenizer, length: int = 48, **config: object
) -> tuple[Roles, Model]:
    """A task that validates on its training sentences, and its model."""
    task = Roles.fit(RolesConfig.model_validate({"dropout": 0.0, **config}), train, own, length=length, valid=train)
    torch.manual_seed(0)
    return task, Model(make_body(arch), task.heads(arch)).eval()
