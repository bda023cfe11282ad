"""nDCG@10, Recall@100 and MRR@10 against pytrec_eval (trec_eval itself), graded, query by query."""

import math

import numpy as np
import pytest

from wordloom.metrics import ranking_tallies, tally_scores
from wordloom.metrics.ranking import ndcg
from wordloom.search.ranking import ordered


def some(seed: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Judgments from -1 to 3 and runs with many equal scores, of 30 queries over 150 documents."""
    rng = np.random.default_rng(seed)
    ids = [f"d{i}" for i in range(150)]
    judgments, runs = {}, {}
    for q in range(30):
        judged = rng.choice(150, rng.integers(1, 25), replace=False)
        judgments[f"q{q}"] = {ids[i]: int(rng.integers(-1, 4)) for i in judged}
        found = rng.choice(150, rng.integers(1, 140), replace=False)
        runs[f"q{q}"] = {ids[i]: float(rng.integers(0, 12)) / 8 for i in found}
    judgments["q0"] = {ids[3]: 0}  # nothing relevant
    return judgments, runs


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_trec_eval(seed: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    judgments, runs = some(seed)
    names = list(judgments)
    rankings = [[d for d, _ in ordered(list(runs[q].items()))] for q in names]
    tallies = ranking_tallies(rankings, [judgments[q] for q in names])
    measured = pytrec_eval.RelevanceEvaluator(judgments, {"ndcg_cut.10", "recall.100"}).evaluate(runs)
    first = {q: dict(zip(r[:10], range(10, 0, -1), strict=False)) for q, r in zip(names, rankings, strict=True)}
    mrr = pytrec_eval.RelevanceEvaluator(judgments, {"recip_rank"}).evaluate(
        {q: {d: float(s) for d, s in found.items()} for q, found in first.items()}
    )
    for name, theirs in (("ndcg@10", [measured[q]["ndcg_cut_10"] for q in names]),
                         ("recall@100", [measured[q]["recall_100"] for q in names]),
                         ("mrr@10", [mrr[q]["recip_rank"] for q in names])):  # fmt: skip
        assert tallies[name].counts[:, 0] == pytest.approx(theirs, abs=1e-12), name
        assert tally_scores(tallies)[name].value == pytest.approx(np.mean(theirs), abs=1e-12)


def test_by_hand() -> None:
    judged = {"a": 3, "b": 1, "c": 0}
    ideal = 3 + 1 / math.log2(3)
    assert ndcg(["b", "x", "a"], judged, 10) == pytest.approx((1 + 3 / 2) / ideal)
    assert ndcg(["x", "y", "a"], judged, 2) == 0 and ndcg(["a", "b"], judged, 10) == 1
    found = ranking_tallies([["c", "b"]], [judged])
    assert found["mrr@10"].value == 0.5 and found["recall@100"].value == 0.5
