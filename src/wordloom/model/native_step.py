"""One token of a decoder stack as one compiled loop, float32 on the CPU: what `model.step` calls.

At one token a row every matrix is read once and multiplied with a vector, so memory bandwidth is the bound. Called
operation by operation torch stays far from it: 15 GB/s in MKL's vector product, 22-28 in oneDNN's, 32-36 here, of 37
measured (Zen 5, one thread, weights beyond the last cache); within the cache 60-80 where both have 9-20, and about 3 us
for each of a dozen calls a layer are gone.

Weights are passed by address, tables (L, ...) of int64, 0 where a model has none: nothing is copied, and the loop is
compiled once for every number of layers. Whoever calls keeps the tensors alive and contiguous. Tables of the same
columns hold the addresses of the scales of matrices that are int8 (`model.int8`), 0 where a matrix is float32.
"""

from __future__ import annotations

import sys
from typing import Any

import numba
import numpy as np
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from wordloom.compiled import from_disk, keep_by_sources
from wordloom.model import native_int8, native_loops
from wordloom.model.native_int8 import int8_rows, int8_rows_on_threads
from wordloom.model.native_loops import MATH, exp

f32 = np.float32
_helper = njit(fastmath=MATH)  # only `step` is kept on disk: a helper there would not see an edit of another file
_inline = njit(inline="always", fastmath=MATH)
PARALLEL = 1 << 17  # multiplications from which a product is worth a second thread: 5 us to wake it

# columns of the table of a layer's addresses; each matrix is followed by its bias, each norm's weight by its bias
ATTENTION_NORM, QKV, OUTPUT, CROSS_NORM, QUERY, CROSS_OUTPUT, FFN_NORM, FFN_IN, FFN_OUT = range(0, 18, 2)
CROSS_KEYS, CROSS_VALUES = 18, 19
# of what stands before and after the layers
TOKENS, POSITIONS, TYPES, EMBEDDING_NORM, PROJECT, LAST_NORM, DENSE, HEAD_NORM, LOGITS = (0, 1, 2, 4, 6, 8, 10, 12, 14)
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")


