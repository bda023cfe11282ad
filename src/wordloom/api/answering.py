"""``answer``: a question to a collection of documents, answered with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wordloom.api.loading import load
from wordloom.data.documents import Document, Documents
from wordloom.errors import ConfigError, DataError
from wordloom.run import read_manifest
from wordloom.tasks.answer.documents import Answered, Passage, PassageRanker, Ranker, answer_from
from wordloom.tasks.answer.task import Reader


class DocumentReader:
    """A reader and the documents it answers from, for any number of questions."""

    def __init__(self, model: str | Path, documents: str | Path):
        """model: a run of the task ``answer``. documents: an index of ``wordloom index``, or what it reads: a BEIR
        folder, .jsonl, .csv, .tsv, .parquet, .txt files or folders of these.

        Raises ConfigError for another model, DataError for documents that cannot be read.
        """
        predictor = load(model)
        if not isinstance(getattr(predictor, "task", None), Reader):
            raise ConfigError("is no model that answers questions", where=model,
                              cure="fine-tune one with wordloom finetune --task answer")  # fmt: skip
        self.task, self.model = predictor.task, predictor.model
        self.ranker = ranker_of(documents)

    def ask(self, question: str, *, passages: int = 20, answers: int = 3, reader_share: float = 0.5) -> Answered:
        """The best answers in so many passages; see ``tasks.answer_documents.answer_from``."""
        if not question.strip():
            raise DataError("the question is empty", cure="ask something")
        if not 0 < reader_share <= 1:
            raise ConfigError(f"the reader's share is {reader_share}", cure="give one above 0 and at most 1")
        return answer_from(
            self.task, self.model, self.ranker, question, k=passages, n=answers, mu=reader_share
        )  # fmt: skip


def ranker_of(documents: str | Path) -> Ranker:
    """BM25 over passages of files; of an index, over the passages of the documents that it finds.

    An index's own scores are not used: a cosine or a sum of reciprocal ranks has no say beside a reader's logits.
    """
    if (Path(documents) / "manifest.json").is_file() and read_manifest(documents).get("kind") == "index":
        from wordloom.api.searching import open_index

        index = open_index(documents)

        def ranked(question: str, k: int) -> list[Passage]:
            hits = index.search(question, k)
            found = [Document(hit.id, hit.title, hit.text, "") for hit in hits if hit.text.strip()]
            # what vectors found may share no word with the question
            return PassageRanker(found)(question, k, every=True) if found else []

        return ranked
    return PassageRanker(Documents(documents))


def answer(
    model: str | Path, question: str, documents: str | Path, *, passages: int = 20, answers: int = 3,
    reader_share: float = 0.5,
) -> Answered:  # fmt: skip
    """One question; `DocumentReader` opens model and documents once for many."""
    reader = DocumentReader(model, documents)
    return reader.ask(question, passages=passages, answers=answers, reader_share=reader_share)


def answered_json(question: str, found: Answered) -> dict[str, Any]:
    """An object for ``--json``: the answer is null where no passage is said to hold one."""
    cited = [{**a._asdict(), "score": round(a.score, 4), "probability": round(a.probability, 6)} for a in found.answers]
    return {"question": question, "answer": None if found.silent else cited[0]["text"], "cited": cited,
            "no_answer_probability": round(found.none, 6), "passages": found.passages}  # fmt: skip


def answered_lines(found: Answered) -> list[str]:
    """For a person: each answer, then where it stands and the passage with the answer marked."""
    if not found.answers:
        return ["no passage shares a word with the question"]
    lines = ["(no passage is said to hold an answer; the best spans:)"] if found.silent else []
    for a in found.answers:
        before, after = a.passage[: a.start - a.passage_start], a.passage[a.end - a.passage_start :]
        shown = f"{before}[{a.text}]{after}"
        source = f"{a.document} ({a.place})" if a.place else a.document
        lines += [f"{a.text}\t{a.probability:.3f}\t{source}, characters {a.start}-{a.end}",
                  f"    {' '.join(shown.split())}"]  # fmt: skip
    return lines
