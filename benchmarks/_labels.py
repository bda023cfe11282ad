"""What docs/BENCHMARKS.md says of pre-training before few and many labels, and of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _tables as md


def imdb(r: dict[str, Any]) -> Iterator[str]:
    yield "## IMDb: pre-training on unlabelled reviews, then few and many labels"
    yield f"{md.machine(r)} {_pretrained(r['pretraining'])}"
    yield _arms(
        [(f"{row['labels']:,}", row["seeds"], row["arms"], row["gain"], row["gain_over_tfidf"]) for row in r["rows"]]
    )


def imdb_before(r: dict[str, Any]) -> Iterator[str]:
    yield "## IMDb, a quarter of that compute"
    yield from list(imdb(r))[1:]


def chnsenticorp(r: dict[str, Any]) -> Iterator[str]:
    yield "## ChnSentiCorp (Chinese)"
    yield f"{md.machine(r)} {_pretrained(r['pretraining'])} Three seeds, 9,600 labels."
    rows = [
        (
            f"{name}, {r[key]['examples']:,} test texts",
            3,
            r[key]["arms"],
            r[key]["gain_over_random"],
            r[key]["gain_over_tfidf"],
        )
        for name, key in (("full", "full"), ("de-leaked", "deleaked"))
    ]
    yield _arms(rows)


def sms(r: dict[str, Any]) -> Iterator[str]:
    yield "## SMS spam, repeats removed, ten folds"
    yield f"{md.machine(r)} {r['after_removing_repeats']:,} of {r['messages']:,} messages; every message is scored once, by a model that never saw it."
    names = ["f1", "recall_at_fpr_0.5", "precision", "recall", "auroc", "accuracy"]
    rows = [[n, *(md.score(r["scores"][arm][n]) for arm in ("model", "tfidf"))] for n in names]
    yield md.table(["score, %", "from runs/imdb-pretrain", "TF-IDF + logistic regression"], rows)


def transfer(r: dict[str, Any]) -> Iterator[str]:
    yield "## Supervised pre-training: SST-2 before IMDb"
    before = r["before"]
    yield (
        f"{md.machine(r)} loom-tiny that has read baby10m, fine-tuned on {before['task']} first (accuracy {md.score(before['accuracy'])} of "
        f"{before['examples']:,}), and then on reviews; beside it the same without the first. `{r['command']}`"
    )
    header = ["labels", "seeds", "SST-2 first", "without", "random weights", "TF-IDF + LR", "gain of SST-2"]
    arms = ("pretrained", "beside", "random", "tfidf")
    body = [
        [
            f"{row['labels']:,}",
            str(row["seeds"]),
            *(md.score(row["arms"][a]) for a in arms),
            md.gain(row["gain_over_beside"]),
        ]
        for row in r["rows"]
    ]
    yield md.table(header, body)


def demo(r: dict[str, Any]) -> Iterator[str]:
    yield "## The demo"
    yield f"{md.machine(r)} `{r['command']}`: {r['seconds']:.0f} s without set-up, {r['peak_memory_gb']:.1f} GB at most. {r['text']}"
    yield _arms(
        [(f"{row['labels']:,}", row["seeds"], row["arms"], row["gain"], row["gain_over_tfidf"]) for row in r["rows"]]
    )


def _pretrained(p: dict[str, Any]) -> str:
    loss, m = p["held_out_loss"], p["model"]
    return (
        f"{m['preset']} ({m['layers']} layers, {m['width']} wide, {m['parameters'] / 1e6:.1f} M parameters) pre-trained for {p['seconds'] / 60:.0f} minutes on "
        f"{p['plan']['threads']} thread{'s' * (p['plan']['threads'] > 1)} ({p['plan']['precision']}): held-out loss {loss['value']:.2f} "
        f"[{loss['low']:.2f}, {loss['high']:.2f}] nats, unigram entropy {p['unigram_entropy']:.2f}."
    )


def _arms(rows: list[Any]) -> str:
    body = [
        [
            name,
            str(seeds),
            *(md.score(arms[a]) for a in ("pretrained", "random", "tfidf")),
            md.gain(gain),
            md.gain(over),
        ]
        for name, seeds, arms, gain, over in rows
    ]
    header = ["labels", "seeds", "pre-trained", "random weights", "TF-IDF + LR", "gain over random", "gain over TF-IDF"]
    return md.table(header, body)
