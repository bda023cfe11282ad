"""``--task summarize``: translation's path, with an extractive summary beside the model's."""

from __future__ import annotations

from typing import Any

from wordloom.api.task_translate import Texts, make_kind
from wordloom.config import SummarizeConfig
from wordloom.metrics.generation import script_of
from wordloom.tasks.seq2seq.extractive import Extractive, Lead


def baseline(train: Any, valid: Any, config: Any) -> Texts:
    """The most central sentences, of the length that is best for a lead."""
    lead = Lead.fit(train, script_of([group[0] for group in train.references[:1000]]))
    made = Extractive.fit(train.sources, lead)
    return Texts(made.name, made)


KIND = make_kind(config=SummarizeConfig, baseline=baseline)
