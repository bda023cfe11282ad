"""What docs/BENCHMARKS.md says of Word2Vec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _tables as md


def word2vec_speed(r: dict[str, Any]) -> Iterator[str]:
    yield "## Word2Vec: speed of the training phase"
    yield (
        f"{md.cpu(r)} {r['words']:,} words of baby10m, one epoch, window 5, 5 noise words, {r['machine']['threads']} threads. "
        "`plain` is the kernel without vector types. Thousand words/s; medians of alternating runs in fresh processes."
    )
    sides = list(r["rows"][0]["words_per_second"])
    rows = []
    for row in r["rows"]:
        speeds = [f"{row['words_per_second'][side] / 1000:,.0f}" for side in sides]
        ratios = [f"{md.times(row['times_faster'][name])}" for name in r["rows"][0]["times_faster"]]
        rows.append([f"{row['objective']}, d {row['dimension']}", *speeds, *ratios])
    yield md.table(["", *sides, *r["rows"][0]["times_faster"]], rows)


def word2vec_total(r: dict[str, Any]) -> Iterator[str]:
    yield "## Word2Vec: from a text file to vectors"
    yield f"{md.cpu(r)} {r['words']:,} words, d 100; compiling the kernels, once a machine: {r['cold_compile_seconds']:.0f} s, not counted."
    rows = [
        [f"{row['objective']}, {row['epochs']} epoch{'s' * (row['epochs'] > 1)}",
         *(f"{row['total_seconds'][side]:.1f}" for side in ("ours", "gensim")), md.times(row["times_faster"]["ours / gensim"])]
        for row in r["rows"]
    ]  # fmt: skip
    yield md.table(["seconds", "ours", "gensim (corpus_file)", "faster by"], rows)


def word2vec_quality(r: dict[str, Any]) -> Iterator[str]:
    yield f"## Word2Vec: quality at equal epochs, {r['rows'][0]['objective']}, {r['corpus']}"
    yield f"{md.cpu(r)} d 100, means over {r['rows'][0]['seeds']} seeds, in points; the difference's 95 % interval is over items and seeds; *worse*: its lower end is not above -1.0."
    for row in r["rows"]:
        sides = list(next(iter(row["scores"].values()))["means"])
        body = []
        for metric, s in row["scores"].items():
            peers = [k for k in s if k.startswith("ours - ")]
            shown = [
                f"{s[k]['points']:+.1f} [{s[k]['low']:+.1f}, {s[k]['high']:+.1f}] {s[k]['verdict']}" for k in peers
            ]
            body.append(
                [f"{metric} ({s['covered']:,} of {s['total']:,})", *(f"{s['means'][x]:.1f}" for x in sides), *shown]
            )
        yield md.table([f"{row['objective']}, {row['epochs']} epochs", *sides, *peers], body)


def word2vec_scaling(r: dict[str, Any]) -> Iterator[str]:
    yield "## Word2Vec: scaling"
    yield md.cpu(r)
    rows = []
    for row in r["rows"]:
        if "two_over_one" in row:
            rows.append([f"{row['objective']}: 2 threads over 1", md.times(row["two_over_one"]), ""])
            continue
        what = f"d {row['dimension']}" if "dimension" in row else f"vocabulary {row['vocabulary']:,}"
        rows.append(
            [
                f"{row['objective']}, {what}",
                f"{row['words_per_second'] / 1000:,.0f} k words/s",
                f"{row['peak_memory_mb']:,.0f} MB" + (f" (limit {row['limit_mb']:,.0f})" if "limit_mb" in row else ""),
            ]
        )
    yield md.table(["", "speed", "peak memory"], rows)


def word2vec_subwords(r: dict[str, Any]) -> Iterator[str]:
    yield "## Word2Vec with sub-words, against fastText"
    yield (
        f"{md.cpu(r)} Skip-gram, d 100, n-grams of 3 to 6 characters, 2,000,000 rows, {r['epochs']} epochs of "
        f"{r['words']:,} words: {md.times(r['times_faster']['ours / fasttext'])} fastText's words a second. *worse*: the lower end of the difference is "
        "not above -1.0 points."
    )
    rows = []
    for metric, s in r["scores"].items():
        gap = s["ours - fasttext"]
        shown = f"{gap['points']:+.1f} [{gap['low']:+.1f}, {gap['high']:+.1f}] {gap['verdict']}"
        rows.append([metric, *(f"{s['means'][side]:.1f}" for side in ("ours", "fasttext")), shown])
    yield md.table(["points", "ours", "fastText", "ours - fastText"], rows)


def word2vec_settings(r: dict[str, Any]) -> Iterator[str]:
    yield "## Word2Vec: what each setting does"
    base = ", ".join(f"{key} {value}" for key, value in r["base"].items())
    yield (
        f"{md.cpu(r)} {r['corpus']}, one setting changed at a time from {base}; means of {r['seeds']} seeds, in points; "
        "seconds of training on a machine with other work."
    )
    for objective in dict.fromkeys(row["objective"] for row in r["rows"]):
        mine = [row for row in r["rows"] if row["objective"] == objective]
        metrics = list(mine[0]["means"])
        body = [
            [
                f"{row['setting']} {row['value']:g}",
                *(f"{row['means'][m]:.1f}" for m in metrics),
                f"{row['train_seconds']:.0f}",
            ]
            for row in mine
        ]
        yield md.table([objective, *metrics, "s"], body)
