"""The contract of a supervised task: a job of the loop that also brings its head, answers, and survives in a bundle.

A task turns records into batches, builds its heads, computes its loss and decodes. It holds no weights: the model comes
in. Three things travel through it: *records* (labelled examples of a file), *inputs* (what a user asks: a text, a list
of words, a question with its text) and *answers* (what is said to an input, one each, in input order).

`classify` has answers with probabilities and columns of its own (``infer.predictor.Answers``); the other tasks are
`Task`s. How a task meets files and the command line is its row in ``api.kinds``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from torch import nn

from wordloom.errors import BundleError
from wordloom.metrics import Tally
from wordloom.model.build import AnyArchitecture
from wordloom.train.job import Job

R = TypeVar("R", bound="Records", contravariant=True)


class Records(Protocol):
    """E labelled examples in file order, never changed.

    Some say more to ``check``: ``faults()``, sentence -> places, what reading repaired or could not use; ``reading``
    and ``sizes()``, ``columns`` and ``facts()`` without that; and ``repeat_key(index)``, equal for records of which one
    is too many, where that is not ``key``.
    """

    @property
    def places(self) -> Sequence[str]:
        """ "file:line" of each record."""

    @property
    def columns(self) -> str:
        """How the file was read and what was guessed or repaired, in words."""

    def __len__(self) -> int: ...

    def subset(self, indices: Sequence[int]) -> Self:
        """The records at ``indices``, in that order."""

    def key(self, index: int) -> str:
        """Equal for records of the same text: what keeps doubles on one side of a split."""

    def texts(self) -> Iterable[str]:
        """All text, for training a tokenizer."""

    def facts(self) -> dict[str, Any]:
        """Flat JSON for the report: sizes in the units of the task."""

    def content(self) -> Iterable[str]:
        """What the records say, piece by piece: hashed, so that a resumed run is refused over other data."""


class Task(Job, Protocol[R]):
    name: str
    main: str  # the score that is shown first; a key of ``tallies``
    config: Any  # its table [task]

    @property
    def keeps(self) -> frozenset[str]:
        """Heads of a pre-trained model that the task goes on with; the others are made anew or left out."""

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        """Fresh heads by name, those in ``keeps`` among them. Raises ConfigError for an architecture that cannot."""

    def calibrate(self, model: nn.Module) -> object:
        """Fit on the validation part what is decided after training: a temperature, a threshold. Often nothing."""

    def settings(self) -> dict[str, Any]:
        """JSON with "name", from which, beside a tokenizer, the task is built again."""

    def inputs(self, records: R) -> list[Any]:
        """What a user would ask, one per record, without the answer."""

    def check(self, inputs: Sequence[Any]) -> None:
        """Raises DataError for an input that is not of the kind this task reads, and says which."""

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> list[Any]:
        """Answers in input order, without gradient; independent of how the inputs are batched. The model's mode is
        restored afterwards."""

    def tallies(self, records: R, answers: Sequence[Any]) -> dict[str, Tally]:
        """Every score of these answers, as counts per record: every gold label is counted."""

    def details(self, records: R, answers: Sequence[Any]) -> dict[str, Any]:
        """Further keys of scores.json: "tables", "samples" (see ``report``), "unscored"; may be empty."""

    def row(self, given: Any, answer: Any) -> dict[str, Any]:
        """One input and its answer as a JSON object."""

    def line(self, given: Any, answer: Any) -> str:
        """The same for a person, without a line break at the end."""

    def gold(self, records: R) -> list[Any]:
        """The right answers, of the type that ``predict`` gives; beside them in predictions.jsonl."""


class Baseline(Protocol[R]):
    """A cheap answer that every model must beat, fitted on the training records."""

    name: str

    def predict(self, records: R) -> list[Any]:
        """Answers of the task's own type, so that the task scores them."""


def restored_settings(settings: Mapping[str, Any], name: str, keys: Sequence[str]) -> list[Any]:
    """The values of ``keys`` in a bundle's task settings. Raises BundleError for another task or a missing key."""
    if settings.get("name") != name:
        raise BundleError(f"this bundle holds the task {settings.get('name')!r}, not {name!r}",
                          cure=f"fine-tune one with wordloom finetune --task {name}")  # fmt: skip
    missing = [key for key in keys if key not in settings]
    if missing:
        raise BundleError(f"the task's settings lack {', '.join(missing)}", cure="fine-tune again")
    return [settings[key] for key in keys]
