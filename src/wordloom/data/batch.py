"""Batch: the only container of tensors between data and model.

One representation serves packed pre-training rows and fine-tuning alike: a row holds one or more
documents one after the other, ``documents`` numbers them, and attention joins only equal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B rows of T tokens.

    tokens: (B, T) int64 token ids.
    documents: (B, T) int64; 0 is padding, 1, 2, ... number the documents inside a row.
    positions: (B, T) int64 position inside the document, from 0.
    types: (B, T) int64 segment of a text pair (0 or 1).
    word_starts: (B, T) bool, first token of a word; special tokens are False. None where unused.
    targets: (B, T) tensors an objective reads, ``IGNORE`` where there is nothing to predict.
    examples: tensors of a task that are not row-aligned (labels, window positions); a batch that
        has them is not split by rows.
    ids: names of the documents, for messages only (``file:line``).
    continues: each row goes on where the same row of the batch before ended (contiguous streams).
    source: what an encoder reads, row by row beside what the decoder of this batch is given: document k of a row
        belongs to document k of the source's row, which may be of another length.
    """

    tokens: Tensor
    documents: Tensor
    positions: Tensor
    types: Tensor
    word_starts: Tensor | None = None
    targets: dict[str, Tensor] = field(default_factory=dict)
    examples: dict[str, Tensor] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    continues: bool = False
    source: Batch | None = None

    @property
    def rows(self) -> int:
        return self.tokens.shape[0]

    @property
    def real_tokens(self) -> int:
        """Tokens that are not padding, of the source too: what every throughput figure counts."""
        return int((self.documents > 0).sum()) + (0 if self.source is None else self.source.real_tokens)

    def to(self, device: torch.device | str) -> Batch:
        def move(t: Tensor) -> Tensor:
            return t.to(device, non_blocking=True)

        return replace(
            self,
            tokens=move(self.tokens),
            documents=move(self.documents),
            positions=move(self.positions),
            types=move(self.types),
            word_starts=None if self.word_starts is None else move(self.word_starts),
            targets={k: move(v) for k, v in self.targets.items()},
            examples={k: move(v) for k, v in self.examples.items()},
            source=None if self.source is None else self.source.to(device),
        )

    def split(self, parts: int) -> list[Batch]:
        """Exactly ``parts`` batches of whole rows, sizes differing by one at most, in row order."""
        if self.examples:
            raise ValueError("a batch with per-example tensors is made in parts, not split by rows")
        if parts == 1:
            return [self]
        if parts > self.rows:
            raise ValueError(f"{self.rows} rows cannot be split into {parts} parts")
        edges = [round(i * self.rows / parts) for i in range(parts + 1)]
        return [self._rows(a, b) for a, b in pairwise(edges)]

    def _rows(self, a: int, b: int) -> Batch:
        return replace(
            self,
            tokens=self.tokens[a:b],
            documents=self.documents[a:b],
            positions=self.positions[a:b],
            types=self.types[a:b],
            word_starts=None if self.word_starts is None else self.word_starts[a:b],
            targets={k: v[a:b] for k, v in self.targets.items()},
            ids=self.ids[a:b] if len(self.ids) == self.rows else self.ids,
            source=None if self.source is None else self.source._rows(a, b),
        )


def rows_of(
    stream: NDArray[np.int64],
    lengths: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    count: int,
    fill: int,
    places: NDArray[np.int64] | None = None,
    ids: tuple[str, ...] = (),
) -> Batch:
    """K documents one after the other in ``stream`` (N,), of these lengths (K,), in these rows (K,), which rise.

    -> ``count`` rows as wide as the longest; fill: the token of padding. places: (N,) positions inside the documents,
    0, 1, .. where None.
    """
    begin = np.cumsum(lengths) - lengths  # (K,) in the stream
    first = np.ones(len(rows), np.bool_)
    first[1:] = rows[1:] != rows[:-1]
    row_begin = np.maximum.accumulate(np.where(first, begin, 0))  # (K,) where the document's row starts
    numbers = counting(np.bincount(rows, minlength=count)) + 1 if len(rows) else rows
    row, position = np.repeat(rows, lengths), counting(lengths)
    column = position + np.repeat(begin - row_begin, lengths)
    shape = (count, int(column.max(initial=0)) + 1)
    tokens, documents, positions = (np.full(shape, value, np.int64) for value in (fill, 0, 0))
    tokens[row, column], positions[row, column] = stream, position if places is None else places
    documents[row, column] = np.repeat(numbers, lengths)
    return Batch(
        tokens=torch.from_numpy(tokens),
        documents=torch.from_numpy(documents),
        positions=torch.from_numpy(positions),
        types=torch.zeros(shape, dtype=torch.int64),
        ids=ids,
    )


def counting(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, .. lengths[0] - 1, 0, 1, .. lengths[1] - 1, ..."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


IGNORE = -100  # target value that no loss counts, as in torch.nn.functional.cross_entropy
