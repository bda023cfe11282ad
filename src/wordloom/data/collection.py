"""Queries, documents, and which are relevant: BEIR folders, pairs of texts, or raw documents alone.

One shape for all: pairs are queries with a document each, and of raw documents a piece becomes the query that should
find the rest (known-item search; Lee et al. 2019 train on such pairs). So training and scores are the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from wordloom.data.documents import ID_NAMES, Document, Documents, beir_file, cell, named
from wordloom.data.examples import text_key
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.readers import file_format, raw_lines, strict_decode
from wordloom.data.tables import Table, open_table, table_rows
from wordloom.errors import DataError
from wordloom.text.sentences import sentence_starts

QUERY_NAMES = ("query", "anchor", "question")
POSITIVE_NAMES = ("positive", "positives", "pos", "positive_passages", "document", "passage", "answer")
NEGATIVE_NAMES = ("negative", "negatives", "neg", "negative_passages")
_QRELS_CURE = "write query-id, corpus-id and score, parted by tabs, with that header"
_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class Collection:
    """Q queries over N documents, in file order, never changed.

    judgments: of each query, document id -> relevance (0: judged and not relevant; graded where above 1).
    hard: of each query, ids of documents given as not relevant, for training. judged: the relevance comes from people
    or a file of pairs, not from a document's own title or sentence. places: where each query's first judgment stands.
    """

    documents: tuple[Document, ...]
    ids: tuple[str, ...]
    queries: tuple[str, ...]
    judgments: tuple[Mapping[str, int], ...]
    places: tuple[str, ...]
    columns: str
    judged: bool = True
    hard: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.queries)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Document id -> its number, 0..N-1; documents without text are not in it: nothing can find them."""
        return {d.id: i for i, d in enumerate(self.documents) if d.full}

    def positives(self, query: int) -> list[int]:
        """Numbers of the documents relevant to a query that have text."""
        return [self.rows[d] for d, grade in self.judgments[query].items() if grade > 0 and d in self.rows]

    def negatives(self, query: int) -> list[int]:
        return [self.rows[d] for d in (self.hard[query] if self.hard else ()) if d in self.rows]

    def subset(self, indices: Sequence[int]) -> Collection:
        """Some of the queries, over all documents."""
        chosen: dict[str, Any] = {key: tuple(getattr(self, key)[i] for i in indices) for key in
                  ("ids", "queries", "judgments", "places", *(("hard",) if self.hard else ()))}  # fmt: skip
        return replace(self, **chosen)

    def key(self, index: int) -> str:
        return text_key(self.queries[index])

    def texts(self) -> Iterator[str]:
        yield from (d.full for d in self.documents)
        yield from self.queries

    def content(self) -> Iterator[str]:
        yield from (f"{d.id}\0{d.full}" for d in self.documents)
        for name, query, judged in zip(self.ids, self.queries, self.judgments, strict=True):
            yield f"{name}\0{query}\0{json.dumps(judged, sort_keys=True)}"

    @cached_property
    def unreachable(self) -> int:
        """Relevant judgments of documents without text: counted in every score, and never found."""
        return sum(grade > 0 and d not in self.rows for judged in self.judgments for d, grade in judged.items())

    def facts(self) -> dict[str, Any]:
        relevant = sum(grade > 0 for judged in self.judgments for grade in judged.values())
        return {"documents": len(self.documents), "without text": len(self.documents) - len(self.rows),
                "judgments": sum(map(len, self.judgments)), "relevant": relevant}  # fmt: skip


def read_collection(
    path: str | Path, *, text: str | None = None, pair: str | None = None, faults: Faults = STRICT
) -> Collection:
    """Read a BEIR folder's qrels file, the folder itself where it has one, a table of pairs, or documents.

    text, pair: columns of the query and of its document, in a table of pairs. Faults, with file and line: judgments of
    unknown queries or documents, ids twice, a score that is no whole number, an empty query.
    """
    path = Path(path)
    folder = _beir_folder(path)
    if folder is not None:
        return _read_beir(folder, path, faults)
    if path.is_dir():
        if beir_file(path, "corpus") is not None and (path / "qrels").is_dir():
            files = sorted(p for p in (path / "qrels").iterdir() if not p.name.startswith("."))
            if len(files) == 1:
                return _read_beir(path, files[0], faults)
            raise DataError(f"{len(files)} files of judgments", where=path / "qrels",
                            cure=f"give one of them: {', '.join(str(f) for f in files)}")  # fmt: skip
    elif file_format(path) in ("jsonl", "csv", "tsv", "parquet"):
        table = open_table(str(path), faults)
        at = (named(table, text, QUERY_NAMES), named(table, pair, POSITIVE_NAMES))
        if at[0] is not None and at[1] is not None and at[0] != at[1]:
            return _read_pairs(table, at[0], at[1], faults)
    return known_items(Documents(path, faults=faults))


