"""The compiled windows and drivers against ``reference``: same window, same draws, equal updates."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy.stats import chisquare

from wordloom.config import VectorsConfig
from wordloom.vectors import (
    kernels,
    plain_kernels,
    reference,
    subword_kernels,
    training,  # noqa: F401  (its import keeps compiled kernels apart from those of other sources)
)
from wordloom.vectors.simd import LANES
from wordloom.vectors.weights import alias_table, aligned, gram_rows, keep_thresholds, workspace

V = 12
ALL = 2**32 - 1  # a keep threshold of one


@njit
def vector_skipgram(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, scratch, power):  # type: ignore[no-untyped-def]
    kernels.skipgram_window(inputs, outputs, ins, n, outs, live, stride, lr, gradient, scratch)


@njit
def vector_cbow(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, scratch, power):  # type: ignore[no-untyped-def]
    kernels.cbow_window(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, scratch)


@njit
def plain_skipgram(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, scratch, power):  # type: ignore[no-untyped-def]
    plain_kernels.plain_skipgram_window(inputs, outputs, ins, n, outs, live, stride, lr, gradient, scratch, power)


@njit
def plain_cbow(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, scratch, power):  # type: ignore[no-untyped-def]
    plain_kernels.plain_cbow_window(inputs, outputs, ins, weights, n, outs, live, stride, lr, gradient, scratch, power)


@njit
def draws(alias, state, n):  # type: ignore[no-untyped-def]
    out = np.empty(n, np.int64)
    for i in range(n):
        out[i] = kernels.draw(alias, state)
    return out


@njit
def bits(state):  # type: ignore[no-untyped-def]
    return kernels.next_bits(state)


@njit
def kept_words(ids, keep, kept, state):  # type: ignore[no-untyped-def]
    return kernels.subsample(ids, keep, kept, state)


WINDOWS = {
    "skip-gram": (vector_skipgram, reference.skip_gram),
    "cbow": (vector_cbow, reference.cbow),
    "plain skip-gram": (plain_skipgram, reference.skip_gram),
    "plain cbow": (plain_cbow, reference.cbow),
}


def matrices(dimension: int, rows: int = V, size: float = 0.4) -> tuple[Any, Any, int]:
    rng, stride = np.random.default_rng(dimension), -(-dimension // LANES) * LANES
    found = []
    for count in (rows, V):
        flat = aligned(count * stride)
        flat.reshape(count, stride)[:, :dimension] = rng.normal(scale=size, size=(count, dimension))
        found.append(flat)
    return found[0], found[1], stride


def updated(
    name: str, dimension: int, centre: int, context: Sequence[int], negatives: Sequence[int], size: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """(2, rows, D) of the kernel and of the reference after one window."""
    inputs, outputs, stride = matrices(dimension, size=size)
    before = [m.reshape(V, stride).astype(np.float64) for m in (inputs, outputs)]
    window, oracle = WINDOWS[name]
    slots, gradients, rows = (len(negatives) + kernels.G) // kernels.G * kernels.G, 4000, 40
    outs = np.full(slots, centre * stride)
    outs[1 : len(negatives) + 1] = np.array(negatives) * stride
    live = np.zeros(slots, np.uint32)
    live[0] = 1
    live[1 : len(negatives) + 1] = [k != centre for k in negatives]
    ins, ones = np.array(context) * stride, np.ones(len(context), np.float32)
    window(
        inputs, outputs, ins, ones, len(context), outs, live, stride,
        np.float32(0.05), np.full(gradients, 7, np.float32), np.full(rows * stride, 7, np.float32),
        np.zeros(40 * kernels.G, np.int32),
    )  # fmt: skip
    step = oracle(*before, centre, context, partial(reference.negative_sampling, negatives=negatives), 0.05)
    found = np.stack([inputs.reshape(V, stride), outputs.reshape(V, stride)])
    return found, np.stack([before[0] + step.inputs, before[1] + step.outputs])


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("dimension", [1, 7, 16, 100, 113])
@pytest.mark.parametrize(
    ("centre", "context", "negatives"),
    [
        (0, [1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11]),
        (0, [1], [7, 8, 9, 10, 11]),
        (
            0,
            [1, 2, 1, 4, 1],
            [7, 7, 9, 7, 2],
        ),  # words thrice, in the window and as noise
        (3, [3, 4, 5], [3, 8, 3, 9, 10]),  # the centre among its context and its noise
        (0, [1, 2, 3], [4]),
        (0, [1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 4, 5, 6, 7, 3, 2]),  # two groups
        (0, [1, 2, 3, 4, 1], [8, 9, 10, 11, 4, 5]),  # two groups and a word twice
        (0, [1, 2, 3], [7, 8, 9, 10, 11, 7, 8]),  # noise words in both groups
        (0, [1, 2], [1, 2, 3] * 10),
    ],
)
def test_a_window_is_the_references(
    name: str, dimension: int, centre: int, context: list[int], negatives: list[int]
) -> None:
    found, expected = updated(name, dimension, centre, context, negatives)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not found[:, :, dimension:].any()  # the padding stays 0


@pytest.mark.parametrize("name", WINDOWS)
def test_a_saturated_window(name: str) -> None:
    """Dot products of hundreds: sigmoid is 0 or 1, nothing overflows."""
    found, expected = updated(name, 100, 0, [1, 2, 3], [4, 5, 6, 7, 8], size=5.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_noise_words_follow_the_powered_counts() -> None:
    counts = np.array([50_000, 20_000, 7_000, 3_000, 900, 400, 100, 40, 12, 5, 5, 5], np.int64)
    n = 1_000_000
    for exponent in (0.75, 1.0, 0.0):
        found = np.bincount(draws(alias_table(counts, exponent), np.array([77], np.uint64), n), minlength=V)
        p = counts**exponent / (counts**exponent).sum()
        assert chisquare(found, p * n).pvalue > 1e-3
        wrong = counts ** (exponent + 0.02) / (counts ** (exponent + 0.02)).sum()
        assert chisquare(found, wrong * n).pvalue < 1e-3  # the test would see an exponent off by 0.02


def test_subsampling_keeps_words_at_the_formulas_rate() -> None:
    counts = np.array([60_000, 25_000, 10_000, 4_000, 999, 1], np.int64)
    ids = np.repeat(np.arange(6, dtype=np.int32), counts)
    kept = np.empty(len(ids), np.int32)
    n = kept_words(ids, keep_thresholds(counts, 1e-2), kept, np.array([5], np.uint64))
    found = np.bincount(kept[:n], minlength=6)
    f = counts / counts.sum()
    p = np.minimum(1, np.sqrt(1e-2 / f) + 1e-2 / f)
    np.testing.assert_allclose(keep_thresholds(counts, 1e-2) / (2**32 - 1), p, rtol=0, atol=1e-9)
    assert (np.abs(found - counts * p) <= 4 * np.sqrt(counts * p * (1 - p)) + 1e-9).all()
    assert found[4] == 999 and found[5] == 1  # rarer than the threshold: always kept
    assert kept_words(ids, keep_thresholds(counts, 0.0), kept, np.array([5], np.uint64)) == len(ids)


# --- the drivers: the same draws, position by position --------------------------------------------------------------


def simulate(
    sentences: list[list[int]], inputs: np.ndarray, outputs: np.ndarray, cbow: bool, window: int, negatives: int,
    alias: Any, state: Any, lr: float, low: float, words: int, rows: Any = None,
) -> None:  # fmt: skip
    """The driver's order of draws, its learning rate and its windows, with the reference's steps, in float64."""
    done, oracle = 0, reference.cbow if cbow else reference.skip_gram
    for sentence in sentences:
        rate = max(low, lr * (1 - done / words))
        n = len(sentence)

        def noise() -> list[int]:
            return [int(k) for k in draws(alias, state, negatives)]

        for _ in sentence:
            bits(state)  # subsampling draws for every word, kept or not
        coming = noise() if n > 1 else []
        for p in range(n if n > 1 else 0):
            now, coming = coming, noise() if p + 1 < n else []
            width = 1 + ((int(bits(state)) >> 32) * window >> 32)
            context = [sentence[q] for q in range(max(0, p - width), min(n, p + width + 1)) if q != p]
            predict = partial(reference.negative_sampling, negatives=now)
            step = oracle(inputs, outputs, sentence[p], context, predict, rate, rows)
            inputs += step.inputs
            outputs += step.outputs
        done += n


SENTENCES = [[0, 1, 2, 3, 4, 5, 6, 7], [], [3], [8, 9], [0, 0, 1, 0, 2], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
COUNTS = np.array([40, 30, 22, 17, 12, 9, 7, 5, 4, 3, 2, 2], np.int64)


def simulate_late(
    sentences: list[list[int]], inputs: np.ndarray, outputs: np.ndarray, cbow: bool, window: int, negatives: int,
    alias: Any, state: Any, lr: float, low: float, words: int, rows: Any = None,
) -> None:  # fmt: skip
    """``simulate`` as the sub-word driver documents it: a position is composed once, ``window`` steps before its own,
    is updated as a row, and gives its change back to its rows ``window`` steps after its own, in the order left to
    right; until then no other position sees it."""
    done = 0
    for sentence in sentences:
        rate = max(low, lr * (1 - done / words))
        n = len(sentence)
        done += n
        for _ in sentence:
            bits(state)  # subsampling
        if n < 2:
            continue
        composed: dict[int, np.ndarray] = {}
        now: dict[int, np.ndarray] = {}

        def enter(q: int, sentence: Any = sentence, composed: Any = composed, now: Any = now) -> None:
            composed[q] = inputs[rows[sentence[q]]].mean(0)
            now[q] = composed[q].copy()

        def leave(q: int, sentence: Any = sentence, composed: Any = composed, now: Any = now) -> None:
            np.add.at(inputs, rows[sentence[q]], now[q] - composed[q])

        for q in range(min(window, n)):
            enter(q)
        coming = [int(k) for k in draws(alias, state, negatives)]
        for p in range(n):
            noise, coming = coming, [int(k) for k in draws(alias, state, negatives)] if p + 1 < n else []
            if p - window - 1 >= 0:
                leave(p - window - 1)
            if p + window < n:
                enter(p + window)
            width = 1 + ((int(bits(state)) >> 32) * window >> 32)
            context = [q for q in range(max(0, p - width), min(n, p + width + 1)) if q != p]
            hidden = np.stack([now[q] for q in context])
            if cbow:
                hidden = np.average(hidden, 0, [len(rows[sentence[q]]) for q in context])[None]
            _, change, d_outputs = reference.negative_sampling(hidden, outputs, sentence[p], negatives=noise)
            outputs -= rate * d_outputs
            for i, q in enumerate(context):
                now[q] -= rate * (change[0] / np.sqrt(len(context)) if cbow else change[i])
        for q in range(max(0, n - window - 1), n):
            leave(q)


def driven(
    sentences: list[list[int]], cbow: bool, plain: bool, dimension: int, grams: Any = None, rows: int = V,
    oracle: Any = simulate,
) -> tuple[Any, Any, np.ndarray, np.ndarray]:  # fmt: skip
    """Weights after the compiled driver, and after the simulation."""
    window, negatives, lr, low, words = 3, 5, 0.1, 0.06, 60
    inputs, outputs, stride = matrices(dimension, rows)
    simulated = [m.reshape(-1, stride).astype(np.float64) for m in (inputs, outputs)]
    ids = np.array([w for s in sentences for w in s], np.int32)
    starts = np.cumsum([0, *(len(s) for s in sentences)])
    alias, keep = alias_table(COUNTS, 0.75), np.full(V, ALL, np.uint32)
    common = (
        ids, starts, 0, len(sentences), inputs, outputs, stride, cbow, window, negatives, keep, alias, 0, plain,
        lr, low, words, np.zeros(8, np.int64), 0, np.array([9], np.uint64),
        workspace(window, negatives, stride),
    )  # fmt: skip
    if grams is None:
        kernels.train_words(*common)
    else:
        starts_of = np.cumsum([0, *(len(g) for g in grams)])
        subword_kernels.train_subwords(*common, starts_of, np.array([r for g in grams for r in g], np.int32))
    oracle(sentences, *simulated, cbow, window, negatives, alias, np.array([9], np.uint64), lr, low, words, grams)
    return inputs.reshape(-1, stride), outputs.reshape(-1, stride), *simulated


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("cbow", [False, True])
def test_the_driver_makes_the_references_steps(cbow: bool, plain: bool) -> None:
    inputs, outputs, expected_inputs, expected_outputs = driven(SENTENCES, cbow, plain, 20)
    np.testing.assert_allclose(inputs, expected_inputs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("cbow", [False, True])
def test_the_subword_driver_makes_the_references_steps(cbow: bool, plain: bool) -> None:
    """Words of one to three rows of their own, each once a sentence: then a ring that gives changes back late equals
    steps that give them back at once."""
    sentences = [s for s in SENTENCES if len(s) == len(set(s))]
    grams = [[w, *range(V + 2 * w, V + 2 * w + w % 3)] for w in range(V)]
    inputs, outputs, expected_inputs, expected_outputs = driven(sentences, cbow, plain, 20, grams, rows=3 * V)
    np.testing.assert_allclose(inputs, expected_inputs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=0, atol=1e-5)
    plainly = driven(sentences, cbow, plain, 20, [[w] for w in range(V)])
    words = driven(sentences, cbow, plain, 20)
    np.testing.assert_allclose(plainly[0], words[0], rtol=0, atol=1e-6)


RELATED = ["banana", "bananas", "band", "bandanas", "anna", "nana", "hand", "hands", "a", "ban", "sand", "sandban"]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("cbow", [False, True])
def test_words_that_share_ngrams_and_stand_twice_in_a_window(cbow: bool, plain: bool) -> None:
    """Every change of a shared row is kept, a row that a word has twice gets it twice, and a word that stands at two
    places of a window is two positions."""
    found = gram_rows(RELATED, VectorsConfig(subwords=True, buckets=40))
    grams = [found.rows[a:b].tolist() for a, b in pairwise(found.starts)]
    assert (
        any(len(g) > len(set(g)) for g in grams) and len({r for g in grams for r in g[1:]}) < sum(map(len, grams)) / 2
    )
    sentences = [*SENTENCES, [0, 0, 0, 0], [1, 0, 1, 0, 3, 1, 0, 3, 1, 1, 0, 5, 4, 0], [11, 10, 11], [6, 7] * 6]
    inputs, outputs, expected_inputs, expected_outputs = driven(
        sentences, cbow, plain, 20, grams, rows=V + 40, oracle=simulate_late
    )
    np.testing.assert_allclose(inputs, expected_inputs, rtol=0, atol=2e-5)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=0, atol=2e-5)
    assert np.abs(inputs - matrices(20, V + 40)[0].reshape(-1, 32)).max() > 0.05  # far more than the tolerance


def test_held_out_sentences_are_not_trained_on() -> None:
    stride = 16
    inputs, outputs = aligned(V * stride), aligned(V * stride)
    inputs[:] = 1
    ids, starts = np.array([0, 1, 2, 3, 4, 5], np.int32), np.array([0, 2, 4, 6])
    progress = np.zeros(8, np.int64)
    alias = alias_table(np.array([1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0], np.int64) + 0, 0.75)
    kernels.train_words(
        ids, starts, 0, 3, inputs, outputs, stride, False, 2, 2, np.full(V, ALL, np.uint32), alias, 2, False,
        0.1, 0.1, 100, progress, 0, np.array([3], np.uint64), workspace(2, 2, stride),
    )  # fmt: skip
    moved = set(np.flatnonzero(outputs.reshape(V, stride).any(1)))
    assert moved == {0, 1, 4, 5} and progress[0] == 6  # sentence 1 of every 2 is held out: words 2 and 3
