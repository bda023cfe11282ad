"""Faster CPU versions of a Transformer's few expensive steps, equal to plain torch (the oracle of the tests).

backend()      linear                          dropout, norm, attention, loss
"onednn"       oneDNN, forward and backward    Numba (``native``)
"blas"         torch (MKL, OpenBLAS)           Numba
"torch"        torch                           torch

Each function says where plain torch loses its time. Each has a plain-torch branch: for other devices and types, under
``torch.compile``, and with ``use_backend("torch")``. Gradients are first order only.

Randomness: a call with dropout draws one 64-bit key from torch's default generator, so ``torch.manual_seed`` governs
it. Keep or drop is a function of (key, element number): backward computes it again instead of storing it.
"""

from __future__ import annotations

import os
from typing import Any, Literal, cast

import torch
from llvmlite.binding import get_host_cpu_name
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from wordloom.errors import ConfigError
from wordloom.model import native

Backend = Literal["onednn", "blas", "torch"]
BACKENDS: tuple[Backend, ...] = ("onednn", "blas", "torch")
_chosen: Backend | None = None


def backend() -> Backend:
    """The kernels this process uses: ``WORDLOOM_KERNELS`` if set, else by the kind of processor.

    The choice is a rule, not a measurement: two backends differ in the last bits, and a run stopped and resumed on one
    machine must take the same one however busy the machine is. MKL leaves AMD processors at less than half of what
    oneDNN reaches (Zen 5, 2 threads: 155-190 against 410-450 GFLOP/s); elsewhere torch's own BLAS stays.
    Raises ConfigError for an unknown name.
    """
    if _chosen is None:
        amd = get_host_cpu_name().startswith("znver") and torch.backends.mkldnn.is_available()
        use_backend(os.environ.get("WORDLOOM_KERNELS") or ("onednn" if amd else "blas"))
    return cast(Backend, _chosen)


def use_backend(name: str | None) -> None:
    """Fix the kernels of this process; None: choose again at the next use."""
    global _chosen
    if name is not None and name not in BACKENDS:
        cure = f"use one of {', '.join(BACKENDS)}"
        raise ConfigError(f"there are no kernels {name!r}", where="WORDLOOM_KERNELS", cure=cure)
    _chosen = name


def _loops(x: Tensor) -> bool:
    """Whether the Numba loops take ``x``. Under autocast they do, in float32; the matrix products stay torch's."""
    autocast = torch.is_autocast_enabled("cpu")
    return (
        x.device.type == "cpu"
        and (x.dtype is torch.float32 or (autocast and x.dtype is torch.bfloat16))
        and backend() != "torch"
        and not torch.compiler.is_compiling()
        and x.numel() > 0
    )


def _onednn(x: Tensor) -> bool:
    return backend() == "onednn" and not torch.is_autocast_enabled("cpu") and _loops(x)


# --- linear -----------------------------------------------------------------------------------------------------


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias by oneDNN; both operands may be transposed views. x (..., K), weight (N, K)."""
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        need_x, need_weight, need_bias = ctx.needs_input_grad
        grad_x = _product(grad, weight.t(), None) if need_x else None
        if not (need_weight or need_bias):
            return grad_x, None, None
        return grad_x, _outer(grad, x) if need_weight else None, _sum_rows(grad) if need_bias else None


def _outer(grad: Tensor, x: Tensor) -> Tensor:
    """The weight's gradient grad.T @ x: grad (..., N), x (..., K) -> (N, K).

    oneDNN copies its first operand into rows and reads the second as it lies, so the narrower one goes first:
    340 GFLOP/s where the other order has 230 and MKL 175 (4096 rows, 2 threads).
    """
    grad, x = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
    return _product(grad.t(), x.t(), None) if grad.shape[1] < x.shape[1] else _product(x.t(), grad.t(), None).t()


def _sum_rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).sum(0)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``: x (..., K), weight (N, K), bias (N,) -> (..., N). See ``backend``."""
    if _onednn(x) and weight.is_contiguous():
        return cast(Tensor, _Linear.apply(x, weight, bias))
    return F.linear(x, weight, bias)


# --- dropout; dropout, residual sum and norm ------------------------------------------------------------------------


def _key(p: float) -> native.Key:
    if p == 0:
        return 0, 0  # nothing random: the generator is left alone
    low, high = torch.randint(0, 2**32, (2,)).tolist()
    return low, high


