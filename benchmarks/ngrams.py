"""The yardstick of causal rows: interpolated modified Kneser-Ney on the same tokens, Chen & Goodman 1999.

    python benchmarks/ngrams.py runs/gpt2-baby10m runs/lstm-baby10m [--order 5] [--threads 1]

RUN is a finished pre-training with the causal objective. Its training rows are counted, its held-out rows predicted:
the same tokens, each from what stands before it in its row's document (in its stream, where rows go on). Beside the
n-gram stand unigram and bigram (the same estimate at orders 1 and 2) and the run's own model; intervals are bootstraps
over the held-out batches, of the difference on the same batches. Writes benchmarks/results/ngrams.json.

The model: p(w | h) = (a(hw) - D) / sum_x a(hx) + g(h) p(w | h without its first token), equations 17 to 19 and section
3 of Chen & Goodman 1999 ("An empirical study of smoothing techniques for language modeling", Computer Speech and
Language), where a is the count at the highest order and the number of different tokens before hw at the others; an
n-gram that begins a document has nothing before it and keeps its count there (Heafield et al. 2013, section 3.1). Order
1 goes on to the uniform distribution over the vocabulary. No n-gram is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import _common as common
import numpy as np
from numba import njit

FALLBACK = (0.5, 1.0, 1.5)  # where a count of counts is 0, as small corpora have it: KenLM's --discount_fallback
ROWS = 4096  # of training text read at a time


class Text(NamedTuple):
    """N tokens of documents one after the other. tokens (N,) int64; first (N,) True where a document begins: that
    token is not predicted; unit (N,) number of the batch that predicts the token."""

    tokens: np.ndarray
    first: np.ndarray
    unit: np.ndarray


class KneserNey(NamedTuple):
    """Of the orders 2 .. n, one entry each: the n-grams that go on a context lie together, by token.

    words (G,) last token, share (G,) discounted count over the context's total, start (C + 1,) where a context's
    n-grams begin, back (C,) weight of the lower order; a context is an n-gram of the order below, or a token. unigram
    (V,) is the whole distribution of order 1; discounts (n, 3) are D1, D2, D3+ of all orders.
    """

    unigram: np.ndarray
    words: tuple[np.ndarray, ...]
    share: tuple[np.ndarray, ...]
    start: tuple[np.ndarray, ...]
    back: tuple[np.ndarray, ...]
    discounts: np.ndarray


def text_of(batches: Iterable[Any]) -> Text:
    """The predictions of corrupted causal batches, documents in order; streams are joined over the batches."""
    pieces: list[Text] = []
    streams: dict[int, list[Text]] = {}
    for number, batch in enumerate(batches):
        tokens, documents = batch.tokens.numpy(), batch.documents.numpy()
        following = batch.targets["causal"].numpy()
        predicted = following >= 0
        if batch.continues:
            for i in range(len(tokens)):
                its = following[i, predicted[i]]
                begun = i in streams
                joined = its if begun else np.concatenate([tokens[i, :1], its])
                first = np.zeros(len(joined), bool)
                first[: not begun] = True
                streams.setdefault(i, []).append(Text(joined, first, np.full(len(joined), number)))
            continue
        inside = documents > 0
        first = np.ones_like(inside)
        first[:, 1:] = documents[:, 1:] != documents[:, :-1]
        assert (inside & ~first).sum() == predicted.sum(), "a token is predicted that this model would not predict"
        pieces.append(Text(tokens[inside], first[inside], np.full(inside.sum(), number)))
    pieces += [piece for stream in streams.values() for piece in stream]
    return Text(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def discounts_of(counts: np.ndarray) -> tuple[float, float, float]:
    """D1, D2, D3+ of the counts (G,) of an order's n-grams: Chen & Goodman 1999, equation 17."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return found if all(0 <= d <= k for k, d in enumerate(found, start=1)) else FALLBACK


def fit(text: Text, vocab_size: int, order: int = 5) -> KneserNey:
    """Count and discount. 10 M tokens, V = 8,192: 13 s of processor time and 1.8 GB at most, measured."""
    place = _places(text.first)
    ids, grams = _grams(text.tokens, place, vocab_size, order)
    counts = [_counts(ids, place, k, vocab_size if k == 1 else len(grams[k])) for k in range(1, order + 1)]
    discounts = np.array([discounts_of(c[c > 0]) for c in counts])
    taken = [_taken(c, d) for c, d in zip(counts, discounts, strict=True)]
    total = counts[0].sum()
    unigram = (counts[0] - taken[0]) / total + taken[0].sum() / total / vocab_size
    words, share, start, back = [], [], [], []
    contexts = vocab_size
    for k in range(2, order + 1):
        context, word = np.divmod(grams[k], vocab_size)
        totals = np.bincount(context, counts[k - 1], contexts)
        weights = np.bincount(context, taken[k - 1], contexts)
        words.append(word)
        share.append((counts[k - 1] - taken[k - 1]) / totals[context])
        start.append(np.searchsorted(context, np.arange(contexts + 1)))
        back.append(np.divide(weights, totals, out=np.ones(contexts), where=totals > 0))
        contexts = len(word)
    return KneserNey(unigram, tuple(words), tuple(share), tuple(start), tuple(back), discounts)


