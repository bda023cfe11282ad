"""PropBank frames in bracket columns: sentences with their predicates, senses and arguments, read and written.

A line is a word, an empty line ends a sentence, and the k-th column of arguments belongs to the k-th predicate:
``(ARG0*`` opens an argument, ``*)`` closes it, ``(V*)`` does both. Three layouts have these columns:

  propbank   document, sentence, number, word, part of speech, parse, lemma, sense (roleset), arguments ...
  conll2012  the same, then word sense, speaker, named entity, arguments ..., coreference   (Pradhan et al. 2012)
  conll2005  word, anything, (sense,) lemma of the predicate, arguments ...                 (Carreras & Màrquez 2005)

Which one a file has follows from the number of its columns: as many columns of arguments as predicates.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wordloom.data.examples import text_key
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.readers import raw_lines, reject_binary, strict_decode
from wordloom.errors import DataError

LayoutName = Literal["auto", "propbank", "conll2012", "conll2005"]
NONE = "-"  # an empty cell
_CELL = re.compile(r"((?:\([^()*\s]+)*)\*((?:[^()*\s]*\))*)")  # opening brackets, star, closing brackets
_SAMPLE = 300  # sentences from which the layout is guessed
_DOCUMENT = ("#begin document", "#end document")


class Argument(NamedTuple):
    """Words ``start`` to ``end`` (the first one after it) with a label: "ARG0", "ARGM-TMP", "V"; "C-ARG1" goes on with
    an earlier ARG1, "R-ARG1" refers to one."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Frame:
    """One predicate: its word, lemma and sense ("-": not said), and its arguments in text order, V among them."""

    index: int
    lemma: str
    sense: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Columns from 0: of the word, of the predicate's lemma and sense, the first of the arguments; after: columns
    behind the arguments."""

    name: str
    word: int
    lemma: int
    sense: int | None
    first: int
    after: int = 0

    @property
    def marker(self) -> int:
        """The column that says whether a word is a predicate."""
        return self.lemma if self.sense is None or self.name == "conll2005" else self.sense

    def described(self) -> str:
        sense = "no sense" if self.sense is None else f"sense {self.sense + 1}"
        places = f"word {self.word + 1}, lemma {self.lemma + 1}, {sense}, arguments from {self.first + 1}"
        return f"{self.name} columns ({places})"


PROPBANK = Layout("propbank", 3, 6, 7, 8)
CONLL2012 = Layout("conll2012", 3, 6, 7, 11, after=1)
_FIXED = {"propbank": PROPBANK, "conll2012": CONLL2012}


@dataclass(frozen=True)
class Sentence:
    """words (n,), frames in the order of their predicates, "file:line" of the first word. cells: per word, what stood
    before and behind the arguments, written back as it was; layout: where it stood."""

    words: tuple[str, ...]
    frames: tuple[Frame, ...]
    place: str = ""
    cells: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    layout: Layout = PROPBANK


@dataclass(frozen=True)
class FrameRecords:
    """Sentences as `tasks.base.Records`."""

    sentences: Sequence[Sentence]
    columns: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def places(self) -> list[str]:
        return [s.place for s in self.sentences]

    def __len__(self) -> int:
        return len(self.sentences)

    def subset(self, indices: Sequence[int]) -> FrameRecords:
        return replace(self, sentences=[self.sentences[i] for i in indices])

    def key(self, index: int) -> str:
        return text_key(" ".join(self.sentences[index].words))

    def texts(self) -> Iterator[str]:
        return (" ".join(s.words) for s in self.sentences)

    def facts(self) -> dict[str, Any]:
        frames = [f for s in self.sentences for f in s.frames]
        return {"words": sum(len(s.words) for s in self.sentences), "predicates": len(frames),
                "arguments": sum(a.label != "V" for f in frames for a in f.arguments)}  # fmt: skip

    def content(self) -> Iterator[str]:
        return (
            json.dumps([s.words, [[f.index, f.lemma, f.sense, f.arguments] for f in s.frames]]) for s in self.sentences
        )


# ------------------------------------------------------------------------------------------------- reading


def read_frames(path: str | Path, layout: LayoutName = "auto", *, faults: Faults = STRICT) -> FrameRecords:
    """The sentences of a file (also .gz, .xz, .zst), or of all files of a folder whose names end in conll.

    Faults, with file and line: rows of unequal length, a bracket that is never opened or closed, arguments that
    overlap, another number of predicates than of columns. Raises DataError for a file of no known layout.
    """
    found: list[Sentence] = []
    files, chosen = _files(path), None
    for name in files:
        blocks = list(_blocks(name, faults))
        if not blocks:
            raise NoRecordError("no sentence in it", where=name, cure="check that what wrote it finished")
        chosen = _layout(blocks, layout, name)
        for block in blocks:
            try:
                found.append(_sentence(block, chosen, name, faults))
            except DataError as error:
                faults.add(error)
    assert chosen is not None
    many = f" in {len(files)} files" if len(files) > 1 else ""
    frames = sum(len(s.frames) for s in found)
    said = f"{path}: {len(found):,} sentences{many}, {frames:,} predicates; {chosen.described()}"
    return FrameRecords(found, said)


def is_frames(path: str | Path) -> bool:
    """Whether the name says that the file has these columns: "a.conll", "b.gold_conll.gz", "wsj.props"."""
    name = re.sub(r"\.(gz|xz|zst)$", "", os.path.basename(str(path)).lower())
    return name.endswith(("conll", ".props"))


Block = list[tuple[int, list[str]]]  # of each line its number and its cells


def _files(path: str | Path) -> list[str]:
    if not os.path.isdir(path):
        return [str(path)]
    found = sorted(str(p) for p in Path(path).rglob("*") if p.is_file() and is_frames(p))
    if not found:
        raise DataError("no file there has a name that ends in conll", where=path, cure="name a file of frames")
    return found


def _blocks(path: str, faults: Faults) -> Iterator[Block]:
    reject_binary(path)
    decode = strict_decode(path, faults)
    block: Block = []
    for number, raw, _ in raw_lines(path):
        line = decode(raw, number)
        if line.startswith(_DOCUMENT):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if cells and any(cells):
            block.append((number, cells))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _layout(blocks: list[Block], name: LayoutName, path: str) -> Layout:
    """The layout asked for, or the one that most of the first sentences have."""
    sample = blocks[:_SAMPLE]
    if name in _FIXED:
        return _FIXED[name]
    tried = list(_FIXED.values()) if name == "auto" else []
    tried += [Layout("conll2005", 0, t, None, t + 1) for t in range(1, 12)]
    fits = [sum(_fits(block, layout) for block in sample) for layout in tried]
    best = max(fits)
    if best < len(sample) / 2:
        what = "the columns are of no known layout: as many of them must hold arguments as there are predicates"
        place = f"{path}:{sample[0][0][0]}"
        raise DataError(what, where=place, cure="convert it to one of those in docs/tasks.md, or set task.layout")
    chosen = tried[fits.index(best)]
    if chosen.name == "conll2005" and chosen.lemma > 1:
        pairs = [(r[chosen.lemma - 1], r[chosen.lemma]) for b in sample for _, r in b if len(r) > chosen.lemma]
        if any(s != NONE for s, _ in pairs) and all((s == NONE) == (v == NONE) for s, v in pairs):
            chosen = replace(chosen, sense=chosen.lemma - 1)
    return chosen


def _fits(block: Block, layout: Layout) -> bool:
    width = len(block[0][1])
    columns = width - layout.first - layout.after
    if columns < 0 or any(len(cells) != width for _, cells in block):
        return False
    if layout.name != "conll2005" and not all(cells[2].isdigit() for _, cells in block):
        return False  # full CoNLL-2005 columns are as many, but the third is a chunk and not the word's number
    if sum(cells[layout.marker] != NONE for _, cells in block) != columns:
        return False
    return all(_CELL.fullmatch(c) for _, cells in block for c in cells[layout.first : layout.first + columns])


def _sentence(block: Block, layout: Layout, path: str, faults: Faults) -> Sentence:
    """Raises DataError where words and columns do not fit together; what is wrong inside a column is a fault."""
    width = len(block[0][1])
    for number, cells in block:
        if len(cells) != width:
            what = f"{len(cells)} columns where the first line of the sentence has {width}"
            raise DataError(what, where=f"{path}:{number}", cure="write every column on every line, - or * where empty")
    start, end = layout.first, width - layout.after
    marked = [i for i, (_, cells) in enumerate(block) if width > layout.marker and cells[layout.marker] != NONE]
    if end < start or len(marked) != end - start:
        what = f"{len(marked)} predicates and {max(0, end - start)} columns of arguments"
        cure = "give the sentence one column per predicate, in their order"
        raise DataError(what, where=f"{path}:{block[0][0]}", cure=cure)
    frames = []
    for k, i in enumerate(marked):
        cells = block[i][1]
        sense = NONE if layout.sense is None else cells[layout.sense]
        try:
            arguments = _arguments([(number, row[start + k]) for number, row in block], path, start + k + 1)
        except DataError as error:
            faults.add(error)
        else:
            frames.append(Frame(i, cells[layout.lemma], sense, arguments))
    return Sentence(
        tuple(cells[layout.word] for _, cells in block), tuple(frames), f"{path}:{block[0][0]}",
        tuple((tuple(cells[:start]), tuple(cells[end:])) for _, cells in block), layout,
    )  # fmt: skip


def _arguments(column: list[tuple[int, str]], path: str, number: int) -> tuple[Argument, ...]:
    """column: of each word the line and the cell; number: of the column, from 1, for messages."""
    found: list[Argument] = []
    opened: tuple[int, str] | None = None
    for i, (line, cell) in enumerate(column):
        if cell == "*":
            continue
        match, where = _CELL.fullmatch(cell), f"{path}:{line}"
        if match is None:
            raise DataError(f"column {number} holds {cell!r}, not brackets around *", where=where, cure="correct it")
        for label in match[1].split("(")[1:]:
            if opened is not None:
                what = f"argument {label} begins inside argument {opened[1]} (column {number})"
                raise DataError(what, where=where, cure="arguments of one predicate must not overlap: keep one of them")
            opened = (i, label)
        for label in match[2].split(")")[:-1]:
            if opened is None or label not in ("", opened[1]):
                what = f"column {number} closes {label or 'an argument'} that is not open"
                raise DataError(what, where=where, cure="open it with (LABEL* before")
            found.append(Argument(opened[0], i + 1, opened[1]))
            opened = None
    if opened is not None:
        where = f"{path}:{column[opened[0]][0]}"
        raise DataError(f"argument {opened[1]} is never closed (column {number})", where=where, cure="close it with *)")
    return tuple(found)


# ------------------------------------------------------------------------------------------------- writing


def frame_lines(sentences: Iterable[Sentence]) -> Iterator[str]:
    """Each sentence in the layout it was read in, an empty line after it; cells that are not known are empty."""
    for sentence in sentences:
        layout, frames = sentence.layout, sorted(sentence.frames, key=lambda f: f.index)
        columns = [brackets(frame, len(sentence.words)) for frame in frames]
        marks = {frame.index: frame for frame in frames}
        for i, word in enumerate(sentence.words):
            before, behind = sentence.cells[i] if sentence.cells else (_empty(i, layout), (NONE,) * layout.after)
            cells = list(before)
            frame = marks.get(i)
            cells[layout.word] = word
            cells[layout.lemma] = NONE if frame is None else frame.lemma
            if layout.sense is not None:
                cells[layout.sense] = NONE if frame is None else frame.sense
            yield "\t".join([*cells, *(column[i] for column in columns), *behind])
        yield ""


def prop_lines(sentences: Iterable[Sentence]) -> Iterator[str]:
    """What the official CoNLL-2005 script reads: the lemma of the predicate or -, then the columns of arguments."""
    for sentence in sentences:
        frames = sorted(sentence.frames, key=lambda f: f.index)
        columns = [brackets(frame, len(sentence.words)) for frame in frames]
        lemmas = {frame.index: frame.lemma for frame in frames}
        for i in range(len(sentence.words)):
            yield " ".join([lemmas.get(i, NONE), *(column[i] for column in columns)])
        yield ""


def brackets(frame: Frame, words: int) -> list[str]:
    """The cells of one column of arguments, (words,)."""
    cells = ["*"] * words
    for start, end, label in frame.arguments:
        cells[start] = f"({label}{cells[start]}"
        cells[end - 1] += ")"
    return cells


def _empty(word: int, layout: Layout) -> tuple[str, ...]:
    cells = [NONE] * layout.first
    if layout.name != "conll2005":
        cells[1:3], cells[5] = ["0", str(word)], "*"
    return tuple(cells)
