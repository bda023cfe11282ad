"""Pre-flight of raw text: sizes, damage, repeats, and held-out texts that the corpus contains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b

from wordloom.data.corpus import WORDS, Corpus, CorpusReport
from wordloom.data.examples import Examples, text_key
from wordloom.data.findings import SHOWN, CheckReport, Place, check_near, plural, quote, stride
from wordloom.data.near import CONTAINED, RUN, ContainmentIndex, units, unspaced

EXACT_LIMIT = 5_000_000  # documents compared for equality: about 1 GB


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def check_corpus(report: CheckReport, corpus: Corpus, held: dict[str, Examples], limit: int) -> None:
    """Sizes, damage and repeats of a corpus; with ``held`` examples also which of those occur in it."""
    part = f"corpus {', '.join(corpus.config.paths)}"
    files = corpus.files()
    number_of = {name: i for i, name in enumerate(files)}
    places: list[tuple[int, int]] = []
    known: dict[int, int] = {}
    repeats: list[tuple[int, int, str]] = []
    repeated = words = wordless = 0
    leaks = {name: _Leak(examples) for name, examples in held.items()}
    for number, document in enumerate(corpus):
        words += len(document.text.split())
        wordless += unspaced(document.text)
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

    _say_corpus(report, part, corpus.report, words if 2 * wordless < len(places) else None)
    if repeated:
        said = f"{repeated:,} documents repeat an earlier one but for case and punctuation"
        if len(places) > EXACT_LIMIT:
            said += f" (the first {EXACT_LIMIT:,} compared)"
        shown = [f"{place(i)} = {place(j)} {quote(t)}" for i, j, t in repeats]
        report.add("repeats", part, said, repeated, True, shown)
    if not held:
        step = stride(len(known), limit)
        check_near(report, part, _firsts(corpus, known, step), place, len(known), step)
    for name, leak in leaks.items():
        leak.say(report, name, place)


def _say_corpus(report: CheckReport, part: str, found: CorpusReport, words: int | None) -> None:
    """words: None where most documents are Chinese or Japanese, whose words no space divides."""
    size = f"{plural(found.documents, 'document')}, " + (f"{words:,} words, " if words is not None else "")
    size += f"{found.characters:,} characters in {plural(found.files, 'file')}"
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
            self.keys[_hash(text_key(examples.both(i)))].append(i)
        self.whole: dict[int, int] = {}  # record -> document
        self.index = ContainmentIndex(examples.both(i) for i in range(len(examples)))

    def see(self, number: int, text: str, key: str) -> None:
        for i in self.keys.get(_hash(key), ()):
            self.whole.setdefault(i, number)
        self.index.see(number, text)

    def say(self, report: CheckReport, name: str, place: Place) -> None:
        part, total = f"corpus and {name}", len(self.examples)

        def shown(records: list[int], document: dict[int, int], mark: str) -> list[str]:
            own = self.examples
            return [f"{own.places[i]} {mark} {place(document[i])} {quote(own.texts[i])}" for i in records[:SHOWN]]

        if self.whole:
            said = f"{len(self.whole):,} of {total:,} texts of {name} are documents of the corpus"
            report.add("leak", part, said, len(self.whole), True, shown(sorted(self.whole), self.whole, "="))
        inside = {i: document for i, (_, document) in self.index.contained().items() if i not in self.whole}
        if inside:
            said = f"{len(inside):,} more texts of {name} occur in the corpus for {CONTAINED:.0%} or more"
            said += f" of their runs of {RUN} words (characters of Chinese and Japanese)"
            report.add("near_leak", part, said, len(inside), True, shown(sorted(inside), inside, "in"))
        short = sum(len(units(self.examples.both(i))) < RUN for i in range(total))
        bound = f"{short:,} texts of fewer than {RUN} words were compared as a whole only" if short else ""
        if not self.whole and not inside:
            report.add("leak", part, f"no text of {name} occurs in the corpus{'; ' * bool(bound)}{bound}", 0)
        elif bound:
            report.add("bound", part, bound, short)
