"""Bytes on disk to lines of text: suffixes, compression, encoding. Every failure is a DataError with its place.

Lines end at ``\\n`` alone. ``str.splitlines`` also breaks at U+0085, U+2028 and others that occur inside real text.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import html
import io
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from wordloom.data.faults import STRICT, Faults
from wordloom.errors import DataError

FORMATS = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
COMPRESSIONS = (".gz", ".zst", ".xz")
KNOWN = ".txt, .jsonl, .csv, .tsv or .parquet, each also with .gz, .zst or .xz"
SNIFF_BYTES = 65536

Decode = Callable[[bytes, int], str]  # (one line without its end, line number) -> text


def file_format(path: str | Path) -> str | None:
    """Format by suffix (``a.jsonl.gz`` -> "jsonl"); None where the suffix is unknown."""
    return FORMATS.get(_suffix(path))


def _suffix(path: str | Path) -> str:
    """The last one, after that of a compression."""
    name = os.path.basename(str(path)).lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    return os.path.splitext(name)[1]


def known_format(path: str | Path) -> str:
    """As ``file_format``; a .json file, named by itself, is lines of JSON, as CLUE's are. An unknown suffix or a folder
    is a DataError."""
    if os.path.isdir(path):
        raise DataError("is a folder, not a file", where=path, cure="give one file of it")
    found = "jsonl" if _suffix(path) == ".json" else file_format(path)
    if found is None:
        raise DataError("unknown suffix", where=path, cure=f"use {KNOWN}")
    return found


def is_table(path: str | Path) -> bool:
    """Whether ``tables.open_table`` reads files of this suffix."""
    return _suffix(path) == ".json" or file_format(path) not in (None, "txt")


def find_files(path: str) -> tuple[list[str], list[str]]:
    """Expand one file, folder (recursive, hidden names left out) or glob, sorted by path.

    Returns (files of a known format, files left out because of their suffix). A file named outright must be of a
    known format.
    """
    if os.path.isdir(path):
        names = _walk(path)
        cure = f"put files with suffix {KNOWN} there"
    elif os.path.exists(path):
        known_format(path)
        return [path], []
    elif glob.has_magic(path):
        names = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
        cure = "correct the pattern, and quote it against the shell"
    else:
        raise DataError("no such file or folder", where=path, cure="correct the path")
    known = [name for name in names if file_format(name)]
    if not known:
        raise DataError("no readable file found", where=path, cure=cure)
    return known, [name for name in names if not file_format(name)]


def _walk(path: str) -> list[str]:
    """Files below a folder, folder by folder; links to folders are not followed, so there are no loops."""
    found: list[str] = []
    for folder, inner, files in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [os.path.join(folder, name) for name in sorted(files) if not name.startswith(".")]
    return found


class _ZstdFile(io.RawIOBase):
    """Frames one after the other. zstandard's own stream_reader ends silently at a truncated frame; this raises."""

    def __init__(self, file: BinaryIO):
        self._file, self._left, self._out = file, b"", b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        while not self._out:
            data = self._left or self._file.read(SNIFF_BYTES)
            self._left = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("compressed data ends before its end mark")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._out = self._frame.decompress(data)
            if self._frame.eof:
                self._left, self._frame = self._frame.unused_data, None
        size = min(len(view), len(self._out))
        view[:size], self._out = self._out[:size], self._out[size:]
        return size


_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile)


@contextmanager
def open_file(path: str | Path) -> Iterator[BinaryIO]:
    """Decompressed bytes of a file, buffered. Errors of the body's reads become DataErrors."""
    try:
        with open(path, "rb") as file:
            raw: BinaryIO = file
            suffix = os.path.splitext(str(path).lower())[1]
            if suffix == ".gz":
                raw = cast(BinaryIO, gzip.GzipFile(fileobj=file))
            elif suffix == ".xz":
                raw = cast(BinaryIO, lzma.LZMAFile(file))  # noqa: SIM115
            elif suffix == ".zst":
                raw = cast(BinaryIO, _ZstdFile(file))
            # GzipFile and LZMAFile do every readline in Python; a BufferedReader over them does it in C.
            yield raw if raw is file else cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, raw), 1 << 18))
    except FileNotFoundError:
        raise DataError("no such file", where=path, cure="correct the path") from None
    except _DAMAGE as error:
        message = f"damaged or truncated compressed file ({error})"
        raise DataError(message, where=path, cure="fetch or compress the file again") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=path, cure="check the file") from None


_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\xfd7zXZ": ".xz",
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".zip",
}
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # the UTF-32-LE mark starts as UTF-16-LE


