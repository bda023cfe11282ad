"""The quality of Word2Vec vectors beside gensim's and fastText's, and what each setting does to it.

    python benchmarks/word2vec_quality.py quality --objective cbow [--corpus baby10m|imdb_unsup|zh] [--seeds 5]
    python benchmarks/word2vec_quality.py subwords [--runs 3] [--epochs 3]    character n-grams, beside fastText
    python benchmarks/word2vec_quality.py settings [--seeds 2]                window, noise words, dimension ... (ours)

Word pairs: Spearman's correlation with people's judgements; analogies: share answered. ``word2vec_sides`` says what
each side does. ``--keep FOLDER`` keeps finished runs, for a call that is interrupted. Writes
benchmarks/results/word2vec_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import _common
import numpy as np
from word2vec_sides import DATA, PAIRS, SIDES, THREADS, arguments, compared, options_of, prepare, report


def quality(options: argparse.Namespace) -> dict[str, Any]:
    """The same epochs, seeds 1..S: ours minus gensim with a paired bootstrap over items and seeds."""
    rows = []
    language = "zh" if options.corpus == "zh" else "en"
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), options.corpus, None)
        for objective in options.objective:
            for epochs in options.epochs:
                runs: dict[str, list[dict[str, Any]]] = {}
                for seed in range(1, options.seeds + 1):
                    for side in options.sides:
                        chosen = arguments(side, text, objective, 100, epochs, seed=seed, judge=language)
                        found = kept(options.keep, f"{options.corpus}-{side}-{objective}-{epochs}-{seed}", chosen)
                        runs.setdefault(side, []).append(found)
                        values = {k: round(100 * v["value"], 2) for k, v in found["scores"].items()}
                        print(side, objective, epochs, seed, json.dumps(values), file=sys.stderr, flush=True)
                scores = {metric: set_against(runs, metric, language) for metric in runs["ours"][0]["scores"]}
                rows.append({"objective": objective, "epochs": epochs, "seeds": options.seeds, "scores": scores})
    return {"what": "quality at equal epochs, d = 100", "corpus": options.corpus, "margin_points": -1.0, "rows": rows}


def kept(folder: Path | None, name: str, chosen: list[object]) -> dict[str, Any]:
    """One run, or its result where an earlier call that was interrupted left it in ``folder``."""
    file = folder / f"{name}.json" if folder else None
    if file and file.exists():
        return dict(json.loads(file.read_text()))
    found = _common.in_fresh_process(SIDES, chosen, THREADS)
    if file:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found))
    return found


def set_against(runs: dict[str, list[dict[str, Any]]], metric: str, language: str) -> dict[str, Any]:
    """Means over the seeds, in points, and ours minus every peer's; "worse" when the lower bound is below -1 point."""
    from wordloom.metrics import gain_over_seeds
    from wordloom.vectors.intrinsic import PairsResult, read_pairs, spearman_gain

    means = {s: round(100 * statistics.mean(r["scores"][metric]["value"] for r in rs), 2) for s, rs in runs.items()}
    covered = runs["ours"][0]["scores"][metric]
    row: dict[str, Any] = {"means": means, "covered": covered["covered"], "total": covered["total"]}
    items = {side: [np.array(r["items"][metric], np.float64) for r in found] for side, found in runs.items()}
    for peer in [side for side in runs if side != "ours"]:
        if metric in PAIRS[language]:
            gold = np.array([p.score for p in read_pairs(DATA / "vectors" / PAIRS[language][metric])])
            a, b = ([PairsResult(None, 0, 0, gold, found) for found in items[s]] for s in ("ours", peer))  # type: ignore[arg-type]
            score = spearman_gain(a, b)
            value, low, high = score.value, score.low, score.high
        else:
            a, b = (np.array(items[s]) for s in ("ours", peer))
            there = ~np.isnan(a).any(0) & ~np.isnan(b).any(0)
            gain = gain_over_seeds(a[:, there], b[:, there])
            value, low, high = gain.difference, gain.low, gain.high
        points, low, high = (round(100 * x, 2) for x in (value, low, high))
        verdict = "not worse" if low > -1 else "worse"
        row[f"ours - {peer}"] = {"points": points, "low": low, "high": high, "verdict": verdict}
    return row


def subwords(options: argparse.Namespace) -> dict[str, Any]:
    """Skip-gram with n-grams of 3 to 6 characters, 2,000,000 rows, d 100: speed, and quality of the same runs."""
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), "baby10m", options.words)
        epochs = options.epochs[0]
        sides = {s: arguments(s, text, "skip-gram", 100, epochs, ngrams=True, judge="en") for s in ("ours", "fasttext")}
        _common.in_fresh_process(SIDES, arguments("ours", text, "skip-gram", 100, 1, ngrams=True), THREADS)
        found = _common.alternating(SIDES, sides, options.runs, THREADS)
    scores = {metric: set_against(found, metric, "en") for metric in found["ours"][0]["scores"]}
    row = compared(found, "skip-gram", 100, "words_per_second")
    return {"what": "sub-words: words/s and quality", "words": options.words, "epochs": epochs, **row, "scores": scores}


SETTINGS: dict[str, tuple[Any, ...]] = {
    "window": (2, 5, 10, 15),
    "negatives": (2, 5, 10, 20),
    "dimension": (50, 100, 200, 300),
    "sample": (0, 1e-2, 1e-3, 1e-4, 1e-5),
    "epochs": (1, 3, 5, 10, 20),
    "exponent": (0.0, 0.5, 0.75, 1.0),
    "lr": (0.0125, 0.025, 0.035, 0.05, 0.1, 0.2),
}


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Ours, one value changed at a time from window 5, negatives 5, dimension 100, sample 1e-3, 3 epochs."""
    rows, base = [], {"window": 5, "negatives": 5, "dimension": 100, "sample": 1e-3, "epochs": 3, "exponent": 0.75}
    with tempfile.TemporaryDirectory() as name:
        text = prepare(Path(name), options.corpus, None)
        for objective in options.objective:
            for key, choices in SETTINGS.items():
                for value in choices:
                    at = {**base, key: value}
                    runs = []
                    for seed in range(1, options.seeds + 1):
                        common = (text, objective, at["dimension"], at["epochs"])
                        chosen = arguments("ours", *common, seed=seed, judge="en", values=json.dumps(at))
                        call = f"settings-{objective}-{json.dumps(at)}-{seed}"
                        runs.append(kept(options.keep, call, chosen))
                    means = {m: round(100 * statistics.mean(r["scores"][m]["value"] for r in runs), 1)
                             for m in runs[0]["scores"]}  # fmt: skip
                    spread = {m: round(100 * float(np.ptp([r["scores"][m]["value"] for r in runs])), 1) for m in means}
                    rows.append({"objective": objective, "setting": key, "value": value, "means": means,
                                 "spread": spread, "train_seconds": _common.median(runs, "train_seconds")})  # fmt: skip
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {"what": "one setting changed at a time", "corpus": options.corpus, "seeds": options.seeds, "base": base,
            "rows": rows}  # fmt: skip


MODES = {"quality": quality, "subwords": subwords, "settings": settings}


def main() -> None:
    parser = options_of(__doc__, list(MODES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sides", nargs="+", default=["ours", "gensim", "gensim-iterator"])
    parser.add_argument("--keep", type=Path, help="folder of finished runs, found again after an interruption")
    options = parser.parse_args()
    name = f"word2vec_{options.what}"
    if options.what == "quality":
        name += f"_{options.corpus}_{'_'.join(options.objective)}"
    report(name, __file__, lambda: MODES[options.what](options))


if __name__ == "__main__":
    main()
