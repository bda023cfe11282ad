"""Token by token: greedy and sampled answers of any model that can be stepped. Beams are in `infer.beam`.

`Stepper` is all that decoding knows of a model. `infer.steppers` has those of causal Transformers (with a cache of keys
and values) and of recurrent networks (with a carried state), `infer.source_stepper` that of encoder-decoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.infer.sampling import Decoding, Draws, discourage, narrow

Ids = Sequence[int]


class Stepper(Protocol):
    """A model read token by token. B rows, V tokens; ``state`` is the stepper's own and passed on unread.

    Of an encoder-decoder (`infer.source_stepper`) the prompts are sources: ``begin`` encodes them, keeps the source's
    keys and values beside an empty `Cache`, and returns the logits after the decoder's start token, which alone is the
    ``context``.
    """

    def begin(self, prompts: Sequence[Ids], room: int) -> tuple[Tensor, Any]:
        """Read prompts of any lengths, none empty -> logits (B, V) of what follows each, and the state.

        room: how many tokens ``step`` may be called for. Raises ConfigError where they and a prompt do not fit.
        """

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token (B,) int64 more a row -> logits (B, V) of what follows, and the state. The old state is spent."""

    def reorder(self, state: Any, rows: Tensor) -> Any:
        """Row b of the result is what row rows[b] was; (B',) int64, B' rows after. The old state is spent."""

    def context(self, prompts: Sequence[Ids]) -> list[list[int]]:
        """What the answer goes on from, which the rules against repetition see too: the prompts, or a decoder's start
        token."""

    def room(self, longest: int) -> int | None:
        """Tokens that an answer may have beside a prompt of so many; None: as many as one likes."""


@dataclass(frozen=True)
class Answer:
    """ids: without the token that ended it. ended: it did end, and was not cut by max_tokens. score: of a beam search,
    what it was ranked by: log-probability of ids and end, divided by length**length_penalty."""

    ids: tuple[int, ...]
    ended: bool
    score: float | None = None


@torch.inference_mode()
def tokens(
    stepper: Stepper, prompts: Sequence[Ids], how: Decoding, ends: Ids = (), names: Ids | None = None
) -> Iterator[list[int | None]]:
    """Greedy or sampled tokens of every prompt, (B,) at a time; None where the row has ended.

    names: a number for each prompt, of which its draws are a function instead of its row; for one answer each.

    A row's end, one of ``ends``, is yielded; the iterator stops when all rows have ended, or at max_tokens. Rows are
    the prompts, each ``how.answers`` times in a row. Raises ConfigError for an empty prompt.
    """
    refuse_empty(prompts)
    if how.beams > 1:
        raise ConfigError("beams cannot be read token by token", cure="use the answers of infer.beam")
    logits, state = stepper.begin(prompts, how.max_tokens - 1)
    if how.answers > 1:
        rows = torch.arange(len(prompts), device=logits.device).repeat_interleave(how.answers)
        logits, state = logits[rows], stepper.reorder(state, rows)
    draws = Draws(how.seed, range(len(logits)) if names is None else names) if how.temperature > 0 else None
    ruled = how.repetition_penalty != 1 or how.no_repeat_ngram > 0
    texts = [list(text) for text in stepper.context(prompts) for _ in range(how.answers)] if ruled else []
    going, finals = [True] * len(logits), frozenset(ends)
    for left in range(how.max_tokens, 0, -1):
        if ruled:
            logits = discourage(logits, texts, how)
        chosen = logits.argmax(dim=-1) if draws is None else draws.choose(narrow(logits, how))  # (B,)
        found = chosen.tolist()
        yield [token if on else None for token, on in zip(found, going, strict=True)]
        going = [on and token not in finals for token, on in zip(found, going, strict=True)]
        if left == 1 or not any(going):
            return
        if ruled:
            for text, token in zip(texts, found, strict=True):
                text.append(token)
        logits, state = stepper.step(chosen, state)


def generate(
    stepper: Stepper, prompts: Sequence[Ids], how: Decoding, ends: Ids = (), names: Ids | None = None
) -> list[list[Answer]]:
    """``how.answers`` of every prompt, in order; of a beam search the best first. names: as `tokens`."""
    if how.beams > 1:
        from wordloom.infer.beam import search  # beam needs this module's types

        return search(stepper, prompts, how, ends)
    found: list[list[int]] = [[] for _ in range(len(prompts) * how.answers)]
    for column in tokens(stepper, prompts, how, ends, names):
        for row, token in zip(found, column, strict=True):
            if token is not None:
                row.append(token)
    finals = frozenset(ends)
    flat = [Answer(tuple(r[:-1]), True) if r[-1] in finals else Answer(tuple(r), False) for r in found]
    return [flat[i : i + how.answers] for i in range(0, len(flat), how.answers)]


def refuse_empty(prompts: Sequence[Ids]) -> None:
    """Raises ConfigError."""
    if not prompts or not all(len(p) for p in prompts):
        raise ConfigError("a prompt holds no token", cure="give a text, or the token that begins one")
