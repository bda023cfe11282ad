"""The task "which package does this documentation belong to?": corpus, training and test files, split by module."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordloom.demo.documentation import Doc
from wordloom.errors import DataError

MIN_WORDS, MAX_WORDS = 15, 150  # of a labelled example: enough to tell, and one window of the model
PER_MODULE = 20  # labelled examples of one module, so that no large file is a class by itself


@dataclass(frozen=True)
class DemoFiles:
    """What ``write_demo`` wrote. ``train`` maps a number of labels to its file; smaller ones are subsets."""

    corpus: Path
    train: dict[int, Path]
    test: Path
    labels: list[str]
    report: dict[str, Any]


def write_demo(
    folder: str | Path,
    docs: Sequence[Doc],
    seed: int = 0,
    labels: Sequence[int] = (200, 2000),
    test: int = 1800,
    classes: tuple[int, int] = (4, 12),
) -> DemoFiles:
    """Write corpus.txt.gz (a document a line, unlabelled), train.jsonl, train-N.jsonl for the smaller N of
    ``labels``, and test.jsonl.

    docs: of ``collect_documentation``. test: number of test examples.
    labels: numbers of training examples; each set is stratified and part of the larger ones.
    classes: least and most packages; the most that fill their share are taken, largest first.
    Raises DataError when fewer than ``classes[0]`` packages have enough documentation.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    by_module = _by_module(docs)
    chosen = _choose(by_module, max(labels) + test, classes)
    train: list[list[Doc]] = []
    held_out: list[list[Doc]] = []
    taken: set[tuple[str, str]] = set()
    for k, package in enumerate(chosen):
        modules = sorted(by_module[package])
        random.Random(f"{seed} {package}").shuffle(modules)
        queue = iter(modules)
        held_out.append(_draw(by_module[package], queue, _share(test, k, len(chosen)), taken))
        train.append(_draw(by_module[package], queue, _share(max(labels), k, len(chosen)), taken))
    rng = random.Random(f"{seed} order")
    corpus = [d.text for d in docs if (d.package, d.module) not in taken]
    rng.shuffle(corpus)
    corpus_file = folder / "corpus.txt.gz"
    with open(corpus_file, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:  # the same bytes every time
        file.write(("\n".join(corpus) + "\n").encode())
    names = {n: "train.jsonl" if n == max(labels) else f"train-{n}.jsonl" for n in sorted(labels)}
    files = {n: _write_examples(folder / name, train, n, rng) for n, name in names.items()}
    report = {
        "corpus_documents": len(corpus),
        "corpus_words": sum(t.count(" ") + 1 for t in corpus),
        "train_examples": max(labels),
        "test_examples": test,
        "held_out_modules": len(taken),
        "unused_documents": len(docs) - len(corpus) - max(labels) - test,
    }
    test_file = _write_examples(folder / "test.jsonl", held_out, test, rng)
    return DemoFiles(corpus_file, files, test_file, list(chosen), report)


def _by_module(docs: Sequence[Doc]) -> dict[str, dict[str, list[Doc]]]:
    """package -> module -> documents of a length to be labelled."""
    grouped: dict[str, dict[str, list[Doc]]] = defaultdict(lambda: defaultdict(list))
    for doc in docs:
        if MIN_WORDS <= doc.text.count(" ") + 1 <= MAX_WORDS:
            grouped[doc.package][doc.module].append(doc)
    return grouped


def _choose(by_module: dict[str, dict[str, list[Doc]]], examples: int, classes: tuple[int, int]) -> list[str]:
    """The largest packages, as many as can each give examples / C from two thirds of their supply."""
    supply = {p: sum(min(len(d), PER_MODULE) for d in m.values()) for p, m in by_module.items()}
    largest = sorted(supply, key=lambda p: (-supply[p], p))
    for count in range(min(classes[1], len(largest)), classes[0] - 1, -1):
        if 2 * supply[largest[count - 1]] >= 3 * -(-examples // count):
            return sorted(largest[:count])
    have = ", ".join(f"{p} {supply[p]}" for p in largest[:6]) or "none"
    raise DataError(
        f"the demo's task needs at least {classes[0]} packages with {-(-3 * examples // (2 * classes[0]))} usable "
        f"docstrings each; the largest are: {have}",
        cure="install more packages beside wordloom, or ask for fewer labels",
    )


def _share(total: int, k: int, count: int) -> int:
    """The k-th of ``count`` parts of total, sizes differing by one at most."""
    return total * (k + 1) // count - total * k // count


def _draw(modules: dict[str, list[Doc]], queue: Iterator[str], wanted: int, taken: set[tuple[str, str]]) -> list[Doc]:
    """Documents of the next modules of the queue, at most PER_MODULE each; what is drawn from is marked taken."""
    drawn: list[Doc] = []
    while len(drawn) < wanted:
        module = next(queue)
        docs = modules[module]
        step = max(1, len(docs) // PER_MODULE)
        drawn += docs[::step][: min(PER_MODULE, wanted - len(drawn))]
        taken.add((docs[0].package, module))
    return drawn


def _write_examples(path: Path, per_class: list[list[Doc]], count: int, rng: random.Random) -> Path:
    """The first documents of every class, evenly, shuffled: {"text", "label", "name"} a line."""
    rows = [d for k, docs in enumerate(per_class) for d in docs[: _share(count, k, len(per_class))]]
    rng.shuffle(rows)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for d in rows:
            file.write(json.dumps({"text": d.text, "label": d.package, "name": d.name}, ensure_ascii=False) + "\n")
    return path
