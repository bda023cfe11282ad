"""Rows that go on where the row before ended: the layout of a state carried from step to step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from wordloom.data.batch import IGNORE, Batch
from wordloom.data.order import epoch_order
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError, DataError

Plan = tuple[NDArray[np.int64], NDArray[np.int64]]


class ContiguousRows:
    """``streams`` parallel streams, ``length`` tokens of each at a step (Mikolov et al. 2010; Zaremba et al. 2014).

    An epoch is one text: [SEP] document [SEP] document [SEP] ..., the documents in an order that is new in every
    epoch, so that neither neighbours nor the places where streams are cut repeat. (It is a plan of 16 bytes a
    document, made when an epoch is first asked for: 0.1 s for a million documents.) Of the text's predictions,
    token after token, each stream owns an equal part, one more or less, and each is made once an epoch.

    Row numbers are global positions: number n is step n // streams, stream n % streams. So a step must take
    ``streams`` rows; then row i goes on where row i of the step before ended. Only an epoch's first step does not:
    what is carried into it is the state of another text, as it is after every [SEP].
    In a Batch every document number is 1, positions are 0 .. T-1, ``continues`` is set and ``targets["next"]`` (B, T)
    is the token that follows, also across the row's end, IGNORE behind the stream's own part.
    Raises ConfigError for impossible numbers, DataError for a store without a token.
    """

    def __init__(self, store: TokenStore, length: int, *, streams: int, sep_id: int, seed: int):
        if length < 1 or streams < 1:
            raise ConfigError(f"{streams} streams of {length} tokens a step hold no text", cure="give numbers above 0")
        self.store, self.length, self.streams, self.seed, self.sep_id = store, length, streams, seed, sep_id
        self._tokens = np.asarray(store.tokens)
        lengths = np.diff(store.starts)
        self._documents = np.flatnonzero(lengths).astype(np.int64)  # an empty document is no document
        if not len(self._documents):
            raise DataError("the token store holds no token", where=store.folder, cure="give a corpus that holds text")
        self._predictions = len(self._tokens) + len(self._documents)  # every token and a [SEP] a document
        if self._predictions < streams:
            raise ConfigError(
                f"{self._predictions} tokens cannot be divided into {streams} streams",
                cure="take fewer rows a step or give more text",
            )
        self._steps = -(-self._predictions // (streams * length))  # the longest stream's, rounded up
        self._plans: dict[int, Plan] = {}

    @property
    def rows_per_epoch(self) -> int:
        return self._steps * self.streams

    def order(self, start: int, count: int) -> NDArray[np.int64]:
        """(count,) row numbers of the global positions ``start`` .. ``start + count``: these positions themselves."""
        return np.arange(start, start + count, dtype=np.int64)

    def batch(self, row_numbers: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The rows as a Batch of (B, T); a pure function of (seed, row number)."""
        rows = np.asarray(row_numbers, np.int64)
        shape = (len(rows), self.length)
        tokens, following = np.empty(shape, np.int64), np.full(shape, IGNORE, np.int64)
        word_starts, touched = np.zeros(shape, np.bool_), np.empty((len(rows), 2), np.int64)
        step, stream = rows % self.rows_per_epoch // self.streams, rows % self.streams
        edges = np.arange(self.streams + 1) * self._predictions // self.streams
        source = (self._tokens, self.store.starts, self.store.word_bits, self.store.word_table is not None)
        epochs = rows // self.rows_per_epoch
        for epoch in np.unique(epochs):
            here = np.flatnonzero(epochs == epoch)
            first = edges[stream[here]] + step[here] * self.length
            out = (tokens, following, word_starts, touched)
            _fill(source, self._plan(int(epoch)), self.sep_id, here, first, edges[stream[here] + 1], out)
        return Batch(
            tokens=torch.from_numpy(tokens),
            documents=torch.ones(shape, dtype=torch.int64),
            positions=torch.arange(self.length).repeat(len(rows), 1),
            types=torch.zeros(shape, dtype=torch.int64),
            word_starts=torch.from_numpy(word_starts),
            targets={"next": torch.from_numpy(following)},
            ids=tuple(self._name(int(a), int(b)) for a, b in touched),
            continues=True,
        )

    def _plan(self, epoch: int) -> Plan:
        """An epoch's documents in order, and (documents + 1,) where each begins, counted after the first [SEP]."""
        plan = self._plans.get(epoch)
        if plan is None:
            n = len(self._documents)
            documents = self._documents[epoch_order(epoch * n, n, n, self.seed)[1]]
            begin = np.zeros(n + 1, np.int64)
            np.cumsum(self.store.starts[documents + 1] - self.store.starts[documents] + 1, out=begin[1:])
            plan = (documents, begin)
            self._plans = {e: p for e, p in self._plans.items() if abs(e - epoch) == 1} | {epoch: plan}
        return plan

    def _name(self, first: int, last: int) -> str:
        place = self.store.place(first)
        return place if first == last else f"{place} to {self.store.place(last)}"


@njit(cache=True, nogil=True)
def _fill(source, plan, sep_id, rows, first, end, out):  # type: ignore[no-untyped-def]
    """Row rows[k] from place first[k] of the epoch's text; its stream owns the predictions before end[k]."""
    stored, starts, bits, by_token = source
    documents, begin = plan
    tokens, following, word_starts, touched = out
    places = begin[-1] + 1  # the opening [SEP] is at 0
    for k in range(len(rows)):
        r = rows[k]
        d = np.int64(-1)
        for t in range(tokens.shape[1] + 1):
            place = (first[k] + t) % places  # a row that passes the end of the text is filled up from its beginning
            token, starts_word = np.int64(sep_id), False
            if place > 0:
                if d < 0 or place - 1 < begin[d]:
                    d = np.searchsorted(begin, place - 1, side="right") - 1
                elif place - 1 >= begin[d + 1]:
                    d += 1
                at = starts[documents[d]] + place - 1 - begin[d]
                if at < starts[documents[d] + 1]:
                    token = np.int64(stored[at])
                    i = token if by_token else at
                    starts_word = (bits[i >> 3] >> (7 - (i & 7))) & 1 == 1
            if t > 0 and first[k] + t - 1 < end[k]:
                following[r, t - 1] = token
            if t < tokens.shape[1]:
                tokens[r, t], word_starts[r, t] = token, starts_word
                touched[r, 1] = documents[max(d, 0)]
                if t == 0:
                    touched[r, 0] = touched[r, 1]