def _beir_folder(path: Path) -> Path | None:
    """The folder a qrels file belongs to: the one that holds corpus and queries."""
    if not path.is_file():
        return None
    for folder in (path.parent.parent, path.parent):
        if beir_file(folder, "corpus") and beir_file(folder, "queries") and path.suffix in (".tsv", ".txt", ".qrels"):
            return folder
    return None


def _read_beir(folder: Path, qrels: Path, faults: Faults) -> Collection:
    source = Documents(folder, faults=faults)
    documents = tuple(source)
    known = {d.id for d in documents}
    queries = read_queries(beir_file(folder, "queries") or folder / "queries.jsonl", faults)
    judgments, places = _read_qrels(qrels, queries, known, faults)
    names = tuple(judgments)
    said = [f"{len(documents):,} documents, {len(names):,} queries judged in {qrels.name}"]
    if source.empty.count:
        said.append(f"{source.empty.count} documents without text ({', '.join(source.empty.places)})")
    return Collection(
        documents, names, tuple(queries[q] for q in names), tuple(judgments.values()), tuple(places.values()),
        "; ".join(said),
    )  # fmt: skip


def read_queries(path: str | Path, faults: Faults = STRICT) -> dict[str, str]:
    """id -> text of queries.jsonl, or of a table with such columns. An id twice, or no text, is a fault."""
    table = open_table(str(path), faults)
    at = named(table, None, ID_NAMES), named(table, None, ("text", *QUERY_NAMES))
    if at[0] is None or at[1] is None:
        raise DataError(
            "queries need an id and a text", where=path, cure='write {"_id": ..., "text": ...} on each line'
        )
    queries: dict[str, str] = {}
    for line, cells in table_rows(table, [at[0], at[1]], strict_decode(path, faults), faults):
        try:
            _add_query(queries, cells, f"{path}:{line}")
        except DataError as error:
            faults.add(error)
    return queries


def _add_query(queries: dict[str, str], cells: Sequence[Any], place: str) -> None:
    """A query whose text is at fault is known all the same: its judgments are not at fault too."""
    name = cell(cells[0], "id", place)
    if name in queries:
        raise DataError(f"the query id {name!r} is there twice", where=place, cure="give every query its own id")
    queries[name] = ""
    queries[name] = cell(cells[1], "text", place)
    if not queries[name]:
        raise DataError(f"the query {name!r} has no text", where=place, cure="write its text, or leave it out")


