"""BM25 over a collection: the baseline of retrieval, and where its hard negatives come from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from wordloom.config import RetrieveConfig
from wordloom.data.collection import Collection
from wordloom.data.documents import Document
from wordloom.search.bm25 import BM25
from wordloom.search.ranking import Ranking, top
from wordloom.search.words import choose_words

DEPTH = 100  # documents of a ranking: what Recall@100 reads


class Lexical:
    """BM25 over the documents that have text."""

    def __init__(self, documents: Sequence[Document], config: RetrieveConfig):
        kept = [d for d in documents if d.full]
        self.words = choose_words((d.full for d in kept), config.stem, config.chinese)
        self.ids = [d.id for d in kept]
        self.index = BM25((d.full for d in kept), self.words, k1=config.k1, b=config.b)
        self.name = f"BM25 (k1 {config.k1:g}, b {config.b:g}, stemming {self.words.stem})"

    def rank(self, query: str, k: int = DEPTH) -> Ranking:
        """The k best documents with a word in common."""
        return top(self.index.scores(query), self.ids, k, positive=True)


def lexical(documents: tuple[Document, ...], config: RetrieveConfig) -> Lexical:
    """The same index for the same documents: training, validation and baseline ask for it in turn."""
    keys = ("stem", "chinese", "k1", "b")
    return _lexical(documents, RetrieveConfig(**{key: getattr(config, key) for key in keys}))


@lru_cache(maxsize=2)
def _lexical(documents: tuple[Document, ...], config: RetrieveConfig) -> Lexical:
    return Lexical(documents, config)


class Bm25Baseline:
    """A `tasks.base.Baseline`: needs no training."""

    def __init__(self, documents: tuple[Document, ...], config: RetrieveConfig):
        self.config, self.name = config, lexical(documents, config).name

    def predict(self, records: Collection) -> list[Ranking]:
        index = lexical(records.documents, self.config)
        return [index.rank(query) for query in records.queries]


def hard_negatives(collection: Collection, config: RetrieveConfig) -> list[list[int]]:
    """Of each query, documents (their numbers) to tell from the relevant ones: those given in the file, else BM25's
    best that are not judged relevant (Karpukhin et al. 2020, section 3.2). Some may be relevant and not judged."""
    if not config.negatives:
        return [[] for _ in collection.queries]
    index = lexical(collection.documents, config)
    found = []
    for i, query in enumerate(collection.queries):
        relevant = set(collection.positives(i))
        ranking = index.rank(query, config.depth + len(relevant))
        numbers = (collection.rows[document] for document, _ in ranking)
        found.append(collection.negatives(i) or [n for n in numbers if n not in relevant][: config.depth])
    return found


def part_to_search(collection: Collection, config: RetrieveConfig) -> list[int]:
    """Numbers of ``valid_documents`` documents, or of all there are: the judged ones, however many, then BM25's best
    for each query in turn, the hardest to tell from them."""
    chosen = dict.fromkeys(n for i in range(len(collection)) for n in collection.positives(i))
    limit = max(config.valid_documents, len(chosen))
    if len(collection.rows) <= limit:
        return list(collection.rows.values())
    index = lexical(collection.documents, config)
    rankings = [index.rank(query, limit) for query in collection.queries]
    for rank in range(max(map(len, rankings))):
        for ranking in rankings:
            if rank < len(ranking) and len(chosen) < limit:
                chosen.setdefault(collection.rows[ranking[rank][0]])
    return sorted(chosen)
