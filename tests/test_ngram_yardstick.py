"""The Kneser-Ney yardstick of benchmarks/ngrams.py: hand arithmetic, sums to 1, a slow writing-out of the equations."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import tiny
from wordloom.config import CausalConfig, TokenizerConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.contiguous import ContiguousRows
from wordloom.data.corpus import Document
from wordloom.data.packing import PackedRows
from wordloom.data.store import build_store
from wordloom.objectives.causal import Causal
from wordloom.text.tokenizer import Tokenizer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))  # for its _common
    try:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


ngrams = load("ngrams")


def text(documents: list[list[int]]) -> object:
    tokens = np.array([t for d in documents for t in d])
    first = np.array([i == 0 for d in documents for i in range(len(d))])
    return ngrams.Text(tokens, first, np.zeros(len(tokens), np.int64))


def probability(model: object, history: list[int], token: int) -> float:
    return float(np.exp(ngrams.log_probabilities(model, text([[*history, token]]))[-1]))


def test_bigram_by_hand() -> None:
    """<s> a b </s> | <s> a c </s> with V = 5: <s> 0, a 1, b 2, c 3, </s> 4; discounts are the fallback's, n3 = 0.

    Counts: <s>a 2; ab, ac, b</s>, c</s> 1. Different tokens before: a 1, b 1, c 1, </s> 2: 5 in all.
    p1(a) = p1(b) = p1(c) = (1 - 0.5) / 5 + u, p1(</s>) = (2 - 1) / 5 + u, u = (3 * 0.5 + 1) / 5 / 5 = 0.1.
    """
    model = ngrams.fit(text([[0, 1, 2, 4], [0, 1, 3, 4]]), 5, 2)
    assert model.discounts.tolist() == [[0.5, 1.0, 1.5]] * 2
    assert model.unigram == pytest.approx([0.1, 0.2, 0.2, 0.2, 0.3])
    assert probability(model, [0], 1) == pytest.approx((2 - 1) / 2 + 1 / 2 * 0.2)
    assert probability(model, [1], 2) == pytest.approx((1 - 0.5) / 2 + (0.5 + 0.5) / 2 * 0.2)
    assert probability(model, [1], 4) == pytest.approx(1 / 2 * 0.3)
    assert probability(model, [4], 1) == pytest.approx(0.2)  # nothing ever followed </s>
    assert probability(model, [2], 4) == pytest.approx((1 - 0.5) / 1 + 0.5 * 0.3)


def test_what_begins_a_document_keeps_its_count() -> None:
    """In a trigram model the bigram <s>a, seen twice, counts 2 as nothing stands before it; ab counts 1: <s> alone."""
    model = ngrams.fit(text([[0, 1, 2], [0, 1, 2], [0, 2, 1]]), 3, 3)
    # a(<s>a) = 2, a(<s>b) = 1, a(ab) = 1, a(ba) = 1; fallback discounts 1 of 2 and 0.5 of 1
    assert model.share[0] == pytest.approx([(2 - 1) / 3, (1 - 0.5) / 3, (1 - 0.5) / 1, (1 - 0.5) / 1])
    # before a: <s>, b; before b: a, <s>
    assert model.unigram == pytest.approx([2 / 4 / 3, (2 - 1) / 4 + 2 / 4 / 3, (2 - 1) / 4 + 2 / 4 / 3])


def test_discounts() -> None:
    """Chen & Goodman 1999, equation 17, with n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 1/2, D = 1/2, 5/4, 2."""
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 5])
    assert ngrams.discounts_of(counts) == pytest.approx((0.5, 1.25, 2.0))
    assert ngrams.discounts_of(counts[counts != 3]) == ngrams.FALLBACK
    taken = ngrams._taken(np.array([0, 1, 2, 3, 7]), np.array([0.5, 1.25, 2.0]))
    assert taken.tolist() == [0.0, 0.5, 1.25, 2.0, 2.0]


def zipf(seed: int, documents: int = 120, vocab: int = 12) -> list[list[int]]:
    """Documents from a random second-order chain: enough repetition for every count of counts."""
    rng = np.random.default_rng(seed)
    chain = rng.dirichlet(np.full(vocab - 2, 0.25), (vocab, vocab))
    found = []
    for _ in range(documents):
        row = [0, int(rng.integers(1, vocab - 1))]
        while len(row) < rng.integers(3, 14):
            row.append(1 + int(rng.choice(vocab - 2, p=chain[row[-2], row[-1]])))
        found.append([*row, vocab - 1])
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_every_context_sums_to_one(order: int) -> None:
    documents = zipf(0)
    model = ngrams.fit(text(documents), 12, order)
    assert order < 3 or (model.discounts[-2] != ngrams.FALLBACK).any()
    histories = [[0], documents[3][:4], documents[5][:6], documents[7][:3], [0, 5, 5, 5, 5], [3, 11, 4], [9]]
    for history in histories:
        row = [probability(model, history, token) for token in range(12)]
        assert sum(row) == pytest.approx(1.0, abs=1e-12) and min(row) > 0


def slow(documents: list[list[int]], vocab: int, order: int, history: tuple[int, ...], token: int) -> float:
    """The equations with dictionaries, every time anew."""
    count: dict[int, Counter[tuple[int, ...]]] = {k: Counter() for k in range(1, order + 1)}
    before: dict[tuple[int, ...], set[int]] = defaultdict(set)
    begins: Counter[tuple[int, ...]] = Counter()
    for d in documents:
        for i in range(1, len(d)):
            for k in range(1, min(order, i + 1) + 1):
                gram = tuple(d[i - k + 1 : i + 1])
                count[k][gram] += 1
                if i - k >= 0:
                    before[gram].add(d[i - k])
                else:
                    begins[gram] += 1
    adjusted = {k: (c if k == order else Counter({g: len(before[g]) + begins[g] for g in c})) for k, c in count.items()}

    def p(k: int, h: tuple[int, ...]) -> float:
        if k == 0:
            return 1 / vocab
        a = adjusted[k]
        d = (0.0, *ngrams.discounts_of(np.array(list(a.values()))))
        rows = {g: n for g, n in a.items() if g[:-1] == h}
        total = sum(rows.values())
        lower = p(k - 1, h[1:])
        if not total:
            return lower
        n = rows.get((*h, token), 0)
        return (n - d[min(n, 3)]) / total + sum(d[min(n, 3)] for n in rows.values()) / total * lower

    longest = min(order, len(history) + 1)
    return p(longest, history[len(history) - longest + 1 :])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equal_to_the_equations_written_out(order: int) -> None:
    documents, other = zipf(1), zipf(2, documents=4)
    model = ngrams.fit(text(documents), 12, order)
    for d in (documents[0], *other):
        found = ngrams.log_probabilities(model, text([d]))
        for i in range(1, len(d)):
            assert np.exp(found[i]) == pytest.approx(slow(documents, 12, order, tuple(d[:i]), d[i]), rel=1e-10)


def test_higher_orders_fit_their_text_better() -> None:
    documents = text(zipf(3))
    losses = [-ngrams.log_probabilities(ngrams.fit(documents, 12, n), documents).sum() for n in (1, 2, 3, 5)]
    assert losses == sorted(losses, reverse=True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, object]:
    words = Tokenizer.train(tiny.documents(80), TokenizerConfig(vocab_size=150))
    documents = [Document(t, "x.txt", i + 1) for i, t in enumerate(tiny.documents(80))]
    return words, build_store(documents, words, tmp_path_factory.mktemp("store") / "store")


@pytest.mark.parametrize("layout", ["isolated", "separated", "streams"])
def test_predicts_what_the_causal_objective_predicts(tokens: tuple[Tokenizer, object], layout: str) -> None:
    """Every target once, after the tokens that stand before it; units are the batches."""
    words, store = tokens
    rows: object
    if layout == "streams":
        rows = ContiguousRows(store, 24, streams=4, sep_id=words.sep_id, seed=0)
    else:
        ids = {"cls_id": words.cls_id, "sep_id": words.sep_id, "pad_id": words.pad_id}
        rows = PackedRows(store, 24, seed=0, documents=layout, **ids)
    objective = Causal(CausalConfig())
    batches: list[Batch] = list(ngrams._epoch(rows, objective))
    if layout != "streams":
        batches = batches[0].split(5)
    found = ngrams.text_of(batches)
    counts = [int((b.targets["causal"] != IGNORE).sum()) for b in batches]
    assert np.bincount(found.unit[~found.first]).tolist() == counts
    wanted = torch.cat([b.targets["causal"][b.targets["causal"] != IGNORE] for b in batches])
    assert sorted(found.tokens[~found.first]) == sorted(wanted.tolist())
    if layout == "streams":
        assert found.first.sum() == 4 and len(batches) > 3
        one = torch.cat([b.targets["causal"][2] for b in batches])
        begin = np.flatnonzero(found.first)
        stream = found.tokens[begin[2] : begin[3]]
        assert stream[1:].tolist() == one[one != IGNORE].tolist() and stream[0] == batches[0].tokens[2, 0]
    else:
        assert (found.tokens[found.first] == words.cls_id).all() and found.tokens[1:][found.first[1:]].size > 4
