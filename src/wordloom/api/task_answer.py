"""Question answering as ``finetune --task answer``, ``evaluate`` and ``predict`` meet it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.config import AnswerConfig, DataConfig
from wordloom.data.faults import STRICT, Faults
from wordloom.data.questions import Question, Questions, read_questions
from wordloom.data.readers import stdin_lines
from wordloom.errors import ConfigError, DataError
from wordloom.model.build import AnyArchitecture
from wordloom.model.recurrent_seq2seq import RecurrentSeq2SeqArchitecture
from wordloom.tasks.answer.baseline import SlidingWindow
from wordloom.tasks.answer.stream import AnswerStream
from wordloom.tasks.answer.task import Answer, Reader


def _read(path: str, data: DataConfig, config: AnswerConfig, faults: Faults = STRICT) -> Questions:
    return read_questions(path, question=data.text, context=data.pair, faults=faults)


def _refuse(arch: AnyArchitecture) -> None:
    if isinstance(arch, RecurrentSeq2SeqArchitecture):
        raise ConfigError("a recurrent encoder-decoder writes text, and has no states of the tokens that it reads",
                          where="model", cure="start from an lstm or gru row, or from any Transformer")  # fmt: skip


def _fit(config: AnswerConfig, train: Questions, tokenizer: Any, *, length: int, valid: Questions, test: Any) -> Reader:
    return Reader.fit(config, train, tokenizer, length=length, valid=valid)


def _baseline(train: Any, valid: Any, config: AnswerConfig) -> SlidingWindow:
    return SlidingWindow.fit(train, config.metric)


def _unlabelled(path: str, data: DataConfig, task: Any) -> Iterator[Question]:
    if path != "-":
        yield from read_questions(path, question=data.text, context=data.pair, answers=False).asked
        return
    for number, line in enumerate(stdin_lines(), start=1):
        question, tab, context = line.partition("\t")
        if not tab or not context.strip():
            raise DataError("no context after the question", where=f"standard input:{number}",
                            cure="write the question, a tab and the text to answer it from on each line")  # fmt: skip
        yield Question(question, context, str(number))


def _squad(pairs: Iterator[tuple[Question, Answer]]) -> Iterator[str]:
    """One JSON object, id -> answer, "" for none: what the scripts of SQuAD and CMRC 2018 and CLUE's site read."""
    yield json.dumps({question.id: answer.text for question, answer in pairs}, ensure_ascii=False)


KIND = TaskKind(
    config=AnswerConfig,
    read=_read,
    refuse=_refuse,
    fit=_fit,
    stream=AnswerStream,
    restore=Reader.restore,
    unlabelled=_unlabelled,
    baseline=_baseline,
    defaults={"train.length": 256, "train.epochs": 5.0},
    formats={"squad": _squad, "clue": _squad},
    cell=lambda answer: answer.text or "",
    own_id=lambda question: question.id,
)
