"""Faster CPU versions of a Transformer's few expensive steps, equal to plain torch (the oracle of the tests).

Where a float32 CPU training step spends its time in plain torch, and what each function here does about it, is
listed at each function with milliseconds per BERT-mini step (4 layers, 256 wide, 32 rows of 128 tokens, 2 threads,
AMD Zen 5). Every function has a plain-torch branch: on other devices and types, under autocast and
``torch.compile``, and with ``use_backend("torch")``.

backend()      linear                          dropout, attention, loss
"onednn"       oneDNN, forward and backward    numba
"mkl"          torch (its BLAS)                numba
"torch"        torch                           torch

Randomness: each call draws one 64-bit key from torch's default generator, so ``torch.manual_seed`` and a restored
generator state govern it. Keep or drop is a function of (key, element number); backward computes it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from wordloom.errors import ConfigError
from wordloom.model import native

Backend = Literal["onednn", "mkl", "torch"]
BACKENDS: tuple[Backend, ...] = ("onednn", "mkl", "torch")
_chosen: Backend | None = None


def backend() -> Backend:
    """The kernels in use in this process: ``WORDLOOM_KERNELS`` when set, else measured once (about 0.1 s).

    The results of two backends differ in the last bits, so a run that must resume bitwise records this value
    and calls ``use_backend`` with it. Raises ConfigError for an unknown name.
    """
    global _chosen
    if _chosen is None:
        asked = os.environ.get("WORDLOOM_KERNELS", "auto")
        if asked == "auto":
            _chosen = _measure()
        else:
            use_backend(asked)
    return cast(Backend, _chosen)


def use_backend(name: str | None) -> None:
    """Fix the kernels of this process; None measures again at the next use."""
    global _chosen
    if name is not None and name not in BACKENDS:
        raise ConfigError(
            f"unknown kernels {name!r}", where="WORDLOOM_KERNELS", cure=f"use one of {', '.join(BACKENDS)}"
        )
    _chosen = name  # type: ignore[assignment]


def _measure() -> Backend:
    """oneDNN or torch's BLAS: MKL runs at 155-190 GFLOP/s where oneDNN reaches 380-450 on AMD (2 threads); on
    Intel they are about equal. The better of 5 products of a BERT-mini feed-forward decides; ties go to torch."""
    if not torch.backends.mkldnn.is_available():
        return "mkl"
    x, w = torch.ones(2048, 256), torch.ones(1024, 256)
    onednn = _best_time(lambda: _product(x, w, None))
    return "onednn" if onednn < 0.9 * _best_time(lambda: F.linear(x, w)) else "mkl"


def _best_time(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(6):  # the first pays for code generation; the minimum ignores it
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _native(x: Tensor) -> bool:
    """Whether the kernels here apply to ``x``; plain torch otherwise."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and backend() != "torch"
    )


# --- linear -----------------------------------------------------------------------------------------------------


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias by oneDNN; both operands may be transposed views. x (..., K), weight (N, K)."""
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
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
        # The weight's gradient grad.T @ x: as the backward of a 1x1 convolution oneDNN gives 290-370 GFLOP/s and the
        # bias's gradient with it; as a product of transposed views 230-340; MKL 175-185.
        rows, n, k = x.shape[:-1].numel(), weight.shape[0], weight.shape[1]
        _, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad.as_strided((1, n, rows, 1), (rows * n, 1, n, n)),
            x.contiguous().as_strided((1, k, rows, 1), (rows * k, 1, k, k)),
            weight.view(n, k, 1, 1),
            [n],
            [1, 1],
            [0, 0],
            [1, 1],
            False,
            [0, 0],
            1,
            [False, need_weight, need_bias],
        )
        return grad_x, grad_weight.view(n, k) if need_weight else None, grad_bias if need_bias else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``. x (..., K), weight (N, K), bias (N,) -> (..., N)."""
    if _native(x) and weight.is_contiguous() and backend() == "onednn" and x.numel() > 0:
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
    if p < 1 and _native(x) and 0 < x.numel() < 2**32:
        return cast(Tensor, _Dropout.apply(x, p))
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
    if _native(hidden) and p < 1 and 0 < hidden.numel() < 2**32:
        return cast(Tensor, _DropoutAddNorm.apply(hidden, residual, weight, bias, p, eps))
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


def attention(qkv: Tensor, mask: Tensor | None, heads: int, p: float, training: bool) -> Tensor:
    """Self-attention of all heads, Vaswani et al. 2017, equation 1, with dropout of the weights.

    qkv (B, T, 3D): queries of all heads, then keys, then values. mask bool, broadcastable to (B, 1, T, T), True where
    a query (third axis) may see a key; None: everywhere. -> (B, T, D). Each query must see a key.
    """
    B, T, D = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    p = p if training else 0.0
    if _native(qkv) and D // heads % 4 == 0 and p < 1 and 0 < B * heads * T * T < 2**32:
        allowed = None if mask is None else mask.expand(B, 1, T, T)[:, 0].contiguous()
        return cast(Tensor, _Attention.apply(qkv, allowed, heads, p))
    q, k, v = qkv.view(B, T, 3, heads, D // heads).permute(2, 0, 3, 1, 4)  # each (B, H, T, d)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
    return mixed.transpose(1, 2).reshape(B, T, D)


# --- output layer and loss ------------------------------------------------------------------------------------------


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        logits = _product(x, weight, bias) if backend() == "onednn" else F.linear(x, weight, bias)
        losses = native.cross_entropy(logits, targets)
        ctx.save_for_backward(x, weight, logits)  # logits now hold the gradient of the sum
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, dlogits = ctx.saved_tensors
        if backend() != "onednn":
            return (dlogits @ weight).mul_(grad), dlogits.t() @ (x * grad), dlogits.sum(0).mul_(grad), None
        dx = _product(dlogits, weight.t(), None).mul_(grad)
        dw = _product((x * grad).t(), dlogits.t(), None).t()  # (V, D); 380-400 GFLOP/s, as a convolution 70-200
        return dx, dw, dlogits.sum(0).mul_(grad), None


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Sum over N of -log softmax(x @ weight.T + bias)[targets]; x (N, D), weight (V, D), bias (V,), targets (N,).

    The gradient of the logits is made where the logits were: one (N, V) array in all, plain torch keeps three.
    """
    if _native(x) and x.numel() > 0:
        return cast(Tensor, _LinearCrossEntropy.apply(x.contiguous(), weight, bias, targets))
    return F.cross_entropy(linear(x, weight, bias), targets, reduction="sum")
