"""Starts and ends of answers from a token's state together with what of the question stands near it."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.model.layers import Linear


class NearHead(nn.Module):
    """One hidden layer over state and features; adds nothing to a network's own scores before it is trained.

    Chen et al. 2017 (section 3.2) give such features to the network's input; here they join after it, so that any body,
    also one that is trained already, stays as it is.
    """

    def __init__(self, arch: Any, features: int):
        super().__init__()
        self.features = features
        self.states = Linear(arch.width, arch.width, arch.init_std)
        self.near = Linear(features, arch.width, features**-0.5)
        self.output = Linear(arch.width, 2, arch.init_std)
        nn.init.zeros_(self.output.weight)

    def forward(self, states: Tensor, near: Tensor) -> Tensor:
        """states (N, D), near (N, features) -> (N, 2): start, end."""
        found: Tensor = self.output(F.gelu(self.states(states) + self.near(near.to(states.dtype))))
        return found

    def settings(self) -> dict[str, Any]:
        """What a bundle says of it."""
        return {"features": self.features}
