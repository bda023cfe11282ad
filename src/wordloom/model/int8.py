"""int8 weights: symmetric, a scale for each output row, for what reads every weight once a token.

w ~ scale[:, None] * q with q in -127 .. 127 and scale = max |row| / 127, so that no weight is off by more than half a
step: |w - scale q| <= scale / 2 (Dettmers et al. 2022, LLM.int8(), section 2: absmax quantisation, vector-wise, of the
weights alone here). Activations and sums stay float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Quantised(NamedTuple):
    """q (N, K) int8, scale (N,) float32."""

    q: Tensor
    scale: Tensor

    def dequantise(self) -> Tensor:
        """(N, K) float32: what the products compute with."""
        return self.q.float() * self.scale[:, None]


def quantise(weight: Tensor) -> Quantised:
    """(N, K) float32. A row of zeros has scale 0."""
    scale = weight.abs().amax(1) / 127
    q = (weight / torch.where(scale > 0, scale, 1.0)[:, None]).round().to(torch.int8)
    return Quantised(q.contiguous(), scale.contiguous())


class Int8Weights:
    """The matrices of one model, each quantised once. They belong to the weights as they are now."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Tensor, Quantised]] = {}

    def of(self, weight: Tensor) -> Quantised:
        """weight: a matrix that stays where it is."""
        key = weight.data_ptr()
        if key not in self._kept:
            self._kept[key] = (weight, quantise(weight))  # held: no other matrix gets its address
        return self._kept[key][1]

    @property
    def bytes(self) -> int:
        return sum(q.q.numel() + 4 * q.scale.numel() for _, q in self._kept.values())
