"""docs/which-model.md: sentences are ours, every number is of benchmarks/results/."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import _tables as md


def which_model(result: Callable[[str], dict[str, Any] | None]) -> Iterator[str]:
    """The page; ``result`` gives what benchmarks/results/NAME.json holds, or None."""
    yield "# Which vectors, which model?"
    yield (
        "Made by `python benchmarks/render.py` from `benchmarks/results/choice_*.json`; `wordloom choose vectors` makes such a "
        "table of your own texts, and that table, not this one, is the answer for them. Here every candidate has the same raw "
        "text and the same minutes to pre-train on it, and all are judged on the same test texts, those that also occur in "
        "the training texts left out. *as good*: a paired test does not tell it from the best."
    )
    for name, title in CHOICES.items():
        if (found := result(f"choice_{name}")) is not None:
            yield from choice(found, title)
    if (objective := result("choice_objective")) is not None:
        yield from objectives(objective)
    if (compared := result("strategies_imdb_500")) is not None:
        yield from strategies(compared)
    tasks = result("tasks")
    if tasks is not None and CHEAP[0] in tasks["runs"]:
        yield from from_labels_alone(tasks)
    if (settings := result("word2vec_settings")) is not None:
        yield from settings_advice(settings)


def objectives(r: dict[str, Any]) -> Iterator[str]:
    found = {row["objective"]: row for row in r["objectives"]["rows"]}
    best = max(found.values(), key=lambda row: row["probe"]["value"])
    yield "## Which objective?"
    yield (
        "The same text, tokenizer, depth, width and minutes for six objectives, on one core of a CPU. In so short a time an objective "
        f"is as good as its signal is dense: causal and permuted models learn from every token or many of them, and their frozen "
        f"states are worth most ({best['objective']}: {100 * best['probe']['value']:.1f} %); a detector of replaced tokens needs a "
        "generator that fools it, which takes longer than this. Prefer causal to generate, hybrid or masked to fill and to tag, "
        "spans to write one text from another; make the table of your own text with `wordloom choose objective CORPUS --minutes N`."
    )
    rows = []
    for name, row in found.items():
        bits, pairs = row.get("bits_per_byte"), row.get("pairs")
        rows.append([f"{name} ({row['preset']})", f"{row['seconds']:.0f}", f"{bits['value']:.2f}" if bits else "-",
                     md.score(pairs) if pairs else "-", md.score(row["probe"]), md.score(row["random"]),
                     md.gain(row["gain"]["difference"])])  # fmt: skip
    header = ["objective", "seconds", "bits a byte", "BLiMP, %", "probe, %", "random weights, %", "gain"]
    yield md.table(header, rows)
    yield f"{md.machine(r)} `{r['command']}`, seed {r['seed']}. {' '.join(r['objectives']['notes'])}"


HOW = {
    "full": "everything",
    "frozen": 'the head alone (`train.freeze = "body"`)',
    "gradual": 'layer by layer from above (`train.freeze = "gradual"`, Howard & Ruder 2018)',
    "layer-decay": "everything, lower layers slower (`train.layer_decay = 0.7`)",
    "lora": "thin products beside the layers (`lora.rank = 8`, Hu et al. 2021)",
    "continued": "pre-trained on the task's own text first (`wordloom pretrain TEXT --start MODEL`), then everything",
}


def strategies(r: dict[str, Any]) -> Iterator[str]:
    """The ways to fine-tune; who is ahead is read from the file, and only where a paired interval says so."""
    found = r["strategies"]
    yield "## Which fine-tuning strategy?"
    against = {name: row["against_full"] for name, row in found.items() if "against_full" in row}
    plain = {name: row["verdict"] == "no difference" for name, row in against.items()}
    better = [name for name, row in against.items() if not plain[name] and row["difference"] > 0]
    worse = [name for name, row in against.items() if not plain[name] and row["difference"] < 0]
    said = [(better, "better than training everything"), ([n for n in plain if plain[n]], "not told apart from it"),
            (worse, "worse")]  # fmt: skip
    answer = "; ".join(f"{what}: {', '.join(f'*{name}*' for name in names)}" for names, what in said if names)
    yield (
        f"500 IMDb labels, the same steps and seeds ({len(r['seeds'])}) for each, from {found['full']['start']}; every strategy takes "
        f"the best of three learning rates by its own validation part. {answer[:1].upper()}{answer[1:]} (each compared with "
        "*full* alone, by paired tests at 5 %)."
    )
    rows = []
    for name, row in found.items():
        rows.append([name, HOW[name], f"{row['rate']:g}", md.score(row["accuracy"]),
                     ", ".join(f"{100 * one:.1f}" for one in row["per_seed"]),
                     md.gain(_as_score(against[name])) if name in against else "-",
                     f"{median(row['seconds']):.0f}"])  # fmt: skip
    header = ["", "what is trained", "rate", "accuracy, %", "each seed", "against *full*", "training s"]
    yield md.table(header, rows)
    before = r.get("continued_seconds")
    more = f" *continued* goes on from {found['continued']['start']}, {before / 60:.0f} minutes more." if before else ""
    yield f"{md.machine(r)} `{r['command']}`.{more} Intervals are over seeds and test texts."


def _as_score(against: dict[str, Any]) -> dict[str, float]:
    return {"value": against["difference"], "low": against["low"], "high": against["high"]}


def from_labels_alone(r: dict[str, Any]) -> Iterator[str]:
    yield "## From labels alone: averaged embeddings and TextCNN"
    yield (
        "The rows `dan-tiny`, `dan-small` (Iyyer et al. 2015) and `textcnn-tiny`, `textcnn-small` (Kim 2014) need no "
        "pre-training and train on a CPU in minutes: `wordloom finetune textcnn-small DATA`. They classify and do nothing "
        "else. Sentiment of phrases, SST-2, 60,614 labels, 872 test sentences:"
    )
    runs = {name: r["runs"][name] for name in CHEAP if name in r["runs"]}
    rows = []
    for name, run in runs.items():
        gain = md.gain(run["paired"]["difference"])
        rows.append([f"{name.removeprefix('sst2-')}-small", md.score(run["scores"]["accuracy"]),
                     f"{gain} ({run['paired']['verdict']})", f"{run['model']['parameters'] / 1e6:.1f}"])  # fmt: skip
    beside = next(iter(runs.values()))["baseline"]
    rows.append([beside["name"], md.score(beside["scores"]["accuracy"]), "-", "-"])
    yield md.table(["", "accuracy, %", f"against {beside['name']}", "million parameters"], rows)
    commands = ", ".join(f"`{run['command']}`" for run in runs.values())
    yield f"{md.machine(r)} {commands}; one seed, so differences of a point mean nothing."


def settings_advice(r: dict[str, Any]) -> Iterator[str]:
    """What to turn when training Word2Vec; the sentences are ours, every number is the file's."""
    found = {(row["objective"], row["setting"], row["value"]): row["means"] for row in r["rows"]}

    def path(objective: str, setting: str, values: tuple[float, ...], metric: str) -> str:
        return f"{metric} " + " -> ".join(f"{found[objective, setting, v][metric]:.1f}" for v in values)

    yield "## Word2Vec: which settings?"
    yield (
        f"One setting changed at a time, on {r['corpus']} (10 M words of mixed English), {r['seeds']} seeds, points; the whole "
        f"table is in BENCHMARKS.md (`{r['command']}`). A seed moves a figure by 0 to 3 points, so read trends, not rows."
    )
    lines = [
        "**window** decides what near means. Small: words that can replace each other; large: words of one topic. Skip-gram at "
        f"2, 5, 15: {path('skip-gram', 'window', (2, 5, 15), 'SimLex-999')} (similarity), "
        f"{path('skip-gram', 'window', (2, 5, 15), 'MEN')} (relatedness), "
        f"{path('skip-gram', 'window', (2, 5, 15), 'analogies')}. Take 5; 10 or more for topics and retrieval.",
        "**epochs** matter most on a small corpus. Skip-gram at 1, 3, 5, 10, 20: "
        f"{path('skip-gram', 'epochs', (1, 3, 5, 10, 20), 'WordSim-353')}, "
        f"{path('skip-gram', 'epochs', (1, 3, 5, 10, 20), 'SimLex-999')}. Take 5 to 10; at 20 similarity and rare words fall.",
        f"**negatives** at 2, 5, 10, 20: CBOW {path('cbow', 'negatives', (2, 5, 10, 20), 'WordSim-353')}, skip-gram "
        f"{path('skip-gram', 'negatives', (2, 5, 10, 20), 'analogies')}. 5 is cheap and nearly enough, 10 is the most that pays.",
        f"**dimension** at 50, 100, 200, 300: skip-gram {path('skip-gram', 'dimension', (50, 100, 200, 300), 'SimLex-999')}, "
        f"{path('skip-gram', 'dimension', (50, 100, 200, 300), 'MEN')}; CBOW "
        f"{path('cbow', 'dimension', (50, 100, 200, 300), 'analogies')}. Ten million words do not fill more than 100 to 200.",
        f"**sample** (subsampling of frequent words) at 0, 1e-3, 1e-4, 1e-5: CBOW "
        f"{path('cbow', 'sample', (0, 0.001, 0.0001, 0.00001), 'WordSim-353')}, "
        f"{path('cbow', 'sample', (0, 0.001, 0.0001, 0.00001), 'analogies')}. Keep 1e-3; below 1e-4 a corpus of this size has "
        "too few words left. CBOW gains more from it than skip-gram.",
        f"**exponent** of the noise distribution at 0, 0.75, 1: skip-gram "
        f"{path('skip-gram', 'exponent', (0, 0.75, 1), 'analogies')}. 0.75 is right; uniform noise is not.",
        f"**lr** at 0.0125, 0.035, 0.1, 0.2: skip-gram {path('skip-gram', 'lr', (0.0125, 0.035, 0.1, 0.2), 'SimLex-999')}; CBOW "
        f"{path('cbow', 'lr', (0.0125, 0.035, 0.1, 0.2), 'SimLex-999')}. The two need different rates: CBOW averages its "
        "window and so gets a smaller step for each word. With few epochs a higher rate helps.",
    ]
    yield "\n".join(f"- {line}" for line in lines)


