"""Pairs of text pieces: next-sentence prediction (Devlin et al. 2019, section 3.1, task 2) and sentence order
(Lan et al. 2020, section 3.1, "Inter-sentence coherence loss").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from wordloom.data.batch import IGNORE, Batch
from wordloom.data.order import epoch_order, mix
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError, DataError


class PairRows:
    """Rows of ``length`` tokens, each one or more pairs [CLS] A [SEP] B [SEP], pairs isolated from each other.

    A document is cut, at sentence starts where there are any, into spans that fill the rows. In each epoch a
    span is split anew, at a random sentence start of its inside (without one: in the middle): A is the first
    part; B is the second part (label 0, "is next") or, half of the time, as long a piece of another document
    from the start of a sentence (label 1). Types are 0 for [CLS] A [SEP], 1 for B [SEP].
    swaps: half of the time the same two parts change places instead (label 1), which needs one document only.

    Where this differs from BERT's program: a row may hold several pairs, and the true second part that a
    random B replaces is not reused in that epoch (in others it is seen). A document of a single token makes
    no pair; ``skipped_tokens`` counts such tokens.
    """

    def __init__(
        self, store: TokenStore, length: int, *, cls_id: int, sep_id: int, pad_id: int, seed: int, swaps: bool = False
    ):
        if length < 8:
            raise ConfigError(f"rows of {length} tokens hold no pair", cure="choose a length of at least 8")
        if not swaps and np.count_nonzero(np.diff(store.starts)) < 2:
            raise DataError(
                "next-sentence pairs need at least two documents",
                where=store.folder,
                cure='split the corpus into documents (documents = "line" or "blank-line"), or leave out next_sentence',
            )
        self.store, self.length, self.seed, self._swaps = store, length, seed, swaps
        self._special = (cls_id, sep_id, pad_id)
        self._tokens = np.asarray(store.tokens)
        nothing = np.empty(0, np.int64)
        pairs, rows = _plan(store.starts, store.sentences, length, nothing, nothing, nothing, nothing)
        if rows == 0:
            raise DataError("no document is long enough for a pair", where=store.folder, cure="give longer documents")
        # Pair p is tokens _from[p] .. _to[p] of document _document[p]; row r holds pairs _pairs[r] .. _pairs[r + 1].
        self._from, self._to, self._document = (np.empty(pairs, np.int64) for _ in range(3))
        self._pairs = np.full(rows + 1, pairs)
        _plan(store.starts, store.sentences, length, self._from, self._to, self._document, self._pairs)
        self.skipped_tokens = len(self._tokens) - int((self._to - self._from).sum())

    @property
    def rows_per_epoch(self) -> int:
        return len(self._pairs) - 1

    def order(self, start: int, count: int) -> NDArray[np.int64]:
        """(count,) numbers epoch * rows_per_epoch + row of the global positions; see PackedRows.order.

        The epoch is part of the number because a row is split and paired anew in each.
        """
        epochs, rows = epoch_order(start, count, self.rows_per_epoch, self.seed)
        return epochs * self.rows_per_epoch + rows

    def batch(self, row_numbers: Sequence[int] | NDArray[np.int64]) -> Batch:
        """A Batch of (B, T), a pure function of (seed, row number).

        ``targets["next_sentence"]`` (B, T) is 0 (next) or 1 (random) at each [CLS], IGNORE elsewhere; with swaps it is
        ``targets["sentence_order"]``, 0 (as written) or 1 (swapped).
        """
        numbers = np.asarray(row_numbers, np.int64)
        shape = (len(numbers), self.length)
        tokens, labels = np.full(shape, self._special[2], np.int64), np.full(shape, IGNORE, np.int64)
        documents, positions, types = (np.zeros(shape, np.int64) for _ in range(3))
        word_starts = np.zeros(shape, np.bool_)
        _fill(
            (self._tokens, self.store.starts, self.store.sentences),
            (self.store.word_bits, self.store.word_table is not None),
            (self._from, self._to, self._document, self._pairs),
            (np.uint64(self.seed % 2**64), self._special[0], self._special[1], self._swaps),
            numbers,
            (tokens, documents, positions, types, labels),
            word_starts,
        )
        first = self._document[self._pairs[numbers % self.rows_per_epoch]]
        return Batch(
            tokens=torch.from_numpy(tokens),
            documents=torch.from_numpy(documents),
            positions=torch.from_numpy(positions),
            types=torch.from_numpy(types),
            word_starts=torch.from_numpy(word_starts),
            targets={"sentence_order" if self._swaps else "next_sentence": torch.from_numpy(labels)},
            ids=tuple(self.store.place(int(d)) for d in first),
        )


@njit(cache=True, nogil=True)
def _plan(starts, sentences, length, out_from, out_to, out_document, out_pairs):  # type: ignore[no-untyped-def]
    """(pairs, rows); writes the plan when the arrays have room."""
    least = length // 4  # a smaller end of a row is left as padding rather than filled with a scrap
    pairs, rows, space = 0, 0, 0
    for d in range(len(starts) - 1):
        at, end = starts[d], starts[d + 1]
        while end - at >= 2:
            if space - 3 < min(end - at, least):
                if len(out_pairs):
                    out_pairs[rows] = pairs
                rows += 1
                space = length
            cut = _cut(sentences, at, end, space - 3)
            if len(out_from):
                out_from[pairs], out_to[pairs], out_document[pairs] = at, cut, d
            pairs += 1
            space -= cut - at + 3
            at = cut
    return pairs, rows


@njit(cache=True, nogil=True)
def _cut(sentences, at, end, room):  # type: ignore[no-untyped-def]
    """End of the span that starts at ``at``: the document's end, else the last sentence start that fits."""
    if end - at <= room:
        return end
    k = np.searchsorted(sentences, at + room, side="right") - 1
    cut = sentences[k] if sentences[k] >= at + 2 else at + room
    return cut if end - cut >= 2 or cut - at < 3 else cut - 1  # leave no single token behind


