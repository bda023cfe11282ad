"""The stepper of `infer.decode` for encoder-decoders: prompts are sources, answers begin with the start token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.infer.decode import Ids, refuse_empty
from wordloom.model.cache import Cache
from wordloom.model.cross import Source
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import TokenHead
from wordloom.model.model import Model
from wordloom.model.recurrent_seq2seq import RecurrentSeq2Seq
from wordloom.model.step import FusedStep, can_fuse


@dataclass(frozen=True)
class SourceState:
    """The decoder's cache, the source of every row with its keys and values, and which prompt it is (B,); the compiled
    step of these rows, where the model has one."""

    cache: Cache
    source: Source
    prompt: Tensor
    fused: FusedStep | None = None


class SourceStepper:
    """An `EncoderDecoder` and its head of next-token logits. The model must be in evaluation mode.

    window: a prompt of more tokens is read in windows of at most so many, which the decoder sees together; None: whole.
    """

    def __init__(self, model: Model, head: str = "causal", window: int | None = None):
        assert isinstance(model.body, EncoderDecoder)
        self.model, self.body, self.window = model, model.body, window
        self.head = cast(TokenHead, model.heads[head])

    @property
    def limit(self) -> int | None:
        """Tokens of a prompt, and of an answer, where the positions have a table."""
        return self.body.arch.limit

    def room(self, longest: int) -> int | None:
        """As `Stepper`: the answer has positions of its own."""
        return self.limit

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Ids], room: int) -> tuple[Tensor, SourceState]:
        """As `Stepper`. Every prompt is read by the encoder once, padded on the right."""
        refuse_empty(prompts)
        lengths = [len(p) for p in prompts]
        N, limit, device = max(lengths), self.limit, self.model.token_embedding.device
        if limit is not None and max(N if self.window is None else min(N, self.window), room + 1) > limit:
            what = f"a prompt of {N} tokens and an answer of {room + 1}"
            cure = "give a shorter prompt, or ask for fewer tokens"
            raise ConfigError(f"{what} do not each fit a model of {limit} positions", cure=cure)
        pad = self.body.arch.pad_id
        tokens = torch.tensor([[*p, *[pad] * (N - len(p))] for p in prompts], device=device)
        columns = torch.arange(N, device=device).expand_as(tokens)
        documents = (columns < torch.tensor(lengths, device=device)[:, None]).long()
        positions = columns
        if self.window is not None:
            rows = [window_positions(n, self.window) for n in lengths]
            positions = torch.tensor([[*r, *[0] * (N - len(r))] for r in rows], device=device)
        source = self.body.encode(tokens, documents, positions, torch.zeros_like(tokens), keep=True)
        cache = self.body.new_cache(len(prompts), room + 1)
        state = SourceState(cache, source, torch.arange(len(prompts), device=device))
        logits, state = self.step(torch.full((len(prompts),), self.body.start_id, device=device), state)
        return logits, replace(state, fused=self._fuse(source))

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: SourceState) -> tuple[Tensor, SourceState]:
        if state.fused is not None:
            return state.fused(tokens, state.cache), state
        given = tokens[:, None]
        ones, places = torch.ones_like(given), torch.full_like(given, state.cache.length)
        hidden = self.body.decode(given, ones, places, torch.zeros_like(given), state.source, cache=state.cache)
        return self.head(hidden[:, -1], self.model.token_embedding), state

    @torch.inference_mode()
    def reorder(self, state: SourceState, rows: Tensor) -> SourceState:
        state.cache.reorder(rows, lazily=state.fused is not None)
        prompt = state.prompt[rows]
        if torch.equal(prompt, state.prompt):  # beams change places among those of one prompt
            return state
        source = state.source.select(rows)
        return replace(state, source=source, prompt=prompt, fused=self._fuse(source))

    def _fuse(self, source: Source) -> FusedStep | None:
        """The compiled step of so many rows; made after the start token, from which on the cache knows its columns."""
        parts = self.body.embeddings, self.body.decoder, self.head
        rows = len(source.documents)
        return FusedStep(*parts, self.model.token_embedding, source) if can_fuse(*parts, rows) else None

    def context(self, prompts: Sequence[Ids]) -> list[list[int]]:
        """The start token: rules against repetition do not see the source, as in transformers' decoder."""
        return [[self.body.start_id] for _ in prompts]


class RecurrentSourceStepper:
    """A `RecurrentSeq2Seq` and its head. The state is that of its ``begin``, and which prompt each row is of."""

    def __init__(self, model: Model, head: str = "causal"):
        assert isinstance(model.body, RecurrentSeq2Seq)
        self.model, self.body = model, model.body
        self.head = cast(TokenHead, model.heads[head])

    def room(self, longest: int) -> int | None:
        """As `Stepper`: a state has no positions."""
        return None

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Ids], room: int) -> tuple[Tensor, dict[str, Tensor]]:
        """As `Stepper`. Prompts are padded on the right."""
        refuse_empty(prompts)
        N, device = max(map(len, prompts)), self.model.token_embedding.device
        tokens = torch.tensor([[*p, *[0] * (N - len(p))] for p in prompts], device=device)
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        state = self.body.begin(tokens, (torch.arange(N, device=device) < lengths[:, None]).long())
        state["prompt"] = torch.arange(len(prompts), device=device)
        return self.step(torch.full((len(prompts),), self.body.start_id, device=device), state)

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden, _, state = self.body.step(tokens, state)
        return self.head(hidden, self.model.token_embedding), state

    @torch.inference_mode()
    def reorder(self, state: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        prompt = state["prompt"][rows]
        same = torch.equal(prompt, state["prompt"])  # beams change places among those of one prompt
        kept = ("annotations", "keys", "mask", "prompt") if same else ()
        return {name: value if name in kept else value[rows] for name, value in state.items()}

    def context(self, prompts: Sequence[Ids]) -> list[list[int]]:
        """As `SourceStepper.context`."""
        return [[self.body.start_id] for _ in prompts]


def window_positions(tokens: int, window: int) -> list[int]:
    """0, 1, ..: places in the fewest windows of at most ``window`` tokens that hold so many, of nearly equal length."""
    count = max(1, -(-tokens // window))
    edges = [i * tokens // count for i in range(count + 1)]
    return [place for a, b in pairwise(edges) for place in range(b - a)]
