"""Word2Vec on a GPU against the kernels on the processor of the same machine, and what the size of a batch does.

    python benchmarks/word2vec_gpu.py speed   [--runs 3] [--epochs 3] [--dimension 100 300]   needs CUDA, or says so
    python benchmarks/word2vec_gpu.py batches [--words 1500000]                               on the GPU, or without one

``speed``: both sides train on ``baby10m`` (text as in word2vec_sides.py), the processor with all its cores; words/s of
the training phase in running words, GPU start-up and compiling apart; held-out loss, word pairs and analogies beside
it. Every run is a process of its own, rounds alternate the sides. ``batches``: the held-out loss after an epoch by
windows in a batch, against the kernels' with the same seed. Writes benchmarks/results/word2vec_gpu_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
from word2vec_sides import judge, prepare, report

THREADS = os.cpu_count() or 1


# --- one training, in its own process --------------------------------------------------------------------------------


def one(options: argparse.Namespace) -> None:
    import torch

    from wordloom.api.word2vec import trained_vectors
    from wordloom.config import CorpusConfig, VectorsConfig
    from wordloom.data.corpus import Corpus
    from wordloom.vectors.encode import build
    from wordloom.vectors.gpu import GpuTrainer
    from wordloom.vectors.training import Trainer
    from wordloom.vectors.weights import new_weights

    text, words = Path(options.text), int(Path(options.text).with_suffix(".words").read_text())
    config = VectorsConfig(
        objective=options.objective[0], dimension=options.dimension[0], epochs=options.epochs, seed=options.seed,
        words="split",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(CorpusConfig(paths=(str(text),), documents="line"))
        vocabulary, ids = build(corpus, config, Path(folder) / "ids", THREADS)
        data = (ids.ids, ids.starts, vocabulary.counts, new_weights(len(vocabulary), len(vocabulary), config), config)
        if options.side == "kernels":
            trainer = Trainer(*data, threads=options.threads)
        else:
            trainer = GpuTrainer(*data, device=torch.device(options.side), batch=options.batch)
        ready = trainer.compile()
        begun = time.perf_counter()
        trainer.work()  # ends with the weights in memory
        seconds = time.perf_counter() - begun
        loss = trainer.loss()
        result: dict[str, Any] = {"words_per_second": words * options.epochs / seconds, "seconds": seconds}
        result |= {"ready_seconds": ready, "loss": loss, "batch": getattr(trainer, "batch", 1), **_common.usage()}
        if options.side == "cuda":
            result["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
        if options.judge:
            result["scores"] = judge(trained_vectors(trainer, vocabulary), "en", None)["scores"]
    print(json.dumps(result))


def arguments(side: str, text: Path, objective: str, dimension: int, epochs: int, **more: Any) -> list[object]:
    found: list[object] = ["one", "--side", side, "--text", text, "--objective", objective, "--dimension", dimension]
    found += ["--epochs", epochs]
    for key, value in more.items():
        found += [f"--{key}"] if value is True else [f"--{key}", value]
    return found


# --- the measurements ------------------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    rows = []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        for objective in options.objective:
            for dimension in options.dimension:
                common = (text, objective, dimension, options.epochs)
                sides = {
                    "gpu": arguments("cuda", *common, judge=True),
                    "kernels": arguments("kernels", *common, judge=True, threads=THREADS),
                }
                _common.in_fresh_process(__file__, arguments("kernels", text, objective, dimension, 1), THREADS)
                found = _common.alternating(__file__, sides, options.runs, THREADS)
                row: dict[str, Any] = {
                    "objective": objective,
                    "dimension": dimension,
                    "batch": found["gpu"][0]["batch"],
                }
                for key in ("words_per_second", "loss", "ready_seconds"):
                    row[key] = {side: round(_common.median(runs, key), 4) for side, runs in found.items()}
                row["times_faster"] = _common.ratio(found["gpu"], found["kernels"], "words_per_second")
                row["scores"] = {side: [run["scores"] for run in runs] for side, runs in found.items()}
                rows.append(row)
    return {"what": "words/s of the training phase", "gpu": torch.cuda.get_device_name(), "cores": THREADS,
            "epochs": options.epochs, "rows": rows}  # fmt: skip


def batches(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    device, rows = "cuda" if torch.cuda.is_available() else "cpu", []
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words or 1_500_000)
        for objective in options.objective:
            found = {"kernels": arguments("kernels", text, objective, 100, 1)}
            sizes = ["chosen", 64, 256, 512, 1024, 2048, 4096, 8192]
            for size in sizes:
                more = {} if size == "chosen" else {"batch": size}
                found[str(size)] = arguments(device, text, objective, 100, 1, **more)
            losses = {}
            for side, line in found.items():
                results = [_common.in_fresh_process(__file__, [*line, "--seed", s], 1) for s in range(options.seeds)]
                losses[side] = {"batch": results[0]["batch"], "losses": [r["loss"] for r in results]}
                print(objective, side, losses[side], flush=True)
            rows.append({"objective": objective, "losses": losses})
    return {"what": "held-out loss after one epoch, d = 100, by windows in a batch", "device": device, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "batches", "one"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--words", type=int)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--objective", nargs="+", default=["skip-gram", "cbow"])
    parser.add_argument("--dimension", type=int, nargs="+", default=[100, 300])
    for name in ("side", "text"):
        parser.add_argument(f"--{name}")
    for name, default in (("threads", 1), ("seed", 0), ("batch", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--judge", action="store_true")
    options = parser.parse_args()
    if options.what == "one":
        return one(options)
    if options.what == "speed":
        import torch

        if not torch.cuda.is_available():
            return print("skipped: there is no CUDA device here")
    report(
        f"word2vec_gpu_{options.what}", __file__, lambda: {"speed": speed, "batches": batches}[options.what](options)
    )


if __name__ == "__main__":
    main()
