"""``vectors``: raw text -> vocabulary and word ids -> Word2Vec -> vectors, in one run directory."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite.binding import get_host_cpu_name

from wordloom.api.results import Result, say
from wordloom.api.settings import own_recipe, recipe_from, refuse_changes, required
from wordloom.config import CorpusConfig, Recipe, Strict, VectorsConfig
from wordloom.data.corpus import Corpus
from wordloom.errors import RunError, TrainingError
from wordloom.report import render
from wordloom.run import Run, versions
from wordloom.vectors import state
from wordloom.vectors.embeddings import Subwords, Vectors, compose
from wordloom.vectors.encode import TokenIds, build, open_ids
from wordloom.vectors.formats import save_vectors
from wordloom.vectors.map import word_map
from wordloom.vectors.training import Trainer, needs_plain_kernels
from wordloom.vectors.vocabulary import Vocabulary
from wordloom.vectors.weights import gram_rows, new_weights

if TYPE_CHECKING:
    import torch

TABLES: dict[str, type[Strict]] = {"vectors": VectorsConfig, "corpus": CorpusConfig}
FIRST_LINE, LINE_EVERY = 1.0, 10.0  # seconds between lines of progress: they double until they are ten apart
SAVE_EVERY = 300.0  # seconds between checkpoints: one costs a second a gigabyte


def vectors(
    corpus: str | Path | Sequence[str | Path] | None,
    out: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Train word vectors on raw text and leave a run at ``out``; ``wordloom.load_vectors(out)`` opens it.

    corpus: files, folders or globs; None takes [corpus] of the recipe. settings: keys of [vectors] and [corpus]
    ("dimension", "window", "objective" ...). Raises a WordloomError for whatever is wrong.
    """
    if resume and recipe is None:
        recipe = own_recipe(out)
    if corpus is not None:
        settings["corpus.paths"] = [str(p) for p in ([corpus] if isinstance(corpus, (str, Path)) else corpus)]
    chosen = recipe_from(settings, TABLES, base=recipe)
    config = chosen.vectors or VectorsConfig()
    required(chosen.corpus, "corpus", "vectors")
    device = _device(config)
    with _open(out, chosen, resume, overwrite) as run:
        if run.manifest["status"] == "finished":
            scores = json.loads((run.path / "scores.json").read_text(encoding="utf-8"))
            return Result(run.path, "vectors", scores, ["finished before; nothing was left to do"], render(run.path))
        vocabulary, ids = _encoded(run, chosen, config, quiet)
        trainer = _trainer(run, vocabulary, ids, config, device)
        again = f"wordloom vectors --out {shlex.quote(str(out))} --resume"
        with _sigterm_as_ctrl_c():
            _train(run, trainer, vocabulary, quiet, again)
        return _finish(run, trainer, vocabulary)


def _open(out: str | Path, recipe: Recipe, resume: bool, overwrite: bool) -> Run:
    if not resume:
        Corpus(required(recipe.corpus, "corpus", "vectors"))  # refuse a missing file before an old run is replaced
        return Run.create(out, recipe.model_dump(exclude_none=True, exclude_unset=True), "vectors", overwrite)
    run = Run.open(out)
    refuse_changes(run, recipe, TABLES)
    if run.manifest["kind"] != "vectors":
        run.close()
        raise RunError(f"a run of kind {run.manifest['kind']!r}, not of vectors", where=out, cure="name another folder")
    return run


def _device(config: VectorsConfig) -> torch.device | None:
    """None: the processor's kernels. ConfigError where there is no GPU."""
    if config.device != "cuda":
        return None
    from wordloom.vectors.gpu import cuda  # here, since torch takes seconds to load

    return cuda()


def _frozen(run: Run, config: VectorsConfig) -> dict[str, Any]:
    """What the bits of a result depend on, beside the recipe and the ids."""
    kernels = {"processor": get_host_cpu_name(), "plain_kernels": needs_plain_kernels()}
    return {**versions(), **kernels, "threads": config.threads or run.manifest["machine"]["cores"]}


