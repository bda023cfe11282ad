"""The driver of ``kernels`` for words made of character n-grams (Bojanowski et al. 2017, section 3.2).

A word's vector is the mean of its own row and its n-grams' rows, as in fastText (the paper: the sum). Composing it for
every pair, as fastText does, is most of the work; here each position of a sentence is composed once, when it enters the
window, lives in a ring of rows that the window functions update, and gives its change back to its rows when it leaves.
Each row takes the whole change, as in fastText (its gradient is not divided by the number of rows), so the mean changes
by as much. Words that share rows within 2 * window + 1 positions
do not see each other's changes until they leave.
"""

from __future__ import annotations

from wordloom.vectors.kernels import draw_slots, fetch_row, rate_now, reach, subsample, update
from wordloom.vectors.plain_kernels import PIECE, compiled, f32, i64, inlined
from wordloom.vectors.simd import LANES, add, fma, load, splat, store


@inlined
def compose(inputs, rows, stride, ring, origin, slot):
    """ring and origin at ``slot`` (an offset) = mean of the input rows numbered ``rows``."""
    share, zero = splat(f32(1) / f32(len(rows))), splat(f32(0))
    for b in range(0, stride, LANES):
        s = zero
        for j in range(len(rows)):
            s = add(s, load(inputs, i64(rows[j]) * stride + b))
        s = fma(s, share, zero)
        store(ring, slot + b, s)
        store(origin, slot + b, s)


@inlined
def release(inputs, rows, stride, ring, origin, slot):
    """Add what the windows changed, ring - origin, to every one of the rows."""
    minus = splat(f32(-1))
    for b in range(0, stride, LANES):
        change = fma(minus, load(origin, slot + b), load(ring, slot + b))
        for j in range(len(rows)):
            place = i64(rows[j]) * stride + b
            store(inputs, place, add(load(inputs, place), change))


@compiled
def train_subwords(
    ids, starts, first, last, inputs, outputs, stride, cbow, window, negatives, keep, alias, held, plain,
    lr, low, words, progress, me, state, space, gram_starts, grams,
):  # fmt: skip
    """``kernels.train_words`` where word w has the input rows grams[gram_starts[w] : gram_starts[w + 1]] (int32)."""
    outs, ahead, live, live_ahead, ins, weights, gradient, scratch, kept, power, ring, origin = space
    size = 2 * window + 1
    for sentence in range(first, last):
        at = starts[sentence]
        if held and sentence % held == held - 1:
            progress[me * 8] += starts[sentence + 1] - at
            at = starts[sentence + 1]
        while at < starts[sentence + 1]:
            end = min(at + PIECE, starts[sentence + 1])
            rate = rate_now(progress, lr, low, words)
            n = subsample(ids[at:end], keep, kept, state)
            if n > 1:
                draw_slots(i64(kept[0]), negatives, alias, state, outputs, stride, outs, live)
                for q in range(min(n, window)):
                    w = kept[q]
                    compose(inputs, grams[gram_starts[w] : gram_starts[w + 1]], stride, ring, origin, q * stride)
                for p in range(n):
                    if p + 1 < n:
                        draw_slots(i64(kept[p + 1]), negatives, alias, state, outputs, stride, ahead, live_ahead)
                    if p + window + 1 < n:
                        w = kept[p + window + 1]
                        for j in range(gram_starts[w], gram_starts[w + 1]):
                            fetch_row(inputs, i64(grams[j]) * stride, stride)
                    q = p - window - 1  # leaves; p + window takes its place
                    if q >= 0:
                        w = kept[q]
                        release(
                            inputs, grams[gram_starts[w] : gram_starts[w + 1]], stride, ring, origin, q % size * stride
                        )
                    q = p + window
                    if q < n:
                        w = kept[q]
                        compose(
                            inputs, grams[gram_starts[w] : gram_starts[w + 1]], stride, ring, origin, q % size * stride
                        )
                    width = reach(window, state)
                    count = 0
                    for q in range(max(0, p - width), min(n, p + width + 1)):
                        if q != p:
                            ins[count] = q % size * stride
                            weights[count] = f32(gram_starts[kept[q] + 1] - gram_starts[kept[q]])
                            count += 1
                    update(
                        ring, outputs, ins, weights, count, outs, live, stride, rate, gradient, scratch, power,
                        cbow, plain,
                    )  # fmt: skip
                    outs, ahead = ahead, outs
                    live, live_ahead = live_ahead, live
                for q in range(max(0, n - window - 1), n):
                    w = kept[q]
                    release(inputs, grams[gram_starts[w] : gram_starts[w + 1]], stride, ring, origin, q % size * stride)
            progress[me * 8] += end - at
            at = end
