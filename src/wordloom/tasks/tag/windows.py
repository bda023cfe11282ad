"""Texts with units -> pieces whose states stand for the units -> windows in which every unit is read exactly once.

A unit's pieces are found through the character offsets of the tokenizer, so lower-cased and normalised text is no
matter. Where a piece covers several units ("2005" over four labelled characters), the units it touches are tokenized
one by one instead, and a unit that the tokenizer leaves out is an unknown token: every unit has pieces of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import ConfigError
from wordloom.tasks.tag.features import Bags
from wordloom.tasks.windows import Ints, Windows, cut
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.units import Units

_TEXTS = 1024  # texts tokenized at a time


@dataclass(frozen=True)
class Pieces:
    """One text of n pieces and U units. ids: (n,) int32; first, last: (U,) places of each unit's pieces, inclusive."""

    ids: NDArray[np.int32]
    first: Ints
    last: Ints


@dataclass(frozen=True)
class TagWindows:
    """W windows of E texts of N units in all; ``windows`` as in `tasks.windows`, special tokens included.

    unit_starts: (W + 1,) window w is what reads units ``unit_starts[w]:unit_starts[w + 1]``. first, last: (N,) places
    of a unit's pieces inside its window, [CLS] being 0. texts: (E + 1,) text e has units ``texts[e]:texts[e + 1]``.
    bags: hashed features of the N units, where the head reads them.
    """

    windows: Windows
    unit_starts: Ints
    first: Ints
    last: Ints
    texts: Ints
    bags: Bags | None = None


def align(tokenizer: Tokenizer, texts: Sequence[str], units: Sequence[Units]) -> list[Pieces]:
    """The pieces of each text and which of them are whose."""
    found: list[Pieces] = []
    alone: dict[str, NDArray[np.int32]] = {}
    for start in range(0, len(texts), _TEXTS):
        block, edges = texts[start : start + _TEXTS], units[start : start + _TEXTS]
        encoded = tokenizer.encode_offsets(block)
        covered = [_covered(offsets, u) for (_, offsets), u in zip(encoded, edges, strict=True)]
        apart = [_to_part(*touched, len(u)).tolist() for touched, u in zip(covered, edges, strict=True)]
        strings = [{i: _piece_of(text, u, i) for i in part} for text, u, part in zip(block, edges, apart, strict=True)]
        wanted = sorted({string for some in strings for string in some.values()} - set(alone))
        alone.update(zip(wanted, tokenizer.encode_ids(wanted), strict=True))
        for (ids, _), touched, u, some in zip(encoded, covered, edges, strings, strict=True):
            own = {i: alone[string] for i, string in some.items()}
            found.append(_join(ids, *touched, len(u), own, tokenizer.unk_id))
    return found


def _covered(offsets: NDArray[np.int32], units: Units) -> tuple[Ints, Ints]:
    """(n,) first and last unit that each piece touches; last < first: none (white space)."""
    first = np.searchsorted(units[:, 1], offsets[:, 0], side="right")
    last = np.searchsorted(units[:, 0], offsets[:, 1], side="left") - 1
    return first.astype(np.int64), last.astype(np.int64)


def _to_part(first: Ints, last: Ints, count: int) -> Ints:
    """Units that share a piece with another one, or have none."""
    alone = np.zeros(count + 1, np.bool_)
    alone[first[first == last]] = True
    parts = [np.flatnonzero(~alone[:count])]  # a unit without a piece to itself is here, shared or not
    parts += [np.arange(a, b + 1) for a, b in zip(first[last > first], last[last > first], strict=True)]
    return np.unique(np.concatenate(parts))


def _piece_of(text: str, units: Units, unit: int) -> str:
    """A unit as it is tokenized by itself, with the space before it: to byte pairs that is the beginning of a word."""
    start, end = units[unit].tolist()
    return (" " if start and text[start - 1].isspace() else "") + text[start:end]


