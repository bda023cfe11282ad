"""What a reader must beat: the span beside which most of the question's words stand.

The sliding window of Richardson et al. 2013 (algorithm 1), by which Rajpurkar et al. 2016 (section 5.1) answer SQuAD:
a window of as many words as the question and the answer together moves over the text, and the words in it that are in
the question count log(1 + 1 / their frequency in the text). As there, candidates are of the sentence that has most of
the question's words. Differences: no parser proposes answers, so every run of L units of that sentence is a candidate,
L being fitted on the training questions; a candidate's own words do not count, and of equal windows the candidate of
rarer words wins. Units are words, and each Chinese or Japanese character. Where training questions have no answer, a
best score below a fitted share of the question's whole weight says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordloom.data.questions import Question, Questions
from wordloom.metrics.squad import AnswerRule, answer_rule
from wordloom.tasks.answer.spans import best_threshold
from wordloom.tasks.answer.task import Answer, Found
from wordloom.text.sentences import sentence_starts

LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30)  # of answers in units; the one that fits training best is taken
FITTED = 500  # training questions that are answered to fit the length and the threshold
_CJK = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
_UNIT = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")


@dataclass
class SlidingWindow:
    """length: units of every answer. threshold: what a best score must exceed, as a share of the question's weight."""

    length: int
    threshold: float
    name: str = "sliding window over the question's words (Richardson et al. 2013)"

    @classmethod
    def fit(cls, train: Questions, metric: str = "auto") -> SlidingWindow:
        """Length and threshold that give the best F1 on up to 500 training questions, evenly taken."""
        chosen = np.unique(np.linspace(0, len(train) - 1, min(FITTED, len(train))).astype(int))
        some = train.subset(chosen.tolist())
        texts = [[s.text for s in spans] for spans in some.gold]
        rule: AnswerRule = answer_rule([*(q.question for q in some.asked), *(q.context for q in some.asked)], metric)
        has = np.array([bool(t) for t in texts])
        best = None
        for length in LENGTHS:
            found = [best_window(q, length) for q in some.asked]
            said = [_slice(q, f) for q, f in zip(some.asked, found, strict=True)]
            f1, _ = rule.scores(said, texts, some.unanswerable)
            if best is None or f1[has].sum() > best[0]:
                best = f1[has].sum(), length, f1, np.array([f[2] for f in found])
        assert best is not None
        _, length, f1, scores = best
        threshold = -best_threshold(-scores, f1, (~has).astype(float)) if some.unanswerable else -1.0
        return cls(length, threshold)

    def predict(self, records: Questions) -> list[Answer]:
        """A span of each context, or nothing where its score does not exceed the threshold."""
        answers = []
        for asked in records.asked:
            start, end, score = best_window(asked, self.length)
            found = Found(asked.context[start:end], start, end, score)
            silent = score < self.threshold or start == end
            answers.append(Answer("", -1, -1, 0.0, 0.0, (found,)) if silent else Answer(*found, 0.0, (found,)))
        return answers


def _slice(asked: Question, found: tuple[int, int, float]) -> str:
    return asked.context[found[0] : found[1]]


def best_window(asked: Question, length: int) -> tuple[int, int, float]:
    """(first character, last + 1, score as a share of the question's weight) of the best run of ``length`` units, or
    of the whole sentence where all are shorter."""
    units, spans = _units(asked.context)
    question = set(_units(asked.question)[0])
    n = len(units)
    if not n:
        return 0, 0, 0.0
    numbers = {u: i for i, u in enumerate(dict.fromkeys(units))}
    which = np.array([numbers[u] for u in units])
    of_unit = np.log1p(1 / np.bincount(which))  # log(1 + 1 / C(w))
    weight = of_unit[which]  # (n,)
    asked_for = np.array([u in question for u in numbers])[which]
    gain = np.concatenate([[0.0], np.cumsum(weight * asked_for)])
    sentence = _sentences(asked.context, spans)
    # each sentence's weight of the question's words, a word once
    pairs = np.unique(np.stack([sentence, which])[:, asked_for], axis=1)
    overlap = np.bincount(pairs[0], of_unit[pairs[1]], minlength=int(sentence[-1]) + 1)
    best = int(np.argmax(overlap))
    length = min(length, int((sentence == best).sum()))
    first = np.flatnonzero(sentence == best)[: -length + 1 or None]
    # windows of |Q| + L units that hold the candidate: their gain without the candidate's own
    size = length + len(question)
    shifts = np.arange(size - length + 1)
    begin = first[:, None] - shifts[None]
    sums = gain[np.clip(begin + size, 0, n)] - gain[np.clip(begin, 0, n)]  # (candidates, windows)
    outside = sums.max(1) - (gain[first + length] - gain[first])
    rare = np.concatenate([[0.0], np.cumsum(weight)])
    own = (rare[first + length] - rare[first]) / length
    top = int(np.argmax(outside + 1e-3 * own))
    whole = sum(np.log1p(1 / max(1, units.count(u))) for u in question)
    a, b = first[top], first[top] + length - 1
    return spans[a][0], spans[b][1], float(outside[top] / whole) if whole else 0.0


def _units(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Lower-case units and their characters."""
    found = list(_UNIT.finditer(text))
    return [m.group().lower() for m in found], [m.span() for m in found]


def _sentences(text: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """(n,) number of the sentence of each unit."""
    numbers = np.searchsorted(sentence_starts(text), np.array([a for a, _ in spans], np.int64), side="right")
    return np.unique(numbers, return_inverse=True)[1]
