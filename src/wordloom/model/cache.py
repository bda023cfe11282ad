"""Keys and values of the tokens already read, so that generation computes each token once."""

from __future__ import annotations

import torch
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture


class Cache:
    """Room for ``capacity`` tokens of B rows, allocated once: keys, values (L, B, H, S, d), documents (B, S).

    Column s holds the s-th token that was read, whatever its position: rows padded on the left have document 0 there.
    The columns to come are filled beforehand with the document and the positions that follow the last token's, so that
    one more token a row is ``advance`` alone.

    origin (B, S): where the keys and values of row b, column s lie is row origin[b, s]. It differs from b only after
    ``reorder(rows, lazily=True)``, which beams ask for at every token: to copy their past costs more than the model
    does (8 layers x 512, 4 beams: 38 MB a token). Whoever reads by columns alone gets it settled.
    """

    def __init__(self, arch: Architecture, rows: int, capacity: int, *, dtype: torch.dtype, device: torch.device):
        shape = (arch.layers, rows, arch.heads, capacity, arch.head_width)
        # the tokens to come are written before they are read: zeros would only touch the memory twice
        self.keys, self.values = (torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
        self.documents, self.positions = (
            torch.zeros(rows, capacity, dtype=torch.int64, device=device) for _ in range(2)
        )
        self.length, self.capacity = 0, capacity
        self.origin = self._own_rows()
        self._settled = True

    def read(self, documents: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Take in the numbers of new tokens, (B, t) each -> those of all tokens so far, (B, length).

        Raises ConfigError when they do not fit.
        """
        self._settle()
        first, end = self.length, self.length + documents.shape[1]
        self._refuse_full(end)
        self.documents[:, first:end], self.positions[:, first:end] = documents, positions
        ahead = torch.arange(1, self.capacity - end + 1, device=positions.device)
        self.documents[:, end:], self.positions[:, end:] = documents[:, -1:], positions[:, -1:] + ahead
        self.length = end
        return self.documents[:, :end], self.positions[:, :end]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values (B, H, t, d), after ``read`` -> all of them, views (B, H, length, d)."""
        first = self.length - keys.shape[2]
        self.keys[layer, :, :, first : self.length] = keys
        self.values[layer, :, :, first : self.length] = values
        return self.keys[layer, :, :, : self.length], self.values[layer, :, :, : self.length]

    def advance(self) -> int:
        """Make one more token a row, of the document and position that follow, part of what is held -> its column.

        The caller writes its keys and values, of row b to row b. Raises ConfigError when it does not fit.
        """
        self._refuse_full(self.length + 1)
        self.length += 1
        return self.length - 1

    def reorder(self, rows: Tensor, lazily: bool = False) -> None:
        """Row b becomes what row rows[b] was: beams that go on from another, (B',) int64 with B' rows after.

        lazily: say so in ``origin`` instead of copying, where the number of rows stays.
        """
        same = rows.shape[0] == self.documents.shape[0]
        if lazily and same:
            self.origin = self.origin[rows]
            self.origin[:, self.length :] = torch.arange(rows.shape[0], device=rows.device)[:, None]
            self._settled = False
        else:
            self._settle()
            self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.documents, self.positions = self.documents[rows], self.positions[rows]
        if not same:
            self.origin = self._own_rows()

    def cut(self, length: int) -> None:
        """Forget all tokens after the first ``length``: a prompt's prefix is read once and used again."""
        self.length = min(self.length, length)

    def spread(self, offsets: Tensor, length: int, capacity: int) -> Cache:
        """A cache of B rows and ``length`` columns out of this one's only row, which is moved right by offsets[b] (B,).

        A prefix that several prompts share is read once; the offsets are those of the prompts padded on the left. What
        a row's offset pushes beyond ``length``, at most this cache's, is to be read again with the rest of its prompt.
        """
        L, _, H, _, d = self.keys.shape
        new = object.__new__(Cache)
        new.capacity, new.length = capacity, length
        # zeros: a masked column counts nothing only as long as it is a number
        new.keys, new.values = (t.new_zeros(L, len(offsets), H, capacity, d) for t in (self.keys, self.values))
        new.documents, new.positions = (t.new_zeros(len(offsets), capacity) for t in (self.documents, self.positions))
        for b, offset in enumerate(offsets.tolist()):
            count = max(0, length - offset)
            to = slice(offset, offset + count)
            new.keys[:, b, :, to] = self.keys[:, 0, :, :count]
            new.values[:, b, :, to] = self.values[:, 0, :, :count]
            new.documents[b, to] = self.documents[0, :count]
            new.positions[b, to] = self.positions[0, :count]
        new.origin, new._settled = new._own_rows(), True
        return new

    def _own_rows(self) -> Tensor:
        rows, device = self.documents.shape[0], self.documents.device
        return torch.arange(rows, device=device)[:, None].repeat(1, self.capacity)

    def _settle(self) -> None:
        """Copy keys and values to the rows they belong to."""
        if self._settled:
            return
        where = self.origin[:, : self.length]  # (B, n)
        index = where[None, :, None, :, None].expand(*self.keys.shape[:3], self.length, self.keys.shape[4])
        for held in (self.keys, self.values):
            held[..., : self.length, :] = held[..., : self.length, :].gather(1, index)
        self.origin, self._settled = self._own_rows(), True

    def _refuse_full(self, end: int) -> None:
        if end > self.capacity:
            cure = "make the cache as long as prompt and answer together"
            raise ConfigError(f"{end} tokens do not fit a cache of {self.capacity}", cure=cure)
