"""Summaries made of the text's own sentences: its beginning, and its most central sentences.

centroid  cosine of a sentence with the sum of all of the text (Radev et al. 2004, MEAD, section 3.1)
textrank  PageRank over the sentences, whose links are their cosines (Mihalcea & Tarau 2004, section 4; Erkan & Radev
          2004, LexRank, section 3.2: cosines of TF-IDF in place of counted words in common)

A sentence is a vector: TF-IDF over the texts it was fitted on, or with ``vectors`` the sum of its words' vectors times
these weights (Rossiello et al. 2017, section 3). Chinese and Japanese words are pairs of characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wordloom.data.examples import words
from wordloom.data.parallel import Parallel
from wordloom.metrics.generation import Script, rouge
from wordloom.text.chinese import has_chinese
from wordloom.text.sentences import sentence_starts

DAMPING = 0.85  # Mihalcea & Tarau 2004, section 2
FITTED = 500  # records on which the length of a summary is chosen
Unit = Literal["sentences", "words"]
Vectors = Callable[[str], NDArray[Any] | None]  # a word to its vector (D,), None where it has none


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, blank ones left out; the text itself where it has no other."""
    edges = [0, *sentence_starts(text).tolist(), len(text)]
    parts = [text[a:b].strip() for a, b in pairwise(edges)]
    return [p for p in parts if p] or [text]


def terms_of(sentence: str) -> list[str]:
    """Lower-cased words; of runs of Chinese characters every two that stand together."""
    if not has_chinese(sentence):
        return words(sentence)
    return [t for w in words(sentence) for t in ([w[i : i + 2] for i in range(max(1, len(w) - 1))]
                                                 if has_chinese(w) else [w])]  # fmt: skip


@dataclass(frozen=True)
class Lead:
    """The first ``count`` sentences, or words (characters where the text has Chinese ones)."""

    unit: Unit
    count: int

    @property
    def name(self) -> str:
        return f"first {self.count} {self.unit}" if self.count > 1 else f"first {self.unit[:-1]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def summaries(self, records: Parallel) -> list[str]:
        return [self.cut(_sentences(records, i)) for i in range(len(records))]

    def cut(self, sentences: Sequence[str]) -> str:
        if self.unit == "sentences":
            return _join(sentences[: self.count])
        text = _join(sentences)
        if has_chinese(text):
            return text[: self.count]
        return " ".join(text.split()[: self.count])

    @classmethod
    def fit(cls, train: Parallel, script: Script) -> Lead:
        """Of as many sentences as a reference has and as many words, the one with the higher ROUGE-L in training."""
        part = train.subset(range(min(len(train), FITTED)))
        first = [group[0] for group in part.references]
        size = len if script != "words" else (lambda text: len(text.split()))
        options = [
            cls("sentences", max(1, round(float(np.mean([len(sentences_of(t)) for t in first]))))),
            cls("words", max(1, round(float(np.mean([size(t) for t in first]))))),
        ]
        return max(options, key=lambda lead: rouge(lead.summaries(part), part.references, script)["rouge_l"].value)


class Extractive:
    """``summary(text)``: the most central sentences, in the order of the text, cut to ``lead``'s length."""

    def __init__(
        self,
        weights: dict[str, float],
        lead: Lead,
        *,
        method: Literal["centroid", "textrank"] = "textrank",
        vectors: Vectors | None = None,
        unseen: float = 1.0,
    ):
        """weights: inverse document frequencies; unseen: that of a term that is not among them."""
        self.weights, self.lead, self.method, self.vectors, self.unseen = weights, lead, method, vectors, unseen
        self.name = f"extractive ({method}{' of word vectors' * (vectors is not None)}, {lead.name})"

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        lead: Lead | None = None,
        *,
        method: Literal["centroid", "textrank"] = "textrank",
        vectors: Vectors | None = None,
    ) -> Extractive:
        """texts: documents that say how common a term is. lead: how long a summary is, a sentence where None."""
        found = Counter(term for text in texts for term in set(terms_of(text)))
        weights = {term: float(np.log((1 + len(texts)) / (1 + n)) + 1) for term, n in found.items()}
        unseen = float(np.log(1 + len(texts)) + 1)
        return cls(weights, lead or Lead("sentences", 1), method=method, vectors=vectors, unseen=unseen)

    def summary(self, text: str | Sequence[str]) -> str:
        """text: a document, or its sentences."""
        sentences = sentences_of(text) if isinstance(text, str) else list(text)
        scores = self.scores(sentences)
        if self.lead.unit == "words":  # the most central sentence first, then the next
            order = np.argsort(-scores, kind="stable")
            return self.lead.cut([sentences[i] for i in order])
        best = np.sort(np.argsort(-scores, kind="stable")[: self.lead.count])
        return _join([sentences[i] for i in best])

    def scores(self, sentences: Sequence[str]) -> NDArray[np.float64]:
        """How central each sentence is, (S,)."""
        x = self._vectors(sentences)  # (S, D), rows of length 1 or 0
        if self.method == "centroid":
            return np.asarray(x @ x.sum(0))
        return pagerank(np.clip(x @ x.T, 0, None) * (1 - np.eye(len(x))))

    def predict(self, records: Parallel) -> list[str]:
        return [self.summary(_sentences(records, i)) for i in range(len(records))]

    def _vectors(self, sentences: Sequence[str]) -> NDArray[np.float64]:
        counts = [Counter(terms_of(s)) for s in sentences]
        if self.vectors is None:
            columns = {term: i for i, term in enumerate(dict.fromkeys(t for c in counts for t in c))}
            x = np.zeros((len(sentences), max(1, len(columns))))
            for row, c in zip(x, counts, strict=True):
                for term, n in c.items():
                    row[columns[term]] = n * self.weights.get(term, self.unseen)
        else:
            known = {t: v for c in counts for t in c if (v := self.vectors(t)) is not None}
            width = len(next(iter(known.values()))) if known else 1
            x = np.zeros((len(sentences), width))
            for row, c in zip(x, counts, strict=True):
                for term, n in c.items():
                    if term in known:
                        row += n * self.weights.get(term, self.unseen) * known[term]
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)


def pagerank(links: NDArray[np.float64], tolerance: float = 1e-10) -> NDArray[np.float64]:
    """links (S, S), not negative -> scores (S,) that sum to 1; a sentence without links gives to all alike."""
    S = len(links)
    sums = links.sum(1, keepdims=True)
    moves = np.divide(links, sums, out=np.full_like(links, 1 / S), where=sums > 0)
    scores = np.full(S, 1 / S)
    for _ in range(1000):  # the error shrinks by the damping each time: 150 reach the tolerance
        after = (1 - DAMPING) / S + DAMPING * (scores @ moves)
        if np.abs(after - scores).sum() < tolerance:
            return after
        scores = after
    return scores


def _sentences(records: Parallel, i: int) -> Sequence[str]:
    if records.sentences is not None and len(records.sentences[i]) > 1:
        return records.sentences[i]
    return sentences_of(records.sources[i])


def _join(sentences: Sequence[str]) -> str:
    joined = " ".join(" ".join(s.split()) for s in sentences)
    return re.sub(r"(?<=[。！？]) ", "", joined)
