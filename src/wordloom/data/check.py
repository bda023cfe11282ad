"""Pre-flight: what a look at the data before training would have told. Every finding is counted and located."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import combinations
from typing import Any, Literal

import numpy as np

from wordloom.config import CorpusConfig, make
from wordloom.data.corpus import WORDS, Corpus, CorpusReport
from wordloom.data.examples import Examples, guess_columns, read_examples, text_key
from wordloom.data.near import CONTAINED, JACCARD, RUN, SHINGLE, ContainmentIndex, NearIndex, units
from wordloom.data.readers import file_format, find_files, open_file
from wordloom.data.tables import open_table
from wordloom.errors import DataError

NEAR_LIMIT = 100_000  # texts compared for near duplicates: about 25 s and 0.5 GB for film reviews
EXACT_LIMIT = 5_000_000  # documents compared for equality: about 1 GB
RARE = 10  # a label with fewer records
SHOWN = 3  # places named of every finding

Place = Callable[[int], str]

_SPLIT = re.compile(r"^(train|dev|valid|validation|val|test)(?=[._-])", re.IGNORECASE)


@dataclass(frozen=True)
class Fact:
    """One line of the report. name: a fixed word for programs; part: split or file it is about; text: plain words;
    count: how many; problem: needs a decision before training; places: the first "file:line" of it."""

    name: str
    part: str
    text: str
    count: int
    problem: bool = False
    places: tuple[str, ...] = ()


@dataclass
class CheckReport:
    """Facts in reading order."""

    facts: list[Fact] = field(default_factory=list)

    @property
    def problems(self) -> int:
        """Facts that need a decision before training."""
        return sum(fact.problem for fact in self.facts)

    def add(
        self, name: str, part: str, text: str, count: int, problem: bool = False, places: Iterable[str] = ()
    ) -> None:
        self.facts.append(Fact(name, part, text, count, problem, tuple(places)))

    def count(self, name: str, part: str | None = None) -> int:
        """Sum of the counts of one kind of fact (of one part)."""
        return sum(fact.count for fact in self.facts if fact.name == name and part in (None, fact.part))

    def lines(self) -> list[str]:
        """Plain words; a problem begins with "!"."""
        said: list[str] = []
        part = None
        for fact in self.facts:
            if fact.part != part:
                part = fact.part
                said.append(part)
            said.append(f"{'!' if fact.problem else ' '} {fact.text}")
            said += [f"      {place}" for place in fact.places]
        problems = self.problems
        said.append(f"{problems} finding{'s' * (problems != 1)} to look at" if problems else "nothing found")
        return said

    def to_json(self) -> dict[str, Any]:
        return {"problems": self.problems, "facts": [asdict(fact) for fact in self.facts]}


def check(
    paths: str | Sequence[str],
    *,
    against: str | Mapping[str, str] | None = None,
    pretraining: str | Sequence[str] | None = None,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    kind: Literal["auto", "single", "multi", "regression"] = "auto",
    separator: str = "|",
    clean_html: bool = False,
    documents: Literal["auto", "line", "blank-line", "file"] = "auto",
    near_limit: int = NEAR_LIMIT,
) -> CheckReport:
    """Look at raw text or labelled examples.

    paths: a labelled file; a folder with files named train, dev (valid, val) and test; or a raw corpus.
    against: other splits, name -> labelled file; leaks are looked for between all of them.
    pretraining: raw corpus that must not hold the labelled texts. A raw ``paths`` with ``against`` means the same.
    near_limit: how many texts of one part are compared for near duplicates; beyond it every k-th is (and it is said).

    Raises DataError where a file cannot be read; damage that reading can repair is a finding.
    """
    paths = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    others = {"against": against} if isinstance(against, str) else dict(against or {})
    columns: dict[str, Any] = {"text": text, "label": label, "pair": pair}
    splits = _splits(paths, columns)
    report = CheckReport()
    corpora = [] if pretraining is None else [pretraining] if isinstance(pretraining, str) else list(pretraining)
    corpus_text = None if splits else text
    if not splits:
        if corpora:
            cure = "give a labelled file, or leave pretraining out"
            raise DataError("not labelled data", where=paths[0], cure=cure)
        corpora = paths
    read: dict[str, Examples] = {}
    for name, path in {**splits, **others}.items():
        asked = columns if splits else _present(path, columns)
        read[name] = read_examples(
            path, **asked, kind=kind, separator=separator, clean_html=clean_html, require_label=False
        )
    near = {name: _check_examples(report, name, examples, near_limit) for name, examples in read.items()}
    for (first, a), (second, b) in combinations(read.items(), 2):
        _check_leak(report, first, a, near[first], second, b, near_limit)
    if corpora:
        values = {"paths": tuple(corpora), "text": corpus_text, "documents": documents, "clean_html": clean_html}
        _check_corpus(report, Corpus(make(CorpusConfig, values)), read, near_limit)
    return report


def _splits(paths: list[str], columns: dict[str, Any]) -> dict[str, str]:
    """name -> labelled file; empty for a raw corpus."""
    if len(paths) == 1 and os.path.isdir(paths[0]):
        found: dict[str, str] = {}
        for path in find_files(paths[0])[0]:
            match = _SPLIT.match(os.path.basename(path))
            if match and os.path.dirname(path) == paths[0].rstrip("/") and _is_labelled(path, columns):
                found.setdefault(match[1].lower(), path)
        order = ["train", "dev", "valid", "validation", "val", "test"]
        return {name: found[name] for name in order if name in found}
    files = [path for given in paths for path in find_files(given)[0]]
    if all(_is_labelled(path, columns) for path in files):
        names = [os.path.basename(path) for path in files]
        return dict(zip(files if len(set(names)) < len(names) else names, files, strict=True))
    return {}


def _is_labelled(path: str, columns: dict[str, Any]) -> bool:
    if file_format(path) == "txt":
        with open_file(path) as file:
            return file.read(9) == b"__label__"
    if columns["label"] is not None:
        return True
    table = open_table(path)
    try:
        return guess_columns(table, columns["text"], None, columns["pair"], require_label=False).label is not None
    except DataError:
        return False


def _present(path: str, columns: dict[str, Any]) -> dict[str, Any]:
    """The asked columns that a file beside a raw corpus has; the others were meant for the corpus."""
    if file_format(path) == "txt":
        return {}
    names = open_table(path).names
    return {role: name for role, name in columns.items() if name in names}


def _quote(text: str) -> str:
    text = " ".join(text.split())
    return f"“{text[:57]}...”" if len(text) > 60 else f"“{text}”"


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


# ---- labelled


def _both(examples: Examples, index: int) -> str:
    """The text, or both texts, of a record."""
    return examples.texts[index] if examples.pairs is None else f"{examples.texts[index]}\n{examples.pairs[index]}"


def _check_examples(report: CheckReport, part: str, examples: Examples, near_limit: int) -> NearIndex:
    """Facts of one split, and the index of its texts."""
    texts = [_both(examples, i) for i in range(len(examples))]
    words, characters = sum(len(t.split()) for t in texts), sum(map(len, texts))
    report.add("columns", part, examples.columns, 1)
    mean = characters / len(texts)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    size = f"{len(texts):,} records, {words:,} words, {characters:,} characters; {mean:,.0f} characters a record"
    size += f", longest {len(texts[longest]):,} ({examples.places[longest]})"
    report.add("size", part, size, len(texts))
    damaged = [i for i, t in enumerate(texts) if "\ufffd" in t]
    if damaged:
        said = f"{len(damaged):,} records hold U+FFFD: text lost in an earlier conversion"
        report.add("replacement", part, said, len(damaged), True, [examples.places[i] for i in damaged[:SHOWN]])
    _check_labels(report, part, examples)
    groups: dict[str, list[int]] = defaultdict(list)
    for i in range(len(examples)):
        groups[examples.key(i)].append(i)
    _check_repeats(report, part, examples, list(groups.values()))
    firsts = [group[0] for group in groups.values()]
    step = _stride(len(firsts), near_limit)
    return _check_near(
        report, part, ((texts[i], i) for i in firsts[::step]), examples.places.__getitem__, len(firsts), step
    )


def _check_labels(report: CheckReport, part: str, examples: Examples) -> None:
    if examples.labels is None:
        report.add("labels", part, "no labels", 0)
        return
    if examples.kind == "regression":
        values = np.array(examples.labels, dtype=float)
        said = f"numbers from {values.min():g} to {values.max():g}, mean {values.mean():g}"
        report.add("labels", part, f"{said}, standard deviation {values.std():g}", len(values))
        return
    counts = Counter(name for i in range(len(examples)) for name in examples.label_set(i))
    shown = [f"{name} {n:,} ({n / len(examples):.1%})" for name, n in counts.most_common(20)]
    more = f", and {len(counts) - 20} more" if len(counts) > 20 else ""
    report.add("labels", part, f"{len(counts)} labels: {', '.join(shown)}{more}", len(counts), len(counts) < 2)
    rare = sorted((n, name) for name, n in counts.items() if n < RARE)
    if rare:
        named = ", ".join(f"{name} {n}" for n, name in rare[:10]) + (", ..." if len(rare) > 10 else "")
        report.add("rare", part, f"{len(rare)} labels with fewer than {RARE} records: {named}", len(rare), True)


def _check_repeats(report: CheckReport, part: str, examples: Examples, groups: list[list[int]]) -> None:
    repeated = [group for group in groups if len(group) > 1]
    if not repeated:
        return
    more = sum(len(group) - 1 for group in repeated)
    same = sum(len(group) - len({" ".join(_both(examples, i).split()) for i in group}) for group in repeated)
    places = [f"{examples.places[g[1]]} = {examples.places[g[0]]} {_quote(examples.texts[g[0]])}" for g in repeated]
    said = f"{more:,} records repeat an earlier text ({same:,} exactly, the others but for case and punctuation)"
    report.add("repeats", part, said, more, True, places[:SHOWN])
    if examples.labels is None or examples.kind == "regression":
        return
    torn = [(g, _other_label(examples, g)) for g in repeated]
    conflicts = [(g[0], other) for g, other in torn if other is not None]
    if conflicts:
        said = f"{len(conflicts):,} texts occur with different labels"
        places = [_versus(examples, i, examples, j) for i, j in conflicts[:SHOWN]]
        report.add("conflicts", part, said, len(conflicts), True, places)


def _other_label(examples: Examples, group: list[int]) -> int | None:
    """The first record of a group whose label is not that of the group's first."""
    first = set(examples.label_set(group[0]))
    return next((i for i in group if set(examples.label_set(i)) != first), None)