def _read_qrels(
    path: Path, queries: Mapping[str, str], documents: set[str], faults: Faults
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """query -> document -> relevance, and query -> place. BEIR's three columns, or TREC's four (query 0 document
    relevance)."""
    judgments: dict[str, dict[str, int]] = {}
    places: dict[str, str] = {}
    decoder = strict_decode(path, faults)
    for line, raw, _ in raw_lines(path):
        place, text = f"{path}:{line}", decoder(raw, line)
        cells = [cell.strip() for cell in (text.split("\t") if "\t" in text else text.split())]
        if not text.strip() or (line == 1 and not _whole(cells[-1])):
            continue  # the header
        try:
            query, document, score = _judgment(cells, queries, documents, place)
        except DataError as error:
            faults.add(error)
            continue
        judged = judgments.setdefault(query, {})
        if judged.setdefault(document, score) != score:
            what = f"the document {document!r} is judged twice for the query {query!r}, differently"
            faults.add(DataError(what, where=place, cure="keep one of the two lines"))
        places.setdefault(query, place)
    if not judgments:
        raise NoRecordError("no judgment in it", where=path, cure=_QRELS_CURE)
    return judgments, places


def _judgment(
    cells: Sequence[str], queries: Mapping[str, str], documents: set[str], place: str
) -> tuple[str, str, int]:
    if len(cells) not in (3, 4):
        raise DataError(f"{len(cells)} columns where 3 are expected", where=place, cure=_QRELS_CURE)
    query, document, score = cells[0], cells[-2], cells[-1]
    if not _whole(score):
        raise DataError(f"the relevance {score!r} is no whole number", where=place, cure=_QRELS_CURE)
    if query not in queries:
        raise DataError(f"judges the query {query!r}, which is not in the file of queries", where=place,
                        cure="add the query, or leave the line out")  # fmt: skip
    if document not in documents:
        raise DataError(f"judges the document {document!r}, which is not in the corpus", where=place,
                        cure="add the document, or leave the line out")  # fmt: skip
    return query, document, int(score)


def _whole(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None


def _read_pairs(table: Table, query_at: int, positive_at: int, faults: Faults) -> Collection:
    """Rows of a query, its relevant documents, perhaps others that are not. Equal texts are one document."""
    negative_at = named(table, None, NEGATIVE_NAMES)
    columns = [query_at, positive_at, *([negative_at] if negative_at is not None else [])]
    documents: dict[str, Document] = {}
    merged: dict[str, tuple[str, dict[str, int], dict[str, None], str]] = {}

    def document(text: str, place: str) -> str:
        return documents.setdefault(text, Document(str(len(documents)), "", text, place)).id

    for line, cells in table_rows(table, columns, strict_decode(table.path, faults), faults):
        place = f"{table.path}:{line}"
        try:
            query, sides = _pair(cells, place)
        except DataError as error:
            faults.add(error)
            continue
        _, relevant, others, _ = merged.setdefault(query, (str(len(merged)), {}, {}, place))
        relevant.update({document(text, place): 1 for text in sides[0]})
        others.update({document(text, place): None for text in (sides[1] if len(sides) > 1 else [])})
    if not merged:
        raise NoRecordError("no pair in it", where=table.path, cure="write a query and its document in each row")
    named_so = ", ".join(repr(table.names[c]) for c in columns)
    return Collection(
        tuple(documents.values()),
        ids=tuple(name for name, *_ in merged.values()),
        queries=tuple(merged),
        judgments=tuple(relevant for _, relevant, _, _ in merged.values()),
        places=tuple(place for *_, place in merged.values()),
        columns=f"pairs of columns {named_so}: {len(merged):,} queries, {len(documents):,} documents",
        hard=tuple(tuple(d for d in others if d not in relevant) for _, relevant, others, _ in merged.values()),
    )


def _pair(cells: Sequence[Any], place: str) -> tuple[str, list[list[str]]]:
    """(the query, its documents and perhaps others)."""
    query, *sides = (_texts(value, place) for value in cells)
    if len(query) != 1 or not sides[0]:
        what = "no query" if len(query) != 1 else "no document for this query"
        raise DataError(what, where=place, cure="write both texts, or leave the row out")
    return query[0], sides


def _texts(value: Any, place: str) -> list[str]:
    """A cell as texts: one, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [text for text in (cell(v, "a text", place) for v in values) if text]


def known_items(documents: Iterable[Document], columns: str | None = None) -> Collection:
    """Documents alone: the title, else the first sentence, else the first half, becomes the query of the rest."""
    rest: list[Document] = []
    queries: list[str] = []
    short = 0
    for found in documents:
        query, text = found.title, found.text
        if not query or not text:
            query, text = _parted(found.full)
        if not query or not text:
            short += 1
            continue
        queries.append(query)
        rest.append(Document(found.id, "", text, found.place))
    if not rest:
        raise NoRecordError(
            "no document of more than one word", where=getattr(documents, "path", None), cure="give texts"
        )
    said = [f"{len(rest):,} documents without judgments: each is to be found by its title or first sentence"]
    said += [f"{short} documents of less than two words left out"] * bool(short)
    return Collection(
        tuple(rest), tuple(d.id for d in rest), tuple(queries), tuple({d.id: 1} for d in rest),
        tuple(d.place for d in rest), columns or "; ".join(said), judged=False,
    )  # fmt: skip


def _parted(text: str) -> tuple[str, str]:
    """(first sentence, rest), or two halves of the words, or of the characters of a text without spaces."""
    for start in islice(sentence_starts(text), 1):
        return text[:start].strip(), text[start:].strip()
    words = text.split()
    if len(words) > 1:
        half = (len(words) + 1) // 2
        return " ".join(words[:half]), " ".join(words[half:])
    return text[: len(text) // 2], text[len(text) // 2 :]
