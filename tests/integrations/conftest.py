"""A tagger of names, a tagger of parts of speech and a classifier, each trained in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from wordloom import api

QUICK: dict[str, Any] = {**tiny.TINY, "train.steps": 40, "train.lr": 1e-2, "train.batch": 8}
NAMES = {"film": "WORK", "plot": "WORK", "music": "WORK", "actor": "PERSON"}


def write_tags(path: Path, each: bool) -> Path:
    """Sentences whose words decide their tags: entities of one word, or adjectives, nouns and the rest."""
    moods = tiny.GOOD + tiny.BAD
    lines = []
    for text in tiny.documents(30):
        for word in text.replace(".", " .").split():
            low = word.lower()
            name = NAMES.get(low)
            label = "ADJ" if low in moods else "NOUN" if name else "X"
            lines.append(f"{word}\t{label if each else f'B-{name}' if name else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """task -> a finished run: "names", "parts" and "mood"."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, each in (("names", False), ("parts", True)):
        made[name] = folder / name
        data = write_tags(folder / f"{name}.conll", each)
        api.finetune("bert-tiny", data, made[name], task="tag", baseline=False, quiet=True, **QUICK)
    made["mood"] = folder / "mood"
    data = tiny.write_labelled(folder / "mood.csv", 40)
    api.finetune("bert-tiny", data, made["mood"], baseline=False, quiet=True, **QUICK)
    return made
