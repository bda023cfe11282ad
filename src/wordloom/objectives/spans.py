"""Span corruption: the encoder reads text with spans missing, the decoder writes what was there (Raffel et al. 2020,
T5, section 3.1.4 and figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wordloom.config import SpansConfig
from wordloom.data.batch import IGNORE, Batch, counting, rows_of
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture
from wordloom.model.heads import CausalHead
from wordloom.objectives.targets import at_targets, states_of, target_of
from wordloom.train.job import Term, Terms

NAME = "spans"
Ints = NDArray[np.int64]


class Spans:
    """Documents -> pairs: ``Thank you <X> me to your party <Y> week`` and ``<X> for inviting <Y> last``.

    sentinels: ids of <X>, <Y>, ... in their order. frame: ids that begin or end a document and are no text. eos_id ends
    both sides of a pair; start_id is what the decoder is given first (T5: padding). The paper's figure closes the
    target with a sentinel of its own where text follows the last span; as in the authors' code, the last span always
    ends the text, so the end token alone follows it.
    """

    def __init__(
        self, config: SpansConfig, *, sentinels: Sequence[int], frame: Sequence[int], eos_id: int, start_id: int
    ):
        self.config = config
        self.sentinels, self.frame = np.asarray(sentinels, np.int64), np.asarray(frame, np.int64)
        self.eos_id, self.start_id = eos_id, start_id

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        return {"causal": CausalHead(arch)}

    def corrupt(self, batch: Batch, rng: np.random.Generator, progress: float) -> Batch:
        """Isolated documents (B, T) -> what the decoder is given (B, T'), its targets["spans"], and the source (B, S).

        A document of n tokens of text loses round(rate * n) of them, at least one and not all, in round(that / span)
        spans; both counts are exact, and every division into so many spans is as likely (`random_division`). Documents
        of fewer than two tokens are left out. T' and S are those of the longest row. Draws as `Masked.corrupt`: on the
        global batch, from a generator that is a function of (seed, step). Raises ConfigError where a document needs
        more sentinels than there are.
        """
        tokens, rows, lengths = self._texts(batch)  # (N,), (K,), (K,)
        noise, spans = span_counts(lengths, self.config.rate, self.config.span)  # (K,) each
        if spans.max(initial=0) > len(self.sentinels):
            what = f"a document of {int(lengths.max())} tokens has {int(spans.max())} spans to fill"
            cure = f"shorten train.length, or set objective.sentinels to at least {int(spans.max())}"
            raise ConfigError(f"{what}, and there are {len(self.sentinels)} sentinels", cure=cure)
        kept = random_division(lengths - noise, spans, rng)  # (all spans,) tokens before each span
        lost = random_division(noise, spans, rng)  # (all spans,) tokens of each span
        is_lost = np.repeat(np.tile([False, True], len(lost)), np.stack([kept, lost], axis=1).ravel())  # (N,)
        marks = self.sentinels[counting(spans)]  # (all spans,)
        last = np.cumsum(spans) - 1  # (K,) the last span of each document
        ends = np.full(len(last), self.eos_id)
        after = np.concatenate([np.cumsum(kept), np.cumsum(kept)[last]])  # sentinels stand behind what is kept,
        source = np.insert(tokens[~is_lost], after, np.concatenate([marks, ends]))
        before = np.concatenate([np.cumsum(lost)[last], np.cumsum(lost) - lost])  # and before what is lost
        target = np.insert(tokens[is_lost], before, np.concatenate([ends, marks]))
        given = np.roll(target, 1)  # each target is predicted from those before it
        given[np.cumsum(noise + spans + 1) - (noise + spans + 1)] = self.start_id
        how: dict[str, Any] = {"count": batch.rows, "fill": self.start_id, "ids": batch.ids}
        decoder = rows_of(given, noise + spans + 1, rows, **how)
        targets = torch.full_like(decoder.tokens, IGNORE)
        targets[decoder.documents > 0] = torch.from_numpy(target)
        encoder = rows_of(source, lengths - noise + spans + 1, rows, **how)
        return replace(decoder, targets={NAME: targets}, source=encoder)

    def _texts(self, batch: Batch) -> tuple[Ints, Ints, Ints]:
        """The text of K documents of two tokens or more, one after the other (N,); their rows and lengths (K,)."""
        tokens, documents = batch.tokens.numpy(), batch.documents.numpy()
        rows, cols = np.nonzero((documents > 0) & ~np.isin(tokens, self.frame))
        name = rows * (tokens.shape[1] + 1) + documents[rows, cols]
        _, first, piece, lengths = np.unique(name, return_index=True, return_inverse=True, return_counts=True)
        long = lengths > 1
        return tokens[rows, cols][long[piece]], rows[first][long], lengths[long]

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Predictions, from the targets alone."""
        return {NAME: int((target_of(batch, NAME) != IGNORE).sum())}

    def loss(self, model: Any, batch: Batch, state: Any) -> tuple[Terms, Any]:
        """The term "spans": sum of the cross entropy in nats, smoothed while training alone. state passes through."""
        hidden, _ = states_of(model, batch, None)  # (B, T, D)
        states, targets = at_targets(hidden, target_of(batch, NAME))  # (N, D), (N,)
        smoothing = self.config.label_smoothing if model.training else 0.0
        total = model.heads["causal"].loss(states, model.token_embedding, targets, smoothing)
        return {NAME: Term(total, len(targets))}, state


def span_counts(lengths: Ints, rate: float, span: float) -> tuple[Ints, Ints]:
    """Tokens lost and spans of documents of these lengths, 2 at least: (K,) each.

    round(rate * n) tokens, from 1 to n - 1, in round(tokens / span) spans, at least one and no more than tokens are
    lost or kept (a bound that the paper's values never reach). Halves go to the even number, as in the authors' code.
    """
    noise = np.clip(np.round(lengths * rate).astype(np.int64), 1, lengths - 1)
    spans = np.maximum(np.round(noise / span).astype(np.int64), 1)
    return noise, np.minimum(spans, np.minimum(noise, lengths - noise))


def random_division(items: Ints, parts: Ints, rng: np.random.Generator) -> Ints:
    """items[k] things in a row cut into parts[k] runs of one or more, every such division as likely -> all lengths.

    That is parts - 1 of the items - 1 places between them, without replacement: those with the lowest random keys.
    """
    group = np.repeat(np.arange(len(items)), items)  # (N,)
    place = counting(items)  # (N,) number inside the group
    key = np.where(place == 0, -1.0, rng.random(len(group)))  # a run begins with the first of all
    starts = np.empty(len(group), np.bool_)
    starts[np.lexsort((key, group))] = place < parts[group]
    return np.diff(np.flatnonzero(starts), append=len(group))
