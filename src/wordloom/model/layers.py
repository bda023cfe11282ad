"""The arithmetic every module goes through, in one place, so that a faster version replaces it once.

Functions take plain tensors; the modules below only hold parameters and their initial values.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.model import kernels
from wordloom.model.architecture import Activation


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x (..., I) @ weight (O, I).T + bias (O,)`` -> (..., O)."""
    return kernels.linear(x, weight, bias)


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x) with the exact normal distribution function (Hendrycks & Gimpel 2016, eq. 1), as in BERT."""
    return F.gelu(x)


def activate(x: Tensor, name: Activation) -> Tensor:
    """The feed-forward net's activation; "gelu_tanh" is Hendrycks & Gimpel 2016's approximation, as in GPT."""
    if name == "gelu":
        return gelu(x)
    if name == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    return F.relu(x) if name == "relu" else F.silu(x)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each value with probability p and divide the others by 1 - p; x itself when not training."""
    return kernels.dropout(x, p, training)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise over the last dimension D with the biased variance (Ba et al. 2016, section 3)."""
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019, equation 4)."""
    return F.rms_norm(x, (x.shape[-1],), weight, eps)


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over N of -log softmax(logits (N, V))[targets (N,)], in float32 at least; 0 for N = 0."""
    logits = logits if logits.dtype is torch.float64 else logits.float()  # bfloat16 sums lose terms
    return F.cross_entropy(logits, targets, reduction="sum")


class Linear(nn.Module):
    """Parameters of `linear`: weight (outputs, inputs) from normal(0, std), bias (outputs,) zero, or none."""

    def __init__(self, inputs: int, outputs: int, std: float, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).normal_(0.0, std))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Parameters of `layer_norm`: weight (D,) one, bias (D,) zero, or none."""

    def __init__(self, width: int, eps: float, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def add(self, x: Tensor, update: Tensor, dropout_p: float) -> Tensor:
        """The normalised sum x + dropout(update), both (..., D): how each half of a post-norm layer ends."""
        if self.bias is None:
            return self(x + dropout(update, dropout_p, self.training))
        return kernels.dropout_add_norm(
            update, x, self.weight, self.bias, p=dropout_p, eps=self.eps, training=self.training
        )


class RMSNorm(nn.Module):
    """Parameters of `rms_norm`: weight (D,) one. T5 calls it its layer norm (Raffel et al. 2020, section 2.1)."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, update: Tensor, dropout_p: float) -> Tensor:
        """As `LayerNorm.add`."""
        return self(x + dropout(update, dropout_p, self.training))


class Norms(Protocol):
    """What an architecture says of its norms."""

    @property
    def norm(self) -> str: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def norm_bias(self) -> bool: ...


def make_norm(arch: Norms, width: int) -> LayerNorm | RMSNorm:
    """The norm of this architecture over ``width`` columns."""
    return RMSNorm(width, arch.norm_eps) if arch.norm == "rmsnorm" else LayerNorm(width, arch.norm_eps, arch.norm_bias)


class Embedding(nn.Embedding):
    """A table (rows, D) from normal(0, std); ``forward(ids (...)) -> (..., D)``."""

    def __init__(self, rows: int, width: int, std: float):
        super().__init__(rows, width, _weight=torch.empty(rows, width).normal_(0.0, std))
