"""The labelled parts of a fine-tuning: train, validation, test, and what was done to get them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wordloom.config import ClassifyConfig, DataConfig, Recipe
from wordloom.data.examples import Examples, read_examples
from wordloom.errors import ConfigError, DataError

InMemory = tuple[Sequence[str], Sequence[Any]]


@dataclass(frozen=True)
class Parts:
    """test: what the scores are measured on, None where none was given. A valid split off here shares no text with
    train; one from a file of its own is taken as it is (``check`` finds what they share)."""

    train: Examples
    valid: Examples
    test: Examples | None
    notes: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for part in (self.train, self.valid):
            for i, text in enumerate(part.texts):
                digest.update(
                    repr((text, part.pairs[i] if part.pairs else None, part.labels and part.labels[i])).encode()
                )
        return digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """JSON for the report: sizes, and training examples per label."""
        found: dict[str, Any] = {}
        for name, part in (("train", self.train), ("validation", self.valid), ("test", self.test)):
            if part is not None:
                words = sum(len(t.split()) for t in part.texts)
                found[name] = {"read as": part.columns, "examples": len(part), "words": words}
        if self.train.kind != "regression":
            labels = Counter(name for i in range(len(self.train)) for name in self.train.label_set(i))
            found["labels"] = dict(sorted(labels.items(), key=lambda item: -item[1]))
        return found


def classify_config(recipe: Recipe) -> ClassifyConfig:
    """[task] of a classification. Raises ConfigError where the recipe is of another task."""
    task = recipe.task or ClassifyConfig()
    if not isinstance(task, ClassifyConfig):
        raise ConfigError(f"the recipe's task is {task.name!r}, and this is for classification", where="task.name",
                          cure="use wordloom finetune --task, or name classify")  # fmt: skip
    return task


def read(source: str | Path, config: DataConfig, task: ClassifyConfig) -> Examples:
    return read_examples(
        str(source),
        text=config.text,
        label=config.label,
        pair=config.pair,
        kind=task.kind,
        separator=task.separator,
        clean_html=config.clean_html,
    )


def descriptions(parts: Iterable[Examples | None]) -> list[str]:
    """How each part was read; files that were read alike share a line."""
    files: dict[str, list[str]] = {}
    for part in parts:
        if part is not None:
            file = part.places[0].rpartition(":")[0] if part.places else ""
            note = part.columns.removeprefix(f"{file}: ")
            files.setdefault(note, []).extend([file] if note != part.columns else [])
    return [f"{', '.join(dict.fromkeys(names))}: {note}" if names else note for note, names in files.items()]


def from_memory(data: InMemory, task: ClassifyConfig) -> Examples:
    """Examples of (texts, labels): strings, lists of strings, or numbers with kind="regression"."""
    texts, labels = list(data[0]), list(data[1])
    if len(texts) != len(labels):
        raise DataError(f"{len(texts)} texts and {len(labels)} labels", cure="give one label for each text")
    kind = task.kind
    if kind == "auto":
        many = any(isinstance(v, (list, tuple, set)) for v in labels)
        kind = "multi" if many else "regression" if all(isinstance(v, float) for v in labels) else "single"
    values: Any = {
        "single": lambda: [str(v) for v in labels],
        "multi": lambda: [[str(n) for n in v] for v in labels],
        "regression": lambda: [float(v) for v in labels],
    }[kind]()
    return Examples(texts, values, [f"example {i + 1}" for i in range(len(texts))], None, kind, "given in memory")


def divide(train: Examples, valid: Examples | None, test: Examples | None, config: DataConfig, seed: int) -> Parts:
    """Take ``labels`` examples if so asked, and split a validation part off where none was given.

    The validation part comes out of those labels: choosing a checkpoint costs labels too.
    """
    train.require_trainable()
    notes: list[str] = []
    if config.labels is not None:
        train = train.sample(config.labels, seed)
        notes.append(f"{config.labels} labelled examples drawn with seed {seed}")
    if valid is None:
        total = len(train)
        train, valid = train.split(config.valid_fraction, seed)
        notes.append(f"{len(valid)} of {total} examples set aside for validation (--valid gives a file of its own)")
    return Parts(train, valid, test, tuple(notes))
