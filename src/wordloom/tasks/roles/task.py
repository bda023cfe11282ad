"""Semantic role labelling: who did what to whom. One model finds the predicates, their senses and their arguments.

Every word is a predicate or not; the sense is chosen among those the training data has of its lemma; arguments are BIO
tags of the words, decoded to the best legal sequence (`roles_decode`). The three losses are added. How the network is
told which predicate is asked about: `roles_units`. Shi & Lin 2019 (BERT), He et al. 2017 (BiLSTM), where they train
three models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wordloom.config import RolesConfig, make
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.frames import Frame, FrameRecords, Sentence
from wordloom.errors import DataError
from wordloom.metrics import Tally
from wordloom.model.build import AnyArchitecture
from wordloom.model.roles_head import RolesHead
from wordloom.tasks.base import restored_settings
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.roles.answers import Answer, Asked, answer_row, answer_table, asked_of, sentence_asked
from wordloom.tasks.roles.decode import tags_of
from wordloom.tasks.roles.lexicon import Lexicon
from wordloom.tasks.roles.reader import HEAD, Outputs, Reader, best_threshold, is_predicate, outputs, style_of
from wordloom.tasks.roles.scores import Pairs, all_tallies, label_table
from wordloom.tasks.roles.units import Style, Target, make_batch, make_units, pieces_of, units_of
from wordloom.tasks.windows import Ints
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Term, Terms

BUDGET = 8192  # tokens of an evaluation batch; the answers do not depend on it
SAMPLES = 8  # sentences shown in the report


class Roles:
    """The task, and the loop's job once ``valid`` is given. Built by ``Roles.fit`` or ``Roles.restore``."""

    name = "roles"
    main = "f1"
    keeps: frozenset[str] = frozenset()

    def __init__(
        self, config: RolesConfig, lexicon: Lexicon, tokenizer: Tokenizer, *, length: int, threshold: float = 0.5,
        valid: FrameRecords | None = None,
    ):  # fmt: skip
        """length: tokens of a window. threshold: probability from which a word is a predicate."""
        self.config, self.lexicon, self.tokenizer = config, lexicon, tokenizer
        self.length, self.threshold, self.budget = length, threshold, BUDGET
        self.pad_id = int(tokenizer.pad_id or 0)
        self.style: Style | None = None  # settled by heads(), from the architecture
        self._valid, self._prepared = valid, None if valid is None else pieces_of(tokenizer, _words(valid.sentences))

    @classmethod
    def fit(
        cls, config: RolesConfig, train: FrameRecords, tokenizer: Tokenizer, *, length: int,
        valid: FrameRecords | None = None, test: FrameRecords | None = None,
    ) -> Roles:  # fmt: skip
        """Labels and senses are those of the training sentences; a label that only other parts have is never said, and
        counts as missed. Raises DataError where training has no predicate."""
        lexicon = Lexicon.fit(train.sentences)
        if not lexicon.labels:
            where = train.places[0] if len(train) else None
            raise DataError("no sentence has a predicate with arguments", where=where,
                            cure="check the layout (task.layout)")  # fmt: skip
        return cls(config, lexicon, tokenizer, length=length, valid=valid)

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        self.style = style_of(self.config, arch)
        layers = self.config.layers if self.style == "sentence" else 0
        shares = torch.from_numpy(self.lexicon.log_shares())
        head = RolesHead(arch, self.lexicon.tags, max(1, len(shares)), layers, self.config.dropout)
        with torch.no_grad():
            head.sense_bias[: len(shares)] = shares.to(head.sense_bias)
        return {HEAD: head}

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "length": self.length, "threshold": self.threshold,
                "config": self.config.model_dump(), "lexicon": self.lexicon.to_json()}  # fmt: skip

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Roles:
        keys = ("length", "threshold", "config", "lexicon")
        length, threshold, config, lexicon = restored_settings(settings, cls.name, keys)
        lexicon = Lexicon.from_json(lexicon)
        return cls(make(RolesConfig, config), lexicon, tokenizer, length=int(length), threshold=float(threshold))

    # ---------------------------------------------------------------------------------------------- the loop's job

    @property
    def score(self) -> tuple[str, bool]:
        return "f1", True

    def counts(self, batch: Batch) -> Mapping[str, int]:
        e = batch.examples
        return {"arguments": int((e["tags"] != IGNORE).sum()), "predicates": len(e["plain"]),
                "senses": int((e["senses"] != IGNORE).sum())}  # fmt: skip

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """Cross entropy of the words' tags and of the predicates' senses, binary cross entropy of being a predicate."""
        return self.terms(outputs(model, batch), batch), state

    def terms(self, found: Outputs, batch: Batch) -> Terms:
        e, n = batch.examples, self.counts(batch)
        chosen = e["senses"] != IGNORE
        is_predicate = e["is_predicate"].to(found.predicates)
        losses = {
            "arguments": F.cross_entropy(found.tags, e["tags"], ignore_index=IGNORE, reduction="sum"),
            "predicates": F.binary_cross_entropy_with_logits(found.predicates, is_predicate, reduction="sum"),
            "senses": F.cross_entropy(found.senses[chosen], e["senses"][chosen], reduction="sum"),
        }
        return {name: Term(total, n[name]) for name, total in losses.items()}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Losses and scores on the validation part, with the predicates the task is asked to use."""
        if self._valid is None or self._prepared is None:
            raise ValueError("this task was built without a validation part")
        sentences = self._valid.sentences
        asked = [sentence_asked(s) for s in sentences]
        reader = Reader(self, model, asked, self._prepared, sentences)
        gold = [[f.index for f in s.frames] for s in sentences]
        reader.read(gold, plain=True)
        if self.config.predicates == "predicted":
            reader.read([[p for p in own if p not in g] for own, g in zip(reader.found(), gold, strict=True)])
        answers = reader.answers()
        tallies = all_tallies(*_pairs(sentences, answers, self.config.predicates == "gold", both=False))
        values = {f"{name}_loss": total / max(1, n) for name, (total, n) in reader.sums.items()}
        return {"loss": sum(values.values()), **values, **{name: t.value for name, t in tallies.items()}}

    def calibrate(self, model: nn.Module) -> float:
        """Set, and return, the probability from which a word is a predicate: the one with the best F1 in validation."""
        if self._valid is None or self._prepared is None:
            raise ValueError("this task was built without a validation part")
        reader = Reader(self, model, [sentence_asked(s) for s in self._valid.sentences], self._prepared)
        reader.read([()] * len(self._prepared), plain=True)
        gold = np.concatenate([is_predicate(s) for s in self._valid.sentences])
        said = np.concatenate([reader.probabilities[i] for i in range(len(self._prepared))])
        self.threshold = best_threshold(said, gold)
        return self.threshold

    # --------------------------------------------------------------------------------------------------- prediction

    def inputs(self, records: FrameRecords) -> list[Asked]:
        return [sentence_asked(s) for s in records.sentences]

    def check(self, inputs: Sequence[Any]) -> None:
        for given in inputs:
            asked_of(given)

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> list[Answer]:
        """Frames of each sentence, with predicted predicates and, where they are said, with those of the input."""
        asked = [asked_of(given) for given in inputs]
        reader = Reader(self, model, asked, pieces_of(self.tokenizer, [a.words for a in asked]))
        reader.read([()] * len(asked), plain=True)
        given = [{place for place, _ in a.predicates or ()} for a in asked]
        reader.read([sorted(g | set(found)) for g, found in zip(given, reader.found(), strict=True)])
        return reader.answers()

    # ------------------------------------------------------------------------------------------------------- scores

    def gold(self, records: FrameRecords) -> list[Answer]:
        return [Answer(s.words, s.frames, s.frames, s.frames) for s in records.sentences]

    def tallies(self, records: FrameRecords, answers: Sequence[Answer]) -> dict[str, Tally]:
        """f1, precision, recall (of arguments; "f1_predicted" or "f1_gold": with the other predicates), predicate_f1,
        sense_accuracy, perfect_frames."""
        return all_tallies(*_pairs(records.sentences, answers, self.config.predicates == "gold"))

    def details(self, records: FrameRecords, answers: Sequence[Answer]) -> dict[str, Any]:
        pairs = [(s.frames, a.frames) for s, a in zip(records.sentences, answers, strict=True)]
        gold, samples = self.gold(records), []
        for i in [i for i, s in enumerate(records.sentences) if s.frames][:SAMPLES]:
            asked = sentence_asked(records.sentences[i])
            tables = [answer_table(asked, a).partition("\n")[2] for a in (answers[i], gold[i])]
            samples.append({"input": " ".join(asked.words), "answer": tables[0], "gold": tables[1],
                            "place": records.places[i]})  # fmt: skip
        found: dict[str, Any] = {"tables": [label_table(pairs)], "samples": samples}
        known = self.lexicon.label_numbers
        new = Counter(a.label for s in records.sentences for f in s.frames for a in f.arguments if a.label not in known)
        if new:
            named = ", ".join(label for label, _ in new.most_common(5))
            reason = f"arguments of a role that training never showed, counted as missed: {named}"
            found["unscored"] = {"count": new.total(), "reason": reason}
        return found

    def row(self, given: Any, answer: Answer) -> dict[str, Any]:
        return answer_row(asked_of(given), answer)

    def line(self, given: Any, answer: Answer) -> str:
        return answer_table(asked_of(given), answer)

    def target(self, words: int, frame: Frame) -> Target:
        """What is to be learnt of a frame of a sentence of so many words."""
        numbers = self.lexicon.numbers(frame.lemma)
        senses = self.lexicon.candidates(frame.lemma)
        right = senses.index(frame.sense) if numbers and frame.sense in senses else IGNORE
        return Target(tags_of(frame.arguments, words, self.lexicon.label_numbers), numbers, right)


def _pairs(
    sentences: Sequence[Sentence], answers: Sequence[Answer], gold: bool, both: bool = True
) -> tuple[Pairs, Pairs | None, Pairs, Pairs | None, bool]:
    """The arguments of `roles_scores.all_tallies`; both: with the other predicates, too."""
    rows = list(zip(sentences, answers, strict=True))
    chosen, found = [(s.frames, a.frames) for s, a in rows], [(s.frames, a.found) for s, a in rows]
    given = [(s.frames, a.given) for s, a in rows if a.given is not None]
    other = (found if gold else given) if both and len(given) == len(rows) else None
    return chosen, other, found, given if len(given) == len(rows) else None, gold


def _words(sentences: Sequence[Sentence]) -> list[tuple[str, ...]]:
    return [s.words for s in sentences]


class RolesStream(EpochStream):
    """Training batches as a pure function of (seed, step): ``batch`` units a step, of similar length (`Epochs`).

    A unit is what the encoder reads at once: a sentence with one predicate, or alone to find its predicates; where the
    sentence is read once (``Style`` "sentence"), with all of them.
    """

    def __init__(self, task: Roles, train: FrameRecords, *, batch: int, seed: int):
        if task.style is None:
            raise ValueError("heads() comes first: it settles how predicates are told")
        sentences = train.sentences
        pieces = pieces_of(task.tokenizer, _words(sentences))
        listed = units_of([[f.index for f in s.frames] for s in sentences], task.style)
        self.task, self.places = task, train.places
        self.units = make_units(task.tokenizer, pieces, listed, task.style, task.length)
        self.gold = [is_predicate(s) for s in sentences]
        frames = [{f.index: f for f in s.frames} for s in sentences]
        self.targets = [
            [task.target(len(sentences[u.sentence].words), frames[u.sentence][p]) for p in u.predicates] for u in listed
        ]
        self.epochs = Epochs(self.units.sizes, batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        return self.epochs.batches(step, parts, self._batch)

    def _batch(self, chosen: Ints) -> Batch:
        batch = make_batch(self.units, chosen, self.task.pad_id, self.targets, self.gold)
        return replace(batch, ids=tuple(self.places[self.units.units[u].sentence] for u in chosen))
