"""The loops of ``native``, compiled by Numba for float32: arrays in, filled arrays out. Nothing here needs torch.

The fast-math flags leave NaN and infinity alone: the training loop must see them. Loops are written so that LLVM
vectorises them: rows as one-dimensional views, every constant float32, no calls inside.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from wordloom.compiled import from_disk

MATH = {"reassoc", "contract", "nsz", "arcp"}
_inline = njit(inline="always", fastmath=MATH)
_helper = njit(fastmath=MATH, cache=True)

u32, f32, i32 = np.uint32, np.float32, np.int32
QUERIES = 32  # rows of the attention matrix in flight per thread: their scores stay in the first-level cache


def _parallel(function):  # type: ignore[no-untyped-def]
    return from_disk(njit(parallel=True, fastmath=MATH, cache=True)(function))


# --- random bits -------------------------------------------------------------------------------------------------


@_inline
def _mix(x):  # type: ignore[no-untyped-def]
    """A bijection of 32 bits with near-ideal avalanche (C. Wellons 2018, "lowbias32", bias 0.17)."""
    x = u32(x ^ (x >> u32(16)))  # Numba widens every uint32 operation to 64 bits: cut each one back
    x = u32(x * u32(0x7FEB352D))
    x = u32(x ^ (x >> u32(15)))
    x = u32(x * u32(0x846CA68B))
    return u32(x ^ (x >> u32(16)))


@_inline
def _bits(counter, low, high):  # type: ignore[no-untyped-def]
    """32 random bits as a function of (counter, key): any order, any thread, and again in backward."""
    return _mix(u32(_mix(u32(u32(counter) ^ low)) ^ high))


# --- dropout, residual sum, norm ---------------------------------------------------------------------------------


@_parallel
def dropout(x, out, threshold, scale, low, high):  # type: ignore[no-untyped-def]
    for i in prange(x.shape[0]):
        row, to = x[i], out[i]
        base = u32(i * x.shape[1])
        for j in range(x.shape[1]):
            to[j] = row[j] * scale if _bits(base + u32(j), low, high) >= threshold else f32(0)


@_parallel
def dropout_add_norm(hidden, residual, weight, bias, drop, eps, threshold, scale, low, high, normalised, rstd, out):  # type: ignore[no-untyped-def]
    width = hidden.shape[1]
    for i in prange(hidden.shape[0]):
        x, y, z, to = hidden[i], residual[i], normalised[i], out[i]
        base = u32(i * width)
        total = f32(0)
        if drop:
            for j in range(width):
                z[j] = y[j] + (x[j] * scale if _bits(base + u32(j), low, high) >= threshold else f32(0))
                total += z[j]
        else:
            for j in range(width):
                z[j] = x[j] + y[j]
                total += z[j]
        mean = total / f32(width)
        square = f32(0)
        for j in range(width):
            square += (z[j] - mean) * (z[j] - mean)
        r = f32(1) / np.sqrt(square / f32(width) + eps)
        rstd[i] = r
        for j in range(width):
            n = (z[j] - mean) * r
            z[j] = n
            to[j] = n * weight[j] + bias[j]


@_parallel
def dropout_add_norm_backward(grad, normalised, rstd, weight, drop, threshold, scale, low, high, dx, dsum, dw, db):  # type: ignore[no-untyped-def]
    rows, width = grad.shape
    parts = dw.shape[0]
    for part in prange(parts):
        pw, pb = dw[part], db[part]
        for i in range(part * rows // parts, (part + 1) * rows // parts):
            g, z, to, hidden = grad[i], normalised[i], dsum[i], dx[i]
            total, along = f32(0), f32(0)
            for j in range(width):
                t = g[j] * weight[j]
                total += t
                along += t * z[j]
            for j in range(width):
                pw[j] += g[j] * z[j]
                pb[j] += g[j]
            mean, slope, r = total / f32(width), along / f32(width), rstd[i]
            for j in range(width):
                to[j] = r * (g[j] * weight[j] - mean - z[j] * slope)
            if drop:
                base = u32(i * width)
                for j in range(width):
                    hidden[j] = to[j] * scale if _bits(base + u32(j), low, high) >= threshold else f32(0)


# --- attention -----------------------------------------------------------------------------------------------------


@_inline
def exp(x):  # type: ignore[no-untyped-def]
    """e**x for x <= 0, error below 2e-7 of it (Cephes expf), inlined so that the loop around it is vectorised."""
    n = np.floor((x if x > f32(-87) else f32(-87)) * f32(1.44269504) + f32(0.5))
    r = (x - n * f32(0.693359375)) + n * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    y = (p * r * r + r + f32(1)) * i32((i32(n) + i32(127)) << i32(23)).view(np.float32)
    return f32(0) if x < f32(-87) else y


@_inline
def _row_max(row, lo, hi):  # type: ignore[no-untyped-def]
    """Largest of row[lo:hi]; compared as integers of the same order, which vectorises. NaN is the largest."""
    top = i32(-2147483648)
    for j in range(lo, hi):
        b = f32(row[j]).view(np.int32)
        top = max(top, i32(b ^ i32(i32(b >> i32(31)) & i32(0x7FFFFFFF))))
    return i32(top ^ i32(i32(top >> i32(31)) & i32(0x7FFFFFFF))).view(np.float32)


@_helper
def _matmul(a, b, c, rows, inner, inner_end, lo, hi):  # type: ignore[no-untyped-def]
    """c[:rows, lo:hi] = a[:rows, inner:inner_end] @ b[inner:inner_end, lo:hi]; rows and the inner range in fours.

    Four rows by four inner steps per pass: 16 multiply-adds for 8 loads and 4 stores, 80-110 GFLOP/s per thread.
    """
    for i in range(0, rows, 4):
        c0, c1, c2, c3 = c[i, lo:hi], c[i + 1, lo:hi], c[i + 2, lo:hi], c[i + 3, lo:hi]
        for j in range(hi - lo):
            c0[j], c1[j], c2[j], c3[j] = f32(0), f32(0), f32(0), f32(0)
        for k in range(inner, inner_end, 4):
            b0, b1, b2, b3 = b[k, lo:hi], b[k + 1, lo:hi], b[k + 2, lo:hi], b[k + 3, lo:hi]
            a0, a1, a2, a3 = a[i, k : k + 4], a[i + 1, k : k + 4], a[i + 2, k : k + 4], a[i + 3, k : k + 4]
            a00, a01, a02, a03 = a0[0], a0[1], a0[2], a0[3]
            a10, a11, a12, a13 = a1[0], a1[1], a1[2], a1[3]
            a20, a21, a22, a23 = a2[0], a2[1], a2[2], a2[3]
            a30, a31, a32, a33 = a3[0], a3[1], a3[2], a3[3]
            for j in range(hi - lo):
                c0[j] += a00 * b0[j] + a01 * b1[j] + a02 * b2[j] + a03 * b3[j]
                c1[j] += a10 * b0[j] + a11 * b1[j] + a12 * b2[j] + a13 * b3[j]
                c2[j] += a20 * b0[j] + a21 * b1[j] + a22 * b2[j] + a23 * b3[j]
                c3[j] += a30 * b0[j] + a31 * b1[j] + a32 * b2[j] + a33 * b3[j]


@_helper
def _matmul_t(a, b, c, inner, lo, hi):  # type: ignore[no-untyped-def]
    """c[lo:hi] += a[:inner, lo:hi].T @ b[:inner]; inner and lo:hi in fours."""
    for i in range(lo, hi, 4):
        c0, c1, c2, c3 = c[i], c[i + 1], c[i + 2], c[i + 3]
        for k in range(0, inner, 4):
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            a0, a1, a2, a3 = a[k, i : i + 4], a[k + 1, i : i + 4], a[k + 2, i : i + 4], a[k + 3, i : i + 4]
            a00, a01, a02, a03 = a0[0], a1[0], a2[0], a3[0]
            a10, a11, a12, a13 = a0[1], a1[1], a2[1], a3[1]
            a20, a21, a22, a23 = a0[2], a1[2], a2[2], a3[2]
            a30, a31, a32, a33 = a0[3], a1[3], a2[3], a3[3]
            for j in range(c.shape[1]):
                c0[j] += a00 * b0[j] + a01 * b1[j] + a02 * b2[j] + a03 * b3[j]
                c1[j] += a10 * b0[j] + a11 * b1[j] + a12 * b2[j] + a13 * b3[j]
                c2[j] += a20 * b0[j] + a21 * b1[j] + a22 * b2[j] + a23 * b3[j]
                c3[j] += a30 * b0[j] + a31 * b1[j] + a32 * b2[j] + a33 * b3[j]


@_helper
def _load(x, start, width, rows, first, scale, to):  # type: ignore[no-untyped-def]
    """to[i] = scale * x[first + i, start:start+width] for i < rows; zero below."""
    for i in range(to.shape[0]):
        t = to[i]
        if i < rows:
            source = x[first + i, start : start + width]
            for c in range(width):
                t[c] = source[c] * scale
        else:
            for c in range(width):
                t[c] = f32(0)


@_helper
def _transpose(x, to):  # type: ignore[no-untyped-def]
    for j in range(x.shape[0]):
        for c in range(x.shape[1]):
            to[c, j] = x[j, c]


@_helper
def _window(mask, first, rows, length):  # type: ignore[no-untyped-def]
    """The keys any of these queries may see, widened to multiples of 16: packed documents skip the others."""
    lo, hi = length, 0
    for i in range(first, first + rows):
        row = mask[i]
        for j in range(lo):
            if row[j]:
                lo = j
                break
        for j in range(length - 1, hi - 1, -1):
            if row[j]:
                hi = j + 1
                break
    return lo // 16 * 16, (hi + 15) // 16 * 16


@_parallel
def attention(qkv, mask, masked, heads, drop, threshold, scale, low, high, out, lse):  # type: ignore[no-untyped-def]
    B, T, D = out.shape
    d, padded = D // heads, (T + 15) // 16 * 16
    for n in prange(B * heads):
        b, h = n // heads, n % heads
        x, allowed = qkv[b], mask[b if masked else 0]
        k, v, kt = np.empty((padded, d), f32), np.empty((padded, d), f32), np.empty((d, padded), f32)
        _load(x, D + h * d, d, T, 0, f32(1), k)
        _load(x, 2 * D + h * d, d, T, 0, f32(1), v)
        _transpose(k, kt)
        q, s, o = np.empty((QUERIES, d), f32), np.empty((QUERIES, padded), f32), np.empty((QUERIES, d), f32)
        for first in range(0, T, QUERIES):
            rows = min(QUERIES, T - first)
            lo, hi = _window(allowed, first, rows, T) if masked else (0, padded)
            _load(x, h * d, d, rows, first, f32(1 / math.sqrt(d)), q)
            _matmul(q, kt, s, QUERIES, 0, d, lo, hi)
            end = min(hi, T)
            for i in range(rows):
                row = s[i]
                if masked:
                    may = allowed[first + i]
                    for j in range(lo, end):
                        row[j] = row[j] if may[j] else f32(-np.inf)
                top = _row_max(row, lo, end)
                total = f32(0)
                for j in range(lo, end):
                    row[j] = exp(row[j] - top)
                    total += row[j]
                lse[n, first + i] = top + f32(math.log(total))
                share = scale / total
                if drop:
                    base = u32((n * T + first + i) * T)
                    for j in range(lo, end):
                        row[j] = row[j] * share if _bits(base + u32(j), low, high) >= threshold else f32(0)
                else:
                    for j in range(lo, end):
                        row[j] = row[j] * share
                for j in range(end, hi):
                    row[j] = f32(0)
            _matmul(s, v, o, QUERIES, lo, hi, 0, d)
            for i in range(rows):
                out[b, first + i, h * d : (h + 1) * d] = o[i]


@_parallel
def attention_backward(qkv, mask, masked, heads, drop, threshold, scale, low, high, out, lse, grad, dqkv):  # type: ignore[no-untyped-def]
    B, T, D = out.shape
    d, padded = D // heads, (T + 15) // 16 * 16
    for n in prange(B * heads):
        b, h = n // heads, n % heads
        x, g, allowed = qkv[b], grad[b], mask[b if masked else 0]
        k, v = np.empty((padded, d), f32), np.empty((padded, d), f32)
        kt, vt = np.empty((d, padded), f32), np.empty((d, padded), f32)
        _load(x, D + h * d, d, T, 0, f32(1), k)
        _load(x, 2 * D + h * d, d, T, 0, f32(1), v)
        _transpose(k, kt)
        _transpose(v, vt)
        dk, dv = np.zeros((padded, d), f32), np.zeros((padded, d), f32)
        q, do, dq = np.empty((QUERIES, d), f32), np.empty((QUERIES, d), f32), np.empty((QUERIES, d), f32)
        s, ds = np.empty((QUERIES, padded), f32), np.empty((QUERIES, padded), f32)
        for first in range(0, T, QUERIES):
            rows = min(QUERIES, T - first)
            lo, hi = _window(allowed, first, rows, T) if masked else (0, padded)
            end = min(hi, T)
            _load(x, h * d, d, rows, first, f32(1 / math.sqrt(d)), q)
            _load(g, h * d, d, rows, first, f32(1), do)
            _matmul(q, kt, s, QUERIES, 0, d, lo, hi)  # scores again: cheaper than (B, H, T, T) kept in memory
            _matmul(do, vt, ds, QUERIES, 0, d, lo, hi)
            for i in range(rows):
                # sum over j of weight * its gradient = grad . out (Dao et al. 2022, B.2), with dropout as well
                o, gr = out[b, first + i, h * d : (h + 1) * d], do[i]
                delta = f32(0)
                for c in range(d):
                    delta += o[c] * gr[c]
                row, dr, z = s[i], ds[i], lse[n, first + i]
                if masked:
                    may = allowed[first + i]
                    for j in range(lo, end):
                        row[j] = row[j] if may[j] else f32(-np.inf)
                base = u32((n * T + first + i) * T)
                if drop:
                    for j in range(lo, end):
                        w = exp(row[j] - z)
                        kept = scale if _bits(base + u32(j), low, high) >= threshold else f32(0)
                        dr[j] = w * (dr[j] * kept - delta)
                        row[j] = w * kept
                else:
                    for j in range(lo, end):
                        w = exp(row[j] - z)
                        dr[j] = w * (dr[j] - delta)
                        row[j] = w
                for j in range(end, hi):
                    row[j], dr[j] = f32(0), f32(0)
            for i in range(rows, QUERIES):
                s[i, lo:hi] = f32(0)
                ds[i, lo:hi] = f32(0)
            _matmul(ds, k, dq, QUERIES, lo, hi, 0, d)
            _matmul_t(ds, q, dk, QUERIES, lo, hi)
            _matmul_t(s, do, dv, QUERIES, lo, hi)
            for i in range(rows):
                to = dqkv[b, first + i, h * d : (h + 1) * d]
                for c in range(d):
                    to[c] = dq[i, c] * f32(1 / math.sqrt(d))
        for j in range(T):
            dqkv[b, j, D + h * d : D + (h + 1) * d] = dk[j]
            dqkv[b, j, 2 * D + h * d : 2 * D + (h + 1) * d] = dv[j]


# --- loss ------------------------------------------------------------------------------------------------------------


@_parallel
def cross_entropy(logits, targets, losses):  # type: ignore[no-untyped-def]
    for i in prange(logits.shape[0]):
        row = logits[i]
        V = row.shape[0]
        top = _row_max(row, 0, V)
        gold = row[targets[i]]
        total = f32(0)
        for j in range(V):
            row[j] = exp(row[j] - top)
            total += row[j]
        losses[i] = top + f32(math.log(total)) - gold
        share = f32(1) / total
        for j in range(V):
            row[j] *= share
        row[targets[i]] -= f32(1)
