"""The adaptive softmax equals torch's on ids sorted by frequency, in values and gradients, and is a distribution."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.adaptive import AdaptiveHead, choose_cutoffs, ranks

V, D, CUTOFFS = 60, 16, [10, 25]
torch.set_num_threads(1)


def heads(counts: Tensor, dtype: torch.dtype) -> tuple[AdaptiveHead, nn.AdaptiveLogSoftmaxWithLoss]:
    """Ours and torch's with the same weights."""
    ours = AdaptiveHead(V, D, CUTOFFS, counts, div_value=2.0, init_std=0.5).to(dtype)
    theirs = nn.AdaptiveLogSoftmaxWithLoss(D, V, CUTOFFS, div_value=2.0).to(dtype)
    pairs = [(theirs.head.weight, ours.first.weight)]
    for (down, output), tail in zip(theirs.tail, ours.tails, strict=True):
        pairs += [(down.weight, tail.down.weight), (output.weight, tail.output.weight)]
    with torch.no_grad():
        for to, value in pairs:
            assert to.shape == value.shape
            to.copy_(value)
    return ours, theirs


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("which", ["all", "frequent", "rarest", "none"])
def test_equals_torch(dtype: torch.dtype, close: float, which: str) -> None:
    torch.manual_seed(0)
    counts = torch.randperm(V)
    ours, theirs = heads(counts, dtype)
    rank = (counts[None] > counts[:, None]).sum(1)  # tokens that are more frequent
    ids = {"all": torch.arange(V), "frequent": (rank < 10).nonzero()[:, 0], "rarest": (rank >= 25).nonzero()[:, 0]}
    targets = ids.get(which, torch.empty(0, dtype=torch.int64)).repeat(3)
    a = torch.randn(len(targets), D, dtype=dtype, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    loss = ours.loss(a, None, targets)
    if which == "none":
        assert loss.item() == 0 and loss.shape == ()
        return
    wanted = -theirs(b, rank[targets]).output.sum()
    assert loss.dtype is dtype and (loss - wanted).abs() < close * wanted.abs()
    loss.backward()
    wanted.backward()
    assert (a.grad - b.grad).abs().max() < close  # type: ignore[operator]
    assert (ours.first.weight.grad - theirs.head.weight.grad).abs().max() < close  # type: ignore[operator]
    for (down, output), tail in zip(theirs.tail, ours.tails, strict=True):
        for p, q in ((tail.down.weight, down.weight), (tail.output.weight, output.weight)):
            assert ((0 if p.grad is None else p.grad) - (0 if q.grad is None else q.grad)).abs().max() < close
    assert (ours.log_probs(a) - theirs.log_prob(b)[:, rank]).abs().max() < close


def test_normalised_and_the_loss_is_its_negative_logarithm() -> None:
    torch.manual_seed(1)
    ours, _ = heads(torch.randint(0, 9, (V,)), torch.float64)
    states, targets = torch.randn(50, D).double(), torch.randint(0, V, (50,))
    log_probs = ours.log_probs(states)
    assert log_probs.shape == (50, V)
    assert (log_probs.exp().sum(1) - 1).abs().max() < 1e-12
    picked = -log_probs[torch.arange(50), targets].sum()
    assert (ours.loss(states, None, targets) - picked).abs() < 1e-9


def test_order_of_frequency_is_saved_with_the_weights(tmp_path: Path) -> None:
    counts = torch.tensor([3, 9, 0, 9, 5])
    assert ranks(counts, 5).tolist() == [3, 0, 4, 1, 2] and ranks(None, 3).tolist() == [0, 1, 2]
    ours = AdaptiveHead(V, D, CUTOFFS, torch.randperm(V))
    save_file(ours.state_dict(), tmp_path / "head.safetensors")
    loaded = AdaptiveHead(V, D, CUTOFFS)
    loaded.load_state_dict(load_file(tmp_path / "head.safetensors"))
    states = torch.randn(4, D)
    assert loaded.log_probs(states).equal(ours.log_probs(states)) and loaded.rank.equal(ours.rank)


def multiplications(cutoffs: list[int], counts: Tensor, width: int, div: float) -> float:
    """A token's: the first softmax always, a cluster's two matrices as often as its tokens come."""
    shares = counts.double().sort(descending=True).values / counts.sum()
    total = float(width * (cutoffs[0] + len(cutoffs)))
    edges = [*cutoffs, len(counts)]
    for i in range(len(cutoffs)):
        inner = max(1, int(width / div ** (i + 1)))
        size = edges[i + 1] - edges[i]
        total += float(shares[edges[i] : edges[i + 1]].sum()) * (width * inner + inner * size)
    return total


def test_cutoffs_cost_least() -> None:
    zipf = 1e6 / torch.arange(1, 20_001).double()
    chosen = choose_cutoffs(zipf, 256)
    cost = multiplications(chosen, zipf, 256, 4.0)
    assert len(chosen) == 2 and cost < 0.25 * 256 * 20_000
    for a in (50, 200, 1000, 4000):
        for b in (2000, 8000, 15_000):
            if a < b:
                assert cost <= 1.05 * multiplications([a, b], zipf, 256, 4.0)  # the grid is coarse
    # all text in the 100 first tokens: they are the first softmax
    assert choose_cutoffs(torch.tensor([1000.0] * 100 + [0.0] * 9900), 64, clusters=1)[0] in range(100, 140)
    assert len(choose_cutoffs(torch.ones(5), 8, clusters=3)) == 3
    AdaptiveHead(20_000, 16, chosen)


def test_refused() -> None:
    for cutoffs in ([], [0, 5], [5, 5], [9, 3], [5, V]):
        with pytest.raises(ConfigError, match="adaptive cutoffs"):
            AdaptiveHead(V, D, cutoffs)
    with pytest.raises(ConfigError, match="div_value"):
        AdaptiveHead(V, D, CUTOFFS, div_value=0.5)
    with pytest.raises(ConfigError, match="counts for a vocabulary"):
        AdaptiveHead(V, D, CUTOFFS, torch.ones(V - 1))
    for counts in (torch.ones(3), torch.zeros(50)):
        with pytest.raises(ConfigError, match="cannot be cut"):
            choose_cutoffs(counts, 8)