CHEAP = ("sst2-dan", "sst2-textcnn")
CHOICES = {
    "sms": "SMS spam",
    "imdb-500": "Film reviews, 500 labels (IMDb)",
    "imdb-25000": "Film reviews, 25,000 labels (IMDb)",
    "chnsenticorp": "Chinese hotel, book and laptop reviews (ChnSentiCorp)",
    "agnews": "News topics (AG News, 10,000 labels)",
}


def choice(r: dict[str, Any], title: str) -> Iterator[str]:
    c = r["choose"]
    yield f"## {title}"
    yield " ".join(c["advice"])
    rows = []
    for row in c["rows"]:
        before = "-" if row["pretraining"] is None else f"{row['pretraining']:,.0f}"
        memory = "-" if row["memory"] is None else f"{row['memory'] / 1e6:,.0f}"
        verdict = (
            "best"
            if "against_best" not in row
            else "as good"
            if row["as_good"]
            else md.gain(row["against_best"]["difference"])
        )
        rows.append([row["title"], md.score(row["score"]), before, f"{row['training']:,.1f}", f"{row['microseconds']:,.0f}",
                     f"{row['alone']:,.0f}", memory, f"{row['size'] / 1e6:,.1f}", verdict])  # fmt: skip
    header = ["", f"{c['metric']}, %", "pre-training s", "training s", "us a text", "us alone", "memory MB", "disk MB",
              "against the best"]  # fmt: skip
    yield md.table(header, rows)
    yield f"{md.machine(r)} `{r['command']}`, seed {r['seed']}. {' '.join(n.rstrip('.') + '.' for n in c['notes'])}"
