"""Start and end of an answer: two logits a token (Devlin et al. 2019, section 4.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wordloom.model.build import AnyArchitecture
from wordloom.model.layers import Linear, activate, make_norm


class SpanHead(nn.Module):
    """Logits that an answer starts, and that it ends, at a token.

    One matrix, as in the public code of every family; with ``transform`` a dense layer, activation and norm before it,
    as in ModernBERT's alone.
    """

    def __init__(self, arch: AnyArchitecture, transform: bool = False):
        super().__init__()
        self.activation = arch.activation if transform else None
        if transform:
            self.dense = Linear(arch.width, arch.width, arch.init_std, bias=arch.bias)
            self.norm = make_norm(arch, arch.width)
        self.output = Linear(arch.width, 2, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., 2): start, end."""
        if self.activation is not None:
            states = self.norm(activate(self.dense(states), self.activation))
        return self.output(states)

    def settings(self) -> dict[str, Any]:
        """What a bundle says of it."""
        return {"transform": self.activation is not None}
