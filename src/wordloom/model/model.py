"""Model: a body and its heads by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from wordloom.model.build import AnyArchitecture, Body


class Model(nn.Module):
    """``.body`` (`build.Body`), ``.heads`` (ModuleDict; empty for a bare encoder), ``.arch``."""

    def __init__(self, body: Body, heads: Mapping[str, nn.Module]):
        super().__init__()
        self.body = body
        self.heads = nn.ModuleDict(dict(heads))

    @property
    def arch(self) -> AnyArchitecture:
        return self.body.arch

    @property
    def token_embedding(self) -> Tensor:
        """(V, E): the input table, which is also the output matrix of tied heads."""
        return self.body.embeddings.tokens.weight

    def forward(self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """The body's hidden states (B, T, D); heads are called by the objective or task that needs them."""
        return self.body(tokens, documents, positions, types)
