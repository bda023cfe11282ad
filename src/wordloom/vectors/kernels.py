"""Word2Vec's inner loops, compiled by Numba and run without the interpreter's lock.

Skip-gram and CBOW with negative sampling (Mikolov et al. 2013b, equation 4), as ``reference`` writes them out. One call
of a window function per position: its N context words have input rows, the centre and K noise words output rows.

Where this differs from the C program, and why: the K noise words are shared by the N pairs of a window, not drawn for
each pair. The window is then two small matrix products (N x D by D x (K + 1)) on rows that stay in the first cache,
instead of N passes over fresh memory (Ji et al. 2016, arXiv 1611.06172, "pWord2Vec").

Layout: matrices are flat float32, a row takes ``stride`` floats (D rounded up to 16, the rest stays 0). G is the number
of output rows handled together: six accumulators, six rows and a context row fit the registers of AVX-512.
"""

from __future__ import annotations

import numpy as np

from wordloom.vectors.plain_kernels import (
    PIECE,
    G,
    compiled,
    f32,
    i64,
    inlined,
    plain_cbow_window,
    plain_skipgram_window,
    u32,
    u64,
)
from wordloom.vectors.simd import LANES, add, fma, lane, load, prefetch, sigmoid, splat, store, totals

# --- random numbers ------------------------------------------------------------------------------------------------


@inlined
def next_bits(state):
    """64 random bits; state (1,) uint64, never 0. xorshift64* (Vigna 2016, "An experimental exploration of Marsaglia's
    xorshift generators, scrambled")."""
    x = state[0]
    x ^= x >> u64(12)
    x ^= x << u64(25)
    x ^= x >> u64(27)
    state[0] = x
    return x * u64(2685821657736338717)


@inlined
def draw(alias, state):
    """A word of the noise distribution; alias (V, 2) uint32: threshold and the word taken at or above it."""
    bits = next_bits(state)
    slot = i64(((bits >> u64(32)) * u64(len(alias))) >> u64(32))
    threshold, other = alias[slot, 0], i64(alias[slot, 1])  # both are read: a branch here is often guessed wrong
    return slot if u32(bits & u64(0xFFFFFFFF)) < threshold else other


# --- one window, sixteen lanes at a time ---------------------------------------------------------------------------
# ins (N,), outs (slots,): offsets of rows; slots is a multiple of G, outs[0] the centre. live (slots,): 0 where unused,
# or a noise word is the centre. Scratch: gradient (slots * (N + 1) + LANES), delta (N * stride), hidden (stride).


@inlined
def _gradients(inputs, outputs, ins, n, outs, at, live, stride, lr, g, base):
    """g[base + i * G + k] = lr * (label - sigmoid(in_i . out_k)) for G rows from outs[at], the gradient of
    log sigmoid(label' score); 0 where a slot is not live. Contexts in pairs, twelve sums in registers."""
    q0, q1, q2, q3, q4, q5 = outs[at], outs[at + 1], outs[at + 2], outs[at + 3], outs[at + 4], outs[at + 5]
    zero, down, label = splat(f32(0)), splat(-lr), _label(at, lr)
    for i in range(0, n, 2):
        first, second = ins[i], ins[min(i + 1, n - 1)]  # an odd last one is computed twice
        s0 = s1 = s2 = s3 = s4 = s5 = t0 = t1 = t2 = t3 = t4 = t5 = zero
        for b in range(0, stride, LANES):
            x, y = load(inputs, first + b), load(inputs, second + b)
            o = load(outputs, q0 + b)
            s0, t0 = fma(x, o, s0), fma(y, o, t0)
            o = load(outputs, q1 + b)
            s1, t1 = fma(x, o, s1), fma(y, o, t1)
            o = load(outputs, q2 + b)
            s2, t2 = fma(x, o, s2), fma(y, o, t2)
            o = load(outputs, q3 + b)
            s3, t3 = fma(x, o, s3), fma(y, o, t3)
            o = load(outputs, q4 + b)
            s4, t4 = fma(x, o, s4), fma(y, o, t4)
            o = load(outputs, q5 + b)
            s5, t5 = fma(x, o, s5), fma(y, o, t5)
        scores = totals((s0, s1, s2, s3, s4, s5, t0, t1, t2, t3, t4, t5))
        store(g, base + i * G, fma(down, sigmoid(scores), label))
    _silence(g, base, n, live, at)


@inlined
def _label(at, lr):
    """lr in the lanes of the centre, where the G rows from ``at`` hold it."""
    return add(lane(lr, 0), lane(lr, G)) if at == 0 else splat(f32(0))


