"""Answers from many documents: passages are retrieved, all of them are read, and every answer is cited.

Retrieve, then read (Chen et al. 2017, DrQA). The retriever is any function from a question to ranked passages. Scores
of spans in different passages are comparable because training shares one softmax among the windows of a context (Clark
& Gardner 2018), and they are joined with the retriever's as of Yang et al. 2019 (BERTserini, section 3.2):
(1 - mu) * score of the passage + mu * score of the span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from wordloom.data.documents import Document
from wordloom.data.questions import Question
from wordloom.search.bm25 import BM25
from wordloom.search.words import choose_words
from wordloom.tasks.answer.task import Reader
from wordloom.text.sentences import sentence_starts

PASSAGE = (
    600  # characters: about the 100 words of Wang et al. 2019 (Multi-passage BERT), and one window of most readers
)


class Passage(NamedTuple):
    """A piece of a document. start: its first character in the document's text; place: "file:line", or "" where it is
    not known; score: the retriever's, higher is better."""

    document: str
    start: int
    text: str
    place: str = ""
    score: float = 0.0


Ranker = Callable[[str, int], Sequence[Passage]]  # (question, how many) -> passages, best first


class Cited(NamedTuple):
    """An answer with its source. start, end, passage_start: characters in the text of the document; score: the joined
    one; probability: of the joined scores, among all spans of all passages read and saying nothing."""

    text: str
    document: str
    place: str
    start: int
    end: int
    passage: str
    passage_start: int
    score: float
    probability: float


class Answered(NamedTuple):
    """answers: best first, at most one of each place. silent: the reader says that no passage holds an answer; none:
    the probability of that. passages: how many were read."""

    answers: tuple[Cited, ...]
    silent: bool
    none: float
    passages: int


def answer_from(
    task: Reader, model: nn.Module, ranker: Ranker, question: str, *, k: int = 20, n: int = 3, mu: float = 0.5
) -> Answered:
    """The n best answers in the k best passages. mu: the reader's share of a score, above 0 and at most 1."""
    passages = list(ranker(question, k))
    readings = task.read(model, [Question(question, passage.text) for passage in passages])
    found: dict[tuple[str, int, int], tuple[float, float, Passage]] = {}
    totals, weight = [-np.inf], (1 - mu) / mu
    for passage, reading in zip(passages, readings, strict=True):
        bonus = weight * passage.score  # of a score on the reader's scale, in logits
        totals.append(reading.total + bonus)
        for span in reading.spans:
            place = passage.document, passage.start + span.start, passage.start + span.end
            if place not in found or found[place][0] < span.score + bonus:
                found[place] = span.score + bonus, span.score, passage
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    null = min((r.null for r in readings), default=-np.inf)
    # nothing is said of no passage: it stands beside the passage that the retriever is least sure of
    beside = null + weight * min((p.score for p in passages), default=0.0)
    whole = float(np.logaddexp(np.logaddexp.reduce(totals), beside))
    answers = []
    for (document, start, end), (score, _, passage) in ranked[:n]:
        text = passage.text[start - passage.start : end - passage.start]
        probability = float(np.exp(score - whole))
        answers.append(Cited(text, document, passage.place, start, end, passage.text, passage.start, mu * score,
                             probability))  # fmt: skip
    none = float(np.exp(beside - whole)) if beside > -np.inf else 0.0
    silent = not ranked or (task.silent and null - max(r[1][1] for r in ranked[:1]) > task.threshold)
    return Answered(tuple(answers), bool(silent), none, len(passages))


def passages_of(text: str, size: int = PASSAGE) -> list[tuple[int, str]]:
    """(first character, text) of runs of whole sentences of at most ``size`` characters, without white space around; a
    longer sentence is a passage of its own."""
    edges = [0, *(int(e) for e in sentence_starts(text)), len(text)]
    found, begin = [], 0
    for end, after in zip(edges[1:], [*edges[2:], None], strict=True):
        if after is None or after - begin > size:
            piece = text[begin:end]
            if piece.strip():
                found.append((begin + len(piece) - len(piece.lstrip()), piece.strip()))
            begin = end
    return found


class PassageRanker:
    """BM25 over the passages of documents in memory, each under its document's title."""

    def __init__(self, documents: Iterable[Document]):
        """Raises DataError where they hold no word."""
        self.passages: list[Passage] = []
        titled: list[str] = []
        for d in documents:
            for start, piece in passages_of(d.text):
                self.passages.append(Passage(d.id, start, piece, d.place))
                titled.append(f"{d.title} {piece}" if d.title else piece)
        self.bm25 = BM25(titled, choose_words(titled))

    def __call__(self, question: str, k: int, *, every: bool = False) -> list[Passage]:
        """Those that share a word with the question, with ``every`` the others after them, at 0; equal scores in the
        order of the documents."""
        scores = self.bm25.scores(question)
        best = np.argsort(-scores, kind="stable")[:k]
        return [self.passages[i]._replace(score=float(scores[i])) for i in best if every or scores[i] > 0]
