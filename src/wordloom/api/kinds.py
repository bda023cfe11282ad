"""The tasks of ``finetune --task NAME`` beside classification: how each meets files, the loop and the command line.

A row is written in ``api/task_NAME.py`` and listed here; nothing registers itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from wordloom.api.start import Start
from wordloom.config import DataConfig, Strict, near_miss
from wordloom.data.faults import Faults
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture
from wordloom.tasks.base import Baseline, Records, Task
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Stream


class ReadRecords(Protocol):
    def __call__(self, path: str, data: DataConfig, config: Any, /, faults: Faults = ...) -> Records:
        """Raises DataError with file and line, for the first fault unless ``faults`` keeps them."""


@dataclass(frozen=True)
class TaskKind:
    """A row: what ``finetune``, ``evaluate`` and ``predict`` need to know of a task.

    config: its table [task]. defaults: of a recipe, dotted keys (``train.epochs``, ``train.lr``, ...).
    read: labelled records of a file or folder; their faults go where it is told.
    refuse: raises ConfigError, with the reason, for an architecture the task makes no sense for.
    fit: the task of this training data, with the validation part it evaluates on.
    stream: training batches. restore: the task of a bundle.
    baseline: fitted on (train, valid); None where the task has none. What it says is scored as the model is.
    yardstick: a baseline of the task's own tokens, which it is given before the records; instead of ``baseline``.
    settle: what of ``fit`` the start decides, as further keywords.
    unlabelled: what ``predict`` reads from a file ("-": standard input, a line each): inputs of the task.
    formats: further ways ``predict --format NAME`` writes answers: (input, answer) pairs -> lines. files: those that
    are no text and need ``--out FILE``. cell: an answer as a cell of ``--format csv``; None: it fits in none.
    own_id: the id that an input of the task brings itself. adjustable: keys of [task] that a finished model can be
    given anew.
    """

    config: type[Strict]
    read: ReadRecords
    refuse: Callable[[AnyArchitecture], None]
    fit: Callable[..., Task]  # (config, train, tokenizer, *, length, valid, test)
    stream: Callable[..., Stream]  # (task, train, *, batch, seed)
    restore: Callable[[Mapping[str, Any], Tokenizer], Task]
    unlabelled: Callable[[str, DataConfig, Task], Iterator[Any]]
    baseline: Callable[[Records, Records, Any], Baseline] | None = None
    yardstick: Callable[..., Baseline] | None = None  # (task, train, valid)
    settle: Callable[[Start], dict[str, Any]] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    formats: Mapping[str, Callable[[Iterator[tuple[Any, Any]]], Iterator[str]]] = field(default_factory=dict)
    files: Mapping[str, Callable[[Iterator[tuple[Any, Any]]], bytes]] = field(default_factory=dict)
    cell: Callable[[Any], str] | None = None
    own_id: Callable[[Any], Any] | None = None
    adjustable: frozenset[str] = frozenset()


HOMES: dict[str, str] = {  # name of the task -> module of api that holds its ``KIND``
    "tag": "task_tag",
    "answer": "task_answer",
    "roles": "task_roles",
    "retrieve": "task_retrieve",
    "translate": "task_translate",
    "summarize": "task_summarize",
    "generate": "task_generate",
}


def task_kind(name: str) -> TaskKind:
    """Raises ConfigError for a name no task has."""
    if name not in HOMES:
        raise ConfigError(f"unknown task {name!r}{near_miss(name, ['classify', *HOMES], 'known')}",
                          where="--task", cure="name one of these")  # fmt: skip
    kind: TaskKind = import_module(f"wordloom.api.{HOMES[name]}").KIND
    return kind