@inlined
def _silence(g, base, n, live, at):
    for k in range(G):
        if live[at + k] == 0:
            for i in range(n):
                g[base + i * G + k] = f32(0)


@inlined
def _sweep(inputs, outputs, ins, n, outs, stride, g, delta, direct):
    """d_i = sum_k g_ik out_k and out_k += sum_i g_ik in_i of one group, both from the values before the window.

    G output rows and their G sums stay in registers while the contexts pass. direct: in_i += d_i at once; else
    delta_i = d_i, for the caller to add: in_i is still needed where a word stands twice.
    """
    q0, q1, q2, q3, q4, q5 = outs[0], outs[1], outs[2], outs[3], outs[4], outs[5]
    zero = splat(f32(0))
    for b in range(0, stride, LANES):
        o0, o1, o2 = load(outputs, q0 + b), load(outputs, q1 + b), load(outputs, q2 + b)
        o3, o4, o5 = load(outputs, q3 + b), load(outputs, q4 + b), load(outputs, q5 + b)
        a0 = a1 = a2 = a3 = a4 = a5 = zero
        for i in range(n):
            x, j = load(inputs, ins[i] + b), i * G
            g0, g1, g2 = splat(g[j]), splat(g[j + 1]), splat(g[j + 2])
            g3, g4, g5 = splat(g[j + 3]), splat(g[j + 4]), splat(g[j + 5])
            a0, a1, a2 = fma(g0, x, a0), fma(g1, x, a1), fma(g2, x, a2)
            a3, a4, a5 = fma(g3, x, a3), fma(g4, x, a4), fma(g5, x, a5)
            even, odd = fma(g0, o0, fma(g2, o2, fma(g4, o4, zero))), fma(g1, o1, fma(g3, o3, fma(g5, o5, zero)))
            if direct:
                store(inputs, ins[i] + b, add(x, add(even, odd)))
            else:
                store(delta, i * stride + b, add(even, odd))
        store(outputs, q0 + b, add(load(outputs, q0 + b), a0))  # read again: a noise word may be drawn twice
        store(outputs, q1 + b, add(load(outputs, q1 + b), a1))
        store(outputs, q2 + b, add(load(outputs, q2 + b), a2))
        store(outputs, q3 + b, add(load(outputs, q3 + b), a3))
        store(outputs, q4 + b, add(load(outputs, q4 + b), a4))
        store(outputs, q5 + b, add(load(outputs, q5 + b), a5))


@inlined
def _pull(outputs, n, outs, at, stride, g, base, delta):
    """delta_i (+)= sum_k g_ik out_k: the first part of ``_sweep`` where there are several groups."""
    q0, q1, q2, q3, q4, q5 = outs[at], outs[at + 1], outs[at + 2], outs[at + 3], outs[at + 4], outs[at + 5]
    for b in range(0, stride, LANES):
        o0, o1, o2 = load(outputs, q0 + b), load(outputs, q1 + b), load(outputs, q2 + b)
        o3, o4, o5 = load(outputs, q3 + b), load(outputs, q4 + b), load(outputs, q5 + b)
        for i in range(n):
            j, place = base + i * G, i * stride + b
            e = load(delta, place) if at > 0 else splat(f32(0))
            e = fma(splat(g[j]), o0, fma(splat(g[j + 1]), o1, fma(splat(g[j + 2]), o2, e)))
            store(delta, place, fma(splat(g[j + 3]), o3, fma(splat(g[j + 4]), o4, fma(splat(g[j + 5]), o5, e))))


@inlined
def _push(inputs, outputs, ins, n, outs, at, stride, g, base):
    """out_k += sum_i g_ik in_i: the second part."""
    for k in range(G):
        for b in range(0, stride, LANES):
            a = load(outputs, outs[at + k] + b)
            for i in range(n):
                a = fma(splat(g[base + i * G + k]), load(inputs, ins[i] + b), a)
            store(outputs, outs[at + k] + b, a)


@inlined
def skipgram_window(inputs, outputs, ins, n, outs, live, stride, lr, gradient, delta):
    """One update of N context rows and the output rows; every product is of values before the window."""
    slots = len(outs)
    repeated = False
    for i in range(1, n):
        for j in range(i):
            repeated |= ins[i] == ins[j]
    for at in range(0, slots, G):
        _gradients(inputs, outputs, ins, n, outs, at, live, stride, lr, gradient, at * (n + 1))
    if slots == G:
        _sweep(inputs, outputs, ins, n, outs, stride, gradient, delta, not repeated)
        if not repeated:
            return
    else:  # a noise word may stand in two groups: every row is read before any is written
        for at in range(0, slots, G):
            _pull(outputs, n, outs, at, stride, gradient, at * (n + 1), delta)
        for at in range(0, slots, G):
            _push(inputs, outputs, ins, n, outs, at, stride, gradient, at * (n + 1))
    for i in range(n):
        for b in range(0, stride, LANES):
            store(inputs, ins[i] + b, add(load(inputs, ins[i] + b), load(delta, i * stride + b)))


