"""File formats of word vectors, in (``open_vectors``) and out (``save_*``). What a file is, its content tells."""

from __future__ import annotations

import re
from pathlib import Path

from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats.binary import read_binary, save_binary
from wordloom.vectors.formats.fasttext import MAGIC, looks_old, read_fasttext, save_fasttext
from wordloom.vectors.formats.gensim import read_gensim, save_gensim
from wordloom.vectors.formats.native import is_native, read_facts, read_vectors, save_vectors
from wordloom.vectors.formats.text import NUMBER, read_text, save_text

__all__ = [
    "open_vectors",
    "read_facts",
    "save_binary",
    "save_fasttext",
    "save_gensim",
    "save_text",
    "save_vectors",
]

_HEAD = 1 << 16  # bytes that tell what a file is
_SIZES = re.compile(rb"(\d{1,18})[ \t]+(\d{1,18})[ \t]*\r?\n")
_BOM = b"\xef\xbb\xbf"
_KNOWN = "give word2vec text or binary, GloVe, fastText .vec or .bin, gensim .kv, or a folder of Wordloom"
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def open_vectors(path: str | Path, *, encoding: str = "utf-8") -> Vectors:
    """Vectors of a run, a folder of ours, or a file: word2vec text and C binary, GloVe, fastText .vec and .bin (old and
    new), gensim .kv (through an unpickler that runs nothing).

    encoding: of the words in a foreign file. What was odd (repeated words, words with spaces or in another encoding,
    NaN rows, a header that announces another number) is counted in ``notes``. Raises DataError or BundleError, one
    sentence, for anything that cannot be read; no memory is taken on the word of a header.
    """
    path = Path(path)
    try:
        "a".encode(encoding)
    except LookupError:
        raise ConfigError(
            f"no encoding is called {encoding!r}", cure="write utf-8, latin-1, cp1252 or gb18030"
        ) from None
    try:
        if path.is_dir():
            return _open_folder(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
        return _open_file(path, head, encoding)
    except FileNotFoundError:
        raise DataError("no such file or folder", where=path, cure=_KNOWN) from None
    except MemoryError:
        raise DataError("does not fit in memory", where=path, cure="free memory or use a smaller file") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=path, cure="check the file") from None


def _open_folder(path: Path) -> Vectors:
    for folder in (path / "bundle", path):  # a run before a folder: a run may hold other things
        if folder.is_dir() and is_native(folder):
            return read_vectors(folder)
    raise BundleError("holds no word vectors", where=path, cure=_KNOWN)


def _open_file(path: Path, head: bytes, encoding: str) -> Vectors:
    if not head:
        raise DataError("is empty", where=path, cure=_KNOWN)
    for start, name in _PACKED.items():
        if head.startswith(start):
            raise DataError(f"is packed ({name})", where=path, cure="unpack it first")
    if head.startswith(MAGIC) or looks_old(head):
        return read_fasttext(path, encoding)
    if head[:1] == b"\x80" and head[1:2] in b"\1\2\3\4\5" and len(head) > 1:
        return read_gensim(path)
    skip = len(_BOM) if head.startswith(_BOM) else 0
    sizes = _SIZES.match(head, skip)
    if sizes:
        announced, dimension = int(sizes[1]), int(sizes[2])
        if _is_text(head[sizes.end() :], dimension):
            return read_text(path, (announced, dimension), sizes.end(), encoding)
        return read_binary(path, announced, dimension, sizes.end(), encoding)
    if _ends_in_numbers(head[skip:], 2) or _ends_in_numbers(head[skip:], 1, exactly=True):
        return read_text(path, None, skip, encoding)
    raise DataError("is no file of word vectors", where=path, cure=_KNOWN)


def _is_text(body: bytes, dimension: int) -> bool:
    """After a header: text, or words and raw float32? A first line that ends in D numbers is text; so is, damaged or
    not, whatever holds no control byte: raw numbers hold one in any few dozen bytes."""
    return _ends_in_numbers(body, dimension) or not any(byte < 9 or 13 < byte < 32 for byte in body)


def _ends_in_numbers(body: bytes, least: int, exactly: bool = False) -> bool:
    """Does the first line hold a word and then ``least`` numbers or more?"""
    line, end, _ = body.partition(b"\n")
    tokens = line.split()
    if not end and len(body) >= _HEAD - 100:
        tokens = tokens[:-1]  # cut by the end of what was read
    fits = len(tokens) == least + 1 if exactly else len(tokens) > least
    return fits and all(NUMBER.fullmatch(token) for token in tokens[-least:])
