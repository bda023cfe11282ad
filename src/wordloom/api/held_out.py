"""The held-out rows of a pre-training, and the scores of a model on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from wordloom.data.batch import IGNORE, Batch
from wordloom.data.contiguous import ContiguousRows
from wordloom.data.store import TokenStore
from wordloom.errors import DataError
from wordloom.metrics import Score, bits_per_byte, bootstrap, interval, perplexity
from wordloom.model.model import Model
from wordloom.objectives.pretraining import Pretraining

ROWS = 512  # 65,000 tokens of 128-token rows: the interval of the loss is then about 1 %
BATCH = 8  # rows evaluated together, and the unit of the bootstrap: 64 units carry an interval, 8 do not
SEED = 20_000  # masks of the held-out rows; no training seed repeats them
UNITS = {"masked": "masked token", "causal": "next token", "spans": "missing token, mark or end"}


def held_out_rows(layout: Any, objective: Any) -> list[Batch]:
    """Held-out rows with masks that never change, whatever the training's batch: drawn for all rows at once."""
    rows = min(layout.rows_per_epoch, ROWS)
    if isinstance(layout, ContiguousRows):  # a batch must be one step of the streams
        rows = rows // BATCH * BATCH
    if rows == 0:
        raise DataError("no held-out text is long enough for a row", cure="raise corpus.valid_fraction or add text")
    rng = np.random.Generator(np.random.Philox(key=[SEED, 0]))
    batch = objective.corrupt(layout.batch(layout.order(0, rows)), rng, 1.0)
    if batch.continues:
        return batch.split(rows // BATCH)
    return batch.split(max(-(-rows // BATCH), min(8, rows)))  # the bootstrap draws whole parts: never one


def predicted(job: Pretraining) -> str:
    """What the first term of the loss counts, in words."""
    name = next(iter(job.counts(job.held_out[0])))
    return UNITS.get(name, f"{name} token")


def held_out_scores(job: Pretraining, model: Model, store: TokenStore, special_ids: Sequence[int]) -> dict[str, Score]:
    """Held-out loss with a 95 % bootstrap interval over the held-out batches (nan of one row), and what
    follows from it.

    Of the spans objective the loss counts marks and ends too, which are no text and easy to tell: what is said of bytes
    and of the unigram entropy is of the missing text alone.
    """
    name = next(iter(job.counts(job.held_out[0])))
    loss, unit = _loss(job, model, name), predicted(job)
    if name == "spans":
        alone = Pretraining(job.objective, [_text_alone(batch, name, special_ids) for batch in job.held_out])
        text, share, note, about = _loss(alone, model, name), 1.0, "of the missing text", "the text alone"
    else:
        text, share, about = loss, _text_share(job.held_out, name, special_ids), ""
        # a causal model pays for the ends of documents too, which are no bytes
        note = "every token, ends of documents too, over the bytes of the text" if name == "causal" else f"of {unit}s"
    size, entropy = share * store.bytes_per_token, store.unigram_entropy
    return {
        "loss": loss,
        "perplexity": _turned(loss, perplexity, f"per {unit}"),
        "bits_per_byte": _turned(text, lambda x: bits_per_byte(x, size), f"{note}, at the store's mean length"),
        "below_unigram": Score(entropy - text.value, entropy - text.high, entropy - text.low, about),
    }


def _turned(score: Score, f: Callable[[float], float], note: str) -> Score:
    """A rising function of a score."""
    return Score(f(score.value), f(score.low), f(score.high), note)


def _loss(job: Pretraining, model: Model, name: str) -> Score:
    sums, counts = (np.asarray(v, dtype=np.float64) for v in job.by_batch(model, name))
    low = high = math.nan  # one row alone has no spread to take an interval from
    if len(sums) > 1:
        low, high = interval(bootstrap(lambda w: (w @ sums) / (w @ counts), len(sums)))
    return Score(float(sums.sum() / counts.sum()), low, high)


def _text_alone(batch: Batch, name: str, special_ids: Sequence[int]) -> Batch:
    """The batch without the targets of a term that stand for no text."""
    targets = batch.targets[name]
    special = torch.isin(targets, torch.tensor([*special_ids]))
    return dataclasses.replace(batch, targets={**batch.targets, name: targets.masked_fill(special, IGNORE)})


def _text_share(batches: Sequence[Batch], name: str, special_ids: Sequence[int]) -> float:
    """Share of a term's targets that stand for text."""
    targets = torch.cat([batch.targets[name].flatten() for batch in batches])
    targets = targets[targets != IGNORE]
    return 1.0 - float(torch.isin(targets, torch.tensor([*special_ids])).double().mean())
