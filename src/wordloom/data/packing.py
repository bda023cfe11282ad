"""Rows of exactly T tokens out of a token store, and the order they come in.

Documents lie one after the other; what does not fit goes on in the next row, so that next to nothing is
padding and every token of the store is seen once an epoch. Which token goes where is planned once, fast
(one pass over the document starts); a batch is then read straight from the memory map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from wordloom.data.batch import Batch
from wordloom.data.order import epoch_order
from wordloom.data.pairs import PairRows
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError, DataError

__all__ = ["PackedRows", "PairRows"]


class PackedRows:
    """Rows of ``length`` tokens.

    documents="isolated": [CLS] piece [SEP] [CLS] piece [SEP] ...; ``Batch.documents`` numbers the pieces of a
    row from 1 and positions start again with each. A piece is a document or the part of it that fits; the
    next row takes up the rest. Where fewer than ``min_piece`` tokens of a longer document would fit, the end
    of the row is padding.
    documents="separated": [CLS] text [SEP] text ... [SEP], one document number for the row and positions that
    run through (Liu et al. 2019, RoBERTa, section 4.2, "full-sentences").
    """

    def __init__(
        self,
        store: TokenStore,
        length: int,
        *,
        cls_id: int,
        sep_id: int,
        pad_id: int,
        seed: int,
        documents: Literal["isolated", "separated"] = "isolated",
        min_piece: int = 8,
    ):
        if length < 4:
            raise ConfigError(f"rows of {length} tokens hold no text", cure="choose a length of at least 8")
        self.store, self.length, self.seed = store, length, seed
        self.isolated = documents == "isolated"
        self._special = (cls_id, sep_id, pad_id)
        self._min_piece = min(min_piece, length - 2)
        self._tokens = np.asarray(store.tokens)
        plan = (store.starts, length, self._min_piece, self.isolated)
        rows = _plan(*plan, np.empty(0, np.int64), np.empty(0, np.int64))
        if rows == 0:
            raise DataError("the token store holds no token", where=store.folder, cure="give a corpus that holds text")
        # Row r starts at token _first[r], in document _document[r].
        self._first, self._document = np.empty(rows, np.int64), np.empty(rows, np.int64)
        _plan(*plan, self._first, self._document)

    @property
    def rows_per_epoch(self) -> int:
        return len(self._first)

    def order(self, start: int, count: int) -> NDArray[np.int64]:
        """(count,) row numbers of the global positions ``start`` .. ``start + count``.

        Position p belongs to epoch p // rows_per_epoch; a pure function of (seed, p), every row once an epoch.
        """
        return epoch_order(start, count, self.rows_per_epoch, self.seed)[1]

    def batch(self, row_numbers: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The rows as a Batch of (B, T); ``ids`` says for each row which documents it holds."""
        rows = np.asarray(row_numbers, np.int64)
        shape = (len(rows), self.length)
        tokens = np.full(shape, self._special[2], np.int64)
        documents, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        word_starts = np.zeros(shape, np.bool_)
        last = np.empty(len(rows), np.int64)
        _fill(
            (self._tokens, self.store.starts, self.store.word_bits, self.store.word_table is not None),
            (self.length, self._min_piece, self.isolated, self._special[0], self._special[1]),
            rows,
            self._first,
            self._document,
            (tokens, documents, positions, word_starts, last),
        )
        return Batch(
            tokens=torch.from_numpy(tokens),
            documents=torch.from_numpy(documents),
            positions=torch.from_numpy(positions),
            types=torch.zeros(shape, dtype=torch.int64),
            word_starts=torch.from_numpy(word_starts),
            ids=tuple(self._name(int(a), int(b)) for a, b in zip(self._document[rows], last, strict=True)),
        )

    def _name(self, first: int, last: int) -> str:
        place = self.store.place(first)
        return place if first == last else f"{place} to {self.store.place(last)}"


@njit(cache=True, nogil=True)
def take(space, left, min_piece, overhead):  # type: ignore[no-untyped-def]
    """Tokens of a document with ``left`` to go that enter a row with ``space`` slots left; 0: start a new row."""
    room = space - overhead
    return 0 if room < min(min_piece, left) else min(room, left)


@njit(cache=True, nogil=True)
def _plan(starts, length, min_piece, isolated, first, document):  # type: ignore[no-untyped-def]
    """Number of rows; writes where they start when ``first`` and ``document`` have room."""
    overhead, opening = (2, 0) if isolated else (1, 1)
    rows, space = 0, 0
    for d in range(len(starts) - 1):
        at, end = starts[d], starts[d + 1]
        while at < end:
            n = take(space, end - at, min_piece, overhead)
            if n == 0:
                if len(first):
                    first[rows], document[rows] = at, d
                rows += 1
                space = length - opening
                continue
            at += n
            space -= n + overhead
    return rows


@njit(cache=True, nogil=True)
def _fill(source, layout, rows, first, document, out):  # type: ignore[no-untyped-def]
    stored, starts, bits, by_token = source
    length, min_piece, isolated, cls_id, sep_id = layout
    tokens, documents, positions, word_starts, last = out
    overhead = 2 if isolated else 1
    for r in range(len(rows)):
        at, d = first[rows[r]], document[rows[r]]
        slot, piece = 0, 0
        if not isolated:
            tokens[r, 0], documents[r, 0], slot = cls_id, 1, 1
        while d < len(starts) - 1:
            if at == starts[d + 1]:
                d += 1
                continue
            n = take(length - slot, starts[d + 1] - at, min_piece, overhead)
            if n == 0:
                break
            last[r] = d
            begin = slot
            piece += 1
            if isolated:
                tokens[r, slot] = cls_id
                slot += 1
            for _ in range(n):
                token = np.int64(stored[at])
                i = token if by_token else at
                tokens[r, slot] = token
                word_starts[r, slot] = (bits[i >> 3] >> (7 - (i & 7))) & 1
                slot += 1
                at += 1
            tokens[r, slot] = sep_id
            slot += 1
            for k in range(begin, slot):
                documents[r, k] = piece if isolated else 1
                positions[r, k] = k - begin if isolated else k
