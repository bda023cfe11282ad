"""The batched windows of the GPU path, on torch's processor device: against ``reference`` and the kernels."""

from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from test_training import WAYS, V, corpus

import tiny
import wordloom
from wordloom import api
from wordloom.config import VectorsConfig
from wordloom.errors import ConfigError, RunError, TrainingError
from wordloom.vectors import gpu, reference, training
from wordloom.vectors.gpu import GpuTrainer
from wordloom.vectors.training import Trainer
from wordloom.vectors.weights import new_weights

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def a_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU has: what is not copied to and fro is not there."""
    monkeypatch.setattr(GpuTrainer, "_to_device", lambda self, array: torch.from_numpy(array).clone())


def trainer(data: Any, batch: int | None = None, **values: Any) -> GpuTrainer:
    config = VectorsConfig(**{"dimension": 24, "epochs": 2, "sample": 0.0, "seed": 3, **values})
    return GpuTrainer(*data, new_weights(V, V, config), config, device=CPU, batch=batch)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BLOCK", 4000)


# --- one batch -------------------------------------------------------------------------------------------------------

# centre, context, noise: words in several windows, repeated in one; the centre in its context and noise; no context
WINDOWS = [
    (0, [1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11]),
    (0, [1, 2, 1, 4, 1], [7, 7, 9, 7, 2]),
    (3, [3, 4, 5], [3, 8, 3, 9, 10]),
    (7, [1], [0, 1, 2, 3, 4]),
    (5, [], [1, 2, 3, 4, 6]),
]


@pytest.mark.parametrize("dimension", [1, 7, 100])
@pytest.mark.parametrize("cbow", [False, True])
def test_a_batch_is_the_sum_of_the_references_steps(cbow: bool, dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    inputs, outputs = rng.normal(scale=0.4, size=(2, 12, dimension)).astype(np.float32)
    rates = [0.05, 0.04, 0.03, 0.02, 0.01]
    oracle = reference.cbow if cbow else reference.skip_gram
    steps = [
        oracle(
            inputs.astype(float), outputs.astype(float), centre, context,
            partial(reference.negative_sampling, negatives=noise), rate,
        )
        for (centre, context, noise), rate in zip(WINDOWS, rates, strict=True)
    ]  # fmt: skip
    expected = inputs + sum(s.inputs for s in steps), outputs + sum(s.outputs for s in steps)

    context = torch.tensor([[*words, *[centre] * (6 - len(words))] for centre, words, _ in WINDOWS])
    there = torch.tensor(
        [[rate * (i < len(words)) for i in range(6)] for (_, words, _), rate in zip(WINDOWS, rates, strict=True)]
    )
    targets = torch.tensor([[centre, *noise] for centre, _, noise in WINDOWS])
    live = torch.tensor([[1.0, *(float(k != centre) for k in noise)] for centre, _, noise in WINDOWS])
    found = torch.from_numpy(inputs), torch.from_numpy(outputs)
    gpu.update(*found, context, there, targets, live, cbow)
    for table, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(table.numpy(), wanted, rtol=0, atol=1e-6)


def test_the_batch_is_smaller_where_a_word_is_more_frequent_or_the_rate_higher() -> None:
    counts = np.array([75_000, 25_000], np.int64)
    config = VectorsConfig(window=5, negatives=5, sample=0, lr=0.025, exponent=1.0)
    # as context 6 p updates a window of a word's row, as output p + 5 p: of a row that is met, 6 (0.75^2 + 0.25^2)
    assert gpu.batch_size(counts, config, 112) == int(0.3 / 0.025 / 3.75)
    cbow = config.model_copy(update={"objective": "cbow", "lr": 0.05, "negatives": 9})  # 10 (0.75^2 + 0.25^2)
    assert gpu.batch_size(counts, cbow, 112) == int(0.8 / 0.05 / 6.25)
    assert gpu.batch_size(counts, config.model_copy(update={"lr": 100.0}), 112) == 1
    assert gpu.batch_size(counts // 1000, config.model_copy(update={"epochs": 6}), 112) == 1  # 600 windows, 500 batches
    many = np.full(1_000_000, 5, np.int64)
    assert gpu.batch_size(many, config, 112) == gpu.MOST
    assert gpu.batch_size(many, config.model_copy(update={"window": 1000}), 320) == gpu.FLOATS // (2006 * 320)


# --- the windows of an epoch -----------------------------------------------------------------------------------------


def windows_of(monkeypatch: pytest.MonkeyPatch, found: GpuTrainer) -> dict[str, np.ndarray]:
    """What ``update`` was given, all batches joined, in place of training."""
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(gpu, "update", lambda *a: seen.append(tuple(x.numpy().copy() for x in a[2:6])))
    found.work()
    names = ("context", "there", "targets", "live")
    return {name: np.concatenate([row[i] for row in seen]) for i, name in enumerate(names)}


def test_every_window_stays_in_its_sentence(monkeypatch: pytest.MonkeyPatch, small_blocks: None) -> None:
    """Sentence s holds the words 6 s .. 6 s + 5 once, so a word tells where it stands."""
    sentences, window, rng = 1000, 4, np.random.default_rng(0)
    lengths = rng.integers(0, 7, sentences)
    ids = np.concatenate([6 * s + np.arange(n) for s, n in enumerate(lengths)]).astype(np.int32)
    config = VectorsConfig(dimension=4, epochs=1, sample=0.0, window=window, lr=0.1)
    rows = 6 * sentences
    counts = np.bincount(ids, minlength=rows)
    found = GpuTrainer(
        ids, np.cumsum([0, *lengths]), counts, new_weights(rows, rows, config), config, device=CPU, batch=256
    )
    seen = windows_of(monkeypatch, found)
    centre, context, there = seen["targets"][:, 0], seen["context"], seen["there"]
    assert (np.diff(np.sort(centre)) > 0).all()  # every window once
    held = np.arange(sentences) % 200 == 199
    assert set(centre) == set(ids[~np.repeat(held, lengths)])  # all but those of the held-out sentences
    assert (context[there == 0] == np.repeat(centre, 2 * window).reshape(context.shape)[there == 0]).all()
    place = np.full(rows, -1)
    place[ids] = np.arange(len(ids))
    offset = np.delete(np.arange(-window, window + 1), window)
    widths = []
    for c, row, rates in zip(centre, context, there, strict=True):
        reach = np.arange(1, window + 1)
        options = {w: [k for k in range(-w, w + 1) if k and 0 <= c % 6 + k < lengths[c // 6]] for w in reach}
        at = [int(k) for k in offset[rates > 0]]
        assert at in options.values()
        assert [c + k for k in at] == row[rates > 0].tolist()
        assert rates[rates > 0] == pytest.approx(0.1 * (1 - place[c] / (len(ids) + 1)), abs=1e-7)
        if lengths[c // 6] == 6 and c % 6 == 5:  # four words to the left: the width can be told
            widths.append(len(at))
    assert chisquare(np.bincount(widths, minlength=5)[1:]).pvalue > 1e-3


def test_noise_and_subsampling_follow_their_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([60_000, 25_000, 10_000, 4_000, 999, 1], np.int64)
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(6, dtype=np.int32), counts))
    config = VectorsConfig(dimension=4, epochs=1, sample=1e-2, negatives=5)
    found = GpuTrainer(
        ids, np.arange(0, len(ids) + 1, 50), counts, new_weights(6, 6, config), config, device=CPU, batch=4096
    )
    found._held = 0
    seen = windows_of(monkeypatch, found)
    kept = np.bincount(seen["targets"][:, 0], minlength=6)
    f = counts / counts.sum()
    p = np.minimum(1, np.sqrt(1e-2 / f) + 1e-2 / f)
    assert (np.abs(kept - counts * p) <= 4 * np.sqrt(counts * p * (1 - p)) + 1e-9).all()
    noise = seen["targets"][:, 1:]
    q = counts**0.75 / (counts**0.75).sum()
    assert chisquare(np.bincount(noise.ravel(), minlength=6), q * noise.size).pvalue > 1e-3
    wrong = counts**0.77 / (counts**0.77).sum()
    assert chisquare(np.bincount(noise.ravel(), minlength=6), wrong * noise.size).pvalue < 1e-3
    assert (seen["live"][:, 1:] == (noise != seen["targets"][:, :1])).all() and (seen["live"][:, 0] == 1).all()


def test_every_block_of_every_epoch_and_seed_has_draws_of_its_own(
    monkeypatch: pytest.MonkeyPatch, small_blocks: None
) -> None:
    data = corpus(1500)

    def noise(seed: int) -> np.ndarray:
        return windows_of(monkeypatch, trainer(data, epochs=2, seed=seed))["targets"][:, 1:]

    first, again, other = noise(1), noise(1), noise(2)
    assert (first == again).all() and (first != other).any()
    parts = [*np.split(first, 2), other[: len(first) // 2]]  # the epochs have the same words and batches
    parts += [first[:3000], first[4000:7000]]  # of two blocks
    for a, b in combinations(parts[:3], 2):
        assert (a == b).mean() < 0.1
    assert (parts[3] == parts[4]).mean() < 0.1


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_it_learns_what_the_kernels_learn(way: dict[str, Any]) -> None:
    data = corpus(20_000)
    found = trainer(data, epochs=3, **way)
    assert found.loss() == pytest.approx(6 * np.log(2), rel=0.02)
    found.work()
    assert found.done and found.words_done == found.words
    kernels = Trainer(*data, new_weights(V, V, found.config), found.config)
    kernels.work()
    assert found.loss() < 0.85 * 6 * np.log(2)
    assert found.loss() == pytest.approx(kernels.loss(), rel=0.02)
    same = np.repeat(np.arange(4), 15)[:, None] == np.repeat(np.arange(4), 15)
    gaps = []
    for t in (found, kernels):
        x = t.weights.vectors() / np.linalg.norm(t.weights.vectors(), axis=1, keepdims=True)
        gaps.append((x @ x.T)[same].mean() - (x @ x.T)[~same].mean())
    assert gaps[0] > 0.3 and gaps[0] == pytest.approx(gaps[1], abs=0.1)
    assert not found.weights.inputs.reshape(V, -1)[:, 24:].any()  # the padding stays 0


@pytest.mark.parametrize("way", WAYS)
def test_stopped_and_restored_is_undisturbed_to_the_bit(way: dict[str, Any], small_blocks: None) -> None:
    data = corpus(3000)
    whole = trainer(data, **way)
    whole.work()
    assert whole.blocks >= 8
    half = trainer(data, **way)
    half.compile()
    while half.block < 5:
        half.work(until=lambda: True)
    again = trainer(data, **way)
    again.compile()  # before the weights are filled, as well
    again.weights.inputs[:], again.weights.outputs[:] = half.weights.inputs, half.weights.outputs
    again.restore(half.block)
    again.work()
    assert (again.weights.inputs == whole.weights.inputs).all()
    assert (again.weights.outputs == whole.weights.outputs).all()
    other = trainer(data, seed=4, **way)
    other.work()
    assert (other.weights.outputs != whole.weights.outputs).any()


@pytest.mark.parametrize("way", WAYS)
def test_repeated_text_at_a_high_rate_stays_finite(way: dict[str, str]) -> None:
    ids = np.tile(np.array([0, 1, 2, 1, 0, 0, 0, 3], np.int32), 100)
    found = trainer((ids, np.array([0, len(ids)]), np.bincount(ids, minlength=V) + 1), epochs=20, lr=0.1, **way)
    found.work()
    assert np.isfinite(found.weights.inputs).all() and np.isfinite(found.weights.outputs).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lengths", [[1], [0, 1, 0], [2], [3, 1, 0, 2]])
def test_tiny_corpora(way: dict[str, str], lengths: list[int]) -> None:
    ids = np.arange(sum(lengths), dtype=np.int32)
    found = trainer((ids, np.cumsum([0, *lengths]), np.full(V, 1)), window=9, **way)
    found.work()
    assert found.done and np.isfinite(found.weights.inputs).all()


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_run_on_the_device_stops_and_resumes_to_the_bit(
    corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_blocks: None
) -> None:
    monkeypatch.setattr(gpu, "cuda", lambda: CPU)
    values: dict[str, Any] = {"device": "cuda", "dimension": 16, "epochs": 6, "min_count": 1, "quiet": True}
    monkeypatch.setattr(training, "BLOCK", 200)
    api.vectors(corpus_file, tmp_path / "whole", **values)
    work, calls = Trainer.work, 0

    def stopped(self: Trainer, until: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        work(self, until=lambda: True)

    monkeypatch.setattr(Trainer, "work", stopped)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        api.vectors(corpus_file, tmp_path / "run", **values)
    assert wordloom.load_vectors(tmp_path / "run").matrix.any()
    monkeypatch.setattr(Trainer, "work", work)
    with pytest.raises(RunError, match="device was 'cuda' and is 'cpu' now"):
        api.vectors(None, tmp_path / "run", resume=True, quiet=True, device="cpu")
    api.vectors(None, tmp_path / "run", resume=True, quiet=True)
    first, second = (wordloom.load_vectors(tmp_path / name) for name in ("whole", "run"))
    assert first.words == second.words and (first.matrix == second.matrix).all()


def test_without_a_gpu_it_is_said_before_anything_is_done(
    corpus_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = tiny.fingerprint(tmp_path)
    with pytest.raises(ConfigError, match=r'vectors.device: .*CUDA.* Use device = "cpu"\.'):
        api.vectors(corpus_file, tmp_path / "run", device="cuda")
    assert tiny.fingerprint(tmp_path) == before
    with pytest.raises(ConfigError, match="subwords are trained on the processor alone"):
        api.vectors(corpus_file, tmp_path / "run", device="cuda", subwords=True)


def test_a_full_device_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    found = trainer(corpus(300))
    monkeypatch.setattr(gpu, "update", full)
    with pytest.raises(TrainingError, match=r"not enough memory.* Lower dimension"):
        found.work()
