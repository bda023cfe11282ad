"""Answers a second beside transformers' pipeline: classification and tagging, the same weights, texts and answers.

    python benchmarks/inference.py [--runs 5] [--texts 2000] [--threads 1] [--preset bert-mini]

A classifier of SST-2 and a tagger of PeopleDaily's Chinese names are fine-tuned for a few steps (what an answer costs
matters, not what it says) and opened from the same bundle by both sides, in fresh processes that take turns. Texts are
of mixed lengths: SST-2 phrases and AG News stories in turn for the classifier, sentences for the tagger, all of them
short enough for a window of 128 tokens, so that both sides read the same. The pipeline has batches of 32, which it pads
to their longest; ours are packed. Labels must be equal and probabilities agree to 1e-4. The tagger allows no tag that
cannot follow the one before, and reads single characters, as its training file has them, where the pipeline's tokenizer
joins digits and letters: answers must be equal where neither makes a difference, on texts without either whose most
probable tags are possible; of all texts the share of equal answers is reported.
Writes benchmarks/results/inference.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
import time
import unicodedata
from datetime import date
from pathlib import Path
from typing import Any

import _common as common

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SST2 = DATA / "classify" / "sst2"
AGNEWS = DATA / "classify" / "agnews10k"
MSRA = DATA / "tag" / "peopledaily_msra"
BATCH = 32
READ = {"classify": 300, "tag": 120}  # characters, which are fewer than 128 tokens
TASKS = ("classify", "tag")


def make(folder: Path, preset: str) -> None:
    """A bundle a task, made once."""
    from wordloom import api

    quick: dict[str, Any] = {"train.steps": 20, "train.epochs": None, "train.length": 128, "tokenizer.vocab_size": 8192,
                             "train.evaluate_every": 300}  # fmt: skip
    if not (folder / "classify" / "bundle").exists():
        api.finetune(preset, SST2 / "train.tsv.gz", folder / "classify", overwrite=True, baseline=False, **quick,
                     **{"data.text": "sentence", "data.label": "label"})  # fmt: skip
    if not (folder / "tag" / "bundle").exists():
        api.finetune(preset, next(MSRA.glob("train*")), folder / "tag", task="tag", overwrite=True, baseline=False,
                     **{**quick, "train.steps": 300})  # fmt: skip


def inputs(task: str, count: int) -> list[str]:
    """Texts, shorter and longer ones mixed as they come."""
    from wordloom.data.examples import read_examples
    from wordloom.data.tagged import read_tagged

    if task == "tag":
        return [d for d in read_tagged(str(next(MSRA.glob("test*")))).documents if len(d) <= READ[task]][:count]
    short = read_examples(SST2 / "test.tsv.gz", text="sentence", label="label").texts
    long = read_examples(AGNEWS / "test.tsv.gz", text="1", label="2").texts
    mixed = [text for pair in zip(short, long, strict=False) for text in pair if len(text) <= READ[task]]
    return (mixed * (1 + count // len(mixed)))[:count]


def one_side(side: str, task: str, folder: Path, count: int, threads: int) -> dict[str, Any]:
    """One fresh process: a warm-up, then all texts once."""
    import torch

    torch.set_num_threads(threads)
    texts = inputs(task, count)
    run = (ours if side == "wordloom" else theirs)(task, folder / task / "bundle")
    run(texts[:64])
    begun, before = time.perf_counter(), time.process_time()
    answers = run(texts)
    seconds, used = time.perf_counter() - begun, time.process_time() - before
    return {"per_second": round(len(texts) / seconds, 1), "cpu_seconds": round(used, 2), "answers": answers}


def ours(task: str, bundle: Path) -> Any:
    from wordloom import api

    predictor = api.load(bundle)
    if task == "classify":
        names = predictor.labels

        def classify(texts: list[str]) -> list[Any]:  # before the temperature, which the pipeline does not know
            found = predictor.logits(texts).softmax(-1)
            return [[names[int(row.argmax())], float(row.max())] for row in found]

        return classify
    return lambda texts: [[[m.type, m.start, m.end] for m in found] for found in predictor.predict(texts)]


def theirs(task: str, bundle: Path) -> Any:
    from transformers import pipeline

    if task == "classify":
        classify = pipeline("text-classification", model=str(bundle), batch_size=BATCH, truncation=True)
        return lambda texts: [[row["label"], row["score"]] for row in classify(texts)]
    tag = pipeline("token-classification", model=str(bundle), batch_size=BATCH, aggregation_strategy="simple")
    return lambda texts: [[[r["entity_group"], r["start"], r["end"]] for r in rows] for rows in tag(texts)]


def agreement(task: str, a: list[Any], b: list[Any]) -> float:
    """Share of texts with the same answer; probabilities to 1e-4."""
    if task == "tag":
        return sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    return sum(x[0] == y[0] and abs(x[1] - y[1]) < 1e-4 for x, y in zip(a, b, strict=True)) / len(a)


def comparable(bundle: Path, texts: list[str]) -> list[bool]:
    """Whether a text's most probable tags are a possible sequence, and it has no characters that one side joins."""
    from transformers import pipeline

    tag = pipeline("token-classification", model=str(bundle), batch_size=BATCH, ignore_labels=[])

    def possible(rows: list[dict[str, Any]]) -> bool:
        tags = ["O", *(row["entity"] for row in rows)]
        return all(b[0] != "I" or a[1:] == b[1:] for a, b in itertools.pairwise(tags))

    single = [not re.search(r"[^\W\u4e00-\u9fff]{2}", unicodedata.normalize("NFKC", text)) for text in texts]
    return [alone and possible(rows) for alone, rows in zip(single, tag(texts), strict=True)]