def _encoded(run: Run, recipe: Recipe, config: VectorsConfig, quiet: bool) -> tuple[Vocabulary, TokenIds]:
    """Vocabulary and ids, made once: a resumed run finds them. What must not change is written beside them."""
    folder, frozen = run.path / "ids", run.manifest.get("frozen") or _frozen(run, config)
    if folder.exists():
        vocabulary, ids = open_ids(folder)
    else:
        corpus = Corpus(required(recipe.corpus, "corpus", "vectors"))
        begun = time.monotonic()
        vocabulary, ids = build(corpus, config, folder, frozen["threads"], Counting(quiet))
        for line in (*corpus.report.lines(), *ids.notes):
            say(line, quiet)
        words, kept = vocabulary.total, int(ids.starts[-1])
        covered = f"{len(vocabulary):,} in the vocabulary, which cover {kept / max(words, 1):.1%}"
        say(f"{words:,} running words, {covered}; {time.monotonic() - begun:.1f} s", quiet)
    if "frozen" not in run.manifest:
        facts = {"words": vocabulary.total, "kept": int(ids.starts[-1]), "sentences": ids.sentences}
        run.update_manifest(
            data={"train": {**facts, "vocabulary": len(vocabulary)}},
            hashes={"ids": ids.hash}, notes=list(ids.notes), frozen=frozen,
        )  # fmt: skip
        return vocabulary, ids
    if ids.hash != run.manifest["hashes"]["ids"]:
        raise RunError("the word ids are not those the run began with", where=folder, cure="start a new run")
    now = {**_frozen(run, config), "threads": frozen["threads"]}
    changed = [key for key in frozen if frozen[key] != now.get(key)]
    if changed and frozen["threads"] == 1:
        key = changed[0]
        what = f"cannot resume exactly: {key} was {frozen[key]!r} and is {now.get(key)!r} now"
        raise RunError(what, where=run.path, cure="use what the run was started with, or start a new run")
    return vocabulary, ids


def _trainer(
    run: Run, vocabulary: Vocabulary, ids: TokenIds, config: VectorsConfig, device: torch.device | None = None
) -> Trainer:
    grams = gram_rows(vocabulary.words, config) if config.subwords else None
    rows = len(vocabulary) + (config.buckets if config.subwords else 0)
    weights = new_weights(rows, len(vocabulary), config)
    frozen = run.manifest["frozen"]
    data = (ids.ids, ids.starts, vocabulary.counts, weights, config)
    if device is None:
        trainer = Trainer(*data, grams=grams, threads=frozen["threads"], plain=frozen["plain_kernels"])
    else:
        from wordloom.vectors.gpu import GpuTrainer

        trainer = GpuTrainer(*data, device=device)
    trainer.restore(state.restore(run, weights))
    run.cut_log(lambda row: row.get("words", 0) <= trainer.words_done)
    return trainer


