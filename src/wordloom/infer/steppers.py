"""The steppers of `infer.decode`: causal Transformers with a cache, recurrent networks with a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.infer.decode import Ids, Stepper, refuse_empty
from wordloom.infer.source_stepper import RecurrentSourceStepper, SourceStepper
from wordloom.model.cache import Cache
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import TokenHead
from wordloom.model.int8 import Int8Weights
from wordloom.model.model import Model
from wordloom.model.recurrent import Recurrent
from wordloom.model.recurrent_seq2seq import RecurrentSeq2Seq
from wordloom.model.step import MAX_ROWS, FusedStep, can_fuse
from wordloom.model.transformer import Transformer

SHARED = 16  # tokens of a common beginning from which a reading of its own is worth it


@dataclass
class CausalState:
    """The cache and, where the model has one, its compiled step."""

    cache: Cache
    fused: FusedStep | None


@dataclass(frozen=True)
class Prefix:
    """Tokens read before, and the cache of one row that holds them and nothing else."""

    ids: tuple[int, ...]
    cache: Cache


class CausalStepper:
    """A `Transformer` and its head of next-token logits. The model must be in evaluation mode.

    hybrid: attention is made causal row by row, as in the causal rows of the hybrid objective. int8: the compiled step
    reads int8 weights; prompts are read with float32 ones, as every weight then serves many tokens.
    """

    def __init__(self, model: Model, head: str = "causal", hybrid: bool = False, int8: bool = False):
        assert isinstance(model.body, Transformer)
        self.model, self.body, self.hybrid = model, model.body, hybrid
        self.int8 = Int8Weights() if int8 else None
        self.head = cast(TokenHead, model.heads[head])

    @property
    def limit(self) -> int | None:
        """Tokens of prompt and answer together, where the positions have a table."""
        return self.body.arch.limit

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Ids], room: int, prefix: Prefix | None = None) -> tuple[Tensor, CausalState]:
        """As `Stepper`; prompts are padded on the left, and what all of them begin with is read once.

        prefix: something read before (`read`), of which as much is used as all prompts begin with.
        """
        refuse_empty(prompts)
        N = max(map(len, prompts))
        self._refuse_long(N, room)
        cache = self._cache_with_prefix(prompts, N, room, prefix)
        offsets = [N - len(p) for p in prompts]
        a = cache.length
        padded = torch.tensor([[0] * o + list(p) for o, p in zip(offsets, prompts, strict=True)])[:, a:]
        places = torch.arange(a, N)[None] - torch.tensor(offsets)[:, None]  # (B, N - a), below 0: padding
        documents = (places >= 0).long()
        hidden = self._forward(padded, documents, places.clamp(min=0), cache)
        state = CausalState(cache, None)
        if self._can_fuse(len(prompts)):
            parts = self.body.embeddings, self.body, self.head
            state.fused = FusedStep(*parts, self.model.token_embedding, int8=self.int8)
        return self._logits(hidden[:, -1]), state

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: CausalState) -> tuple[Tensor, CausalState]:
        cache = state.cache
        if state.fused is not None:
            return state.fused(tokens, cache), state
        at = slice(cache.length, cache.length + 1)
        places = cache.positions[:, at].clone()
        hidden = self._forward(tokens[:, None], torch.ones_like(places), places, cache)
        return self._logits(hidden[:, -1]), state

    @torch.inference_mode()
    def reorder(self, state: CausalState, rows: Tensor) -> CausalState:
        B = state.cache.documents.shape[0]
        if len(rows) == B and torch.equal(rows, torch.arange(B, device=rows.device)):
            return state
        state.cache.reorder(rows, lazily=state.fused is not None)
        if len(rows) != B and not self._can_fuse(len(rows)):
            state.fused = None
        return state

    def context(self, prompts: Sequence[Ids]) -> list[list[int]]:
        return [list(p) for p in prompts]

    def room(self, longest: int) -> int | None:
        """As `Stepper`: the last token of an answer is never read, so it needs no position."""
        return None if self.limit is None else self.limit - longest + 1

    @torch.inference_mode()
    def read(self, ids: Ids) -> Prefix:
        """Read what several calls of ``begin`` have in common. It belongs to the weights as they are now."""
        refuse_empty([ids])
        self._refuse_long(len(ids), 0)
        cache = self._cache(1, len(ids))
        self._forward(
            torch.tensor([list(ids)]), torch.ones(1, len(ids), dtype=torch.int64), torch.arange(len(ids))[None], cache
        )
        return Prefix(tuple(ids), cache)

    def _cache_with_prefix(self, prompts: Sequence[Ids], N: int, room: int, prefix: Prefix | None) -> Cache:
        """An empty cache, or one that holds the common beginning of the prompts."""
        common = common_prefix([*prompts, prefix.ids] if prefix is not None else prompts)
        if prefix is None and len(prompts) > 1:
            prefix = self.read(prompts[0][:common]) if common >= SHARED else None
        common = min(common, N - 1)  # the last column is read in any case: its logits are wanted
        if prefix is None or not common:
            return self._cache(len(prompts), N + room)
        offsets = torch.tensor([N - len(p) for p in prompts], device=self.model.token_embedding.device)
        return prefix.cache.spread(offsets, common, N + room)

    def _cache(self, rows: int, capacity: int) -> Cache:
        table = self.model.token_embedding
        return Cache(self.body.arch, rows, capacity, dtype=table.dtype, device=table.device)

    def _forward(self, tokens: Tensor, documents: Tensor, places: Tensor, cache: Cache) -> Tensor:
        device = self.model.token_embedding.device
        tokens, documents, places = (t.to(device) for t in (tokens, documents, places))
        rows = torch.ones(len(tokens), dtype=torch.bool, device=device) if self.hybrid else None
        return self.body(tokens, documents, places, torch.zeros_like(tokens), cache=cache, causal_rows=rows)

    def _logits(self, states: Tensor) -> Tensor:
        return self.head(states, self.model.token_embedding)

    def _can_fuse(self, rows: int) -> bool:
        """Raises ConfigError where int8 weights were asked for and cannot be read."""
        able = can_fuse(self.body.embeddings, self.body, self.head, rows)
        if self.int8 is not None and not able:
            cure = f"leave int8 away, or ask for at most {MAX_ROWS} answers at a time of a float32 model on the CPU"
            raise ConfigError(f"{rows} answers of this model cannot be made with int8 weights", cure=cure)
        return able

    def _refuse_long(self, prompt: int, room: int) -> None:
        limit = self.limit
        if limit is not None and prompt + room > limit:
            raise ConfigError(
                f"a prompt of {prompt} tokens and an answer of {room + 1} do not fit a model of {limit} positions",
                cure=f"ask for at most {limit - prompt + 1} tokens" if prompt <= limit else "give a shorter prompt",
            )


class RecurrentStepper:
    """A recurrent network and its head: prompts of one length are read together, each length apart.

    Right-aligned rows would begin in padding, whose state is not zero's: so rows are never padded.
    """

    def __init__(self, model: Model, head: str = "causal"):
        assert isinstance(model.body, Recurrent)
        self.model, self.body = model, model.body
        self.head = cast(TokenHead, model.heads[head])

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Ids], room: int) -> tuple[Tensor, dict[str, Tensor]]:
        refuse_empty(prompts)
        device = self.model.token_embedding.device
        logits: list[Tensor | None] = [None] * len(prompts)
        states: list[dict[str, Tensor]] = [{}] * len(prompts)
        for length in sorted({len(p) for p in prompts}):
            rows = [i for i, p in enumerate(prompts) if len(p) == length]
            tokens = torch.tensor([list(prompts[i]) for i in rows], device=device)
            ones, places = torch.ones_like(tokens), torch.arange(length, device=device).expand_as(tokens)
            hidden, state = self.body.forward_state(tokens, ones, places, torch.zeros_like(tokens), None)
            found = self.head(hidden[:, -1], self.model.token_embedding)
            for j, i in enumerate(rows):
                logits[i], states[i] = found[j], {name: value[j] for name, value in state.items()}
        joined = {name: torch.stack([s[name] for s in states]) for name in states[0]}
        return torch.stack([row for row in logits if row is not None]), joined

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden, state = self.body.step(tokens, state)
        return self.head(hidden, self.model.token_embedding), state

    def reorder(self, state: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        return {name: value[rows] for name, value in state.items()}

    def context(self, prompts: Sequence[Ids]) -> list[list[int]]:
        return [list(p) for p in prompts]

    def room(self, longest: int) -> int | None:
        """As `Stepper`: a state has no positions."""
        return None


def make_stepper(model: Model, hybrid: bool = False, int8: bool = False) -> Stepper:
    """The stepper of a model that predicts the next token (`Model.next_token_head`); hybrid: by its causal rows; int8:
    with weights of that kind (`CausalStepper`).

    Raises ConfigError for any other model.
    """
    head = model.next_token_head(hybrid)
    if head is None:
        raise ConfigError(
            "the model does not predict the next token: it cannot generate",
            cure="use one pre-trained with the causal objective; a masked one fills gaps with wordloom fill",
        )
    if isinstance(model.body, Transformer):
        return CausalStepper(model, head, hybrid, int8)
    if int8:
        raise ConfigError("int8 weights are of causal Transformers alone", cure="leave int8 away")
    if isinstance(model.body, RecurrentSeq2Seq):
        return RecurrentSourceStepper(model, head)
    return SourceStepper(model, head) if isinstance(model.body, EncoderDecoder) else RecurrentStepper(model, head)


def common_prefix(sequences: Sequence[Ids]) -> int:
    """How many tokens all sequences begin with."""
    least, most = min(map(tuple, sequences)), max(map(tuple, sequences))
    return next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))
