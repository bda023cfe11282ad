"""Raw text of any supported file as a stream of documents. What is damaged is counted and located, never silent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from wordloom.config import CorpusConfig
from wordloom.data.readers import (
    Decode,
    decode,
    file_format,
    find_files,
    open_file,
    raw_lines,
    reject_binary,
    replace_surrogates,
    strip_html,
)
from wordloom.data.tables import longest_text, open_table, table_rows
from wordloom.errors import DataError

Unit = Literal["line", "blank-line", "file"]

PLACES = 5  # first places kept of every finding
# Large enough to see the first blank line between whole novels (0.8 MB each in english_novels_50).
DETECT_BYTES = 16_000_000
MANY_FILES, SMALL_FILE = 10, 100_000  # from here on a .txt file is taken as one document


class Document(NamedTuple):
    """text: never empty, no NUL, valid Unicode. file, line: where it starts (line from 1; parquet: row from 1)."""

    text: str
    file: str
    line: int


@dataclass
class Finding:
    """How often, and the first places ("file:line")."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str, count: int = 1) -> None:
        self.count += count
        if len(self.places) < PLACES and place not in self.places:
            self.places.append(place)

    def merge(self, other: Finding) -> None:
        self.count += other.count
        self.places = list(dict.fromkeys(self.places + other.places))[:PLACES]


WORDS = {
    "broken_utf8": "broken UTF-8 sequences, each replaced by U+FFFD",
    "nul": "NUL characters, removed",
    "empty": "empty documents, skipped",
    "long": "documents over the length limit, cut into pieces at white space",
    "left_out": "files left out because of their suffix",
}


@dataclass
class CorpusReport:
    """What a reading of the corpus found.

    documents, characters: what was handed out. files: how many were read to the end.
    findings: damage by kind (the keys of ``WORDS``). notes: decisions in words -> the files they hold for.
    """

    documents: int = 0
    characters: int = 0
    files: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    notes: dict[str, Finding] = field(default_factory=dict)

    def add(self, kind: str, place: str, count: int = 1) -> None:
        self.findings.setdefault(kind, Finding()).add(place, count)

    def count(self, kind: str) -> int:
        return self.findings[kind].count if kind in self.findings else 0

    def merge(self, other: CorpusReport) -> None:
        """Add the report of another part of the same corpus (a parallel worker's)."""
        self.documents += other.documents
        self.characters += other.characters
        self.files += other.files
        for mine, theirs in ((self.findings, other.findings), (self.notes, other.notes)):
            for key, finding in theirs.items():
                mine.setdefault(key, Finding()).merge(finding)

    def require_text(self, where: str) -> None:
        """Raise DataError where nothing was handed out."""
        if not self.documents:
            found = ", ".join(f"{f.count} {WORDS[kind]}" for kind, f in self.findings.items())
            what = "no text in the corpus" + (f" ({found})" if found else "")
            raise DataError(what, where=where, cure="give files that hold text")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """Plain words, one fact a line."""
        size = f"{self.documents:,} document{'s' * (self.documents != 1)}, {self.characters:,} characters"
        said = [f"{size} in {self.files:,} file{'s' * (self.files != 1)}"]
        for note, where in self.notes.items():
            said.append(f"{where.places[0] if where.count == 1 else f'{where.count:,} files'}: {note}")
        for kind, finding in self.findings.items():
            said.append(f"{finding.count:,} {WORDS[kind]}: {_some(finding)}")
        return said


def _some(finding: Finding) -> str:
    return ", ".join(finding.places) + (", ..." if finding.count > len(finding.places) else "")


