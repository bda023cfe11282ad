"""Scores of labelled spans: a span is right where its start, its end and its type are (CoNLL-2003; seqeval).

Gold spans are those of the file's lenient reading, conlleval's and seqeval's default; ``strict_f1`` leaves out those
that a strict reading does not find (seqeval's mode="strict"), so both agree where every span begins as its scheme says.
A gold span that no labelling of whole words can say, or of a type that training never saw, counts as missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.data.tag_schemes import Scheme, tags_of
from wordloom.data.tagged import Mention, Span, Tagged, on_units, outermost
from wordloom.metrics import Score, Tally, tally_scores
from wordloom.text.units import Units

SHOWN = 12  # answers in the report
Answers = Sequence[Sequence[Mention]]


def tallies(records: Tagged, answers: Answers, units: Sequence[Units], scheme: Scheme) -> dict[str, Tally]:
    """f1, precision, recall, strict_f1 of spans; accuracy of the units' tags. A row of counts is a text."""
    spans, right = np.zeros((len(records), 4)), np.zeros((len(records), 2))
    for i, (gold, loose, found) in enumerate(zip(records.spans, records.loose, answers, strict=True)):
        said = {m.span for m in found}
        hits = said & set(gold)
        spans[i] = len(hits), len(said), len(gold), len(loose)
        spans[i, 3] = len(hits - loose)
        a, b = (tags_of(len(units[i]), on_units(outermost(s), units[i]), scheme) for s in (gold, said))
        right[i] = sum(x == y for x, y in zip(a, b, strict=True)), len(a)
    strict = np.array([len(gold) - len(loose) for gold, loose in zip(records.spans, records.loose, strict=True)])
    hits_, said_, gold_, strict_hits = spans.T
    f1 = {
        "f1": Tally.f1(hits_, said_, gold_),
        "precision": Tally.share(hits_, said_),
        "recall": Tally.share(hits_, gold_),
        "strict_f1": Tally.f1(strict_hits, said_, strict),
    }
    accuracy = {"accuracy": Tally.share(right[:, 0], right[:, 1])}
    return accuracy | f1 if scheme == "each" else f1 | accuracy


def details(records: Tagged, answers: Answers, units: Sequence[Units], types: set[str]) -> dict[str, Any]:
    """scores.json: a table by type, answers beside gold, and gold spans out of reach."""
    out: dict[str, Any] = {"tables": [_by_type(records, answers)], "samples": _samples(records, answers)}
    unknown = missed = 0
    for gold, edges in zip(records.spans, units, strict=True):
        sayable = {Span(int(edges[a, 0]), int(edges[b - 1, 1]), t) for a, b, t in on_units(outermost(gold), edges)}
        unknown += sum(span.type not in types for span in gold)
        missed += sum(span not in sayable and span.type in types for span in gold)
    reasons = [(missed, "end inside a word or lie in another span"), (unknown, "are of a type without training data")]
    said = [f"{count:,} {why}" for count, why in reasons if count]
    if said:
        reason = f"gold spans that no answer can hold, counted as missed: {' and '.join(said)}"
        out["unscored"] = {"count": missed + unknown, "reason": reason}
    return out


def _by_type(records: Tagged, answers: Answers) -> dict[str, Any]:
    """F1 with its interval, precision and recall of every type, the most frequent first."""
    names = records.type_counts()
    names |= {m.type: 0 for found in answers for m in found if m.type not in names}
    at = {name: i for i, name in enumerate(names)}
    counts: NDArray[np.float64] = np.zeros((3, len(names), len(records)))  # hits, said, gold
    for i, (gold, found) in enumerate(zip(records.spans, answers, strict=True)):
        said = {m.span for m in found}
        for k, some in enumerate((said & set(gold), said, gold)):
            for span in some:
                counts[k, at[span.type], i] += 1
    scores = tally_scores({name: Tally.f1(*counts[:, i]) for name, i in at.items()})
    rows = []
    for name, i in at.items():
        hits, said_, gold_ = counts[:, i].sum(1)
        shares = [_percent(hits / total) if total else "–" for total in (said_, gold_)]
        rows.append([name, int(gold_), int(said_), _with_interval(scores[name]), *shares])
    header = ["type", "gold", "found", "F1 (95 % interval)", "precision", "recall"]
    return {"title": "Spans by type", "header": header, "rows": rows}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _with_interval(score: Score) -> str:
    text = _percent(score.value)
    return text if np.isnan(score.low) else f"{text} ({_percent(score.low)} to {_percent(score.high)})"


def _samples(records: Tagged, answers: Answers) -> list[dict[str, Any]]:
    """Texts that hold or were given a span, evenly over the file."""
    busy = [i for i in range(len(records)) if records.spans[i] or answers[i]]
    shown = busy[:: max(1, len(busy) // SHOWN)][:SHOWN]
    return [
        {"input": records.documents[i], "answer": _said(records.documents[i], [m.span for m in answers[i]]),
         "gold": _said(records.documents[i], records.spans[i]), "place": records.places[i]}
        for i in shown
    ]  # fmt: skip


def _said(text: str, spans: Sequence[Span]) -> str:
    return "; ".join(f"{s.type}: {text[s.start : s.end]}" for s in spans) or "(none)"
