"""Every kernel equals plain torch in values and gradients; its dropout is dropout."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from wordloom.errors import ConfigError
from wordloom.model import kernels, native

FAST = ("onednn", "blas")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    kernels.use_backend(None)
    torch.set_num_threads(before)


@pytest.fixture(params=FAST)
def fast(request: pytest.FixtureRequest) -> str:
    if request.param == "onednn" and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    kernels.use_backend(request.param)
    return str(request.param)


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def assert_equal(ours: Callable[[], Tensor], plain: Callable[[], Tensor], inputs: list[Tensor]) -> None:
    """Values and gradients for the same incoming gradient, to 1e-5 of the largest entry."""
    a, b = ours(), plain()
    grad = torch.randn_like(b)
    for x, y in zip(
        (a, *torch.autograd.grad(a, inputs, grad)), (b, *torch.autograd.grad(b, inputs, grad)), strict=True
    ):
        assert x.shape == y.shape and x.dtype == y.dtype
        assert (x - y).abs().max() <= 1e-5 * y.abs().max().clamp_min(1e-6)


def same_key(call: Callable[[], Tensor], p: float) -> tuple[Tensor, native.Key]:
    """The call's result and the key it drew."""
    state = torch.get_rng_state()
    out = call()
    torch.set_rng_state(state)
    return out, kernels._key(p)


def kept(shape: tuple[int, ...], p: float, key: native.Key) -> Tensor:
    """The mask of a key: 0 or 1 / (1 - p) for every element."""
    ones = torch.ones(shape)
    return native.dropout(ones.view(-1, shape[-1]), p, key).view(shape) if p else ones


# --- linear ---


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [((3, 7), 64, 96), ((200,), 96, 40), ((1,), 5, 3)])
def test_linear(fast: str, rows: tuple[int, ...], inputs: int, outputs: int) -> None:
    x, w, b = leaf(*rows, inputs), leaf(outputs, inputs), leaf(outputs)
    assert_equal(lambda: kernels.linear(x, w, b), lambda: F.linear(x, w, b), [x, w, b])
    assert_equal(lambda: kernels.linear(x, w), lambda: F.linear(x, w), [x, w])


def test_linear_of_a_transposed_view_and_of_nothing(fast: str) -> None:
    x, w, b = leaf(32, 6, 4), leaf(16, 32), leaf(16)
    assert_equal(lambda: kernels.linear(x.permute(1, 2, 0), w, b), lambda: F.linear(x.permute(1, 2, 0), w, b), [x, w])
    assert kernels.linear(torch.zeros(0, 32), w, b).shape == (0, 16)


def test_linear_goes_through_onednn_only_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    product = kernels._product
    monkeypatch.setattr(kernels, "_product", lambda *a: calls.append(1) or product(*a))
    x, w = leaf(8, 16), leaf(4, 16)
    for name, expected in (("onednn", 3), ("blas", 0), ("torch", 0)):
        kernels.use_backend(name)
        calls.clear()
        kernels.linear(x, w).sum().backward()
        assert len(calls) == expected, name


# --- dropout ---


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_rate_scale_and_independence(fast: str, p: float) -> None:
    n = 1_000_000
    x = torch.ones(1000, 1000)
    first, second = kernels.dropout(x, p, True), kernels.dropout(x, p, True)
    scale = torch.tensor(1 / (1 - p))
    assert torch.all((first == 0) | (first == scale))
    dropped = (first == 0).double()
    sigma = math.sqrt(p * (1 - p) / n)
    assert abs(float(dropped.mean()) - p) < 5 * sigma
    # neighbours in a row, in a column, and the same element of the next call are uncorrelated
    other = (second == 0).double()
    for a, b in ((dropped[:, 1:], dropped[:, :-1]), (dropped[1:], dropped[:-1]), (dropped, other)):
        correlation = float(((a - p) * (b - p)).mean()) / (p * (1 - p))
        assert abs(correlation) < 5 / math.sqrt(n)
    # row and column counts spread as binomial ones do: no stripes
    for counts in (dropped.sum(0), dropped.sum(1)):
        assert float(counts.var()) == pytest.approx(1000 * p * (1 - p), rel=0.25)