class Corpus:
    """Documents of files, folders and globs, in a fixed order: paths as given, sorted inside a folder or glob.

    Streams in bounded memory and may be iterated any number of times. It can be pickled, so that worker processes call
    ``read_file`` on one of ``files()`` each and the parent merges their reports.

    Raises DataError (file:line, cure) for a missing path, unknown suffix, damaged compression, another encoding,
    a missing column, a line that is not JSON, broken quoting, and, after a whole iteration, for a corpus without text.
    """

    def __init__(self, config: CorpusConfig):
        self.config = config
        found: dict[str, str] = {}
        self._left_out: list[str] = []
        for path in config.paths:
            known, unknown = find_files(path)
            self._left_out += unknown
            for name in known:
                found.setdefault(os.path.realpath(name), name)
        if not found:
            raise DataError("no path given", where="[corpus] paths", cure="name files, folders or globs")
        self._files = list(found.values())
        self.unit, self._unit_reason = self._detect_unit()
        self.report = self.new_report()

    def files(self) -> list[str]:
        return list(self._files)

    def new_report(self) -> CorpusReport:
        """An empty report that already names the files left out."""
        report = CorpusReport()
        for name in self._left_out:
            report.add("left_out", name)
        return report

    def __iter__(self) -> Iterator[Document]:
        report = self.report = self.new_report()
        for path in self._files:
            yield from self.read_file(path, report)
        report.require_text(", ".join(self.config.paths))

    def read_file(self, path: str, report: CorpusReport | None = None) -> Iterator[Document]:
        """Documents of one file; ``report`` is filled on the way."""
        report = CorpusReport() if report is None else report
        if file_format(path) == "txt":
            report.notes.setdefault(self._unit_reason, Finding()).add(path)
            documents = self._txt(path, report)
        else:
            documents = self._table(path, report)
        for document in documents:
            report.documents += 1
            report.characters += len(document.text)
            yield document
        report.files += 1

    def _decoder(self, path: str, report: CorpusReport) -> Decode:
        def decoder(raw: bytes, line: int) -> str:
            text, broken, nuls = decode(raw)
            if broken:
                report.add("broken_utf8", f"{path}:{line}", broken)
            if nuls:
                report.add("nul", f"{path}:{line}", nuls)
            return text

        return decoder

    # ---- .txt

    def _txt(self, path: str, report: CorpusReport) -> Iterator[Document]:
        """Chunks of lines are joined to documents. Nothing longer than twice ``max_chars`` is ever held."""
        reject_binary(path)
        limit = self.config.max_chars
        held: list[str] = []
        size, start, pieces = 0, 1, 0
        for text, line, last in self._chunks(path, report):
            if not held:
                start = line
            held.append(text)
            size += len(text)
            if size > 2 * limit:
                pieces_of, rest = _cut("".join(held), limit)
                for piece in pieces_of:
                    yield from self._clean(piece, path, start, report, pieces)
                    pieces += 1
                held, size = [rest], len(rest)
            if last:
                yield from self._clean("".join(held), path, start, report, pieces)
                held, size, pieces = [], 0, 0
        if held or (self.unit == "file" and not pieces):
            yield from self._clean("".join(held), path, start, report, pieces)

    def _chunks(self, path: str, report: CorpusReport) -> Iterator[tuple[str, int, bool]]:
        """(text, line, True where a document ends). Documents that are still open at the end of file just stop."""
        decoder, unit = self._decoder(path, report), self.unit
        whole = open_document = False
        for line, raw, ends in raw_lines(path, 4 * self.config.max_chars):
            text = decoder(raw, line)
            if unit == "line":
                yield text, line, ends
            elif unit == "blank-line" and ends and not whole and not text.strip():
                if open_document:
                    yield "", line, True
                open_document = False
            elif unit == "file" or open_document or text.strip():
                yield (text + "\n" if ends else text), line, False
                open_document = True
            whole = not ends  # the next chunk continues this line

    def _clean(self, text: str, path: str, line: int, report: CorpusReport, pieces: int = 0) -> Iterator[Document]:
        """Strip, clean, cut. pieces: how many of the same document went out before."""
        limit = self.config.max_chars
        text = text.strip()
        if self.config.clean_html:
            text = strip_html(text)
        if not text:
            if not pieces:
                report.add("empty", f"{path}:{line}")
            return
        if len(text) <= limit:
            if pieces == 1:
                report.add("long", f"{path}:{line}")
            yield Document(text, path, line)
            return
        if pieces <= 1:
            report.add("long", f"{path}:{line}")
        parts, rest = _cut(text, limit)
        for part in [*parts, rest]:
            if part.strip():
                yield Document(part.strip(), path, line)

    # ---- tables

    def _table(self, path: str, report: CorpusReport) -> Iterator[Document]:
        table = open_table(path)
        if self.config.text is not None:
            column, why = table.column(self.config.text), "as asked"
        else:
            guess = longest_text(table)
            if guess is None:
                cure = f"name the text column with text=... (in check: --text): {', '.join(table.names)}"
                raise DataError("no column looks like text", where=path, cure=cure)
            column, why = guess, "guessed: longest mean text; override with text=..., in check --text"
        name = table.names[column]
        report.notes.setdefault(f"{table.note}; text from column {name!r} ({why})", Finding()).add(path)
        for line, (value,) in table_rows(table, [column], self._decoder(path, report)):
            if value is not None and not isinstance(value, str):
                what = f"column {name!r} holds {type(value).__name__}, not text"
                cure = "name the text column with text=... (in check: --text)"
                raise DataError(what, where=f"{path}:{line}", cure=cure)
            text, halves = replace_surrogates(value or "")
            if halves:
                report.add("broken_utf8", f"{path}:{line}", halves)
            if "\0" in text:  # only JSON and parquet can still hold one here
                report.add("nul", f"{path}:{line}", text.count("\0"))
                text = text.replace("\0", "")
            yield from self._clean(text, path, line, report)

    # ---- what is a document in a .txt file

    def _detect_unit(self) -> tuple[Unit, str]:
        """One decision for all .txt files of the corpus, from a sample."""
        words = {"line": "a document per line", "blank-line": "documents between blank lines", "file": "one document"}
        texts = [name for name in self._files if file_format(name) == "txt"]
        if self.config.documents != "auto":
            return self.config.documents, f"{words[self.config.documents]} (as asked)"
        override = "override with documents=line|blank-line|file"
        if len(texts) >= MANY_FILES:
            sizes = sorted(os.path.getsize(name) for name in texts)
            if sizes[len(sizes) // 2] <= SMALL_FILE:
                why = f"detected: {len(texts)} small files"
                return "file", f"{words['file']} ({why}; {override})"
        sampled = texts[:: max(1, len(texts) // 16)][:16]
        if any(_has_blank_line(name, DETECT_BYTES // len(sampled)) for name in sampled):
            return "blank-line", f"{words['blank-line']} (detected: blank lines inside the text; {override})"
        return "line", f"{words['line']} (detected: no blank line in the sample; {override})"


def _has_blank_line(path: str, sample: int) -> bool:
    """True if a line of white space stands between two lines of text in the first ``sample`` bytes."""
    reject_binary(path)
    with open_file(path) as file:
        text = file.read(sample).lstrip()
    return re.search(rb"\n[ \t\r\f\v]*\n\s*\S", text) is not None


def _cut(text: str, limit: int) -> tuple[list[str], str]:
    """Pieces of at most ``limit`` characters and the rest, cut after white space where the last half holds some."""
    pieces, start = [], 0
    while len(text) - start > limit:
        end = start + limit
        space = max(text.rfind(mark, start + limit // 2, end) for mark in " \n\t\u3000")
        if space < 0:  # Chinese and Japanese: after a sentence end
            space = max(text.rfind(mark, start + limit // 2, end) for mark in "。！？")
        end = space + 1 if space >= 0 else end
        pieces.append(text[start:end])
        start = end
    return pieces, text[start:]
