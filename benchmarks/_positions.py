"""docs/positions.md: sentences are ours, every number is of benchmarks/results/positions.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _tables as md

KINDS = {
    "none": ("nothing; a causal model can still count what it sees", "Haviv et al. 2022"),
    "learned": ("a row of a table, added to the token's", "Gehring et al. 2017; BERT, GPT-2"),
    "sinusoidal": ("waves of falling frequency, added to the token's vector", "Vaswani et al. 2017, section 3.5"),
    "rotary": ("queries and keys turned by their place, so that only distance counts", "Su et al. 2021, section 3.2"),
    "alibi": ("the distance times a slope of the head, taken off the scores", "Press et al. 2022, section 3"),
    "t5": ("a learned number for each bucket of distances, added to the scores", "Raffel et al. 2020, section 2.1"),
    "xl": ("a learned product of query and distance, added to the scores", "Dai et al. 2019, section 3.3"),
}


def position_table(r: dict[str, Any]) -> str:
    length = r["length"]
    rows = []
    for name, runs in r["arms"].items():
        run = runs[0]
        rows.append([name, *(_nats(run[f"{f}x"]["loss"]) for f in (1, 2, 4)), _nats(run["4x"]["beyond"])])
    return md.table(["position", *(f"at {f * length}" for f in (1, 2, 4)), f"beyond {length}, at {4 * length}"], rows)


def positions(r: dict[str, Any]) -> Iterator[str]:
    """The page: what each is, what it is worth at the trained length, and beyond."""
    arms = {name: runs[0] for name, runs in r["arms"].items()}
    at, far = ({n: run[f"{f}x"]["loss"][0] for n, run in arms.items()} for f in (1, 4))
    moved = {n: run["4x"]["against_1x"] for n, run in arms.items()}
    length, by_loss = r["length"], sorted(at, key=lambda n: at[n])
    best = by_loss[0]
    yield "# What does position encoding do?"
    yield (
        "Attention is a sum over a set: without help it does not know which token came first. "
        f"Made by `python benchmarks/render.py` from `benchmarks/results/positions.json`: one small causal model (gpt2-tiny, "
        f"{arms[best]['settings']['layers']} layers of 128), {r['steps']:,} steps, everything the same but `model.position`; trained on rows of {length} "
        f"tokens, then the same held-out tokens read in rows of {length}, {2 * length} and {4 * length}. Nats a token; one seed, intervals "
        f"over the text; beyond: of the tokens at places that training never reached. {md.machine(r)} `{r['command']}`"
    )
    yield position_table(r)
    yield "## At the trained length"
    yield (
        f"Best is {best} ({at[best]:.2f}); {_listed(by_loss[1:], at)}. "
        + (
            f"Nothing at all costs {at['none'] - at[best]:.2f} nats: a causal mask alone tells much of the order. "
            if "none" in at
            else ""
        )
        + "An encoder, which sees both sides, has no such mask: without positions it reads a bag of words."
    )
    yield f"## Beyond it: {4 * length} tokens instead of {length}"
    same = [n for n, (value, _, _) in moved.items() if value < 0.1]
    worse = [n for n in moved if n not in same]
    yield (
        f"More context can help, and places never seen can hurt; the difference is of the same tokens. Within a tenth of a nat: "
        f"{_listed(same, {n: moved[n][0] for n in same}, sign=True)}. Worse: {_listed(worse, {n: moved[n][0] for n in worse}, sign=True)}. "
        "Of the learned table the rows beyond were never trained; sinusoids exist there, but no layer has learned to read them."
    )
    lowest = min(far, key=lambda n: far[n])
    yield f"Lowest at {4 * length} tokens: {lowest}, {far[lowest]:.2f}."
    yield "## The kinds"
    yield md.table(
        ["`model.position`", "what it is", "from"],
        [[f"`{name}`", *KINDS[name]] for name in arms],
    )
    yield "## What to take"
    yield "\n".join(
        (
            "- For a model of your own: `rotary` (the Loom rows have it), which costs no parameter and no table.",
            "- To load and to equal a published model, that model's: BERT, RoBERTa, GPT and GPT-2 learned, T5 its buckets, XLNet "
            "Transformer-XL's, the Transformer of 2017 sinusoids.",
            "- Where all rows begin with a start token, as packed documents do, rotary, ALiBi, T5's bias and none at all come to rest "
            "on it, and break down beyond the trained length or without it; Transformer-XL's hardly does, and what is added to "
            "the token not at all ([LOG.md](LOG.md), 2026-11-23). If a causal "
            'model is to read further than it was trained, pre-train it with `objective.documents = "streams"`, as here.',
            "- Formulas and their tests: `src/wordloom/model/positions.py`, `tests/model/`; waves step by step: "
            "[learn/05-transformer.md](learn/05-transformer.md).",
        )
    )


def _listed(names: list[str], values: dict[str, float], sign: bool = False) -> str:
    return ", ".join(f"{n} {values[n]:+.2f}" if sign else f"{n} {values[n]:.2f}" for n in names) or "none of them"


def _nats(found: list[float]) -> str:
    return f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"
