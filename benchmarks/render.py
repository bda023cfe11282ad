"""docs/BENCHMARKS.md, which-model.md, rnns.md and positions.md from benchmarks/results/*.json:
``python benchmarks/render.py`` (``--check``: fail when stale)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _labels
import _training
import _using
import _word2vec
from _positions import positions
from _rnns import rnns
from _which import which_model

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
QUALITY = [f"word2vec_quality_{corpus}_{objective}" for corpus in ("baby10m", "imdb_unsup", "zh")
           for objective in ("skip-gram", "cbow")]  # fmt: skip

# Name of a result, and its section; in the order of the page
SECTIONS: list[tuple[str, Callable[[dict[str, Any]], Iterator[str]]]] = [
    ("pretraining", _training.pretraining),
    ("finetuning", _training.finetuning),
    ("token_store", _training.token_store),
    ("quality_imdb", _labels.imdb),
    ("quality_imdb_30min", _labels.imdb_before),
    ("quality_sms", _labels.sms),
    ("quality_transfer", _labels.transfer),
    ("quality_chnsenticorp", _labels.chnsenticorp),
    ("demo", _labels.demo),
    ("word2vec_speed", _word2vec.word2vec_speed),
    ("word2vec_total", _word2vec.word2vec_total),
    *((name, _word2vec.word2vec_quality) for name in QUALITY),
    ("word2vec_scaling", _word2vec.word2vec_scaling),
    ("word2vec_subwords", _word2vec.word2vec_subwords),
    ("word2vec_settings", _word2vec.word2vec_settings),
    ("families", _training.families),
    ("families_speed", _training.families_speed),
    ("generation", _using.generation),
    ("generation_t5", _using.generation_t5),
    ("generation_transformer", _using.generation_transformer),
    ("tasks", _using.tasks),
    ("retrieval", _using.retrieval),
    ("retrieval_speed", _using.retrieval_speed),
    ("inference", _using.inference),
    ("recurrent", _training.recurrent),
    ("positions", _training.positions_section),
]


def result(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def benchmarks() -> Iterator[str]:
    yield "# Benchmarks"
    yield (
        "Made by `python benchmarks/render.py` from `benchmarks/results/`; nothing here is typed by hand. The machines are "
        "shared, so ratios of alternating runs mean more than times. Square brackets hold 95 % intervals of scores, and the "
        "lowest and highest ratio of one round for speeds."
    )
    for name, section in SECTIONS:
        if (found := result(name)) is not None:
            yield from section(found)


def main() -> None:
    pages = {"BENCHMARKS": benchmarks(), "which-model": which_model(result)}
    for page, name, make in (("rnns", "recurrent", rnns), ("positions", "positions", positions)):
        if (found := result(name)) is not None:
            pages[page] = make(found)
    for page, parts in pages.items():
        target, text = DOCS / f"{page}.md", "\n\n".join(parts) + "\n"
        if "--check" in sys.argv and target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target} is stale: run python benchmarks/render.py")
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
