"""Sentences and their predicates as what an encoder reads: units, their windows, and where their words stand.

Three ways to tell the network its predicate (``Style``):

  "types"       [CLS] sentence [SEP] predicate [SEP], one unit per predicate: Shi & Lin 2019, section 2.2; the predicate
                is of the second segment in both places, which also says which of several equal words it is (theirs: an
                indicator above the encoder)
  "separators"  [CLS] words [SEP] predicate [SEP] words [SEP], for Transformers without segments: markers around it, as
                Baldini Soares et al. 2019 mark entities, but with a token that the vocabulary has
  "sentence"    the sentence is read once, without predicate; the head pairs its words with each of its predicates

The first two have a further unit per sentence, without predicate, which finds the predicates. A sentence longer than a
window becomes several that overlap; each word is read where it has most neighbours on its shorter side, so no word and
no label is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch

from wordloom.data.batch import Batch
from wordloom.errors import ConfigError
from wordloom.tasks.windows import Ints, Windows, cut, lay_out
from wordloom.text.tokenizer import Tokenizer

Style = Literal["types", "separators", "sentence"]
OVERLAP = 0.5  # of neighbouring windows of a long sentence
_LINES = 1024  # sentences tokenized at a time
LEAST = 8  # tokens of a sentence in a window beside its predicate


class Pieces(NamedTuple):
    """One sentence of n tokens and W words. ids: (n,) int32; first: (W + 1,) token where each word begins, and n."""

    ids: np.ndarray
    first: Ints


class Target(NamedTuple):
    """What is to be learnt of one frame: tags (W,), numbers of its possible senses (may be empty), which is right."""

    tags: Ints
    candidates: tuple[int, ...]
    sense: int  # place among the candidates, or IGNORE


class Unit(NamedTuple):
    """One encoder input: a sentence by its number, the predicates asked about (places of words), and whether it also
    says which words are predicates."""

    sentence: int
    predicates: tuple[int, ...]
    plain: bool


@dataclass(frozen=True)
class Units:
    """U units. windows: theirs, in order; first: (U + 1,) first word of each; window, col: (N,) of each word the window
    in which it is read and the place of its first token there, [CLS] counted."""

    units: Sequence[Unit]
    windows: Windows
    first: Ints
    window: Ints
    col: Ints

    @property
    def sizes(self) -> Ints:
        """(U,) tokens."""
        return self.windows.example_tokens


def pieces_of(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> list[Pieces]:
    """Tokens of each sentence, its words joined by spaces. A word of which the tokenizer leaves nothing is [UNK]."""
    out = []
    for start in range(0, len(sentences), _LINES):
        block = sentences[start : start + _LINES]
        encoded = tokenizer.encode_offsets([" ".join(w) for w in block])
        for words, (ids, offsets) in zip(block, encoded, strict=True):
            ends = np.cumsum([len(w) + 1 for w in words]) - 1  # (W,) of each word in characters
            # by its last character: pieces of some vocabularies begin with the space before the word
            last = np.maximum(offsets[:, 1] - 1, offsets[:, 0])
            owner = np.minimum(np.searchsorted(ends, last, side="right"), len(words) - 1)
            owner = np.maximum.accumulate(owner) if len(owner) else owner
            empty = np.setdiff1d(np.arange(len(words)), owner)
            at = np.searchsorted(owner, empty)
            ids = np.insert(ids, at, tokenizer.unk_id).astype(np.int32)
            owner = np.insert(owner, at, empty)
            first = np.searchsorted(owner, np.arange(len(words) + 1)).astype(np.int64)
            out.append(Pieces(ids, first))
    return out


def units_of(predicates: Sequence[Sequence[int]], style: Style, plain: bool = True) -> list[Unit]:
    """The units of sentences 0, 1, ... with these predicates; plain: to find predicates, too."""
    found = []
    for number, places in enumerate(predicates):
        if style == "sentence":
            if plain or places:
                found.append(Unit(number, tuple(places), plain))
            continue
        found += [Unit(number, (), True)] if plain else []
        found += [Unit(number, (p,), False) for p in places]
    return found


def make_units(
    tokenizer: Tokenizer, pieces: Sequence[Pieces], units: Sequence[Unit], style: Style, length: int
) -> Units:
    """Windows of at most ``length`` tokens. Raises ConfigError where they leave no room for a sentence."""
    tokens: list[np.ndarray] = []
    types: list[np.ndarray] = []
    sizes: list[int] = []
    counts: list[int] = []
    window: list[Ints] = []
    col: list[Ints] = []
    words: list[int] = []
    for unit in units:
        body, kinds, places, tail = _input(tokenizer, pieces[unit.sentence], unit, style, length)
        room = length - 2 - len(tail)
        if room < LEAST:
            what = f"windows of {length} tokens leave no room for a sentence beside its predicate"
            raise ConfigError(what, cure="set train.length to 32 or more")
        edges = np.array(cut(len(body), room, OVERLAP), np.int64)  # (k, 2)
        for a, b in edges.tolist():
            tokens += [_one(tokenizer.cls_id), body[a:b], _one(tokenizer.sep_id), tail]
            types += [np.zeros(1, np.uint8), kinds[a:b], np.zeros(1, np.uint8), np.ones(len(tail), np.uint8)]
            sizes.append(b - a + 2 + len(tail))
        # how many tokens each word has on its shorter side in each window, below 0 outside: (k, W)
        margin = np.minimum(places - edges[:, :1], edges[:, 1:] - 1 - places)
        chosen = margin.argmax(0)
        window.append(len(sizes) - len(edges) + chosen)
        col.append(places - edges[chosen, 0] + 1)
        counts.append(len(edges))
        words.append(len(places))
    joined = np.concatenate(tokens).astype(np.int32) if tokens else np.zeros(0, np.int32)
    return Units(
        units,
        Windows(joined, np.concatenate(types) if types else np.zeros(0, np.uint8), _edges(sizes), _edges(counts)),
        _edges(words),
        np.concatenate(window) if window else np.zeros(0, np.int64),
        np.concatenate(col) if col else np.zeros(0, np.int64),
    )


def _one(token: int) -> np.ndarray:
    return np.array([token], np.int32)


def _edges(sizes: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def _input(
    tokenizer: Tokenizer, pieces: Pieces, unit: Unit, style: Style, length: int
) -> tuple[np.ndarray, np.ndarray, Ints, np.ndarray]:
    """(tokens of the sentence, their segments, (W,) places of its words in them, tokens behind it)."""
    ids, places, nothing = pieces.ids, pieces.first[:-1], np.zeros(0, np.int32)
    kinds = np.zeros(len(ids), np.uint8)
    if style == "sentence" or not unit.predicates:
        return ids, kinds, places, nothing
    (p,) = unit.predicates
    a, b = pieces.first[p], pieces.first[p + 1]
    if style == "types":
        kinds[a:b] = 1
        return ids, kinds, places, np.append(ids[a:b][: length // 4], tokenizer.sep_id).astype(np.int32)
    marked = np.insert(ids, [a, b], tokenizer.sep_id).astype(np.int32)
    shift = (np.arange(len(places)) >= p).astype(np.int64) + (np.arange(len(places)) > p)
    return marked, np.zeros(len(marked), np.uint8), places + shift, nothing


def make_batch(
    units: Units,
    chosen: Ints,
    pad_id: int,
    targets: Sequence[Sequence[Target]],
    gold: Sequence[Ints],
) -> Batch:
    """A batch of the units numbered ``chosen``: N words, of which N' stand in units that find predicates, and M words
    of P frames (a word once per frame). targets: of each unit's frames; gold: of each sentence (W,) 1 at predicates.

    examples: "word_rows", "word_cols" (N,) where each word is read; "plain" (N',) and "frame_words" (M,) numbers of
    words; "frame" (M,) 0 .. P - 1; "predicates" (P,) places among the M; "tags" (M,), "candidates" (P, C), "senses"
    (P,) and "is_predicate" (N',): what is right.
    """
    own = [np.arange(units.windows.first[u], units.windows.first[u + 1]) for u in chosen]
    numbers = np.concatenate(own)
    batch = lay_out(units.windows, numbers, np.repeat(np.arange(len(own)), [len(o) for o in own]), pad_id)
    slot = np.full(len(units.windows.starts) - 1, -1, np.int64)
    slot[numbers] = np.arange(len(numbers))
    words = np.concatenate([np.arange(units.first[u], units.first[u + 1]) for u in chosen])
    where = torch.from_numpy(slot[units.window[words]])
    sizes = [int(units.first[u + 1] - units.first[u]) for u in chosen]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    plain = [np.arange(starts[i], starts[i + 1]) for i, u in enumerate(chosen) if units.units[u].plain]
    frames = [(i, p) for i, u in enumerate(chosen) for p in units.units[u].predicates]
    lengths = np.array([sizes[i] for i, _ in frames], np.int64)
    begins = np.cumsum(lengths) - lengths
    given = [t for u in chosen for t in targets[u]]
    arrays = {
        "plain": _cat(plain),
        "frame_words": _cat([np.arange(starts[i], starts[i + 1]) for i, _ in frames]),
        "frame": np.repeat(np.arange(len(frames)), lengths),
        "predicates": begins + np.array([p for _, p in frames], np.int64),
        "tags": _cat([t.tags for t in given]),
        "senses": np.array([t.sense for t in given], np.int64),
        "candidates": padded([t.candidates for t in given]),
        "is_predicate": _cat([gold[units.units[u].sentence] for u in chosen if units.units[u].plain]),
    }
    examples = {name: torch.from_numpy(np.asarray(a, np.int64)) for name, a in arrays.items()}
    examples["word_rows"] = batch.examples["rows"][where]
    examples["word_cols"] = batch.examples["cols"][where] + torch.from_numpy(units.col[words])
    return replace(batch, examples=examples)


def padded(lists: Sequence[Sequence[int]]) -> Ints:
    """(P, C) rows of unequal length, filled with -1; at least one column."""
    out = np.full((len(lists), max([1, *map(len, lists)])), -1, np.int64)
    for row, values in enumerate(lists):
        out[row, : len(values)] = values
    return out


def _cat(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
