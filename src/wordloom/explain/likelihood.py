"""How likely a language model finds a sentence: log p of a causal model, pseudo-log-likelihood of the others.

Sentences that are the same tokens are computed once, so they tie exactly. The others are sorted by length, so that a
batch has next to no padding; how many tokens go into one changes a result by rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordloom.errors import DataError
from wordloom.model.cache import Cache

Ids = NDArray[np.int64]
BATCH_TOKENS = 8192  # tokens computed together
# Logits held at a time. On a CPU 4 MB, which stay in the cache: 64 MB take twice as long (V 8,192, D 128, one thread).
_LOGITS, _LOGITS_GPU = 1 << 20, 1 << 24


class Words(Protocol):
    """One sentence's tokens, as ``Tokenizer.encode`` gives them."""

    @property
    def ids(self) -> NDArray[Any]:
        """(n,)"""

    @property
    def word_starts(self) -> NDArray[np.bool_]:
        """(n,)"""


class SentenceError(DataError):
    """A sentence that cannot be scored; ``number`` from 0."""

    def __init__(self, what: str, number: int, cure: str):
        super().__init__(what, where=f"sentence {number + 1}", cure=cure)
        self.number = number

    def at(self, place: str) -> DataError:
        """The same of a sentence that stands at ``place``."""
        return DataError(self.what, where=place, cure=self.cure)


@dataclass(frozen=True)
class _Sentences:
    """S different sentences by rising length, their tokens one after the other.

    ids (N,); start, length (S,) in ids; word_end (N,): of the word a token is in, counted from the sentence's start.
    of: for each sentence that was given, the number of the one here that equals it.
    """

    ids: Ids
    start: Ids
    length: Ids
    word_end: Ids
    of: Ids


def causal_log_likelihood(
    model: Any, sentences: Sequence[Words], start_id: int, *, hybrid: bool = False, batch_tokens: int = BATCH_TOKENS
) -> NDArray[np.float64]:
    """(S,) sum over a sentence's tokens of log p(token | start token, tokens before it), in nats.

    The start token is not predicted, nor is an end. model: with a `Model.next_token_head`, in evaluation mode, on any
    device. hybrid: a Transformer of the hybrid objective, whose head "masked" predicts the next token of causal rows.
    Raises SentenceError for a sentence without tokens, or with more than the model has positions.
    """
    s = _sorted(sentences, model.arch.limit, 0)
    sums = np.zeros(len(s.length))
    for a, b in batches(s.length, batch_tokens):
        rows = np.arange(a, b)
        tokens, inside = _matrix(s, rows, 1)  # (B, 1 + n): the last column is a target only
        tokens[:, 0] = start_id
        row, col = np.nonzero(inside[:, 1:])
        with torch.inference_mode():
            states = states_at(model, tokens[:, :-1], inside[:, 1:], row, col, causal_rows=hybrid)
            logp = log_p(model, model.next_token_head(hybrid), states, tokens[row, col + 1])
        sums[a:b] = np.bincount(row, logp, b - a)
    return sums[s.of]


def pseudo_log_likelihood(
    model: Any,
    sentences: Sequence[Words],
    *,
    first_id: int,
    last_id: int,
    mask_id: int | None,
    rest_of_word: bool = False,
    batch_tokens: int = BATCH_TOKENS,
) -> NDArray[np.float64]:
    """(S,) sum over a sentence's tokens of log p(token | all others), each asked in turn, in nats.

    Salazar et al. 2020, Masked Language Model Scoring, equation 1. rest_of_word: the tokens of the same word that
    follow the one asked for are hidden with it, so that a word's end does not give its beginning away (Kauf & Ivanova
    2023, A Better Way to Do Masked Language Model Scoring, section 3: PLL-word-l2r). first_id and last_id, [CLS] and
    [SEP], stand around the sentence and are not predicted.
    model: with head "masked", in evaluation mode; mask_id None: with head "permuted", where a token is hidden by its
    place in the order, which is after that of all others, and no token is replaced (Yang et al. 2019, section 2.3).
    Raises SentenceError as above.
    """
    s = _sorted(sentences, model.arch.limit, 2)
    asked = np.repeat(np.arange(len(s.length)), s.length)  # (N,) the sentence of every prediction
    place = np.arange(len(asked)) - s.start[asked]  # (N,) and its token
    sums = np.zeros(len(s.length))
    for a, b in batches(s.length[asked] + 2, batch_tokens):
        rows, at = asked[a:b], place[a:b]
        tokens, inside = _matrix(s, rows, 2)  # (B, n + 2)
        col = np.arange(tokens.shape[1]) - 1  # of the sentence
        hidden = col == at[:, None]
        if rest_of_word:
            hidden = (col >= at[:, None]) & (col < s.word_end[a:b, None])
        tokens[:, 0], tokens[np.arange(b - a), s.length[rows] + 1] = first_id, last_id
        with torch.inference_mode():
            if mask_id is None:
                states = _last_states(model, tokens, inside, hidden.astype(np.int64), at + 1)
            else:
                tokens[hidden] = mask_id
                states = states_at(model, tokens, inside, np.arange(b - a), at + 1)
            logp = log_p(model, "permuted" if mask_id is None else "masked", states, s.ids[a:b])
        sums += np.bincount(rows, logp, len(sums))
    return sums[s.of]