def same_where_comparable(options: argparse.Namespace, a: list[Any], b: list[Any]) -> dict[str, Any]:
    """How many texts both sides must answer alike. Ends the benchmark where they do not."""
    chosen = comparable(options.folder / "tag" / "bundle", inputs("tag", options.texts))
    differ = sum(x != y for x, y, one in zip(a, b, chosen, strict=True) if one)
    if differ:
        sys.exit(f"the taggers disagree on {differ} of {sum(chosen)} texts that they read and decode alike")
    return {"comparable": sum(chosen)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--preset", default="bert-mini")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "inference")
    parser.add_argument("--side", nargs=2, help="side and task; for the fresh processes")
    options = parser.parse_args()
    if options.side:
        side, task = options.side
        print(json.dumps(one_side(side, task, options.folder, options.texts, options.threads)))
        return
    make(options.folder, options.preset)
    found: dict[str, Any] = {}
    shared = ["--texts", options.texts, "--threads", options.threads, "--folder", options.folder.resolve(), "--side"]
    for task in TASKS:
        sides: dict[str, list[object]] = {side: [*shared, side, task] for side in ("wordloom", "pipeline")}
        results = common.alternating(str(Path(__file__)), sides, options.runs, options.threads)
        mine, other = results["wordloom"], results["pipeline"]
        same = agreement(task, mine[0]["answers"], other[0]["answers"])
        if task == "classify" and same < 1:
            sys.exit(f"the sides disagree on {1 - same:.2%} of the texts")
        found[task] = {
            "texts": len(mine[0]["answers"]),
            "same_answers": round(same, 4),
            "per_second": {name: common.median(rows, "per_second") for name, rows in results.items()},
            "ratio": common.ratio(mine, other, "per_second"),
            **(same_where_comparable(options, mine[0]["answers"], other[0]["answers"]) if task == "tag" else {}),
            "ratio_of_processor_time": common.ratio(other, mine, "cpu_seconds"),
        }
    facts = {"what": __doc__.split("\n")[0], "date": date.today().isoformat(), "command": common.command()}
    facts |= {"preset": options.preset, "batch": BATCH, "machine": common.machine(options.threads)}
    print(common.write("inference", {**facts, "tasks": found}))


if __name__ == "__main__":
    main()