@inlined
def cbow_window(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, hidden):
    """One update from the mean of N context rows. weights (N,): what a row counts in that mean (1 without sub-words).

    Each context row takes 1 / sqrt(N) of the gradient of the mean: see ``reference.cbow``.
    """
    size = f32(0)
    for i in range(n):
        size += weights[i]
    share, zero = splat(f32(1) / size), splat(f32(0))
    for b in range(0, stride, LANES):
        h = zero
        for i in range(n):
            h = fma(splat(weights[i]), load(inputs, ins[i] + b), h)
        store(hidden, b, fma(share, h, zero))
    for at in range(0, len(outs), G):
        _gradients_hidden(hidden, outputs, outs, at, live, stride, lr, gradient)
    if len(outs) == G:
        _sweep_hidden(inputs, outputs, ins, n, outs, stride, gradient, hidden)
    else:
        _sweep_hidden_groups(inputs, outputs, ins, n, outs, stride, gradient, hidden)


@inlined
def _gradients_hidden(hidden, outputs, outs, at, live, stride, lr, g):
    """``_gradients`` of one hidden vector: g[at + k]; the lanes beyond G are the next group's to write."""
    q0, q1, q2, q3, q4, q5 = outs[at], outs[at + 1], outs[at + 2], outs[at + 3], outs[at + 4], outs[at + 5]
    s0 = s1 = s2 = s3 = s4 = s5 = splat(f32(0))
    for b in range(0, stride, LANES):
        h = load(hidden, b)
        s0, s1 = fma(h, load(outputs, q0 + b), s0), fma(h, load(outputs, q1 + b), s1)
        s2, s3 = fma(h, load(outputs, q2 + b), s2), fma(h, load(outputs, q3 + b), s3)
        s4, s5 = fma(h, load(outputs, q4 + b), s4), fma(h, load(outputs, q5 + b), s5)
    store(g, at, fma(splat(-lr), sigmoid(totals((s0, s1, s2, s3, s4, s5))), _label(at, lr)))
    _silence(g, at, 1, live, at)


@inlined
def _sweep_hidden(inputs, outputs, ins, n, outs, stride, g, hidden):
    """in_i += sum_k g_k out_k / sqrt(N) and out_k += g_k hidden, of one group."""
    q0, q1, q2, q3, q4, q5 = outs[0], outs[1], outs[2], outs[3], outs[4], outs[5]
    g0, g1, g2, g3, g4, g5 = splat(g[0]), splat(g[1]), splat(g[2]), splat(g[3]), splat(g[4]), splat(g[5])
    back, zero = splat(f32(1) / np.sqrt(f32(n))), splat(f32(0))
    for b in range(0, stride, LANES):
        h = load(hidden, b)
        o0, o1, o2 = load(outputs, q0 + b), load(outputs, q1 + b), load(outputs, q2 + b)
        o3, o4, o5 = load(outputs, q3 + b), load(outputs, q4 + b), load(outputs, q5 + b)
        even, odd = fma(g0, o0, fma(g2, o2, fma(g4, o4, zero))), fma(g1, o1, fma(g3, o3, fma(g5, o5, zero)))
        change = fma(back, add(even, odd), zero)
        store(outputs, q0 + b, fma(g0, h, o0))
        store(outputs, q1 + b, fma(g1, h, load(outputs, q1 + b)))  # read again: a noise word may be drawn twice
        store(outputs, q2 + b, fma(g2, h, load(outputs, q2 + b)))
        store(outputs, q3 + b, fma(g3, h, load(outputs, q3 + b)))
        store(outputs, q4 + b, fma(g4, h, load(outputs, q4 + b)))
        store(outputs, q5 + b, fma(g5, h, load(outputs, q5 + b)))
        for i in range(n):
            store(inputs, ins[i] + b, add(change, load(inputs, ins[i] + b)))


@inlined
def _sweep_hidden_groups(inputs, outputs, ins, n, outs, stride, g, hidden):
    """The same for any number of groups; slower where there is one."""
    back = splat(f32(1) / np.sqrt(f32(n)))
    for b in range(0, stride, LANES):
        h, change = load(hidden, b), splat(f32(0))
        for k in range(len(outs)):
            change = fma(splat(g[k]), load(outputs, outs[k] + b), change)
        for k in range(len(outs)):
            store(outputs, outs[k] + b, fma(splat(g[k]), h, load(outputs, outs[k] + b)))
        for i in range(n):
            store(inputs, ins[i] + b, fma(back, change, load(inputs, ins[i] + b)))