def _sorted(sentences: Sequence[Words], limit: int | None, around: int) -> _Sentences:
    """around: tokens added to each sentence; a start token costs no position, as the last token is not read."""
    ids = [np.asarray(x.ids, np.int64) for x in sentences]
    for i, x in enumerate(ids):
        if not len(x):
            raise SentenceError("the tokenizer leaves nothing of the sentence", i, "remove the pair")
        if limit is not None and len(x) + around > limit:
            what = f"a sentence of {len(x)} tokens does not fit the model's {limit} positions"
            raise SentenceError(what, i, "shorten the sentence or remove the pair")
    starts = [np.asarray(x.word_starts, np.bool_) for x in sentences]
    keys = [x.tobytes() + w.tobytes() for x, w in zip(ids, starts, strict=True)]
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    kept = sorted(first.values(), key=lambda i: (len(ids[i]), i))
    number = {keys[i]: k for k, i in enumerate(kept)}
    length = np.array([len(ids[i]) for i in kept], np.int64)
    return _Sentences(
        np.concatenate([ids[i] for i in kept]),
        np.cumsum(length) - length,
        length,
        np.concatenate([_word_ends(starts[i]) for i in kept]),
        np.array([number[key] for key in keys], np.int64),
    )


def _word_ends(starts: NDArray[np.bool_]) -> Ids:
    """starts (n,) -> (n,) where the word of each token ends."""
    begins = np.append(np.flatnonzero(starts[1:]) + 1, len(starts))
    return begins[np.searchsorted(begins, np.arange(len(starts)), side="right")]


def batches(lengths: Ids, tokens: int) -> Iterator[tuple[int, int]]:
    """Runs of rows, of rising length, that hold at most ``tokens`` when padded to their last; at least one row."""
    a = 0
    for b in range(1, len(lengths) + 1):
        if b == len(lengths) or (b + 1 - a) * lengths[b] > tokens:
            yield a, b
            a = b


def _matrix(s: _Sentences, rows: Ids, around: int) -> tuple[Ids, NDArray[np.bool_]]:
    """(B, n + around) tokens of sentences ``rows`` from column 1 on, 0 elsewhere; True up to where each row ends."""
    length = s.length[rows, None]
    col = np.arange(int(length.max()) + around)
    inside = (col >= 1) & (col <= length)
    tokens = np.where(inside, s.ids[np.where(inside, s.start[rows, None] + col - 1, 0)], 0)
    return tokens, col < length + around


def _inputs(model: Any, tokens: Ids, inside: NDArray[np.bool_]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """tokens, inside (B, T) -> tokens, documents, positions, types (B, T) where the model is: a document a row."""
    ids = _to(model, tokens)
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return ids, _to(model, inside).long(), places, torch.zeros_like(ids)


def states_at(
    model: Any,
    tokens: Ids,
    inside: NDArray[np.bool_],
    row: Ids,
    col: Ids,
    *,
    causal_rows: bool = False,
    cache: Cache | None = None,
    read: Cache | None = None,
) -> Tensor:
    """tokens, inside (B, T) -> (N, D) at (row, col), (N,) each. causal_rows: no row of a hybrid sees ahead.

    cache: an empty one, which keeps what is read. read: holds the first tokens of every row, which are not read again;
    no column asked for is among them.
    """
    inputs, first = _inputs(model, tokens, inside), 0
    kinds: dict[str, Any] = {}
    if read is not None:
        (B, T), first = tokens.shape, read.length
        cache = read.spread(torch.zeros(B, dtype=torch.int64), first, T)
        tokens_left, documents, places, types = (x[:, first:] for x in inputs)
        inputs = tokens_left, documents, places, types
    if cache is not None:
        kinds["cache"] = cache
    if causal_rows:
        kinds["causal_rows"] = torch.ones_like(inputs[0][:, 0], dtype=torch.bool)
    hidden = model.body(*inputs, **kinds)  # (B, T - first, D)
    states: Tensor = hidden[_to(model, row), _to(model, col - first)]
    return states


def _last_states(model: Any, tokens: Ids, inside: NDArray[np.bool_], order: Ids, col: Ids) -> Tensor:
    """tokens, inside, order (B, T) -> (B, D) of the query stream at column col (B,)."""
    asked = _to(model, col)[:, None]
    states: Tensor = model.body.forward_two(*_inputs(model, tokens, inside), _to(model, order), asked)[:, 0]
    return states


def log_p(model: Any, head: str, states: Tensor, targets: Ids) -> NDArray[np.float64]:
    """(N,) log p of targets (N,) by states (N, D)."""
    parts = []
    size = max(1, (_LOGITS_GPU if states.is_cuda else _LOGITS) // model.arch.vocab_size)
    for some, wanted in zip(states.split(size), _to(model, targets).split(size), strict=True):
        logits = model.heads[head](some, model.token_embedding)  # (n, V)
        logits = logits if logits.dtype is torch.float64 else logits.float()
        parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(1))
    found: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
    return found


def _to(model: Any, x: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).to(model.token_embedding.device)
