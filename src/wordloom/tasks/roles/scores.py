"""Scores of semantic role labelling, by the definition of the official script of CoNLL-2005 (srl-eval.pl).

As there (Carreras & Màrquez 2005, section 3.1):
- an argument is right when its label and all its words are; V, the predicate itself, is left out;
- C-X is a further piece of the nearest X before it in the same frame: together they are one argument, right only when
  every piece is, and right against such an argument alone. A C-X with no X before it counts as an X (so C-V is V, and
  left out, where the V is before it or absent alike); R-X is a label of its own.
- frames are matched by the place of their predicates; all arguments of a frame that is missing are missed.
One difference, which predicted predicates alone can show: the script skips a frame whose predicate is not in the gold
data, here its arguments count as wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from wordloom.data.frames import NONE, Argument, Frame
from wordloom.metrics import Tally, tally_scores

Piece = tuple[int, int]
Joined = tuple[str, tuple[Piece, ...]]
EXCLUDED = "V"
GOLD_NOTE = "predicates given, as usually published"
PREDICTED_NOTE = "predicates found by the model; arguments of a predicate that is none count as wrong"


def joined(arguments: Sequence[Argument]) -> set[Joined]:
    """(label, its pieces in text order) of each argument that is scored."""
    labels: list[str] = []
    pieces: list[list[Piece]] = []
    latest: dict[str, int] = {}  # label -> number of the argument that a C- goes on with
    for start, end, label in sorted(arguments):
        own = label.removeprefix("C-")
        if own != label and own in latest:
            pieces[latest[own]].append((start, end))
            continue
        latest[own] = len(labels)
        labels.append(own)
        pieces.append([(start, end)])
    return {(label, tuple(p)) for label, p in zip(labels, pieces, strict=True) if label != EXCLUDED}


def compare(gold: Sequence[Frame], said: Sequence[Frame]) -> tuple[set[tuple[int, Joined]], ...]:
    """(right, said, gold) arguments of one sentence, each with the place of its predicate."""
    theirs = {(f.index, a) for f in gold for a in joined(f.arguments)}
    ours = {(f.index, a) for f in said for a in joined(f.arguments)}
    return theirs & ours, ours, theirs


Pairs = Sequence[tuple[Sequence[Frame], Sequence[Frame]]]  # (gold, said) frames of each sentence


def argument_counts(pairs: Pairs) -> np.ndarray:
    """(n, 3): right, said and gold arguments of each sentence."""
    return np.array([[len(part) for part in compare(gold, said)] for gold, said in pairs], np.float64).reshape(-1, 3)


def argument_tallies(pairs: Pairs, note: str) -> dict[str, Tally]:
    """f1, precision and recall of arguments."""
    right, said, gold = argument_counts(pairs).T
    return {"f1": Tally.f1(right, said, gold, note), "precision": Tally.share(right, said, note),
            "recall": Tally.share(right, gold, note)}  # fmt: skip


def predicate_tallies(pairs: Pairs) -> dict[str, Tally]:
    """Predicates found, by their words alone: f1, precision and recall."""
    places = [({f.index for f in gold}, {f.index for f in said}) for gold, said in pairs]
    right, said, gold = np.array([[len(g & s), len(s), len(g)] for g, s in places], np.float64).reshape(-1, 3).T
    return {"predicate_f1": Tally.f1(right, said, gold), "predicate_precision": Tally.share(right, said),
            "predicate_recall": Tally.share(right, gold)}  # fmt: skip


def sense_tally(pairs: Pairs) -> dict[str, Tally]:
    """Share of the gold predicates with a sense that got the right one; nothing where the data says none."""
    counts = np.zeros((len(pairs), 2))
    for i, (gold, said) in enumerate(pairs):
        senses = {f.index: f.sense for f in said}
        known = [f for f in gold if f.sense != NONE]
        counts[i] = sum(senses.get(f.index) == f.sense for f in known), len(known)
    return {"sense_accuracy": Tally.share(*counts.T)} if counts[:, 1].any() else {}


def perfect_tally(pairs: Pairs) -> dict[str, Tally]:
    """Share of the gold predicates all of whose arguments are right and no other is said."""
    counts = np.zeros((len(pairs), 2))
    for i, (gold, said) in enumerate(pairs):
        ours = {f.index: joined(f.arguments) for f in said}
        counts[i] = sum(ours.get(f.index, set()) == joined(f.arguments) for f in gold), len(gold)
    return {"perfect_frames": Tally.share(*counts.T)}


def label_table(pairs: Pairs, resamples: int = 1000) -> dict[str, Any]:
    """Precision, recall and F1 with its 95 % interval of each label, most frequent first: a row of scores.json."""
    rows = [tuple(_by_label(part) for part in compare(gold, said)) for gold, said in pairs]
    labels = {label for row in rows for part in row for label in part}
    totals = {label: sum(row[2].get(label, 0) for row in rows) for label in labels}
    shown: list[list[str | int]] = []
    for label in sorted(labels, key=lambda name: (-totals[name], name)):
        right, said, gold = np.array([[part.get(label, 0) for part in row] for row in rows], np.float64).T
        kinds = {"p": Tally.share(right, said), "r": Tally.share(right, gold), "f": Tally.f1(right, said, gold)}
        found = tally_scores(kinds, resamples=resamples)
        f1 = found["f"]
        interval = "–" if np.isnan(f1.low) else f"{100 * f1.low:.1f} to {100 * f1.high:.1f}"
        shares = [f"{100 * found[k].value:.1f}" for k in "prf"]
        shown.append([label, totals[label], int(said.sum()), *shares, interval])
    header = ["label", "in the data", "said", "precision", "recall", "F1", "95 % interval"]
    return {"title": "Arguments by label", "header": header, "rows": shown,
            "note": "V left out; C- pieces joined to their argument (CoNLL-2005)"}  # fmt: skip


def _by_label(arguments: set[tuple[int, Joined]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for _, (label, _) in arguments:
        counts[label] += 1
    return counts


def all_tallies(pairs: Pairs, other: Pairs | None, found: Pairs, given: Pairs | None, gold: bool) -> dict[str, Tally]:
    """Every score. pairs: with the predicates that the task is asked to use, gold or not; other: with the other ones;
    found: with predicted predicates; given: with gold ones."""
    notes = (GOLD_NOTE, PREDICTED_NOTE) if gold else (PREDICTED_NOTE, GOLD_NOTE)
    tallies = argument_tallies(pairs, notes[0])
    if other is not None:
        tallies["f1_predicted" if gold else "f1_gold"] = argument_tallies(other, notes[1])["f1"]
    tallies |= predicate_tallies(found)
    return tallies | sense_tally(given or found) | perfect_tally(pairs)
