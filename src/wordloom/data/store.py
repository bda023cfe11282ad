"""The token store: a corpus as ids on disk, memory-mapped, with document, word and sentence starts.

Files of a store (little-endian; sizes for ids of 2 bytes):
  tokens.bin      ids, uint16 where the vocabulary fits, else uint32
  words.bin       1 bit a token id where the id alone says whether it starts a word (WordPiece), else 1 bit a token
  documents.bin   tokens of each document, varint
  sentences.bin   distance from each sentence start to the next, varint (about one byte for 25 tokens)
  lines.bin       line of each document less that of the one before, zigzag varint
  manifest.json   counts, hashes, unigram entropy, tokenizer hash, source files, what the corpus reader reported
A store is written beside its place and renamed when complete, so that a folder with a manifest is whole.

Documents stream in, chunks are encoded by several threads, ids stream out in order. Threads, not processes: the
cutting and the tokenizers library run outside Python's lock, nothing is copied between processes, and a script
needs no ``__main__`` guard. The result does not depend on their number.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.data.sealed import damaged, open_sealed
from wordloom.data.store_writer import FILES, FORMAT, VERSION, Document, StoreWriter
from wordloom.data.varint import decode, unzigzag
from wordloom.errors import DataError
from wordloom.text.bulk import Bulk, BulkEncoder
from wordloom.text.tokenizer import Tokenizer

NOUN = "a token store"
_FACTS = {
    "tokens": int, "documents": int, "sentences": int, "vocab_size": int, "text_bytes": int, "dtype": str, "words": str,
    "tokenizer_hash": str, "unigram_entropy": float, "sources": list,
}  # fmt: skip
_CHUNK = 1_000_000  # characters given to a thread at a time; some 60 MB of working memory each
_AHEAD = 16_000_000  # characters read before a split is fixed

Progress = Callable[[int], None]  # called with the characters of text stored so far


def build_store(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> TokenStore:
    """Write every document, in order, to a new store; memory is bounded by the chunks under way.

    workers: threads (absent: the cores this process may use). A ``report`` of ``documents`` goes into the
    manifest. Raises DataError when the folder exists, there is no token to store, or the disk is full.
    """
    with StoreWriter(Path(folder), tokenizer) as writer:
        _fill([writer], lambda _: 0, documents, workers, progress)
        writer.finish(_report(documents))
    return TokenStore.open(folder)


def build_stores(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    train_folder: str | Path,
    valid_folder: str | Path,
    valid_fraction: float,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[TokenStore, TokenStore]:
    """Two stores from one pass; a hash of (seed, text) sends a document to one of them.

    Equal texts land on the same side, and so does a text when the corpus grows. When the documents read ahead
    (16 million characters) leave one side empty, the share is moved just so far that it holds one text.
    """
    stream = iter(documents)
    ahead: list[Document] = []
    size = 0
    for document in stream:
        ahead.append(document)
        size += len(document.text)
        if size >= _AHEAD:
            break
    ranks = sorted({_rank(seed, document.text) for document in ahead if document.text.strip()})
    if len(ranks) < 2:
        raise DataError(
            f"{len(ranks)} different documents cannot be split into training and validation text",
            cure='give more text, or split it into documents otherwise (documents = "line" or "blank-line")',
        )
    below = min(max(int(valid_fraction * 2**64), ranks[0] + 1), ranks[-1])

    with StoreWriter(Path(train_folder), tokenizer) as train, StoreWriter(Path(valid_folder), tokenizer) as valid:

        def side(document: Document) -> int:
            return int(_rank(seed, document.text) < below)

        _fill([train, valid], side, chain(ahead, stream), workers, progress)
        report = _report(documents)
        train.finish(report)
        valid.finish(report)
    return TokenStore.open(train_folder), TokenStore.open(valid_folder)


def _rank(seed: int, text: str) -> int:
    key = seed.to_bytes(16, "little", signed=True)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, key=key).digest(), "little")


def _report(documents: Iterable[Document]) -> Any:
    to_json = getattr(getattr(documents, "report", None), "to_json", None)
    return to_json() if to_json is not None else None


def _fill(
    writers: Sequence[StoreWriter],
    side: Callable[[Document], int],
    documents: Iterable[Document],
    workers: int | None,
    progress: Progress | None,
) -> None:
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    local = threading.local()
    tokenizer = writers[0].tokenizer

    def encode(chunk: list[Document]) -> Bulk:
        if not hasattr(local, "encoder"):
            local.encoder = BulkEncoder(tokenizer)
        bulk: Bulk = local.encoder.encode([document.text for document in chunk])
        return bulk

    under_way: deque[tuple[int, list[Document], Future[Bulk]]] = deque()
    stored = 0

    def store_first() -> None:
        nonlocal stored
        number, chunk, future = under_way.popleft()
        writers[number].add(chunk, future.result())
        stored += sum(len(document.text) for document in chunk)
        if progress is not None:
            progress(stored)

    with ThreadPoolExecutor(workers) as pool:
        for number, chunk in _chunks(documents, side, len(writers)):
            if len(under_way) > workers:
                store_first()
            under_way.append((number, chunk, pool.submit(encode, chunk)))
        while under_way:
            store_first()


def _chunks(
    documents: Iterable[Document], side: Callable[[Document], int], sides: int
) -> Iterator[tuple[int, list[Document]]]:
    waiting: list[list[Document]] = [[] for _ in range(sides)]
    sizes = [0] * sides
    for document in documents:
        number = side(document)
        waiting[number].append(document)
        sizes[number] += len(document.text) + 1
        if sizes[number] >= _CHUNK:
            yield number, waiting[number]
            waiting[number], sizes[number] = [], 0
    yield from ((number, chunk) for number, chunk in enumerate(waiting) if chunk)


class TokenStore:
    """An open store of N tokens in D documents.

    Attributes: folder; manifest; tokens (N,) memory-mapped uint16 or uint32; starts (D + 1,) int64, document d
    is tokens[starts[d] : starts[d + 1]] (a document may be empty); documents D; tokenizer_hash;
    unigram_entropy in nats per token; bytes_per_token, UTF-8 bytes of raw text.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder, self.manifest = folder, manifest
        count, dtype = manifest["tokens"], np.dtype(manifest["dtype"])
        self.tokens: NDArray[Any] = (
            np.memmap(folder / "tokens.bin", dtype, "r", shape=(count,)) if count else np.zeros(0, dtype)
        )
        self.documents: int = manifest["documents"]
        self.starts = np.zeros(self.documents + 1, np.int64)
        np.cumsum(self._varints("documents.bin", self.documents), out=self.starts[1:])
        if self.starts[-1] != count:
            raise damaged(folder, f"documents.bin counts {self.starts[-1]:,} tokens, the manifest {count:,}")
        self.tokenizer_hash: str = manifest["tokenizer_hash"]
        self.unigram_entropy: float = manifest["unigram_entropy"]
        self.bytes_per_token: float = manifest["text_bytes"] / max(count, 1)
        self._words = np.fromfile(folder / "words.bin", np.uint8)

    @classmethod
    def open(cls, folder: str | Path, verify: bool = False) -> TokenStore:
        """Open a store; ``verify`` also reads every file and compares its hash. Raises DataError."""
        folder = Path(folder)
        manifest = open_sealed(folder, NOUN, (FORMAT, VERSION), _FACTS, FILES, verify)
        if manifest["dtype"] not in ("uint16", "uint32"):
            raise damaged(folder, "manifest.json has no usable 'dtype'")
        return cls(folder, manifest)

    @cached_property
    def word_table(self) -> NDArray[np.bool_] | None:
        """(vocab_size,) True where a token id starts a word; None where each token has its own bit."""
        if self.manifest["words"] == "by_position":
            return None
        return np.unpackbits(self._words, count=self.manifest["vocab_size"]).astype(np.bool_)

    def counts(self, vocab_size: int) -> NDArray[np.float64]:
        """(V,) occurrences of each id."""
        found = np.zeros(vocab_size)
        for i in range(0, len(self.tokens), 1 << 22):  # the store may be larger than memory
            found += np.bincount(self.tokens[i : i + (1 << 22)], minlength=vocab_size)
        return found

    @property
    def word_bits(self) -> NDArray[np.uint8]:
        """words.bin as it stands (``np.packbits`` order): of ids, or of tokens where ``word_table`` is None."""
        return self._words

    @cached_property
    def sentences(self) -> NDArray[np.int64]:
        """(S,) places of the tokens that start a sentence, rising; decoded on first use."""
        places: NDArray[np.int64] = np.cumsum(self._varints("sentences.bin", self.manifest["sentences"]))
        return places

    def word_starts(self, a: int, b: int) -> NDArray[np.bool_]:
        """(b - a,) True where a token of a..b starts a word."""
        if self.word_table is not None:
            return self.word_table[self.tokens[a:b]]
        first = a // 8
        bits = np.unpackbits(self._words[first : (b + 7) // 8])
        return bits[a - 8 * first : b - 8 * first].astype(np.bool_)

    def sentence_starts(self, a: int, b: int) -> NDArray[np.bool_]:
        """(b - a,) True where a token of a..b starts a sentence."""
        flags = np.zeros(b - a, np.bool_)
        first, last = np.searchsorted(self.sentences, (a, b))
        flags[self.sentences[first:last] - a] = True
        return flags

    def place(self, document: int) -> str:
        """``file:line`` of a document, for messages."""
        sources = self.manifest["sources"]
        number = int(np.searchsorted([first for first, _ in sources], document, side="right")) - 1
        return f"{sources[number][1]}:{self._lines[document]}"

    @cached_property
    def _lines(self) -> NDArray[np.int64]:
        lines: NDArray[np.int64] = np.cumsum(unzigzag(self._varints("lines.bin", self.documents)))
        return lines

    def _varints(self, name: str, count: int) -> NDArray[np.int64]:
        values = decode(np.fromfile(self.folder / name, np.uint8), count)
        if values is None:
            raise damaged(self.folder, f"{name} does not hold {count:,} numbers")
        return values
