"""What docs/BENCHMARKS.md says of training: its speed, the token store, the families, recurrent networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _tables as md
from _positions import position_table
from _rnns import recurrent_table


def pretraining(r: dict[str, Any]) -> Iterator[str]:
    yield "## Pre-training throughput against Hugging Face Trainer"
    yield f"{md.machine(r)} BERT-mini shape, 32 rows of 128 tokens, float32, dropout 0.1, AdamW, fully packed on both sides."
    rows = []
    for vocabulary, v in r["float32"].items():
        speed, memory = v["ratio_tokens_per_second"], v["ratio_peak_memory"]
        rows.append(
            [
                f"{int(vocabulary):,}",
                f"{v['tokens_per_second']['wordloom']:,}",
                f"{v['tokens_per_second']['trainer']:,}",
                f"**{speed['of_medians']:.2f}x** [{speed['lowest']:.2f}, {speed['highest']:.2f}]",
                f"{memory['of_medians']:.2f}x",
                f"{v['share_of_matmul_peak']['wordloom']:.0%} / {v['share_of_matmul_peak']['trainer']:.0%}",
            ]
        )
    header = ["vocabulary", "wordloom tokens/s", "Trainer tokens/s", "speed", "peak memory", "share of product peak"]
    yield md.table(header, rows)
    for key, apart in r.items():
        if key.startswith("apart"):
            rows = [[n, _speed(v)] for n, v in apart.items()]
            yield md.table([f"{key} (one run each)", "tokens/s"], rows)
    kinds = r["where_the_time_goes"]
    rows = [[k, f"{v['ms']:.1f}", f"{v['share']:.0%}"] for k, v in kinds["by_kind"].items()]
    yield md.table(
        [
            f"where a step's {kinds['milliseconds_per_step']:.0f} ms go (vocabulary {kinds['vocabulary']:,})",
            "ms",
            "share",
        ],
        rows,
    )


def _speed(v: dict[str, Any]) -> str:
    return f"{v['tokens_per_second']:,.0f}" if "tokens_per_second" in v else f"failed: {v['failed']}"


def finetuning(r: dict[str, Any]) -> Iterator[str]:
    yield "## Fine-tuning throughput on SST-2 against Hugging Face Trainer"
    yield f"{md.machine(r)} bert-mini shape, random weights, batch {r['batch']}, float32, dynamic padding. `{r['command']}`"
    speed, accuracy = r["speed"], r["accuracy"]
    rows = []
    for name, value in speed["examples_per_second"].items():
        ratio = speed["ratio_examples_per_second"].get(f"over {name}")
        shown = f"**{ratio['of_medians']:.2f}x** [{ratio['lowest']:.2f}, {ratio['highest']:.2f}]" if ratio else ""
        value_of, low, high = accuracy["accuracy, low, high"][name][0]
        verdict = accuracy.get(f"wordloom minus {name}", {}).get("verdict", "")
        rows.append(
            [name, f"{value:,.0f}", shown, f"{100 * value_of:.1f} [{100 * low:.1f}, {100 * high:.1f}]", verdict]
        )
    steps = accuracy["steps"]
    header = ["side", "examples/s", "wordloom is faster by", f"accuracy after {steps} steps, %", "wordloom against it"]
    yield md.table(header, rows)


def token_store(r: dict[str, Any]) -> Iterator[str]:
    yield "## Token store against `datasets.map`"
    m = r["machine"]
    yield (
        f"{m.get('cpu', m.get('processor'))}, {m['cores']} cores, {r['date'][:10]}: {r['text_mb']:.0f} MB of novels, "
        f"{r['wordloom_mb_per_s']:.1f} MB/s against {r['datasets_map_mb_per_s']:.1f} MB/s with two processes: "
        f"**{r['ratio']:.2f}x** ({len(r['runs']['wordloom'])} alternating runs); disk {r['disk_ratio']:.3f} times two bytes an id."
    )


def families(r: dict[str, Any]) -> Iterator[str]:
    yield "## Every family learns"
    yield (
        f"{md.cpu(r)} One recipe each (`recipes/baby10m-NAME.toml`), one byte-level BPE vocabulary of 8,192. Losses are nats per "
        "predicted token of held-out text, so they compare within an objective, and bits a byte among causal rows alone (the others predict tokens with text around them); of spans the missing text alone, without marks and ends. The 5-gram is modified Kneser-Ney on all "
        f"training text, which the causal rows did not read to its end. Time: of one thread on a core with other work; *CPU*: of the processor alone. BLiMP: the first {r['pairs']} pairs of each paradigm, ties as wrong. Probe: a linear classifier on frozen "
        "states, against the same network with random weights, points of accuracy."
    )
    rows = []
    for name, row in r["rows"].items():
        loss, blimp, gain = row["scores"]["loss"], row.get("blimp"), row["probe"]["gain"]
        if row["objective"] == "spans":
            less = row["scores"]["below_unigram"]
            loss = {
                end: row["unigram_entropy"] - less[of]
                for end, of in (("value", "value"), ("low", "high"), ("high", "low"))
            }
        grams = row.get("ngrams")
        rows.append(
            [
                f"{name} ({row['objective']})",
                f"{row['parameters'] / 1e6:.1f} M",
                f"{row['tokens'] / 1e6:.0f} M, {md.minutes(row['seconds'], row.get('processor_seconds'))}",
                f"{row['unigram_entropy']:.2f}" if row["unigram_entropy"] else "-",
                f"{grams['Kneser-Ney 5-gram']['loss'][0]:.2f}" if grams else "-",
                f"**{loss['value']:.2f}** [{loss['low']:.2f}, {loss['high']:.2f}]" + _more(row["terms"]),
                _bits(row["scores"]["bits_per_byte"]["value"], grams) if grams else "-",
                f"{100 * blimp['mean_of_paradigms']['ties_wrong']['value']:.1f}" if blimp else "-",
                f"{100 * row['probe']['random']:.1f} -> {100 * row['probe']['pre-trained']:.1f} "
                f"({100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}])",
            ]
        )
    header = ["row (objective)", "size", "tokens, time", "unigram", "5-gram", "held-out loss",
              "bits a byte: unigram, 5-gram, model", "BLiMP", "probe"]  # fmt: skip
    yield md.table(header, rows)
    yield "The curves: held-out loss, all terms of an objective added with their weights, after each tenth of the run."
    curves = [[name, *(f"{point['loss']:.2f}" for point in row["curve"])] for name, row in r["rows"].items()]
    yield md.table(["row", *(f"{tenth}0 %" for tenth in range(1, 11))], curves)


def _bits(model: float, grams: dict[str, Any]) -> str:
    peers = (grams[name]["bits_per_byte"][0] for name in ("unigram", "Kneser-Ney 5-gram"))
    return ", ".join(f"{bits:.2f}" for bits in (*peers, model))


def _more(terms: dict[str, float]) -> str:
    """The second thing that a row learned: whether sentences are in order, which tokens a generator wrote."""
    words = {"sentence_order": "; order of sentences", "replaced": " of its generator; replaced or not"}
    return "".join(f"{words[key]} {value:.2f}" for key, value in terms.items() if key in words)


def families_speed(r: dict[str, Any]) -> Iterator[str]:
    yield "## Training speed of the families"
    yield f"{md.machine(r)} Two layers of 650 for the LSTM, against a plain PyTorch loop; the others against Hugging Face Trainer. {md.commands(r['cases'].values())}"
    rows = []
    for name, row in r["cases"].items():
        speed, memory, late = row["tokens_per_second"], row["ratio_peak_memory"], row.get("late_loss_without_dropout")
        rows.append(
            [
                name,
                f"{speed['ours']:,}",
                f"{speed['theirs']:,}",
                md.times(row["ratio_tokens_per_second"]),
                f"{memory['of_medians']:.2f}x",
                f"{late['ours']:.3f} / {late['theirs']:.3f}" if late else "",
            ]
        )
    yield md.table(
        [
            "case",
            "ours, tokens/s",
            "peer, tokens/s",
            "speed",
            "peak memory",
            "loss after the same tokens, without dropout, at a rate of 0.5",
        ],
        rows,
    )


def recurrent(r: dict[str, Any]) -> Iterator[str]:
    yield "## Training a recurrent network: what each setting does"
    seeds = f"{r['seeds']} seed{'s' * (r['seeds'] > 1)}"
    yield (
        f"{md.cpu(r)} lstm-tiny (1 x 128), {r['steps']} steps of 2,048 tokens of baby10m ({3 * r['steps']:,} of tiny Shakespeare "
        f"for dropout), {seeds}: held-out loss in nats after each fifth of the run. Advice: [rnns.md](rnns.md)."
    )
    for name, group in r["groups"].items():
        yield recurrent_table(name, group)


def positions_section(r: dict[str, Any]) -> Iterator[str]:
    yield "## Position encodings"
    yield (
        f"{md.machine(r)} gpt2-tiny trained on rows of {r['length']} tokens of baby10m (one stream, cut anywhere), then reading the "
        f"same held-out tokens with more and more before them. Nats per token. What it means: [positions.md](positions.md)."
    )
    yield position_table(r)