def test_bits_are_uniform_and_avalanche() -> None:
    """Each threshold drops its share (all 32 bits count), and neighbouring counters and keys share no pattern."""
    ones = torch.ones(512, 512)
    for p in (0.01, 0.25, 0.75, 0.99):
        share = float((native.dropout(ones, p, (12345, 67890)) == 0).double().mean())
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / ones.numel())
    masks = [(native.dropout(ones, 0.5, key) == 0).double() - 0.5 for key in ((0, 0), (1, 0), (0, 1), (1, 1))]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs(float((a * b).mean())) * 4 < 5 / math.sqrt(ones.numel())


def test_dropout_is_governed_by_torchs_seed(fast: str) -> None:
    x = torch.randn(64, 64)
    torch.manual_seed(7)
    a, b = kernels.dropout(x, 0.3, True), kernels.dropout(x, 0.3, True)
    torch.manual_seed(7)
    assert torch.equal(a, kernels.dropout(x, 0.3, True))
    assert not torch.equal(a, b)
    torch.manual_seed(8)
    assert not torch.equal(a, kernels.dropout(x, 0.3, True))


def test_backward_drops_what_forward_dropped(fast: str) -> None:
    x = leaf(5, 33, 16)
    y = kernels.dropout(x, 0.4, True)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad == 0, y == 0)
    torch.testing.assert_close(grad * x, y)


def test_no_randomness_is_drawn_where_there_is_none(fast: str) -> None:
    x, w, qkv = torch.randn(4, 12), torch.ones(4), torch.randn(2, 5, 24)
    before = torch.get_rng_state()
    assert kernels.dropout(x, 0.5, False) is x
    assert kernels.dropout(x, 0.0, True) is x
    kernels.attention(qkv, None, 2, 0.0)
    kernels.dropout_add_norm(x[:, :4], x[:, 4:8], w, w, p=0.5, eps=1e-6, training=False)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(kernels.dropout(x, 1.0, True), torch.zeros_like(x))


# --- dropout, sum, norm ---


@pytest.mark.parametrize("p", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(3, 5, 48), (37, 20), (1, 1, 8)])
def test_dropout_add_norm(fast: str, p: float, shape: tuple[int, ...]) -> None:
    h, r, w, b = leaf(*shape), leaf(*shape), leaf(shape[-1]), leaf(shape[-1])

    def ours() -> Tensor:
        return kernels.dropout_add_norm(h, r, w, b, p=p, eps=1e-12, training=True)

    torch.manual_seed(3)
    _, key = same_key(ours, p)
    mask = kept(shape, p, key)
    torch.manual_seed(3)
    assert_equal(ours, lambda: F.layer_norm(h * mask + r, (shape[-1],), w, b, 1e-12), [h, r, w, b])


# --- attention ---

CASES = [  # B, T, H, d, p, documents
    (2, 128, 4, 64, 0.1, False),
    (3, 77, 2, 32, 0.3, False),
    (2, 50, 3, 16, 0.0, True),
    (2, 100, 2, 16, 0.2, True),
    (1, 5, 1, 4, 0.5, True),
    (1, 1, 1, 4, 0.0, False),
]


@pytest.mark.parametrize(("B", "T", "H", "d", "p", "documents"), CASES)
def test_attention(fast: str, B: int, T: int, H: int, d: int, p: float, documents: bool) -> None:
    qkv = leaf(B, T, 3 * H * d)
    numbers = torch.cumsum(torch.rand(B, T) < 0.08, 1)
    mask = (numbers[:, None, :, None] == numbers[:, None, None, :]) if documents else None
    torch.manual_seed(4)
    _, key = same_key(lambda: kernels.attention(qkv, mask, H, p), p)
    keep = kept((B, H, T, T), p, key)

    def plain() -> Tensor:
        q, k, v = qkv.view(B, T, 3, H, d).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(d)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return ((scores.softmax(-1) * keep) @ v).transpose(1, 2).reshape(B, T, -1)

    torch.manual_seed(4)
    assert_equal(lambda: kernels.attention(qkv, mask, H, p), plain, [qkv])