# --- a stretch of sentences ------------------------------------------------------------------------------------------


@inlined
def subsample(ids, keep, kept, state):
    """Copy the words that stay to kept; how many. keep (V,) uint32: see ``weights.keep_thresholds``."""
    n = 0
    for j in range(len(ids)):
        word = ids[j]
        kept[n] = word
        n += i64(u32(next_bits(state) >> u64(32)) <= keep[word])  # no branch: it would be guessed wrong often
    return n


@inlined
def fetch_row(matrix, offset, stride):
    for b in range(0, stride, LANES):
        prefetch(matrix, offset + b)


@inlined
def draw_slots(centre, negatives, alias, state, outputs, stride, outs, live):
    """Fill outs and live for a centre and fresh noise words, and ask for their rows: they are used one position later.

    A noise word that is the centre is skipped, as in the C program.
    """
    outs[0] = centre * stride
    fetch_row(outputs, outs[0], stride)
    for k in range(1, negatives + 1):
        word = draw(alias, state)
        outs[k] = word * stride
        live[k] = u32(word != centre)
        fetch_row(outputs, outs[k], stride)
    for k in range(negatives + 1, len(outs)):
        outs[k] = outs[0]


@inlined
def update(inputs, outputs, ins, weights, n, outs, live, stride, rate, gradient, scratch, power, cbow, plain):
    """The window function of a model and a kind of kernel."""
    if cbow:
        if plain:
            plain_cbow_window(inputs, outputs, ins, weights, n, outs, live, stride, rate, gradient, scratch, power)
        else:
            cbow_window(inputs, outputs, ins, weights, n, outs, live, stride, rate, gradient, scratch)
    elif plain:
        plain_skipgram_window(inputs, outputs, ins, n, outs, live, stride, rate, gradient, scratch, power)
    else:
        skipgram_window(inputs, outputs, ins, n, outs, live, stride, rate, gradient, scratch)


@inlined
def rate_now(progress, lr, low, words):
    """lr falls linearly with the words that all threads have done, to low: the C program's rule."""
    done = i64(0)
    for t in range(0, len(progress), 8):
        done += progress[t]
    return f32(max(low, lr * (1.0 - done / words)))


@inlined
def reach(window, state):
    """Words to each side at this position: 1..window, all as likely."""
    return 1 + i64(((next_bits(state) >> u64(32)) * u64(window)) >> u64(32))


@compiled
def train_words(
    ids, starts, first, last, inputs, outputs, stride, cbow, window, negatives, keep, alias, held, plain,
    lr, low, words, progress, me, state, space,
):  # fmt: skip
    """Train on sentences first..last - 1.

    ids (M,) int32, starts (S + 1,) int64. held: sentence i is left out where i % held == held - 1; 0: none is.
    cbow, plain: bool. lr, low, words: see ``rate_now``. progress (threads * 8,) int64: words done by thread t at t * 8,
    one a cache line; me: this thread. state (1,) uint64. space: ``weights.workspace``.
    """
    outs, ahead, live, live_ahead, ins, weights, gradient, scratch, kept, power, _, _ = space
    for sentence in range(first, last):
        at = starts[sentence]
        if held and sentence % held == held - 1:
            progress[me * 8] += starts[sentence + 1] - at
            at = starts[sentence + 1]
        while at < starts[sentence + 1]:
            end = min(at + PIECE, starts[sentence + 1])
            rate = rate_now(progress, lr, low, words)
            n = subsample(ids[at:end], keep, kept, state)
            for p in range(min(n, window + 1)):
                fetch_row(inputs, i64(kept[p]) * stride, stride)
            if n > 1:
                draw_slots(i64(kept[0]), negatives, alias, state, outputs, stride, outs, live)
            for p in range(n if n > 1 else 0):
                if p + 1 < n:
                    draw_slots(i64(kept[p + 1]), negatives, alias, state, outputs, stride, ahead, live_ahead)
                if p + window + 1 < n:
                    fetch_row(inputs, i64(kept[p + window + 1]) * stride, stride)
                width = reach(window, state)
                count = 0
                for q in range(max(0, p - width), min(n, p + width + 1)):
                    if q != p:
                        ins[count] = i64(kept[q]) * stride
                        count += 1
                update(
                    inputs, outputs, ins, weights, count, outs, live, stride, rate, gradient, scratch, power,
                    cbow, plain,
                )  # fmt: skip
                outs, ahead = ahead, outs
                live, live_ahead = live_ahead, live
            progress[me * 8] += end - at
            at = end
