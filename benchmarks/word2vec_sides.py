"""One side of the Word2Vec benchmarks in a process of its own: trains, times, judges, prints a line of JSON.

``word2vec.py`` and ``word2vec_quality.py`` call it. The text is the set's, lower-cased and split at white space
(Chinese: cut by jieba), one document a line, the same file for every side: window 5, 5 noise words, sample 1e-3, words
seen 5 times or more, 2 threads; ours trains on 199 of 200 documents or more, the others being held out. fastText has a
noise exponent of 0.5 and no seed; it reads, counts and trains in one call, so a call of no epochs is taken off.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import _common
import jieba
import numpy as np

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PAIRS = {
    "en": {
        "WordSim-353": "EN-WS-353-ALL.txt",
        "SimLex-999": "EN-SIMLEX-999.txt",
        "MEN": "EN-MEN-TR-3k.txt",
        "RareWords": "EN-RW-STANFORD.txt",
    },
    "zh": {"WordSim-240": "wordsim-240.txt", "WordSim-297": "wordsim-297.txt"},
}
ANALOGIES = {
    "en": {"analogies": "questions-words.txt"},
    "zh": {"CA8 semantic": "ca8_semantic.txt", "CA8 morphological": "ca8_morphological.txt"},
}
LR = {"skip-gram": 0.025, "cbow": 0.05}  # the C program's, for gensim and fastText; ours has its own, 0.035 and 0.1
THREADS = 2


SIDES = str(Path(__file__).resolve())


# --- training and judging --------------------------------------------------------------------------------------------


def train(options: argparse.Namespace) -> Any:
    """(facts of the training, seconds in all, vectors) of one side. Imports are outside the clock."""
    side = {"ours": ours, "plain": ours, "fasttext": fasttext}.get(options.side, gensim)
    needed = {ours: ["wordloom.api.word2vec"], gensim: ["gensim.models.word2vec"], fasttext: ["fasttext"]}[side]
    for name in [*needed, "wordloom.vectors.embeddings"]:
        import_module(name)
    common = (Path(options.text), options.objective[0], options.dimension[0], options.epochs[0])
    begun = time.perf_counter()
    trained, vectors = side(options, *common)
    return trained, time.perf_counter() - begun, vectors


def ours(options: argparse.Namespace, text: Path, objective: str, dimension: int, epochs: int) -> Any:
    from wordloom.api.word2vec import trained_vectors
    from wordloom.config import CorpusConfig, VectorsConfig, make
    from wordloom.data.corpus import Corpus
    from wordloom.vectors.encode import build
    from wordloom.vectors.training import Trainer
    from wordloom.vectors.weights import gram_rows, new_weights

    values: dict[str, Any] = {"objective": objective, "dimension": dimension, "epochs": epochs, "words": "split"}
    values |= {"seed": options.seed, "subwords": options.ngrams, **json.loads(options.values)}
    config = make(VectorsConfig, values)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(CorpusConfig(paths=(str(text),), documents="line"))
        vocabulary, ids = build(corpus, config, Path(folder) / "ids", options.threads)
        size = len(vocabulary)
        rows = size + config.buckets * config.subwords
        trainer = Trainer(
            ids.ids, ids.starts, vocabulary.counts, new_weights(rows, size, config), config,
            grams=gram_rows(vocabulary.words, config) if config.subwords else None,
            threads=options.threads, plain=options.side == "plain",
        )  # fmt: skip
        compiling = trainer.compile()
        begun = time.perf_counter()
        trainer.work()
        seconds = time.perf_counter() - begun
    return {"train": seconds, "compile": compiling}, trained_vectors(trainer, vocabulary)


def gensim(options: argparse.Namespace, text: Path, objective: str, dimension: int, epochs: int) -> Any:
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence

    from wordloom.vectors.embeddings import Vectors

    source: dict[str, Any] = {"corpus_file": str(text)}
    if options.side == "gensim-iterator":
        source = {"corpus_iterable": LineSentence(text)}
    model = Word2Vec(
        vector_size=dimension, window=5, min_count=5, sample=1e-3, negative=5, sg=int(objective == "skip-gram"),
        alpha=LR[objective], min_alpha=1e-4 * LR[objective], workers=options.threads,
        seed=options.seed,
    )  # fmt: skip
    model.build_vocab(**source)
    begun = time.perf_counter()
    model.train(**source, total_words=model.corpus_total_words, total_examples=model.corpus_count, epochs=epochs)
    seconds = time.perf_counter() - begun
    return {"train": seconds}, Vectors(list(model.wv.index_to_key), model.wv.vectors)


def fasttext(options: argparse.Namespace, text: Path, objective: str, dimension: int, epochs: int) -> Any:
    import fasttext as library

    from wordloom.vectors.formats import open_vectors

    def run(passes: int) -> Any:
        return library.train_unsupervised(
            str(text), model="skipgram" if objective == "skip-gram" else "cbow", dim=dimension, ws=5, epoch=passes,
            minCount=5, neg=5, t=1e-3, minn=3 * options.ngrams, maxn=6 * options.ngrams, lr=LR[objective],
            thread=options.threads, verbose=0,
        )  # fmt: skip

    begun = time.perf_counter()
    run(0)
    middle = time.perf_counter()
    model = run(epochs)
    seconds = time.perf_counter() - middle - (middle - begun)
    if not options.judge:
        return {"train": seconds}, None
    with tempfile.TemporaryDirectory() as folder:
        model.save_model(f"{folder}/model.bin")
        return {"train": seconds}, open_vectors(f"{folder}/model.bin")


def one(options: argparse.Namespace) -> None:
    text = Path(options.text)
    words = int(text.with_suffix(".words").read_text())
    trained, total, vectors = train(options)
    result = {
        "words_per_second": words * options.epochs[0] / trained["train"],
        "train_seconds": trained["train"],
        "total_seconds": total - trained.get("compile", 0.0),
        "compile_seconds": trained.get("compile"),
        **_common.usage(),
    }
    if options.judge:
        result |= judge(vectors, options.judge, "subwords" if options.ngrams else "skip")
    print(json.dumps(result))


def judge(vectors: Any, language: str, missing: Any) -> dict[str, Any]:
    """Scores of every set of the language, and of every item what the paired bootstrap needs."""
    from wordloom.vectors.intrinsic import evaluate_analogies, evaluate_pairs, read_analogies, read_pairs

    scores, items = {}, {}
    for name, file in PAIRS[language].items():
        pairs = evaluate_pairs(vectors, read_pairs(DATA / "vectors" / file), missing=missing)
        scores[name] = {"value": pairs.spearman.value, "covered": pairs.covered, "total": pairs.total}
        items[name] = pairs.similarity
    for name, file in ANALOGIES[language].items():
        analogies = evaluate_analogies(vectors, read_analogies(DATA / "vectors" / file))
        scores[name] = {"value": analogies.accuracy.value, "covered": analogies.covered, "total": analogies.total}
        items[name] = analogies.correct
    plain = {name: [None if np.isnan(x) else round(float(x), 6) for x in found] for name, found in items.items()}
    return {"scores": scores, "items": plain}


# --- for the benchmarks ----------------------------------------------------------------------------------------------


def documents(corpus: str) -> Iterator[list[str]]:
    """The words of each document: ``zh`` is the laws and the reviews cut by jieba, the others lower-cased English."""
    for name in ("zh_laws", "zh_reviews") if corpus == "zh" else (corpus,):
        source = DATA / "pretrain" / f"{name}.txt.gz"
        if not source.is_file():
            sys.exit(f"{source} is not there: set WORDLOOM_DATA")
        with gzip.open(source, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield " ".join(jieba.cut(line)).split() if corpus == "zh" else line.lower().split()


def prepare(folder: Path, corpus: str, words: int | None) -> Path:
    """The set's text as one document a line, and the number of its words beside it."""
    target, count = folder / "text.txt", 0
    with target.open("w", encoding="utf-8") as out:
        for tokens in documents(corpus):
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
        found += [f"--{key}"] if value is True else [f"--{key}", value]
    return found


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


def options_of(description: str | None, modes: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=modes)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--words", type=int, default=3_000_000)
    parser.add_argument("--dimension", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--objective", nargs="+", default=["skip-gram", "cbow"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--corpus", default="baby10m")
    return parser


def report(name: str, script: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure, and write benchmarks/results/NAME.json."""
    head = {"command": _common.command(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _common.machine(THREADS)}  # fmt: skip
    print(_common.write(name, {**head, **measure()}))


def main() -> None:
    parser = options_of(__doc__, ["one"])
    for name in ("side", "text", "judge"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--ngrams", action="store_true")
    parser.add_argument("--values", default="{}")
    one(parser.parse_args())


if __name__ == "__main__":
    main()
