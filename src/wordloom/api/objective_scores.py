"""What ``choose objective`` measures of each pre-trained model: bits per byte, minimal pairs, a frozen probe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordloom.api.labelled import Parts
from wordloom.api.language import open_language
from wordloom.api.probing import probe
from wordloom.api.start import open_start
from wordloom.config import ClassifyConfig, Recipe
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError
from wordloom.explain.likelihood import causal_log_likelihood
from wordloom.metrics import MAIN, Paired, Score, bootstrap, classification_scores, interval, paired
from wordloom.tasks.classify.features_encoder import encode
from wordloom.tasks.classify.linear import DENSE_GRID, fit_linear
from wordloom.tasks.classify.task import Classify
from wordloom.train import machine

BEGINNINGS = 1000  # held-out documents whose beginnings are read for the bits per byte


class Sentence(NamedTuple):
    """As `explain.likelihood` reads one."""

    ids: NDArray[Any]
    word_starts: NDArray[np.bool_]


@dataclass(frozen=True)
class Probe:
    """A linear classifier on frozen states: of the model, of the same model with random weights, their difference."""

    metric: str
    score: Score
    random: Score
    gain: Paired


def beginnings(store: TokenStore, length: int) -> list[Sentence]:
    """The first tokens of up to BEGINNINGS documents, evenly spread; a row's start token takes the place of one."""
    step = max(1, store.documents // BEGINNINGS)
    found = []
    for document in range(0, store.documents, step)[:BEGINNINGS]:
        a = int(store.starts[document])
        b = min(a + length - 1, int(store.starts[document + 1]))
        if b > a:
            found.append(Sentence(np.asarray(store.tokens[a:b]), np.ones(b - a, np.bool_)))
    return found


def bits_per_byte(run: Path, store: TokenStore, length: int) -> Score | None:
    """Of held-out beginnings, each token given those before it, at the store's mean bytes a token; None where the model
    does not predict the next token. The interval resamples documents."""
    language = open_language(run)
    head = language.model.next_token_head(language.hybrid)
    sees_ahead = language.model.arch.attention != "causal" and not language.hybrid
    if head is None or sees_ahead or language.start_id is None:
        return None
    model = language.model.to(machine.pick_device())
    texts = beginnings(store, length)
    nats = -causal_log_likelihood(model, texts, language.start_id, hybrid=language.hybrid)
    return _bits(nats, texts, store)


def unigram_bits_per_byte(train: TokenStore, store: TokenStore, length: int) -> Score:
    """The same of the frequencies of tokens in the training text, one added to each count."""
    size = int(train.manifest["vocab_size"])
    counts = np.ones(size)
    for i in range(0, len(train.tokens), 1 << 22):
        counts += np.bincount(train.tokens[i : i + (1 << 22)], minlength=size)
    cost = -np.log(counts / counts.sum())
    texts = beginnings(store, length)
    return _bits(np.array([cost[text.ids].sum() for text in texts]), texts, store)


def _bits(nats: NDArray[np.float64], texts: list[Sentence], store: TokenStore) -> Score:
    bits = nats / math.log(2)
    size = np.array([len(text.ids) for text in texts]) * store.bytes_per_token
    low, high = interval(bootstrap(lambda w: (w @ bits) / (w @ size), len(bits))) if len(bits) > 1 else (math.nan,) * 2
    return Score(float(bits.sum() / size.sum()), low, high)


def pairs_accuracy(run: Path, pairs: str, limit: int | None) -> Score | None:
    """Mean of the paradigms, ties as wrong; None where the model gives a sentence no probability."""
    try:
        return probe(run, pairs, limit=limit).scores.mean_of_paradigms().ties_wrong
    except ConfigError:
        return None


def frozen_probe(run: Path, parts: Parts, config: ClassifyConfig, length: int, seed: int) -> Probe:
    """Mean last states of the labelled texts, nothing of the model trained, and the linear classifier on them whose
    penalty is best on ``parts.valid``; scores are of ``parts.test``, which must be there."""
    test = parts.test
    assert test is not None
    start = open_start(run, Recipe(), parts.train.texts)
    names = [*test.label_names(), *parts.valid.label_names()]
    config = config.model_copy(update={"pooling": "mean"})
    task = Classify.fit(config, parts.train, start.tokenizer, length=length, valid=parts.valid, names=names)
    gold = [task.space.targets(part.labels or [], part.places) for part in (parts.train, parts.valid, test)]
    answers: list[NDArray[np.float64]] = []
    for begin in (start, start.randomly()):
        model = begin.build(task.heads, seed).to(machine.pick_device())
        x = [encode(task, model, part.texts, part.pairs) for part in (parts.train, parts.valid, test)]
        linear = fit_linear(x[0], gold[0], task.space, held=(x[1], gold[1]), grid=DENSE_GRID)
        answers.append(linear.probabilities(x[2]))
    metric = MAIN[task.kind]
    score, random = (classification_scores(gold[2], p, task.kind)[metric] for p in answers)
    gain = paired(gold[2], answers[0], answers[1], task.kind, metric, names=("the pre-trained model", "random weights"))
    return Probe(metric, score, random, gain)
