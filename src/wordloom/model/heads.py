"""Heads: hidden states -> logits. Each computes logits only where they are asked for."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture
from wordloom.model.convolution import ConvolutionArchitecture
from wordloom.model.kernels import linear_cross_entropy
from wordloom.model.layers import Linear, activate, cross_entropy_sum, dropout, linear, make_norm


def refuse_narrow_table(arch: AnyArchitecture) -> None:
    """Raises ConfigError for a token table of another width than the states: no matrix leads from one to the other."""
    if arch.embedding_width not in (None, arch.width):
        raise ConfigError(
            f"tokens are read off their table, {arch.embedding_width} wide, from states {arch.width} wide",
            where="model.embedding_width",
            cure="leave it away, or pre-train with objective.name = 'masked'",
        )


class TokenHead(nn.Module):
    """Logits of tokens: states -> (transform) -> output matrix.

    The token table is the output matrix where the architecture is tied: it is passed in, not held, so that a tied
    weight has one owner and is saved once. Else the head holds its own. Without a transform as
    `refuse_narrow_table`.
    """

    def __init__(self, arch: AnyArchitecture, transform: bool, bias: bool):
        super().__init__()
        if not transform:
            refuse_narrow_table(arch)
        width = arch.embedding_width or arch.width
        self.activation = arch.activation
        by_inputs = arch.init == "inputs"
        if transform:
            self.dense = Linear(arch.width, width, arch.width**-0.5 if by_inputs else arch.init_std, bias=arch.bias)
            self.norm = make_norm(arch, width)
        std = width**-0.5 if by_inputs else arch.init_std
        self.output = None if arch.tied else nn.Parameter(torch.empty(arch.vocab_size, width).normal_(0, std))
        self.bias = nn.Parameter(torch.zeros(arch.vocab_size)) if bias else None

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """states (..., D), embedding (V, E) -> logits (..., V)."""
        return linear(self.transform(states), embedding if self.output is None else self.output, self.bias)

    def transform(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., E), what the output matrix is applied to."""
        return states

    def loss(self, states: Tensor, embedding: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """states (N, D): sum of the cross entropy of targets (N,) -> (), float32 at least.

        smoothing e: the target distribution is 1 - e on the target plus e / V on every token (Vaswani et al. 2017,
        section 5.4; Szegedy et al. 2016, section 7), as torch's ``label_smoothing``. With logits z that loss is
        log sum exp z - (1 - e) z[target] - e mean(z) = cross entropy + e (z[target] - mean(z)), and a mean of logits
        is the logit of the mean row: nothing of (N, V) is needed but for the cross entropy.
        """
        matrix = embedding if self.output is None else self.output
        x = self.transform(states)  # (N, E)
        total = linear_cross_entropy(x, matrix, self.bias, targets)
        if smoothing == 0:
            return total
        excess = (x * (matrix[targets] - matrix.mean(0))).sum(dtype=total.dtype)
        if self.bias is not None:
            excess = excess + (self.bias[targets] - self.bias.mean()).sum()
        return total + smoothing * excess


class MaskedHead(TokenHead):
    """Masked-token logits: dense, activation, norm, then the output matrix and a bias.

    Devlin et al. 2019, section 3.1 (task 1); the transform before the output matrix is in their code only.
    """

    def __init__(self, arch: AnyArchitecture):
        super().__init__(arch, transform=True, bias=True)

    def transform(self, states: Tensor) -> Tensor:
        return self.norm(activate(self.dense(states), self.activation))


class CausalHead(TokenHead):
    """Next-token logits: the output matrix alone (Radford et al. 2018, equation 2), of a decoder too."""

    def __init__(self, arch: AnyArchitecture):
        super().__init__(arch, transform=False, bias=arch.output_bias)
        self.scale = arch.width**-0.5 if arch.output_scale else 1.0

    def transform(self, states: Tensor) -> Tensor:
        return states if self.scale == 1.0 else states * self.scale


class Pooler(nn.Module):
    """tanh(dense(state of [CLS])): (N, D) -> (N, D)."""

    def __init__(self, arch: AnyArchitecture):
        super().__init__()
        self.dense = Linear(arch.width, arch.width, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        return torch.tanh(self.dense(states))


class PairHead(nn.Module):
    """Next-sentence logits (Devlin et al. 2019, section 3.1, task 2); class 0: B follows A, class 1: it does not."""

    def __init__(self, arch: AnyArchitecture):
        super().__init__()
        self.pooler = Pooler(arch)
        self.output = Linear(arch.width, 2, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        """states (N, D) of the [CLS] tokens -> logits (N, 2)."""
        return self.output(self.pooler(states))

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross entropy of targets (N,) -> ()."""
        return cross_entropy_sum(self(states), targets)


Pooling = Literal["cls", "mean", "last"]
ClassPooling = Pooling | Literal["max"]


class ReplacedHead(nn.Module):
    """One logit per token, above 0: not the original (Clark et al. 2020, section 2; the dense layer: their code)."""

    def __init__(self, arch: AnyArchitecture):
        super().__init__()
        self.activation = arch.activation
        self.dense = Linear(arch.width, arch.width, arch.init_std)
        self.output = Linear(arch.width, 1, arch.init_std)

    def forward(self, states: Tensor) -> Tensor:
        """(..., D) -> (...)."""
        return self.output(activate(self.dense(states), self.activation)).squeeze(-1)

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """states (N, D), targets (N,) bool: sum of the binary cross entropy -> (), float32 at least."""
        logits = self(states)
        logits = logits if logits.dtype is torch.float64 else logits.float()
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="sum")


class ClassifyHead(nn.Module):
    """Logits of C classes per window (Devlin et al. 2019, section 4.1; Radford et al. 2018, section 3.2).

    pooling "cls": pooler of the [CLS] state, dropout, linear: exactly the public BERT classifier.
    pooling "mean": mean of the window's token states, [CLS] and [SEP] among them, dropout, linear.
    pooling "max": maximum of the same, column by column (Kim 2014, section 2), dropout, linear.
    pooling "last": state of the window's last token, which in a causal model has seen all others, dropout, linear
    without bias: the public GPT-2 classifier.
    Of a `ConvolutionArchitecture` its dense layers stand between the pooled state and the dropout.
    """

    def __init__(
        self, arch: AnyArchitecture, classes: int, pooling: ClassPooling = "cls", dropout: float | None = None
    ):
        """dropout: probability before the last layer; None takes the body's.

        Raises ConfigError for "cls" where the first token sees no other, and for one token's state where it sees its
        neighbours at most.
        """
        super().__init__()
        near = isinstance(arch, ConvolutionArchitecture)
        if near and pooling in ("cls", "last"):
            what = f'pooling "{pooling}" reads one token, which in this model sees its neighbours at most'
            raise ConfigError(what, where="task.pooling", cure='use "max" or "mean"')
        if pooling == "cls" and arch.attention == "causal":
            raise ConfigError(
                'pooling "cls" reads the first token, which in a causal model has seen no other',
                where="task.pooling",
                cure='use "last" or "mean"',
            )
        self.classes, self.pooling = classes, pooling
        self.dropout = arch.dropout if dropout is None else dropout
        if pooling == "cls":
            self.pooler = Pooler(arch)
        std = (2 / arch.width) ** 0.5  # He et al. 2015, equation 10
        self.layers = nn.ModuleList(Linear(arch.width, arch.width, std) for _ in range(arch.layers if near else 0))
        self.output = Linear(arch.width, classes, arch.init_std, bias=pooling != "last")

    def settings(self) -> dict[str, Any]:
        """What a bundle says of it."""
        return {"classes": self.classes, "pooling": self.pooling, "dropout": self.dropout}

    def forward(self, hidden: Tensor, rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
        """hidden (B, T, D), documents (B, T); window w starts ([CLS]) at row rows[w], column cols[w] -> (W, C)."""
        if self.pooling == "cls":
            pooled = self.pooler(hidden[rows, cols])  # (W, D)
        elif self.pooling == "last":
            lengths = (documents[rows] == documents[rows, cols][:, None]).sum(1)  # (W,)
            pooled = hidden[rows, cols + lengths - 1]
        else:
            over = window_max if self.pooling == "max" else window_mean
            pooled = over(hidden, rows, cols, documents)  # (W, D)
        for layer in self.layers:
            pooled = F.relu(layer(pooled))
        return self.output(dropout(pooled, self.dropout, self.training))


def usual_pooling(arch: AnyArchitecture) -> ClassPooling:
    """What a window's state is where nothing else is asked for."""
    if isinstance(arch, ConvolutionArchitecture):
        return arch.pooling
    return "last" if arch.attention == "causal" else "cls"


def window_mean(hidden: Tensor, rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
    """Mean of hidden (B, T, D) over the tokens of each window -> (W, D).

    A window is the document that holds (rows[w], cols[w]). Sums go token by token into their window,
    so memory is that of hidden itself, however many windows a row packs.
    """
    windows, D = rows.shape[0], hidden.shape[2]
    index = _windows_of(rows, cols, documents)  # (B*T,)
    states = (hidden if hidden.dtype is torch.float64 else hidden.float()).reshape(-1, D)
    sums = states.new_zeros(windows + 1, D).index_add(0, index, states)[:windows]
    counts = torch.bincount(index, minlength=windows + 1)[:windows]  # (W,) at least 1: the window's own [CLS]
    return (sums / counts[:, None]).to(hidden.dtype)


def window_max(hidden: Tensor, rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
    """Maximum of hidden (B, T, D) over the tokens of each window, column by column -> (W, D), as `window_mean`.

    Where several tokens hold the maximum they share its gradient.
    """
    windows, D = rows.shape[0], hidden.shape[2]
    index = _windows_of(rows, cols, documents)[:, None].expand(-1, D)  # (B*T, D)
    found = hidden.new_zeros(windows + 1, D).scatter_reduce(0, index, hidden.reshape(-1, D), "amax", include_self=False)
    return found[:windows]


def _windows_of(rows: Tensor, cols: Tensor, documents: Tensor) -> Tensor:
    """The window each token of documents (B, T) is in -> (B*T,) in 0 .. W; W is that of padding."""
    B, T = documents.shape
    windows = rows.shape[0]
    # documents are numbered 1.. without gaps, so T + 1 numbers suffice; the extra window collects padding
    window_of = torch.full((B, T + 1), windows, dtype=torch.int64, device=documents.device)
    window_of[rows, documents[rows, cols]] = torch.arange(windows, device=documents.device)
    return window_of.gather(1, documents).reshape(-1)
