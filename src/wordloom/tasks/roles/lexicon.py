"""What the training sentences say of predicates: labels, the senses of a lemma, the lemma of a word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.data.frames import NONE, Sentence
from wordloom.errors import BundleError

Floats = NDArray[np.float32]
FIRST = "01"  # the sense of a lemma that training has not seen: PropBank numbers the commonest one first
_SUFFIX = 5  # letters at the end of a word that choose how its lemma is made


@dataclass(frozen=True)
class Lexicon:
    """labels: of arguments, sorted. senses: lemma -> how often each sense was seen, most frequent first. forms: word in
    lower case -> lemma."""

    labels: tuple[str, ...]
    senses: Mapping[str, Mapping[str, int]]
    forms: Mapping[str, str]

    @classmethod
    def fit(cls, sentences: Sequence[Sentence]) -> Lexicon:
        labels = {a.label for s in sentences for f in s.frames for a in f.arguments}
        senses: dict[str, Counter[str]] = defaultdict(Counter)
        forms: dict[str, Counter[str]] = defaultdict(Counter)
        for sentence in sentences:
            for frame in sentence.frames:
                senses[frame.lemma][frame.sense] += 1
                forms[sentence.words[frame.index].lower()][frame.lemma] += 1
        ordered = {lemma: dict(_ranked(c)) for lemma, c in sorted(senses.items())}
        return cls(tuple(sorted(labels)), ordered, {w: _ranked(c)[0][0] for w, c in sorted(forms.items())})

    @property
    def tags(self) -> int:
        """K: O, and B and I of each label."""
        return 1 + 2 * len(self.labels)

    @cached_property
    def label_numbers(self) -> dict[str, int]:
        return {label: k for k, label in enumerate(self.labels)}

    @cached_property
    def sense_numbers(self) -> dict[str, int]:
        """Number of each sense that a head has to tell from another: those of lemmas with several."""
        several = {s for senses in self.senses.values() if len(senses) > 1 for s in senses}
        return {sense: k for k, sense in enumerate(sorted(several))}

    def candidates(self, lemma: str) -> tuple[str, ...]:
        """The senses to choose from, at least one."""
        return tuple(self.senses.get(lemma, ())) or (self._first(lemma),)

    def numbers(self, lemma: str) -> tuple[int, ...]:
        """Numbers of the candidates, none where there is nothing to choose."""
        found = self.candidates(lemma)
        return tuple(self.sense_numbers[s] for s in found) if len(found) > 1 else ()

    def log_shares(self) -> Floats:
        """(S,) log of the share each sense has in its lemma: what a choice without looking at the sentence goes by."""
        shares = np.zeros(len(self.sense_numbers), np.float32)
        for senses in self.senses.values():
            for sense, count in senses.items() if len(senses) > 1 else ():
                shares[self.sense_numbers[sense]] = np.log(count / sum(senses.values()))
        return shares

    def _first(self, lemma: str) -> str:
        return f"{lemma}.{FIRST}" if self._rolesets else FIRST if self._has_senses else NONE

    @cached_property
    def _has_senses(self) -> bool:
        return any(s != NONE for senses in self.senses.values() for s in senses)

    @cached_property
    def _rolesets(self) -> bool:
        """Whether senses are spelled "come.03" and not "03"."""
        dotted = ["." in sense for senses in self.senses.values() for sense in senses]
        return 2 * sum(dotted) > len(dotted)

    def lemma(self, word: str) -> str:
        """Of a word that is a predicate: as in training; else made by the commonest change of an ending that training
        shows for words with the longest common ending, a lemma of training preferred."""
        form = word.lower()
        if form in self.forms:
            return self.forms[form]
        made = []
        for size in range(min(_SUFFIX, len(form)), 0, -1):
            rules = self._rules.get(form[-size:], ())
            made += [form[: len(form) - len(old)] + new for old, new in rules if form.endswith(old)]
        known = [lemma for lemma in made if lemma in self.senses]
        return (known or made or [form])[0]

    @cached_property
    def _rules(self) -> dict[str, list[tuple[str, str]]]:
        """Ending -> (old ending, new ending) of the words with it, commonest first."""
        counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for form, lemma in self.forms.items():
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(form, lemma, strict=False)))
            if common < 2:
                continue  # went, go: says nothing of other words
            for size in range(1, min(_SUFFIX, len(form)) + 1):
                counts[form[-size:]][form[common:], lemma[common:]] += 1
        return {ending: [rule for rule, _ in _ranked(c)] for ending, c in counts.items()}

    def to_json(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "senses": {k: dict(v) for k, v in self.senses.items()},
                "forms": dict(self.forms)}  # fmt: skip

    @classmethod
    def from_json(cls, values: Any) -> Lexicon:
        """Raises BundleError for anything but what ``to_json`` gives."""
        try:
            return cls(tuple(values["labels"]), {k: dict(v) for k, v in values["senses"].items()},
                       dict(values["forms"]))  # fmt: skip
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            what = f"the task's settings are damaged (lexicon: {error})"
            raise BundleError(what, cure="fine-tune again") from None


def _ranked(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """Most frequent first, ties by name: a function of the counts alone."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
