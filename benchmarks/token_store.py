"""Raw text to ids on disk: wordloom's token store against ``datasets.map`` with ``AutoTokenizer``.

    python benchmarks/token_store.py [--data DIR] [--runs 3] [--vocabulary 8192]

Both sides read the same decompressed file with the same WordPiece tokenizer and leave ids on disk; runs alternate
and the median counts. The peer is the usual script: ``load_dataset("text")``, then ``map`` with a fast tokenizer,
``batched=True``, ``batch_size=1000``, ``num_proc=2``, attention mask and token types switched off, nothing cached
from run to run. Its time is that of ``map`` alone (reading the text into Arrow is reported apart), ours is
everything from the text file to the finished store, word, sentence and document starts included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _common

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with pretrain/english_novels_50.txt.gz")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=8192)
    options = parser.parse_args()
    packed = options.data / "pretrain" / "english_novels_50.txt.gz"
    if not packed.is_file():
        sys.exit(f"{packed} is not there: give --data")
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder), gzip.decompress(packed.read_bytes()), options.runs, options.vocabulary)
    _common.write("token_store", result)
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


def compare(folder: Path, raw: bytes, runs: int, vocabulary: int) -> dict[str, Any]:
    from wordloom.config import CorpusConfig, TokenizerConfig
    from wordloom.data.corpus import Corpus
    from wordloom.text.tokenizer import Tokenizer

    text = folder / "novels.txt"
    text.write_bytes(raw)
    corpus = CorpusConfig(paths=(str(text),), documents="line")  # a paragraph each: the peer's records, too
    learn = TokenizerConfig(kind="wordpiece", vocab_size=vocabulary, sample_mb=20)
    tokenizer = Tokenizer.train((document.text for document in Corpus(corpus)), learn)
    tokenizer.save(folder / "tokenizer")
    megabytes = len(raw) / 1e6
    ours, theirs, reading, facts = [], [], [], {}
    for run in range(runs + 1):  # the first run of each warms caches and compiled kernels, and is not counted
        seconds, facts_ours = build_ours(folder, corpus, tokenizer)
        map_seconds, read_seconds, facts_theirs = build_theirs(folder, text)
        if run:
            ours.append(megabytes / seconds)
            theirs.append(megabytes / map_seconds)
            reading.append(read_seconds)
        facts = facts_ours | facts_theirs
        if facts_ours["tokens"] != facts_theirs["peer_tokens"]:
            sys.exit(f"the sides disagree: {facts_ours['tokens']} tokens, {facts_theirs['peer_tokens']} in the peer")
    return {
        "what": "MB/s of raw text to ids on disk",
        "command": _common.command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": "none: nothing is random",
        "text_mb": megabytes,
        "wordloom_mb_per_s": statistics.median(ours),
        "datasets_map_mb_per_s": statistics.median(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "target_ratio": 2.0,
        "target_disk_ratio": 1.1,
        **facts,
        "runs": {"wordloom": ours, "datasets_map": theirs, "datasets_reading_seconds": reading},
        "machine": _common.machine(os.cpu_count() or 1),
    }


def build_ours(folder: Path, config: Any, tokenizer: Any) -> tuple[float, dict[str, Any]]:
    from wordloom.data.corpus import Corpus
    from wordloom.data.store import build_store

    target = folder / "store"
    shutil.rmtree(target, ignore_errors=True)
    start = time.perf_counter()
    store = build_store(Corpus(config), tokenizer, target)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in target.iterdir())
    facts = {"tokens": len(store.tokens), "documents": store.documents, "disk_bytes": size}
    return seconds, facts | {"disk_ratio": size / (2 * len(store.tokens))}


def build_theirs(folder: Path, text: Path) -> tuple[float, float, dict[str, Any]]:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    cache = folder / "datasets"
    shutil.rmtree(cache, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)

    def encode(batch: dict[str, list[str]]) -> Any:
        return tokenizer(
            batch["text"], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )

    start = time.perf_counter()
    lines = datasets.load_dataset("text", data_files=str(text), split="train", cache_dir=str(cache))
    read = time.perf_counter() - start
    start = time.perf_counter()
    ids = lines.map(encode, batched=True, batch_size=1000, num_proc=2, remove_columns=["text"])
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in cache.rglob("cache-*.arrow"))
    tokens = sum(len(row) for chunk in ids.data.column("input_ids").chunks for row in chunk)
    return seconds, read, {"peer_tokens": tokens, "peer_disk_bytes": size}


if __name__ == "__main__":
    main()