def _rows(x: Tensor) -> Tensor:
    """(..., D) -> contiguous (N, D)."""
    return x.reshape(-1, x.shape[-1]).contiguous()


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.p, ctx.key = p, _key(p)
        return native.dropout(_rows(x), p, ctx.key).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return native.dropout(_rows(grad), ctx.p, ctx.key).view(grad.shape), None


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``torch.nn.functional.dropout``; x (..., D)."""
    if not training or p == 0:
        return x
    if p < 1 and _loops(x) and x.numel() < 2**32:
        return cast(Tensor, _Dropout.apply(x.float(), p))
    return F.dropout(x, p)


class _DropoutAddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, p: float, eps: float
    ) -> Tensor:
        ctx.p, ctx.key = p, _key(p)
        out, normalised, rstd = native.dropout_add_norm(_rows(hidden), _rows(residual), weight, bias, p, eps, ctx.key)
        ctx.save_for_backward(normalised, rstd, weight)
        return out.view(hidden.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normalised, rstd, weight = ctx.saved_tensors
        dx, dsum, dw, db = native.dropout_add_norm_backward(_rows(grad), normalised, rstd, weight, ctx.p, ctx.key)
        return dx.view(grad.shape), dsum.view(grad.shape), dw, db, None, None


def dropout_add_norm(
    hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, *, p: float, eps: float, training: bool
) -> Tensor:
    """LayerNorm(dropout(hidden) + residual), the end of both halves of a post-norm layer (Vaswani et al. 2017, 5.4).

    hidden, residual (..., D); weight, bias (D,); p: rate of dropout.
    """
    p = p if training else 0.0
    if p < 1 and _loops(hidden) and _loops(residual) and hidden.numel() < 2**32:
        return cast(Tensor, _DropoutAddNorm.apply(hidden.float(), residual.float(), weight, bias, p, eps))
    return F.layer_norm(residual + dropout(hidden, p, training), weight.shape, weight, bias, eps)


# --- attention ------------------------------------------------------------------------------------------------------


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, mask: Tensor | None, heads: int, p: float) -> Tensor:
        ctx.heads, ctx.p, ctx.key = heads, p, _key(p)
        qkv = qkv.contiguous()
        out, lse = native.attention(qkv, mask, heads, p, ctx.key)
        ctx.save_for_backward(qkv, mask, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, mask, out, lse = ctx.saved_tensors
        return (
            native.attention_backward(qkv, mask, ctx.heads, ctx.p, ctx.key, out, lse, grad.contiguous()),
            None,
            None,
            None,
        )


def can_attend(qkv: Tensor, heads: int, p: float) -> bool:
    """Whether ``attention`` takes this case; otherwise use ``scaled_dot_product_attention``."""
    B, T, D3 = qkv.shape
    return _loops(qkv) and D3 % (12 * heads) == 0 and p < 1 and B * heads * T * T < 2**32


def attention(qkv: Tensor, mask: Tensor | None, heads: int, p: float) -> Tensor:
    """Self-attention of all heads, Vaswani et al. 2017, equation 1, with dropout of the weights at rate p.

    qkv (B, T, 3D): queries of all heads, then keys, then values. mask bool, broadcastable to (B, 1, T, T), True where
    a query (third axis) may see a key; None: everywhere. -> (B, T, D). Each query must see a key.

    With dropout torch has no fused CPU kernel: it keeps four (B, H, T, T) arrays and draws the mask from one
    sequential generator. Here nothing of that size is kept, and keys no query of a block may see are skipped.
    """
    B, T, _ = qkv.shape
    allowed = None if mask is None else mask.expand(B, 1, T, T)[:, 0].contiguous()
    return cast(Tensor, _Attention.apply(qkv.float(), allowed, heads, p))


# --- output layer and loss ------------------------------------------------------------------------------------------

LOGITS = 1 << 23  # logits held at once by the loss: 32 MB, of the size of the last cache


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int) -> Tensor:
        """Where a gradient is wanted it is made at once, ``rows`` rows after the other, and backward multiplies it."""
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]  # of a frozen table: x alone
        dx = torch.empty_like(x) if for_x else None
        dweight = dbias = None
        losses = x.new_empty(len(x))
        for a in range(0, len(x), rows):
            part = x[a : a + rows]
            logits = _product(part, weight, bias) if _onednn(x) else F.linear(part, weight, bias)
            losses[a : a + rows] = native.cross_entropy(logits, targets[a : a + rows])
            # logits now hold the gradient of the sum
            if dx is not None:
                dx[a : a + rows] = _product(logits, weight.t(), None) if _onednn(x) else logits @ weight
            if for_weight:
                outer = _outer(logits, part) if _onednn(x) else logits.t() @ part
                dweight = outer if dweight is None else dweight.add_(outer)
            if for_bias:
                dbias = logits.sum(0) if dbias is None else dbias.add_(logits.sum(0))
        ctx.save_for_backward(dx, dweight, dbias)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if t is None else t * grad for t in ctx.saved_tensors), None, None)


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Sum over N of -log softmax(x @ weight.T + bias)[targets]; x (N, D), weight (V, D), bias (V,), targets (N,).

    The logits are made some rows at a time and their gradient where they were: plain torch keeps three (N, V) arrays.
    """
    if len(x) and _loops(x) and not torch.is_autocast_enabled("cpu"):
        rows = max(64, LOGITS // len(weight))
        return cast(Tensor, _LinearCrossEntropy.apply(x.contiguous(), weight, bias, targets, rows))
    logits = linear(x, weight, bias)
    logits = logits if logits.dtype is torch.float64 else logits.float()  # bfloat16 sums lose terms
    return F.cross_entropy(logits, targets, reduction="sum")
