"""Exact match and F1 of answers that are spans of text, and whose words they count.

Three rules, since what a "word" is depends on the script; ``answer_rule`` picks one and every score says which:

- ``words``: the official scripts of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, section 6.1; 2018, section 5).
- ``cmrc``: the official script of CMRC 2018 (Cui et al. 2019, section 4.1), which DRCD is evaluated with too: each
  Chinese character is a unit, and what two answers share is their longest common *substring*. Its runs of other
  scripts are split by NLTK; here at white space and ASCII marks.
- ``characters``: SQuAD's F1 over characters, as for Japanese (JSQuAD; Kurihara et al. 2022, section 3.3), after NFKC
  and without punctuation and white space.

A question is scored by the best of its right answers. ``unanswerable``: whether the set has questions without an
answer; then the 2.0 script applies, where saying nothing is right for them and wrong for all others.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import ConfigError

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]  # F1 (n,), exact match (n,)


@dataclass(frozen=True)
class AnswerRule:
    """exact: what must be equal for an exact match. pieces: the units F1 counts. common: how many two lists share."""

    name: str
    note: str
    exact: Callable[[str], str]
    pieces: Callable[[str], list[str]]
    common: Callable[[Sequence[str], Sequence[str]], int]

    def f1(self, said: str, gold: str, unanswerable: bool = False) -> float:
        """Harmonic mean of the shares of both sides' units that are common."""
        ours, theirs = self.pieces(said), self.pieces(gold)
        if unanswerable and not (ours and theirs):
            return float(ours == theirs)
        same = self.common(ours, theirs)
        return 2 * same / (len(ours) + len(theirs)) if same else 0.0

    def best(self, said: str, golds: Sequence[str], unanswerable: bool = False) -> tuple[float, float]:
        """(F1, exact match), each the best over ``golds``; no right answer: nothing should be said."""
        if unanswerable:
            golds = [gold for gold in golds if self.exact(gold)]
        golds = golds or [""]
        f1 = max(self.f1(said, gold, unanswerable) for gold in golds)
        return f1, float(any(self.exact(said) == self.exact(gold) for gold in golds))

    def scores(self, said: Sequence[str], golds: Sequence[Sequence[str]], unanswerable: bool) -> Scores:
        """(F1, exact match) of every question, (n,) each."""
        both = [self.best(s, g, unanswerable) for s, g in zip(said, golds, strict=True)]
        table = np.array(both, np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]


_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_ASCII_MARKS = str.maketrans("", "", string.punctuation)


def squad_normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and the articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_ASCII_MARKS)).split())


def shared(a: Sequence[str], b: Sequence[str]) -> int:
    """Size of the intersection of two bags."""
    return sum((Counter(a) & Counter(b)).values())


# "……" is a member of the script's list, but it compares single characters with it, so a lone … stays.
_CMRC_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_UNIT = re.compile(r"[\u4e00-\u9fa5]|\d+(?:[.,]\d+)+|[^\s!-/:-@\[-`{-~\u4e00-\u9fa5]+|[!-/:-@\[-`{-~]")


def cmrc_normalised(text: str) -> str:
    """Lower case, without the script's marks."""
    return "".join(c for c in text.lower().strip() if c not in _CMRC_MARKS)


def cmrc_pieces(text: str) -> list[str]:
    """Chinese characters, and the words between them. Removed marks join what they part, as in the script."""
    return _CMRC_UNIT.findall(cmrc_normalised(text))


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run that is in both: one row of the usual table at a time."""
    best, before = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] * (len(b) + 1)
        for j, y in enumerate(b):
            if x == y:
                row[j + 1] = before[j] + 1
                best = max(best, row[j + 1])
        before = row
    return best


def characters_normalised(text: str) -> str:
    """NFKC, lower case, without punctuation (any script's) and white space."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in folded if not c.isspace() and not unicodedata.category(c).startswith("P"))


RULES = {
    rule.name: rule
    for rule in (
        AnswerRule("words", "SQuAD's script: words, best of the right answers", squad_normalised,
                   lambda text: squad_normalised(text).split(), shared),
        AnswerRule("cmrc", "CMRC 2018's script: Chinese characters, longest common substring", cmrc_normalised,
                   cmrc_pieces, longest_common),
        AnswerRule("characters", "SQuAD's F1 over characters, punctuation left out", characters_normalised,
                   lambda text: list(characters_normalised(text)), shared),
    )
}  # fmt: skip

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]")
_KANA = re.compile("[\u3041-\u309f\u30a0-\u30ff\uff66-\uff9f]")


def answer_rule(texts: Iterable[str], name: str = "auto") -> AnswerRule:
    """The rule named, or the one of the script that most letters of ``texts`` are in.

    Han and kana in more than half of the letters: "characters" where more than a twentieth of these are kana, else
    "cmrc". Raises ConfigError for a name that is none of RULES.
    """
    if name != "auto":
        if name not in RULES:
            raise ConfigError(f"no rule {name!r} for scoring answers", cure=f"name one of auto, {', '.join(RULES)}")
        return RULES[name]
    letters = han = kana = 0
    for text in texts:
        letters += sum(map(str.isalpha, text))
        if not text.isascii():
            han += len(_HAN.findall(text))
            kana += len(_KANA.findall(text))
    if 2 * (han + kana) <= letters:
        return RULES["words"]
    return RULES["characters" if 20 * kana > han + kana else "cmrc"]
