"""Word2Vec side by side with gensim and fastText: speed, quality at equal epochs, scaling.

    python benchmarks/word2vec.py speed   [--runs 3] [--words 3000000] [--no-fasttext]
    python benchmarks/word2vec.py total   [--runs 3]                  text file to vectors, five epochs
    python benchmarks/word2vec.py quality [--seeds 5] [--epochs 3 5] [--corpus baby10m] [--objective skip-gram cbow]
    python benchmarks/word2vec.py scaling

Every run is a process of its own; rounds alternate the sides, and medians count. The text is the set's, lower-cased and
split at white space, one document a line, the same file for every side: window 5, 5 noise words, sample 1e-3, words
seen 5 times or more, 2 threads; ours trains on 199 of 200 documents or more, the others being held out. fastText has a
noise exponent of 0.5 and no seed. ``speed`` times the training phase of one epoch in running words of the file;
fastText's is the difference of two epochs and one, since it reads, counts and trains in one call.
Writes benchmarks/results/word2vec_NAME.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _common
import numpy as np

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = {
    "WordSim-353": "EN-WS-353-ALL.txt",
    "SimLex-999": "EN-SIMLEX-999.txt",
    "MEN": "EN-MEN-TR-3k.txt",
    "RareWords": "EN-RW-STANFORD.txt",
}
LR = {"skip-gram": 0.025, "cbow": 0.05}  # the C program's; gensim is given the same
THREADS = 2


# --- one side, in its own process ------------------------------------------------------------------------------------


def train(side: str, text: Path, objective: str, dimension: int, epochs: int, seed: int, threads: int) -> Any:
    """(seconds of training, seconds in all, vectors) of one side. Imports are outside the clock."""
    import wordloom.vectors.embeddings
    import wordloom.vectors.training  # noqa: F401

    begun = time.perf_counter()
    trained, vectors = {"ours": ours, "plain": ours, "gensim": gensim, "gensim-iterator": gensim, "fasttext": fasttext}[
        side
    ](side, text, objective, dimension, epochs, seed, threads)
    return trained, time.perf_counter() - begun, vectors


def ours(side: str, text: Path, objective: str, dimension: int, epochs: int, seed: int, threads: int) -> Any:
    from wordloom.api.word2vec import trained_vectors
    from wordloom.config import CorpusConfig, VectorsConfig
    from wordloom.data.corpus import Corpus
    from wordloom.vectors.encode import build
    from wordloom.vectors.training import Trainer
    from wordloom.vectors.weights import new_weights

    config = VectorsConfig(objective=objective, dimension=dimension, epochs=epochs, seed=seed, words="split")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(CorpusConfig(paths=(str(text),), documents="line"))
        vocabulary, ids = build(corpus, config, Path(folder) / "ids", threads)
        size = len(vocabulary)
        trainer = Trainer(
            ids.ids, ids.starts, vocabulary.counts, new_weights(size, size, config), config,
            threads=threads, plain=side == "plain",
        )  # fmt: skip
        compiling = trainer.compile()
        begun = time.perf_counter()
        trainer.work()
        seconds = time.perf_counter() - begun
    return {"train": seconds, "compile": compiling}, trained_vectors(trainer, vocabulary)


def gensim(side: str, text: Path, objective: str, dimension: int, epochs: int, seed: int, threads: int) -> Any:
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence

    from wordloom.vectors.embeddings import Vectors

    source: dict[str, Any] = {"corpus_file": str(text)} if side == "gensim" else {"corpus_iterable": LineSentence(text)}
    model = Word2Vec(
        vector_size=dimension, window=5, min_count=5, sample=1e-3, negative=5, sg=int(objective == "skip-gram"),
        alpha=LR[objective], min_alpha=1e-4 * LR[objective], workers=threads, seed=seed,
    )  # fmt: skip
    model.build_vocab(**source)
    begun = time.perf_counter()
    model.train(**source, total_words=model.corpus_total_words, total_examples=model.corpus_count, epochs=epochs)
    seconds = time.perf_counter() - begun
    return {"train": seconds}, Vectors(list(model.wv.index_to_key), model.wv.vectors)


def fasttext(side: str, text: Path, objective: str, dimension: int, epochs: int, seed: int, threads: int) -> Any:
    import fasttext as library

    from wordloom.vectors.embeddings import Vectors

    def run(passes: int) -> Any:
        return library.train_unsupervised(
            str(text), model="skipgram" if objective == "skip-gram" else "cbow", dim=dimension, ws=5, epoch=passes,
            minCount=5, neg=5, t=1e-3, maxn=0, minn=0, lr=LR[objective], thread=threads, verbose=0,
        )  # fmt: skip

    begun = time.perf_counter()
    model = run(epochs)
    middle = time.perf_counter()
    run(2 * epochs)
    once, twice = middle - begun, time.perf_counter() - middle
    words = model.get_words(on_unicode_error="replace")
    unique = {w: i for i, w in enumerate(words)}
    matrix = model.get_input_matrix()[list(unique.values())]
    return {"train": twice - once}, Vectors(list(unique), matrix.astype(np.float32))


def one(options: argparse.Namespace) -> None:
    text = Path(options.text)
    words = int(text.with_suffix(".words").read_text())
    trained, total, vectors = train(
        options.side, text, options.objective[0], options.dimension[0], options.epochs[0], options.seed, options.threads
    )
    result = {
        "words_per_second": words * options.epochs[0] / trained["train"],
        "train_seconds": trained["train"],
        "total_seconds": total - trained.get("compile", 0.0),
        "compile_seconds": trained.get("compile"),
        **_common.usage(),
    }
    if options.judge:
        result |= judge(vectors, Path(options.judge))
    print(json.dumps(result))


def judge(vectors: Any, folder: Path) -> dict[str, Any]:
    """Scores, and what the paired bootstrap needs (kept in files beside the text, not in the result)."""
    from wordloom.vectors.intrinsic import evaluate_analogies, evaluate_pairs, read_analogies, read_pairs

    sets = {name: evaluate_pairs(vectors, read_pairs(folder / file)) for name, file in SETS.items()}
    analogies = evaluate_analogies(vectors, read_analogies(folder / "questions-words.txt"))
    scores = {name: {"value": r.spearman.value, "covered": r.covered, "total": r.total} for name, r in sets.items()}
    scores["analogies"] = {
        "value": analogies.accuracy.value, "covered": analogies.covered, "total": analogies.total,
    }  # fmt: skip
    similarities = {
        name: [None if np.isnan(x) else round(float(x), 6) for x in r.similarity] for name, r in sets.items()
    }
    correct = [None if np.isnan(x) else int(x) for x in analogies.correct]
    return {"scores": scores, "similarities": similarities, "correct": correct}


# --- the benchmarks --------------------------------------------------------------------------------------------------


def prepare(folder: Path, corpus: str, words: int | None) -> Path:
    """The set's text as one lower-cased document a line, and the number of its words beside it."""
    target, count = folder / "text.txt", 0
    source = DATA / "pretrain" / f"{corpus}.txt.gz"
    if not source.is_file():
        sys.exit(f"{source} is not there: set WORDLOOM_DATA")
    with gzip.open(source, "rt", encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for line in lines:
            tokens = line.lower().split()
            for at in range(0, len(tokens), 10_000):  # gensim cuts longer sentences
                out.write(" ".join(tokens[at : at + 10_000]) + "\n")
            count += len(tokens)
            if words is not None and count >= words:
                break
    target.with_suffix(".words").write_text(str(count))
    return target


def arguments(side: str, text: Path, objective: str, dimension: int, epochs: int = 1, **more: Any) -> list[object]:
    found: list[object] = ["one", "--side", side, "--text", text, "--objective", objective, "--dimension", dimension]
    found += ["--epochs", epochs]
    for key, value in more.items():
        found += [f"--{key}", value]
    return found


def speed(options: argparse.Namespace) -> dict[str, Any]:
    sides = ["ours", "plain", "gensim", *([] if options.no_fasttext else ["fasttext"])]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        for side in ("ours", "plain"):  # compile once, outside the clock
            for objective in options.objective:
                _common.in_fresh_process(__file__, arguments(side, text, objective, 100), THREADS)
        for objective in options.objective:
            for dimension in options.dimension:
                chosen = {s: arguments(s, text, objective, dimension) for s in sides}
                found = _common.alternating(__file__, chosen, options.runs, THREADS)
                rows.append(compared(found, objective, dimension, "words_per_second"))
                print(json.dumps(rows[-1]), file=sys.stderr)
    return {"what": "words/s of the training phase, one epoch", "words": options.words, "rows": rows}


def total(options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", None)
        for objective in options.objective:
            for epochs in (1, 5):
                sides = {s: arguments(s, text, objective, 100, epochs) for s in ("ours", "gensim")}
                found = _common.alternating(__file__, sides, options.runs, THREADS)
                rows.append({"epochs": epochs, **compared(found, objective, 100, "total_seconds")})
                print(json.dumps(rows[-1]), file=sys.stderr)
        environment = dict(os.environ)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["NUMBA_CACHE_DIR"] = cache
            cold = _common.in_fresh_process(__file__, arguments("ours", text, "skip-gram", 100, 1), THREADS)
        os.environ.clear()
        os.environ.update(environment)
    return {
        "what": "seconds from a text file to vectors, d = 100, compilation apart",
        "rows": rows,
        "cold_compile_seconds": cold["compile_seconds"],
    }


def compared(found: dict[str, list[dict[str, Any]]], objective: str, dimension: int, key: str) -> dict[str, Any]:
    row: dict[str, Any] = {"objective": objective, "dimension": dimension}
    row[key] = {side: round(_common.median(runs, key), 2) for side, runs in found.items()}
    row["peak_memory_mb"] = {side: _common.median(runs, "peak_memory_mb") for side, runs in found.items()}
    pairs = [
        (side, peer) for side in ("ours", "plain") for peer in ("gensim", "fasttext") if {side, peer} <= found.keys()
    ]
    over = key == "total_seconds"
    row["times_faster"] = {
        f"{side} / {peer}": _common.ratio(*((found[peer], found[side]) if over else (found[side], found[peer])), key)
        for side, peer in pairs
    }
    row["runs"] = {side: [round(r[key], 2) for r in runs] for side, runs in found.items()}
    return row


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """The same epochs, seeds 1..S: ours minus gensim with a paired bootstrap over items and seeds."""
    from wordloom.metrics import gain_over_seeds
    from wordloom.vectors.intrinsic import PairsResult, read_pairs, spearman_gain

    rows = []
    folder = DATA / "vectors"
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), options.corpus, None)
        for objective in options.objective:
            for epochs in options.epochs:
                runs: dict[str, list[dict[str, Any]]] = {}
                for seed in range(1, options.seeds + 1):
                    for side in options.sides:
                        chosen = arguments(side, text, objective, 100, epochs, seed=seed, judge=folder)
                        found = _common.in_fresh_process(__file__, chosen, THREADS)
                        runs.setdefault(side, []).append(found)
                        values = {k: round(100 * v["value"], 2) for k, v in found["scores"].items()}
                        print(side, objective, epochs, seed, json.dumps(values), file=sys.stderr, flush=True)
                row: dict[str, Any] = {"objective": objective, "epochs": epochs, "seeds": options.seeds, "scores": {}}
                for metric in (*SETS, "analogies"):
                    means = {s: round(100 * statistics.mean(r["scores"][metric]["value"] for r in rs), 2)
                             for s, rs in runs.items()}  # fmt: skip
                    covered = runs["ours"][0]["scores"][metric]
                    row["scores"][metric] = {"means": means, "covered": covered["covered"], "total": covered["total"]}
                    for peer in runs.keys() - {"ours"}:
                        if metric == "analogies":
                            a, b = (np.array([r["correct"] for r in runs[s]], np.float64) for s in ("ours", peer))
                            there = ~np.isnan(a).any(0) & ~np.isnan(b).any(0)
                            gain = gain_over_seeds(a[:, there], b[:, there])
                            value, low, high = gain.difference, gain.low, gain.high
                        else:
                            gold = np.array([p.score for p in read_pairs(folder / SETS[metric])])
                            a, b = (
                                [PairsResult(None, 0, 0, gold, np.array(r["similarities"][metric], np.float64))  # type: ignore[arg-type]
                                 for r in runs[s]] for s in ("ours", peer)
                            )  # fmt: skip
                            score = spearman_gain(a, b)
                            value, low, high = score.value, score.low, score.high
                        row["scores"][metric][f"ours - {peer}"] = {
                            "points": round(100 * value, 2), "low": round(100 * low, 2), "high": round(100 * high, 2),
                            "verdict": "not worse" if 100 * low > -1 else "worse",
                        }  # fmt: skip
                rows.append(row)
    return {"what": "quality at equal epochs, d = 100", "corpus": options.corpus, "margin_points": -1.0, "rows": rows}


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        for objective in options.objective:
            sides = {f"{n} threads": arguments("ours", text, objective, 100, 3, threads=n) for n in (1, 2)}
            found = _common.alternating(__file__, sides, options.runs, THREADS)
            medians = {k: _common.median(v, "words_per_second") for k, v in found.items()}
            two_over_one = _common.ratio(found["2 threads"], found["1 threads"], "words_per_second")
            rows.append({"objective": objective, "words_per_second": medians, "two_over_one": two_over_one})
            for dimension in (50, 100, 200, 300, 600):
                runs = [_common.in_fresh_process(__file__, arguments("ours", text, objective, dimension), THREADS)
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
                found = _common.in_fresh_process(__file__, arguments("ours", text, objective, 100), THREADS)
                limit = (1.15 * 2 * size * 100 * 4 + 4 * len(words)) / 1e6 + 300
                rows.append({"objective": objective, "vocabulary": size, "words_per_second": found["words_per_second"],
                             "peak_memory_mb": found["peak_memory_mb"], "limit_mb": limit})  # fmt: skip
            print(json.dumps(rows[-1]), file=sys.stderr)
    return {"what": "words/s by threads, dimension and vocabulary", "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "total", "quality", "scaling", "one"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--words", type=int, default=3_000_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--dimension", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--objective", nargs="+", default=["skip-gram", "cbow"])
    parser.add_argument("--sides", nargs="+", default=["ours", "gensim", "gensim-iterator"])
    parser.add_argument("--corpus", default="baby10m")
    parser.add_argument("--no-fasttext", action="store_true")
    for name in ("side", "text", "judge"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    if options.what == "one":
        return one(options)
    facts = _common.machine(THREADS)
    result = {"speed": speed, "total": total, "quality": quality, "scaling": scaling}[options.what](options)
    head = {"command": " ".join(["python", "benchmarks/word2vec.py", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": facts}  # fmt: skip
    name = f"word2vec_{options.what}" + (f"_{options.corpus}" if options.what == "quality" else "")
    print(_common.write(name, {**head, **result}))


if __name__ == "__main__":
    main()
