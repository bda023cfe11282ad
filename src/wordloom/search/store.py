"""Documents, their words and vectors in one LanceDB table on disk.

LanceDB's full-text index computes BM25 (k1 1.2, b 0.75) over words that we parted ourselves, kept one space apart: so
stemming and Chinese are those of `search.words`, and its scores are `search.bm25`'s. Every write is one commit: a kill
leaves all of it or nothing. Statistics of BM25 are exact after ``settle``.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordloom.errors import ConfigError, DataError

TABLE = "documents"
KEEP = timedelta(minutes=10)
FIELDS = ("id", "title", "text")
_CURE = "index the documents again with --overwrite"


class Found(NamedTuple):
    id: str
    title: str
    text: str
    score: float


def lancedb() -> Any:
    """Raises ConfigError, naming the extra, where it is not installed."""
    os.environ.setdefault("LANCEDB_LOG", "error")  # it would report every new table on standard error
    try:
        return importlib.import_module("lancedb")
    except ImportError:
        raise ConfigError(
            "an index needs lancedb, which is not installed", cure='pip install "wordloom[search]"'
        ) from None


class Store:
    """``put``, ``remove``, ``settle``; ``match`` and ``near`` search. One writer at a time: the run's lock."""

    def __init__(self, table: Any):
        self._table = table

    @classmethod
    def create(cls, folder: str | Path, width: int | None) -> Store:
        """An empty table, in place of one that a kill left half made. width: D of the vectors, None: without."""
        fields = [pa.field(name, pa.string()) for name in (*FIELDS, "words", "digest")]
        if width is not None:
            fields.append(pa.field("vector", pa.list_(pa.float32(), width)))
        return cls(lancedb().connect(folder).create_table(TABLE, schema=pa.schema(fields), mode="overwrite"))

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Raises DataError where there is no table, or a damaged one."""
        try:
            return cls(lancedb().connect(folder).open_table(TABLE))
        except (ValueError, RuntimeError, OSError) as error:
            what = f"the index cannot be read: {str(error).splitlines()[0]}"
            raise DataError(what, where=folder, cure=_CURE) from None

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def known(self) -> dict[str, str]:
        """Document id -> digest of what was indexed."""
        columns = self._table.search().select(["id", "digest"]).limit(len(self)).to_arrow()
        return dict(zip(columns["id"].to_pylist(), columns["digest"].to_pylist(), strict=True))

    def put(self, rows: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> None:
        """Add rows, or replace those of an id that is in ``known``: each in one commit."""
        fresh = [row for row in rows if row["id"] not in known]
        changed = [row for row in rows if row["id"] in known]
        if fresh:
            self._table.add(pa.Table.from_pylist(fresh, schema=self._table.schema))
        if changed:
            data = pa.Table.from_pylist(changed, schema=self._table.schema)
            self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(data)

    def remove(self, ids: Sequence[str]) -> None:
        if ids:
            self._table.delete(_among(ids))

    def settle(self, *, rebuild: bool, keep: timedelta = KEEP) -> None:
        """Join small files, bring the full-text index up to date, and remove files that only versions of the table
        older than ``keep`` need: somebody may be reading those.

        rebuild: the index anew (0.1 ms a document), which BM25's statistics need after a deletion or a replacement:
        an update of LanceDB 0.40's index still counts the rows that went, and scores are off by some percent.
        """
        if not len(self):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # keep 0 would disturb readers: a new index has none
            self._table.optimize(cleanup_older_than=keep)
        if rebuild or not self._table.list_indices():
            options = importlib.import_module("lancedb.index").FTS(
                base_tokenizer="whitespace", lower_case=False, stem=False, remove_stop_words=False,
                ascii_folding=False, max_token_length=None,
            )  # fmt: skip
            self._table.create_index("words", config=options, replace=True)

    def match(self, words: Sequence[str], k: int) -> list[Found]:
        """The k best by BM25; fewer where fewer hold one of the words."""
        if not words or not len(self):
            return []
        query = importlib.import_module("lancedb.query").MatchQuery(" ".join(words), "words")
        rows = self._table.search(query, query_type="fts").select([*FIELDS, "_score"]).limit(k).to_list()
        return [Found(row["id"], row["title"], row["text"], row["_score"]) for row in rows]

    def near(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """The k nearest by cosine, exactly: every vector is compared. vector: (D,) of length 1."""
        if not len(self):
            return []
        found = self._table.search(vector, vector_column_name="vector").distance_type("dot")
        rows = found.select([*FIELDS, "_distance"]).limit(k).to_list()  # 1 - dot product
        return [Found(row["id"], row["title"], row["text"], 1 - row["_distance"]) for row in rows]


def _among(ids: Sequence[str]) -> str:
    """An SQL condition; a quote in a string is doubled."""
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in ids)
    return f"id IN ({listed})"