def _train(run: Run, trainer: Trainer, vocabulary: Vocabulary, quiet: bool, again: str) -> None:
    """Train to the end and keep a checkpoint of it. Ctrl-C and SIGTERM keep one and usable vectors."""
    compiling = trainer.compile()
    if compiling > 1:
        say(f"kernels compiled in {compiling:.1f} s (once; kept on disk)", quiet)
    saved, pause = time.monotonic(), FIRST_LINE
    try:
        while not trainer.done:
            before, begun = trainer.words_done, time.monotonic()
            end, pause = begun + pause, min(2 * pause, LINE_EVERY)
            trainer.work(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
            _log(run, trainer, (trainer.words_done - before) / (time.monotonic() - begun), quiet)
            if trainer.done or time.monotonic() - saved > SAVE_EVERY:
                state.save(run, trainer)
                saved = time.monotonic()
    except KeyboardInterrupt:
        state.save(run, trainer)
        share = f"{trainer.words_done / trainer.words:.0%}"
        note = f"of a run stopped at {share} of its training"
        save_vectors(trained_vectors(trainer, vocabulary, (note,)), run.bundle, overwrite=True)
        say(f"\nstopped at {share}; the vectors so far are in {run.bundle}; go on with: {again}", quiet)
        raise KeyboardInterrupt(f"resume with: {again}") from None


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """A batch system's request to stop is the user's: KeyboardInterrupt in the main thread."""
    if threading.current_thread() is not threading.main_thread():  # where a handler cannot be set
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _log(run: Run, trainer: Trainer, speed: float, quiet: bool) -> None:
    """A line on the terminal and in metrics.jsonl. TrainingError where the loss is not finite any more."""
    loss, left = trainer.loss(), (trainer.words - trainer.words_done) / max(speed, 1.0)
    epoch = trainer.words_done / trainer.words * trainer.config.epochs
    row = {"step": trainer.block, "words": trainer.words_done, "epoch": epoch, "words_per_second": speed}
    run.log({**row, "evaluation": {"loss": loss}})
    if trainer.measures and not np.isfinite(loss):
        what = f"the loss is not finite after block {trainer.block} of {trainer.blocks}"
        raise TrainingError(what, where=run.path, cure=f"lower the learning rate, which is {trainer.lr:g}")
    chance = (1 + trainer.config.negatives) * np.log(2)
    say(
        f"epoch {epoch:5.2f}/{trainer.config.epochs}  {trainer.loss_name} {loss:.4f} (untrained {chance:.4f})  "
        f"{speed:,.0f} words/s  {int(left) // 60}:{int(left) % 60:02d} left",
        quiet,
    )


def trained_vectors(trainer: Trainer, vocabulary: Vocabulary, notes: Sequence[str] = ()) -> Vectors:
    """The input rows as vectors; with sub-words the mean of a word's rows, and the rows for words never seen.

    Ends the training: the output rows are let go first, or the copy would be a third matrix in memory.
    """
    trainer.weights.outputs = np.zeros(0, np.float32)
    config, table = trainer.config, trainer.weights.vectors()
    size = len(vocabulary)
    if trainer.grams is None:
        return Vectors(vocabulary.words, np.ascontiguousarray(table), vocabulary.counts, notes=notes)
    own, rows = np.ascontiguousarray(table[:size]), np.ascontiguousarray(table[size:])
    trainer.weights.inputs = np.zeros(0, np.float32)
    del table
    matrix = compose(vocabulary.words, own, rows, config.min_n, config.max_n)
    return Vectors(vocabulary.words, matrix, vocabulary.counts, Subwords(rows, config.min_n, config.max_n, own), notes)


def _finish(run: Run, trainer: Trainer, vocabulary: Vocabulary) -> Result:
    loss, config = trainer.loss(), trainer.config
    found = trained_vectors(trainer, vocabulary)
    save_vectors(found, run.bundle, extra={"recipe": config.model_dump(), "loss": loss}, overwrite=True)
    values: dict[str, Any] = {"main": "loss", "scores": {"loss": {"value": loss, "low": None, "high": None}}}
    values["map"] = word_map(found)
    run.write_scores(values)
    model = {"objective": config.objective, "dimension": config.dimension, "window": config.window}
    model |= {"negatives": config.negatives, "epochs": config.epochs, "subwords": config.subwords}
    speeds = [row["words_per_second"] for row in run.read_log() if "words_per_second" in row]
    speed = {"words_per_second": median(speeds) if speeds else None, "threads": trainer.threads}
    run.update_manifest(model=model, throughput=speed)
    run.finish()
    state.remove(run)
    notes = [f"{len(found):,} vectors of {found.dimension} numbers; {trainer.loss_name} {loss:.4f}"]
    word = found.words[min(len(found) - 1, 200)]
    near = ", ".join(w for w, _ in found.neighbors(word, 5)) if found.vector(word).any() else ""
    notes += [f"nearest to {word!r}: {near}"] if near else []
    return Result(run.path, "vectors", values, notes, render(run.path))


class Counting:
    """Says now and then how much text was read; ``encode.build`` calls it with the characters so far."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._next = quiet, time.monotonic()

    def __call__(self, characters: int) -> None:
        if time.monotonic() >= self._next:
            say(f"counting words ... {characters / 1e6:,.0f} million characters", self._quiet)
            self._next = time.monotonic() + LINE_EVERY
