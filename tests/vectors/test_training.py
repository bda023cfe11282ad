"""Training as a whole: repeatable, resumable, finite, and learning what there is to learn."""

import errno
import importlib
import json
import os
import signal
import tracemalloc
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wordloom
import wordloom.api.word2vec as api_word2vec
from cli_runs import command
from wordloom import api, disk
from wordloom.config import VectorsConfig
from wordloom.errors import ConfigError, DataError, RunError, TrainingError
from wordloom.vectors import reference
from wordloom.vectors.held_out import draw_sample, sample_loss
from wordloom.vectors.training import BLOCK, Trainer, blocks_of
from wordloom.vectors.weights import Weights, gram_rows, new_weights

V = 60


def corpus(sentences: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, starts, counts: every sentence draws its words from one of four groups of fifteen."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, sentences)
    groups = np.repeat(rng.integers(0, 4, sentences), lengths)
    ids = (groups * 15 + np.minimum(rng.geometric(0.15, lengths.sum()) - 1, 14)).astype(np.int32)
    return ids, np.cumsum([0, *lengths]), np.maximum(np.bincount(ids, minlength=V), 1)


def trainer(data: Any, threads: int = 1, grams: Any = None, **values: Any) -> Trainer:
    config = VectorsConfig(**{"dimension": 24, "epochs": 2, "sample": 0.0, "seed": 3, **values})
    rows = V if grams is None else int(grams.rows.max()) + 1
    return Trainer(*data, new_weights(rows, V, config), config, threads=threads, grams=grams)


def finished(*arguments: Any, **values: Any) -> Trainer:
    found = trainer(*arguments, **values)
    found.work()
    assert found.done and found.words_done == found.words
    return found


WAYS = [{"objective": "skip-gram"}, {"objective": "cbow"}]


@pytest.mark.parametrize("way", WAYS)
def test_one_thread_repeats_itself_to_the_bit_and_another_seed_does_not(way: dict[str, str]) -> None:
    data = corpus(4000)
    first, second, other = (finished(data, seed=seed, **way).weights for seed in (3, 3, 4))
    assert (first.inputs == second.inputs).all() and (first.outputs == second.outputs).all()
    assert (first.outputs != other.outputs).any()


def test_every_block_of_every_epoch_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pass over a sentence must not see the windows and noise words of the first."""
    found, states = trainer(corpus(40_000), epochs=3), []
    monkeypatch.setattr(found, "_run", lambda first, last, me, state: states.append(int(state[0])))
    found.work()
    assert len(states) == found.blocks > 3 and len(set(states)) == len(states)


SUBWORD_WAYS = [{**way, "subwords": True, "buckets": 300} for way in WAYS]


@pytest.mark.parametrize("way", [*WAYS, *SUBWORD_WAYS])
def test_stopped_and_restored_is_undisturbed_to_the_bit(way: dict[str, Any]) -> None:
    data = corpus(40_000)  # twelve words of fifteen or fewer: a window holds one twice, and words share n-grams
    config = VectorsConfig(**way)
    grams = gram_rows([f"word{i}" for i in range(V)], config) if config.subwords else None
    whole = finished(data, 1, grams, epochs=3, **way)
    assert whole.blocks >= 9
    half = trainer(data, 1, grams, epochs=3, **way)
    while half.block < 5:
        half.work(until=lambda: True)  # a block at a time, or none
    again = trainer(data, 1, grams, epochs=3, **way)
    again.weights.inputs[:], again.weights.outputs[:] = half.weights.inputs, half.weights.outputs
    again.restore(half.block)
    assert again.words_done == half.words_done
    again.work()
    assert (again.weights.inputs == whole.weights.inputs).all()
    assert (again.weights.outputs == whole.weights.outputs).all()


@pytest.mark.parametrize("way", [*WAYS, *SUBWORD_WAYS])
def test_words_of_a_group_come_together(way: dict[str, Any]) -> None:
    data = corpus(40_000)
    config = VectorsConfig(**way)
    grams = gram_rows([f"{'abcd'[i // 15]}{i}" for i in range(V)], config) if config.subwords else None
    done = {threads: finished(data, threads, grams, epochs=3, **way) for threads in (1, 2)}
    losses = {threads: t.loss() for threads, t in done.items()}
    assert losses[1] < 0.85 * 6 * np.log(2)
    assert losses[2] == pytest.approx(losses[1], rel=0.02)  # two threads write over each other, and learn as much
    for t in done.values():
        x = t.weights.vectors()[:V]
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        same = np.repeat(np.arange(4), 15)[:, None] == np.repeat(np.arange(4), 15)
        assert (x @ x.T)[same].mean() > (x @ x.T)[~same].mean() + 0.3


@pytest.mark.parametrize("way", WAYS)
def test_fifty_epochs_of_repeated_text_at_a_high_rate_stay_finite(way: dict[str, str]) -> None:
    ids = np.tile(np.array([0, 1, 2, 1, 0, 0, 0, 3], np.int32), 500)
    found = finished((ids, np.array([0, len(ids)]), np.bincount(ids, minlength=V) + 1), epochs=50, lr=0.1, **way)
    assert np.isfinite(found.weights.inputs).all() and np.isfinite(found.weights.outputs).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lengths", [[1], [0, 1, 0], [2], [3, 1, 0, 2]])
def test_tiny_corpora(way: dict[str, str], lengths: list[int]) -> None:
    ids = np.zeros(sum(lengths), np.int32)
    found = finished((ids, np.cumsum([0, *lengths]), np.full(V, 1)), window=9, **way)
    assert np.isfinite(found.weights.inputs).all()


def test_a_corpus_without_a_word_is_refused() -> None:
    with pytest.raises(DataError, match="no word"):
        trainer((np.zeros(0, np.int32), np.array([0, 0, 0]), np.full(V, 1)))


def test_blocks_hold_every_sentence_once() -> None:
    for lengths in ([5], [BLOCK * 3], [0, 0, 7], [BLOCK // 3] * 20, [1] * 10, [0, BLOCK, 0, 0, BLOCK, 3, 0]):
        cuts = blocks_of(np.cumsum([0, *lengths]))
        assert cuts[0] == 0 and cuts[-1] == len(lengths) and (np.diff(cuts) > 0).all()


@pytest.mark.parametrize("cbow", [False, True])
def test_the_loss_is_the_references(cbow: bool) -> None:
    data = corpus(3000)
    found = finished(data, objective="cbow" if cbow else "skip-gram")
    assert trainer(data).loss() == pytest.approx(6 * np.log(2), rel=0.02)  # untrained; a noise word may be the centre
    sample = draw_sample(data[0], data[1], 200, data[2], found.config)
    inputs, outputs = (
        m.reshape(-1, 32)[:, :24].astype(np.float64) for m in (found.weights.inputs, found.weights.outputs)
    )
    oracle, total, count = reference.cbow if cbow else reference.skip_gram, 0.0, 0
    for centre, context, noise in zip(sample.centre, sample.context, sample.noise, strict=True):
        words = [int(w) for w in context if w >= 0]
        step = oracle(inputs, outputs, centre, words, partial(reference.negative_sampling, negatives=noise), 0.1)
        total, count = total + step.loss, count + step.predictions
    assert sample_loss(found.weights, sample, cbow, None) == pytest.approx(total / count, rel=1e-5)


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path: Path) -> Path:
    ids, starts, _ = corpus(30_000)
    lines = (" ".join(f"w{i}" for i in ids[a:b]) for a, b in pairwise(starts))
    (tmp_path / "corpus.txt").write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return tmp_path / "corpus.txt"


SMALL: dict[str, Any] = {"dimension": 16, "epochs": 3, "threads": 1, "quiet": True}


def test_a_run_from_text_to_neighbors(text: Path, tmp_path: Path) -> None:
    result = api.vectors(text, tmp_path / "run", **SMALL)
    found = wordloom.load_vectors(tmp_path / "run")
    assert len(found) == V and found.dimension == 16
    assert found.counts is not None and (np.diff(found.counts) <= 0).all()
    group = {f"w{i}" for i in range(15)}
    assert {word for word, _ in found.neighbors("w3", 5)} <= group
    assert result.report is not None and result.report.exists()
    assert 0 < result.scores["scores"]["loss"]["value"] < 6 * np.log(2)
    for form in ("text", "binary"):
        api.export_vectors(found, tmp_path / f"v.{form}", form)
        again = wordloom.load_vectors(tmp_path / f"v.{form}")
        assert again.words == found.words and (again.matrix == found.matrix).all()


@pytest.mark.parametrize("subwords", [False, True])
def test_an_interrupted_run_leaves_vectors_and_resumes_to_the_bit(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subwords: bool
) -> None:
    values = {**SMALL, "subwords": subwords, "buckets": 300}
    api.vectors(text, tmp_path / "whole", **values)
    work, calls = Trainer.work, 0

    def stopped(self: Trainer, until: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        work(self, until=lambda: True)

    monkeypatch.setattr(Trainer, "work", stopped)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        api.vectors(text, tmp_path / "run", **values)
    assert len(wordloom.load_vectors(tmp_path / "run")) == V
    monkeypatch.setattr(Trainer, "work", work)
    with pytest.raises(RunError, match="dimension was 16 and is 8 now"):
        api.vectors(None, tmp_path / "run", resume=True, quiet=True, dimension=8)
    api.vectors(None, tmp_path / "run", resume=True, quiet=True)
    first, second = (wordloom.load_vectors(tmp_path / name) for name in ("whole", "run"))
    assert (first.matrix == second.matrix).all()
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))
    if subwords:
        assert np.isfinite(second.vector("w99999")).all()


def test_sigterm_is_a_ctrl_c(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As pretrain: exit code 130, the vectors so far, a line that says how to go on, and it goes on to the bit."""
    values = [f"--{key}={value}" for key, value in SMALL.items() if key != "quiet"]
    assert command(monkeypatch, capfd, "vectors", text, "-o", tmp_path / "whole", *values).code == 0
    before, run_block, calls = signal.getsignal(signal.SIGTERM), Trainer._run, 0

    def stopped(self: Trainer, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            os.kill(os.getpid(), signal.SIGTERM)  # from a training thread: the main one gets it
        run_block(self, *arguments)

    monkeypatch.setattr(Trainer, "_run", stopped)
    said = command(monkeypatch, capfd, "vectors", text, "-o", tmp_path / "run", *values)
    assert said.code == 130 and "Traceback" not in said.err, said.err
    assert signal.getsignal(signal.SIGTERM) is before
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(Trainer, "_run", run_block)
    whole, part = (wordloom.load_vectors(tmp_path / name) for name in ("whole", "run"))
    assert part.words == whole.words and part.matrix.any() and (part.matrix != whole.matrix).any()
    resume = next(line for line in said.out.splitlines() if "--resume" in line).partition("go on with: wordloom ")[2]
    assert command(monkeypatch, capfd, *resume.split()).code == 0
    assert (wordloom.load_vectors(tmp_path / "run").matrix == whole.matrix).all()


MEMORY = 40 << 20  # bytes beside matrices and words: vocabulary, noise table, batches of the loss, rows being written


def test_memory_stays_within_two_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak of everything that Python and NumPy allocate, from text to saved vectors, loss and checkpoints included."""
    rng, size, dimension = np.random.default_rng(0), 40_000, 496
    words = np.concatenate([rng.permutation(size) for _ in range(3)])
    lines = (" ".join(f"w{i}" for i in part) for part in words.reshape(-1, 20))
    (tmp_path / "corpus.txt").write_text("\n".join(lines))
    monkeypatch.setattr(api_word2vec, "SAVE_EVERY", 0.0)
    matrices = 2 * size * dimension * 4
    (tmp_path / "small.txt").write_text(" ".join("abcdefgh" * 50 + "x" * 40) + "\n")
    api.vectors(tmp_path / "small.txt", tmp_path / "small", epochs=1, min_count=1, threads=1, quiet=True)
    importlib.import_module("sklearn.manifold")  # of the report's map: neither code nor compiling is measured

    def made(*arguments: Any) -> Weights:
        weights = new_weights(*arguments)
        tracemalloc.reset_peak()  # before, ``outputs`` counts here, but has no memory: it is zeros not yet touched
        return weights

    monkeypatch.setattr(api_word2vec, "new_weights", made)
    tracemalloc.start()
    try:
        api.vectors(
            tmp_path / "corpus.txt", tmp_path / "run", dimension=dimension, epochs=1, min_count=1, threads=1, quiet=True
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matrices <= peak <= 1.15 * (matrices + 4 * len(words)) + MEMORY
    assert 1.5 * matrices > 1.15 * (matrices + 4 * len(words)) + MEMORY  # a copy of one matrix would be seen


def test_a_recipe_with_vectors(text: Path, tmp_path: Path) -> None:
    values = "".join(f"{k} = {v}\n" for k, v in SMALL.items() if k != "quiet")
    recipe = tmp_path / "a.toml"
    recipe.write_text(f'[corpus]\npaths = ["{text}"]\n[vectors]\n{values}')
    result = api.run_recipe(recipe, tmp_path / "run", quiet=True)
    assert result.kind == "vectors"
    again = api.vectors(text, tmp_path / "again", **SMALL)
    assert result.scores["scores"] == again.scores["scores"]
    recipe.write_text(recipe.read_text() + '[data]\ntrain = "a.csv"\n')
    with pytest.raises(ConfigError, match="are two recipes"):
        api.run_recipe(recipe, tmp_path / "third", quiet=True)


def test_a_finished_run_is_left_as_it_is(text: Path, tmp_path: Path) -> None:
    first = api.vectors(text, tmp_path / "run", **SMALL)
    before = (tmp_path / "run" / "bundle" / "vectors.safetensors").stat().st_mtime_ns
    again = api.vectors(None, tmp_path / "run", resume=True, quiet=True)
    assert again.scores == first.scores and "finished before" in again.notes[0]
    assert (tmp_path / "run" / "bundle" / "vectors.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_full_disk_at_a_checkpoint_leaves_the_last_one(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    api.vectors(text, tmp_path / "whole", **SMALL)
    work = Trainer.work
    monkeypatch.setattr(Trainer, "work", lambda self, until=None: work(self, until=lambda: True))
    monkeypatch.setattr(api_word2vec, "SAVE_EVERY", 0.0)
    kept, calls = getattr(disk, step), 0

    def full(*arguments: Any) -> None:
        nonlocal calls
        calls += "block-" in arguments[0].name
        if calls == 3 and "block-" in arguments[0].name:
            if step == "write":
                arguments[0].write_bytes(b"torn")
            raise OSError(errno.ENOSPC, "No space left on device")
        kept(*arguments)

    monkeypatch.setattr(disk, step, full)
    with pytest.raises(RunError, match=r"No space left on device.*and resume"):
        api.vectors(text, tmp_path / "run", **SMALL)
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    monkeypatch.undo()
    api.vectors(None, tmp_path / "run", resume=True, quiet=True)
    first, second = (wordloom.load_vectors(tmp_path / name) for name in ("whole", "run"))
    assert (first.matrix == second.matrix).all()
    steps = [json.loads(line)["words"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))  # what was logged after the checkpoint is not there twice


def test_a_loss_that_is_not_finite_stops_the_run(text: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not finite after block .* Lower the learning rate"):
        api.vectors(text, tmp_path / "run", **{**SMALL, "lr": 1e30})
    assert not (tmp_path / "run" / "bundle").exists()


@pytest.mark.parametrize("values", [{"dimension": 1}, {"window": 50}, {"negatives": 12}, {"objective": "cbow"}])
def test_odd_sizes(text: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    api.vectors(text, tmp_path / "run", **{**SMALL, "epochs": 1, **values})
    assert np.isfinite(wordloom.load_vectors(tmp_path / "run").matrix).all()


def test_one_word(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("echo echo echo\n" * 20)
    api.vectors(tmp_path / "a.txt", tmp_path / "run", **{**SMALL, "min_count": 1})
    assert wordloom.load_vectors(tmp_path / "run").words == ["echo"]


def test_another_version_is_refused_on_one_thread(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "work", lambda self, until=None: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        api.vectors(text, tmp_path / "run", **SMALL)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    manifest["frozen"]["numba"] = "0.1"
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"numba was '0.1' and is .* now"):
        api.vectors(None, tmp_path / "run", resume=True, quiet=True)
