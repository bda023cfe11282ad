"""The pre-flight report and what its two halves share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wordloom.data.near import JACCARD, SHINGLE, NearIndex
from wordloom.data.readers import replace_surrogates

SHOWN = 3  # places named of every finding
LISTED = 20  # faults named of a file

Place = Callable[[int], str]  # number of a text -> "file:line"


@dataclass(frozen=True)
class Fact:
    """One line of the report. name: a fixed word for programs; part: split or file it is about; text: plain words;
    count: how many; problem: needs a decision before training; places: the first "file:line" of it. Of the name
    "malformed", whose faults keep the file from being trained on, places are their sentences."""

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
        shown = tuple(replace_surrogates(place)[0] for place in places)
        self.facts.append(Fact(name, part, replace_surrogates(text)[0], count, problem, shown))

    def add_malformed(self, part: str, faults: Sequence[str], read_on: bool) -> None:
        """faults: sentences. read_on: what is sound of the file was read."""
        if not faults:
            return
        said = f"{plural(len(faults), 'fault')} to correct before training"
        said += "; all else here is said of what is sound" if read_on else ""
        more = len(faults) - LISTED
        self.add("malformed", part, said, len(faults), True,
                 [*faults[:LISTED], *([f"and {more:,} more"] if more > 0 else [])])  # fmt: skip

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
        said.append(f"{plural(problems, 'finding')} to look at" if problems else "nothing found")
        return said

    def to_json(self) -> dict[str, Any]:
        return {"problems": self.problems, "facts": [asdict(fact) for fact in self.facts]}


def quote(text: str) -> str:
    text = " ".join(text.split())
    return f"“{text[:57]}...”" if len(text) > 60 else f"“{text}”"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def stride(total: int, limit: int) -> int:
    return max(1, -(-total // limit))


def bound(total: int, step: int) -> str:
    how = f"Jaccard {JACCARD} or more of {SHINGLE}-word shingles, {SHINGLE}-character ones in Chinese and Japanese"
    return how if step == 1 else f"{how}; 1 in {step} of {total:,} texts compared"


def check_near(
    report: CheckReport, part: str, texts: Iterable[tuple[str, int]], place: Place, total: int, step: int
) -> NearIndex:
    """texts: (text, its number), no two of them equal, every ``step``-th of ``total``; place: number -> file:line."""
    index, found = NearIndex(), []
    for text, i in texts:
        match = index.find(text)
        index.add(i, text, match[0] if match else None)
        if match is not None:
            found.append(f"{place(i)} ~{match[1]:.2f} {place(match[0])} {quote(text)}")
    if found:
        said = f"{len(found):,} more texts nearly repeat another one ({bound(total, step)})"
        report.add("near_repeats", part, said, len(found), True, found[:SHOWN])
    return index