def _join(
    ids: NDArray[np.int32], first: Ints, last: Ints, count: int, own: dict[int, NDArray[np.int32]], unknown: int
) -> Pieces:
    """The pieces of a text, those of the units in ``own`` put in place of what touched them."""
    owner = np.where(first == last, first, -1)
    if own:
        parted = np.zeros(count + 1, np.bool_)
        parted[list(own)] = True
        gone = np.cumsum(np.concatenate([[0], parted]))  # parted units before each number
        keep = (last < first) | (gone[np.maximum(last, 0) + 1] == gone[first])
        pieces = {u: p if len(p) else np.array([unknown], np.int32) for u, p in own.items()}
        numbers = np.repeat(list(pieces), [len(p) for p in pieces.values()])
        # white space before a unit stays before it
        rank = np.concatenate([2 * first[keep] + (last >= first)[keep], 2 * numbers + 1])
        order = np.argsort(rank, kind="stable")
        ids = np.concatenate([ids[keep], *pieces.values()])[order].astype(np.int32)
        owner = np.concatenate([owner[keep], numbers])[order]
    at = np.flatnonzero(owner >= 0)
    numbers = np.arange(count)
    begin = at[np.searchsorted(owner[at], numbers, side="left")] if count else np.zeros(0, np.int64)
    end = at[np.searchsorted(owner[at], numbers, side="right") - 1] if count else np.zeros(0, np.int64)
    return Pieces(ids, begin, end)


def window(tokenizer: Tokenizer, texts: Sequence[Pieces], *, length: int, stride: float) -> TagWindows:
    """Cut: [CLS] pieces [SEP], neighbours sharing ``stride`` of their room; a unit is read where it is most central.

    length: tokens of a window, special tokens included. Raises ConfigError where it leaves no room.
    """
    room = length - 2
    if room < 2:
        raise ConfigError(f"windows of {length} tokens leave no room for text", cure="set train.length to 16 or more")
    cls, sep = np.array([tokenizer.cls_id], np.int32), np.array([tokenizer.sep_id], np.int32)
    tokens: list[NDArray[np.int32]] = []
    sizes: list[int] = []
    counts: list[int] = []  # windows of a text
    read: list[int] = []  # units of a window
    first: list[Ints] = []
    last: list[Ints] = []
    for text in texts:
        edges = cut(len(text.ids), room, stride)
        counts.append(len(edges))
        # units up to the middle of what two neighbours share belong to the earlier one
        middles = [(edges[i][1] + edges[i + 1][0]) / 2 for i in range(len(edges) - 1)]
        whose = np.searchsorted(middles, (text.first + text.last + 1) / 2, side="right")
        begins, ends = np.array(edges, np.int64).T
        first.append(np.clip(text.first, begins[whose], ends[whose] - 1) - begins[whose] + 1)
        last.append(np.clip(text.last, begins[whose], ends[whose] - 1) - begins[whose] + 1)
        read += np.bincount(whose, minlength=len(edges)).tolist()
        for a, b in edges:
            tokens += [cls, text.ids[a:b], sep]
            sizes.append(b - a + 2)
    flat = np.concatenate(tokens).astype(np.int32) if tokens else np.zeros(0, np.int32)
    units = [len(text.first) for text in texts]
    windows = Windows(flat, np.zeros(len(flat), np.uint8), _edges(sizes), _edges(counts))
    empty = np.zeros(0, np.int64)
    return TagWindows(
        windows, _edges(read), np.concatenate([empty, *first]), np.concatenate([empty, *last]), _edges(units)
    )


def _edges(sizes: Sequence[int]) -> Ints:
    """(n,) sizes -> (n + 1,) where each begins, and the end."""
    return np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)


def ranges(starts: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """(numbers of everything in the chosen ranges of ``starts``, (len(chosen),) how many each holds)."""
    sizes = np.diff(starts)[chosen]
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts[chosen], sizes) + inside, sizes
