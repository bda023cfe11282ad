"""Each filter equals the public library's on random logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from wordloom.infer.sampling import (
    Decoding,
    discourage,
    forbid_ngrams,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    narrow,
    penalise_repetition,
)


def random_logits(seed: int) -> Tensor:
    return torch.randn(4, 50, generator=torch.Generator().manual_seed(seed)) * 3


def library(name: str, **values: Any) -> Any:
    import transformers

    return getattr(transformers, name)(**values)


FILTERS: list[tuple[Callable[[Tensor], Tensor], str, dict[str, Any]]] = [
    (lambda x: keep_top_k(x, 1), "TopKLogitsWarper", {"top_k": 1}),
    (lambda x: keep_top_k(x, 7), "TopKLogitsWarper", {"top_k": 7}),
    (lambda x: keep_top_k(x, 99), "TopKLogitsWarper", {"top_k": 99}),
    (lambda x: keep_top_p(x, 0.9), "TopPLogitsWarper", {"top_p": 0.9}),
    (lambda x: keep_top_p(x, 0.01), "TopPLogitsWarper", {"top_p": 0.01}),
    (lambda x: keep_min_p(x, 0.05), "MinPLogitsWarper", {"min_p": 0.05}),
    (lambda x: keep_min_p(x, 1.0), "MinPLogitsWarper", {"min_p": 1.0}),
    (lambda x: narrow(x, Decoding(temperature=0.7)), "TemperatureLogitsWarper", {"temperature": 0.7}),
]


@pytest.mark.parametrize(("ours", "name", "values"), FILTERS)
def test_filter_is_the_library(ours: Callable[[Tensor], Tensor], name: str, values: dict[str, Any]) -> None:
    for seed in range(5):
        logits = random_logits(seed)
        if seed == 4:
            logits = logits.round()  # ties
        if seed == 3:
            logits[:, 5:20] = float("-inf")
        before = logits.clone()
        assert torch.equal(ours(logits), library(name, **values)(torch.zeros(4, 1, dtype=torch.int64), logits))
        assert torch.equal(logits, before)


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_repetition_is_the_library(penalty: float) -> None:
    logits, texts = random_logits(1), torch.randint(0, 50, (4, 30), generator=torch.Generator().manual_seed(2))
    expected = library("RepetitionPenaltyLogitsProcessor", penalty=penalty)(texts, logits.clone())
    assert torch.equal(penalise_repetition(logits, texts.tolist(), penalty), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_ngrams_are_the_library(n: int) -> None:
    texts = torch.randint(0, 3, (4, 60), generator=torch.Generator().manual_seed(3))  # few words: much repeats
    logits = random_logits(4)
    expected = library("NoRepeatNGramLogitsProcessor", ngram_size=n)(texts, logits.clone())
    found = forbid_ngrams(logits, texts.tolist(), n)
    assert torch.equal(found, expected)
    assert bool(torch.isinf(found).any())
    assert torch.equal(forbid_ngrams(logits, [[1]] * 4, n), logits if n > 1 else forbid_ngrams(logits, [[1]] * 4, 1))


def test_all_together_in_the_library_s_order() -> None:
    from transformers import LogitsProcessorList

    how = Decoding(temperature=1.4, top_k=20, top_p=0.8, min_p=0.1, repetition_penalty=1.5, no_repeat_ngram=2)
    chain = LogitsProcessorList(
        [
            library("RepetitionPenaltyLogitsProcessor", penalty=1.5),
            library("NoRepeatNGramLogitsProcessor", ngram_size=2),
            library("TemperatureLogitsWarper", temperature=1.4),
            library("TopKLogitsWarper", top_k=20),
            library("TopPLogitsWarper", top_p=0.8),
            library("MinPLogitsWarper", min_p=0.1),
        ]
    )
    texts = torch.randint(0, 50, (4, 200), generator=torch.Generator().manual_seed(5))
    logits = random_logits(6)
    expected = chain(cast(Any, texts), cast(Any, logits.clone()))
    assert torch.equal(narrow(discourage(logits, texts.tolist(), how), how), expected)
