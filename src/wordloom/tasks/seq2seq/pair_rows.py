"""Pairs of token ids to rows of a batch: what the decoder is given, what it is to say, and the source beside it.

Pairs of all lengths share rows, as pieces of text do in pre-training: document k of a row reads document k of its
source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from wordloom.data.batch import IGNORE, Batch, rows_of
from wordloom.infer.source_stepper import window_positions
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.windows import Ints
from wordloom.text.tokenizer import Tokenizer

ROOMS = (64, 128, 256, 384)  # tokens of both sides that a row may be made for
_TEXTS = 4096  # texts tokenized at a time


@dataclass(frozen=True)
class Ragged:
    """N texts of token ids, one after the other: text i is ``tokens[starts[i]:starts[i + 1]]``, its end token last.

    cut: tokens that were left out at the end of texts longer than the limit, and of how many texts.
    """

    tokens: NDArray[np.int32]
    starts: Ints
    cut: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Ints:
        return np.diff(self.starts)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    def taken(self, chosen: Ints) -> Ints:
        """The texts numbered ``chosen``, one after the other."""
        return np.concatenate([self[i] for i in chosen]).astype(np.int64)


def ragged(tokenizer: Tokenizer, texts: Sequence[str], end_id: int, limit: int) -> Ragged:
    """Tokenize; ``end_id`` ends every text, and a longer text keeps its first ``limit`` tokens, the end among them."""
    parts: list[NDArray[np.int32]] = []
    end = np.array([end_id], np.int32)
    lost = losers = 0
    for at in range(0, len(texts), _TEXTS):
        for ids in tokenizer.encode_ids(texts[at : at + _TEXTS]):
            if len(ids) >= limit:
                lost, losers = lost + len(ids) - limit + 1, losers + 1
            parts += [ids[: limit - 1], end]
    sizes = [len(p) for p in parts]
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])[::2]
    tokens = np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)
    return Ragged(tokens, starts.astype(np.int64), (lost, losers))


def lay_pairs(
    sources: Ragged,
    targets: Ragged,
    chosen: tuple[Ints, Ints],
    *,
    start_id: int,
    window: int,
    apart: bool = False,
    ids: tuple[str, ...] = (),
) -> Batch:
    """chosen: (P,) numbers of the sources and of the targets. ``targets["tokens"]`` (B, T): what is to be said, from
    what was said before it, ``start_id`` first. window: a longer source is read in windows, whose positions begin anew.
    apart: pair p is row p.
    """
    here, there = chosen
    s, t = sources.lengths[here], targets.lengths[there]
    row = np.arange(len(s)) if apart else place_pairs(s, t)
    order = np.argsort(row, kind="stable")
    here, there, s, t, row = here[order], there[order], s[order], t[order], row[order]
    wanted = targets.taken(there)
    given = np.roll(wanted, 1)
    given[np.cumsum(t) - t] = start_id
    count = int(row[-1]) + 1
    batch = rows_of(given, t, row, count=count, fill=start_id, ids=ids)
    said = torch.full_like(batch.tokens, IGNORE)
    said[batch.documents > 0] = torch.from_numpy(wanted)
    places = None
    if s.max() > window:
        places = np.concatenate([np.array(window_positions(int(n), window), np.int64) for n in s])
    read = rows_of(sources.taken(here), s, row, count=count, fill=start_id, places=places)
    return replace(batch, targets={"tokens": said}, source=read)


def place_pairs(s: Ints, t: Ints) -> Ints:
    """(P,) the row of each pair of so many source and target tokens: first-fit decreasing into rows that have room for
    both sides. Of several sizes of a row that is taken whose batch is cheapest (as `windows.place_tightly`).

    Multi30k in batches of 128: 10 % of the tokens are padding; 18 % with one pair a row.
    """
    totals, longest = (int(s.sum()), int(t.sum())), (int(s.max()), int(t.max()))
    tried: list[tuple[float, int, Ints]] = []
    for wanted in ROOMS:
        count = max(1, round(sum(totals) / wanted))
        rooms = [max(most, total // count + 1) for total, most in zip(totals, longest, strict=True)]
        row = _first_fit(s, t, *rooms)
        widths = [int(np.bincount(row, n).max()) for n in (s, t)]
        cost = sum((int(row.max()) + 1) * w * (1 + w / 1024) for w in widths)
        tried.append((cost, wanted, row))
        if count == 1:
            break
    return min(tried, key=lambda found: found[:2])[2]


def _first_fit(s: Ints, t: Ints, source_room: int, target_room: int) -> Ints:
    free = np.tile(np.array([source_room, target_room]), (len(s), 1))
    sizes = np.stack([s, t], axis=1)
    row = np.zeros(len(s), np.int64)
    for p in np.argsort(-np.maximum(s / source_room, t / target_room), kind="stable"):
        row[p] = np.argmax((free >= sizes[p]).all(1))
        free[row[p]] -= sizes[p]
    return row


class PairStream(EpochStream):
    """Training batches as a pure function of (seed, step): ``batch`` pairs a step, of similar length (`Epochs`).

    A record with several references is as many pairs.
    """

    def __init__(
        self, sources: Ragged, targets: Ragged, owner: Ints, places: Sequence[str], *, start_id: int, window: int,
        batch: int, seed: int,
    ):  # fmt: skip
        """owner: (P,) the source of each target. places: "file:line" of each source."""
        self.sources, self.targets, self.owner, self.places = sources, targets, owner, places
        self.start_id, self.window = start_id, window
        self.epochs = Epochs(sources.lengths[owner] + targets.lengths, batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        return self.epochs.batches(step, parts, self._batch)

    def _batch(self, pairs: Ints) -> Batch:
        owners = self.owner[pairs]
        names = tuple(self.places[i] for i in owners)
        return lay_pairs(
            self.sources, self.targets, (owners, pairs), start_id=self.start_id, window=self.window, ids=names
        )
