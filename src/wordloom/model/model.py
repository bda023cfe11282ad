"""Model: a body and its heads by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from wordloom.model.build import AnyArchitecture, Body, SourceReader


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

    def next_token_head(self, hybrid: bool = False) -> str | None:
        """The head that predicts the token after a state; None: there is none.

        "causal" where it is there; "masked" where no token sees a later one, which makes the same head one of next
        tokens: in a causal body (ModernBERT's decoder), and in the causal rows of the ``hybrid`` objective.
        """
        forward = self.arch.attention == "causal"
        if "causal" in self.heads and (forward or isinstance(self.body, SourceReader)):
            return "causal"
        return "masked" if "masked" in self.heads and (forward or hybrid) else None

    def forward(self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        """The body's hidden states (B, T, D); heads are called by the objective or task that needs them."""
        return self.body(tokens, documents, positions, types)