@intrinsic
def _address(typing: Any, number: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(number), build


@_inline
def _vector(address, width):
    return numba.carray(_address(address), (width,), dtype=np.float32)


@_helper
def _rows(x, w, y, lo, hi):
    """y[:, lo:hi] += x[:, :K] @ w[lo:hi].T; w (N, K).

    Two rows of w at a time, from the two halves of the range: two streams the processor fetches ahead (one: 27-32
    GB/s, two: 31-36, four: 14-30). Rows of x in fours, so that beams share what is loaded.
    """
    B, K = x.shape[0], w.shape[1]
    half = (hi - lo) // 2
    for i in range(half):
        n, m = lo + i, lo + half + i
        u, v = w[n], w[m]
        r = 0
        while r + 4 <= B:
            x0, x1, x2, x3 = x[r], x[r + 1], x[r + 2], x[r + 3]
            a0, a1, a2, a3 = f32(0), f32(0), f32(0), f32(0)
            b0, b1, b2, b3 = f32(0), f32(0), f32(0), f32(0)
            for k in range(K):
                s, t = u[k], v[k]
                a0 += s * x0[k]
                a1 += s * x1[k]
                a2 += s * x2[k]
                a3 += s * x3[k]
                b0 += t * x0[k]
                b1 += t * x1[k]
                b2 += t * x2[k]
                b3 += t * x3[k]
            y[r, n] += a0
            y[r + 1, n] += a1
            y[r + 2, n] += a2
            y[r + 3, n] += a3
            y[r, m] += b0
            y[r + 1, m] += b1
            y[r + 2, m] += b2
            y[r + 3, m] += b3
            r += 4
        while r < B:
            x0 = x[r]
            a0, b0 = f32(0), f32(0)
            for k in range(K):
                a0 += u[k] * x0[k]
                b0 += v[k] * x0[k]
            y[r, n] += a0
            y[r, m] += b0
            r += 1
    for n in range(lo + 2 * half, hi):
        u = w[n]
        for r in range(B):
            x0 = x[r]
            a0 = f32(0)
            for k in range(K):
                a0 += u[k] * x0[k]
            y[r, n] += a0


@njit(parallel=True, fastmath=MATH)
def _rows_on_threads(x, w, y, threads):
    N = w.shape[0]
    for part in prange(threads):
        _rows(x, w, y, part * N // threads, (part + 1) * N // threads)


@_helper
def _product(x, weight, bias, scale, inputs, y, outputs, threads):
    """y[:, :outputs] += x[:, :inputs] @ W.T + b, W (outputs, inputs) and b by their addresses; scale: of an int8 W."""
    B = x.shape[0]
    if bias != 0:
        b = _vector(bias, outputs)
        for r in range(B):
            to = y[r]
            for n in range(outputs):
                to[n] += b[n]
    threaded = threads > 1 and B * outputs * inputs >= PARALLEL
    if scale != 0:
        q, scales = numba.carray(_address(weight), (outputs, inputs), dtype=np.int8), _vector(scale, outputs)
        if threaded:
            int8_rows_on_threads(x, q, scales, y, threads)
        else:
            int8_rows(x, q, scales, y, 0, outputs)
        return
    w = numba.carray(_address(weight), (outputs, inputs), dtype=np.float32)
    if threaded:
        _rows_on_threads(x, w, y, threads)
    else:
        _rows(x, w, y, 0, outputs)


@_helper
def _norm(x, to, weight, bias, width, eps, rms):
    """Layer norm or, without mean, RMS norm of the first ``width`` columns; ``to`` may be x."""
    w = _vector(weight, width)
    for r in range(x.shape[0]):
        row, out = x[r], to[r]
        mean, square = f32(0), f32(0)
        if not rms:
            for j in range(width):
                mean += row[j]
            mean /= f32(width)
        for j in range(width):
            square += (row[j] - mean) * (row[j] - mean)
        scale = f32(1) / np.sqrt(square / f32(width) + eps)
        for j in range(width):
            out[j] = (row[j] - mean) * scale * w[j]
        if bias != 0:
            b = _vector(bias, width)
            for j in range(width):
                out[j] += b[j]


@_inline
def _sigmoid(z):
    e = exp(-abs(z))
    return (f32(1) if z >= f32(0) else e) / (f32(1) + e)


@_inline
def _normal(z):
    """The normal distribution function, error below 1e-7 (Abramowitz & Stegun 1964, 7.1.26)."""
    a = abs(z) * f32(0.70710678)
    t = f32(1) / (f32(1) + f32(0.3275911) * a)
    p = t * (f32(0.254829592) + t * (f32(-0.284496736) + t * (f32(1.421413741) + t * (f32(-1.453152027)
        + t * f32(1.061405429)))))  # fmt: skip
    tail = f32(0.5) * p * exp(-a * a)
    return f32(1) - tail if z >= f32(0) else tail


@_helper
def _activate(x, width, kind):
    """In place on the first ``width`` columns; kind: number in ACTIVATIONS."""
    for r in range(x.shape[0]):
        row = x[r]
        if kind == 0:
            for j in range(width):
                row[j] = row[j] * _normal(row[j])
        elif kind == 1:  # tanh(u) = 2 sigmoid(2 u) - 1
            for j in range(width):
                z = row[j]
                row[j] = z * _sigmoid(f32(1.5957691216) * (z + f32(0.044715) * z * z * z))
        elif kind == 2:
            for j in range(width):
                row[j] = max(row[j], f32(0))
        else:
            for j in range(width):
                row[j] = row[j] * _sigmoid(row[j])


@_helper
def _attend(q, keys, values, head, origin, lo, hi, seen, bias, scale, scores, out):
    """One head of one row: q (d,), keys, values (B, H, S, d), column s read from row origin[s] -> out (d,).

    seen (S,) bool, or empty: columns lo .. hi are all seen. bias (S,), or empty, is added to the scores.
    """
    d = q.shape[0]
    top = f32(-np.inf)
    for s in range(lo, hi):
        key = keys[origin[s], head, s]
        total = f32(0)
        for j in range(d):
            total += q[j] * key[j]
        total *= scale
        if len(bias):
            total += bias[s]
        if len(seen) and not seen[s]:
            total = f32(-np.inf)
        scores[s] = total
        top = max(top, total)
    total = f32(0)
    for s in range(lo, hi):
        scores[s] = exp(scores[s] - top)
        total += scores[s]
    for j in range(d):
        out[j] = f32(0)
    for s in range(lo, hi):
        p, value = scores[s] / total, values[origin[s], head, s]
        for j in range(d):
            out[j] += p * value[j]


@_helper
def _turn(x, cos, sin):
    """x (d,) turned in place (`positions.rotate`)."""
    half = x.shape[0] // 2
    for j in range(half):
        a, b = x[j], x[half + j]
        x[j] = a * cos[j] - b * sin[j]
        x[half + j] = b * cos[half + j] + a * sin[half + j]


@_helper
def _self_attention(qkv, out, keys, values, origin, first, column, turn, bias, scale):
    """qkv (B, 3 H d) -> out (B, H d); the new keys and values are written to ``column``; keys (B, H, S, d)."""
    B, H, S, d = keys.shape
    inner = H * d
    scores = np.empty(S, np.float32)
    everything, none = np.empty(0, np.bool_), np.empty(0, np.float32)
    for r in range(B):
        for h in range(H):
            q, k = qkv[r, h * d : (h + 1) * d], qkv[r, inner + h * d : inner + (h + 1) * d]
            v = qkv[r, 2 * inner + h * d : 2 * inner + (h + 1) * d]
            if turn.shape[1]:
                _turn(q, turn[0, r], turn[1, r])
                _turn(k, turn[0, r], turn[1, r])
            to_key, to_value = keys[r, h, column], values[r, h, column]
            for j in range(d):
                to_key[j] = k[j]
                to_value[j] = v[j]
    for r in range(B):
        for h in range(H):
            q, to = qkv[r, h * d : (h + 1) * d], out[r, h * d : (h + 1) * d]
            b = bias[r, h] if bias.shape[0] else none
            _attend(q, keys, values, h, origin[r], first[r], column + 1, everything, b, scale, scores, to)


@_helper
def _cross_attention(q, out, key_address, value_address, seen, heads, d, scale):
    """q (B, H d) -> out (B, H d); keys, values (B, H, S, d) of the source by address, seen (B, S)."""
    B, S = seen.shape
    keys = numba.carray(_address(key_address), (B, heads, S, d), dtype=np.float32)
    values = numba.carray(_address(value_address), (B, heads, S, d), dtype=np.float32)
    scores, none = np.empty(S, np.float32), np.empty(0, np.float32)
    for r in range(B):
        own = np.full(S, r, np.int64)
        for h in range(heads):
            a, b = h * d, (h + 1) * d
            _attend(q[r, a:b], keys, values, h, own, 0, S, seen[r], none, scale, scores, out[r, a:b])


@_helper
def embed(tokens, places, ends, end_scales, D, E, x, scale, eps, rms, threads):
    """tokens, places (B,), places -1 where positions have no table -> x (B, D)."""
    B = tokens.shape[0]
    e = np.empty((B, E), np.float32)
    for r in range(B):
        row, to = _vector(ends[TOKENS] + 4 * E * tokens[r], E), e[r]
        for j in range(E):
            to[j] = row[j] * scale
        if ends[TYPES] != 0:
            kind = _vector(ends[TYPES], E)
            for j in range(E):
                to[j] += kind[j]
        if ends[POSITIONS] != 0:
            place = _vector(ends[POSITIONS] + 4 * E * places[r], E)
            for j in range(E):
                to[j] += place[j]
    if ends[EMBEDDING_NORM] != 0:
        _norm(e, e, ends[EMBEDDING_NORM], ends[EMBEDDING_NORM + 1], E, eps, rms)
    if ends[PROJECT] == 0:
        x[:] = e
    else:
        x[:] = f32(0)
        _product(e, ends[PROJECT], ends[PROJECT + 1], end_scales[PROJECT], E, x, D, threads)


@_helper
def read_out(x, ends, end_scales, D, E, V, kind, scale, eps, rms, logits, threads):
    """x (B, D) after the last layer, which is overwritten -> logits (B, V)."""
    if ends[LAST_NORM] != 0:
        _norm(x, x, ends[LAST_NORM], ends[LAST_NORM + 1], D, eps, rms)
    state = x
    if ends[DENSE] != 0:
        state = np.zeros((x.shape[0], E), np.float32)
        _product(x, ends[DENSE], ends[DENSE + 1], end_scales[DENSE], D, state, E, threads)
        _activate(state, E, kind)
        _norm(state, state, ends[HEAD_NORM], ends[HEAD_NORM + 1], E, eps, rms)
    if scale != f32(1):
        for r in range(state.shape[0]):
            for j in range(state.shape[1]):
                state[r, j] *= scale
    logits[:] = f32(0)
    _product(state, ends[LOGITS], ends[LOGITS + 1], end_scales[LOGITS], state.shape[1], logits, V, threads)


@njit(fastmath=MATH, cache=True)
def step(
    tokens, places, layers, ends, layer_scales, end_scales, widths, slots, eps, scales, keys, values, origin, first,
    local_first, column, turns, bias, seen, logits, threads,
):  # fmt: skip
    """tokens (B,) -> logits (B, V). Shapes and meaning: `model.step.FusedStep`."""
    D, E, F, V, every = widths
    before, rms, gated, kind, scaled = slots
    token_scale, state_scale = scales
    B = tokens.shape[0]
    L, _, H, _, d = keys.shape
    inner = H * d
    score_scale = f32(1) / np.sqrt(f32(d)) if scaled else f32(1)
    x, mixed = np.empty((B, D), np.float32), np.empty((B, inner), np.float32)
    normed, qkv = np.empty((B, D), np.float32), np.empty((B, 3 * inner), np.float32)
    wide = np.empty((B, F * (2 if gated else 1)), np.float32)
    embed(tokens, places, ends, end_scales, D, E, x, token_scale, eps, rms, threads)
    for i in range(L):
        p, of_int8 = layers[i % layers.shape[0]], layer_scales[i % layers.shape[0]]
        local = every != 0 and i % every != 0
        # attention
        to = x
        if before and p[ATTENTION_NORM] != 0:
            to = normed
            _norm(x, to, p[ATTENTION_NORM], p[ATTENTION_NORM + 1], D, eps, rms)
        qkv[:] = f32(0)
        _product(to, p[QKV], p[QKV + 1], of_int8[QKV], D, qkv, 3 * inner, threads)
        start = local_first if local else first
        turn = turns[1 if local else 0]
        _self_attention(qkv, mixed, keys[i], values[i], origin, start, column, turn, bias, score_scale)
        _product(mixed, p[OUTPUT], p[OUTPUT + 1], of_int8[OUTPUT], inner, x, D, threads)
        if not before:
            _norm(x, x, p[ATTENTION_NORM], p[ATTENTION_NORM + 1], D, eps, rms)
        # attention to the source
        if p[QUERY] != 0:
            to = x
            if before:
                to = normed
                _norm(x, to, p[CROSS_NORM], p[CROSS_NORM + 1], D, eps, rms)
            q = np.zeros((B, inner), np.float32)
            _product(to, p[QUERY], p[QUERY + 1], of_int8[QUERY], D, q, inner, threads)
            place = layers[i]
            _cross_attention(q, mixed, place[CROSS_KEYS], place[CROSS_VALUES], seen, H, d, score_scale)
            _product(mixed, p[CROSS_OUTPUT], p[CROSS_OUTPUT + 1], of_int8[CROSS_OUTPUT], inner, x, D, threads)
            if not before:
                _norm(x, x, p[CROSS_NORM], p[CROSS_NORM + 1], D, eps, rms)
        # feed-forward net
        to = x
        if before:
            to = normed
            _norm(x, to, p[FFN_NORM], p[FFN_NORM + 1], D, eps, rms)
        wide[:] = f32(0)
        _product(to, p[FFN_IN], p[FFN_IN + 1], of_int8[FFN_IN], D, wide, wide.shape[1], threads)
        _activate(wide, F, kind)
        if gated:
            for r in range(B):
                a, b = wide[r, :F], wide[r, F:]
                for j in range(F):
                    a[j] *= b[j]
        _product(wide, p[FFN_OUT], p[FFN_OUT + 1], of_int8[FFN_OUT], F, x, D, threads)
        if not before:
            _norm(x, x, p[FFN_NORM], p[FFN_NORM + 1], D, eps, rms)
    read_out(x, ends, end_scales, D, E, V, kind, state_scale, eps, rms, logits, threads)


keep_by_sources([step], [sys.modules[__name__], native_int8, native_loops])
from_disk(step)
