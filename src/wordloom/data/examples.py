"""Labelled records of csv, tsv, jsonl, parquet and fastText files. All or nothing: a bad row is an error, located."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, cast

from wordloom.data.columns import Columns, guess_columns
from wordloom.data.faults import STRICT, Faults, NoRecordError
from wordloom.data.label_cells import Kind, infer_kind, label_of
from wordloom.data.label_folders import label_folders, read_folders
from wordloom.data.readers import known_format, replace_surrogates, strict_decode, strip_html, text_lines
from wordloom.data.tables import Table, open_table, table_rows
from wordloom.errors import DataError

Labels = list[str] | list[list[str]] | list[float]


def text_key(text: str) -> str:
    """What makes two texts the same: letters, digits and accents after NFKC, case folded; of a text without any of
    them (":-)"), its characters."""
    return " ".join(words(text)) or " ".join(text.split())


def words(text: str) -> list[str]:
    """Runs of letters, digits and combining marks, after NFKC and case folding."""
    return _WORD.findall((text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold())


# \w has no combining marks: without them Yoruba words that differ in tone, or Hindi ones in a vowel, would be the same.
_MARKS = "".join(chr(c) for c in range(0x300, 0x1E95B) if unicodedata.category(chr(c)).startswith("M"))
_WORD = re.compile(f"[^\\W_]+(?:[{_MARKS}]+[^\\W_]*)*")


@dataclass(frozen=True)
class Examples:
    """E labelled records in file order; the lists are parallel and not to be changed.

    texts: first (or only) text. pairs: second text, None where the task has one text.
    labels: class names (single), lists of class names (multi), numbers (regression); None for unlabelled input.
    places: "file:line" of each record (parquet: row from 1). columns: what was read and guessed, in words.
    """

    texts: list[str]
    labels: Labels | None
    places: list[str]
    pairs: list[str] | None = None
    kind: Kind = "single"
    columns: str = ""

    def __len__(self) -> int:
        return len(self.texts)

    def subset(self, indices: Sequence[int]) -> Examples:
        """The records at ``indices``, in that order."""
        return replace(
            self,
            texts=[self.texts[i] for i in indices],
            labels=None if self.labels is None else cast(Labels, [self.labels[i] for i in indices]),
            places=[self.places[i] for i in indices],
            pairs=None if self.pairs is None else [self.pairs[i] for i in indices],
        )

    def label_names(self) -> list[str]:
        """Class names in sorted order; whole numbers are sorted by value. Empty for regression and without labels."""
        if self.labels is None or self.kind == "regression":
            return []
        names = {name for i in range(len(self)) for name in self.label_set(i)}
        if all(re.fullmatch(r"-?\d+", name) for name in names):
            return sorted(names, key=lambda name: (int(name), name))
        return sorted(names)

    def label_set(self, index: int) -> list[str]:
        """Class names of one record: one for single, any number for multi."""
        label = None if self.labels is None else self.labels[index]
        return [label] if isinstance(label, str) else label if isinstance(label, list) else []

    def key(self, index: int) -> str:
        """Equal for records with the same text or texts (see ``text_key``)."""
        first = text_key(self.texts[index])
        return first if self.pairs is None else f"{first}\t{text_key(self.pairs[index])}"

    def both(self, index: int) -> str:
        """The text, or the two texts on two lines."""
        return self.texts[index] if self.pairs is None else f"{self.texts[index]}\n{self.pairs[index]}"

    def require_trainable(self) -> None:
        """Raise DataError where there is nothing to learn: no labels, or only one label."""
        where = self.places[0].rpartition(":")[0] if self.places else None
        if self.labels is None:
            raise DataError("no labels", where=where, cure="name the label column with --label (label=...)")
        distinct = {str(label) for label in self.labels}
        if len(distinct) < 2:
            what = f"all {len(self)} records have the label {next(iter(distinct), '')!r}"
            raise DataError(what, where=where, cure="give records of at least two labels, or name the label column")

    def split(self, valid_fraction: float, seed: int) -> tuple[Examples, Examples]:
        """(rest, valid), a function of the records and ``seed`` alone; single labels keep their shares.

        Records of the same text go to the same side. Within a label, whole groups go to valid until it holds
        ``round(valid_fraction * records of the label)``, so duplicates can shift the share by less than one group.
        """
        if not 0 < valid_fraction < 1:
            raise ValueError(f"valid_fraction must be between 0 and 1, not {valid_fraction}")
        groups: dict[str, list[int]] = defaultdict(list)
        for i in range(len(self)):
            groups[self.key(i)].append(i)
        strata: dict[str, list[list[int]]] = defaultdict(list)
        for group in groups.values():
            strata[self._stratum(group[0])].append(group)
        rng = random.Random(seed)
        valid: set[int] = set()
        for _, members in sorted(strata.items()):
            rng.shuffle(members)
            left = round(valid_fraction * sum(map(len, members)))
            for group in members:
                if len(group) <= left:
                    valid.update(group)
                    left -= len(group)
        if not valid or len(valid) == len(self):
            raise DataError(
                f"{len(self)} records ({len(groups)} distinct texts) cannot be split at {valid_fraction}",
                where=self.places[0] if self.places else None,
                cure="give a validation file of its own, or more records",
            )
        rest = [i for i in range(len(self)) if i not in valid]
        return self.subset(rest), self.subset(sorted(valid))

    def _stratum(self, index: int) -> str:
        return self.label_set(index)[0] if self.kind == "single" and self.labels is not None else ""

    def sample(self, n: int, seed: int) -> Examples:
        """``n`` records, single labels in their shares (largest remainders) and each label at least once if n allows.

        With one seed a smaller sample is a part of a larger one where no label's share shrinks, so a learning curve
        adds records and does not exchange them. Asking for more records than there are is a DataError.
        """
        if not 0 < n <= len(self):
            cure = f"ask for 1 to {len(self)}"
            raise DataError(f"{n} examples asked of {len(self)}", where=_file_of(self.places), cure=cure)
        strata: dict[str, list[int]] = defaultdict(list)
        for i in range(len(self)):
            strata[self._stratum(i)].append(i)
        shares = _shares({name: len(members) for name, members in strata.items()}, n)
        rng = random.Random(seed)
        chosen: list[int] = []
        for name, members in sorted(strata.items()):
            rng.shuffle(members)
            chosen += members[: shares[name]]
        return self.subset(sorted(chosen))

    def without_texts_of(self, other: Examples) -> tuple[Examples, int]:
        """(the records whose text does not occur in ``other``, how many were removed)."""
        seen = {other.key(i) for i in range(len(other))}
        kept = [i for i in range(len(self)) if self.key(i) not in seen]
        return self.subset(kept), len(self) - len(kept)


def _file_of(places: list[str]) -> str | None:
    return places[0].rpartition(":")[0] if places else None


def _shares(sizes: dict[str, int], n: int) -> dict[str, int]:
    """n in proportion to sizes: floors, then largest remainders; every name gets one first where n >= names."""
    total = sum(sizes.values())
    exact = {name: n * size / total for name, size in sizes.items()}
    least = 1 if n >= len(sizes) else 0
    shares = {name: min(sizes[name], max(least, int(value))) for name, value in exact.items()}
    order = sorted(sizes, key=lambda name: (shares[name] - exact[name], name))
    while (missing := n - sum(shares.values())) != 0:
        for name in order if missing > 0 else reversed(order):
            room = shares[name] < sizes[name] if missing > 0 else shares[name] > least
            if room and missing:
                step = 1 if missing > 0 else -1
                shares[name] += step
                missing -= step
    return shares


# ---- reading


def read_examples(
    path: str,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    kind: Literal["auto", "single", "multi", "regression"] = "auto",
    separator: str = "|",
    clean_html: bool = False,
    require_label: bool = True,
    faults: Faults = STRICT,
) -> Examples:
    """Read one labelled file.

    text, label, pair: columns by name, or by number from 1; guessed where None (``Examples.columns`` says how).
    kind: "auto" takes lists and cells that mostly hold ``separator`` as multi, more than 20 distinct non-integer
        numbers as regression, everything else as single.
    require_label: False reads unlabelled input too (labels None); a .txt file is then one text per line.
    path may be a folder that holds a folder of .txt files, a text each, for every label (IMDb's).

    Faults, at their file:line: an empty text, a missing label, a wrong number of columns, broken JSON, broken UTF-8.
    """
    path = str(path)
    raw: list[Any] | None
    if folders := label_folders(path):
        texts, raw, places, note = read_folders(path, folders, faults)
        pairs, guessed = None, dict[str, str]()
    elif known_format(path) == "txt":
        texts, raw, places, note = _read_lines(path, require_label, faults)
        pairs, guessed = None, dict[str, str]()
    else:
        table = open_table(path, faults)
        columns = guess_columns(table, text, label, pair, require_label)
        texts, pairs, raw, places = _read_table(table, columns, faults)
        note, guessed = table.note, columns.guessed
    if not texts:
        raise NoRecordError("no record in it", where=path, cure="check that the file was written completely")
    if clean_html:
        texts = [_cleaned(t, place) for t, place in zip(texts, places, strict=True)]
        pairs = None if pairs is None else [_cleaned(t, place) for t, place in zip(pairs, places, strict=True)]
    if raw is None:
        note += _guesses(guessed)
        return Examples(texts, None, places, pairs, "single" if kind == "auto" else kind, f"{path}: {note}")
    decided = infer_kind(raw, separator) if kind == "auto" else kind
    labels, sound = _labels(raw, decided, separator, places, faults)
    words = {"single": "one label each", "multi": "any number of labels each", "regression": "a number each"}[decided]
    note += f"; {words}" if kind != "auto" else ""
    note += _guesses(guessed | ({"kind": words} if kind == "auto" else {}))
    parted = sum(isinstance(value, str) and separator in value for value in raw)
    if decided == "single" and parted:
        note += f"; {separator!r} in {parted:,} of {len(raw):,} labels"
        note += " is read as part of the name; --kind multi (kind=multi) parts them"
    found = Examples(texts, cast(Labels, labels), places, pairs, decided, f"{path}: {note}")
    return found if len(sound) == len(raw) else found.subset(sound)


def _labels(
    raw: list[Any], kind: Kind, separator: str, places: list[str], faults: Faults
) -> tuple[list[Any], list[int]]:
    """(a label of each cell, the numbers of those without fault)."""
    labels: list[Any] = []
    sound: list[int] = []
    for i, value in enumerate(raw):
        try:
            labels.append(label_of(value, kind, separator, places[i]))
            sound.append(i)
        except DataError as error:
            faults.add(error)
            labels.append(None)
    return labels, sound


def _guesses(guessed: dict[str, str]) -> str:
    """guessed: setting -> the guess in words. How to override it, on the command line and in Python."""
    if not guessed:
        return ""
    names = [name for name in ("text", "label", "pair", "kind") if name in guessed]
    flags = ", ".join(f"--{name}" for name in names)
    return f"; guessed: {', '.join(guessed.values())}; override with {flags} ({names[0]}=...)"


def _cleaned(text: str, place: str) -> str:
    cleaned = strip_html(text)
    if not cleaned:
        raise DataError("empty text once the markup is removed", where=place, cure="remove the record, or fill it")
    return cleaned


def _read_table(
    table: Table, columns: Columns, faults: Faults
) -> tuple[list[str], list[str] | None, list[Any] | None, list[str]]:
    """(texts, pairs, raw labels, places); every cell checked."""
    asked = [c for c in (columns.text, columns.pair, columns.label) if c is not None]
    texts, pairs, raw, places = [], [], [], []
    for line, cells in table_rows(table, asked, strict_decode(table.path, faults), faults):
        place = f"{table.path}:{line}"
        try:
            text = _text(cells[0], table.names[columns.text], place)
            pair = "" if columns.pair is None else _text(cells[1], table.names[columns.pair], place)
            if columns.label is not None:
                _refuse_no_label(cells[-1], table, columns.label, place)
        except DataError as error:
            faults.add(error)
            continue
        texts.append(text)
        pairs.append(pair)
        raw.append(cells[-1])
        places.append(place)
    return texts, pairs if columns.pair is not None else None, raw if columns.label is not None else None, places


def _refuse_no_label(value: Any, table: Table, column: int, place: str) -> None:
    if value is None or (isinstance(value, str) and not value.strip()):
        cure = "fill it in or remove the record"
        if table.format in ("jsonl", "parquet"):
            cure += "; [] says 'none of the labels' where several are allowed"
        raise DataError(f"no label in column {table.names[column]!r}", where=place, cure=cure)


def _text(value: object, name: str, place: str) -> str:
    if value is not None and not isinstance(value, str):
        what = f"column {name!r} holds {type(value).__name__}, not text"
        raise DataError(what, where=place, cure="name the text column with --text (text=...)")
    if value is None or not value.strip():
        raise DataError(f"no text in column {name!r}", where=place, cure="fill it in or remove the record")
    if replace_surrogates(value)[1] or "\0" in value:
        cure = "remove it: no text encoding can hold it"
        raise DataError("half a surrogate pair or a NUL in the text", where=place, cure=cure)
    return value.strip()


def _read_lines(
    path: str, require_label: bool, faults: Faults
) -> tuple[list[str], list[list[str]] | None, list[str], str]:
    """fastText lines, ``__label__a __label__b text``; without labels one text per line."""
    labelled = any(line.startswith("__label__") for line in text_lines(path, faults))
    if not labelled and require_label:
        cure = "begin each line with __label__NAME, or use .csv, .tsv, .jsonl or .parquet"
        raise DataError("no label in this .txt file", where=f"{path}:1", cure=cure)
    texts, raw_labels, places = [], [], []
    for place, names, body in _fasttext_lines(path, faults):
        if labelled and not all(names or [""]):
            faults.add(DataError("no label on this line", where=place, cure="begin it with __label__NAME"))
            continue
        texts.append(body)
        raw_labels.append(names)
        places.append(place)
    if not labelled:
        return texts, None, places, "a text per line, no labels"
    return texts, raw_labels, places, "fastText lines: __label__NAME, then the text"


def _fasttext_lines(path: str, faults: Faults = STRICT) -> Iterator[tuple[str, list[str], str]]:
    """(place, labels, text) of each line."""
    for number, line in enumerate(text_lines(path, faults), start=1):
        words = line.split()
        names = [word[len("__label__") :] for word in words if word.startswith("__label__")]
        body = " ".join(w for w in words if not w.startswith("__label__")) if names else line.strip()
        if not body:
            cure = "fill it in or remove the line"
            faults.add(DataError("no text on this line", where=f"{path}:{number}", cure=cure))
            continue
        yield f"{path}:{number}", names, body


def stream_texts(path: str, *, text: str | None = None, pair: str | None = None, pairs: bool = False) -> Iterator[Any]:
    """The texts that `read_examples` finds, or (first, second) of ``pairs``, one by one: more than memory holds. Labels
    are not looked at. Raises DataError as `read_examples`, at the record that is wrong, and without a second text."""
    texts: Iterator[Any]
    second = None
    if folders := label_folders(path):
        texts = iter(read_folders(path, folders)[0])
    elif known_format(path) == "txt":
        texts = (body for _, _, body in _fasttext_lines(path))
    else:
        table = open_table(path)
        columns = guess_columns(table, text, None, pair, require_label=False)
        second = columns.pair if pairs else None
        texts = _table_texts(table, [columns.text, *([] if second is None else [second])])
    if pairs and second is None:
        raise DataError("this model reads pairs of texts", where=path, cure="name the second column with --pair")
    if (first := next(texts, None)) is None:
        raise DataError("no record in it", where=path, cure="check that the file was written completely")
    yield from chain([first], texts)


def _table_texts(table: Table, asked: list[int]) -> Iterator[Any]:
    for line, cells in table_rows(table, asked, strict_decode(table.path)):
        found = [_text(cell, table.names[c], f"{table.path}:{line}") for cell, c in zip(cells, asked, strict=True)]
        yield found[0] if len(found) == 1 else tuple(found)
