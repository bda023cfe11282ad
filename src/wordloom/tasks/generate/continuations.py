"""Prompts and responses as rows of token ids: what is given, what is to be said, nothing cut.

A record is one sequence: its prompt, what parts it from the response, the response, the end. Only the response and its
end are predicted. A sequence longer than a window is read in several; each predicted token stands in exactly one, after
as much of what comes before it as the stride says. Every window begins with the token that begins a text, as the rows
of pre-training do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wordloom.data.batch import IGNORE, Batch, rows_of
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.windows import Ints, place_tightly

TARGETS = "tokens"


@dataclass(frozen=True)
class Sequences:
    """W windows of E records, one after the other in ``given`` and ``said`` (N,): window w is starts[w]:starts[w + 1].

    said: the token that follows, IGNORE where it is none to predict. owner: (W,) the record of each window.
    """

    given: NDArray[np.int64]
    said: NDArray[np.int64]
    starts: Ints
    owner: Ints
    records: int

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)


def window_edges(total: int, first: int, room: int, shared: int) -> list[tuple[int, int, int]]:
    """(begin, from, end) of the windows of a sequence of ``total`` tokens whose tokens first.. are predicted.

    A window reads begin..end and predicts from..end; at most ``room`` tokens. The first keeps half its room for what it
    predicts, where there is as much; the others repeat ``shared`` tokens of the one before.
    """
    edges, at = [], first
    while at < total:
        left = total - at
        context = room - min(left, (room + 1) // 2) if at == first else shared
        begin = max(0, at - context)
        end = min(total, begin + room)
        edges.append((begin, at, end))
        at = end
    return edges


def sequences(
    prompts: Sequence[Sequence[int] | NDArray[np.int32]], responses: Sequence[Sequence[int] | NDArray[np.int32]], *,
    start_id: int, length: int, stride: float,
) -> Sequences:  # fmt: skip
    """prompts: with what parts them from the response; responses: with their end. length: tokens of a window."""
    given: list[NDArray[np.int64]] = []
    said: list[NDArray[np.int64]] = []
    owner: list[int] = []
    for record, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ids = np.concatenate([np.asarray(prompt, np.int64), np.asarray(response, np.int64)])
        for begin, at, end in window_edges(len(ids), len(prompt), length, int(stride * length)):
            given.append(np.concatenate([[start_id], ids[begin : end - 1]]))
            said.append(np.where(np.arange(begin, end) >= at, ids[begin:end], IGNORE))
            owner.append(record)
    starts = np.concatenate([[0], np.cumsum([len(g) for g in given], dtype=np.int64)]).astype(np.int64)
    flat = [np.concatenate(part) if part else np.zeros(0, np.int64) for part in (given, said)]
    return Sequences(flat[0], flat[1], starts, np.array(owner, np.int64), len(prompts))


def lay_windows(windows: Sequences, chosen: Ints, fill: int, ids: tuple[str, ...] = ()) -> tuple[Batch, Ints]:
    """A batch of the windows numbered ``chosen``, first-fit into rows; targets["tokens"] (B, T).

    And (N,) the window of each predicted token, in the order in which (row, column) hold them.
    """
    lengths = windows.lengths[chosen]
    _, row, column = place_tightly(lengths)
    order = np.lexsort((column, row))
    chosen, lengths, row = chosen[order], lengths[order], row[order]
    inside = np.concatenate([np.arange(windows.starts[w], windows.starts[w + 1]) for w in chosen])
    batch = rows_of(windows.given[inside], lengths, row, count=int(row[-1]) + 1, fill=fill, ids=ids)
    said = torch.full_like(batch.tokens, IGNORE)
    said[batch.documents > 0] = torch.from_numpy(windows.said[inside])
    batch.targets[TARGETS] = said
    return batch, np.repeat(chosen, lengths)[windows.said[inside] != IGNORE]


class SequenceStream(EpochStream):
    """Training batches as a pure function of (seed, step): ``batch`` windows a step, of similar length (`Epochs`)."""

    def __init__(self, windows: Sequences, places: Sequence[str], *, fill: int, batch: int, seed: int):
        self.windows, self.places, self.fill = windows, places, fill
        self.epochs = Epochs(windows.lengths, batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        return self.epochs.batches(step, parts, self._batch)

    def _batch(self, chosen: Ints) -> Batch:
        names = tuple(self.places[i] for i in self.windows.owner[chosen])
        return lay_windows(self.windows, chosen, self.fill, names)[0]
