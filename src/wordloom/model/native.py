"""Calls of the compiled loops (``native_loops``): contiguous tensors in, filled tensors out, no autograd.

They use torch's number of threads and, where Numba has its OpenMP layer, torch's own pool of threads: two pools
would spin against each other.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from torch import Tensor

from wordloom.model import native_loops as loops
from wordloom.model.native_loops import f32, u32

Key = tuple[int, int]


def _call(loop: Any, *arguments: Any) -> None:
    """Run a loop on torch's number of threads, tensors as arrays, Python floats as float32."""
    threads = torch.get_num_threads()
    used = min(threads, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if numba.get_num_threads() != used:
        numba.set_num_threads(used)
    if torch.get_num_threads() != threads:  # starting Numba's pool resets the number of OpenMP threads
        torch.set_num_threads(threads)
    loop(*(a.detach().numpy() if isinstance(a, Tensor) else f32(a) if isinstance(a, float) else a for a in arguments))


def _rate(p: float, key: Key) -> tuple[Any, ...]:
    """An element whose bits are below the threshold is dropped; the others are multiplied by scale."""
    return u32(round(p * 2**32)), f32(1 / (1 - p)), u32(key[0]), u32(key[1])


def dropout(x: Tensor, p: float, key: Key) -> Tensor:
    """x (N, D) -> (N, D)."""
    out = torch.empty_like(x)
    _call(loops.dropout, x, out, *_rate(p, key))
    return out


def dropout_add_norm(
    hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, p: float, eps: float, key: Key
) -> tuple[Tensor, Tensor, Tensor]:
    """hidden, residual (N, D), weight, bias (D,) -> out (N, D), normalised sum (N, D), 1 / its deviation (N,)."""
    out, normalised, rstd = torch.empty_like(hidden), torch.empty_like(hidden), hidden.new_empty(hidden.shape[0])
    _call(loops.dropout_add_norm, hidden, residual, weight, bias, p > 0, eps, *_rate(p, key), normalised, rstd, out)
    return out, normalised, rstd


def dropout_add_norm_backward(
    grad: Tensor, normalised: Tensor, rstd: Tensor, weight: Tensor, p: float, key: Key
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """grad (N, D) -> gradients of hidden, residual (N, D), weight, bias (D,).

    The last two are sums of 16 blocks of rows, added in order: the same bits for any number of threads.
    """
    dsum = torch.empty_like(grad)
    dx = torch.empty_like(grad) if p > 0 else dsum
    dw, db = (grad.new_zeros(16, grad.shape[1]) for _ in range(2))
    _call(loops.dropout_add_norm_backward, grad, normalised, rstd, weight, p > 0, *_rate(p, key), dx, dsum, dw, db)
    return dx, dsum, dw.sum(0), db.sum(0)


def attention(qkv: Tensor, mask: Tensor | None, heads: int, p: float, key: Key) -> tuple[Tensor, Tensor]:
    """qkv (B, T, 3D), mask bool (B, T, T) -> out (B, T, D), log of each softmax's denominator (B*H, T)."""
    B, T, D3 = qkv.shape
    out, lse = qkv.new_empty(B, T, D3 // 3), qkv.new_empty(B * heads, T)
    allowed = torch.ones(1, 1, 1, dtype=torch.bool) if mask is None else mask
    _call(loops.attention, qkv, allowed, mask is not None, heads, p > 0, *_rate(p, key), out, lse)
    return out, lse


def attention_backward(
    qkv: Tensor, mask: Tensor | None, heads: int, p: float, key: Key, out: Tensor, lse: Tensor, grad: Tensor
) -> Tensor:
    """grad (B, T, D) of out -> that of qkv (B, T, 3D)."""
    dqkv = torch.empty_like(qkv)
    allowed = torch.ones(1, 1, 1, dtype=torch.bool) if mask is None else mask
    _call(
        loops.attention_backward, qkv, allowed, mask is not None, heads, p > 0, *_rate(p, key), out, lse, grad, dqkv
    )  # fmt: skip
    return dqkv


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """logits (N, V), targets (N,) -> losses (N,); logits become the gradient of the losses' sum."""
    losses = logits.new_empty(logits.shape[0])
    _call(loops.cross_entropy, logits, targets, losses)
    return losses
