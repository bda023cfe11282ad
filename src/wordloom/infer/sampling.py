"""From logits to the next token: what is forbidden or made less likely, and the draw.

The filters are those of the papers, applied in the order of the public library, against which they are tested:
repetition, n-grams; then, when sampling, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wordloom.errors import ConfigError

OUT = float("-inf")  # the logit of a token that cannot be chosen


@dataclass(frozen=True)
class Decoding:
    """How an answer is made.

    max_tokens: of the answer, its end among them. temperature 0: the likeliest token always; above 0: sampled from
    softmax(logits / temperature) of what top_k (the k likeliest; Fan et al. 2018, section 5.4), top_p (the smallest set
    whose probability is at least p; Holtzman et al. 2020, section 3.1) and min_p (at least min_p times the likeliest's
    probability; Nguyen et al. 2024, section 3.1) leave.
    repetition_penalty: logits of tokens already there, the prompt's too, are divided by it, negative ones multiplied
    (Keskar et al. 2019, section 4.1). no_repeat_ngram: no n tokens in a row occur twice (Paulus et al. 2017, section
    2.5), the prompt's among them; 0: allowed.
    beams: above 1 the answers are searched by their log-probability divided by length**length_penalty; early_stopping:
    True ends a prompt's search when ``beams`` answers are complete, False when no beam can be expected to become better
    than the worst of them at its present length, "never" when none can at any length.
    answers: per prompt. seed: of the draws. Raises ConfigError on impossible values.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    answers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"max_tokens": 1, "beams": 1, "answers": 1, "no_repeat_ngram": 0, "seed": 0}.items():
            _refuse(
                name, isinstance(getattr(self, name), int) and getattr(self, name) >= least, f"at least {least}", self
            )
        _refuse("temperature", self.temperature >= 0, "at least 0", self)
        _refuse("top_k", self.top_k is None or self.top_k >= 1, "at least 1", self)
        _refuse("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1", self)
        _refuse("min_p", self.min_p is None or 0 <= self.min_p <= 1, "between 0 and 1", self)
        _refuse("repetition_penalty", self.repetition_penalty > 0, "above 0", self)
        _refuse("early_stopping", self.early_stopping in (True, False, "never"), "true, false or 'never'", self)
        given = [n for n in ("top_k", "top_p", "min_p") if getattr(self, n) is not None]
        if given and self.temperature == 0:
            cure = "set a temperature above 0, 1 for the model's own probabilities"
            raise ConfigError(f"{given[0]} limits what is drawn, and at temperature 0 nothing is", cure=cure)
        if self.beams > 1 and self.temperature > 0:
            cure = "leave the temperature away, or the beams"
            raise ConfigError("a search with beams takes the likeliest tokens and draws none", cure=cure)
        if self.answers > self.beams and self.beams > 1:
            cure = "ask for at most as many answers as beams"
            raise ConfigError(f"{self.beams} beams cannot give {self.answers} answers", cure=cure)
        if self.answers > 1 and self.beams == 1 and self.temperature == 0:
            cure = "set a temperature, or as many beams"
            raise ConfigError(f"{self.answers} greedy answers would be one and the same", cure=cure)

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Decoding:
        """From keyword arguments, None standing for the default. Raises ConfigError on an unknown one."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            cure = f"use {', '.join(sorted(known))}"
            raise ConfigError(f"unknown setting {unknown[0]!r} of generation", cure=cure)
        return cls(**{name: value for name, value in settings.items() if value is not None})


def _refuse(name: str, fits: bool, what: str, settings: Decoding) -> None:
    if not fits:
        raise ConfigError(f"{name} must be {what}, not {getattr(settings, name)!r}", cure="correct it")


# --- what may come next; logits (B, V) and, where wanted, texts: the token ids so far, a sequence a row ---------------


def penalise_repetition(logits: Tensor, texts: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Keskar et al. 2019, equation 2, in the form that lowers negative logits too."""
    logits = logits.clone()
    for row, text in zip(logits, texts, strict=True):
        seen = torch.tensor(sorted(set(text)), dtype=torch.int64, device=logits.device)
        there = row[seen]
        row[seen] = torch.where(there < 0, there * penalty, there / penalty)
    return logits


def forbid_ngrams(logits: Tensor, texts: Sequence[Sequence[int]], n: int) -> Tensor:
    """Rule out every token that would complete n tokens that stood in a row before."""
    logits = logits.clone()
    for row, text in zip(logits, texts, strict=True):
        if len(text) < n:
            continue
        last = tuple(text[len(text) - n + 1 :])
        again = {text[i + n - 1] for i in range(len(text) - n + 1) if tuple(text[i : i + n - 1]) == last}
        row[torch.tensor(sorted(again), dtype=torch.int64, device=logits.device)] = OUT
    return logits


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k likeliest, and what ties with the last of them."""
    least = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < least, OUT)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The smallest set of likeliest tokens whose probability is at least p."""
    ascending, order = logits.sort(dim=-1)
    out = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p  # this token and all below it are not needed
    out[..., -1] = False
    return logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), OUT)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Tokens of at least p times the likeliest token's probability."""
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), OUT)


def discourage(logits: Tensor, texts: Sequence[Sequence[int]], how: Decoding) -> Tensor:
    """The rules against repetition, of logits or log-probabilities."""
    if how.repetition_penalty != 1:
        logits = penalise_repetition(logits, texts, how.repetition_penalty)
    if how.no_repeat_ngram:
        logits = forbid_ngrams(logits, texts, how.no_repeat_ngram)
    return logits


def narrow(logits: Tensor, how: Decoding) -> Tensor:
    """Temperature, top-k, top-p, min-p; temperature above 0."""
    logits = logits / how.temperature
    if how.top_k is not None:
        logits = keep_top_k(logits, how.top_k)
    if how.top_p is not None and how.top_p < 1:
        logits = keep_top_p(logits, how.top_p)
    if how.min_p is not None:
        logits = keep_min_p(logits, how.min_p)
    return logits


class Draws:
    """One stream of random numbers a row, a function of (seed, row's name): draws do not depend on other rows."""

    def __init__(self, seed: int, names: Iterable[int]):
        self.streams = [np.random.default_rng((seed, name)) for name in names]

    def choose(self, logits: Tensor) -> Tensor:
        """logits (B, V) -> (B,) drawn from their softmax: where a uniform number falls among the cumulated
        probabilities (inversion), in float64, in which 50,000 of them still add up to 1."""
        cumulated = logits.double().softmax(dim=-1).cumsum(dim=-1)  # (B, V)
        numbers = torch.tensor([[s.random()] for s in self.streams], dtype=torch.float64, device=logits.device)
        # the first token whose cumulated probability exceeds the number: one of probability 0 never does
        return torch.searchsorted(cumulated, numbers * cumulated[:, -1:], right=True)[:, 0].clamp(
            max=logits.shape[1] - 1
        )
