"""``finetune`` without training a network: a linear classifier on TF-IDF, on averaged word vectors, or on the states
of a frozen encoder."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wordloom.api.embeddings import are_vectors, load_vectors
from wordloom.api.facts import file_facts, settle_kernels
from wordloom.api.labelled import Parts, classify_config
from wordloom.api.measuring import measure
from wordloom.api.results import Result, say
from wordloom.api.start import Start
from wordloom.api.training_run import open_run
from wordloom.api.word2vec import vectors as train_vectors
from wordloom.config import (
    ClassifyConfig,
    CorpusConfig,
    DataConfig,
    ModelConfig,
    Recipe,
    Strict,
    TrainConfig,
    VectorsConfig,
)
from wordloom.disk import write
from wordloom.errors import ConfigError
from wordloom.infer.linear import LinearPredictor
from wordloom.infer.predictor import Predictor
from wordloom.metrics import MAIN
from wordloom.report import render
from wordloom.run import Run
from wordloom.tasks.classify.features import TfIdf, unspaced
from wordloom.tasks.classify.features_encoder import encode, put_into_head
from wordloom.tasks.classify.features_vectors import WordRule, WordVectors
from wordloom.tasks.classify.labels import LabelSpace
from wordloom.tasks.classify.linear import DENSE_GRID, GRID, LinearClassifier, fit_linear
from wordloom.tasks.classify.task import Classify
from wordloom.text import chinese
from wordloom.train import parallel
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats import read_facts
from wordloom.vectors.formats.native import is_native

TFIDF, WORD2VEC = "tf-idf", "word2vec"
TABLES: dict[str, type[Strict]] = {
    "vectors": VectorsConfig,
    "task": ClassifyConfig,
    "data": DataConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "corpus": CorpusConfig,
}
_SEEN = 3_000_000  # running words a training on little text sees, all epochs together, 50 epochs at most


def is_linear_start(model: str | Path) -> bool:
    """Whether MODEL is a preset without a network, or vectors: a file, a run or folder of ours."""
    return (str(model) in (TFIDF, WORD2VEC) and not Path(model).exists()) or are_vectors(model)


def refuse_network_settings(recipe: Recipe, model: str | Path) -> None:
    """ConfigError for keys that would say nothing here."""
    idle = sorted(recipe.train.model_fields_set - {"seed", "threads"})
    if idle:
        cure = f"leave it out, or name a BERT run in place of {model}"
        raise ConfigError(f"train.{idle[0]} says nothing to a linear classifier on features", cure=cure)
    if getattr(recipe.task, "precision", None) is not None:
        cure = f"name a pre-trained run in place of {model}, or leave task.precision and task.positive out"
        raise ConfigError("task.precision: a linear classifier on features has no threshold", cure=cure)
    if recipe.lora is not None:
        raise ConfigError("[lora] says nothing to a linear classifier on features", cure="leave it out")
    if str(model) != WORD2VEC and (recipe.vectors is not None or recipe.corpus is not None):
        table = "vectors" if recipe.vectors is not None else "corpus"
        cure = f"leave [{table}] out, or name the preset {WORD2VEC}"
        raise ConfigError(f"[{table}] trains word vectors, and {model} is not trained here", cure=cure)


def finetune_linear(
    model: str | Path,
    parts: Parts,
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool = True,
    quiet: bool = False,
    again: str | None = None,
) -> Result:
    """One run: features, the linear classifier on them, scores beside TF-IDF, a bundle that ``load`` opens.

    model: "tf-idf"; "word2vec", which trains skip-gram on [corpus], or on the training texts where there is none; or
    vectors. Of word vectors mean or SIF, and the penalty, are those of the best validation score.
    """
    parallel.refuse_several("finetune on features")
    given = None if str(model) in (TFIDF, WORD2VEC) else open_given(model)
    again = again or f"wordloom finetune {model} {recipe.data.train if recipe.data else 'DATA'} --out {out} --resume"
    with open_run(out, recipe, TABLES, resume=resume, overwrite=overwrite) as run:
        if run.manifest["status"] == "finished":
            return _kept(run)
        for line in parts.notes:
            say(line, quiet)
        run.update_manifest(parent=str(model), data=parts.facts(), hashes={"examples": parts.sha256})
        seconds: dict[str, float] = {}
        if str(model) == WORD2VEC:
            begun = time.time()
            given = _trained(run, parts, recipe, quiet, again)
            seconds["pretraining"] = written_at(run.path / WORD2VEC) - begun
        begun = time.monotonic()
        classifier = _fitted(given, parts, recipe)
        seconds["training"] = time.monotonic() - begun
        extra = {"clean_html": bool(recipe.data and recipe.data.clean_html)}
        predictor = LinearPredictor(classifier, extra)
        result = measure(run, predictor, classifier, parts, baseline=baseline and str(model) != TFIDF, chose="penalty")
        facts: dict[str, Any] = {"start": str(model), **_described(classifier)}
        if given is not None:
            facts |= {"words": len(given[0]), "dimension": given[0].dimension, **given[1]}
        return _finish(run, result, facts, seconds, {MAIN[classifier.kind]: classifier.linear.value})


def finetune_frozen(
    start: Start,
    parts: Parts,
    recipe: Recipe,
    out: str | Path,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Result:
    """A linear classifier on the mean last hidden states of an encoder that is not trained."""
    parallel.refuse_several("finetune on features")
    config = classify_config(recipe).model_copy(update={"pooling": "mean"})
    with open_run(out, recipe, TABLES, resume=False, overwrite=overwrite) as run:
        settle_kernels(run)
        begun = time.monotonic()
        names = [*(parts.test.label_names() if parts.test is not None else ()), *parts.valid.label_names()]
        length = recipe.train.length
        task = Classify.fit(config, parts.train, start.tokenizer, length=length, valid=parts.valid, names=names)
        model = start.build(task.heads, recipe.train.seed)
        say(f"encoding {len(parts.train) + len(parts.valid):,} texts ...", quiet)
        x, held = (encode(task, model, part.texts, part.pairs) for part in (parts.train, parts.valid))
        gold, answers = (task.space.targets(p.labels or [], p.places) for p in (parts.train, parts.valid))
        linear = fit_linear(x, gold, task.space, held=(held, answers), grid=DENSE_GRID)
        put_into_head(model, linear)
        task.calibrate(model)
        seconds = {"training": time.monotonic() - begun}
        predictor = Predictor(model, task.tokenizer, task, {"clean_html": bool(recipe.data and recipe.data.clean_html)})
        run.update_manifest(parent=start.name, data=parts.facts(), hashes={"examples": parts.sha256})
        result = measure(run, predictor, task, parts, baseline=False, chose="penalty")
        facts = {"start": start.name, "parameters": sum(p.numel() for p in model.parameters()), "frozen": True,
                 "layers": start.arch.layers, "width": start.arch.width, "penalty": linear.penalty}  # fmt: skip
        return _finish(run, result, facts, seconds, {MAIN[task.kind]: linear.value})


# --- the run ---------------------------------------------------------------------------------------------------------


def _kept(run: Run) -> Result:
    scores = json.loads((run.path / "scores.json").read_text(encoding="utf-8"))
    return Result(run.path, "finetune", scores, ["finished before; nothing was left to do"], render(run.path))


def _finish(
    run: Run, result: Result, model: dict[str, Any], seconds: dict[str, float], validation: dict[str, float]
) -> Result:
    stages = {f"{name}_seconds": round(value, 3) for name, value in seconds.items()}
    kept = {"metric": next(iter(validation)), "scores": validation}
    run.update_manifest(model=model, throughput=stages, validation=kept, files=file_facts(run))
    run.finish()
    shutil.rmtree(run.path / WORD2VEC, ignore_errors=True)  # its vectors are in the bundle
    (run.path / "texts.txt").unlink(missing_ok=True)
    return dataclasses.replace(result, report=render(run.path))


# --- features --------------------------------------------------------------------------------------------------------

Given = tuple[Vectors, dict[str, Any]]  # vectors, and [vectors] they were trained with ({} where it is not known)


def open_given(source: str | Path) -> Given:
    """Vectors, and the recipe they were trained with. DataError or BundleError where they cannot be opened."""
    path = Path(source)
    opened = load_vectors(path)
    folder = next((f for f in (path / "bundle", path) if f.is_dir() and is_native(f)), None)
    recipe = read_facts(folder)["extra"].get("recipe") if folder is not None else None
    return opened, recipe if isinstance(recipe, dict) and "words" in recipe else {}


def _fitted(given: Given | None, parts: Parts, recipe: Recipe) -> LinearClassifier:
    config = classify_config(recipe)
    train, valid = parts.train, parts.valid
    names = [*(parts.test.label_names() if parts.test is not None else ()), *valid.label_names()]
    kind = train.kind if config.kind == "auto" else config.kind
    space = LabelSpace.fit(train.labels or [], kind, config.class_weights == "balanced", names)
    gold, answers = (space.targets(part.labels or [], part.places) for part in (train, valid))
    if given is None:
        tfidf, x = TfIdf.fit(train)
        return LinearClassifier.fit([(tfidf, x, tfidf.matrix(valid.texts, valid.pairs))], gold, answers, space, GRID)
    vectors, trained = given
    rule = WordRule.of(vectors, trained)
    base = WordVectors(vectors, rule, pairs=train.pairs is not None)
    bags, held = base.bags(train.texts, train.pairs), base.bags(valid.texts, valid.pairs)
    options: list[tuple[Any, Any, Any]] = []
    for method in ("mean", "sif") if vectors.counts is not None else ("mean",):
        features = dataclasses.replace(base, method=method).fitted(bags)
        options.append((features, features.of(bags), features.of(held)))
    return LinearClassifier.fit(options, gold, answers, space, DENSE_GRID)


def _described(classifier: LinearClassifier) -> dict[str, Any]:
    settings = classifier.features.settings()
    return {"features": settings.pop("name"), **settings, "penalty": classifier.linear.penalty}


def _trained(run: Run, parts: Parts, recipe: Recipe, quiet: bool, again: str) -> Given:
    """Word vectors of the run's own, trained once; a stopped training goes on."""
    folder, corpus = run.path / WORD2VEC, recipe.corpus
    if corpus is None:
        texts = [*parts.train.texts, *(parts.train.pairs or [])]
        corpus = text_corpus(texts, run.path / "texts.txt")
        config = suited(recipe.vectors or VectorsConfig(), texts)
    else:
        config = recipe.vectors or VectorsConfig()
    stage = Recipe(corpus=corpus, vectors=config)
    try:
        train_vectors(None, folder, recipe=stage, resume=folder.exists(), quiet=quiet)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"resume with: {again}") from None
    vectors, trained = open_given(folder)
    return vectors, trained


def written_at(run: Path) -> float:
    """When the vectors of a run reached the disk: the map of its report, drawn afterwards, is no training."""
    return (run / "bundle" / "wordloom.json").stat().st_mtime


def text_corpus(texts: Sequence[str], path: Path) -> CorpusConfig:
    """The texts as a corpus file, a text a line."""
    write(path, "".join(" ".join(text.split()) + "\n" for text in texts).encode("utf-8", "replace"))
    return CorpusConfig(paths=(str(path),), documents="line")


def suited(config: VectorsConfig, texts: Sequence[str]) -> VectorsConfig:
    """For these texts, whatever of words, epochs and min_count is not set: little text wants more passes."""
    chosen: dict[str, Any] = {}
    if unspaced(texts):
        chosen["words"] = "jieba" if chinese.segmenter() == "jieba" else "characters"
    running = sum(len(text.split()) if not chosen else len(text) for text in texts)
    chosen["epochs"] = int(np.clip(round(_SEEN / max(running, 1)), config.epochs, 50))
    chosen["min_count"] = 2 if running < 1_000_000 else config.min_count
    return config.model_copy(update={k: v for k, v in chosen.items() if k not in config.model_fields_set})
