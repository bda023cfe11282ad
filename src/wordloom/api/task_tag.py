"""The task ``tag`` as ``finetune``, ``evaluate`` and ``predict`` meet it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.config import DataConfig, TagConfig
from wordloom.data import tag_writers
from wordloom.data.examples import stream_texts
from wordloom.data.faults import STRICT, Faults
from wordloom.data.readers import file_format, stdin_lines, text_lines
from wordloom.data.tag_json import record_ids
from wordloom.data.tagged import Tagged, TagInput, is_json, read_tagged
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.tasks.tag.baseline import baseline
from wordloom.tasks.tag.task import Tagging, TagStream


def read(path: str, data: DataConfig, config: TagConfig, faults: Faults = STRICT) -> Tagged:
    overlaps = config.overlaps == "outermost"
    return read_tagged(path, text=data.text, label=data.label, overlaps=overlaps, scheme=config.scheme, faults=faults)


def refuse(arch: AnyArchitecture) -> None:
    if reads_source(arch):
        raise ConfigError("an encoder-decoder writes text, and a tagger labels the words that are there",
                          where="model", cure="start from an encoder, a causal or a recurrent model")  # fmt: skip


def unlabelled(path: str, data: DataConfig, task: Any) -> Iterator[TagInput]:
    """A text per line of standard input and .txt; the text column of a table (.tsv: one that is named); the texts of
    JSON; sentences of .conll and other columns, whose tags, if there are any, are not looked at."""
    if path == "-":
        yield from map(task.as_input, stdin_lines())
    elif file_format(path) == "txt":
        yield from map(task.as_input, text_lines(path))
    elif file_format(path) in ("csv", "parquet") or (file_format(path) == "tsv" and data.text is not None):
        yield from map(task.as_input, stream_texts(path, text=data.text))
    else:
        inputs = map(task.as_input, read_tagged(path, text=data.text, labelled=False).inputs())
        ids = record_ids(path) if is_json(path) else repeat(None)
        yield from (replace(given, id=id) for given, id in zip(inputs, ids, strict=False))


KIND = TaskKind(
    config=TagConfig,
    read=read,
    refuse=refuse,
    fit=Tagging.fit,
    stream=TagStream,
    restore=Tagging.restore,
    unlabelled=unlabelled,
    baseline=baseline,
    formats={
        "jsonl": tag_writers.jsonl,
        "conll": tag_writers.conll,
        "inline": tag_writers.inline,
        "clue": tag_writers.clue,
    },
    files={"docbin": tag_writers.docbin},
)
