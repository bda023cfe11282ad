"""Every score the program prints, with its interval; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wordloom.errors import DataError
from wordloom.metrics.compare import Paired, gain_over_seeds, mcnemar, paired
from wordloom.metrics.ranking import ranking_tallies
from wordloom.metrics.scores import MAIN, Kind, Score, classification_scores, point_scores, rare_class, reliability
from wordloom.metrics.tally import Tally, gain_of_tallies, paired_tallies, tally_scores
from wordloom.metrics.weighted import bootstrap, interval

__all__ = [
    "MAIN", "Kind", "Mean", "Paired", "Score", "Tally", "bits_per_byte", "bootstrap", "classification_scores",
    "gain_of_tallies", "gain_over_seeds", "interval", "mcnemar", "paired", "paired_tallies", "perplexity",
    "point_scores", "ranking_tallies", "rare_class", "reliability", "tally_scores",
]  # fmt: skip


@dataclass(frozen=True)
class Mean:
    """A total and what it is a total of; adding keeps both, so no average of averages exists."""

    sum: float = 0.0
    count: float = 0.0

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.sum + other.sum, self.count + other.count)

    @property
    def value(self) -> float:
        return self.sum / self.count if self.count else math.nan


def perplexity(loss: float) -> float:
    """exp of a loss in nats per token; the unit is the token of that tokenizer."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """A loss in nats per token as bits per UTF-8 byte: comparable across tokenizers."""
    if bytes_per_token <= 0:
        raise DataError("bytes per token must be above 0", cure="measure it on text that is not empty")
    return loss / math.log(2) / bytes_per_token