def _places(first: np.ndarray) -> np.ndarray:
    """(N,) -> (N,) each token's place in its document, from 0."""
    n = np.arange(len(first))
    return n - np.maximum.accumulate(np.where(first, n, 0))


def _grams(
    tokens: np.ndarray, place: np.ndarray, vocab_size: int, order: int
) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
    """ids[k - 1] (N,): number of the k-gram that ends at each token, -1 where the document is too young; grams[k]:
    the k-grams, rising, each (number of its first k - 1 tokens) * V + last token."""
    ids, grams = [tokens.astype(np.int64)], {}
    for k in range(2, order + 1):
        at = np.flatnonzero(place >= k - 1)
        grams[k], numbers = np.unique(ids[-1][at - 1] * vocab_size + tokens[at], return_inverse=True)
        its = np.full(len(tokens), -1, np.int64)
        its[at] = numbers
        ids.append(its)
    return ids, grams


def _counts(ids: list[np.ndarray], place: np.ndarray, k: int, size: int) -> np.ndarray:
    """(size,) of each k-gram: its occurrences at the highest order, else the different tokens before it."""
    mine = ids[k - 1]
    if k == len(ids):
        return np.bincount(mine[place >= max(k - 1, 1)], minlength=size)
    longer = ids[k]
    at = np.flatnonzero(longer >= 0)
    suffix = np.empty(longer.max(initial=-1) + 1, np.int64)
    suffix[longer[at]] = mine[at]  # equal for all occurrences of the longer one
    counts = np.bincount(suffix, minlength=size)
    return counts + np.bincount(mine[place == k - 1], minlength=size) if k > 1 else counts


def _taken(counts: np.ndarray, discounts: np.ndarray) -> np.ndarray:
    """What is taken from each count: equation 17."""
    return np.concatenate([[0.0], discounts])[np.minimum(counts, 3)]


def log_probabilities(model: KneserNey, text: Text) -> np.ndarray:
    """(N,) natural log of each predicted token's probability given all of its document before it; 0 where first."""
    found = np.zeros(len(text.tokens))
    if not model.words:
        found[:] = np.log(model.unigram[text.tokens])
    else:
        tables = model.words, model.share, model.start, model.back
        _query(text.tokens.astype(np.int64), _places(text.first), model.unigram, *tables, found)
    found[text.first] = 0.0
    return found


