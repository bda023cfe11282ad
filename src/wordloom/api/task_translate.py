"""``--task translate``: how translation meets files, the loop and the command line; `task_summarize` shares it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.api.start import Start
from wordloom.config import DataConfig, Seq2SeqConfig, TranslateConfig
from wordloom.data.faults import STRICT, Faults
from wordloom.data.parallel import Parallel, read_parallel, read_sources
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.tasks.base import Task
from wordloom.tasks.seq2seq.task import Seq2Seq
from wordloom.tasks.seq2seq.word_by_word import WordByWord
from wordloom.tasks.seq2seq.writing import Written
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Stream


@dataclass
class Texts:
    """A baseline whose answers are texts."""

    name: str
    made: Any

    def predict(self, records: Parallel) -> list[Written]:
        return [Written(text) for text in self.made.predict(records)]


def read(path: str, data: DataConfig, task: Any, faults: Faults = STRICT) -> Parallel:
    """--text and --label name the columns too, for one command; task.source and task.target stay with the model."""
    if data.pair is not None:
        raise ConfigError("a source and its target are no pair of sources", where="data.pair",
                          cure="name the columns with --set task.source=NAME and --set task.target=NAME")  # fmt: skip
    return read_parallel(path, source=data.text or task.source, target=data.label or task.target, faults=faults)


def refuse(arch: AnyArchitecture) -> None:
    if not reads_source(arch):
        raise ConfigError(
            "the model has no decoder that reads a source and writes a target", where="MODEL",
            cure="use a t5, t5v1.1, transformer, lstm-seq2seq or gru-seq2seq preset, or a run that began with one",
        )  # fmt: skip


def fit(
    config: Seq2SeqConfig, train: Parallel, tokenizer: Tokenizer, *, length: int, valid: Parallel,
    test: Parallel | None, source_tokenizer: Tokenizer | None = None,
) -> Task:  # fmt: skip
    return Seq2Seq.fit(config, train, tokenizer, length=length, valid=valid, source_tokenizer=source_tokenizer)


def settle(start: Start) -> dict[str, Any]:
    return {"source_tokenizer": start.source_tokenizer}


def stream(task: Seq2Seq, train: Parallel, *, batch: int, seed: int) -> Stream:
    return task.stream(train, batch=batch, seed=seed)


def unlabelled(path: str, data: DataConfig, task: Task) -> Iterator[str]:
    return read_sources(path, data.text or task.config.source)


def plain(pairs: Iterator[tuple[str, Written]]) -> Iterator[str]:
    """The answers, a line each."""
    return (" ".join(answer.text.split()) for _, answer in pairs)


def n_best(pairs: Iterator[tuple[str, Written]]) -> Iterator[str]:
    """``number ||| answer ||| score``, best first, as Moses writes them."""
    for number, (_, answer) in enumerate(pairs):
        for text, score in ((answer.text, answer.score or 0.0), *answer.others):
            yield f"{number} ||| {' '.join(text.split())} ||| {score:.4f}"


# Multi30k, 4 x 128 and post-norm: at 5e-3 every source got the same answer, at 1.5e-3 and below the source is read
DEFAULTS: dict[str, Any] = {
    "tokenizer.kind": "byte-bpe",
    "tokenizer.lowercase": False,
    "train.epochs": 30.0,
    "train.batch": 128,
    "train.lr": 1e-3,
    "train.schedule": "noam",
    "train.warmup": 0.1,
    "train.average": True,
    "model.dropout": 0.3,
}

make_kind = partial(
    TaskKind, read=read, refuse=refuse, fit=fit, settle=settle, stream=stream, restore=Seq2Seq.restore,
    unlabelled=unlabelled, cell=lambda answer: answer.text, formats={"plain": plain, "nbest": n_best},
    defaults=DEFAULTS,
    adjustable=frozenset({"beams", "answers", "length_penalty", "no_repeat_ngram", "max_tokens", "alignments"}),
)  # fmt: skip


def baseline(train: Any, valid: Any, config: Any) -> Texts:
    return Texts(WordByWord.name, WordByWord.fit(train))


KIND = make_kind(config=TranslateConfig, baseline=baseline)