@pytest.mark.parametrize("kind", ["causal", "scattered"])
def test_attention_takes_any_mask(fast: str, kind: str) -> None:
    """Also one shared by the rows of a batch, and one whose keys are not neighbours."""
    B, T, H, d = 2, 70, 2, 8
    allowed = torch.rand(1, 1, T, T) < 0.1 if kind == "scattered" else torch.ones(1, 1, T, T).tril() > 0
    mask = allowed | torch.eye(T, dtype=torch.bool)
    qkv = leaf(B, T, 3 * H * d)

    def plain() -> Tensor:
        q, k, v = qkv.view(B, T, 3, H, d).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(B, T, -1)

    assert_equal(lambda: kernels.attention(qkv, mask, H, 0.0), plain, [qkv])


def test_attention_of_extreme_scores_and_of_nan(fast: str) -> None:
    qkv = torch.randn(1, 20, 24) * 100
    q, k, v = qkv.view(1, 20, 3, 2, 4).permute(2, 0, 3, 1, 4)
    plain = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 20, 8)
    torch.testing.assert_close(kernels.attention(qkv, None, 2, 0.0), plain, rtol=1e-4, atol=1e-4)
    qkv[0, 3, 17] = math.nan  # a value of head 0: a run must see it, not lose it in a comparison
    assert bool(kernels.attention(qkv, None, 2, 0.0).isnan().any())
    qkv[0, 3, 17], qkv[0, 3, 0] = 0.0, math.nan  # a query
    assert bool(kernels.attention(qkv, None, 2, 0.0)[0, 3].isnan().any())


# --- output layer and loss ---


@pytest.mark.parametrize(("n", "d", "vocabulary"), [(37, 64, 501), (1, 8, 5), (130, 16, 7)])
def test_linear_cross_entropy(fast: str, n: int, d: int, vocabulary: int) -> None:
    x, w, b, targets = leaf(n, d), leaf(vocabulary, d), leaf(vocabulary), torch.randint(0, vocabulary, (n,))
    assert_equal(
        lambda: kernels.linear_cross_entropy(x, w, b, targets),
        lambda: F.cross_entropy(F.linear(x, w, b), targets, reduction="sum"),
        [x, w, b],
    )


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (1, 2), (0, 1)])
def test_linear_cross_entropy_of_frozen_parts(fast: str, frozen: tuple[int, ...]) -> None:
    x, w, b, targets = leaf(37, 16), leaf(501, 16), leaf(501), torch.randint(0, 501, (37,))
    leaves = [x, w, b]
    for i in frozen:
        leaves[i].requires_grad_(False)
    kernels.linear_cross_entropy(x, w, b, targets).mul(2.0).backward()
    found = [t.grad for t in leaves]
    for t in leaves:
        t.grad = None
    F.cross_entropy(F.linear(x, w, b), targets, reduction="sum").mul(2.0).backward()
    for ours, t in zip(found, leaves, strict=True):
        assert (ours is None) == (t.grad is None)
        if ours is not None:
            torch.testing.assert_close(ours, t.grad, rtol=1e-5, atol=1e-5)


def test_linear_cross_entropy_of_extremes(fast: str) -> None:
    w, b = torch.eye(4), torch.zeros(4)
    x = torch.tensor([[1e4, 0.0, -1e4, 0.0]])
    loss = float(kernels.linear_cross_entropy(x, w, b, torch.tensor([2])))
    assert loss == pytest.approx(2e4)
    assert math.isnan(float(kernels.linear_cross_entropy(x * math.nan, w, b, torch.tensor([0]))))
    assert float(kernels.linear_cross_entropy(x[:0], w, b, torch.zeros(0, dtype=torch.int64))) == 0.0


# --- the plain branches, and the choice ---


