"""Tiny corpora, labelled files and recipe values shared by the tests that cross rooms. All of it is made in code."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

GOOD = ("good", "fine", "great", "warm", "bright", "lovely")
BAD = ("bad", "poor", "cold", "dull", "grim", "awful")
SUBJECTS = ("the film", "this plot", "an actor", "every scene", "the music", "that ending")
VERBS = ("was", "seemed", "felt", "became", "looked", "remained")
ENDINGS = ("to everyone", "in the evening", "after all", "on the screen", "without doubt", "from the start")

# Values that make any run tiny: dotted recipe keys, for the Python functions and (as --set) for the command line.
MODEL: dict[str, Any] = {"model.layers": 2, "model.width": 32, "model.heads": 4, "model.ffn_width": 64}
TRAIN: dict[str, Any] = {"train.steps": 3, "train.batch": 4, "train.length": 32, "train.threads": 1}
TOKENIZER: dict[str, Any] = {"tokenizer.vocab_size": 150}
TINY: dict[str, Any] = {**MODEL, **TRAIN, **TOKENIZER}


def sentence(rng: np.random.Generator, mood: tuple[str, ...] = GOOD + BAD) -> str:
    """One clause of known mood: what a classifier can learn, and order that a language model can."""
    parts = (rng.choice(SUBJECTS), rng.choice(VERBS), rng.choice(mood), rng.choice(ENDINGS))
    return " ".join(str(p) for p in parts) + "."


def document(rng: np.random.Generator) -> str:
    return " ".join(sentence(rng).capitalize() for _ in range(rng.integers(1, 5)))


def documents(count: int = 80, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [document(rng) for _ in range(count)]


def write_corpus(path: Path, count: int = 80, seed: int = 0) -> Path:
    path.write_text("".join(f"{d}\n" for d in documents(count, seed)), encoding="utf-8")
    return path


def labelled(count: int, kind: str = "single", pairs: bool = False, seed: int = 0) -> tuple[list[str], list[Any], Any]:
    """(texts, labels, second texts or None); texts have 1 to 4 clauses, so lengths differ."""
    rng = np.random.default_rng(seed)
    texts, labels, second = [], [], []
    for i in range(count):
        mood = i % 2
        clauses = int(rng.integers(1, 5))
        texts.append(f"{i} " + " ".join(sentence(rng, (BAD, GOOD)[mood]) for _ in range(clauses)))
        second.append(sentence(rng, (BAD, GOOD)[int(rng.integers(2))]))
        many = [n for n, present in (("good", mood), ("long", clauses > 2)) if present]
        labels.append({"single": ("neg", "pos")[mood], "multi": many, "regression": mood * 2.0 + clauses / 4}[kind])
    return texts, labels, second if pairs else None


def write_labelled(
    path: Path, count: int = 24, kind: str = "single", pairs: bool = False, seed: int = 0, text: str = "text",
    label: str = "label", pair: str = "second",
) -> Path:  # fmt: skip
    """A .jsonl or .csv file (by its suffix) with the named columns."""
    texts, labels, second = labelled(count, kind, pairs, seed)
    rows = [{text: t, label: y} for t, y in zip(texts, labels, strict=True)]
    if second is not None:
        rows = [{text: row[text], pair: s, label: row[label]} for row, s in zip(rows, second, strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({**r, label: "|".join(r[label])} if kind == "multi" else r for r in rows)
    return path


def flags(settings: dict[str, Any]) -> list[str]:
    """Settings as ``--set key=value`` arguments, values spelled as TOML."""
    return [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by relative path; lock files, which name their holder, left out."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def shared_data() -> Path | None:
    """Folder of the public data sets: WORDLOOM_DATA, or shared/data beside the checkout; None where absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("WORDLOOM_DATA", beside))
    return folder if folder.is_dir() else None
