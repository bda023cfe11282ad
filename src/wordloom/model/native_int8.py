"""Products with int8 weights for `native_step`: a row is read as bytes, widened and multiplied as float32."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from wordloom.model.native_loops import MATH

f32 = np.float32


@njit(fastmath=MATH)
def int8_rows(x, w, scale, y, lo, hi):
    """y[:, lo:hi] += x[:, :K] @ (scale * w)[lo:hi].T; w (N, K) int8, scale (N,). Two rows at a time from the two halves
    of the range, as in `native_step`."""
    B, K = x.shape[0], w.shape[1]
    half = (hi - lo) // 2
    for i in range(half):
        n, m = lo + i, lo + half + i
        u, v = w[n], w[m]
        for r in range(B):
            x0 = x[r]
            a0, b0 = f32(0), f32(0)
            for k in range(K):
                a0 += f32(u[k]) * x0[k]
                b0 += f32(v[k]) * x0[k]
            y[r, n] += a0 * scale[n]
            y[r, m] += b0 * scale[m]
    for n in range(lo + 2 * half, hi):
        u = w[n]
        for r in range(B):
            x0 = x[r]
            a0 = f32(0)
            for k in range(K):
                a0 += f32(u[k]) * x0[k]
            y[r, n] += a0 * scale[n]


@njit(parallel=True, fastmath=MATH)
def int8_rows_on_threads(x, w, scale, y, threads):
    N = w.shape[0]
    for part in prange(threads):
        int8_rows(x, w, scale, y, part * N // threads, (part + 1) * N // threads)
