"""Word2Vec side by side with gensim and fastText: speed, the whole way from a text file, scaling.

    python benchmarks/word2vec.py speed   [--runs 3] [--words 3000000] [--no-fasttext]   training phase, one epoch
    python benchmarks/word2vec.py total   [--runs 3] [--words 3000000]                   text file to vectors
    python benchmarks/word2vec.py scaling                                                threads, dimension, vocabulary

Every run is a process of its own; rounds alternate the sides, and medians count. ``word2vec_sides`` says what each side
does. Writes benchmarks/results/word2vec_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import _common
import numpy as np
from word2vec_sides import SIDES, THREADS, arguments, compared, options_of, prepare, report


def speed(options: argparse.Namespace) -> dict[str, Any]:
    sides = ["ours", "plain", "gensim", *([] if options.no_fasttext else ["fasttext"])]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        for side in ("ours", "plain"):  # compile once, outside the clock
            for objective in options.objective:
                _common.in_fresh_process(SIDES, arguments(side, text, objective, 100), THREADS)
        for objective in options.objective:
            for dimension in options.dimension:
                chosen = {s: arguments(s, text, objective, dimension) for s in sides}
                found = _common.alternating(SIDES, chosen, options.runs, THREADS)
                rows.append(compared(found, objective, dimension, "words_per_second"))
                print(json.dumps(rows[-1]), file=sys.stderr)
    return {"what": "words/s of the training phase, one epoch", "words": options.words, "rows": rows}


def total(options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        for objective in options.objective:
            for epochs in (1, 5):
                sides = {s: arguments(s, text, objective, 100, epochs) for s in ("ours", "gensim")}
                found = _common.alternating(SIDES, sides, options.runs, THREADS)
                rows.append({"epochs": epochs, **compared(found, objective, 100, "total_seconds")})
                print(json.dumps(rows[-1]), file=sys.stderr)
        environment = dict(os.environ)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["NUMBA_CACHE_DIR"] = cache
            cold = _common.in_fresh_process(SIDES, arguments("ours", text, "skip-gram", 100, 1), THREADS)
        os.environ.clear()
        os.environ.update(environment)
    return {
        "what": "seconds from a text file to vectors, d = 100, compilation apart",
        "words": options.words,
        "rows": rows,
        "cold_compile_seconds": cold["compile_seconds"],
    }


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        for objective in options.objective:
            # 10 epochs: a second of training would measure when threads start and who waits for the last block
            sides = {f"{n} threads": arguments("ours", text, objective, 100, 10, threads=n) for n in (1, 2)}
            found = _common.alternating(SIDES, sides, options.runs, THREADS)
            medians = {k: _common.median(v, "words_per_second") for k, v in found.items()}
            two_over_one = _common.ratio(found["2 threads"], found["1 threads"], "words_per_second")
            rows.append({"objective": objective, "words_per_second": medians, "two_over_one": two_over_one})
            for dimension in (50, 100, 200, 300, 600):
                runs = [_common.in_fresh_process(SIDES, arguments("ours", text, objective, dimension), THREADS)
                        for _ in range(options.runs)]  # fmt: skip
                rows.append({"objective": objective, "dimension": dimension,
                             "words_per_second": _common.median(runs, "words_per_second"),
                             "peak_memory_mb": _common.median(runs, "peak_memory_mb")})  # fmt: skip
        for size in (10_000, 100_000, 1_000_000):
            rng = np.random.default_rng(0)
            p = 1 / np.arange(1, size + 1)
            words = rng.choice(size, 20_000_000, p=p / p.sum())
            words[: 5 * size] = np.tile(np.arange(size), 5)  # in the vocabulary every one; of a million a quarter so
            rng.shuffle(words)
            with text.open("w") as out:
                for at in range(0, len(words), 1000):
                    out.write(" ".join(f"w{w}" for w in words[at : at + 1000]) + "\n")
            text.with_suffix(".words").write_text(str(len(words)))
            for objective in options.objective:
                found = _common.in_fresh_process(SIDES, arguments("ours", text, objective, 100), THREADS)
                limit = (1.15 * 2 * size * 100 * 4 + 4 * len(words)) / 1e6 + 300
                rows.append({"objective": objective, "vocabulary": size, "words_per_second": found["words_per_second"],
                             "peak_memory_mb": found["peak_memory_mb"], "limit_mb": limit})  # fmt: skip
            print(json.dumps(rows[-1]), file=sys.stderr)
    return {"what": "words/s by threads, dimension and vocabulary", "rows": rows}


MODES = {"speed": speed, "total": total, "scaling": scaling}


def main() -> None:
    parser = options_of(__doc__, list(MODES))
    parser.add_argument("--no-fasttext", action="store_true")
    options = parser.parse_args()
    report(f"word2vec_{options.what}", __file__, lambda: MODES[options.what](options))


if __name__ == "__main__":
    main()
