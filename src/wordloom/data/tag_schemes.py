"""Tags of tokens <-> spans of tokens: BIO (IOB2), IOB1, BIOS, BIOES and its spellings, plain labels.

Reading is conlleval's, which is seqeval's default: a chunk begins at B or S, at any tag of another type, and after O,
E or S; so a chunk that lacks its B is read all the same, and counted. IOB1 needs no reading of its own: its I after O
begins a chunk by that rule. Ramshaw & Marcus 1995; Tjong Kim Sang & Buchholz 2000; Ratinov & Roth 2009 (BILOU).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple

Scheme = Literal["bio", "iob1", "bios", "bioes", "plain", "each"]
CHUNK = "CHUNK"  # the type of tags without one (B, I, O alone)

_TAG = re.compile(r"^([BIESMLUW])(?:[-_](.+))?$")
_SAME = {"M": "I", "L": "E", "U": "S", "W": "S"}  # BMES(W) and BILOU say the same in other letters


class Chunk(NamedTuple):
    """Tokens first..last + 1 of one type. strict: the tags say so without any repair."""

    first: int
    last: int
    type: str
    strict: bool


@cache
def split_tag(tag: str) -> tuple[str, str]:
    """("B", "PER") of "B-PER" or "B_PER"; ("O", "") of O; ("I", tag) of a tag without a prefix."""
    if tag == "O":
        return "O", ""
    found = _TAG.match(tag)
    if found is None:
        return "I", tag
    return _SAME.get(found[1], found[1]), found[2] or CHUNK


@cache
def _whole(tag: str) -> tuple[str, str]:
    return ("O", "") if tag == "O" else ("I", tag)


def recognise(tags: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of a file's tags, sentence by sentence.

    "plain": labels without prefixes beside O, equal neighbours are one chunk. "each": such labels and no O at all, as
    parts of speech: every token is a chunk of its own.
    """
    sentences = list(tags)
    names = {tag for sentence in sentences for tag in sentence}
    labels = names - {"O"}
    if not labels or not all(_TAG.match(tag) for tag in labels):
        return "plain" if "O" in names or not labels else "each"
    letters = {split_tag(tag)[0] for tag in labels}
    if letters & {"E", "S"}:
        return "bioes" if "E" in letters else "bios"
    begun = bare = 0
    for sentence in sentences[:10_000]:
        before = ("O", "")
        for tag in sentence:
            now = split_tag(tag)
            if now[0] == "B":
                begun += 1
            elif now[0] == "I" and before[1] != now[1]:
                bare += 1
            before = now
    return "iob1" if bare > begun else "bio"


def chunks_of(tags: Sequence[str], scheme: Scheme) -> list[Chunk]:
    """Chunks in order. Not strict: one that begins without B (bio, bios), or lacks its B or E (bioes)."""
    if scheme == "each":
        return [Chunk(i, i + 1, tag, True) for i, tag in enumerate(tags)]
    split = _whole if scheme == "plain" else split_tag
    found: list[Chunk] = []
    first, letters, kind = 0, "", ""  # the open chunk; no letters: there is none
    for i, (letter, of) in enumerate([*map(split, tags), ("O", "")]):
        if letters and letter in "IE" and letters[-1] in "BI" and of == kind:
            letters += letter
            continue
        if letters:
            found.append(Chunk(first, i, kind, _is_strict(letters, scheme)))
        first, letters, kind = i, "" if letter == "O" else letter, of
    return found


def _is_strict(letters: str, scheme: Scheme) -> bool:
    if scheme in ("bio", "bios"):
        return letters[0] == "B" or letters == "S"
    return scheme != "bioes" or letters == "S" or (len(letters) > 1 and letters[0] == "B" and letters[-1] == "E")


def tags_of(length: int, chunks: Iterable[tuple[int, int, str]], scheme: Scheme = "bio") -> list[str]:
    """Tags of ``length`` tokens; (first, last, type) must not overlap."""
    tags = ["O"] * length
    for first, last, kind in chunks:
        if scheme in ("plain", "each"):
            tags[first:last] = [kind] * (last - first)
        elif scheme == "bioes" and last - first == 1:
            tags[first] = f"S-{kind}"
        else:
            tags[first:last] = [f"I-{kind}"] * (last - first)
            tags[first] = f"B-{kind}"
            if scheme == "bioes":
                tags[last - 1] = f"E-{kind}"
    return tags
