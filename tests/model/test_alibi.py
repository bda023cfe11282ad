"""ALiBi against the numbers of Press et al. 2022, section 3, the published code by way of Bloom, and the scores."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wordloom.model.architecture import Architecture
from wordloom.model.positions import alibi_bias, alibi_slopes
from wordloom.model.transformer import Transformer

EIGHT = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
SIXTEEN = [2**-0.5, 2**-1, 2**-1.5, 2**-2, 2**-2.5, 2**-3, 2**-3.5, 2**-4,
           2**-4.5, 2**-5, 2**-5.5, 2**-6, 2**-6.5, 2**-7, 2**-7.5, 2**-8]  # fmt: skip
HEADS = 4  # whose slopes are 1/4, 1/16, 1/64, 1/256
SMALL = Architecture(
    vocab_size=30, width=16, layers=2, heads=HEADS, ffn_width=16, position="alibi", types=0, dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        (1, [2**-8]),
        (2, [2**-4, 2**-8]),
        (8, EIGHT),
        (16, SIXTEEN),
        (3, [2**-4, 2**-8, 2**-2]),  # two heads', then the first of four heads'
        (12, [*EIGHT, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),  # eight heads', then every other one of sixteen
    ],
)
def test_slopes_are_the_papers(heads: int, expected: list[float]) -> None:
    assert alibi_slopes(heads).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8, 12, 14, 16, 20, 25, 32, 40, 112])
def test_a_causal_rows_bias_is_the_librarys(heads: int) -> None:
    """Bloom's is slope * place of the key: a row's softmax is the same after any number is added to the whole row."""
    modeling = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    theirs = modeling.build_alibi_tensor(mask, heads, torch.float32).view(2, heads, 1, 9)
    places = torch.arange(9).expand(2, -1)
    ours = alibi_bias(places, places, heads, torch.float32)
    seen = torch.ones(9, 9).tril().bool() & mask[:, None, None, :].bool()
    at_itself = theirs.transpose(-1, -2)  # (B, H, T, 1): theirs of the query's own place, where ours is 0
    difference = (ours - (theirs - at_itself)).masked_fill(~seen | (mask == 0)[:, None, :, None], 0.0)
    assert float(difference.abs().max()) < 1e-5


def test_the_bias_is_minus_slope_times_distance() -> None:
    """By hand: 0 at itself, down to the left and, where the future is seen, to the right alike; places, not columns."""
    places = torch.tensor([[0, 1, 2, 3], [5, 6, 0, 1]])
    bias = alibi_bias(places, places, HEADS, torch.float64)
    assert bias.shape == (2, HEADS, 4, 4) and bias.dtype == torch.float64
    assert bias[0, 0].tolist() == [[0, -0.25, -0.5, -0.75], [-0.25, 0, -0.25, -0.5], [-0.5, -0.25, 0, -0.25],
                                   [-0.75, -0.5, -0.25, 0]]  # fmt: skip
    assert bias[0, 3, 3].tolist() == [-3 / 256, -2 / 256, -1 / 256, 0]
    assert bias[1, 1, 0].tolist() == [0, -1 / 16, -5 / 16, -4 / 16]
    later = alibi_bias(torch.tensor([[7]]), torch.tensor([[4, 7]]), HEADS, torch.float64)  # one query, as with a cache
    assert later[0, :, 0].tolist() == [[-3 / 4, 0], [-3 / 16, 0], [-3 / 64, 0], [-3 / 256, 0]]


def by_hand(query: int, seen: list[int], keys: int) -> Tensor:
    """(H, S) weights of a query whose content says nothing: exp(-slope * distance) over what it sees."""
    rows = []
    for head in range(HEADS):
        scores = [math.exp(-(2.0 ** (-2 * (head + 1))) * abs(query - s)) if s in seen else 0.0 for s in range(keys)]
        rows.append([x / sum(scores) for x in scores])
    return torch.tensor(rows)


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_the_bias_is_added_to_the_scores_of_every_layer(attention: Any) -> None:
    """With queries of zeros the scores are the bias alone, neither scaled nor turned round, to the future too."""
    torch.manual_seed(0)
    body = Transformer(replace(SMALL, attention=attention)).eval()
    with torch.no_grad():
        for name, p in body.named_parameters():
            if ".qkv." in name:
                p[: SMALL.width] = 0.0
    tokens = torch.randint(1, 30, (1, 9), generator=torch.Generator().manual_seed(1))
    documents = torch.tensor([[1] * 6 + [2] * 3])
    positions = torch.tensor([[*range(6), *range(3)]])
    weights: list[Tensor] = []
    with torch.no_grad():
        body(tokens, documents, positions, torch.zeros_like(tokens), weights=weights)
    assert len(weights) == SMALL.layers
    for found in weights:
        for query in range(9):
            mine = [s for s in range(9) if (s < 6) == (query < 6) and (attention == "full" or s <= query)]
            torch.testing.assert_close(found[0, :, query], by_hand(query, mine, 9), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_the_fast_paths_add_it_too(attention: Any) -> None:
    """The kernels that keep no weights give what the written-out path gives, far from what no bias would."""
    torch.manual_seed(0)
    body = Transformer(replace(SMALL, attention=attention, init_std=0.3)).eval()
    tokens = torch.randint(1, 30, (2, 9), generator=torch.Generator().manual_seed(1))
    given = tokens, torch.ones_like(tokens), torch.arange(9).expand(2, -1), torch.zeros_like(tokens)
    with torch.no_grad():
        kept = body(*given, weights=[])
        torch.testing.assert_close(body(*given), kept, rtol=0, atol=1e-5)
        nowhere = body(given[0], given[1], torch.zeros_like(tokens), given[3])  # all at one place: no distances
    assert float((nowhere - kept).abs().max()) > 1e-2
