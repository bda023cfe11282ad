"""TaskPredictor: a fine-tuned bundle of any task but classification that answers, in input order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

from torch import nn

from wordloom.infer.own_tokenizer import Tokenizers
from wordloom.infer.predictor import open_task, refuse_one_string
from wordloom.metrics import Score, Tally, tally_scores
from wordloom.model.build import AnyArchitecture
from wordloom.model.interop import has_segments, save_bundle
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer

CHUNK = 256  # inputs answered at a time in a stream


class Solves(Protocol):
    """What is needed of a task; ``tasks.base.Task`` says more."""

    name: str

    def heads(self, arch: AnyArchitecture) -> Mapping[str, nn.Module]: ...

    def settings(self) -> dict[str, Any]: ...

    def inputs(self, records: Any) -> list[Any]: ...

    def check(self, inputs: Sequence[Any]) -> None: ...

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> list[Any]: ...

    def tallies(self, records: Any, answers: Sequence[Any]) -> dict[str, Tally]: ...


Restore = Callable[[Mapping[str, Any], Tokenizer], Solves]


class TaskPredictor:
    """``predict``, ``predict_stream``, ``evaluate``, ``save``. extra: further JSON kept in the bundle."""

    def __init__(self, model: Model, tokenizer: Tokenizer, task: Any, extra: Mapping[str, Any] | None = None):
        self.model, self.tokenizer, self.task, self.extra = model.eval(), tokenizer, task, dict(extra or {})

    @classmethod
    def load(cls, folder: str | Path, restore: Callable[[str], Restore]) -> Self:
        """restore: from the task's name to what builds it. Raises BundleError as ``Predictor.load``."""
        return cls(
            *open_task(folder, lambda settings, tokenizer: restore(str(settings.get("name")))(settings, tokenizer))
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a bundle: whole or not at all. Raises BundleError where the folder holds something."""
        arch = self.model.arch
        apart = getattr(arch, "source_vocab_size", None) is not None
        tokenizers = Tokenizers(self.tokenizer, self.task.source_tokenizer if apart else None)
        extra = self.extra | {"task": self.task.settings(), **tokenizers.hashes}
        if names := getattr(self.task, "labels", ()):  # of the classes of a task that has some: for config.json
            extra["labels"] = list(names)
        also = partial(tokenizers.save, segments=has_segments(arch))
        save_bundle(
            folder, self.model, self.task.name, extra, also=also, tokens=self.tokenizer.ends, overwrite=overwrite
        )

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        """One answer per input, in order. Raises DataError for an input the task does not read."""
        refuse_one_string(inputs)
        self.task.check(inputs)
        return self.task.predict(self.model, inputs)

    def predict_stream(self, inputs: Iterable[Any], chunk: int = CHUNK) -> Iterator[tuple[Any, Any]]:
        """(input, answer) in order, for more inputs than memory holds; reads ``chunk`` ahead."""
        refuse_one_string(inputs)
        source = iter(inputs)
        while block := list(islice(source, chunk)):
            yield from zip(block, self.predict(block), strict=True)

    def evaluate(self, records: Any) -> dict[str, Score]:
        """Scores with 95 % intervals of labelled records."""
        return tally_scores(self.task.tallies(records, self.predict(self.task.inputs(records))))
