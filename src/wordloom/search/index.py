"""An index one can ask: BM25, vectors, both fused, and the first answers read again by a cross-encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import ConfigError
from wordloom.search.ranking import fuse, ordered
from wordloom.search.store import Found, Store
from wordloom.search.words import Words

Mode = Literal["bm25", "dense", "hybrid"]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # queries -> (Q, D) of length 1
Judge = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]  # queries, documents -> (E,) how relevant
DEPTH = 100  # documents of each ranking that are fused


@dataclass(frozen=True)
class Hit:
    """score: BM25's, a cosine, the sum of reciprocal ranks, or what the cross-encoder says. ranks: from 1, of the
    document in each ranking it stood in ("bm25", "dense"), and "before" re-ranking."""

    id: str
    score: float
    title: str
    text: str
    ranks: dict[str, int]


class Index:
    """embed: None where the index holds no vectors."""

    def __init__(self, store: Store, words: Words, embed: Embed | None):
        self.store, self.words, self._embed = store, words, embed

    @property
    def modes(self) -> tuple[Mode, ...]:
        return ("bm25",) if self._embed is None else ("bm25", "dense", "hybrid")

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: Mode | None = None,
        depth: int = DEPTH,
        judge: Judge | None = None,
        judged: int = 50,
    ) -> list[Hit]:
        """The k best documents. mode: the last of ``modes`` where None. judge: reads the first ``judged`` again."""
        return self.search_all([query], k, mode=mode, depth=depth, judge=judge, judged=judged)[0]

    def search_all(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: Mode | None = None,
        depth: int = DEPTH,
        judge: Judge | None = None,
        judged: int = 50,
    ) -> list[list[Hit]]:
        """As ``search``, for each query. Raises ConfigError for a mode that the index cannot answer in."""
        mode = mode or self.modes[-1]
        if mode not in self.modes:
            known = mode in ("bm25", "dense", "hybrid")
            what = "the index holds no vectors" if known else f"unknown mode {mode!r}"
            cure = "index with --model RUN, or use --mode bm25" if known else "use bm25, dense or hybrid"
            raise ConfigError(what, where="--mode", cure=cure)
        depth = max(depth, k, judged if judge else 0)
        vectors = None if self._embed is None or mode == "bm25" else self._embed(queries)
        out = []
        for i, query in enumerate(queries):
            found: dict[str, list[Found]] = {}
            if mode != "dense":
                found["bm25"] = self.store.match(self.words(query), depth)
            if vectors is not None:
                found["dense"] = self.store.near(vectors[i], depth)
            hits = merged(found)
            out.append((hits if judge is None else reranked(query, hits[:judged], judge) + hits[judged:])[:k])
        return out


def merged(found: dict[str, list[Found]]) -> list[Hit]:
    """One ranking of one or several: of several by reciprocal ranks."""
    rankings = {name: ordered([(f.id, f.score) for f in each]) for name, each in found.items()}
    ranks: dict[str, dict[str, int]] = {}
    for name, ranking in rankings.items():
        for rank, (document, _) in enumerate(ranking, start=1):
            ranks.setdefault(document, {})[name] = rank
    rows = {f.id: f for each in found.values() for f in each}
    final = next(iter(rankings.values())) if len(rankings) == 1 else fuse(list(rankings.values()))
    return [Hit(d, score, rows[d].title, rows[d].text, ranks[d]) for d, score in final]


def reranked(query: str, hits: Sequence[Hit], judge: Judge) -> list[Hit]:
    """The same hits by what a cross-encoder says of query and document together (Nogueira & Cho 2019); ties keep the
    order they had."""
    if not hits:
        return []
    scores = judge([query] * len(hits), [f"{h.title} {h.text}".strip() for h in hits])
    order = sorted(range(len(hits)), key=lambda i: (-scores[i], i))
    return [
        Hit(hits[i].id, float(scores[i]), hits[i].title, hits[i].text, {**hits[i].ranks, "before": i + 1})
        for i in order
    ]
