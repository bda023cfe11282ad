"""One vector per window: what a bi-encoder compares."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture
from wordloom.model.heads import Pooling, window_mean


class EmbedHead(nn.Module):
    """The state of [CLS], the mean of all states, or the state of the last token: no weights of its own.

    Reimers & Gurevych 2019 (Sentence-BERT), section 3; the mean includes [CLS] and [SEP], as theirs does.
    """

    def __init__(self, arch: AnyArchitecture, pooling: Pooling = "mean"):
        """Raises ConfigError for "cls" where the first token sees no other."""
        super().__init__()
        if pooling == "cls" and arch.attention == "causal":
            raise ConfigError('pooling "cls" reads the first token, which in a causal model has seen no other',
                              where="task.pooling", cure='use "mean" or "last"')  # fmt: skip
        self.pooling = pooling

    def settings(self) -> dict[str, Any]:
        return {"pooling": self.pooling}

    def forward(self, hidden: Tensor, rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
        """hidden (B, T, D), documents (B, T); window w starts at row rows[w], column cols[w] -> (W, D)."""
        if self.pooling == "cls":
            return hidden[rows, cols]
        if self.pooling == "last":
            lengths = (documents[rows] == documents[rows, cols][:, None]).sum(1)  # (W,)
            return hidden[rows, cols + lengths - 1]
        return window_mean(hidden, rows, cols, documents)
