"""The masked objective: Devlin et al. 2019, section 3.1; whole words as in their later release; spans as in
Joshi et al. 2020 (SpanBERT), section 3.1; n-grams as in Lan et al. 2020 (ALBERT), section 4.1. With next-sentence
or sentence-order prediction where configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordloom.config import MaskedConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture
from wordloom.model.heads import MaskedHead, PairHead
from wordloom.objectives.targets import at_targets, target_of
from wordloom.train.job import Term, Terms

MASKED, RANDOM = 0.8, 0.1  # shares of the chosen tokens; the rest stays as it is (section 3.1)


class Masked:
    """Corrupts a batch and scores the reconstruction.

    vocab_size, mask_id, special_ids come from the tokenizer; random_ids are the ids a chosen token may be
    replaced by (absent: the whole vocabulary but special_ids; the paper does not spare them). masked, random: shares
    of the chosen tokens that become [MASK] and a random id; the rest stays.
    """

    def __init__(
        self,
        config: MaskedConfig,
        *,
        vocab_size: int,
        mask_id: int,
        special_ids: Iterable[int],
        random_ids: Iterable[int] | None = None,
        masked: float = MASKED,
        random: float = RANDOM,
    ):
        self.config, self.mask_id, self.masked, self.random = config, mask_id, masked, random
        self.pairs = "next_sentence" if config.next_sentence else "sentence_order" if config.sentence_order else None
        self.special = np.zeros(vocab_size, dtype=bool)  # (V,)
        self.special[[mask_id, *special_ids]] = True
        ids = np.flatnonzero(~self.special) if random_ids is None else np.fromiter(random_ids, dtype=np.int64)
        if not len(ids):
            raise ConfigError("the vocabulary holds nothing but special tokens", cure="train a larger tokenizer")
        self.random_ids = ids

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        heads: dict[str, nn.Module] = {"masked": MaskedHead(arch)}
        if self.pairs:
            heads[self.pairs] = PairHead(arch)
        return heads

    def rate(self, progress: float) -> float:
        """Share of tokens chosen at progress in [0, 1]: linear from rate to rate_end."""
        end = self.config.rate if self.config.rate_end is None else self.config.rate_end
        return self.config.rate + (end - self.config.rate) * min(max(progress, 0.0), 1.0)

    def corrupt(self, batch: Batch, rng: np.random.Generator, progress: float) -> Batch:
        """The batch with tokens replaced and targets["masked"] (B, T): the original id where chosen, else IGNORE.

        Every row chooses round(rate * its maskable tokens) of them, at least one: an exact count as in the
        paper, not a coin per token: the work and the weight of a row are then the same at every visit.
        Words, spans and n-grams are taken whole, the last one when at least half of it still fits; one that is more
        than twice the budget is taken only where nothing else can be. 80% of the chosen become [MASK], 10% a
        random id, 10% stay; per token, but per span when spans are masked (SpanBERT; ALBERT's n-grams are decided
        token by token in its code). Special tokens and padding are never chosen.

        rng must be a pure function of (seed, step); progress is in [0, 1]. Call it on the global batch, on
        the CPU, before the batch is split: the draws then do not depend on the split.
        """
        tokens = batch.tokens.numpy()  # (B, T)
        documents = batch.documents.numpy()
        maskable = (documents > 0) & ~self.special[tokens]
        starts = self._unit_starts(batch, maskable, documents, rng)
        unit = np.cumsum(starts.ravel()).reshape(tokens.shape) - 1  # (B, T) number of the unit a token is in
        chosen = maskable & _choose(starts, unit, maskable, self.rate(progress), rng)[unit]
        rows, cols = np.nonzero(chosen)  # (N,)
        original = tokens[rows, cols]
        decided = np.arange(len(rows)) if self.config.span is None else unit[rows, cols]  # (N,)
        kind = rng.random(decided.max(initial=-1) + 1)[decided]
        drawn = self.random_ids[rng.integers(0, len(self.random_ids), len(rows))]
        corrupted = tokens.copy()
        corrupted[rows, cols] = np.where(
            kind < self.masked, self.mask_id, np.where(kind < self.masked + self.random, drawn, original)
        )
        targets = np.full_like(tokens, IGNORE)
        targets[rows, cols] = original
        return replace(
            batch,
            tokens=torch.from_numpy(corrupted),
            targets={**batch.targets, "masked": torch.from_numpy(targets)},
        )

    def _unit_starts(
        self, batch: Batch, maskable: np.ndarray, documents: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(B, T) bool: the first token of everything that is masked together: a token, a word, a span or an n-gram.

        A unit never crosses a special token or the edge of a document. A row cut inside a word begins a unit.
        """
        if not self.config.whole_word and self.config.span is None and self.config.ngram is None:
            return maskable
        if batch.word_starts is None:
            raise ConfigError(
                "whole-word, span and n-gram masking need word starts, which this batch does not have",
                cure="build the token store with a tokenizer that marks words, or mask single tokens",
            )
        edge = np.ones_like(maskable)
        edge[:, 1:] = ~maskable[:, :-1] | (documents[:, 1:] != documents[:, :-1])
        words = batch.word_starts.numpy()
        if self.config.ngram is not None:
            return _ngram_starts(maskable & (words | edge), maskable & edge, self.config.ngram, rng)
        if self.config.span is None:
            return maskable & (words | edge)
        # Starting a span at each word with probability 1/span gives geometric lengths of mean `span` words,
        # placed anywhere and never overlapping, without the retries of sampling spans one by one. SpanBERT
        # draws the same distribution cut at 10 words; here the row's budget cuts instead.
        return maskable & ((words & (rng.random(words.shape) * self.config.span < 1.0)) | edge)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Predictions of each term, from the targets alone. Raises DataError where a target is not there."""
        return {name: int((target_of(batch, name) != IGNORE).sum()) for name in ("masked", self.pairs) if name}

    def loss(self, model: Any, batch: Batch, state: Any) -> tuple[Terms, Any]:
        """Terms "masked" and, when configured, "next_sentence" or "sentence_order": sums of cross entropy in nats.

        model is a `Model` whose heads are those of `heads`. Vocabulary logits exist for the N chosen tokens
        only: (N, V), not (B, T, V). state passes through.
        """
        hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types)  # (B, T, D)
        return self.terms(model, hidden, batch), state

    def terms(self, model: Any, hidden: Tensor, batch: Batch) -> Terms:
        """The terms of hidden states (B, T, D), each of weight 1."""
        states, targets = at_targets(hidden, target_of(batch, "masked"))  # (N, D), (N,)
        total = model.heads["masked"].loss(states, model.token_embedding, targets)
        terms = {"masked": Term(total, len(targets))}
        if self.pairs:
            states, targets = at_targets(hidden, target_of(batch, self.pairs))  # the [CLS] tokens
            terms[self.pairs] = Term(model.heads[self.pairs].loss(states, targets), len(targets))
        return terms


def _ngram_starts(words: np.ndarray, runs: np.ndarray, longest: int, rng: np.random.Generator) -> np.ndarray:
    """Cut text into n-grams of words, n drawn with p(n) = (1/n) / sum_{k<=N} 1/k (Lan et al. 2020, section 4.1).

    words, runs (B, T) bool: first tokens of words, and of those words before which an n-gram cannot go on ->
    (B, T) bool, first tokens of n-grams. Taking some of these at random, all with one chance, gives n-grams of that
    distribution without overlaps or retries; only the last of a run may be cut short, by the run's end.
    """
    rows, cols = np.nonzero(words)  # (W,)
    first = np.flatnonzero(runs[rows, cols])  # (R,) the word each run begins with
    size = np.diff(np.append(first, len(rows)))  # (R,) words
    chance = 1.0 / np.arange(1, longest + 1)
    length = rng.choice(longest, len(rows), p=chance / chance.sum()) + 1  # (W,) words; more draws than n-grams
    before = np.cumsum(length) - length
    offset = before - np.repeat(before[first], size)  # of a run's k-th n-gram from the run's first word
    inside = offset < np.repeat(size, size)
    begins = (np.repeat(first, size) + offset)[inside]
    starts = np.zeros_like(words)
    starts[rows[begins], cols[begins]] = True
    return starts


def _choose(
    starts: np.ndarray, unit: np.ndarray, maskable: np.ndarray, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """(units,) bool: units taken in random order until the row's budget of tokens is met, at least one a row."""
    row = np.nonzero(starts)[0]  # (units,) ascending
    if not len(row):
        return np.zeros(1, dtype=bool)  # nothing to choose: every unit number is -1
    length = np.bincount(unit[maskable], minlength=len(row))  # (units,) tokens
    budget = np.maximum(1, np.round(rate * maskable.sum(axis=1)))  # (B,) tokens
    oversize = length > 2 * budget[row]
    # shuffles inside each row, oversize units behind the others: keys of row r lie in [r, r + 1)
    order = np.argsort(row + 0.5 * (oversize + rng.random(len(row))))
    row, length = row[order], length[order]
    first = np.ones(len(row), dtype=bool)
    first[1:] = row[1:] != row[:-1]
    before = np.cumsum(length) - length
    before -= np.maximum.accumulate(np.where(first, before, 0))  # tokens taken earlier in the same row
    taken = np.empty(len(row), dtype=bool)
    taken[order] = first | (before + 0.5 * length <= budget[row])
    return taken
