"""Pre-flight: what a look at the data before training would have told. Every finding is counted and located."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Literal

from wordloom.config import CorpusConfig, make
from wordloom.data.check_corpus import check_corpus
from wordloom.data.check_examples import Split, check_leak, check_split
from wordloom.data.columns import guess_columns
from wordloom.data.corpus import Corpus
from wordloom.data.examples import read_examples
from wordloom.data.faults import Faults, collect
from wordloom.data.findings import CheckReport
from wordloom.data.readers import file_format, find_files, open_file
from wordloom.data.tables import open_table
from wordloom.errors import DataError

__all__ = ["CheckReport", "check"]

NEAR_LIMIT = 100_000  # texts of one part compared for near duplicates: 25 s and 0.5 GB for film reviews

_SPLIT = re.compile(r"^(train|dev|valid|validation|val|test)(?=[._-])", re.IGNORECASE)


def check(
    paths: str | Sequence[str],
    *,
    against: str | Mapping[str, str] | None = None,
    pretraining: str | Sequence[str] | None = None,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    kind: Literal["auto", "single", "multi", "regression"] = "auto",
    separator: str = "|",
    clean_html: bool = False,
    documents: Literal["auto", "line", "blank-line", "file"] = "auto",
    near_limit: int = NEAR_LIMIT,
) -> CheckReport:
    """Look at raw text or labelled examples.

    paths: a labelled file; a folder with files named train, dev (valid, val) and test; or a raw corpus.
    against: other splits, name -> labelled file; leaks are looked for between all of them.
    pretraining: raw corpus that must not hold the labelled texts. A raw ``paths`` with ``against`` means the same.
    near_limit: how many texts of one part are compared for near duplicates; beyond it every k-th is (and it is said).

    Faults of labelled files, which training refuses, are listed in the report; damage that reading can repair is a
    finding. Raises DataError where raw text cannot be read.
    """
    paths = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    others = {"against": against} if isinstance(against, str) else dict(against or {})
    columns: dict[str, Any] = {"text": text, "label": label, "pair": pair}
    splits = _splits(paths, columns)
    report = CheckReport()
    corpora = [] if pretraining is None else [pretraining] if isinstance(pretraining, str) else list(pretraining)
    corpus_text = None if splits else text
    if not splits:
        if corpora:
            cure = "give a labelled file, or leave pretraining out"
            raise DataError("not labelled data", where=paths[0], cure=cure)
        corpora = paths
    read: list[Split] = []
    for name, path in {**splits, **others}.items():
        asked = columns if splits else _present(path, columns)
        reader = partial(read_examples, path, **asked, kind=kind, separator=separator, clean_html=clean_html,
                         require_label=False)  # fmt: skip
        examples, faults = collect(reader)
        report.add_malformed(name, faults, bool(examples))
        if examples:
            read.append(check_split(report, name, examples, near_limit))
    for a, b in combinations(read, 2):
        check_leak(report, a, b, near_limit)
    if corpora:
        values = {"paths": tuple(corpora), "text": corpus_text, "documents": documents, "clean_html": clean_html}
        held = {split.name: split.examples for split in read}
        check_corpus(report, Corpus(make(CorpusConfig, values)), held, near_limit)
    return report


def _splits(paths: list[str], columns: dict[str, Any]) -> dict[str, str]:
    """name -> labelled file; empty for a raw corpus."""
    if len(paths) == 1 and os.path.isdir(paths[0]):
        found: dict[str, str] = {}
        for path in find_files(paths[0])[0]:
            match = _SPLIT.match(os.path.basename(path))
            if match and os.path.dirname(path) == paths[0].rstrip("/") and _is_labelled(path, columns):
                found.setdefault(match[1].lower(), path)
        order = ["train", "dev", "valid", "validation", "val", "test"]
        return {name: found[name] for name in order if name in found}
    files = [path for given in paths for path in find_files(given)[0]]
    likely = _is_labelled if len(files) == 1 else _is_labelled_or_no_table
    if all(likely(path, columns) for path in files):
        names = [os.path.basename(path) for path in files]
        return dict(zip(files if len(set(names)) < len(names) else names, files, strict=True))
    return {}


def _is_labelled(path: str, columns: dict[str, Any]) -> bool:
    if file_format(path) == "txt":
        with open_file(path) as file:
            return file.read(12).removeprefix(codecs.BOM_UTF8).startswith(b"__label__")
    if columns["label"] is not None:
        return True
    table = open_table(path, Faults(keep=True))
    try:
        return guess_columns(table, columns["text"], None, columns["pair"], require_label=False).label is not None
    except DataError:
        return False


def _is_labelled_or_no_table(path: str, columns: dict[str, Any]) -> bool:
    """Of one file among several: reading it then says what is wrong, beside what the others hold."""
    try:
        return _is_labelled(path, columns)
    except DataError:
        return True


def _present(path: str, columns: dict[str, Any]) -> dict[str, Any]:
    """The asked columns that a file beside a raw corpus has; the others were meant for the corpus."""
    if file_format(path) == "txt":
        return {}
    try:
        names = open_table(path, Faults(keep=True)).names
    except DataError:
        return {}  # reading it says what is wrong
    return {role: name for role, name in columns.items() if name in names}
