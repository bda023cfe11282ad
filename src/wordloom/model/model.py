"""Model: a body and its heads by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from wordloom.model.architecture import Architecture
from wordloom.model.transformer import Transformer


class Model(nn.Module):
    """``.body`` (Transformer), ``.heads`` (ModuleDict; empty for a bare encoder), ``.arch``."""

    def __init__(self, body: Transformer, heads: Mapping[str, nn.Module]):
        super().__init__()
        self.body = body
        self.heads = nn.ModuleDict(dict(heads))

    @property
    def arch(self) -> Architecture:
        return self.body.arch

    @property
    def token_embedding(self) -> Tensor:
        """(V, D): the input table, which is also the masked head's output matrix."""
        return self.body.embeddings.tokens.weight

    def forward(self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """The body's hidden states (B, T, D); heads are called by the objective or task that needs them."""
        return self.body(tokens, documents, positions, types)
