"""Long texts become windows, windows become full rows: nothing is cut and almost nothing is padding.

A text of more than ``length`` tokens is cut into the fewest windows that hold it, balanced to differ by one
token at most, and a task pools the windows of a text. Windows of all sizes are then laid first-fit into rows
that hold the longest window of the batch or a few of them; ``documents`` keeps attention inside a window, so a
row of five short texts gives the values each would give alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.data.batch import Batch
from wordloom.errors import ConfigError
from wordloom.text.tokenizer import Tokenizer

MULTIPLE = 16  # row lengths are rounded up to this: matrix kernels like it and shapes repeat
SHORT = 128  # rows up to this length are tried however short the windows are
_TEXTS = 1024  # texts tokenized at a time
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """W windows of E examples, special tokens included, one after the other.

    tokens: (N,) int32; types: (N,) uint8, the segment of a pair; starts: (W + 1,) window w is
    ``tokens[starts[w]:starts[w + 1]]``; first: (E + 1,) example e owns windows ``first[e]:first[e + 1]``.
    """

    tokens: NDArray[np.int32]
    types: NDArray[np.uint8]
    starts: Ints
    first: Ints

    @property
    def examples(self) -> int:
        return len(self.first) - 1

    @property
    def lengths(self) -> Ints:
        """(W,) tokens of each window."""
        return np.diff(self.starts)

    @property
    def counts(self) -> Ints:
        """(E,) windows of each example."""
        return np.diff(self.first)

    @property
    def example_tokens(self) -> Ints:
        """(E,) tokens of each example, all its windows together."""
        return self.starts[self.first[1:]] - self.starts[self.first[:-1]]


def cut(tokens: int, room: int, stride: float = 0.0) -> list[tuple[int, int]]:
    """Edges (begin, end) of the fewest windows of at most ``room`` tokens that hold ``tokens``.

    Neighbours share ``int(stride * room)`` tokens; lengths differ by one at most.
    """
    if tokens <= room:
        return [(0, tokens)]
    shared = int(stride * room)
    count = -(-(tokens - shared) // (room - shared))
    return split(tokens, count, shared)


def split(tokens: int, count: int, shared: int = 0) -> list[tuple[int, int]]:
    """``count`` pieces of ``tokens``, neighbours sharing ``shared`` tokens, lengths differing by one at most."""
    edges = [i * (tokens - shared) // count for i in range(count + 1)]
    return [(a, b + shared) for a, b in pairwise(edges)]


def cut_pair(a: int, b: int, room: int, stride: float = 0.0) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Edges of both texts in each window of a pair.

    A second text that takes at most half the room is repeated whole beside each window of the longer one.
    Where both are longer than half, both are cut into the same number of pieces and window i holds piece i
    of both: linear in the length, and still no token is left out.
    """
    if a + b <= room:
        return [((0, a), (0, b))]
    short = min(a, b)
    if short <= room // 2:
        pieces = cut(max(a, b), room - short, stride)
        return [(p, (0, b)) if a >= b else ((0, a), p) for p in pieces]
    half = room // 2
    count = max(len(cut(n, half, stride)) for n in (a, b))
    parts = [split(n, count, int(stride * half)) for n in (a, b)]
    return list(zip(*parts, strict=True))


def make_windows(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    length: int,
    stride: float = 0.0,
    first: bool = False,
) -> Windows:
    """Tokenize and cut: [CLS] piece [SEP], or [CLS] piece of the first [SEP] piece of the second [SEP].

    length: tokens of a window, special tokens included. first: of texts alone, one window of each, with its first
    tokens: the rest is not read. Raises ConfigError where the length leaves no room.
    """
    room = length - (2 if pairs is None else 3)
    if room < 2:
        raise ConfigError(f"windows of {length} tokens leave no room for text", cure="set train.length to 16 or more")
    cls, sep = np.array([tokenizer.cls_id], np.int32), np.array([tokenizer.sep_id], np.int32)
    pieces: list[NDArray[np.int32]] = []
    heads: list[int] = []  # per window: tokens of segment 0
    sizes: list[int] = []
    counts: list[int] = []
    for start in range(0, len(texts), _TEXTS):
        block = slice(start, start + _TEXTS)
        encoded = tokenizer.encode_ids(texts[block])
        if pairs is None:
            for ids in encoded:
                edges = [(0, min(len(ids), room))] if first else cut(len(ids), room, stride)
                counts.append(len(edges))
                for a, b in edges:
                    pieces += [cls, ids[a:b], sep]
                    sizes.append(b - a + 2)
            continue
        second = tokenizer.encode_ids(pairs[block])
        for ids, other in zip(encoded, second, strict=True):
            both = cut_pair(len(ids), len(other), room, stride)
            counts.append(len(both))
            for (a, b), (c, d) in both:
                pieces += [cls, ids[a:b], sep, other[c:d], sep]
                heads.append(b - a + 2)
                sizes.append(b - a + d - c + 3)
    tokens = np.concatenate(pieces).astype(np.int32) if pieces else np.zeros(0, np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    types = np.zeros(len(tokens), np.uint8)
    if pairs is not None:
        offset = np.arange(len(tokens)) - np.repeat(starts[:-1], sizes)
        types = (offset >= np.repeat(np.array(heads, np.int64), sizes)).astype(np.uint8)
    return Windows(tokens, types, starts, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64))


