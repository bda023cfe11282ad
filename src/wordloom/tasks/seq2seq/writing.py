"""Sources read, texts written: search in batches of like lengths, and what a given answer costs and looks at.

An answer's score is the log-probability of its tokens and of its end, per token: comparable between answers of one
source, and the confidence that comes with each sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.data.batch import Batch
from wordloom.infer.decode import Answer, Stepper, generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.source_stepper import RecurrentSourceStepper, SourceStepper
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import TokenHead
from wordloom.model.model import Model
from wordloom.model.recurrent_seq2seq import RecurrentSeq2Seq
from wordloom.tasks.seq2seq.pair_rows import Ragged, lay_pairs
from wordloom.tasks.windows import by_budget

HEAD = "causal"
BUDGET = 8192  # source tokens x beams read at a time; the answers do not depend on it
ROWS = 256  # and rows that are written at a time: each has V logits
AGAIN = 2048  # tokens of both sides read again at a time: each token has V logits


@dataclass(frozen=True)
class Alignment:
    """weights (T, S): how much of the source's tokens the decoder read when it wrote each token; rows sum to 1."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Written:
    """An answer. score: log p / tokens, the end among them; None of a right answer. ended: it was not cut at the most
    tokens an answer may have. others: the next best with their scores."""

    text: str
    score: float | None = None
    ended: bool = True
    others: tuple[tuple[str, float], ...] = ()
    alignment: Alignment | None = None


def stepper_of(model: Model, window: int) -> Stepper:
    if isinstance(model.body, RecurrentSeq2Seq):
        return RecurrentSourceStepper(model, HEAD)
    return SourceStepper(model, HEAD, window)


def search(
    model: Model, sources: Ragged, how: Decoding, end_id: int, window: int, budget: int = BUDGET
) -> list[list[Answer]]:
    """``how.answers`` of every source, best first; Answer.score is made log p / tokens. The model is in evaluation
    mode."""
    stepper = stepper_of(model, window)
    limit = model.arch.limit
    if limit is not None and how.max_tokens > limit:
        how = Decoding(**{**vars(how), "max_tokens": limit})
    found: list[list[Answer]] = [[] for _ in range(len(sources))]
    sizes = np.maximum(sources.lengths, budget // ROWS)
    for chosen in by_budget(sizes, max(1, budget // how.beams)):
        prompts = [sources[i].tolist() for i in chosen]
        for i, answers in zip(chosen, generate(stepper, prompts, how, (end_id,)), strict=True):
            found[i] = [_per_token(a, how.length_penalty) for a in answers]
    return found


def _per_token(answer: Answer, penalty: float) -> Answer:
    if answer.score is None:
        return answer
    length = len(answer.ids) + answer.ended
    return Answer(answer.ids, answer.ended, answer.score * length ** (penalty - 1))


@torch.inference_mode()
def read_again(
    model: Model, sources: Ragged, targets: Ragged, *, start_id: int, window: int, budget: int = AGAIN
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Of target i after source i: log p of every token (T,), and what the decoder looked at when it wrote it (T, S).

    That is the attention itself of a recurrent network; of a Transformer the mean over the heads of the layer before
    the last, which aligns best (Garg et al. 2019, section 3.1). The model is in evaluation mode.
    """
    device, head = model.token_embedding.device, cast(TokenHead, model.heads[HEAD])
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = [(np.zeros(0), np.zeros((0, 0)))] * len(targets)
    for chosen in by_budget(sources.lengths + targets.lengths, budget):
        batch = lay_pairs(sources, targets, (chosen, chosen), start_id=start_id, window=window, apart=True).to(device)
        hidden, weights = _looked_at(model, batch)  # (P, T, D), (P, T, S)
        logprobs = torch.log_softmax(head(hidden, model.token_embedding).float(), -1)
        said = batch.targets["tokens"].clamp(min=0)
        values = logprobs.gather(2, said[..., None])[..., 0]  # (P, T)
        for p, i in enumerate(chosen):
            t, n = targets.lengths[i], sources.lengths[i]
            found[i] = values[p, :t].double().cpu().numpy(), weights[p, :t, :n].double().cpu().numpy()
    return found


def _looked_at(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """A pair a row -> hidden (P, T, D), weights (P, T, S)."""
    body, source = model.body, batch.source
    assert source is not None
    if isinstance(body, RecurrentSeq2Seq):
        return body.align(source.tokens, source.documents, batch.tokens)
    assert isinstance(body, EncoderDecoder)
    read = body.encode(source.tokens, source.documents, source.positions, source.types)
    kept: list[Tensor] = []  # of every layer the target's own, then the source's
    hidden = body.decode(batch.tokens, batch.documents, batch.positions, batch.types, read, kept)
    layers = len(kept) // 2
    return hidden, kept[2 * max(0, layers - 2) + 1].mean(1)
