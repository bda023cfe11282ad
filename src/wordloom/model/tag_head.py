"""Labels of words: a matrix on each state (Devlin et al. 2019, section 4.3 and 5.3)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wordloom.model.build import AnyArchitecture
from wordloom.model.layers import Linear, dropout


class TagHead(nn.Module):
    """Dropout and one linear layer: exactly the public token classifier of BERT and most families."""

    def __init__(self, arch: AnyArchitecture, classes: int, dropout: float | None = None):
        """dropout: of the states; None takes the body's."""
        super().__init__()
        self.classes = classes
        self.dropout = arch.dropout if dropout is None else dropout
        self.output = Linear(arch.width, classes, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        """(N, D) -> (N, C)."""
        return self.output(dropout(states, self.dropout, self.training))

    def settings(self) -> dict[str, Any]:
        """What a bundle says of it."""
        return {"classes": self.classes, "dropout": self.dropout}
