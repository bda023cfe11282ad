"""The row of retrieval among the tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.config import DataConfig, RetrieveConfig
from wordloom.data.collection import Collection, read_collection
from wordloom.data.examples import stream_texts
from wordloom.data.faults import STRICT, Faults
from wordloom.data.readers import stdin_lines
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.tasks.retrieve.lexical import Bm25Baseline
from wordloom.tasks.retrieve.stream import RetrieveStream
from wordloom.tasks.retrieve.task import Retrieve


def _read(path: str, data: DataConfig, config: RetrieveConfig, faults: Faults = STRICT) -> Collection:
    return read_collection(path, text=data.text, pair=data.pair, faults=faults)


def _refuse(arch: AnyArchitecture) -> None:
    if reads_source(arch):
        raise ConfigError("an encoder-decoder writes texts; it has no one vector of a text", where="MODEL",
                          cure="use an encoder, a causal or a recurrent model")  # fmt: skip


def _unlabelled(data: str, config: DataConfig, task: Any) -> Iterator[str]:
    if data == "-":
        yield from stdin_lines()
        return
    yield from stream_texts(data, text=config.text)


def _baseline(train: Any, valid: Any, config: Any) -> Bm25Baseline:
    return Bm25Baseline(train.documents, config)


KIND = TaskKind(
    config=RetrieveConfig,
    defaults={"train.batch": 32, "train.lr": 1e-4, "train.length": 256, "train.epochs": 5.0},
    read=_read,
    refuse=_refuse,
    fit=Retrieve.fit,
    stream=RetrieveStream,
    restore=Retrieve.restore,
    unlabelled=_unlabelled,
    baseline=_baseline,
)
