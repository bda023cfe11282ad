"""Does a language model prefer the grammatical sentence? Warstadt et al. 2020, BLiMP, sections 3 and 4.

A pair is right where the good sentence is the more probable one as a whole; no division by length. A tie is no
preference: every accuracy is given twice, with ties counted as right (lm-eval's: the first of equals) and as wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import ConfigError
from wordloom.explain.likelihood import BATCH_TOKENS, SentenceError, causal_log_likelihood, pseudo_log_likelihood
from wordloom.explain.pairs_file import Pair
from wordloom.metrics import Score
from wordloom.model.build import SourceReader
from wordloom.text.tokenizer import Tokenizer

Reading = Literal["causal", "masked", "permuted"]
Z = 1.959963984540054  # of 95 %


@dataclass(frozen=True)
class Accuracy:
    """Share of pairs that are right, of so many ``pairs`` with so many ``ties``: ties as right, ties as wrong."""

    ties_right: Score
    ties_wrong: Score
    pairs: int
    ties: int


@dataclass(frozen=True)
class PairScores:
    """log p, in nats, of the good and the bad sentence of each pair, (P,) each."""

    pairs: Sequence[Pair]
    good: NDArray[np.float64]
    bad: NDArray[np.float64]

    def by(self, group: Literal["paradigm", "field", "term"]) -> dict[str, Accuracy]:
        """A paradigm's accuracy is over its pairs; that of a field or term is the mean of its paradigms'."""
        paradigms = self._members("paradigm")
        if group == "paradigm":
            return {name: self._over_pairs(places) for name, places in paradigms.items()}
        found = {}
        for name, places in self._members(group).items():
            inner = dict.fromkeys(self.pairs[i].paradigm for i in places)
            found[name] = self._over_paradigms([np.intersect1d(paradigms[p], places) for p in inner])
        return found

    def mean_of_paradigms(self) -> Accuracy:
        """BLiMP's overall score: each paradigm counts the same, however many pairs it has."""
        return self._over_paradigms(list(self._members("paradigm").values()))

    def mean_of_pairs(self) -> Accuracy:
        return self._over_pairs(np.arange(len(self.pairs)))

    def _members(self, group: str) -> dict[str, NDArray[np.int64]]:
        """Name -> numbers of its pairs, in the order of the file; pairs without a name left out."""
        found: dict[str, list[int]] = {}
        for i, pair in enumerate(self.pairs):
            if name := getattr(pair, group):
                found.setdefault(name, []).append(i)
        return {name: np.array(places) for name, places in found.items()}

    def _counts(self, places: NDArray[np.int64]) -> tuple[int, int, int]:
        """Pairs, of them right, of them ties."""
        good, bad = self.good[places], self.bad[places]
        return len(places), int((good > bad).sum()), int((good == bad).sum())

    def _over_pairs(self, places: NDArray[np.int64]) -> Accuracy:
        n, right, ties = self._counts(places)
        return Accuracy(wilson(right + ties, n), wilson(right, n), n, ties)

    def _over_paradigms(self, paradigms: Sequence[NDArray[np.int64]]) -> Accuracy:
        each = [self._over_pairs(places) for places in paradigms]
        return Accuracy(
            mean_of_shares([a.ties_right for a in each]),
            mean_of_shares([a.ties_wrong for a in each]),
            sum(a.pairs for a in each),
            sum(a.ties for a in each),
        )


def wilson(right: int, n: int) -> Score:
    """right / n and its 95 % score interval (Wilson 1927), which has a width at 0 and at n too."""
    p, z2 = right / n, Z**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Score(p, max(0.0, middle - half), min(1.0, middle + half))


def mean_of_shares(shares: Sequence[Score]) -> Score:
    """Mean of independent shares; its interval from theirs (Zou & Donner 2008: variances are recovered from the
    limits). The paradigms are taken as given: another set of them is not what the interval is about."""
    k = len(shares)
    mean = sum(s.value for s in shares) / k
    below, above = (
        math.sqrt(sum((s.value - limit(s)) ** 2 for s in shares)) / k for limit in (lambda s: s.low, lambda s: s.high)
    )
    return Score(mean, max(0.0, mean - below), min(1.0, mean + above))


def reading_of(model: Any, asked: Reading | None = None, *, hybrid: bool = False) -> Reading:
    """How a model is to be asked, by its heads and by what its tokens see. Raises ConfigError where it cannot be.

    hybrid: it learned the hybrid objective, and can be asked both ways; as a masked one where none is asked for.
    """
    if isinstance(model.body, SourceReader):
        what = "the model reads a source and writes an answer: it gives a sentence alone no probability"
        raise ConfigError(what, cure="give a run of the causal, masked, hybrid or permuted objective")
    able = _able(model, hybrid)
    if not able:
        cure = "give a pre-trained run of the causal, masked, hybrid or permuted objective"
        raise ConfigError(f"the model has no head that predicts tokens (its heads: {_listed(model.heads)})", cure=cure)
    if asked is not None and asked not in able:
        raise ConfigError(
            f"the model cannot be asked as a {asked} one: its attention is {model.arch.attention}, its heads are "
            f"{_listed(model.heads)}",
            cure=f"leave --as out, or choose {able[0]!r}",
        )
    return asked or able[0]


def _able(model: Any, hybrid: bool) -> list[Reading]:
    """Every way a model can be asked, the one it is asked where none is named first."""
    sees_all = model.arch.attention != "causal"
    has: dict[Reading, bool] = {
        "permuted": sees_all and "permuted" in model.heads,
        "masked": sees_all and "masked" in model.heads,
        "causal": model.next_token_head(hybrid) is not None,
    }
    return [reading for reading, able in has.items() if able]


def score_pairs(
    model: Any,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    reading: Reading,
    *,
    start_id: int,
    hybrid: bool = False,
    rest_of_word: bool = False,
    leading_space: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> PairScores:
    """Score every sentence; see `likelihood` for the two measures.

    start_id: what a model reads before the sentence. hybrid: as in `causal_log_likelihood`. leading_space: a space
    before each sentence, as lm-eval's blimp task has it (its ``target_delimiter``): with byte-level BPE another first
    token. Raises DataError, with file:line, for a sentence the model cannot read.
    """
    texts = [(" " if leading_space else "") + text for pair in pairs for text in (pair.good, pair.bad)]
    encoded = tokenizer.encode(texts)
    try:
        if reading == "causal":
            found = causal_log_likelihood(model, encoded, start_id, hybrid=hybrid, batch_tokens=batch_tokens)
        else:
            found = pseudo_log_likelihood(
                model, encoded, first_id=start_id, last_id=tokenizer.sep_id,
                mask_id=tokenizer.mask_id if reading == "masked" else None,
                rest_of_word=rest_of_word, batch_tokens=batch_tokens,
            )  # fmt: skip
    except SentenceError as error:
        raise error.at(pairs[error.number // 2].place) from None
    return PairScores(pairs, found[0::2], found[1::2])


def _listed(names: Iterable[str] | Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
