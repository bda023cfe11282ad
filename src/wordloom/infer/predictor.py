"""Predictor: a fine-tuned bundle that answers, in input order, for any number of texts.

It knows no task by name: the task object (its windows, logits and decoding) is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.data.examples import Examples, read_examples
from wordloom.data.readers import strip_html
from wordloom.errors import BundleError, DataError
from wordloom.infer.abstaining import refuse_abstaining, withheld
from wordloom.infer.own_tokenizer import Tokenizers
from wordloom.metrics import Score
from wordloom.model.build import AnyArchitecture
from wordloom.model.interop import has_segments, load_bundle, save_bundle
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer

CHUNK = 2048  # texts tokenized and held at a time


class Answers(Protocol):
    """What a predictor needs of a task. E examples, C classes."""

    @property
    def kind(self) -> Any:
        """single, multi or regression."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def space(self) -> Any:
        """The label space: ``targets(labels, places)`` are the gold values of these probabilities."""

    pairs: bool  # whether an example is two texts

    def heads(self, arch: AnyArchitecture) -> Mapping[str, nn.Module]:
        """Fresh heads by name: what the model must have."""

    def logits(self, model: nn.Module, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """(E, C) in input order, without gradient."""

    def probabilities(self, logits: Tensor) -> NDArray[np.float64]:
        """(E, C) calibrated; (E,) numbers in the unit of the labels for regression."""

    def decode(self, probabilities: NDArray[np.float64]) -> list[Any]:
        """An entry per example: a label, a tuple of labels, or a number."""

    def scores(self, examples: Examples, probabilities: NDArray[np.float64]) -> dict[str, Score]: ...

    def settings(self) -> dict[str, Any]:
        """JSON from which, beside a tokenizer, the task is built again."""


Restore = Callable[[Mapping[str, Any], Tokenizer], Answers]


class Prediction(NamedTuple):
    """One answer: what is predicted, and probabilities (C,) in the order of ``labels`` (the number for regression)."""

    value: Any
    probabilities: NDArray[np.float64]


class Predictor:
    """``predict``, ``predict_proba``, ``evaluate``, ``save``; ``labels`` and ``kind``.

    extra: further JSON kept in the bundle (seeds, scores, parent). ``extra["clean_html"]``: texts are cleaned
    as the training texts were.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, task: Answers, extra: Mapping[str, Any] | None = None):
        self.model, self.tokenizer, self.task, self.extra = model.eval(), tokenizer, task, dict(extra or {})

    @classmethod
    def load(cls, folder: str | Path, restore: Restore) -> Self:
        """restore: builds the task from its settings and the tokenizer (``Classify.restore``).

        Raises BundleError: no bundle, damaged, without a task, or with the tokenizer of another run.
        """
        return cls(*open_task(folder, restore))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a bundle: whole or not at all. Raises BundleError where the folder holds something."""
        kinds = {"single": "single_label_classification", "multi": "multi_label_classification"}
        extra = self.extra | {
            "task": self.task.settings(),
            "tokenizer_hash": self.tokenizer.hash,
            "problem_type": kinds.get(self.task.kind, self.task.kind),
        }
        if self.task.labels:
            extra["labels"] = list(self.task.labels)
        kind = str(extra["task"]["name"])
        also = partial(self.tokenizer.save, segments=has_segments(self.model.arch))
        save_bundle(folder, self.model, kind, extra, also=also, tokens=self.tokenizer.ends, overwrite=overwrite)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C columns of ``predict_proba``; empty for regression."""
        return self.task.labels

    @property
    def kind(self) -> str:
        return str(self.task.kind)

    def predict(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, abstain: float | None = None
    ) -> list[Any]:
        """A label, a tuple of labels, or a number per text, in input order. Raises DataError for other input.

        abstain: None in place of a label whose probability is less.
        """
        return self._decode(self.predict_proba(texts, pairs), abstain)

    def _decode(self, probabilities: NDArray[np.float64], abstain: float | None) -> list[Any]:
        answers = self.task.decode(probabilities)
        if abstain is None:
            return answers
        refuse_abstaining(self.kind, abstain)
        return withheld(answers, probabilities, self.labels, abstain)

    def predict_proba(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float64]:
        """(E, C) temperature-scaled probabilities, or (E,) numbers for regression."""
        self._check(texts, pairs)
        blocks = [slice(i, i + CHUNK) for i in range(0, max(1, len(texts)), CHUNK)]
        return np.concatenate([self._proba(texts[b], None if pairs is None else pairs[b]) for b in blocks])

    def predict_stream(
        self, texts: Iterable[str] | Iterable[tuple[str, str]], chunk: int = 512, *, abstain: float | None = None
    ) -> Iterator[Prediction]:
        """Answers in input order for more texts than memory holds; pairs as (first, second). Reads ``chunk`` ahead.
        abstain: as ``predict``. Raises DataError for other input."""
        refuse_one_string(texts)
        source: Iterator[Any] = iter(texts)
        while block := list(islice(source, chunk)):
            if self.task.pairs and not all(isinstance(b, (tuple, list)) and len(b) == 2 for b in block):
                raise DataError("this model reads pairs of texts", cure="give (first, second) for each example")
            first: list[str] = [b[0] for b in block] if self.task.pairs else block
            second = [b[1] for b in block] if self.task.pairs else None
            self._check(first, second)
            probabilities = self._proba(first, second)
            yield from map(Prediction, self._decode(probabilities, abstain), probabilities)

    def evaluate(
        self, data: Examples | str | Path, *, text: str | None = None, label: str | None = None, pair: str | None = None
    ) -> dict[str, Score]:
        """Scores with 95 % intervals on labelled examples or a labelled file (columns guessed when absent).

        Raises DataError for a label the model does not know, or where there are no labels.
        """
        if not isinstance(data, Examples):
            data = read_examples(str(data), text=text, label=label, pair=pair, kind=self.task.kind)
        if data.labels is None:
            raise DataError("there is no label to score against", where=data.places[0] if data.places else None,
                            cure="name the label column with --label")  # fmt: skip
        pairs = data.pairs if self.task.pairs else None  # a guessed second column the model never saw stays unread
        return self.task.scores(data, self.predict_proba(data.texts, pairs))

    def _proba(self, texts: Sequence[str], pairs: Sequence[str] | None) -> NDArray[np.float64]:
        if self.extra.get("clean_html"):
            texts = [strip_html(t) for t in texts]
            pairs = None if pairs is None else [strip_html(t) for t in pairs]
        return self.task.probabilities(self.logits(texts, pairs))

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """(E, C) in input order, of texts that are clean already."""
        return self.task.logits(self.model, texts, pairs)

    def _check(self, texts: Sequence[str], pairs: Sequence[str] | None) -> None:
        for side in (texts, pairs):
            refuse_one_string(side)
            if side is not None and not all(isinstance(t, str) for t in side):
                at = next(i for i, t in enumerate(side) if not isinstance(t, str))
                raise DataError(f"example {at + 1} is {type(side[at]).__name__}, not text", cure="give strings")
        if self.task.pairs != (pairs is not None):
            raise DataError(
                "this model reads " + ("pairs of texts" if self.task.pairs else "single texts, not pairs"),
                cure="give pairs=, or --pair COLUMN" if self.task.pairs else "leave pairs away",
            )
        if pairs is not None and len(pairs) != len(texts):
            raise DataError(f"{len(texts)} first and {len(pairs)} second texts", cure="give as many of both")


def refuse_one_string(given: object) -> None:
    """Raises DataError: its characters would be answered one by one."""
    if isinstance(given, str):
        raise DataError("one string was given", cure="give a list, even for one")


class Headed(Protocol):
    def heads(self, arch: AnyArchitecture) -> Mapping[str, nn.Module]: ...


H = TypeVar("H", bound=Headed)


def open_task(
    folder: str | Path, restore: Callable[[Mapping[str, Any], Tokenizer], H]
) -> tuple[Model, Tokenizer, H, dict[str, Any]]:
    """Model, tokenizer, task and further JSON of a bundle; restore: builds the task from its settings.

    Raises BundleError: no bundle, damaged, without a task, or with the tokenizer of another run.
    """
    bundle = load_bundle(folder)
    extra = dict(bundle.extra)
    settings = extra.pop("task", None)
    for key in ("tokenizer_hash", "source_tokenizer_hash"):  # `save` states them anew
        extra.pop(key, None)
    if not isinstance(settings, dict):
        raise BundleError("this bundle is a pre-trained model without a task", where=folder,
                          cure="fine-tune it first with wordloom finetune")  # fmt: skip
    tokenizers = Tokenizers.open(bundle.path, bundle.model.arch, strict=True)
    task = restore(settings, tokenizers.own)
    if tokenizers.source is not None:
        if not hasattr(task, "source_tokenizer"):
            raise BundleError("a task that has one vocabulary is stored with a model of two", where=folder,
                              cure="copy the whole bundle again")  # fmt: skip
        task.source_tokenizer = tokenizers.source
    check_heads(bundle.model, task, folder)
    return bundle.model, tokenizers.own, task, extra


def check_heads(model: Model, task: Headed, folder: str | Path) -> None:
    """Raise BundleError where the task's heads are not the model's: a ``wordloom.json`` edited or from elsewhere."""
    with torch.device("meta"):  # shapes only: no memory, and the random state stays as it is
        wanted = task.heads(model.arch)
    for name, head in wanted.items():
        have = model.heads[name].state_dict() if name in model.heads else {}
        if {k: v.shape for k, v in have.items()} != {k: v.shape for k, v in head.state_dict().items()}:
            labels = f" ({len(task.labels)} labels)" if hasattr(task, "labels") else ""
            raise BundleError(f"the task's head {name!r}{labels} is not the one in the weights",
                              where=folder, cure="copy the whole bundle again")  # fmt: skip
