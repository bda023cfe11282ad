"""Word2Vec on a GPU: the windows of ``kernels``, a batch of them at a time, in plain torch.

What differs from the kernels is the order alone. They take one window after another; here the B windows of a batch are
computed from the weights before it, and what each changes is added up. Every window keeps its own K noise words: noise
shared by several windows would be faster and makes worse vectors. Blocks, subsampling, window widths, noise
distribution, learning rate, held-out sentences and the layout of the weights are the Trainer's.

Draws are a function of (seed, block), so a resumed run trains on the same windows. The sums of a GPU are atomic and
have no fixed order: its last bits differ from run to run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.config import VectorsConfig
from wordloom.errors import ConfigError, TrainingError
from wordloom.vectors.training import LOWEST, Trainer, rate_of
from wordloom.vectors.weights import Weights, keep_thresholds

MOST = 16_384  # windows in a batch
LEAST = 500  # batches of a training: on 75,000 words, one epoch, loss 3.06 in batches of 64, 3.09 of 256, kernels 3.01
FLOATS = 1 << 26  # gathered at a time
PULL = {"skip-gram": 0.3, "cbow": 0.8}  # learning rate times collisions in a batch: see ``batch_size``


def cuda() -> torch.device:
    """The GPU. ConfigError where there is none."""
    if not torch.cuda.is_available():
        why = "there is no CUDA device here" if torch.version.cuda else "this torch was built without CUDA"
        raise ConfigError(why, where="vectors.device", cure='use device = "cpu"')
    return torch.device("cuda")


def batch_size(counts: NDArray[np.int64], config: VectorsConfig, stride: int) -> int:
    """Windows in a batch, so that learning rate times collisions is ``PULL``; fewer for a short training.

    Collisions: how many updates the row of an update drawn at random gets in a batch, on average. All are computed from
    the same old row, so with too many it lands beyond the minimum, further out each time, until nothing is finite.
    Held-out loss by batch on 1.4 million words of English (16,833 words, d = 100, one epoch, one seed; seeds differ by
    0.01; ``benchmarks/word2vec_gpu.py batches`` measures it again): skip-gram: kernels 2.639, 64: 2.633, 1107: 2.638,
    2048: 2.643, 4096: not finite; CBOW: kernels 2.500, 512: 2.488, 1024: 2.491, 2048: 2.490, 4096: 10^10. Chosen here
    are 1116 and 744, a fifth to a half of where it breaks, as without subsampling (242) and with 60 words (88).
    Five epochs: skip-gram 2.563 (kernels 2.564), CBOW 2.266 (kernels 2.279).
    """
    kept = counts * (keep_thresholds(counts, config.sample) / (2.0**32 - 1))
    share = kept / kept.sum()
    noise = counts.astype(np.float64) ** config.exponent
    as_context = (config.window + 1) * share  # updates of each row in a window, on average: it has window + 1 words
    as_output = share + config.negatives * noise / noise.sum()
    collisions = max(float((rows**2).sum() / rows.sum()) for rows in (as_context, as_output))
    fits = FLOATS // ((2 * config.window + config.negatives + 1) * stride)
    enough = kept.sum() * config.epochs / LEAST
    return int(max(1, min(MOST, fits, enough, PULL[config.objective] / rate_of(config) / collisions)))


def update(
    inputs: Tensor, outputs: Tensor, context: Tensor, there: Tensor, targets: Tensor, live: Tensor, cbow: bool
) -> None:
    """One step of B windows: inputs (R, D) and outputs (V, D) change in place, by the sum of ``reference``'s steps.

    context (B, C) and there (B, C): input rows and the window's learning rate, 0 where there is no word; the row
    named there gets 0 added, so it should not be the same one everywhere. targets (B, 1 + K): the centre and its
    noise; live (B, 1 + K): 1, or 0 for a noise word that is the centre.
    """
    x, v = inputs[context], outputs[targets]  # (B, C, D), (B, 1 + K, D)
    if cbow:
        present = (there > 0).to(x.dtype)
        x = torch.bmm(present[:, None], x) / present.sum(1).clamp(min=1)[:, None, None]  # (B, 1, D), the mean
        rate = there.amax(1, keepdim=True)  # (B, 1)
    else:
        rate = there
    g = torch.bmm(x, v.transpose(1, 2)).sigmoid_().neg_()  # (B, C or 1, 1 + K): label - s(x . v)
    g[:, :, 0] += 1
    g *= rate[:, :, None] * live[:, None]
    change = torch.bmm(g, v)  # (B, C or 1, D)
    if cbow:  # each context row takes 1 / sqrt(words) of the mean's change
        change = change * (present * present.sum(1, keepdim=True).clamp(min=1).rsqrt())[:, :, None]
    width = inputs.shape[1]
    outputs.index_add_(0, targets.view(-1), torch.bmm(g.transpose(1, 2), x).view(-1, width))
    inputs.index_add_(0, context.view(-1), change.reshape(-1, width))


class GpuTrainer(Trainer):
    """``Trainer`` on a torch device; its one thread feeds the device. ``weights`` are current whenever it is at rest.

    batch: windows; absent: ``batch_size``.
    """

    def __init__(
        self,
        ids: NDArray[np.int32],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        weights: Weights,
        config: VectorsConfig,
        *,
        device: torch.device,
        batch: int | None = None,
    ):
        super().__init__(ids, starts, counts, weights, config)
        self.batch = batch or batch_size(counts, config, weights.stride)
        self._device = device
        self._kept_below = self._to_device(self._keep.astype(np.int64))
        self._slots = self._to_device(self._alias.astype(np.int64))
        self._tables: tuple[Tensor, Tensor] | None = None

    def restore(self, block: int) -> None:
        super().restore(block)
        self._tables = None  # the weights were filled anew

    def work(self, until: Callable[[], bool] = lambda: False) -> None:
        try:
            super().work(until)
        finally:
            if self._tables is not None:
                for flat, table in zip((self.weights.inputs, self.weights.outputs), self._tables, strict=True):
                    torch.from_numpy(flat).view_as(table).copy_(table)

    def _to_device(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _run(self, first: int, last: int, me: int, state: NDArray[np.uint64]) -> None:
        try:
            if self._tables is None:
                w = self.weights
                inputs, outputs = (self._to_device(flat.reshape(-1, w.stride)) for flat in (w.inputs, w.outputs))
                self._tables = inputs, outputs
            with torch.inference_mode():
                self._train(int(first), int(last), int(state[0]))
        except torch.OutOfMemoryError as error:
            cure = 'lower dimension, max_vocab, window or negatives, or use device = "cpu"'
            raise TrainingError("the GPU has not enough memory", where="vectors.device", cure=cure) from error
        self._progress[me] += self._starts[last] - self._starts[first]

    def _train(self, first: int, last: int, seed: int) -> None:
        """Sentences first..last - 1 with the draws of ``seed``. A batch takes every n-th window of them: neighbours
        share most of their words, and would be computed from the same stale rows (the measurement of ``batch_size``,
        CBOW in batches of 512: loss 2.488, of neighbours 2.556)."""
        assert self._tables is not None
        inputs, outputs = self._tables
        draws = torch.Generator(self._device).manual_seed(seed)
        words, sentence, rate = self._subsampled(first, last, draws)
        if len(words) < 2:
            return
        parts = -(-len(words) // self.batch)
        order = [np.arange(i, len(words), parts) for i in range(parts)]
        at = self._to_device(np.concatenate(order))
        context, there = self._contexts(words, sentence, rate, at, draws)
        targets, live = self._targets(words[at], draws)
        end = 0
        for part in order:
            now = slice(end, end + len(part))
            update(inputs, outputs, context[now], there[now], targets[now], live[now], self.config.objective == "cbow")
            end += len(part)

    def _subsampled(self, first: int, last: int, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(n,) each, of the words that stay: their ids, sentences and learning rates."""
        begin, end = int(self._starts[first]), int(self._starts[last])
        ids = self._to_device(self._ids[begin:end].astype(np.int64))
        sentence = self._to_device(np.repeat(np.arange(first, last), np.diff(self._starts[first : last + 1])))
        kept = torch.randint(2**32 - 1, ids.shape, generator=draws, device=self._device) < self._kept_below[ids]
        if self._held:
            kept &= sentence % self._held != self._held - 1
        place = kept.nonzero()[:, 0]
        rate = 1 - (self.words_done + place) / (self.words + 1)  # at this word: falls within a block, too
        return ids[place], sentence[place], (self.lr * rate).clamp(min=self.lr * LOWEST)

    def _contexts(
        self, words: Tensor, sentence: Tensor, rate: Tensor, at: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(n, 2 * window) each, of the windows around the words numbered ``at`` (n,): ids of the words beside them and
        learning rates. A place without a word has the centre's id, so that its zeros do not meet in one row."""
        window = self.config.window
        width = torch.randint(1, window + 1, at.shape, generator=draws, device=self._device)
        offset = self._to_device(np.delete(np.arange(-window, window + 1), window))
        beside = at[:, None] + offset
        inside = beside.clamp(0, len(words) - 1)
        there = (beside == inside) & (offset.abs() <= width[:, None]) & (sentence[inside] == sentence[at][:, None])
        return torch.where(there, words[inside], words[at][:, None]), there * rate[at][:, None]

    def _targets(self, centre: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """(n, 1 + K) each: centre and noise words, and whether they count (float32)."""
        shape, device = (len(centre), self.config.negatives), self._device
        slot = torch.randint(len(self._slots), shape, generator=draws, device=device)
        low = torch.randint(2**32, shape, generator=draws, device=device) < self._slots[slot, 0]
        noise = torch.where(low, slot, self._slots[slot, 1])
        live = torch.cat([torch.ones_like(centre)[:, None], noise != centre[:, None]], 1)
        return torch.cat([centre[:, None], noise], 1), live.to(torch.float32)
