"""The arithmetic every module goes through, in one place, so that a faster version replaces it once.

Functions take plain tensors; the modules below only hold parameters and their initial values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.model import kernels


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x (..., I) @ weight (O, I).T + bias (O,)`` -> (..., O)."""
    return kernels.linear(x, weight, bias)


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x) with the exact normal distribution function (Hendrycks & Gimpel 2016, eq. 1), as in BERT."""
    return F.gelu(x)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each value with probability p and divide the others by 1 - p; x itself when not training."""
    return kernels.dropout(x, p, training)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise over the last dimension D with the biased variance (Ba et al. 2016, section 3.1)."""
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over N of -log softmax(logits (N, V))[targets (N,)], in float32 at least; 0 for N = 0."""
    logits = logits if logits.dtype is torch.float64 else logits.float()  # bfloat16 sums lose terms
    return F.cross_entropy(logits, targets, reduction="sum")


class Linear(nn.Module):
    """Parameters of `linear`: weight (outputs, inputs) from normal(0, std), bias (outputs,) zero."""

    def __init__(self, inputs: int, outputs: int, std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).normal_(0.0, std))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Parameters of `layer_norm`: weight (D,) one, bias (D,) zero."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def add(self, x: Tensor, update: Tensor, dropout_p: float) -> Tensor:
        """The normalised sum x + dropout(update), both (..., D): how each half of a post-norm layer ends."""
        return kernels.dropout_add_norm(
            update, x, self.weight, self.bias, p=dropout_p, eps=self.eps, training=self.training
        )


class Embedding(nn.Embedding):
    """A table (rows, D) from normal(0, std); ``forward(ids (...)) -> (..., D)``."""

    def __init__(self, rows: int, width: int, std: float):
        super().__init__(rows, width, _weight=torch.empty(rows, width).normal_(0.0, std))
