"""A pre-trained model with its tokenizer: text to text, and candidates for a masked token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from wordloom.errors import ConfigError
from wordloom.infer.decode import Stepper, generate, tokens
from wordloom.infer.sampling import Decoding
from wordloom.infer.steppers import make_stepper
from wordloom.infer.text_pieces import Pieces, text_after
from wordloom.model.build import SourceReader
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer

MAX_TOKENS = 64  # of an answer whose length nobody gave, where the positions allow it
MASKS = re.compile(r"\[MASK\]|<mask>")  # how a masked token may be written, whatever the tokenizer's is


@dataclass(frozen=True)
class Generated:
    """An answer. text: what follows the prompt. end: why it ended, "end" (the model's end of text), "stop" (a stop
    string, which is not in the text) or "length" (max_tokens). score: of a beam search, else None."""

    text: str
    ids: tuple[int, ...]
    end: Literal["end", "stop", "length"]
    score: float | None = None


class Candidate(NamedTuple):
    """What may stand for a mask. token: as the vocabulary spells it ("Ġsat", "##s"). word: what it reads as ("sat"); a
    token that stands for no text, and a piece inside a WordPiece word, as they are spelled. text: the whole text with
    it, other masks kept."""

    token: str
    probability: float
    text: str
    word: str


class LanguageModel:
    """``generate``, ``stream``, ``fill``.

    start_id: the token that begins a text, as in training; None: none does. hybrid: a model that learned both ways, so
    that it can fill and generate.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, start_id: int | None, hybrid: bool = False, int8: bool = False
    ):
        self.model, self.tokenizer, self.start_id, self.hybrid = model.eval(), tokenizer, start_id, hybrid
        self.int8 = int8
        self._stepper: Stepper | None = None

    @property
    def stepper(self) -> Stepper:
        """Raises ConfigError for a model that does not predict the next token."""
        if self._stepper is None:
            self._stepper = make_stepper(self.model, hybrid=self.hybrid, int8=self.int8)
        return self._stepper

    def encode(self, prompt: str) -> list[int]:
        """The ids the model reads: the token that begins a text, then the prompt's. Raises ConfigError without any.

        Of an encoder-decoder the prompt is a source: it begins with nothing and ends with the token that ends a text,
        as in training (`objectives.spans`) and in T5's and Marian's public tokenizers.
        """
        if not isinstance(prompt, str):
            raise ConfigError(f"a prompt is {type(prompt).__name__}, not text", cure="give a str")
        ids: list[int] = self.tokenizer.encode_ids([prompt])[0].tolist()
        if isinstance(self.model.body, SourceReader):
            return [*ids, self.tokenizer.sep_id]
        ids = ids if self.start_id is None else [self.start_id, *ids]
        if not ids:
            raise ConfigError("the prompt is empty, and no token begins a text", cure="give a text")
        return ids

    def generate(self, prompts: Sequence[str], stop: Sequence[str] = (), **settings: Any) -> list[list[Generated]]:
        """The answers to every prompt, ``answers`` of each. settings: those of `Decoding`; greedy where none is given.

        max_tokens absent: 64, or what the positions leave for the longest prompt. A prompt that does not fit them, with
        as many tokens as were asked for, is refused and never cut: raises ConfigError.
        """
        if isinstance(prompts, str):
            raise ConfigError("one string was given", cure="give a list of prompts, even for one")
        sources = [self.encode(p) for p in prompts]
        how = self._settle(settings, sources)
        if how.beams > 1:
            if stop:
                cure = "leave the beams or the stop strings away"
                raise ConfigError("a search with beams ranks whole answers and knows no stop strings", cure=cure)
            found = generate(self.stepper, sources, how, self._ends)
            return [
                [Generated(self._after(ids, a.ids), a.ids, "end" if a.ended else "length", a.score) for a in answers]
                for ids, answers in zip(self.stepper.context(sources), found, strict=True)
            ]
        before = self.stepper.context(sources)
        rows = [_Row(self.tokenizer, ids, self._ends, stop) for ids in before for _ in range(how.answers)]
        for column in tokens(self.stepper, sources, how, self._ends):
            for row, token in zip(rows, column, strict=True):
                row.take(token)
            if all(row.end != "length" for row in rows):
                break
        flat = [row.result() for row in rows]
        return [flat[i : i + how.answers] for i in range(0, len(flat), how.answers)]

    def stream(self, prompt: str, stop: Sequence[str] = (), **settings: Any) -> Iterator[str]:
        """The same answer piece by piece, as soon as each is sure; no piece ends inside a character."""
        ids = self.encode(prompt)
        how = self._settle(settings, [ids])
        if how.beams > 1 or how.answers > 1:
            raise ConfigError(
                "one answer can be streamed, and no search with beams", cure="leave them or --stream away"
            )
        pieces = Pieces(self.tokenizer, self.stepper.context([ids])[0], stop)
        for (token,) in tokens(self.stepper, [ids], how, self._ends):
            if token is None or token in self._ends:
                break
            if piece := pieces.push(token):
                yield piece
            if pieces.stopped:
                return
        if piece := pieces.finish():
            yield piece

    @torch.inference_mode()
    def fill(self, text: str, top: int = 5) -> list[list[Candidate]]:
        """For every mask, [MASK] or <mask>, the ``top`` likeliest tokens; each mask alone, the others staying masks.

        Raises ConfigError for a model without a head for masked tokens, and for a text without a mask or too long.
        """
        if "masked" not in self.model.heads or (self.model.arch.attention == "causal" and not self.hybrid):
            raise ConfigError(
                "the model does not predict masked tokens: it cannot fill",
                cure="use one pre-trained with the masked objective; a causal one goes on with wordloom generate",
            )
        tokenizer = self.tokenizer
        mask_id = tokenizer.mask_id
        if mask_id is None:
            raise ConfigError("the vocabulary has no mask token", cure="use the tokenizer the model was trained with")
        mask = tokenizer.roles["mask_token"]
        text = MASKS.sub(lambda found: mask, text)
        ids = [tokenizer.cls_id, *tokenizer.encode_ids([text])[0].tolist(), tokenizer.sep_id]
        places = [i for i, token in enumerate(ids) if token == mask_id]
        if not places:
            raise ConfigError("the text has no mask", cure='write [MASK] where a token is missing: "the [MASK] sat"')
        if top < 1:
            raise ConfigError(f"{top} candidates were asked for", cure="ask for 1 or more")
        limit = self.model.arch.limit
        if limit is not None and len(ids) > limit:
            raise ConfigError(
                f"a text of {len(ids)} tokens does not fit a model of {limit} positions", cure="give a shorter text"
            )
        device = self.model.token_embedding.device
        x = torch.tensor([ids], device=device)
        hidden = self.model(x, torch.ones_like(x), torch.arange(len(ids), device=device)[None], torch.zeros_like(x))
        logits = self.model.heads["masked"](hidden[0, places], self.model.token_embedding).float()
        best = logits.softmax(dim=-1).topk(min(top, logits.shape[-1]))
        starts = [found.start() for found in re.finditer(re.escape(mask), text)]
        return [
            [
                self._candidate(int(token), float(p), text, start, len(mask))
                for p, token in zip(probabilities, numbers, strict=True)
            ]
            for probabilities, numbers, start in zip(best.values, best.indices, starts, strict=True)
        ]

    def _candidate(self, token: int, probability: float, text: str, start: int, length: int) -> Candidate:
        spelled = str(self.tokenizer.backend.id_to_token(token))
        decoded = self.tokenizer.decode([token])
        word = put = decoded.strip() or decoded or spelled
        before = text[:start]
        if self.tokenizer.kind == "wordpiece" and spelled.startswith("##"):  # it goes on the word before
            word, put, before = spelled, spelled[2:], before.rstrip()
        return Candidate(spelled, probability, before + put + text[start + length :], word)

    @property
    def _ends(self) -> tuple[int, ...]:
        return (self.tokenizer.eos_id,)

    def _after(self, before: Sequence[int], ids: Sequence[int]) -> str:
        return text_after(self.tokenizer, before, ids)

    def _settle(self, settings: dict[str, Any], sources: list[list[int]]) -> Decoding:
        if settings.get("max_tokens") is None:
            room = self.stepper.room(max(map(len, sources), default=0))
            # too long a prompt is refused by the stepper, which says by how much
            settings = {**settings, "max_tokens": MAX_TOKENS if room is None else min(MAX_TOKENS, max(1, room))}
        return Decoding.of(settings)


class _Row:
    """One answer while it is made."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], ends: Sequence[int], stop: Sequence[str]):
        """before: the ids that the answer goes on from."""
        self.tokenizer, self.before, self.ends = tokenizer, before, ends
        self.ids: list[int] = []
        self.pieces = Pieces(tokenizer, before, stop) if stop else None
        self.shown: list[str] = []
        self.end: Literal["end", "stop", "length"] = "length"

    def take(self, token: int | None) -> None:
        if token is None or self.end != "length":
            return
        if token in self.ends:
            self.end = "end"
            return
        self.ids.append(token)
        if self.pieces is not None:
            self.shown.append(self.pieces.push(token))
            if self.pieces.stopped:
                self.end = "stop"

    def result(self) -> Generated:
        if self.pieces is None:
            return Generated(text_after(self.tokenizer, self.before, self.ids), tuple(self.ids), self.end)
        text = "".join([*self.shown, self.pieces.finish()])
        return Generated(text, tuple(self.ids), "stop" if self.pieces.stopped else self.end)
