"""SentencePiece ``.model`` files: the few fields of the protocol buffer that a tokenizer is made of.

Wire format: https://protobuf.dev/programming-guides/encoding; field numbers: sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wordloom.errors import TokenizerError

UNIGRAM, CONTROL, USER_DEFINED = 1, 3, 4  # a kind of model; two kinds of piece


class Piece(NamedTuple):
    text: str
    score: float
    kind: int  # 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte


class PieceModel(NamedTuple):
    """pieces in the order of their ids; kind of model; id of the unknown piece; the normaliser's compiled rules."""

    pieces: list[Piece]
    kind: int
    unk_id: int
    byte_fallback: bool
    charsmap: bytes


def read_pieces(path: Path) -> PieceModel:
    """Raises TokenizerError for a file that is no SentencePiece model."""
    try:
        pieces, kind, unk_id, byte_fallback, charsmap = [], UNIGRAM, 0, False, b""
        for number, value in _fields(path.read_bytes()):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif number == 2 and isinstance(value, bytes):  # trainer_spec
                given = dict(_fields(value))
                kind, unk_id = int(given.get(3, UNIGRAM)), int(given.get(40, 0))
                byte_fallback = bool(given.get(35, 0))
            elif number == 3 and isinstance(value, bytes):  # normalizer_spec
                found = dict(_fields(value)).get(2, b"")
                charsmap = found if isinstance(found, bytes) else b""
    except (ValueError, IndexError, struct.error, TypeError) as error:
        raise TokenizerError(f"not a SentencePiece model ({error})", where=path, cure="copy the file again") from None
    if not 0 <= unk_id < len(pieces):
        raise TokenizerError("a SentencePiece model without pieces", where=path, cure="copy the file again")
    return PieceModel(pieces, kind, unk_id, byte_fallback, charsmap)


def _piece(message: bytes) -> Piece:
    given = dict(_fields(message))
    text, score = given.get(1, b""), given.get(2, 0.0)
    if not isinstance(text, bytes):
        raise ValueError("a piece without text")
    return Piece(text.decode("utf-8"), float(score), int(given.get(3, 1)))


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int | float]]:
    """(field number, value) of every field: bytes of a length-delimited one, a float of a 32-bit one."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is longer than the file")
            yield key >> 3, message[at : at + length]
            at += length
        elif kind == 5:
            yield key >> 3, struct.unpack_from("<f", message, at)[0]
            at += 4
        elif kind == 1:
            yield key >> 3, struct.unpack_from("<d", message, at)[0]
            at += 8
        else:
            raise ValueError(f"field kind {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
