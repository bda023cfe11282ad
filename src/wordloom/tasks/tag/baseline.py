"""What a tagger must beat: a CRF on hand-made features, or each word's most frequent tag.

Trained by L-BFGS with an elastic net, whose two weights are the usual ones, not chosen by validation.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wordloom.config import TagConfig
from wordloom.data.tag_schemes import Scheme, chunks_of, tags_of
from wordloom.data.tagged import Mention, Tagged, on_units, outermost
from wordloom.tasks.tag.features import features
from wordloom.tasks.tag.task import fitting_rule
from wordloom.text.units import Units, cut_out, find_units

L1, L2 = 0.1, 0.1


def baseline(train: Any, valid: Any, config: TagConfig) -> WordTags | FeatureCRF:
    """The feature CRF where python-crfsuite is installed, else the most frequent tag of each word."""
    kind = FeatureCRF if find_spec("pycrfsuite") is not None else WordTags
    return kind(train, config)


class _Taggers:
    """Texts in units and tags, and back."""

    def __init__(self, train: Tagged, config: TagConfig):
        self.rule = config.units if config.units != "auto" else fitting_rule(train)
        self.scheme: Scheme = "each" if config.scheme == "each" or train.each else "bio"

    def units(self, records: Tagged) -> list[Units]:
        own = zip(records.documents, records.units, strict=True)
        return [find_units(text, self.rule) if units is None else units for text, units in own]

    def tagged(self, records: Tagged) -> list[tuple[list[str], list[str]]]:
        """(words, tags) of each text."""
        return [
            (cut_out(text, units), tags_of(len(units), on_units(outermost(spans), units), self.scheme))
            for text, units, spans in zip(records.documents, self.units(records), records.spans, strict=True)
        ]

    def mentions(self, units: Units, tags: Sequence[str]) -> list[Mention]:
        chunks = chunks_of(tags, self.scheme)
        return [Mention(int(units[c.first, 0]), int(units[c.last - 1, 1]), c.type, 1.0) for c in chunks]


class WordTags(_Taggers):
    """Each word has the tag it had most often in training; unknown words the most frequent tag of all."""

    name = "most frequent tag of each word"

    def __init__(self, train: Tagged, config: TagConfig):
        super().__init__(train, config)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for words, tags in self.tagged(train):
            for word, tag in zip(words, tags, strict=True):
                counts[word][tag] += 1
        self.usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        total: Counter[str] = sum(counts.values(), Counter())
        self.unknown = total.most_common(1)[0][0]

    def predict(self, records: Tagged) -> list[list[Mention]]:
        return [
            self.mentions(units, [self.usual.get(word, self.unknown) for word in cut_out(text, units)])
            for text, units in zip(records.documents, self.units(records), strict=True)
        ]


class FeatureCRF(_Taggers):
    """CRFsuite on `features`."""

    name = "feature CRF"

    def __init__(self, train: Tagged, config: TagConfig):
        super().__init__(train, config)
        import pycrfsuite  # the extra `crf`

        trainer = pycrfsuite.Trainer(verbose=False)
        for words, tags in self.tagged(train):
            if words:
                trainer.append([features(words, i) for i in range(len(words))], tags)
        trainer.set_params({"c1": L1, "c2": L2, "max_iterations": config.baseline_steps,
                            "feature.possible_transitions": True})  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="wordloom-") as folder:
            path = str(Path(folder) / "crf")
            trainer.train(path)
            self._model = Path(path).read_bytes()  # the tagger points into it and does not keep it
            self.tagger: Any = pycrfsuite.Tagger()
            self.tagger.open_inmemory(self._model)

    def predict(self, records: Tagged) -> list[list[Mention]]:
        answers = []
        for text, units in zip(records.documents, self.units(records), strict=True):
            words = cut_out(text, units)
            tags = self.tagger.tag([features(words, i) for i in range(len(words))]) if words else []
            answers.append(self.mentions(units, tags))
        return answers
