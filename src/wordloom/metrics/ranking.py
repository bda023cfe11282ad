"""Scores of rankings, query by query, equal to trec_eval's: nDCG@10, Recall@100, MRR@10.

Averages over queries, so each is a `Tally.mean`. A query with no relevant document counts 0, as in trec_eval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from wordloom.metrics.tally import Tally

NDCG, RECALL, MRR = "ndcg@10", "recall@100", "mrr@10"


def ranking_tallies(
    rankings: Sequence[Sequence[str]], judgments: Sequence[Mapping[str, int]], note: str = ""
) -> dict[str, Tally]:
    """rankings: of each query, document ids, best first. judgments: document id -> relevance."""
    pairs = list(zip(rankings, judgments, strict=True))
    return {
        NDCG: Tally.mean([ndcg(ranking, judged, 10) for ranking, judged in pairs], note),
        RECALL: Tally.mean([recall(ranking, judged, 100) for ranking, judged in pairs]),
        MRR: Tally.mean([reciprocal_rank(ranking, judged, 10) for ranking, judged in pairs]),
    }


def ndcg(ranking: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """Järvelin & Kekäläinen 2002 with trec_eval's gain, which is the relevance itself: the sum of
    relevance / log2(rank + 1) over the first k, divided by that of the best ranking of everything judged."""
    gains = [max(0, judged.get(document, 0)) for document in ranking[:k]]
    best = sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:k]
    ideal = _discounted(best)
    return _discounted(gains) / ideal if ideal else 0.0


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def recall(ranking: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """Share of the relevant documents that stand among the first k."""
    relevant = {document for document, grade in judged.items() if grade > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """1 / rank of the first relevant document, 0 where none stands among the first k."""
    ranks = (rank for rank, document in enumerate(ranking[:k], start=1) if judged.get(document, 0) > 0)
    return 1 / next(ranks, math.inf)
