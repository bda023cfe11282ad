"""Scaled dot-product attention, Vaswani et al. 2017, section 3.2.1, equation 1: softmax(q k^T / sqrt(d)) v.

Two spellings, equal in values and gradients: `attend` runs the fused kernel, `attend_plain` writes the
equation out and returns the weights (alignments, explanation).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wordloom.model import kernels
from wordloom.model.layers import dropout


def mask_between(queries: Tensor, keys: Tensor) -> Tensor | None:
    """Document numbers of queries (B, T) and keys (B, S) -> bool (B, 1, T, S), True where a query may see a key.

    None when every row is one document from end to end: nothing is forbidden, and the kernel without a
    mask is the fastest. Padding (number 0) joins padding only: no real token sees it, and because every
    query keeps at least itself no softmax is taken over nothing, so padding never yields a NaN.
    Costs one comparison and, on a GPU, one synchronisation; called once per batch, not per layer.
    """
    if bool((keys == queries[:, :1]).all()) and bool((queries == queries[:, :1]).all()):
        return None
    return queries[:, None, :, None] == keys[:, None, None, :]


def order_mask(queries: int, keys: int, causal: bool, window: int | None, device: torch.device) -> Tensor | None:
    """What order forbids the last T of S tokens: bool (1, 1, T, S), or None where nothing is forbidden.

    causal: no later one is seen; window: none that is so far away or farther. Distance is counted in columns, which
    inside a document is the distance of positions.
    """
    if window is None and (not causal or queries == 1):
        return None
    column = torch.arange(keys, device=device)
    ahead = column[None, :] - column[keys - queries :, None]  # (T, S) key - query
    allowed = ahead <= 0 if causal else torch.ones_like(ahead, dtype=torch.bool)
    if window is not None:
        allowed = allowed & (ahead.abs() < window)
    return allowed[None, None]


def past_mask(causal_rows: Tensor, queries: int, keys: int) -> Tensor | None:
    """causal_rows (B,) bool -> bool (B, 1, T, S): rows where it is True see no later token, the others all; or None."""
    past = order_mask(queries, keys, True, None, causal_rows.device)
    return None if past is None else past | ~causal_rows[:, None, None, None]


def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """What two masks allow together; None allows everything."""
    return b if a is None else a if b is None else a & b


def masked_bias(bias: Tensor, mask: Tensor | None) -> Tensor:
    """bias, broadcastable to (B, H, T, S), that also forbids what a mask does: -inf where it is False."""
    return bias if mask is None else bias.masked_fill(~mask, float("-inf"))


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    training: bool,
    bias: Tensor | None = None,
) -> Tensor:
    """q (B, H, T, d), k, v (B, H, S, d), mask bool broadcastable to (B, H, T, S) or None -> (B, H, T, d).

    bias, broadcastable to (B, H, T, S), is added to the scores after their division by sqrt(d). dropout_p is the
    probability with which a weight is dropped while training (Devlin et al. 2019, A.2).
    """
    if bias is not None:
        mask = masked_bias(bias, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p if training else 0.0)


def attend_heads(qkv: Tensor, mask: Tensor | None, heads: int, dropout_p: float, training: bool) -> Tensor:
    """`attend` from all heads side by side: qkv (B, T, 3D) -> (B, T, D), mask as there.

    Our loops are for training; torch's kernel is faster where there is nothing to differentiate and nothing to drop
    (8 x 256 x 384, 12 heads, one thread: 15 ms and 51; two documents a row: 17 and 36).
    """
    p = dropout_p if training else 0.0
    learns = p > 0 or (qkv.requires_grad and torch.is_grad_enabled())
    if learns and kernels.can_attend(qkv, heads, p):
        return kernels.attention(qkv, mask, heads, p)
    return join_heads(attend(*split_heads(qkv, heads), mask, dropout_p, training))


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3D): queries of all heads, keys, values -> q, k, v, views (B, H, T, d)."""
    B, T, D3 = qkv.shape
    q, k, v = qkv.view(B, T, 3, heads, D3 // 3 // heads).permute(2, 0, 3, 1, 4)
    return q, k, v


def join_heads(x: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, D)."""
    return x.transpose(1, 2).flatten(2)


def attend_plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    training: bool,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `attend`, and also the weights (B, H, T, S) before dropout: row t sums to 1 over the keys t sees."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, S)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1)  # (B, H, T, S)
    return dropout(weights, dropout_p, training) @ v, weights
