"""The writing half of a token store: encoded chunks are appended, the folder appears when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from wordloom.data import varint
from wordloom.errors import DataError
from wordloom.text import chinese
from wordloom.text.bulk import Bulk
from wordloom.text.tokenizer import Tokenizer

FORMAT, VERSION = "wordloom token store", 1
FILES = ("tokens.bin", "words.bin", "documents.bin", "sentences.bin", "lines.bin")


class Document(Protocol):
    """What is stored: data.corpus.Document, or anything with its three attributes."""

    @property
    def text(self) -> str: ...
    @property
    def file(self) -> Any: ...
    @property
    def line(self) -> int: ...


class StoreWriter:
    """Appends encoded chunks to the files of one store; renames the folder at the end, removes it on failure."""

    def __init__(self, folder: Path, tokenizer: Tokenizer):
        self.folder, self.tokenizer = folder, tokenizer
        self.partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
        self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
        self.counts = np.zeros(tokenizer.vocab_size, np.int64)
        self.documents = self.empty = self.sentences = self.text_bytes = self.tokens = 0
        self.table, self.by_table = tokenizer.start_table, tokenizer.start_table is not None
        self.spare_bits = np.zeros(0, np.bool_)
        self.last_sentence = self.last_line = 0
        self.sources: list[list[Any]] = []

    def __enter__(self) -> Self:
        if self.folder.exists():
            raise DataError("exists already", where=self.folder, cure="choose another folder or remove this one")
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        self.files = {name: (self.partial / name).open("wb") for name in FILES}
        self.hashes = {name: hashlib.sha256() for name in FILES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files.values():
            file.close()
        shutil.rmtree(self.partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(
                f"the token store could not be written ({error.strerror or error})",
                where=self.folder,
                cure="free some disk space, or choose another folder",
            ) from None

    def add(self, chunk: Sequence[Document], bulk: Bulk) -> None:
        self._append("tokens.bin", bulk.ids.astype(self.dtype).tobytes())
        self.counts += np.bincount(bulk.ids, minlength=len(self.counts))
        lengths = np.diff(bulk.starts)
        self._append("documents.bin", varint.encode(lengths))
        sentences = np.flatnonzero(bulk.sentence_starts) + self.tokens
        if len(sentences):
            self._append("sentences.bin", varint.encode(np.diff(sentences, prepend=self.last_sentence)))
            self.last_sentence = int(sentences[-1])
        lines = np.array([document.line for document in chunk], np.int64)
        self._append("lines.bin", varint.encode(varint.zigzag(np.diff(lines, prepend=self.last_line))))
        self.last_line = int(lines[-1])
        for number, document in enumerate(chunk):
            if not self.sources or self.sources[-1][1] != str(document.file):
                self.sources.append([self.documents + number, str(document.file)])
        self._add_words(bulk)
        self.tokens += len(bulk.ids)
        self.documents += len(chunk)
        self.empty += int((lengths == 0).sum())
        self.sentences += len(sentences)
        self.text_bytes += sum(
            len(d.text) if d.text.isascii() else len(d.text.encode("utf-8", "replace")) for d in chunk
        )

    def _add_words(self, bulk: Bulk) -> None:
        """Bits are kept from the first chunk on, and dropped at the end where the token ids alone give them."""
        if self.by_table and self.table is not None:
            self.by_table = bool(np.array_equal(self.table[bulk.ids], bulk.word_starts))
        bits = np.concatenate((self.spare_bits, bulk.word_starts))
        whole = len(bits) // 8 * 8
        self._append("words.bin", np.packbits(bits[:whole]).tobytes())
        self.spare_bits = bits[whole:]

    def _append(self, name: str, data: bytes) -> None:
        self.files[name].write(data)
        self.hashes[name].update(data)

    def finish(self, report: Any) -> None:
        if not self.tokens:
            raise DataError("no token to store: the corpus holds no text", where=self.folder, cure="check the corpus")
        self._append("words.bin", np.packbits(self.spare_bits).tobytes())
        for file in self.files.values():
            file.close()
        if self.by_table and self.table is not None:
            data = np.packbits(self.table).tobytes()
            (self.partial / "words.bin").write_bytes(data)
            self.hashes["words.bin"] = hashlib.sha256(data)
        share = self.counts[self.counts > 0] / self.tokens
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": "uint16" if self.dtype.itemsize == 2 else "uint32",
            "tokens": self.tokens,
            "sha256": self.hashes["tokens.bin"].hexdigest(),
            "documents": self.documents,
            "empty_documents": self.empty,
            "sentences": self.sentences,
            "text_bytes": self.text_bytes,
            "vocab_size": self.tokenizer.vocab_size,
            "tokenizer_hash": self.tokenizer.hash,
            "unigram_entropy": float(-(share * np.log(share)).sum()),
            "unknown_tokens": int(self.counts[self.tokenizer.unk_id]),
            "special_tokens_in_text": int(self.counts[self.tokenizer.special_ids].sum())
            - int(self.counts[self.tokenizer.unk_id]),
            "words": "by_token" if self.by_table else "by_position",
            "chinese_words": chinese.segmenter(),
            "sources": self.sources,
            "corpus": report,
            "files": {
                name: {"bytes": (self.partial / name).stat().st_size, "sha256": self.hashes[name].hexdigest()}
                for name in self.files
            },
        }
        path = self.partial / "manifest.json"
        path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.partial.rename(self.folder)
