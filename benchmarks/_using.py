"""What docs/BENCHMARKS.md says of the tasks and of a finished model at work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _tables as md


def generation(r: dict[str, Any]) -> Iterator[str]:
    yield "## Text generation against transformers `generate`"
    yield (
        f"{md.machine(r)} GPT-2 rows of random weights, vocabulary 8,192, a prompt of {r['prompt']} tokens and {r['new_tokens']} more; "
        f"both sides from one folder, the same ids. The bound is what the memory's bandwidth allows one text; what fits into "
        f"the last cache can exceed it. int8 stands beside our own float32; how often both choose the same token is of random "
        f"weights. {_commands(r)}"
    )
    yield _generation_table(r)


def generation_t5(r: dict[str, Any]) -> Iterator[str]:
    yield "## Text generation by T5"
    yield _source_read(r, "T5 v1.1 rows of random weights with an output matrix of their own")
    yield _generation_table(r)


def generation_transformer(r: dict[str, Any]) -> Iterator[str]:
    yield "## Text generation by the Transformer of 2017"
    yield _source_read(r, "Transformer rows of random weights, Marian's model there")
    yield _generation_table(r)


def _source_read(r: dict[str, Any], rows: str) -> str:
    return (
        f"{md.machine(r)} {rows}, a source of {r['prompt']} tokens and {r['new_tokens']} written; both sides from one "
        f"folder, the same ids. {_commands(r)}"
    )


KINDS = ("greedy", "batch 16", "4 beams", "int8")


def _commands(r: dict[str, Any]) -> str:
    return md.commands(found[kind] for found in r["sizes"].values() for kind in KINDS if kind in found)


def _generation_table(r: dict[str, Any]) -> str:
    rows = []
    for found in r["sizes"].values():
        for kind in (k for k in KINDS if k in found):
            one = found[kind]
            peer = "wordloom" if kind == "int8" else "transformers"
            share = f"{one['share_of_bound']:.0%}" if "share_of_bound" in one else "-"
            wanted = one.get("target", {}).get("at_least")
            rows.append(
                [
                    f"{found['parameters'] / 1e6:.1f} M",
                    f"int8 ({one['agreement']:.0%} the same)" if kind == "int8" else kind,
                    f"{one['int8' if kind == 'int8' else 'wordloom']:,.0f}",
                    f"{one[peer]:,.0f}" + (" (float32)" if kind == "int8" else ""),
                    md.times(one["ratio"]) + (f" (wanted {wanted:g})" if wanted else ""),
                    share,
                ]
            )
    return md.table(["parameters", "", "tokens/s", "transformers", "speed", "share of the bound"], rows)


def tasks(r: dict[str, Any]) -> Iterator[str]:
    yield "## Tasks"
    yield f"{md.machine(r)} From random weights unless the recipe says otherwise; every figure is of the test part, in percent but for bits and perplexity; scores, baseline and gain of the recipe's own seed, the time the median (*CPU*: of the processor alone)."
    rows = []
    for name, run in r["runs"].items():
        beside, paired = run["baseline"], run["paired"]
        rows.append(
            [
                f"`recipes/{name}.toml`",
                f"{run['model']['parameters'] / 1e6:.1f} M",
                f"{_trained(run)}, {run['threads']} thread{'s' * (run['threads'] > 1)}",
                "; ".join(f"{key} {_score(key, found)}" for key, found in run["scores"].items() if _shown(key, found)),
                f"{beside['name']}: {_score(run['main'], beside['scores'][run['main']])}" if beside else "-",
                _gain(run["main"], paired["difference"]) if paired else "-",
                _over_seeds(run.get("seeds", [])),
            ]
        )
    yield md.table(["recipe", "size", "trained", "scores", "baseline", "gain", "over seeds: mean; each; gains"], rows)
    for name, run in r["runs"].items():
        if run.get("curve"):
            yield _learning_curve(name, run)


def _learning_curve(name: str, run: dict[str, Any]) -> str:
    """How the main score grows with the labels, and how far it is from the baseline of as many."""
    main = run["main"]
    points = [*run["curve"], {"labels": "all", "score": run["scores"][run["main"]],
                              "gain": run["paired"] and run["paired"]["difference"]}]  # fmt: skip
    said = [f"{p['labels']:,}" if p["labels"] != "all" else "all" for p in points]
    each = "; ".join(
        f"{labels}: {_score(main, p['score'])}"
        + (f", {_gain(main, p['gain'])} against the baseline" if p["gain"] else "")
        for labels, p in zip(said, points, strict=True)
    )
    return f"`recipes/{name}.toml` by training examples (`--set data.labels=N`), {main}: {each}."


def _trained(run: dict[str, Any]) -> str:
    return md.minutes(run.get("median_seconds", run["seconds"]), run.get("median_processor_seconds"))


def _shown(key: str, score: dict[str, Any]) -> bool:
    return "low" in score and key != "log_loss"


PLAIN = ("bits_per_byte", "perplexity")  # all other scores are shares


def _score(key: str, score: dict[str, float]) -> str:
    return "{value:.2f} [{low:.2f}, {high:.2f}]".format(**score) if key in PLAIN else md.score(score)


def _gain(key: str, difference: dict[str, float]) -> str:
    return "{value:+.2f} [{low:+.2f}, {high:+.2f}]".format(**difference) if key in PLAIN else md.gain(difference)


def _over_seeds(seeds: list[dict[str, Any]]) -> str:
    if len(seeds) < 2:
        return "-"
    values = [100 * seed["score"]["value"] for seed in seeds]
    gains = [f"{100 * seed['gain']['value']:+.1f}" for seed in seeds if seed["gain"]]
    return "; ".join((f"{sum(values) / len(values):.1f}", ", ".join(f"{v:.1f}" for v in values), ", ".join(gains)))


def retrieval(r: dict[str, Any]) -> Iterator[str]:
    yield "## Retrieval on SciFact"
    bm25 = r["bm25"]
    yield (
        f"{md.machine(r)} {r['read']}. BM25 with k1 {bm25['k1']}, b {bm25['b']}, {bm25['stem'].title()} stems, {bm25['fields']}; dense: "
        f"{r['encoder']} (published 64.5); fused: {r['fusion']}. Nothing is random. `{r['command']}`"
    )
    measures = {"ndcg@10": "nDCG@10", "recall@100": "Recall@100", "mrr@10": "MRR@10"}
    rows = [[mode, *(md.score(found[key]) for key in measures)] for mode, found in r["scores"].items()]
    yield md.table(["", *measures.values()], rows)


def retrieval_speed(r: dict[str, Any]) -> Iterator[str]:
    yield "## Encoding against sentence-transformers"
    yield (
        f"{md.machine(r)} {r['texts']} abstracts of SciFact, at most {r['length']} tokens, the same weights and vectors (to "
        f"{r['largest_difference']:.0e}): {r['wordloom_texts_per_s']:.1f} texts/s against {r['sentence_transformers_texts_per_s']:.1f}: "
        f"{md.times(r['ratio'])}; beside batches of 8, {md.times(r['ratio_to_batch_8'])}. `{r['command']}`"
    )


def inference(r: dict[str, Any]) -> Iterator[str]:
    yield "## Answers against transformers' pipeline"
    yield f"{md.machine(r)} {r['preset']}, batches of {r['batch']} there, packed here. A tagger that has seen 300 steps; ours forbids impossible tags and reads characters as its training file has them, so its answers may differ. `{r['command']}`"
    rows = [
        [
            task,
            f"{row['texts']:,}",
            f"{row['per_second']['wordloom']:,.0f}",
            f"{row['per_second']['pipeline']:,.0f}",
            md.times(row["ratio"]),
            f"{row['same_answers']:.1%}"
            + (f", all of {row['comparable']:,} that both read and decode alike" if "comparable" in row else ""),
        ]
        for task, row in r["tasks"].items()
    ]
    yield md.table(["task", "texts", "wordloom texts/s", "pipeline texts/s", "speed", "same answers"], rows)