def test_plain_branches_in_float64(fast: str) -> None:
    """float64 is never given to the float32 loops: gradients hold to the precision of finite differences."""
    d = torch.float64
    x, r, w, b = leaf(3, 8, dtype=d), leaf(3, 8, dtype=d), leaf(8, 8, dtype=d), leaf(8, dtype=d)
    targets = torch.tensor([1, 0, 7])
    assert torch.autograd.gradcheck(kernels.linear, (x, w, b))
    assert torch.autograd.gradcheck(lambda *a: kernels.linear_cross_entropy(*a, targets), (x, w, b))
    norm = (lambda h, q, s, t: kernels.dropout_add_norm(h, q, s, t, p=0.5, eps=1e-6, training=False), (x, r, b, b))
    assert torch.autograd.gradcheck(*norm)
    assert not kernels.can_attend(leaf(2, 5, 24, dtype=d), 2, 0.1)


def test_where_the_kernels_stay_away() -> None:
    kernels.use_backend("blas")
    qkv = torch.randn(2, 5, 24)
    assert kernels.can_attend(qkv, 2, 0.1)
    assert not kernels.can_attend(qkv.bfloat16(), 2, 0.1)
    assert not kernels.can_attend(qkv, 4, 0.1)  # heads of 2: the loops go in fours
    kernels.use_backend("torch")
    assert not kernels.can_attend(qkv, 2, 0.1)
    assert not kernels.can_attend(qkv.to("meta"), 2, 0.1)


def test_autocast_keeps_products_in_bfloat16_and_loops_in_float32(fast: str) -> None:
    qkv, w, x = leaf(2, 6, 24), leaf(3, 24), leaf(2, 6, 8)
    ones, targets = torch.ones(8), torch.tensor([0, 2])
    exact = kernels.attention(qkv.bfloat16().float(), None, 2, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.linear(qkv, w).dtype == torch.bfloat16
        assert kernels.can_attend(qkv.bfloat16(), 2, 0.1)
        out = kernels.attention(qkv.bfloat16(), None, 2, 0.0)
        norm = kernels.dropout_add_norm(x.bfloat16(), x, ones, ones, p=0.1, eps=1e-6, training=True)
        loss = kernels.linear_cross_entropy(qkv[:, 0], w, torch.zeros(3), targets)
    assert torch.equal(out, exact) and norm.dtype == loss.dtype == torch.float32
    for grad in torch.autograd.grad(out.sum() + norm.square().sum() + loss, (qkv, w, x)):
        assert grad.dtype == torch.float32 and bool(grad.isfinite().all())


def test_the_same_bits_for_any_number_of_threads_and_torchs_number_kept() -> None:
    """In a fresh process, because starting Numba's threads sets the number of OpenMP's, once."""
    code = """
import torch
from wordloom.model import native
torch.manual_seed(0)
qkv, x, w = torch.randn(3, 40, 24), torch.randn(90, 24), torch.randn(24)
def results():
    out, lse = native.attention(qkv, None, 2, 0.1, (1, 2))
    norm = native.dropout_add_norm(x, x, w, w, 0.1, 1e-6, (3, 4))
    return [out, native.attention_backward(qkv, None, 2, 0.1, (1, 2), out, lse, out), *norm,
            *native.dropout_add_norm_backward(x, norm[1], norm[2], w, 0.1, (3, 4))]
torch.set_num_threads(1)
one = results()
assert torch.get_num_threads() == 1, torch.get_num_threads()
torch.set_num_threads(2)
assert all(torch.equal(a, b) for a, b in zip(one, results(), strict=True))
assert torch.get_num_threads() == 2
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in kernels.BACKENDS:
        monkeypatch.setenv("WORDLOOM_KERNELS", name)
        kernels.use_backend(None)
        assert kernels.backend() == name
    monkeypatch.setenv("WORDLOOM_KERNELS", "fastest")
    kernels.use_backend(None)
    with pytest.raises(ConfigError, match=r"no kernels 'fastest'.*onednn, blas, torch"):
        kernels.backend()
    monkeypatch.delenv("WORDLOOM_KERNELS")
    for processor, name in (("znver4", "onednn"), ("sapphirerapids", "blas"), ("generic", "blas")):
        monkeypatch.setattr(kernels, "get_host_cpu_name", lambda p=processor: p)
        kernels.use_backend(None)
        assert kernels.backend() == (name if torch.backends.mkldnn.is_available() else "blas")
    assert "WORDLOOM_KERNELS" not in os.environ