def reject_binary(path: str | Path) -> None:
    """Look at the first 64 KiB: refuse what is not UTF-8 text at all. Single broken characters pass."""
    with open_file(path) as file:
        head = file.read(SNIFF_BYTES)
    for magic, suffix in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"holds {suffix} data, not text", where=path, cure=f"name it with the suffix {suffix}")
    if head.startswith(_BOMS):
        raise DataError("UTF-16 or UTF-32, not UTF-8", where=path, cure="convert it: iconv -f UTF-16 -t UTF-8")
    if head.count(0) > 0.1 * len(head):
        raise DataError(
            f"{head.count(0) / len(head):.0%} of the first bytes are NUL: UTF-16 or binary",
            where=path,
            cure="convert it to UTF-8 (iconv -f UTF-16LE -t UTF-8), or leave it out",
        )
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    broken = text.count("\ufffd")
    if broken > 0.15 * len(text):  # Latin-1 French or German stays below 0.1; GB18030 and binary are above 0.3
        raise DataError(
            f"{broken / len(text):.0%} of the first characters are not UTF-8: another encoding or binary",
            where=path,
            cure="convert it to UTF-8 (for Chinese often iconv -f GB18030 -t UTF-8), or leave it out",
        )


def raw_lines(path: str | Path, limit: int = -1) -> Iterator[tuple[int, bytes, bool]]:
    """(line number from 1, bytes without ``\\n`` or ``\\r\\n``, True at the line's end).

    limit: longest piece in bytes; a longer line comes in several pieces, never cut inside a UTF-8 character.
    The byte order mark of UTF-8 is left out.
    """
    with open_file(path) as file:
        number, held, first = 1, b"", True
        while raw := file.readline(limit):
            if first:
                raw, first = raw.removeprefix(codecs.BOM_UTF8), False
            ends = raw.endswith(b"\n")
            raw = held + raw
            held = b""
            if ends:
                raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
            else:
                raw, held = _whole_characters(raw)
            yield number, raw, ends
            number += ends
        if held:
            yield number, held, False


def _whole_characters(raw: bytes) -> tuple[bytes, bytes]:
    """Split before a UTF-8 character whose last bytes are missing."""
    for back in range(1, min(3, len(raw)) + 1):
        byte = raw[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return (raw[:-back], raw[-back:]) if needed > back else (raw, b"")
        if byte < 0x80:
            break
    return raw, b""


def decode(raw: bytes) -> tuple[str, int, int]:
    """(text, broken UTF-8 sequences replaced by U+FFFD, NULs removed)."""
    broken = nuls = 0
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        broken = text.count("\ufffd") - raw.count(b"\xef\xbf\xbd")
    if "\0" in text:
        nuls = text.count("\0")
        text = text.replace("\0", "")
    return text, broken, nuls


def strict_decode(path: str | Path, faults: Faults = STRICT) -> Decode:
    """A decoder for labelled files, where damage is a fault; where faults are kept, it is repaired for what follows."""

    def decoder(raw: bytes, line: int) -> str:
        text, broken, nuls = decode(raw)
        if broken:
            cure = "convert the file to UTF-8 (often iconv -f CP1252 -t UTF-8)"
            faults.add(DataError("not valid UTF-8", where=f"{path}:{line}", cure=cure))
        if nuls:
            what, cure = "NUL characters in the text", "remove them: tr -d '\\000'"
            faults.add(DataError(what, where=f"{path}:{line}", cure=cure))
        return text

    return decoder


def whole_text(path: str | Path, faults: Faults = STRICT) -> str:
    """A file that is one document, without the byte order mark. Raises DataError with the line of what is no text."""
    reject_binary(path)
    with open_file(path) as file:
        raw = file.read().removeprefix(codecs.BOM_UTF8)
    text, broken, nuls = decode(raw)
    if broken or nuls:
        decoder = strict_decode(path, faults)
        return "\n".join(decoder(line, number) for number, line in enumerate(raw.split(b"\n"), start=1))
    return text


def stdin_lines() -> Iterator[str]:
    """Standard input, every line a text, an empty one too; bytes that are no UTF-8 become U+FFFD."""
    return (raw.decode("utf-8", errors="replace").rstrip("\r\n") for raw in sys.stdin.buffer)


def text_lines(path: str | Path, faults: Faults = STRICT) -> Iterator[str]:
    """A .txt file, every line a text, an empty one too. Raises DataError for bytes that are no text, with the line."""
    reject_binary(path)
    decoder = strict_decode(path, faults)
    return (decoder(raw, number) for number, raw, _ in raw_lines(path))


def replace_surrogates(text: str) -> tuple[str, int]:
    """JSON can spell half a surrogate pair (``\\ud83d``), which no UTF-8 can hold: (text with U+FFFD, how many)."""
    found = _SURROGATE.findall(text)
    return (_SURROGATE.sub("\ufffd", text), len(found)) if found else (text, 0)


_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z!][^<>]*>", re.DOTALL)


def strip_html(text: str) -> str:
    """Tags and comments become a space, entities their character; runs of spaces are single."""
    if "<" not in text and "&" not in text:
        return text
    return re.sub(r" {2,}", " ", html.unescape(_TAG.sub(" ", text))).strip()
