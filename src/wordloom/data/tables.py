"""Rows of csv, tsv, jsonl and parquet: delimiter, quoting, header and names are decided on a sample and stated."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.readers import COMPRESSIONS, Decode, decode, known_format, open_file, raw_lines, reject_binary
from wordloom.errors import DataError

SAMPLE_BYTES = 4_000_000
SAMPLE_ROWS = 10_000
MAX_CELL = 100_000_000  # characters; what a quote that is never closed may swallow before the error

TEXT_NAMES = (
    "text", "sentence", "content", "review", "sentence1", "text_a", "text1", "premise", "question1", "document", "body",
    "message", "comment", "tweet", "utterance", "review_text", "question", "headline", "title",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "topic", "intent", "categories", "tags", "tag",
    "score", "rating", "stars", "y",
)  # fmt: skip
ID_NAMES = ("id", "index", "idx", "qid")
PAIR_NAMES = {
    "sentence1": "sentence2", "text_a": "text_b", "text1": "text2", "premise": "hypothesis", "question1": "question2",
    "sentence": "sentence2", "text": "text_pair", "question": "sentence",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One tabular file and what was decided about it.

    names: column names; "1", "2", ... where there is no header.
    sample: the first rows (at most 10,000, or 4 MB), cells in the order of ``names``.
    note: the decisions in words.
    """

    path: str
    format: str
    names: tuple[str, ...]
    header: bool = True
    delimiter: str = ","
    quoted: bool = True
    note: str = ""
    sample: list[tuple[Any, ...]] = field(default_factory=list, repr=False, compare=False)

    def column(self, name: str) -> int:
        """Index of a column by name or, from 1, by number."""
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and 1 <= int(name) <= len(self.names) and self.format != "jsonl":
            return int(name) - 1
        listed = ", ".join(self.names)
        raise DataError(f"no column {name!r}", where=self.path, cure=f"choose one of: {listed}")


def open_table(path: str, faults: Faults = STRICT) -> Table:
    """Read a sample and decide; raises DataError where the file is not a table of its suffix."""
    kind = known_format(path)
    if kind == "parquet":
        return _open_parquet(path)
    reject_binary(path)
    if kind == "jsonl":
        return _open_jsonl(path, faults)
    if kind in ("csv", "tsv"):
        return _open_delimited(path, kind)
    raise DataError("not a table", where=path, cure="use .csv, .tsv, .jsonl or .parquet")


