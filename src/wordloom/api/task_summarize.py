"""``--task summarize``: translation's path, with an extractive summary beside the model's."""

from __future__ import annotations

from typing import Any

from wordloom.api.embeddings import are_vectors, load_vectors
from wordloom.api.task_translate import Texts, fit, make_kind
from wordloom.config import SummarizeConfig
from wordloom.errors import ConfigError
from wordloom.metrics.generation import script_of
from wordloom.tasks.base import Task
from wordloom.tasks.seq2seq.extractive import Extractive, Lead, Vectors


def fit_summaries(config: SummarizeConfig, *given: Any, **parts: Any) -> Task:
    """As translation's, once the word vectors are there: the summary that needs them is made when training is over."""
    if config.vectors is not None and not are_vectors(config.vectors):
        raise ConfigError(f"{config.vectors} holds no word vectors", where="task.vectors",
                          cure="give a run of wordloom vectors, or a file of vectors")  # fmt: skip
    return fit(config, *given, **parts)


def baseline(train: Any, valid: Any, config: SummarizeConfig) -> Texts:
    """The most central sentences, of the length that is best for a lead."""
    lead = Lead.fit(train, script_of([group[0] for group in train.references[:1000]]))
    vectors = None if config.vectors is None else _looked_up(config.vectors)
    made = Extractive.fit(train.sources, lead, method=config.extract, vectors=vectors)
    return Texts(made.name, made)


def _looked_up(path: str) -> Vectors:
    own = load_vectors(path)
    return lambda word: own.vector(word) if word in own else None


KIND = make_kind(config=SummarizeConfig, fit=fit_summaries, baseline=baseline)