@njit(cache=True, nogil=True)
def _split(sentences, a, b, chance):  # type: ignore[no-untyped-def]
    low = np.searchsorted(sentences, a, side="right")
    high = np.searchsorted(sentences, b, side="left")
    if high > low:
        return sentences[low + np.int64(chance % np.uint64(high - low))]
    return a + (b - a) // 2


@njit(cache=True, nogil=True)
def _elsewhere(starts, sentences, d, chance):  # type: ignore[no-untyped-def]
    """Start of a sentence outside document d, and the end of its document: long documents come more often."""
    own = starts[d + 1] - starts[d]
    t = np.int64(chance % np.uint64(starts[-1] - own))
    t += own if t >= starts[d] else 0
    other = np.searchsorted(starts, t, side="right") - 1
    return sentences[np.searchsorted(sentences, t, side="right") - 1], starts[other + 1]


@njit(cache=True, nogil=True)
def _fill(source, words, plan, values, numbers, out, word_starts):  # type: ignore[no-untyped-def]
    stored, starts, sentences = source
    bits, by_token = words
    begins, ends, owners, row_pairs = plan
    seed, cls_id, sep_id, swaps = values
    tokens, documents, positions, types, labels = out
    rows = len(row_pairs) - 1
    for r in range(len(numbers)):
        epoch, row = numbers[r] // rows, numbers[r] % rows
        slot = 0
        for p in range(row_pairs[row], row_pairs[row + 1]):
            key = mix(mix(mix(seed) ^ np.uint64(epoch)) ^ np.uint64(p))
            a, b = begins[p], ends[p]
            middle = _split(sentences, a, b, mix(key + np.uint64(1)))
            label = np.int64(mix(key + np.uint64(2)) >> np.uint64(63))
            first, first_end, second, second_end = a, middle, middle, b
            if label == 1 and swaps:
                first, first_end, second, second_end = middle, b, a, middle
            elif label == 1:
                second, stop = _elsewhere(starts, sentences, owners[p], mix(key + np.uint64(3)))
                second_end = min(second + b - middle, stop)
            begin = slot
            tokens[r, slot], labels[r, slot] = cls_id, label
            slot += 1
            for part in range(2):
                for i in range(first if part == 0 else second, first_end if part == 0 else second_end):
                    token = np.int64(stored[i])
                    bit = token if by_token else i
                    tokens[r, slot], types[r, slot] = token, part
                    word_starts[r, slot] = (bits[bit >> 3] >> (7 - (bit & 7))) & 1
                    slot += 1
                tokens[r, slot], types[r, slot] = sep_id, part
                slot += 1
            for k in range(begin, slot):
                documents[r, k], positions[r, k] = p - row_pairs[row] + 1, k - begin
