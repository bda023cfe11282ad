"""docs/rnns.md: sentences are ours, every number is of benchmarks/results/recurrent.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _tables as md

SHARES = ("20 %", "40 %", "60 %", "80 %", "100 %")


def recurrent_curves(group: dict[str, Any]) -> dict[str, list[float]]:
    """Name of the arm -> held-out losses after each fifth, means over seeds; shorter where a seed broke down."""
    found: dict[str, list[list[float]]] = {}
    for row in group["rows"]:
        found.setdefault(row["name"], []).append([point["loss"] for point in row["curve"]])
    return {name: [sum(at) / len(at) for at in zip(*curves, strict=False)] for name, curves in found.items()}


def recurrent_table(name: str, group: dict[str, Any]) -> str:
    rows = [[arm, *(f"{loss:.2f}" for loss in curve)] for arm, curve in recurrent_curves(group).items()]
    return md.table([name, *SHARES], rows)


def rnns(r: dict[str, Any]) -> Iterator[str]:
    """The page: a section a question, its curves under it."""
    yield "# What to watch when training an RNN"
    seeds = f"{r['seeds']} seed{'s' * (r['seeds'] > 1)}"
    yield (
        "Made by `python benchmarks/render.py` from `benchmarks/results/recurrent.json`. One setting is changed at a time: "
        f"lstm-tiny (one layer of 128), {r['steps']} steps of 2,048 tokens of baby10m, or {3 * r['steps']:,} of tiny Shakespeare where "
        f"it is about dropout; held-out loss in nats a token after each fifth of the run, {seeds}. {md.cpu(r)} Read "
        "tenths of a nat, not hundredths. The equations are in [learn/02-rnn.md](learn/02-rnn.md) and "
        "[learn/03-lstm-gru.md](learn/03-lstm-gru.md)."
    )
    for name, advice in ADVICE.items():
        group = r["groups"].get(name)
        if group is not None:
            yield f"## {name[0].upper()}{name[1:]}"
            yield " ".join(advice(recurrent_curves(group)))
            yield recurrent_table(name, group)
    yield "## Also"
    yield "\n".join(
        (
            "- Look at the loss beside the unigram entropy, which the log prints: an RNN first learns how often tokens are and may "
            "stay there for hundreds of steps. If it does, the rate is wrong, or there are too few steps: halve `train.batch`.",
            "- `gradient_norm` in `metrics.jsonl` is that before clipping. Norms far above `train.clip` at every step mean that "
            "clipping has become your learning rate.",
            "- A vocabulary of tens of thousands: `--set objective.softmax=adaptive` (Grave et al. 2017) makes rare tokens cheap, "
            "for a little loss; it gives up the tied output matrix.",
            "- Large LSTMs on little text: the row `awd-lstm` has the dropouts of Merity et al. 2017.",
        )
    )


def _cell(c: dict[str, list[float]]) -> Iterator[str]:
    best = min(c, key=lambda name: c[name][-1])
    yield (
        ", ".join(f"{name} {curve[-1]:.2f}" for name, curve in c.items())
        + f" at the end: {best} is ahead in so short a run."
    )
    yield "An LSTM starts slowest; what it makes of ten million tokens is in [BENCHMARKS.md](BENCHMARKS.md), *Every family learns*."


def _rate(c: dict[str, list[float]]) -> Iterator[str]:
    muon, adam = ({n: v[-1] for n, v in c.items() if n.startswith(kind)} for kind in ("Muon", "AdamW"))
    best = {kind: min(found, key=found.__getitem__) for kind, found in (("Muon", muon), ("AdamW", adam))}
    yield (
        f"The rate matters more than all below. Best of each: {best['Muon']} ({muon[best['Muon']]:.2f}), {best['AdamW']} "
        f"({adam[best['AdamW']]:.2f}); worst: {max(c, key=lambda n: c[n][-1])} ({max(v[-1] for v in c.values()):.2f})."
    )
    yield "Try three rates a factor of three apart for a tenth of the run before you touch anything else."


def _clipping(c: dict[str, list[float]]) -> Iterator[str]:
    sgd, off = c["plain SGD 10, at 0.25"], c["plain SGD 10, off"]
    said = f"{off[-1]:.2f}" if len(off) == len(sgd) else "a loss that is not finite"
    yield (
        f"Muon and Adam divide the gradient by its size: {c['Muon, at 1'][-1]:.2f} with and {c['Muon, off'][-1]:.2f} without for "
        f"the LSTM, {c['Elman, Muon, at 1'][-1]:.2f} and {c['Elman, Muon, off'][-1]:.2f} for an Elman network. Plain SGD at a rate of "
        f"10, whose step is as long as the gradient: {sgd[-1]:.2f} clipped at 0.25, {said} without."
    )
    yield (
        "Exploding gradients (Pascanu et al. 2013) come with long rows, many layers and late in training, which these runs do "
        "not have. Leave `train.clip` at 1: it costs nothing, and one bad batch cannot end a run."
    )


def _forget(c: dict[str, list[float]]) -> Iterator[str]:
    best = min(c, key=lambda name: c[name][-1])
    yield (
        f"{', '.join(f'{name}: {curve[-1]:.2f}' for name, curve in c.items())}; best here is {best}. Jozefowicz et al. 2015 recommend "
        "1, our default (`model.forget_bias`): at 0 a cell forgets half of its state at every token before it has learned what to "
        "keep, and what is far away is never missed. In runs as short as these only what is near is learned at all."
    )


def _truncation(c: dict[str, list[float]]) -> Iterator[str]:
    spans = {name: curve[-1] for name, curve in c.items() if name.endswith("tokens")}
    yield (
        f"Tokens through which the gradient flows back (`train.length`), at as many tokens a step: "
        f"{', '.join(f'{name} {loss:.2f}' for name, loss in spans.items())}. The state is carried from row to row, so that a short row "
        "still knows what was before it. Longer rows have fewer of them in a step, so sentences of fewer documents."
    )
    yield (
        f"Documents apart, each from an empty state: {c['128, state not carried'][-1]:.2f} against {c['128 tokens'][-1]:.2f}; these "
        "losses are of other tokens (a document's first is not predicted), so compare them with care."
    )


def _dropout(c: dict[str, list[float]]) -> Iterator[str]:
    none = c["none"]
    best = min(c, key=lambda name: c[name][-1])
    yield (
        f"On a small text that is read several times: {none[-1]:.2f} at the end without dropout (lowest {min(none):.2f}); best at the "
        f"end: {best}, {c[best][-1]:.2f}. All masks are the same for every token of a row (Gal & Ghahramani 2016), the recurrent "
        "weights' too (Merity et al. 2017)."
    )
    yield (
        "Dropout pays once the held-out loss rises while the training loss falls, that is with a larger network or more passes; "
        "text that is read once needs none: it then only slows learning."
    )


ADVICE = {
    "optimiser and rate": _rate,
    "clipping": _clipping,
    "forget bias": _forget,
    "truncation": _truncation,
    "dropout": _dropout,
    "cell": _cell,
}
