"""Columns: a token a line, its tag in another column, an empty line between sentences; CoNLL-U too.

CoNLL-2003 and its like are divided by spaces or tabs; a line of white space alone ends a sentence as an empty one does
(WNUT-17 has a tab there). CoNLL-U (universaldependencies.org/format): ten columns, comments, ranges and empty nodes;
its tags stand in a named column or behind a name in MISC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wordloom.data.faults import Faults, NoRecordError
from wordloom.data.readers import raw_lines, reject_binary, strict_decode
from wordloom.data.tag_schemes import Scheme, chunks_of, recognise
from wordloom.data.tagged import Reader, Span, Tagged, bare_name
from wordloom.errors import DataError
from wordloom.text.units import Units, join_tokens, mostly_characters

_SPACES = re.compile(" +")
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_NE = ("NE", "NER", "ner", "ne", "Entity")  # keys of MISC that hold entity tags
_SAID = {
    "bio": "BIO tags", "iob1": "IOB1 tags", "bios": "BIOS tags", "bioes": "BIOES tags",
    "plain": "tags without prefixes", "each": "a label for every token",
}  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """rows: cells of each token. lines: their numbers. text: where the file states it (CoNLL-U), else None."""

    rows: list[list[str]]
    lines: list[int]
    text: str | None = None


def read_columns(
    path: str, *, text: str | None, label: str | None, overlaps: bool, scheme: str, labelled: bool, faults: Faults
) -> Tagged:
    """As ``tagged.read_tagged``. Tokens stand in the first column and tags in the last unless said otherwise."""
    conllu = bare_name(path).endswith(".conllu")
    sentences = list(_sentences(path, conllu, faults))
    if not sentences:
        raise NoRecordError("no sentence in it", where=path, cure="check that the file was written completely")
    width = len(sentences[0].rows[0])
    form = _number(text, path, 1 if not conllu else 2, width, conllu)
    tokens = [[row[form] for row in s.rows] for s in sentences]
    if conllu:
        tags, said = _conllu_tags(path, sentences, label) if labelled else (None, "not read")
    elif labelled or (label is not None and width > 1):
        at = _number(label, path, width, width, False)
        if at == form:
            raise DataError("one column, and tokens need a tag beside each", where=f"{path}:{sentences[0].lines[0]}",
                            cure="add the column, divided by a tab or a space")  # fmt: skip
        tags, said = [[row[at] for row in s.rows] for s in sentences], f"column {at + 1} of {width}"
    else:
        tags, said = None, "not read"
    found: Scheme = "each" if scheme == "each" else "bio" if tags is None else recognise(tags)
    reader = Reader(path, overlaps=overlaps, faults=faults)
    glued = mostly_characters([token for sentence in tokens[:2000] for token in sentence])
    for i, sentence in enumerate(sentences):
        _add(reader, sentence, tokens[i], None if tags is None else tags[i], found, glued)
    columns = f"tokens in column {form + 1}{', single characters' if glued else ''}, tags: {said}"
    columns += "" if tags is None else f" ({_SAID[found]})"
    return reader.done(columns, glued=glued, each=found == "each" and tags is not None)


def _add(
    reader: Reader, sentence: Sentence, tokens: list[str], tags: list[str] | None, scheme: Scheme, glued: bool
) -> None:
    text, units = _place(sentence.text, tokens, glued)
    place = f"{reader.path}:{sentence.lines[0]}"
    chunks = chunks_of(tags or [], scheme)
    spans = [Span(int(units[c.first, 0]), int(units[c.last - 1, 1]), c.type) for c in chunks]
    loose = [span for span, chunk in zip(spans, chunks, strict=True) if not chunk.strict]
    for chunk in chunks:
        if not chunk.strict:
            lacks = "spans without their B- or E- were repaired" if scheme == "bioes" else "I- without a B- before it"
            reader.notes.add(lacks, f"{reader.path}:{sentence.lines[chunk.first]}")
    reader.add(text, units, spans, place, loose)


def _place(stated: str | None, tokens: list[str], glued: bool) -> tuple[str, Units]:
    """The stated text where the tokens are found in it one after the other; else the tokens joined."""
    if stated is not None:
        edges, at = np.zeros((len(tokens), 2), np.int32), 0
        for i, token in enumerate(tokens):
            at = stated.find(token, at)
            if at < 0:
                break
            edges[i] = at, at + len(token)
            at += len(token)
        else:
            return stated, edges
    return join_tokens(tokens, glued)


def _sentences(path: str, conllu: bool, faults: Faults) -> Iterator[Sentence]:
    """A line whose number of columns is not that of the line before it is a fault."""
    reject_binary(path)
    decode = strict_decode(path, faults)
    rows: list[list[str]] = []
    lines: list[int] = []
    text: str | None = None
    width = 0
    for number, raw, _ in raw_lines(path):
        line = decode(raw, number)
        if not line.strip() or (not rows and line.startswith("-DOCSTART-")):
            if rows:
                yield Sentence(rows, lines, text)
            rows, lines, text = [], [], None
            continue
        if conllu and line.startswith("#"):
            text = line.partition("=")[2].strip() if line[1:].lstrip().startswith("text =") else text
            continue
        try:
            cells = _cells(line, f"{path}:{number}", width, conllu)
        except DataError as error:
            faults.add(error)
            continue
        if cells:
            width = len(cells)
            rows.append(cells)
            lines.append(number)
    if rows:
        yield Sentence(rows, lines, text)


def _cells(line: str, place: str, width: int, conllu: bool) -> list[str]:
    """Of a token; none for the lines of CoNLL-U that are no tokens. width: of the lines before, 0 where none are."""
    line = line.rstrip(" \t")  # not strip(): U+3000 may be a token
    cells = line.split("\t") if "\t" in line else _SPACES.split(line.strip(" "))
    if conllu and cells and not cells[0].isdigit():  # 3-4: a range; 5.1: an empty node
        if not cells[0].replace("-", "").replace(".", "").isdigit():
            raise DataError(f"{cells[0]!r} is not the number of a token", where=place,
                            cure="write ten columns divided by tabs")  # fmt: skip
        return []
    if conllu and len(cells) != len(CONLLU):
        raise DataError(f"{len(cells)} columns, and CoNLL-U has ten", where=place,
                        cure="divide them by tabs and write _ where there is nothing")  # fmt: skip
    if width and len(cells) != width:
        raise DataError(f"{len(cells)} columns, and the lines before have {width}", where=place,
                        cure="write every line alike, and an empty one between sentences")  # fmt: skip
    if not all(cells):
        raise DataError("an empty column", where=place, cure="write the token and its tag")
    return cells


def _number(asked: str | None, path: str, usual: int, width: int, conllu: bool) -> int:
    """A column's index, from its number (from 1) or its CoNLL-U name."""
    if asked is None:
        return usual - 1
    if conllu and asked.lower() in CONLLU:
        return CONLLU.index(asked.lower())
    if not asked.isdecimal() or not 1 <= int(asked) <= width:
        raise DataError(f"no column {asked!r}", where=path, cure=f"give its number, 1 to {width}")
    return int(asked) - 1


def _conllu_tags(path: str, sentences: Sequence[Sentence], label: str | None) -> tuple[list[list[str]], str]:
    """A column by its name, or else what stands behind a name in MISC; tokens without it are O."""
    if label is not None and (label.lower() in CONLLU or label.isdecimal()):
        at = _number(label, path, 0, len(CONLLU), True)
        return [[row[at] for row in s.rows] for s in sentences], f"column {CONLLU[at]}"
    misc = [[dict(_pairs(row[-1])) for row in s.rows] for s in sentences]
    known = {key for sentence in misc for values in sentence for key in values}
    name = label if label is not None else next((key for key in _NE if key in known), None)
    if name not in known:
        what = "no entity tags in MISC" if label is None else f"no column and no key of MISC is {label!r}"
        raise DataError(what, where=path, cure="name a column (upos, xpos, deprel, ...) or a key of MISC with --label")
    assert name is not None
    return [[values.get(name, "O") for values in sentence] for sentence in misc], f"{name} in MISC"


def _pairs(cell: str) -> Iterator[tuple[str, str]]:
    for part in cell.split("|"):
        key, sign, value = part.partition("=")
        if sign:
            yield key, value
