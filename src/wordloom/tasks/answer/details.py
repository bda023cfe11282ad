"""What the report says of answers beside their scores: what the windows held, where it went wrong, examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wordloom.data.questions import Questions

if TYPE_CHECKING:
    from wordloom.tasks.answer.task import Answer, Reader

SHOWN = 12  # answers in the report
AROUND = 60  # characters of the text on each side of an answer that is shown


def answer_details(task: Reader, records: Questions, answers: Sequence[Answer]) -> dict[str, Any]:
    """Keys "tables" and "samples" of scores.json."""
    windows = task.windows(records.asked)
    targets = task.targets(windows, records)
    counts = windows.windows.counts
    has = ~targets.silent
    cut, long = has & ~targets.reachable, targets.shortest > task.longest
    texts = [[s.text for s in spans] for spans in records.gold]
    f1, exact = task.rule(records).scores([a.text for a in answers], texts, records.unanswerable)
    groups = [("in one window", has & (counts == 1)), ("in several windows", has & (counts > 1)),
              ("without an answer", targets.silent)]  # fmt: skip
    rows = [[name, int(g.sum()), *(round(float(x[g].mean()), 4) for x in (f1, exact))] for name, g in groups if g.any()]
    tables = [
        {"title": "By length of the text", "header": ["text", "questions", "F1", "exact match"], "rows": rows},
        {"title": "What could be reached", "header": ["", "count"], "note": REACHED,
         "rows": [["questions", len(records)], ["windows", len(windows.sizes)],
                  ["questions longer than task.question, cut", windows.questions_cut],
                  ["answers that do not stand in their text", sum(s.start < 0 for a in records.gold for s in a)],
                  ["answers whose tokens reach beyond them", targets.inexact],
                  ["questions with an answer that no window holds whole", int(cut.sum())],
                  [f"questions whose answers all have more than {task.longest} tokens", int(long.sum())]]},
    ]  # fmt: skip
    found: dict[str, Any] = {"tables": tables, "samples": _samples(records, answers, f1)}
    nowhere = has & np.array([bool(a) and all(s.start < 0 for s in a) for a in records.gold])
    reasons = [(nowhere, "are not in the text"), (cut & ~nowhere, "stand whole in no window"),
               (long, f"have more than {task.longest} tokens")]  # fmt: skip
    said = [f"{int(which.sum()):,} {why}" for which, why in reasons if which.any()]
    if said:
        reason = f"questions whose right answers no answer can equal, scored all the same: {' and '.join(said)}"
        found["unscored"] = {"count": int((cut | long).sum()), "reason": reason}
    return found


REACHED = (
    "All questions are scored; an answer that no window holds whole, or that is longer than task.max_answer, cannot be "
    "given exactly."
)


def _samples(records: Questions, answers: Sequence[Answer], f1: Any) -> list[dict[str, Any]]:
    """The surest wrong answers, then the first questions of the set."""
    sure = np.array([a.probability for a in answers])
    wrong = [int(i) for i in np.argsort(-sure, kind="stable") if f1[i] < 0.5][: SHOWN // 2]
    chosen = list(dict.fromkeys([*wrong, *range(len(records))]))[:SHOWN]
    samples = []
    for i in chosen:
        asked, answer = records.asked[i], answers[i]
        around = asked.context
        if answer.text:
            around = asked.context[max(0, answer.start - AROUND) : answer.end + AROUND]
        gold = " / ".join(dict.fromkeys(s.text for s in records.gold[i])) or "(no answer)"
        said = f"{answer.text or '(no answer)'} ({answer.probability:.2f})"
        samples.append({"input": f"{asked.question} … {around[: 4 * AROUND]}", "answer": said, "gold": gold,
                        "place": records.places[i]})  # fmt: skip
    return samples
