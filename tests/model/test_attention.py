"""attend (fused) and attend_plain (written out) are one function; masks keep documents apart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wordloom.model.attention import attend, attend_plain, mask_between

torch.set_num_threads(1)
DOCUMENTS = {
    "full": torch.ones(3, 8, dtype=torch.int64),
    "packed": torch.tensor([[1, 1, 1, 2, 2, 3, 0, 0], [1] * 8, [1, 2, 3, 4, 5, 6, 7, 8]]),
    "empty row": torch.tensor([[0] * 8, [1] * 8, [1] * 4 + [0] * 4]),
}


def qkv() -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    return [torch.randn(3, 2, 8, 4, generator=g, dtype=torch.float64).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_fused_equals_plain_in_values_and_gradients(name: str) -> None:
    mask = mask_between(DOCUMENTS[name], DOCUMENTS[name])
    fused_in, plain_in = qkv(), qkv()
    upstream = torch.randn(3, 2, 8, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fused = attend(*fused_in, mask, 0.0, training=True)
    plain, weights = attend_plain(*plain_in, mask, 0.0, training=True)
    assert torch.allclose(fused, plain, rtol=0, atol=1e-14)
    fused.backward(upstream)
    plain.backward(upstream)
    for a, b in zip(fused_in, plain_in, strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=0, atol=1e-14) and a.grad.isfinite().all()
    assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.float64))
    if mask is not None:
        assert (weights.masked_select(~mask) == 0).all()


def test_plain_against_hand_arithmetic() -> None:
    q = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]] * 2]], dtype=torch.float64)
    k = torch.tensor([[[[2.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0]]]], dtype=torch.float64)
    v = torch.tensor([[[[10.0, 0, 0, 0], [0, 20.0, 0, 0]]]], dtype=torch.float64)
    out, weights = attend_plain(q, k, v, None, 0.0, training=False)
    p = math.e / (math.e + 1)  # scores 2 / sqrt(4) = 1 and 0
    assert weights[0, 0, 0].tolist() == pytest.approx([p, 1 - p], abs=1e-15)
    assert out[0, 0, 1].tolist() == pytest.approx([10 * p, 20 * (1 - p), 0, 0], abs=1e-14)


def test_documents_do_not_see_each_other() -> None:
    assert mask_between(DOCUMENTS["full"], DOCUMENTS["full"]) is None
    mask = mask_between(DOCUMENTS["packed"], DOCUMENTS["packed"])
    assert mask is not None and mask.shape == (3, 1, 8, 8) and mask.dtype is torch.bool
    seen = [mask[0, 0, t].nonzero().flatten().tolist() for t in range(8)]
    assert seen == [[0, 1, 2]] * 3 + [[3, 4]] * 2 + [[5]] + [[6, 7]] * 2
    assert mask[2, 0].equal(torch.eye(8, dtype=torch.bool))


def test_attention_dropout_is_unbiased_and_only_while_training() -> None:
    q, k, v = (t.detach() for t in qkv())
    exact, _ = attend_plain(q, k, v, None, 0.5, training=False)
    assert torch.equal(exact, attend_plain(q, k, v, None, 0.0, training=True)[0])
    torch.manual_seed(0)
    for function in (attend, lambda *a: attend_plain(*a)[0]):
        mean = torch.stack([function(q, k, v, None, 0.5, True) for _ in range(3000)]).mean(0)
        assert (mean - exact).abs().max() < 0.1
        assert not torch.equal(function(q, k, v, None, 0.5, True), exact)
