"""docs/BENCHMARKS.md, which-model.md, rnns.md and positions.md from benchmarks/results/*.json:
``python benchmarks/render.py`` (``--check``: fail when stale)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _tables as md
from _positions import position_table, positions
from _rnns import recurrent_table, rnns
from _which import which_model

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "BENCHMARKS.md"


def page() -> str:
    parts = [
        "# Benchmarks",
        "Made by `python benchmarks/render.py` from `benchmarks/results/`; nothing here is typed by hand. The machines are "
        "shared, so ratios of alternating runs mean more than times. Square brackets hold 95 % intervals of scores, and the "
        "lowest and highest ratio of one round for speeds.",
    ]
    for name, section in (
        ("pretraining", pretraining),
        ("finetuning", finetuning),
        ("token_store", token_store),
        ("quality_imdb", imdb),
        ("quality_imdb_30min", imdb_before),
        ("quality_sms", sms),
        ("quality_chnsenticorp", chnsenticorp),
        ("demo", demo),
        ("word2vec_speed", word2vec_speed),
        ("word2vec_total", word2vec_total),
        *(
            (f"word2vec_quality_{corpus}_{objective}", word2vec_quality)
            for corpus in ("baby10m", "imdb_unsup", "zh")
            for objective in ("skip-gram", "cbow")
        ),
        ("word2vec_scaling", word2vec_scaling),
        ("word2vec_subwords", word2vec_subwords),
        ("word2vec_settings", word2vec_settings),
        ("families", families),
        ("families_speed", families_speed),
        ("generation", generation),
        ("generation_t5", generation_t5),
        ("tasks", tasks),
        ("retrieval", retrieval),
        ("retrieval_speed", retrieval_speed),
        ("inference", inference),
        ("recurrent", recurrent),
        ("positions", positions_section),
    ):
        path = RESULTS / f"{name}.json"
        if path.exists():
            parts += section(json.loads(path.read_text(encoding="utf-8")))
    return "\n\n".join(parts) + "\n"


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


def demo(r: dict[str, Any]) -> Iterator[str]:
    yield "## The demo"
    yield f"{md.machine(r)} `{r['command']}`: {r['seconds']:.0f} s without set-up, {r['peak_memory_gb']:.1f} GB at most. {r['text']}"
    yield _arms(
        [(f"{row['labels']:,}", row["seeds"], row["arms"], row["gain"], row["gain_over_tfidf"]) for row in r["rows"]]
    )


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
        ratios = [f"{_times(row['times_faster'][name])}" for name in r["rows"][0]["times_faster"]]
        rows.append([f"{row['objective']}, d {row['dimension']}", *speeds, *ratios])
    yield md.table(["", *sides, *r["rows"][0]["times_faster"]], rows)


def word2vec_total(r: dict[str, Any]) -> Iterator[str]:
    yield "## Word2Vec: from a text file to vectors"
    yield f"{md.cpu(r)} {r['words']:,} words, d 100; compiling the kernels, once a machine: {r['cold_compile_seconds']:.0f} s, not counted."
    rows = [
        [f"{row['objective']}, {row['epochs']} epoch{'s' * (row['epochs'] > 1)}",
         *(f"{row['total_seconds'][side]:.1f}" for side in ("ours", "gensim")), _times(row["times_faster"]["ours / gensim"])]
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
            rows.append([f"{row['objective']}: 2 threads over 1", _times(row["two_over_one"]), ""])
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
        f"{r['words']:,} words: {_times(r['times_faster']['ours / fasttext'])} fastText's words a second. *worse*: the lower end of the difference is "
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


def families(r: dict[str, Any]) -> Iterator[str]:
    yield "## Every family learns"
    yield (
        f"{md.cpu(r)} One recipe each (`recipes/baby10m-NAME.toml`), one byte-level BPE vocabulary of 8,192. Losses are nats per "
        "predicted token of held-out text, so they compare within an objective; of spans the missing text alone, without marks and ends. The 5-gram is modified Kneser-Ney on all "
        f"training text, which the causal rows did not read to its end. BLiMP: the first {r['pairs']} pairs of each paradigm, ties as wrong. Probe: a linear classifier on frozen "
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
                f"{row['tokens'] / 1e6:.0f} M",
                f"{row['unigram_entropy']:.2f}" if row["unigram_entropy"] else "-",
                f"{grams['Kneser-Ney 5-gram']['loss'][0]:.2f}" if grams else "-",
                f"**{loss['value']:.2f}** [{loss['low']:.2f}, {loss['high']:.2f}]" + _more(row["terms"]),
                f"{row['scores']['bits_per_byte']['value']:.2f}" if "bits_per_byte" in row["scores"] else "-",
                f"{100 * blimp['mean_of_paradigms']['ties_wrong']['value']:.1f}" if blimp else "-",
                f"{100 * row['probe']['random']:.1f} -> {100 * row['probe']['pre-trained']:.1f} "
                f"({100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}])",
            ]
        )
    header = ["row (objective)", "size", "tokens", "unigram", "5-gram", "held-out loss", "bits/byte", "BLiMP", "probe"]
    yield md.table(header, rows)


def _more(terms: dict[str, float]) -> str:
    """The second thing that a row learned: whether sentences are in order, which tokens a generator wrote."""
    words = {"sentence_order": "; order of sentences", "replaced": " of its generator; replaced or not"}
    return "".join(f"{words[key]} {value:.2f}" for key, value in terms.items() if key in words)


def families_speed(r: dict[str, Any]) -> Iterator[str]:
    yield "## Training speed of the families"
    yield f"{md.cpu(r)} Two layers of 650 for the LSTM, against a plain PyTorch loop; the others against Hugging Face Trainer."
    rows = []
    for name, row in r["cases"].items():
        speed, memory, late = row["tokens_per_second"], row["ratio_peak_memory"], row.get("late_loss_without_dropout")
        rows.append(
            [
                name,
                f"{speed['ours']:,}",
                f"{speed['theirs']:,}",
                _times(row["ratio_tokens_per_second"]),
                f"{memory['of_medians']:.2f}x",
                f"{late['ours']:.3f} / {late['theirs']:.3f}" if late else "",
            ]
        )
    yield md.table(
        ["case", "ours, tokens/s", "peer, tokens/s", "speed", "peak memory", "loss after the same tokens"], rows
    )


def generation(r: dict[str, Any]) -> Iterator[str]:
    yield "## Text generation against transformers `generate`"
    yield (
        f"{md.machine(r)} GPT-2 rows of random weights, vocabulary 8,192, a prompt of {r['prompt']} tokens and {r['new_tokens']} more; "
        f"both sides from one folder, the same ids. The bound is what the memory's bandwidth allows one text; what fits into "
        f"the last cache can exceed it. int8 stands beside our own float32; how often both choose the same token is of random "
        f"weights. `{r['command']}`"
    )
    yield _generation_table(r)


def generation_t5(r: dict[str, Any]) -> Iterator[str]:
    yield "## Text generation by an encoder-decoder"
    yield (
        f"{md.machine(r)} T5 v1.1 rows of random weights with an output matrix of their own, a source of {r['prompt']} tokens and "
        f"{r['new_tokens']} written; both sides from one folder, the same ids. `{r['command']}`"
    )
    yield _generation_table(r)


def _generation_table(r: dict[str, Any]) -> str:
    rows = []
    for found in r["sizes"].values():
        for kind in (k for k in ("greedy", "batch 16", "4 beams", "int8") if k in found):
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
                    _times(one["ratio"]) + (f" (wanted {wanted:g})" if wanted else ""),
                    share,
                ]
            )
    return md.table(["parameters", "", "tokens/s", "transformers", "speed", "share of the bound"], rows)


def tasks(r: dict[str, Any]) -> Iterator[str]:
    yield "## Tasks"
    yield f"{md.machine(r)} From random weights unless the recipe says otherwise; every figure is of the test part, in percent; scores, baseline and gain of the recipe's own seed, the time the median."
    rows = []
    for name, run in r["runs"].items():
        beside, paired = run["baseline"], run["paired"]
        rows.append(
            [
                f"`recipes/{name}.toml`",
                f"{run['model']['parameters'] / 1e6:.1f} M",
                f"{run.get('median_seconds', run['seconds']) / 60:.0f} min, {run['threads']} thread{'s' * (run['threads'] > 1)}",
                "; ".join(f"{key} {md.score(found)}" for key, found in run["scores"].items() if "low" in found),
                f"{beside['name']}: {md.score(beside['scores'][run['main']])}" if beside else "-",
                md.gain(paired["difference"]) if paired else "-",
                _over_seeds(run.get("seeds", [])),
            ]
        )
    yield md.table(["recipe", "size", "trained", "scores", "baseline", "gain", "over seeds: mean; each; gains"], rows)


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
        f"{_times(r['ratio'])}; beside batches of 8, {_times(r['ratio_to_batch_8'])}. `{r['command']}`"
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
            _times(row["ratio"]),
            f"{row['same_answers']:.1%}"
            + (f", all of {row['comparable']:,} that both read and decode alike" if "comparable" in row else ""),
        ]
        for task, row in r["tasks"].items()
    ]
    yield md.table(["task", "texts", "wordloom texts/s", "pipeline texts/s", "speed", "same answers"], rows)


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


def _times(ratio: dict[str, float]) -> str:
    return f"**{ratio['of_medians']:.1f}x** [{ratio['lowest']:.1f}, {ratio['highest']:.1f}]"


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


def _speed(v: dict[str, Any]) -> str:
    return f"{v['tokens_per_second']:,.0f}" if "tokens_per_second" in v else f"failed: {v['failed']}"


def main() -> None:
    pages = {PAGE: page(), PAGE.with_name("which-model.md"): which_model()}
    if (RESULTS / "recurrent.json").exists():
        curves = json.loads((RESULTS / "recurrent.json").read_text(encoding="utf-8"))
        pages[PAGE.with_name("rnns.md")] = "\n\n".join(rnns(curves)) + "\n"
    if (RESULTS / "positions.json").exists():
        found = json.loads((RESULTS / "positions.json").read_text(encoding="utf-8"))
        pages[PAGE.with_name("positions.md")] = "\n\n".join(positions(found)) + "\n"
    for target, text in pages.items():
        if "--check" in sys.argv and target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target} is stale: run python benchmarks/render.py")
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
