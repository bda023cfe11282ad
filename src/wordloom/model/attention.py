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


def document_mask(documents: Tensor) -> Tensor | None:
    """documents (B, T) -> bool (B, 1, T, T), True where a query (third axis) may see a key (fourth).

    None when every row is one document from end to end: nothing is forbidden, and the kernel without a
    mask is the fastest. Padding (number 0) joins padding only: no real token sees it, and because every
    query keeps at least itself no softmax is taken over nothing, so padding never yields a NaN.
    Costs one comparison and, on a GPU, one synchronisation; called once per batch, not per layer.
    """
    if bool((documents == documents[:, :1]).all()):
        return None
    return documents[:, None, :, None] == documents[:, None, None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, training: bool) -> Tensor:
    """q, k, v (B, H, T, d), mask bool broadcastable to (B, H, T, T) or None -> (B, H, T, d).

    dropout_p is the probability with which a weight is dropped while training (Devlin et al. 2019, A.2).
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p if training else 0.0)


def attend_heads(qkv: Tensor, mask: Tensor | None, heads: int, dropout_p: float, training: bool) -> Tensor:
    """`attend` from all heads side by side: qkv (B, T, 3D) -> (B, T, D), mask as there."""
    p = dropout_p if training else 0.0
    if kernels.can_attend(qkv, heads, p):
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
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, training: bool
) -> tuple[Tensor, Tensor]:
    """As `attend`, and also the weights (B, H, T, T) before dropout: row t sums to 1 over the keys t sees."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, T)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = torch.softmax(scores, dim=-1)  # (B, H, T, T)
    return dropout(weights, dropout_p, training) @ v, weights
