"""Semantic role labelling on the command line: files of frames in, sentences in, who did what to whom out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.config import DataConfig, RolesConfig
from wordloom.data.examples import stream_texts
from wordloom.data.faults import STRICT, Faults
from wordloom.data.frames import FrameRecords, frame_lines, is_frames, prop_lines, read_frames
from wordloom.data.readers import stdin_lines
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.tasks.roles.answers import Answer, Asked, answered, asked_of, sentence_asked
from wordloom.tasks.roles.baseline import MajorityRoles
from wordloom.tasks.roles.task import Roles, RolesStream


def _read(path: str, data: DataConfig, config: RolesConfig, faults: Faults = STRICT) -> FrameRecords:
    return read_frames(path, config.layout, faults=faults)


def _refuse(arch: AnyArchitecture) -> None:
    if reads_source(arch):
        what = "an encoder-decoder writes text, and roles are of the words of the sentence that is read"
        raise ConfigError(what, where="model", cure="start from a BERT, RoBERTa, ... row, or from a recurrent one")


def _baseline(train: Any, valid: Any, config: RolesConfig) -> MajorityRoles:
    return MajorityRoles(train, config.predicates == "gold")


def _unlabelled(data: str, config: DataConfig, task: Any) -> Iterator[Asked]:
    """Sentences: a line each of standard input or a .txt file, a row each of a table, or a file of frames, whose
    predicates are those asked about where it marks any."""
    if data == "-":
        return map(asked_of, stdin_lines())
    if is_frames(data):
        records = read_frames(data, task.config.layout)
        marked = any(s.frames for s in records.sentences)
        asked = map(sentence_asked, records.sentences)
        return asked if marked else (Asked(a.words, None, source=a.source) for a in asked)
    return map(asked_of, stream_texts(data, text=config.text))


def _columns(pairs: Iterator[tuple[Any, Answer]]) -> Iterator[str]:
    return frame_lines(_sentences(pairs))


def _props(pairs: Iterator[tuple[Any, Answer]]) -> Iterator[str]:
    return prop_lines(_sentences(pairs))


def _sentences(pairs: Iterator[tuple[Any, Answer]]) -> Iterator[Any]:
    return (answered(asked_of(given), answer) for given, answer in pairs)


KIND = TaskKind(
    config=RolesConfig,
    read=_read,
    refuse=_refuse,
    fit=Roles.fit,
    stream=RolesStream,
    restore=Roles.restore,
    unlabelled=_unlabelled,
    baseline=_baseline,
    defaults={"train.epochs": 5.0, "train.batch": 32, "train.lr": 5e-4},
    formats={"conll": _columns, "props": _props},
)
