"""The linear chain against all sequences written out."""

import math
from collections.abc import Iterable
from itertools import pairwise, product

import pytest
import torch

from wordloom.model.crf import CRF, NEVER, Chain, forward_backward, log_partition, path_score, viterbi

B, T, C = 3, 4, 3
LENGTHS = torch.tensor([4, 1, 3])
WHOLE = torch.ones(B, dtype=torch.bool)


def random_chain() -> tuple[torch.Tensor, Chain]:
    g = torch.Generator().manual_seed(1)
    e, start, step, end = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((B, T, C), (C,), (C, C), (C,)))
    return e, Chain(start, step, end)


def scores_of_all(e: torch.Tensor, chain: Chain) -> dict[tuple[int, ...], float]:
    """Every label sequence of one text (T, C) -> its score, summed term by term."""
    out = {}
    for y in product(range(C), repeat=len(e)):
        score = chain.start[y[0]] + chain.end[y[-1]] + sum(e[t, c] for t, c in enumerate(y))
        out[y] = float(score + sum(chain.transition[a, b] for a, b in pairwise(y)))
    return out


def total_of(scores: Iterable[float]) -> float:
    return math.log(sum(map(math.exp, scores)))


def test_partition_path_and_best_sequence() -> None:
    e, chain = random_chain()
    best = viterbi(e, LENGTHS, chain)
    z = log_partition(e, LENGTHS, chain)
    for b, n in enumerate(LENGTHS.tolist()):
        table = scores_of_all(e[b, :n], chain)
        assert float(z[b]) == pytest.approx(total_of(table.values()))
        assert tuple(best[b, :n].tolist()) == max(table, key=table.__getitem__)
        assert (best[b, n:] == 0).all()
    labels = torch.tensor([[2, 0, 1, 1], [1, 2, 2, 2], [0, 0, 2, 1]])
    said = path_score(e, labels, LENGTHS, chain)
    for b, n in enumerate(LENGTHS.tolist()):
        assert float(said[b]) == pytest.approx(scores_of_all(e[b, :n], chain)[tuple(labels[b, :n].tolist())])


def test_marginals() -> None:
    e, chain = random_chain()
    alpha, beta, z = forward_backward(e, LENGTHS, chain)
    for b, n in enumerate(LENGTHS.tolist()):
        table = scores_of_all(e[b, :n], chain)
        for t, c in product(range(n), range(C)):
            right = total_of(s for y, s in table.items() if y[t] == c) - float(z[b])
            assert float(alpha[b, t, c] + beta[b, t, c] - z[b]) == pytest.approx(right)


def test_loss_gradient_and_what_padding_holds() -> None:
    """The gradient of -log p is the marginals minus the gold labels; the padding's values do not matter."""
    e, _ = random_chain()
    crf = CRF(None, C).double()
    with torch.no_grad():
        for p in crf.parameters():
            p.normal_(generator=torch.Generator().manual_seed(2))
    rules = Chain(torch.zeros(C), torch.zeros(C, C), torch.zeros(C))
    labels = torch.tensor([[2, 0, 1, 1], [1, 2, 2, 2], [0, 0, 2, 1]])
    x = e.clone().requires_grad_()
    loss = crf.loss(x, labels, LENGTHS, rules, WHOLE, WHOLE)
    loss.backward()
    assert x.grad is not None
    with torch.no_grad():
        alpha, beta, z = forward_backward(e, LENGTHS, crf.chain(rules))
    inside = torch.arange(T) < LENGTHS[:, None]
    right = (alpha + beta - z[:, None, None]).exp() - torch.nn.functional.one_hot(labels, C)
    torch.testing.assert_close(x.grad, right * inside[..., None])
    other = torch.where(inside[..., None], e, torch.full_like(e, 9.0))
    assert torch.equal(crf.loss(other, labels.where(inside, 1), LENGTHS, rules, WHOLE, WHOLE), loss)


def test_a_window_inside_a_text_has_no_start_and_no_end() -> None:
    """Its first label may be one that no text begins with; the scores of beginning and ending are not of it."""
    e, chain = random_chain()
    crf = CRF(None, C).double()
    with torch.no_grad():
        for own, value in zip(crf.parameters(), chain, strict=True):
            own.copy_(value)
    nothing, never = torch.zeros(C), torch.full((C,), NEVER)
    begins, ends = torch.tensor([False, True, False]), torch.tensor([True, True, False])
    labels = torch.tensor([[2, 0, 1, 1], [1, 2, 2, 2], [0, 0, 2, 1]])
    right = 0.0
    for b, n in enumerate(LENGTHS.tolist()):
        start, end = (v if of[b] else torch.zeros(C) for of, v in ((begins, chain.start), (ends, chain.end)))
        table = scores_of_all(e[b, :n], Chain(start, chain.transition, end))
        right += total_of(table.values()) - table[tuple(labels[b, :n].tolist())]
    rules = Chain(nothing, torch.zeros(C, C), nothing)
    assert crf.loss(e, labels, LENGTHS, rules, begins, ends).item() == pytest.approx(right)
    no_start = Chain(never, torch.zeros(C, C), nothing)
    inside = torch.zeros(B, dtype=torch.bool)
    with_rule, without = (crf.loss(e, labels, LENGTHS, r, inside, ends) for r in (no_start, rules))
    assert torch.equal(with_rule, without)


def test_what_is_forbidden_is_never_chosen_and_has_no_probability() -> None:
    e, chain = random_chain()
    step = chain.transition.clone()
    step[0, 1] = NEVER
    ruled = chain._replace(transition=step, start=chain.start + torch.tensor([0.0, 0.0, NEVER]))
    e[0, :, 1] += 5
    e[:, 0, 2] += 50
    for b, n in enumerate(LENGTHS.tolist()):
        table = {y: s for y, s in scores_of_all(e[b, :n], ruled).items() if s > NEVER / 2}
        assert len(table) < C**n
        assert tuple(viterbi(e, LENGTHS, ruled)[b, :n].tolist()) == max(table, key=table.__getitem__)
        total = float(log_partition(e, LENGTHS, ruled)[b])
        assert total == pytest.approx(total_of(table.values()))
