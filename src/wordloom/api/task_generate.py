"""``--task generate``: how texts and prompts meet files, the loop and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.api.language import start_of
from wordloom.api.start import Start, bundle_folder, refuse_adaptive
from wordloom.config import DataConfig, GenerateConfig
from wordloom.data.faults import STRICT, Faults
from wordloom.data.prompts import Prompts, read_asked, read_prompts
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.model.interop.files import read_json
from wordloom.tasks.base import Task
from wordloom.tasks.generate.task import Continued, Generate, Yardstick
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Stream


def read(path: str, data: DataConfig, task: Any, faults: Faults = STRICT) -> Prompts:
    """--text names the column of prompts where --label names that of responses, else that of the texts."""
    if data.pair is not None:
        raise ConfigError("a prompt and its response are no pair of prompts", where="data.pair",
                          cure="name the columns with --set task.prompt=NAME and --set task.response=NAME")  # fmt: skip
    prompt = task.prompt or (data.text if data.label else None)
    return read_prompts(path, prompt=prompt, response=task.response or data.label,
                        text=task.text or (None if data.label else data.text), faults=faults)  # fmt: skip


def refuse(arch: AnyArchitecture) -> None:
    if arch.attention != "causal" or reads_source(arch):
        raise ConfigError(
            "the model does not predict the next token from those before it", where="MODEL",
            cure="use a gpt, gpt2, gpt3, rnn, lstm, gru or awd-lstm row, or a run that began with one; an "
                 "encoder-decoder learns prompts and responses with --task translate",
        )  # fmt: skip


def settle(start: Start) -> dict[str, Any]:
    """What stood before a text when the model learned, and which of its heads says the next token."""
    folder = bundle_folder(start.name) if Path(start.name).exists() else None
    extra: dict[str, Any] | None = {}
    if folder is not None:
        facts = folder / "wordloom.json"
        extra = read_json(facts)["extra"] if facts.is_file() else None
    begins = start_of(start.tokenizer, extra)
    refuse_adaptive(start, "generate")
    masked = start.states is not None and "causal" not in start.states and "masked" in start.states
    return {"start_id": start.tokenizer.eos_id if begins is None else begins, "head": "masked" if masked else "causal"}


def fit(
    config: GenerateConfig, train: Prompts, tokenizer: Tokenizer, *, length: int, valid: Prompts, test: Prompts | None,
    start_id: int, head: str,
) -> Task:  # fmt: skip
    return Generate.fit(config, train, tokenizer, length=length, start_id=start_id, head=head, valid=valid)


def stream(task: Generate, train: Prompts, *, batch: int, seed: int) -> Stream:
    return task.stream(train, batch=batch, seed=seed)


def yardstick(task: Generate, train: Prompts, valid: Prompts) -> Yardstick:
    return Yardstick(task, task.bigram(train))


def unlabelled(path: str, data: DataConfig, task: Task) -> Iterator[str]:
    return read_asked(path, prompt=task.config.prompt, text=data.text)


def plain(pairs: Iterator[tuple[str, Continued]]) -> Iterator[str]:
    """The answers, a line each."""
    return (" ".join((answer.text or "").split()) for _, answer in pairs)


KIND = TaskKind(
    config=GenerateConfig, read=read, refuse=refuse, settle=settle, fit=fit, stream=stream, restore=Generate.restore,
    unlabelled=unlabelled, yardstick=yardstick, formats={"plain": plain},
    cell=lambda answer: answer.text or "",
    defaults={"tokenizer.kind": "byte-bpe", "tokenizer.lowercase": False},
)  # fmt: skip