def _versus(a: Examples, i: int, b: Examples, j: int) -> str:
    first, second = ", ".join(a.label_set(i)), ", ".join(b.label_set(j))
    return f"{a.places[i]} ({first}) / {b.places[j]} ({second}) {_quote(a.texts[i])}"


def _stride(total: int, limit: int) -> int:
    return max(1, -(-total // limit))


def _bound(total: int, step: int) -> str:
    how = f"Jaccard {JACCARD} or more of {SHINGLE}-word shingles, {SHINGLE}-character ones in Chinese and Japanese"
    return how if step == 1 else f"{how}; every {step}th of {total:,} texts compared"


def _check_near(
    report: CheckReport, part: str, texts: Iterable[tuple[str, int]], place: Place, total: int, step: int
) -> NearIndex:
    """texts: (text, its number), no two of them equal, every ``step``-th of ``total``; place: number -> file:line."""
    index, found = NearIndex(), []
    for text, i in texts:
        match = index.find(text)
        index.add(i, text, match[0] if match else None)
        if match is not None:
            found.append(f"{place(i)} ~ {place(match[0])} ({match[1]:.2f}) {_quote(text)}")
    if found:
        said = f"{len(found):,} more texts nearly repeat an earlier one ({_bound(total, step)})"
        report.add("near_repeats", part, said, len(found), True, found[:SHOWN])
    return index


def _check_leak(
    report: CheckReport, name_a: str, a: Examples, near_a: NearIndex, name_b: str, b: Examples, limit: int
) -> None:
    """Texts of b (the later split) that also occur in a."""
    part = f"{name_a} and {name_b}"
    known: dict[str, list[int]] = defaultdict(list)
    for i in range(len(a)):
        known[a.key(i)].append(i)
    exact_texts = {" ".join(_both(a, i).split()) for i in range(len(a))}
    shared = [i for i in range(len(b)) if b.key(i) in known]
    if shared:
        same = sum(" ".join(_both(b, i).split()) in exact_texts for i in shared)
        places = [f"{b.places[i]} = {a.places[known[b.key(i)][0]]} {_quote(b.texts[i])}" for i in shared[:SHOWN]]
        said = f"{len(shared):,} of {len(b):,} texts of {name_b} also occur in {name_a} ({same:,} exactly, the others"
        report.add("leak", part, f"{said} but for case and punctuation)", len(shared), True, places)
        torn = [(i, j) for i in shared if (j := _disagrees(b, i, a, known[b.key(i)])) is not None]
        if torn:
            said = f"{len(torn):,} of them have another label there"
            places = [_versus(b, i, a, j) for i, j in torn[:SHOWN]]
            report.add("leak_conflicts", part, said, len(torn), True, places)
    step_a, step_b = _stride(len(known), limit), _stride(len(b), limit)
    found = []
    for i in range(0, len(b), step_b):
        if b.key(i) not in known and (match := near_a.find(_both(b, i))) is not None:
            found.append(f"{b.places[i]} ~ {a.places[match[0]]} ({match[1]:.2f}) {_quote(b.texts[i])}")
    if found:
        bound = _bound(max(len(a), len(b)), max(step_a, step_b))
        said = f"{len(found):,} more texts of {name_b} nearly repeat one of {name_a} ({bound})"
        report.add("near_leak", part, said, len(found), True, found[:SHOWN])
    elif not shared:
        report.add("leak", part, f"no text of {name_b} occurs in {name_a}, exactly or nearly", 0)


def _disagrees(b: Examples, i: int, a: Examples, same: list[int]) -> int | None:
    """A record of a with the same text where no record of a with it has the label of record i."""
    if a.labels is None or b.labels is None or "regression" in (a.kind, b.kind):
        return None
    label = set(b.label_set(i))
    return None if any(set(a.label_set(j)) == label for j in same) else same[0]


# ---- raw


def _check_corpus(report: CheckReport, corpus: Corpus, held: dict[str, Examples], limit: int) -> None:
    """Sizes, damage and repeats of a corpus; with ``held`` examples also which of those occur in it."""
    part = f"corpus {', '.join(corpus.config.paths)}"
    files = corpus.files()
    number_of = {name: i for i, name in enumerate(files)}
    places: list[tuple[int, int]] = []
    known: dict[int, int] = {}
    repeats: list[tuple[int, int, str]] = []
    repeated = words = 0
    leaks = {name: _Leak(examples) for name, examples in held.items()}
    for number, document in enumerate(corpus):
        words += len(document.text.split())
        places.append((number_of[document.file], document.line))
        key = text_key(document.text)
        if number < EXACT_LIMIT:
            first = known.setdefault(_hash(key), number)
            if first != number:
                repeated += 1
                if len(repeats) < SHOWN:
                    repeats.append((number, first, document.text))
        for leak in leaks.values():
            leak.see(number, document.text, key)

    def place(number: int) -> str:
        return f"{files[places[number][0]]}:{places[number][1]}"

    _say_corpus(report, part, corpus.report, words)
    if repeated:
        said = f"{repeated:,} documents repeat an earlier one but for case and punctuation"
        if len(places) > EXACT_LIMIT:
            said += f" (the first {EXACT_LIMIT:,} compared)"
        shown = [f"{place(i)} = {place(j)} {_quote(t)}" for i, j, t in repeats]
        report.add("repeats", part, said, repeated, True, shown)
    if not held:
        step = _stride(len(known), limit)
        _check_near(report, part, _firsts(corpus, known, step), place, len(known), step)
    for name, leak in leaks.items():
        leak.say(report, name, place)


def _say_corpus(report: CheckReport, part: str, found: CorpusReport, words: int) -> None:
    size = f"{found.documents:,} documents, {words:,} words, {found.characters:,} characters in {found.files:,} files"
    report.add("size", part, size, found.documents)
    for note, where in found.notes.items():
        report.add("columns", part, f"{where.places[0] if where.count == 1 else f'{where.count} files'}: {note}", 1)
    for kind, finding in found.findings.items():
        report.add(kind, part, f"{finding.count:,} {WORDS[kind]}", finding.count, True, finding.places[:SHOWN])


def _firsts(corpus: Corpus, known: dict[int, int], step: int) -> Iterator[tuple[str, int]]:
    """A second reading: (text, number) of every ``step``-th distinct document."""
    wanted = set(list(known.values())[::step])
    for number, document in enumerate(corpus):
        if number in wanted:
            yield document.text, number


class _Leak:
    """Which texts of one split a streaming corpus holds: whole documents, or most of their runs of words."""

    def __init__(self, examples: Examples):
        self.examples = examples
        self.keys: dict[int, list[int]] = defaultdict(list)
        for i in range(len(examples)):
            self.keys[_hash(text_key(_both(examples, i)))].append(i)
        self.whole: dict[int, int] = {}  # record -> document
        self.index = ContainmentIndex(_both(examples, i) for i in range(len(examples)))

    def see(self, number: int, text: str, key: str) -> None:
        for i in self.keys.get(_hash(key), ()):
            self.whole.setdefault(i, number)
        self.index.see(number, text)

    def say(self, report: CheckReport, name: str, place: Place) -> None:
        part, total = f"corpus and {name}", len(self.examples)

        def shown(records: list[int], document: dict[int, int], mark: str) -> list[str]:
            own = self.examples
            return [f"{own.places[i]} {mark} {place(document[i])} {_quote(own.texts[i])}" for i in records[:SHOWN]]

        if self.whole:
            said = f"{len(self.whole):,} of {total:,} texts of {name} are documents of the corpus"
            report.add("leak", part, said, len(self.whole), True, shown(sorted(self.whole), self.whole, "="))
        inside = {i: document for i, (_, document) in self.index.contained().items() if i not in self.whole}
        if inside:
            said = f"{len(inside):,} more texts of {name} occur in the corpus for {CONTAINED:.0%} or more"
            said += f" of their runs of {RUN} words (characters of Chinese and Japanese)"
            report.add("near_leak", part, said, len(inside), True, shown(sorted(inside), inside, "in"))
        short = sum(len(units(_both(self.examples, i))) < RUN for i in range(total))
        bound = f"{short:,} texts of fewer than {RUN} words were compared as a whole only" if short else ""
        if not self.whole and not inside:
            report.add("leak", part, f"no text of {name} occurs in the corpus{'; ' * bool(bound)}{bound}", 0)
        elif bound:
            report.add("bound", part, bound, short)
