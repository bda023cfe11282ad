"""Answers with their source: passages cover the documents, scores are joined as stated, citations are slices."""

import math

import numpy as np
import pytest

from wordloom.data.documents import Document
from wordloom.data.questions import Question
from wordloom.tasks.answer.documents import Passage, PassageRanker, answer_from, passages_of
from wordloom.tasks.answer.spans import Candidate, Reading

LONG = "The cat sat. " * 30 + "\n\n" + "他是漫画家！她也是。" * 40 + "x" * 700 + ". End."


@pytest.mark.parametrize("size", [20, 100, 600])
def test_passages_hold_every_character_once_and_whole_sentences(size: int) -> None:
    found = passages_of(LONG, size)
    assert all(LONG[start : start + len(text)] == text == text.strip() for start, text in found)
    covered = [i for start, text in found for i in range(start, start + len(text))]
    assert len(covered) == len(set(covered))
    assert all(LONG[i].isspace() for i in set(range(len(LONG))) - set(covered))
    assert all(len(text) <= size or text.startswith("x" * 700) for _, text in found)
    assert all(text[-1] in ".！。" for _, text in found)
    assert passages_of(" \n ") == []


def test_the_ranker_cites_documents_and_leaves_out_what_shares_no_word() -> None:
    documents = [
        Document("a", "", LONG, "a.txt:1"),
        Document("b", "", "Dogs bark.\n" * 80 + "Anna lives in Rome.", "b.txt:1"),
    ]
    ranker = PassageRanker(documents)
    found = ranker("Where does Anna live? Rome", 5)
    assert found[0].document == "b" and "Rome" in found[0].text and found[0].place == "b.txt:1"
    assert documents[1].text[found[0].start :].startswith(found[0].text)
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
    assert ranker("zebra", 5) == [] and len(ranker("漫画家", 1)) == 1


def test_a_title_is_searched_and_not_read() -> None:
    documents = [Document(name, name, "It was written in London.", "") for name in ("Hamlet", "Macbeth")]
    ranker = PassageRanker([*documents, Document("Lear", "Lear", "", "")])
    (found,) = ranker("Who made Hamlet?", 5)
    assert (found.document, found.start, found.text) == ("Hamlet", 0, "It was written in London.")
    every = ranker("Who made Hamlet?", 5, every=True)
    assert [(p.document, p.score > 0) for p in every] == [("Hamlet", True), ("Macbeth", False)]


class Stub:
    """A reader that says of each passage what it was told."""

    silent, threshold = True, 0.5

    def __init__(self, readings: dict[str, Reading]):
        self.readings = readings

    def read(self, model: object, asked: list[Question]) -> list[Reading]:
        return [self.readings[q.context] for q in asked]


def test_scores_are_joined_and_probabilities_are_of_all_spans() -> None:
    rows = {"one two": ((0, 3, 2.0), (4, 7, 1.0), -1.0), "three four": ((0, 5, 2.5), (6, 10, 0.0), 1.0)}
    readings = {
        text: Reading((Candidate(*a), Candidate(*b)), float(np.logaddexp(a[2], b[2])), null)
        for text, (a, b, null) in rows.items()
    }
    passages = [Passage("a", 10, "one two", "f:1", 3.0), Passage("b", 0, "three four", "f:2", 1.0)]
    task = Stub(readings)
    found = answer_from(task, None, lambda q, k: passages[:k], "who?", k=2, n=4, mu=0.5)  # type: ignore[arg-type]
    assert [(a.text, a.document, a.start, a.end) for a in found.answers] == [
        ("one", "a", 10, 13), ("two", "a", 14, 17), ("three", "b", 0, 5), ("four", "b", 6, 10),
    ]  # fmt: skip
    assert [a.score for a in found.answers] == [0.5 * (2 + 3), 0.5 * (1 + 3), 0.5 * (2.5 + 1), 0.5 * (0 + 1)]
    logits = [5.0, 4.0, 3.5, 1.0, -1.0 + 1.0]  # the last: saying nothing, of the least sure passages
    whole = sum(map(math.exp, logits))
    assert [a.probability for a in found.answers] == pytest.approx([math.exp(x) / whole for x in logits[:4]])
    assert found.none == pytest.approx(math.exp(0.0) / whole) and not found.silent and found.passages == 2
    reader_alone = answer_from(task, None, lambda q, k: passages[:k], "who?", mu=1.0, n=1)  # type: ignore[arg-type]
    assert reader_alone.answers[0].text == "three"
    task.threshold = -3.5  # nothing scores 3 less than the best span
    assert answer_from(task, None, lambda q, k: passages, "who?").silent  # type: ignore[arg-type]
    nothing = answer_from(task, None, lambda q, k: [], "who?")  # type: ignore[arg-type]
    assert nothing.answers == () and nothing.silent and nothing.passages == 0


def test_a_span_in_two_passages_is_one_answer() -> None:
    reading = Reading((Candidate(0, 3, 2.0),), 2.0, -math.inf)
    task = Stub({"one": reading})
    task.silent = False
    passages = [Passage("a", 10, "one", "", 1.0), Passage("a", 10, "one", "", 2.0), Passage("b", 10, "one", "", 0.5)]
    found = answer_from(task, None, lambda q, k: passages, "who?")  # type: ignore[arg-type]
    assert [(a.document, a.score) for a in found.answers] == [("a", 2.0), ("b", 1.25)] and found.none == 0
