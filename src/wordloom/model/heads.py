"""Heads: hidden states -> logits. Each computes logits only where they are asked for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from wordloom.model.architecture import Architecture
from wordloom.model.kernels import linear_cross_entropy
from wordloom.model.layers import LayerNorm, Linear, cross_entropy_sum, dropout, gelu, linear


class MaskedHead(nn.Module):
    """Masked-token logits: dense, GELU, LayerNorm, then the token embedding as output matrix, plus a bias.

    Devlin et al. 2019, section 3.1 (task 1); the transform before the output matrix is in their code only.
    The embedding is passed in, not held: a tied weight has one owner and is saved once.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.dense = Linear(arch.width, arch.width, arch.init_std)
        self.norm = LayerNorm(arch.width, arch.norm_eps)
        self.bias = nn.Parameter(torch.zeros(arch.vocab_size))

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """states (N, D) gathered at the masked positions, embedding (V, D) -> logits (N, V)."""
        return linear(self.transform(states), embedding, self.bias)

    def transform(self, states: Tensor) -> Tensor:
        """(N, D) -> (N, D), what the output matrix is applied to."""
        return self.norm(gelu(self.dense(states)))

    def loss(self, states: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross entropy of targets (N,) -> (), float32 at least. The (N, V) logits live only here."""
        return linear_cross_entropy(self.transform(states), embedding, self.bias, targets)


class Pooler(nn.Module):
    """tanh(dense(state of [CLS])): (N, D) -> (N, D)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.dense = Linear(arch.width, arch.width, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        return torch.tanh(self.dense(states))


class PairHead(nn.Module):
    """Next-sentence logits (Devlin et al. 2019, section 3.1, task 2); class 0: B follows A, class 1: it does not."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.pooler = Pooler(arch)
        self.output = Linear(arch.width, 2, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        """states (N, D) of the [CLS] tokens -> logits (N, 2)."""
        return self.output(self.pooler(states))

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross entropy of targets (N,) -> ()."""
        return cross_entropy_sum(self(states), targets)


class ClassifyHead(nn.Module):
    """Logits of C classes per window (Devlin et al. 2019, section 4.1).

    pooling "cls": pooler of the [CLS] state, dropout, linear: exactly the public sequence classifier.
    pooling "mean": mean of the window's token states, [CLS] and [SEP] among them, dropout, linear.
    """

    def __init__(
        self, arch: Architecture, classes: int, pooling: Literal["cls", "mean"] = "cls", dropout: float | None = None
    ):
        """dropout: probability before the last layer; None takes the body's."""
        super().__init__()
        self.classes, self.pooling = classes, pooling
        self.dropout = arch.dropout if dropout is None else dropout
        if pooling == "cls":
            self.pooler = Pooler(arch)
        self.output = Linear(arch.width, classes, arch.init_std)

    def forward(self, hidden: Tensor, rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
        """hidden (B, T, D), documents (B, T); window w starts ([CLS]) at row rows[w], column cols[w] -> (W, C)."""
        if self.pooling == "cls":
            pooled = self.pooler(hidden[rows, cols])  # (W, D)
        else:
            pooled = window_mean(hidden, rows, cols, documents)  # (W, D)
        return self.output(dropout(pooled, self.dropout, self.training))


def window_mean(hidden: Tensor, rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
    """Mean of hidden (B, T, D) over the tokens of each window -> (W, D).

    A window is the document that holds (rows[w], cols[w]). Sums go token by token into their window,
    so memory is that of hidden itself, however many windows a row packs.
    """
    B, T, D = hidden.shape
    windows = rows.shape[0]
    # documents are numbered 1.. without gaps, so T + 1 numbers suffice; the extra window collects padding
    window_of = torch.full((B, T + 1), windows, dtype=torch.int64, device=hidden.device)
    window_of[rows, documents[rows, cols]] = torch.arange(windows, device=hidden.device)
    index = window_of.gather(1, documents).reshape(-1)  # (B*T,)
    states = (hidden if hidden.dtype is torch.float64 else hidden.float()).reshape(-1, D)
    sums = states.new_zeros(windows + 1, D).index_add(0, index, states)[:windows]
    counts = torch.bincount(index, minlength=windows + 1)[:windows]  # (W,) at least 1: the window's own [CLS]
    return (sums / counts[:, None]).to(hidden.dtype)
