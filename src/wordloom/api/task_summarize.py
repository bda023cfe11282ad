"""``--task summarize``: translation's path, with an extractive summary beside the model's."""

from __future__ import annotations

from typing import Any

from wordloom.api.embeddings import load_vectors
from wordloom.api.task_translate import Texts, make_kind
from wordloom.config import SummarizeConfig
from wordloom.metrics.generation import script_of
from wordloom.tasks.seq2seq.extractive import Extractive, Lead, Vectors


def baseline(train: Any, valid: Any, config: SummarizeConfig) -> Texts:
    """The most central sentences, of the length that is best for a lead."""
    lead = Lead.fit(train, script_of([group[0] for group in train.references[:1000]]))
    vectors = None if config.vectors is None else _looked_up(config.vectors)
    made = Extractive.fit(train.sources, lead, method=config.extract, vectors=vectors)
    return Texts(made.name, made)


def _looked_up(path: str) -> Vectors:
    own = load_vectors(path)
    return lambda word: own.vector(word) if word in own else None


KIND = make_kind(config=SummarizeConfig, baseline=baseline)
