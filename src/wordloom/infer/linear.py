"""The predictor of a linear classifier on features: the same answers and verbs, and no network behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

from wordloom.errors import BundleError
from wordloom.infer.predictor import Answers, Predictor
from wordloom.model.interop.files import atomic_folder, read_json, sha256, write_json

FORMAT = 1
KIND = "linear"
_FACTS = "wordloom.json"
_AGAIN = "copy the folder again"


class SavedAnswers(Answers, Protocol):
    """A task that holds all it needs, and writes it."""

    def save(self, folder: Path) -> list[Path]:
        """Everything beside ``settings``; the files written."""


Restore = Callable[[Mapping[str, Any], Path], SavedAnswers]


def is_linear(folder: str | Path) -> bool:
    """Is it the bundle of a linear classifier (damaged or not)?"""
    where = Path(folder) / _FACTS
    return where.is_file() and read_json(where).get("kind") == KIND


def refuse_linear(folder: str | Path, what: str, cure: str) -> None:
    """Raises BundleError, ``what``, for the bundle of a linear classifier: there is no network in it."""
    if is_linear(folder):
        raise BundleError(what, where=folder, cure=cure)


class LinearPredictor(Predictor):
    """A folder of JSON and safetensors: wordloom.json (settings, hashes), the classifier, and what its features need.

    AutoModel does not open it: there is no network (``twin: none``).
    """

    task: SavedAnswers

    def __init__(self, task: SavedAnswers, extra: Mapping[str, Any] | None = None):
        self.task, self.extra = task, dict(extra or {})

    @classmethod
    def load(cls, folder: str | Path, restore: Restore) -> Self:  # type: ignore[override]
        """restore: builds the task from its settings and the folder. Raises BundleError for a damaged folder."""
        folder = Path(folder)
        facts = read_json(folder / _FACTS)
        if facts.get("format") != FORMAT:
            what = f"bundle format {facts.get('format')!r} is unknown"
            raise BundleError(what, where=folder / _FACTS, cure="open it with the version that wrote it")
        wrong = [key for key in ("hashes", "extra") if not isinstance(facts.get(key), dict)]
        extra = dict(facts["extra"]) if not wrong else {}
        if wrong or not isinstance(extra.get("task"), dict):
            raise BundleError(f"lacks a usable {wrong[0] if wrong else 'task'}", where=folder / _FACTS, cure=_AGAIN)
        for name, expected in facts["hashes"].items():
            if not (folder / name).is_file():
                raise BundleError(f"{name} is missing", where=folder, cure=_AGAIN)
            if sha256(folder / name) != expected:
                raise BundleError(f"{name} is damaged: it is not the file that was saved", where=folder, cure=_AGAIN)
        return cls(restore(extra.pop("task"), folder), extra)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a bundle: whole or not at all. Raises BundleError where the folder holds something."""
        with atomic_folder(Path(folder), overwrite) as temp:
            files = self.task.save(temp)
            extra = self.extra | {"task": self.task.settings(), "labels": list(self.task.labels)}
            hashes = {str(path.relative_to(temp)): sha256(path) for path in files}
            facts = {"format": FORMAT, "kind": KIND, "twin": "none", "hashes": hashes, "extra": extra}
            write_json(temp / _FACTS, facts)

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        return self.task.logits(None, texts, pairs)  # type: ignore[arg-type]
