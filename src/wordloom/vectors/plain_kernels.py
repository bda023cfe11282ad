"""The windows of ``kernels`` as plain loops: for narrow vector units, and the oracle of the vector code.

LLVM vectorises loops over rows taken as one-dimensional views; six output rows or four contexts pass together.
"""

from __future__ import annotations

import numpy as np
from numba import njit

G = 6  # output rows handled together: six sums, six rows and a context row fit the registers of AVX-512
PIECE = 10_000  # a sentence is taken in pieces of so many kept words, as gensim; the C program takes 1,000

_MATH = {"reassoc", "contract", "nsz", "arcp"}
# Without the counting of references to arrays (_nrt), dozens of atomic additions a window, words/s are 1.2 to 1.35
# times as many. Such a kernel cannot make an array: see ``weights.workspace``.
compiled = njit(nogil=True, fastmath=_MATH, cache=True, error_model="numpy", _nrt=False)
# Numba passes an array as seven words: 150 ns a window where nothing is inlined.
inlined = njit(inline="always", fastmath=_MATH)

f32, i64, u32, u64 = np.float32, np.int64, np.uint32, np.uint64


@inlined
def _plain_gradient(scores, n, at, live, lr, power):
    """``_gradient``. power (n * G,) int32: scratch. exp(-s) = 2^p exp(r), the polynomial of ``simd.sigmoid``."""
    twos = power.view(np.float32)
    for j in range(n * G):
        x = max(f32(-80), min(f32(80), -scores[j]))
        p = np.floor(x * f32(1.4426950408889634) + f32(0.5))
        r = x - p * f32(0.693359375) + p * f32(2.12194440e-4)
        e = f32(1.9875691500e-4) * r + f32(1.3981999507e-3)
        e = ((e * r + f32(8.3334519073e-3)) * r + f32(4.1665795894e-2)) * r + f32(1.6666665459e-1)
        scores[j] = (e * r + f32(5.0000001201e-1)) * r * r + r + f32(1)
        power[j] = (np.int32(p) + np.int32(127)) << np.int32(23)
    for j in range(n * G):
        scores[j] = -lr / (f32(1) + scores[j] * twos[j])
    for k in range(G):
        for i in range(n):
            scores[i * G + k] = f32(0) if live[at + k] == 0 else scores[i * G + k] + (lr if at + k == 0 else f32(0))


@inlined
def _plain_dots(x, outputs, outs, at, stride, scores):
    """scores[k] = x . out_k, k < G."""
    q = outs[at : at + G]
    o0, o1, o2 = outputs[q[0] : q[0] + stride], outputs[q[1] : q[1] + stride], outputs[q[2] : q[2] + stride]
    o3, o4, o5 = outputs[q[3] : q[3] + stride], outputs[q[4] : q[4] + stride], outputs[q[5] : q[5] + stride]
    s0 = s1 = s2 = s3 = s4 = s5 = f32(0)
    for d in range(stride):
        s0 += x[d] * o0[d]
        s1 += x[d] * o1[d]
        s2 += x[d] * o2[d]
        s3 += x[d] * o3[d]
        s4 += x[d] * o4[d]
        s5 += x[d] * o5[d]
    scores[0], scores[1], scores[2], scores[3], scores[4], scores[5] = s0, s1, s2, s3, s4, s5


@inlined
def _plain_pull(to, outputs, outs, at, stride, g):
    """to (+)= sum_k g_k out_k: the first group begins it."""
    q = outs[at : at + G]
    o0, o1, o2 = outputs[q[0] : q[0] + stride], outputs[q[1] : q[1] + stride], outputs[q[2] : q[2] + stride]
    o3, o4, o5 = outputs[q[3] : q[3] + stride], outputs[q[4] : q[4] + stride], outputs[q[5] : q[5] + stride]
    g0, g1, g2, g3, g4, g5 = g[0], g[1], g[2], g[3], g[4], g[5]
    if at == 0:
        for d in range(stride):
            to[d] = (g0 * o0[d] + g1 * o1[d] + g2 * o2[d]) + (g3 * o3[d] + g4 * o4[d] + g5 * o5[d])
    else:
        for d in range(stride):
            to[d] += (g0 * o0[d] + g1 * o1[d] + g2 * o2[d]) + (g3 * o3[d] + g4 * o4[d] + g5 * o5[d])


@inlined
def _plain_push(o, inputs, ins, n, stride, g, k):
    """o += sum_i g_ik in_i, four contexts at a time."""
    for i in range(0, n, 4):
        a, b, c, e = ins[i], ins[min(i + 1, n - 1)], ins[min(i + 2, n - 1)], ins[min(i + 3, n - 1)]
        g0, g1 = g[i * G + k], g[(i + 1) * G + k] if i + 1 < n else f32(0)
        g2, g3 = g[(i + 2) * G + k] if i + 2 < n else f32(0), g[(i + 3) * G + k] if i + 3 < n else f32(0)
        x0, x1 = inputs[a : a + stride], inputs[b : b + stride]
        x2, x3 = inputs[c : c + stride], inputs[e : e + stride]
        for d in range(stride):
            o[d] += (g0 * x0[d] + g1 * x1[d]) + (g2 * x2[d] + g3 * x3[d])


@inlined
def plain_skipgram_window(inputs, outputs, ins, n, outs, live, stride, lr, gradient, delta, power):
    """``skipgram_window`` without vector types."""
    for at in range(0, len(outs), G):
        g = gradient[at * (n + 1) :]
        for i in range(n):
            _plain_dots(inputs[ins[i] : ins[i] + stride], outputs, outs, at, stride, g[i * G :])
        _plain_gradient(g, n, at, live, lr, power)
        for i in range(n):
            _plain_pull(delta[i * stride : (i + 1) * stride], outputs, outs, at, stride, g[i * G :])
    for at in range(0, len(outs), G):
        for k in range(G):
            o = outputs[outs[at + k] : outs[at + k] + stride]
            _plain_push(o, inputs, ins, n, stride, gradient[at * (n + 1) :], k)
    for i in range(n):
        x, to = inputs[ins[i] : ins[i] + stride], delta[i * stride : (i + 1) * stride]
        for d in range(stride):
            x[d] += to[d]


@inlined
def plain_cbow_window(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, hidden, power):
    """``cbow_window`` without vector types."""
    h, e = hidden[:stride], hidden[stride : 2 * stride]
    h[:] = f32(0)
    size = f32(0)
    for i in range(n):
        size += weights[i]
        weight, x = weights[i], inputs[ins[i] : ins[i] + stride]
        for d in range(stride):
            h[d] += weight * x[d]
    for d in range(stride):
        h[d] /= size
    for at in range(0, len(outs), G):
        g = gradient[at * 2 :]
        _plain_dots(h, outputs, outs, at, stride, g)
        _plain_gradient(g, 1, at, live, lr, power)
        _plain_pull(e, outputs, outs, at, stride, g)
    for at in range(0, len(outs), G):
        for k in range(G):
            g, o = gradient[at * 2 + k], outputs[outs[at + k] : outs[at + k] + stride]
            for d in range(stride):
                o[d] += g * h[d]
    back = f32(1) / np.sqrt(f32(n))
    for i in range(n):
        x = inputs[ins[i] : ins[i] + stride]
        for d in range(stride):
            x[d] += back * e[d]
