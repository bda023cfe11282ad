"""Tiny collections made in code: each query shares two rare words with one document, and little with the others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

COMMON = ("the", "cell", "study", "of", "patients", "with", "in", "results", "show", "a", "growth")


def rare(i: int) -> tuple[str, str]:
    """Two made-up words of document i."""
    syllables = ("ba", "ke", "lo", "mu", "ri", "so", "ta", "vu")
    return "".join(syllables[(i >> 3 * j) & 7] for j in range(3)), "".join(
        syllables[(i * 5 + 3 >> 2 * j) & 7] for j in range(3)
    )


def sentence(rng: np.random.Generator, words: tuple[str, ...] = (), size: int = 6) -> str:
    found = [*rng.choice(COMMON, size), *words]
    return " ".join(str(w) for w in rng.permutation(found)).capitalize() + "."


def write_beir(folder: Path, documents: int = 40, queries: int = 24, seed: int = 0, title: bool = True) -> Path:
    """corpus.jsonl, queries.jsonl, qrels/{train,test}.tsv: query i is about document i, graded 2; the next document is
    graded 1 where i is even."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"_id": f"d{i}", "title": f"On {rare(i)[0]}" if title else "",
         "text": f"{sentence(rng)} {sentence(rng, rare(i))} {sentence(rng)}"}
        for i in range(documents)
    ]  # fmt: skip
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    asked = [{"_id": f"q{i}", "text": sentence(rng, rare(i), 3)} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(r) + "\n" for r in asked), encoding="utf-8")
    (folder / "qrels").mkdir(exist_ok=True)
    for name, part in (("train", range(0, queries, 2)), ("test", range(1, queries, 2))):
        lines = ["query-id\tcorpus-id\tscore"]
        for i in part:
            lines.append(f"q{i}\td{i}\t2")
            if i % 4 < 2 and i + 1 < documents:
                lines.append(f"q{i}\td{i + 1}\t1")
        (folder / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