def table_rows(
    table: Table, columns: list[int], decoder: Decode, faults: Faults = STRICT
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """(line, cells of the asked columns). Line is that of the record's start; for parquet the row number from 1.

    Cells of csv and tsv are str; of jsonl and parquet whatever is stored, None where it is absent.
    Faults: a row with another number of columns, a line that is not JSON. Raises DataError for an unclosed quote.
    """
    if table.format == "parquet":
        yield from _parquet_rows(table, columns)
    elif table.format == "jsonl":
        names = [table.names[c] for c in columns]
        for line, record in _json_records(table.path, _decoded(table.path, decoder), faults):
            yield line, tuple(record.get(name) for name in names)
    else:
        width = len(table.names)
        lines = _decoded(table.path, decoder)
        skip = table.header
        for line, cells in _delimited(table.path, lines, table.delimiter, table.quoted):
            if skip:
                skip = False
                continue
            if len(cells) != width:
                faults.add(_wrong_width(table, line, len(cells)))
                continue
            yield line, tuple(cells[c] for c in columns)


def _wrong_width(table: Table, line: int, found: int) -> DataError:
    if table.quoted:
        cure = "quote fields that hold the delimiter, and double the quotes inside them"
    else:
        cure = "replace tabs inside a text by spaces, or save the file as quoted .csv"
    width = len(table.names)
    return DataError(
        f"{found} column{'s' * (found != 1)} where {width} {'is' if width == 1 else 'are'} expected",
        where=f"{table.path}:{line}",
        cure=cure,
    )


def _decoded(path: str, decoder: Decode) -> Iterator[tuple[int, str]]:
    for line, raw, _ in raw_lines(path):
        yield line, decoder(raw, line)


# ---- jsonl


def _json_records(path: str, lines: Iterable[tuple[int, str]], faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in lines:
        if not text.strip():
            continue
        try:
            record = _json_record(text, f"{path}:{line}")
        except DataError as error:
            faults.add(error)
        else:
            yield line, record


def _json_record(text: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", str(error))
        cure = "write one JSON object per line"
        if text.strip() in ("[", "{") or text.lstrip().startswith("[{"):
            cure = "this looks like one big JSON document: write one object per line (jq -c '.[]')"
        raise DataError(f"not JSON ({reason})", where=place, cure=cure) from None
    if not isinstance(record, dict):
        what = f"a JSON {_json_type(record)}, not an object"
        raise DataError(what, where=place, cure='write {"text": ..., "label": ...} on each line')
    return record


def _json_type(value: object) -> str:
    return {list: "array", str: "string", type(None): "null", bool: "boolean"}.get(type(value), "number")


def _open_jsonl(path: str, faults: Faults) -> Table:
    names: dict[str, None] = {}
    records: list[dict[str, Any]] = []
    sampled = Faults(faults.keep)  # `table_rows` finds them again, in their order
    lines = ((line, decode(raw)[0]) for line, raw, _ in _sample_lines(path))
    for _, record in _json_records(path, lines, sampled):
        names.update(dict.fromkeys(record))
        records.append(record)
    if not records:
        for error in sampled.found.values():
            faults.add(error)
        none = NoRecordError("no record in it", where=path, cure="check that the file was written completely")
        raise next(iter(sampled.found.values()), none)
    sample = [tuple(record.get(name) for name in names) for record in records]
    return Table(path, "jsonl", tuple(names), note=f"{len(names)} fields", sample=sample)


def _sample_lines(path: str) -> Iterator[tuple[int, bytes, bool]]:
    """The first lines, up to SAMPLE_ROWS or SAMPLE_BYTES."""
    total = 0
    for line, raw, ends in raw_lines(path):
        yield line, raw, ends
        total += len(raw)
        if line >= SAMPLE_ROWS or total >= SAMPLE_BYTES:
            return


# ---- csv, tsv


def _delimited(
    path: str, lines: Iterable[tuple[int, str]], delimiter: str, quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """(line of the record's start, cells). Empty lines are no records."""
    if not quoted:
        for line, text in lines:
            if text:
                yield line, text.split(delimiter)
        return
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader((text + "\n" for _, text in lines), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error) or "field larger" in str(error):
            what, cure = "a quote opened in this record is never closed", "close it, or double a quote that is text"
        else:
            what, cure = f"broken quoting ({error})", "double quotes inside a quoted field, and quote the whole field"
        raise DataError(what, where=f"{path}:{start}", cure=cure) from None


def _open_delimited(path: str, kind: str) -> Table:
    lines = [(line, decode(raw)[0]) for line, raw, _ in _sample_lines(path)]
    if not any(text.strip() for _, text in lines):
        raise DataError("no record in it", where=path, cure="check that the file was written completely")
    first = next(text for _, text in lines if text.strip())
    delimiter = "\t" if kind == "tsv" else next((d for d in ",\t;" if d in first), ",")
    whole = len(lines) < SAMPLE_ROWS and sum(len(t) for _, t in lines) < SAMPLE_BYTES // 4
    quoted = kind == "csv" or _tsv_is_quoted(path, lines, whole)
    rows = _sampled_rows(path, lines, delimiter, quoted, whole)
    header = has_header(rows)
    names = tuple(cell.strip() for cell in rows[0]) if header else tuple(str(i + 1) for i in range(len(rows[0])))
    _reject_names(path, names)
    if len(rows) == header:
        raise DataError("no record below the header", where=path, cure="check that the file was written completely")
    sample = [tuple(row) for row in rows[header:] if len(row) == len(names)]
    said = {",": "comma", "\t": "tab", ";": "semicolon"}[delimiter] + "-separated"
    if kind == "tsv":
        said += ", quoted" if quoted else ", not quoted"
    said += ", header" if header else f", no header: columns are 1 to {len(names)}"
    return Table(path, kind, names, header, delimiter, quoted, said, sample)


def _reject_names(path: str, names: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"two columns named {twice[0]!r}", where=f"{path}:1", cure="give each column its own name")


def _sampled_rows(
    path: str, lines: list[tuple[int, str]], delimiter: str, quoted: bool, whole: bool
) -> list[list[str]]:
    rows = []
    try:
        for _, cells in _delimited(path, lines, delimiter, quoted):
            rows.append(cells)
    except DataError:
        if whole or not rows:  # the last record of a cut sample may be open
            raise
    return rows


def _tsv_is_quoted(path: str, lines: list[tuple[int, str]], whole: bool) -> bool:
    """Most tsv files are not quoted and hold bare quotes; some are written by a csv writer.

    Quoted if the csv reading works with a constant number of columns and there is evidence for it: plain splitting
    gives uneven rows, or a field is in quotes with doubled quotes inside, or most rows have a field in quotes.
    """
    plain = [text.split("\t") for _, text in lines if text]
    opened = sum(any(cell.startswith('"') for cell in cells) for cells in plain)
    if not opened:
        return False
    try:
        parsed = _sampled_rows(path, lines, "\t", True, whole)
    except DataError:
        return False
    if len({len(cells) for cells in parsed}) != 1 or len(parsed) < 0.5 * len(plain):
        return False
    uneven = len({len(cells) for cells in plain}) != 1
    closed = [cell for cells in plain for cell in cells if len(cell) > 1 and cell[0] == cell[-1] == '"']
    doubled = any(re.fullmatch(r'(?:[^"]|"")*', cell[1:-1]) and '""' in cell[1:-1] for cell in closed)
    return uneven or doubled or opened > 0.5 * len(plain)


_NAME = re.compile(r"(?:#\d|[^\W\d])[\w .\-]*")  # of a column; "#1 String" is one of MRPC's


def has_header(rows: list[list[str]]) -> bool:
    """True if the first row names the columns: known names, or short distinct words over columns of another kind."""
    first = [cell.strip() for cell in rows[0]]
    if not all(first) or any(len(cell) > 40 for cell in first):
        return False
    known = [cell.lower() in (*TEXT_NAMES, *LABEL_NAMES, *ID_NAMES) for cell in first]
    below = [row for row in rows[1:] if len(row) == len(first)]
    seen = [{row[i].strip() for row in below} for i in range(len(first))]
    if any(cell in seen[i] and not known[i] for i, cell in enumerate(first)):
        return False
    if any(known):
        return True
    if not below or len(set(first)) < len(first) or not all(map(_NAME.fullmatch, first)):
        return False
    return any(0 < len(s) <= 0.2 * len(below) or all(is_number(cell) for cell in s) for s in seen)


def is_number(cell: object) -> bool:
    """True for what float() reads as a finite number."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return False
    try:
        return abs(float(cell)) < float("inf")
    except (ValueError, OverflowError):
        return False


# ---- parquet


@contextmanager
def _parquet_file(path: str) -> Iterator[Any]:
    import pyarrow as pa  # loaded only here: importing it takes longer than all of this module
    import pyarrow.parquet as pq

    with open_file(path) as file, tempfile.TemporaryFile() as plain:
        packed = os.path.splitext(path.lower())[1] in COMPRESSIONS
        if packed:  # parquet is read from its end, so it has to be unpacked first
            shutil.copyfileobj(file, plain, 1 << 20)
            plain.seek(0)
        try:
            yield pq.ParquetFile(plain if packed else file)
        except (pa.ArrowException, OSError) as error:
            message = re.sub(r"\s+", " ", str(error)).rstrip(". ")
            raise DataError(f"not a readable parquet file ({message})", where=path, cure="write it again") from None


def _open_parquet(path: str) -> Table:
    with _parquet_file(path) as file:
        names = tuple(file.schema_arrow.names)
        _reject_names(path, names)
        sample: list[tuple[Any, ...]] = []
        for batch in file.iter_batches(batch_size=1000):
            sample.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            break
    if not sample:
        raise DataError("no row in it", where=path, cure="check that the file was written completely")
    return Table(path, "parquet", names, note=f"{len(names)} columns", sample=sample)


def _parquet_rows(table: Table, columns: list[int]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    names = [table.names[c] for c in columns]
    row = 0
    with _parquet_file(table.path) as file:
        for batch in file.iter_batches(batch_size=1024, columns=list(dict.fromkeys(names))):
            for cells in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                row += 1
                yield row, cells


# ---- guesses


def mean_length(table: Table, column: int) -> float:
    """Mean characters of the text cells of a column in the sample; 0 where a cell is neither text nor absent."""
    cells = [row[column] for row in table.sample]
    if any(cell is not None and not isinstance(cell, str) for cell in cells):
        return 0.0
    if all(is_number(cell) for cell in cells if cell):
        return 0.0
    return sum(len(cell or "") for cell in cells) / max(1, len(cells))


def longest_text(table: Table) -> int | None:
    """Column with the longest mean text in the sample; a known name wins a tie."""

    def rank(column: int) -> tuple[float, bool]:
        return mean_length(table, column), table.names[column].lower() in TEXT_NAMES

    best = max(range(len(table.names)), key=rank, default=None)
    return best if best is not None and mean_length(table, best) > 0 else None
