"""Where the right answers stand in the windows: what training compares with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.data.questions import Questions
from wordloom.tasks.answer.windows import AnswerWindows, tokens_of
from wordloom.tasks.windows import Ints


@dataclass(frozen=True)
class Targets:
    """Of E questions with W windows.

    right: (K, 3) every right answer in every window that holds it whole: window, first and last token of its piece;
    windows in order. silent: (E,) there is no answer. reachable: (E,) some window holds a right answer whole, or saying
    nothing is right and possible: what can be learned from. shortest: (E,) tokens of the shortest right answer that a
    window holds, 0 where there is none. lengths: tokens of every answer that stands in its text; inexact: how many of
    these have tokens that reach beyond them.
    """

    right: Ints
    silent: NDArray[np.bool_]
    reachable: NDArray[np.bool_]
    shortest: Ints
    lengths: Ints
    inexact: int

    @property
    def usual_length(self) -> int:
        """Tokens that 99 % of the answers do not exceed."""
        return int(np.quantile(self.lengths, 0.99, method="higher")) if len(self.lengths) else 30


def make_targets(windows: AnswerWindows, records: Questions, *, first: bool = False, silent: bool = True) -> Targets:
    """first: of several right answers, the first that stands in the text is the only one to learn. silent: whether the
    model can say nothing."""
    E = len(records)
    empty, reachable = np.zeros(E, np.bool_), np.zeros(E, np.bool_)
    shortest = np.zeros(E, np.int64)
    right: set[tuple[int, int, int]] = set()
    lengths, inexact = [], 0
    for e, (spans, context) in enumerate(zip(records.gold, windows.contexts, strict=True)):
        empty[e] = not spans
        reachable[e] = empty[e] and silent
        stand = [span for span in dict.fromkeys(spans) if span.start >= 0]
        for span in stand[:1] if first else stand:
            found = tokens_of(span, context)
            if found is None:
                continue
            i, j = found
            lengths.append(j - i + 1)
            inexact += (context.characters[i, 0], context.characters[j, 1]) != (span.start, span.end)
            for w in range(*windows.windows.first[e : e + 2]):
                begin = int(windows.begin[w])
                if begin <= i and j < begin + windows.sizes[w]:
                    right.add((w, i - begin, j - begin))
                    reachable[e] = True
                    shortest[e] = min(shortest[e] or j - i + 1, j - i + 1)
    table = np.array(sorted(right), np.int64).reshape(-1, 3)
    return Targets(table, empty, reachable, shortest, np.array(lengths, np.int64), inexact)


def examples_of(windows: AnswerWindows, chosen: Ints, targets: Targets) -> dict[str, Tensor]:
    """What the loss reads of the windows ``chosen``, of which each question's are together and in order.

    of: (N,), usable: (N, 2) of their tokens; right (K, 2), right_of (K,): numbers among the N of the first and last
    token of every right answer, and its question; null_of (W,); silent (E,). Questions are counted from 0.
    """
    numbers, question = np.unique(windows.owner[chosen], return_inverse=True)
    which, place = windows.pieces(chosen)
    begin = np.cumsum(windows.sizes[chosen]) - windows.sizes[chosen]  # of each piece among the N
    edges = np.searchsorted(targets.right[:, 0], [chosen, chosen + 1])  # (2, W) rows of each window
    held = np.repeat(np.arange(len(chosen)), edges[1] - edges[0])  # (K,) the window of each right answer
    rows = np.concatenate([np.arange(a, b) for a, b in edges.T]) if len(chosen) else edges[0]
    values = {
        "of": question[which], "usable": windows.usable[windows.edges[chosen][which] + place],
        "right": targets.right[rows.astype(np.int64), 1:] + begin[held][:, None], "right_of": question[held],
        "null_of": question, "silent": targets.silent[numbers],
    }  # fmt: skip
    return {name: torch.from_numpy(value) for name, value in values.items()}