@njit(cache=True)
def _find(words, start, context, token):  # type: ignore[no-untyped-def]
    """Number of the n-gram (context, token); -1 where it was not seen."""
    low, high = start[context], start[context + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if words[middle] < token:
            low = middle + 1
        else:
            high = middle
    return low if low < end and words[low] == token else -1


@njit(cache=True)
def _query(tokens, place, unigram, words, share, start, back, found):  # type: ignore[no-untyped-def]
    for i in range(len(tokens)):
        p = unigram[tokens[i]]
        for k in range(min(place[i], len(words))):  # order k + 2: the context is the k + 1 tokens before
            context = tokens[i - k - 1]
            for j in range(k):
                context = _find(words[j], start[j], context, tokens[i - k + j])
                if context < 0:
                    break
            if context < 0:
                break  # a longer context was not seen either
            gram = _find(words[k], start[k], context, tokens[i])
            p = back[k][context] * p + (share[k][gram] if gram >= 0 else 0.0)
        found[i] = np.log(p)


# --- a run's rows ----------------------------------------------------------------------------------------------------


def measure(run: Path, order: int) -> dict[str, Any]:
    """Scores of the n-grams and of the run's model on the run's held-out rows."""
    from wordloom.api.held_out import BATCH, held_out_rows
    from wordloom.api.objectives import make_layout, make_objective
    from wordloom.config import CausalConfig, read_recipe
    from wordloom.data.store import TokenStore
    from wordloom.model.interop import load_bundle
    from wordloom.objectives.causal import NAME
    from wordloom.objectives.pretraining import Pretraining
    from wordloom.text.tokenizer import Tokenizer

    recipe = read_recipe(run / "recipe.toml")
    if not isinstance(recipe.objective, CausalConfig):
        sys.exit(f"{run}: its objective is not causal. Give a run of a gpt, gpt2, gpt3 or recurrent row.")
    tokenizer = Tokenizer.load(run / "tokenizer")
    train, valid = (TokenStore.open(run / "store" / part) for part in ("train", "valid"))
    objective = make_objective(recipe.objective, tokenizer)
    layout = make_layout(train, tokenizer, recipe.train, recipe.objective, streams=recipe.train.batch)
    held_out = held_out_rows(make_layout(valid, tokenizer, recipe.train, recipe.objective, streams=BATCH), objective)
    text, asked = text_of(_epoch(layout, objective)), text_of(held_out)
    job = Pretraining(objective, held_out)
    model_sums, counts = (np.asarray(v) for v in job.by_batch(load_bundle(run / "bundle").model, NAME))
    result: dict[str, Any] = {"training_tokens": int((~text.first).sum()), "held_out_tokens": int(counts.sum())}
    result["vocabulary"] = tokenizer.vocab_size
    sums = {"model": model_sums}
    predicted = np.bincount(asked.unit[~asked.first], minlength=len(held_out))
    assert predicted[predicted > 0].tolist() == counts.tolist(), "the n-grams predict other tokens than the model"
    for n, label in ((1, "unigram"), (2, "bigram"), (order, f"Kneser-Ney {order}-gram")):
        begun = time.perf_counter()
        found = fit(text, tokenizer.vocab_size, n)
        sums[label] = -np.bincount(asked.unit, log_probabilities(found, asked), len(held_out))[predicted > 0]
        result[label] = {
            "seconds": round(time.perf_counter() - begun, 1),
            "discounts": found.discounts.round(4).tolist(),
        }
    result["peak_memory_mb"] = common.usage()["peak_memory_mb"]
    for label, its in sums.items():
        result.setdefault(label, {}).update(_scores(job, its, counts, train, tokenizer.special_ids))
        if label != "model":
            result[label]["model_minus_this"] = _difference(model_sums, its, counts)
    return result


def _epoch(layout: Any, objective: Any) -> Iterable[Any]:
    """All training rows once. Rows of streams are whole steps."""
    rows = ROWS // getattr(layout, "streams", 1) * getattr(layout, "streams", 1) or layout.streams
    for first in range(0, layout.rows_per_epoch, rows):
        numbers = np.arange(first, min(first + rows, layout.rows_per_epoch))
        batch = objective.corrupt(layout.batch(numbers), np.random.default_rng(0), 1.0)
        yield from batch.split(len(numbers) // layout.streams) if batch.continues else [batch]


def _scores(job: Any, sums: np.ndarray, counts: np.ndarray, store: Any, special_ids: Sequence[int]) -> dict[str, Any]:
    """The scores a run prints, by the same function."""
    from wordloom.api.held_out import held_out_scores

    class Sums:
        held_out, counts = job.held_out, staticmethod(job.counts)

        def by_batch(self, model: Any, term: str) -> tuple[list[float], list[float]]:
            return sums.tolist(), counts.tolist()

    found = held_out_scores(Sums(), None, store, special_ids)  # type: ignore[arg-type]
    keys = ("loss", "perplexity", "bits_per_byte")
    return {k: [round(v, 4) for v in (found[k].value, found[k].low, found[k].high)] for k in keys}


def _difference(model: np.ndarray, other: np.ndarray, counts: np.ndarray) -> list[float]:
    """Nats per token, model minus other, and the 95 % interval of the paired bootstrap over batches."""
    from wordloom.metrics import bootstrap, interval

    between = model - other
    low, high = interval(bootstrap(lambda w: (w @ between) / (w @ counts), len(counts)))
    return [round(float(v), 4) for v in (between.sum() / counts.sum(), low, high)]


def lines(name: str, result: dict[str, Any]) -> list[str]:
    rows = [f"{name}: {result['training_tokens']:,} tokens counted, {result['held_out_tokens']:,} predicted"]
    for label in ("unigram", "bigram", *(k for k in result if k.endswith("-gram")), "model"):
        row = result[label]
        loss, low, high = row["loss"]
        rows.append(
            f"  {label:<20} {loss:.3f} [{low:.3f}, {high:.3f}] nats, perplexity {row['perplexity'][0]:.1f}, "
            f"{row['bits_per_byte'][0]:.3f} bits per byte"
            + (f"; model minus this {row['model_minus_this']}" if label != "model" else "")
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="write nothing")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    for run in options.runs:
        found[run.name] = measure(run, options.order)
        print("\n".join(lines(run.name, found[run.name])), flush=True)
    if not options.quick:
        facts = {"what": __doc__.split("\n")[0], "date": date.today().isoformat()}
        machine = common.machine(options.threads)
        print(common.write("ngrams", {**facts, "command": common.command(), "machine": machine, "runs": found}))


if __name__ == "__main__":
    main()