def place(lengths: Ints, room: int) -> tuple[Ints, Ints]:
    """First-fit decreasing: (W,) row and (W,) column where each window begins; rows hold ``room`` tokens."""
    row, col = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    free = np.full(len(lengths), room)
    for w in np.argsort(-lengths, kind="stable"):
        r = int(np.argmax(free >= lengths[w]))
        row[w], col[w] = r, room - free[r]
        free[r] -= lengths[w]
    return row, col


def place_tightly(lengths: Ints) -> tuple[int, Ints, Ints]:
    """(room, row, col): the row length that makes the batch cheapest.

    Rows just as long as the longest window waste nearly half where windows are a little over half of it, so
    multiples of it are tried too. The cost of a row is its length, times 1 + length / 1024 for attention,
    which grows with the square (exact for a width of 170; for wider models attention weighs less).
    """
    longest, tried = int(lengths.max()), []
    limit = max(SHORT, 2 * longest)
    rooms = {-(-int(longest * k) // MULTIPLE) * MULTIPLE for k in (1, 1.25, 1.5, 2, 3, 4, 6, 8) if longest * k <= limit}
    for room in sorted(rooms):
        row, col = place(lengths, room)
        tried.append(((int(row.max()) + 1) * room * (1 + room / 1024), room, row, col))
        if room >= lengths.sum():
            break
    _, room, row, col = min(tried, key=lambda t: t[0])
    return room, row, col


def lay_out(windows: Windows, chosen: Ints, example: Ints, pad_id: int) -> Batch:
    """A batch of the windows numbered ``chosen`` (W,).

    examples["rows"], ["cols"]: (W,) where each window's [CLS] stands; ["example"]: (W,), as given.
    """
    lengths = windows.lengths[chosen]
    room, rows, cols = place_tightly(lengths)
    # token k of the batch, windows one after the other: where it comes from and where it goes
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    source = np.repeat(windows.starts[chosen], lengths) + inside
    target = np.repeat(rows * room + cols, lengths) + inside
    number = np.zeros(len(chosen), np.int64)  # documents of a row count from 1 in the order they stand
    order = np.lexsort((cols, rows))
    begins = np.concatenate([[0], np.flatnonzero(np.diff(rows[order])) + 1])
    number[order] = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order)))) + 1
    shape = (int(rows.max()) + 1, room)

    def filled(values: NDArray, empty: int) -> Tensor:  # (B, T)
        out = np.full(shape[0] * shape[1], empty, np.int64)
        out[target] = values
        return torch.from_numpy(out.reshape(shape))

    return Batch(
        tokens=filled(windows.tokens[source], pad_id),
        documents=filled(np.repeat(number, lengths), 0),
        positions=filled(inside, 0),
        types=filled(windows.types[source], 0),
        examples={k: torch.from_numpy(v.astype(np.int64)) for k, v in
                  (("rows", rows), ("cols", cols), ("example", example))},
    )  # fmt: skip


def by_budget(lengths: Ints, budget: int) -> Iterator[Ints]:
    """Window numbers, longest first, in groups of at most ``budget`` tokens (at least one window each)."""
    order = np.argsort(-lengths, kind="stable")
    total = 0
    begin = 0
    for i, w in enumerate(order):
        if i > begin and total + lengths[w] > budget:
            yield order[begin:i]
            begin, total = i, 0
        total += int(lengths[w])
    if begin < len(order):
        yield order[begin:]


def balanced_parts(sizes: Ints, parts: int) -> list[Ints]:
    """Examples 0..E-1 dealt into ``parts`` groups of nearly equal tokens: largest first to the lightest group."""
    if parts > len(sizes):
        raise ConfigError(
            f"a step of {len(sizes)} examples cannot be split into {parts} parts",
            cure="raise train.batch or use fewer processes",
        )
    load = np.zeros(parts, np.int64)
    group: list[list[int]] = [[] for _ in range(parts)]
    for i in np.argsort(-sizes, kind="stable"):
        lightest = int(load.argmin()) if all(group) else next(g for g in range(parts) if not group[g])
        group[lightest].append(int(i))
        load[lightest] += sizes[i]
    return [np.array(sorted(g), np.int64) for g in group]
