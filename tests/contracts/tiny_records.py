"""Tiny files of every task, in the format of the file that a recipe names: what the recipe contract trains on."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

COUNT = 24
NAMES = ("Anna Meyer", "Rome", "Bob", "New York", "Mary")
WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "some", "birds", "near", "old", "trees", "in", "parks")
Task = Any


def write(task: Task, named: str, folder: Path, seed: int) -> str:
    """A stand-in below ``folder`` for the data path ``named`` of this task's recipe; the path to give instead."""
    return WRITERS[task.name](task, named, folder / str(seed), random.Random(seed))


def _save(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return str(path)


def _lines(rows: list[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _sentence(rng: random.Random, words: int = 6) -> list[str]:
    return [rng.choice(WORDS) for _ in range(words)]


def tag(task: Task, named: str, folder: Path, rng: random.Random) -> str:
    """Every sentence begins with a name: columns, or CLUENER's JSON."""
    rows = [(rng.choice(NAMES).split(), _sentence(rng)) for _ in range(COUNT)]
    if "json" in named:
        found: list[Mapping[str, Any]] = []
        for name, rest in rows:
            surface = " ".join(name)
            label = {"name": {surface: [[0, len(surface) - 1]]}}
            found.append({"text": " ".join([*name, *rest]), "label": label})
        return _save(folder / Path(named).name, _lines(found))
    text = ""
    for name, rest in rows:
        tags = [f"{'B' if i == 0 else 'I'}-PER" for i in range(len(name))] + ["O"] * len(rest)
        text += "".join(f"{w}\t{t}\n" for w, t in zip([*name, *rest], tags, strict=True)) + "\n"
    return _save(folder / Path(named).name, text)


def roles(task: Task, named: str, folder: Path, rng: random.Random) -> str:
    """NAME saw the WORD WORD: the columns of the PropBank set."""
    text = ""
    for i in range(COUNT):
        words = [rng.choice(NAMES).split()[0], "saw", "the", *_sentence(rng, 2)]
        columns = ["(ARG0*)", "(V*)", "(ARG1*", "*", "*)"]
        for k, (word, column) in enumerate(zip(words, columns, strict=True)):
            verb = ("see", "see.01") if k == 1 else ("-", "-")
            text += "\t".join(["doc", str(i), str(k), word, "X", "*", *verb, column]) + "\n"
        text += "\n"
    return _save(folder / Path(named).name, text)


def answer(task: Task, named: str, folder: Path, rng: random.Random) -> str:
    """Who sat here? The name in the context. SQuAD's JSON."""
    paragraphs = []
    for i in range(COUNT):
        name, rest = rng.choice(NAMES), " ".join(_sentence(rng))
        context = f"{rest} . {name} sat here . {rest}"
        said = {"text": name, "answer_start": context.index(name)}
        paragraphs.append(
            {"context": context, "qas": [{"id": str(i), "question": "who sat here ?", "answers": [said]}]}
        )
    return _save(
        folder / Path(named).name, json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": paragraphs}]})
    )


def pairs(task: Task, named: str, folder: Path, rng: random.Random) -> str:
    """The target is the source backwards: two aligned files, columns, or JSON with the recipe's names."""
    sides = [(source, source[::-1]) for source in (_sentence(rng) for _ in range(COUNT))]
    source, target = [[" ".join(side[k]) for side in sides] for k in (0, 1)]
    if "," in named:
        paths = [folder / Path(part).name for part in named.split(",")]
        return ",".join(_save(p, "\n".join(t) + "\n") for p, t in zip(paths, (source, target), strict=True))
    if "json" in named:
        keys = (task.source or "source", task.target or "target")
        rows = [dict(zip(keys, pair, strict=True)) for pair in zip(source, target, strict=True)]
        return _save(folder / Path(named).name, _lines(rows))
    return _save(folder / Path(named).name, "".join(f"{a}\t{b}\n" for a, b in zip(source, target, strict=True)))


def retrieve(task: Task, named: str, folder: Path, rng: random.Random) -> str:
    """A document of six words, asked for by three of them: a BEIR folder."""
    documents = [{"_id": f"d{i}", "title": "", "text": " ".join(_sentence(rng, 8)) + f" w{i}"} for i in range(COUNT)]
    queries = [{"_id": f"q{i}", "text": " ".join(d["text"].split()[-3:])} for i, d in enumerate(documents)]
    corpus = _save(folder / "corpus.jsonl.gz", _lines(documents))
    _save(folder / "queries.jsonl", _lines(queries))
    judged = "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(COUNT))
    judgments = _save(folder / "qrels" / Path(named).name, judged) if "qrels" in named else ""
    return judgments or corpus


def texts(task: Task, named: str, folder: Path, rng: random.Random) -> str:
    """Raw text, a document a line, or prompts with their responses."""
    if "json" in named:
        rows = [{"prompt": " ".join(_sentence(rng)), "response": " ".join(_sentence(rng))} for _ in range(COUNT)]
        return _save(folder / Path(named).name, _lines(rows))
    return _save(folder / Path(named).name, "".join(" ".join(_sentence(rng, 12)) + "\n" for _ in range(COUNT)))


WRITERS: dict[str, Callable[[Task, str, Path, random.Random], str]] = {
    "tag": tag, "roles": roles, "answer": answer, "translate": pairs, "summarize": pairs, "retrieve": retrieve,
    "generate": texts,
}  # fmt: skip
