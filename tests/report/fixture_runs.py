"""Run directories as the other rooms leave them, with invented numbers; made by seed, no training."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

LABELS = ["matplotlib", "mypy", "networkx", "numba", "numpy", "pandas", "python", "scipy", "sklearn", "sympy", "torch"]
ENVIRONMENT = {
    "python": "3.11.9",
    "torch": "2.13.0",
    "wordloom": "0.1.0",
    "platform": "Linux x86_64",
    "cpu": "Example CPU",
    "cores": 2,
    "threads": 2,
    "device": "cpu",
    "precision": "float32",
}
FILES = [
    {"path": "bundle/config.json", "bytes": 812, "sha256": "0f" * 32},
    {"path": "bundle/model.safetensors", "bytes": 21_734_400, "sha256": "a3" * 32},
    {"path": "bundle/tokenizer.json", "bytes": 412_310, "sha256": "7c" * 32},
]


def score(value: float, half: float = 0.015) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def write(
    folder: Path,
    manifest: dict[str, Any] | None,
    scores: dict[str, Any] | None,
    rows: list[dict[str, Any]] | None = None,
    recipe: str | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("manifest.json", manifest), ("scores.json", scores)):
        if values is not None:
            (folder / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    if rows is not None:
        text = "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 99'  # as a killed run leaves it
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    if recipe is not None:
        (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    return folder


def pretrain(folder: Path) -> Path:
    rng = random.Random(1)
    rows: list[dict[str, Any]] = []
    for step in range(10, 3001, 10):
        loss = 3.1 + 6.0 * math.exp(-step / 420) + rng.gauss(0, 0.12)
        rows.append({"step": step, "loss": loss, "lr": 1e-3, "tokens_per_second": 20000 + rng.gauss(0, 300)})
        if step % 300 == 0:
            rows.append({"step": step, "evaluation": {"loss": 3.15 + 6.0 * math.exp(-step / 420)}})
    manifest = {
        "kind": "pretrain",
        "status": "finished",
        "created": "2026-01-31T10:00:00+00:00",
        "seconds": 312.5,
        "seeds": [0],
        "command": "wordloom run recipes/demo.toml",
        "unigram_entropy": 6.421,
        "model": {
            "preset": "bert-mini",
            "parameters": 5_421_056,
            "layers": 4,
            "width": 256,
            "heads": 4,
            "max_positions": 512,
        },
        "tokenizer": {"kind": "wordpiece", "vocab_size": 8192, "bytes_per_token": 4.13, "unknown_share": 0.0004},
        "data": {
            "corpus": {
                "file": "corpus.txt",
                "documents": 48040,
                "words": 2_927_169,
                "bytes": 17_712_232,
                "sha256": "5b" * 32,
            },
            "held out": {"documents": 480, "words": 29_105},
        },
        "warnings": [
            "112 documents (0.2 %) are near duplicates of another one.",
            "3 lines were not valid UTF-8; the first is corpus.txt:1882.",
        ],
        "throughput": {"tokens_per_second": 20412.7, "peak_share": 0.61, "peak_memory_bytes": 1.21e9},
        "forecast": {
            "forecast": {"seconds": 300.0, "tokens_per_second": 21000.0, "steps": 3000},
            "actual": {"seconds": 312.5, "tokens_per_second": 20412.7, "steps": 3000},
        },
        "environment": ENVIRONMENT,
        "files": FILES,
        "hashes": {"tokenizer": "7c" * 32},
    }
    scores = {
        "main": "loss",
        "examples": 6120,
        "scores": {"loss": score(3.158, 0.021), "perplexity": 23.52, "masked_accuracy": score(0.412, 0.012)},
    }
    recipe = '[corpus]\npaths = ["corpus.txt"]\n\n[model]\npreset = "bert-mini"\n\n[train]\nsteps = 3000\n'
    return write(folder, manifest, scores, rows, recipe)


def finetune(folder: Path, labels: list[str] = LABELS) -> Path:
    rng = random.Random(2)
    n, each = len(labels), 164
    matrix = [[0] * n for _ in range(n)]
    for i in range(n):
        for _ in range(each):
            matrix[i][i if rng.random() < 0.71 else min(n - 1, int(rng.random() ** 1.6 * n))] += 1
    right = sum(matrix[i][i] for i in range(n)) / (n * each)
    bins = [
        {"confidence": c / 10 + 0.05, "accuracy": min(1.0, (c / 10) ** 1.4 + 0.05), "count": 30 + c * c * 4}
        for c in range(2, 10)
    ]
    after = [
        {"confidence": c / 10 + 0.05, "accuracy": c / 10 + 0.05 + rng.gauss(0, 0.02), "count": 60 + c * 12}
        for c in range(2, 10)
    ]
    rows: list[dict[str, Any]] = []
    for step in range(5, 401, 5):
        rows.append({"step": step, "loss": 0.35 + 2.1 * math.exp(-step / 90) + rng.gauss(0, 0.08)})
        if step % 40 == 0:
            rows.append(
                {
                    "step": step,
                    "evaluation": {
                        "loss": 0.95 + 1.4 * math.exp(-step / 80) + (step / 400) ** 2 * 0.15,
                        "accuracy": 0.6,
                    },
                }
            )
    manifest = {
        "kind": "finetune",
        "status": "finished",
        "created": "2026-01-31T10:08:00+00:00",
        "seconds": 74.2,
        "seeds": [0],
        "parent": "demo-run/pretrained",
        "command": "wordloom finetune demo-run/pretrained train-2000.jsonl --test test.jsonl",
        "model": {"preset": "bert-mini", "parameters": 5_423_883, "layers": 4, "width": 256, "heads": 4},
        "data": {
            "train": {"file": "train-2000.jsonl", "examples": 1800, "words": 162_331, "sha256": "91" * 32},
            "valid": {"file": "split off train-2000.jsonl", "examples": 200, "words": 18_020},
            "test": {"file": "test.jsonl", "examples": n * each, "words": 160_002, "sha256": "e4" * 32},
            "labels": {label: 190 - 7 * i for i, label in enumerate(labels)},
        },
        "warnings": [],
        "environment": ENVIRONMENT,
        "files": FILES,
    }
    scores = {
        "main": "accuracy",
        "examples": n * each,
        "scores": {
            "accuracy": score(right, 0.021),
            "macro_f1": score(right - 0.004, 0.022),
            "mcc": score(right - 0.03, 0.024),
            "auroc": score(0.954, 0.006),
            "ece": score(0.031, 0.011),
        },
        "baseline": {
            "name": "TF-IDF + logistic regression",
            "scores": {
                "accuracy": score(0.618, 0.022),
                "macro_f1": score(0.611, 0.022),
                "mcc": score(0.583, 0.024),
                "auroc": score(0.921, 0.008),
                "ece": score(0.092, 0.014),
            },
        },
        "paired": {
            "name": "TF-IDF + logistic regression",
            "metric": "accuracy",
            "difference": score(right - 0.618, 0.024),
            "p": 0.0002,
            "verdict": "better",
        },
        "confusion": {"labels": labels, "matrix": matrix},
        "calibration": {"temperature": 1.61, "ece_before": 0.118, "ece_after": 0.031, "before": bins, "after": after},
        "worst": [
            {
                "text": "Return the roots of a polynomial with coefficients given in name. A rank-1 array holds them.",
                "gold": "numpy",
                "predicted": "sympy",
                "confidence": 0.993,
                "place": "test.jsonl:118",
            },
            {
                "text": "Compute the discrete Fourier transform along the given axis. " * 12,
                "gold": "scipy",
                "predicted": "numpy",
                "confidence": 0.981,
                "place": "test.jsonl:903",
            },
            {
                "text": "返回图中每个节点的度数。",
                "gold": "networkx",
                "predicted": "python",
                "confidence": 0.957,
                "place": "test.jsonl:44",
            },
        ],
        "unscored": {"count": 2, "reason": "no text"},
    }
    return write(folder, manifest, scores, rows, '[task]\nname = "classify"\n\n[data]\ntrain = "train-2000.jsonl"\n')


def comparison(folder: Path) -> Path:
    gain = {
        "metric": "accuracy",
        "rows": [
            {
                "labels": 200,
                "seeds": 3,
                "arms": {"pretrained": score(0.452, 0.018), "random": score(0.318, 0.021), "tfidf": score(0.363, 0.02)},
                "gain": score(0.134, 0.023),
                "verdict": "better",
            },
            {
                "labels": 2000,
                "seeds": 3,
                "arms": {
                    "pretrained": score(0.688, 0.014),
                    "random": score(0.561, 0.016),
                    "tfidf": score(0.618, 0.015),
                },
                "gain": score(0.127, 0.017),
                "verdict": "better",
            },
            {
                "labels": "all",
                "seeds": 1,
                "arms": {"pretrained": score(0.731, 0.014), "random": score(0.724, 0.016)},
                "gain": score(0.007, 0.012),
                "verdict": "no difference",
            },
        ],
    }
    manifest = {
        "kind": "compare",
        "status": "finished",
        "created": "2026-01-31T10:20:00+00:00",
        "seconds": 431.0,
        "seeds": [0, 1, 2],
        "environment": ENVIRONMENT,
    }
    return write(folder, manifest, {"gain": gain}, None, "[compare]\nlabels = [200, 2000]\nseeds = [0, 1, 2]\n")
