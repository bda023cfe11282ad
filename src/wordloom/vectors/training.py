"""Word2Vec training: blocks of sentences handed to threads that run the kernels without the interpreter's lock.

The threads write the same two matrices without locks (Recht et al. 2011, "Hogwild!"): fast, and not repeatable to the
bit with more than one. With one thread a run is: block b draws from (seed, b), and the learning rate follows the words
done, so a run stopped at a block and resumed is the undisturbed one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from llvmlite.binding import get_host_cpu_features
from numpy.typing import NDArray

from wordloom.compiled import keep_by_sources
from wordloom.config import VectorsConfig
from wordloom.errors import DataError
from wordloom.vectors import kernels, plain_kernels, simd, subword_kernels
from wordloom.vectors.held_out import draw_sample, every, sample_loss
from wordloom.vectors.weights import Grams, Weights, alias_table, keep_thresholds, workspace

BLOCK = 50_000  # running words a thread takes at a time: some 30 ms, so a stop is quick and the hand-out is not felt
LOWEST = 1e-4  # of the first learning rate, as the C program
# Skip-gram: the C program's is 0.025; 0.035 is better on WordSim, MEN, rare words and analogies of both corpora tried,
# and at 0.05 similarity falls (docs/LOG.md, 2026-11-23). CBOW: twice the C program's, since a row takes less of the
# change: see reference.cbow.
LR = {"skip-gram": 0.035, "cbow": 0.1}


keep_by_sources([kernels.train_words, subword_kernels.train_subwords], [kernels, plain_kernels, simd, subword_kernels])


def blocks_of(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B + 1,) sentence numbers that cut the corpus into blocks of about BLOCK words; a sentence is never cut."""
    targets = np.arange(0, starts[-1], BLOCK)
    cuts = np.unique(np.searchsorted(starts, targets, side="left"))
    return np.append(cuts[cuts < len(starts) - 1], len(starts) - 1)


def rate_of(config: VectorsConfig) -> float:
    """The learning rate at the beginning."""
    return config.lr or LR[config.objective]


def needs_plain_kernels() -> bool:
    """Whether the vector kernels would be emulated here: no fused multiply-add on vectors (x86 before 2013)."""
    features = get_host_cpu_features()
    return not (features.get("fma") or features.get("neon") or features.get("v"))


class Trainer:
    """Trains until ``done``; ``work(until)`` does a stretch of it and leaves the weights at rest between blocks.

    ids (M,), starts (S + 1,), counts (V,): see ``encode.TokenIds``. grams: of a sub-word model. plain: the kernels
    without vector types.
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        weights: Weights,
        config: VectorsConfig,
        *,
        grams: Grams | None = None,
        threads: int = 1,
        plain: bool = False,
    ):
        if starts[-1] == 0:
            raise DataError("no word of the corpus is in the vocabulary", cure="lower min_count or give more text")
        self.weights, self.config, self.grams, self.threads, self.plain = weights, config, grams, threads, plain
        self._ids, self._starts, self._blocks = ids, starts, blocks_of(starts)
        self._keep, self._alias = keep_thresholds(counts, config.sample), alias_table(counts, config.exponent)
        self._held = every(starts)
        self._sample = draw_sample(ids, starts, self._held, counts, config)
        self._progress = np.zeros(threads * 8, np.int64)
        self._lock = threading.Lock()
        self.block = 0  # the next one; epoch e begins at e * (blocks of the corpus)
        self.lr = rate_of(config)

    @property
    def blocks(self) -> int:
        return (len(self._blocks) - 1) * self.config.epochs

    @property
    def words(self) -> int:
        """Running words of all epochs."""
        return int(self._starts[-1]) * self.config.epochs

    @property
    def words_done(self) -> int:
        return int(self._progress.sum())

    @property
    def done(self) -> bool:
        return self.block >= self.blocks

    def restore(self, block: int) -> None:
        """Go on at this block: the weights are those after the blocks before it."""
        epoch, inside = divmod(block, len(self._blocks) - 1)
        self.block = block
        self._progress[:] = 0
        self._progress[0] = epoch * int(self._starts[-1]) + int(self._starts[self._blocks[inside]])

    @property
    def measures(self) -> bool:
        """Whether there is a position to measure a loss at."""
        return len(self._sample.centre) > 0

    @property
    def loss_name(self) -> str:
        return "held-out loss" if self._held else "loss on trained text (too few sentences to hold any out)"

    def loss(self) -> float:
        """Mean loss in nats of a held-out prediction (skip-gram: of a pair; CBOW: of a position), exact for its fixed
        noise words; untrained it is (1 + negatives) ln 2."""
        return sample_loss(self.weights, self._sample, self.config.objective == "cbow", self.grams)

    def work(self, until: Callable[[], bool] = lambda: False) -> None:
        """Train to the end, or to the end of the blocks under way when ``until()`` says so; it is asked 50 times a
        second."""
        stop = threading.Event()
        failures: list[BaseException] = []
        crew = [threading.Thread(target=self._thread, args=(me, stop, failures)) for me in range(self.threads)]
        for thread in crew:
            thread.start()
        try:
            while any(thread.is_alive() for thread in crew) and not until():
                time.sleep(0.02)
        finally:
            stop.set()
            interrupted = False
            for thread in crew:
                while thread.is_alive():  # a second Ctrl-C must not leave a block half done
                    try:
                        thread.join()
                    except KeyboardInterrupt:
                        interrupted = True
            if interrupted:
                raise KeyboardInterrupt
        if failures:
            raise failures[0]

    def compile(self) -> float:
        """Load the kernels, or compile them where this machine has not yet; seconds it took."""
        begun = time.monotonic()
        self._run(0, 0, 0, np.ones(1, np.uint64))
        return time.monotonic() - begun

    def _thread(self, me: int, stop: threading.Event, failures: list[BaseException]) -> None:
        try:
            while not stop.is_set():
                with self._lock:
                    if self.done:
                        return
                    block = self.block
                    self.block += 1
                inside = block % (len(self._blocks) - 1)
                state = np.random.SeedSequence([self.config.seed, block]).generate_state(1, np.uint64) | np.uint64(1)
                self._run(self._blocks[inside], self._blocks[inside + 1], me, state)
        except BaseException as error:  # carried to the caller's thread
            failures.append(error)
            stop.set()

    def _run(self, first: int, last: int, me: int, state: NDArray[np.uint64]) -> None:
        c, w = self.config, self.weights
        common = (
            self._ids, self._starts, int(first), int(last), w.inputs, w.outputs, w.stride, c.objective == "cbow",
            c.window, c.negatives, self._keep, self._alias, self._held, self.plain, self.lr, self.lr * LOWEST,
            self.words + 1, self._progress, me, state, workspace(c.window, c.negatives, w.stride),
        )  # fmt: skip
        if self.grams is None:
            kernels.train_words(*common)
        else:
            subword_kernels.train_subwords(*common, self.grams.starts, self.grams.rows)
