"""Documents to search in: BEIR's corpus.jsonl, tables, text files. Each has an id of its own; what is odd is counted.

BEIR's layout (Thakur et al. 2021): a folder with ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` and
``qrels/*.tsv``, each also compressed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wordloom.config import CorpusConfig
from wordloom.data.corpus import Corpus, Finding
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.readers import COMPRESSIONS, file_format, find_files, replace_surrogates, strict_decode
from wordloom.data.tables import Table, longest_text, open_table, table_rows
from wordloom.errors import DataError

ID_NAMES = ("_id", "id", "doc_id", "docid", "document_id", "pid", "passage_id")
TITLE_NAMES = ("title", "headline", "subject")
BODY_NAMES = ("text", "contents", "content", "body", "abstract", "document", "passage")


class Document(NamedTuple):
    """place: "file:line". A document without text has an id all the same: judgments may name it."""

    id: str
    title: str
    text: str
    place: str

    @property
    def full(self) -> str:
        """Title and text as one, as BEIR joins them."""
        return f"{self.title} {self.text}".strip() if self.title else self.text


@dataclass(frozen=True)
class DocumentColumns:
    """Columns of a table of documents, by name; None: guessed, and said so."""

    id: str | None = None
    title: str | None = None
    text: str | None = None


class Documents:
    """Documents of a BEIR folder, a table (jsonl, csv, tsv, parquet), a .txt file, or a folder of such, streamed.

    The id is that of the column ``_id`` or ``id``; without one it is the line, and of a whole .txt file in a folder its
    path in it. ``notes`` says after an iteration what was guessed; ``empty`` counts documents without text.
    Faults, with file and line: an id twice or empty, text that is no text. What the readers refuse raises DataError.
    """

    def __init__(self, path: str | Path, columns: DocumentColumns | None = None, faults: Faults = STRICT):
        self.path, self.columns, self.faults = str(path), columns or DocumentColumns(), faults
        self.empty, self.notes = Finding(), list[str]()

    def __iter__(self) -> Iterator[Document]:
        self.empty, self.notes = Finding(), []
        seen: dict[str, str] = {}
        for document in self._read():
            if document.id in seen:
                what = f"the document id {document.id!r} stands at {seen[document.id]} too"
                cure = "give every document an id of its own"
                self.faults.add(DataError(what, where=document.place, cure=cure))
                continue
            seen[document.id] = document.place
            if not document.full:
                self.empty.add(document.place)
            yield document
        if not seen:
            raise NoRecordError("no document in it", where=self.path, cure="give files that hold text")

    def _read(self) -> Iterator[Document]:
        corpus = beir_file(self.path, "corpus")
        if corpus is not None:
            yield from self._table(corpus, "")
            return
        files, _ = find_files(self.path)
        folder = self.path if os.path.isdir(self.path) else ""
        texts = [f for f in files if file_format(f) == "txt"]
        for file in files:
            if file not in texts:
                yield from self._table(file, os.path.relpath(file, folder) if len(files) > 1 and folder else "")
        if texts:
            yield from self._texts(texts, folder)

    def _texts(self, files: list[str], folder: str) -> Iterator[Document]:
        """In a folder each .txt file is a document; one file by itself is documents as the corpus reader sees them."""
        corpus = Corpus(CorpusConfig(paths=tuple(files), documents="file" if folder else "auto"))
        pieces: dict[str, int] = {}
        for file in corpus.files():
            for found in corpus.read_file(file, corpus.report):
                name = Path(os.path.relpath(file, folder)).as_posix() if folder else str(found.line)
                number = pieces[name] = pieces.get(name, 0) + 1  # a text over the reader's limit comes in pieces
                yield Document(name if number == 1 else f"{name}#{number}", "", found.text, f"{file}:{found.line}")
        self.empty.merge(corpus.report.findings.get("empty", Finding()))
        self.notes += list(corpus.report.notes)

    def _table(self, path: str, prefix: str) -> Iterator[Document]:
        """prefix: of the ids where a folder holds several tables without ids."""
        table = open_table(path, self.faults)
        at = {"id": named(table, self.columns.id, ID_NAMES), "title": named(table, self.columns.title, TITLE_NAMES),
              "text": named(table, self.columns.text, BODY_NAMES)}  # fmt: skip
        if at["text"] is None:
            at["text"] = longest_text(table)
        if at["text"] is None:
            raise DataError("no column looks like text", where=path,
                            cure=f"name the text column with --text: {', '.join(table.names)}")  # fmt: skip
        if at["title"] == at["text"]:
            at["title"] = None
        used = {key: column for key, column in at.items() if column is not None}
        said = ", ".join(f"{key} {table.names[column]!r}" for key, column in used.items())
        self.notes.append(f"{Path(path).name}: {table.note}; {said}{'' if 'id' in used else '; ids are lines'}")
        for line, cells in table_rows(table, list(used.values()), strict_decode(path, self.faults), self.faults):
            usual = f"{prefix}:{line}" if prefix else str(line)
            try:
                document = _document(dict(zip(used, cells, strict=True)), usual, f"{path}:{line}")
            except DataError as error:
                self.faults.add(error)
            else:
                yield document


def _document(cells: dict[str, Any], usual: str, place: str) -> Document:
    """usual: its id where the table has none."""
    row = {key: cell(value, key, place) for key, value in cells.items()}
    name = row.get("id", usual)
    if not name:
        raise DataError("a document without an id", where=place, cure="give every document an id of its own")
    return Document(name, row.get("title", ""), row["text"], place)


def named(table: Table, asked: str | None, names: tuple[str, ...]) -> int | None:
    """Index of the column asked for, or of the first that has one of ``names``; None where there is none."""
    if asked is not None:
        return table.column(asked)
    lower = [name.lower() for name in table.names]
    return next((lower.index(name) for name in names if name in lower), None)


def cell(value: Any, name: str, place: str) -> str:
    """A cell as stripped text. Numbers may be ids. Raises DataError for other things."""
    if isinstance(value, bool) or not isinstance(value, (str, int, type(None))):
        raise DataError(f"{name} holds {type(value).__name__}, not text", where=place, cure="write it as a string")
    text = "" if value is None else replace_surrogates(str(value))[0]
    return text.replace("\0", " ").strip()


def beir_file(folder: str | Path, name: str) -> str | None:
    """``folder/NAME.jsonl``, compressed or not; None where it is not there."""
    found = [Path(folder) / f"{name}.jsonl{ending}" for ending in ("", *COMPRESSIONS)]
    return next((str(path) for path in found if path.is_file()), None)
