"""Tagging: labelled spans of a text, or a label for every word.

Devlin et al. 2019, section 5.3: a word's label is read off the state of its first piece. A long text is cut into
windows that overlap; every word is scored once, in the window where it has most context on both sides, and decoded
over the whole text. A window is one example of training: with a CRF, whose sequences are whole texts when it decodes,
training sees the part of a long text that its window scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.config import TagConfig, make
from wordloom.data.batch import Batch
from wordloom.data.tag_schemes import Scheme, tags_of
from wordloom.data.tagged import Mention, Tagged, TagInput, on_units, outermost
from wordloom.errors import BundleError, DataError
from wordloom.metrics import Tally
from wordloom.model.build import AnyArchitecture
from wordloom.model.crf import CRF, Chain
from wordloom.model.surface_head import SurfaceHead
from wordloom.model.tag_head import TagHead
from wordloom.tasks.base import restored_settings
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.tag.features import hashed
from wordloom.tasks.tag.scores import details, tallies
from wordloom.tasks.tag.spans import LabelSet, best_labels, with_scores
from wordloom.tasks.tag.windows import TagWindows, align, ranges, window
from wordloom.tasks.windows import Ints, by_budget, lay_out
from wordloom.text.tokenizer import Tokenizer
from wordloom.text.units import Units, cut_out, find_units, join_tokens, kept_whole, mostly_unspaced
from wordloom.train.job import Term, Terms

HEAD, CHAIN, SURFACE = "tag", "crf", "surface"
BUDGET = 8192  # tokens of an evaluation batch; the values do not depend on it
CUT = 0.01  # of the training spans: a rule that cuts through more of them is too coarse
PieceChoice = Literal["first", "last", "mean"]


class Tagging:
    """The task, and the loop's job once ``valid`` is given. Built by ``Tagging.fit`` or ``Tagging.restore``."""

    name = "tag"
    keeps: frozenset[str] = frozenset()

    def __init__(
        self,
        config: TagConfig,
        space: LabelSet,
        tokenizer: Tokenizer,
        *,
        length: int,
        rule: str,
        glued: bool = False,
        pieces: PieceChoice | None = None,
        valid: Tagged | None = None,
    ):
        """length: tokens of a window. rule: what raw text is cut into (`text.units`). glued: tokens given as a list are
        single characters. pieces: as the training chose; None: decided by the architecture when heads are made."""
        self.config, self.space, self.tokenizer, self.length = config, space, tokenizer, length
        self.rule, self.glued, self.budget = rule, glued, BUDGET
        self.pieces: PieceChoice = pieces or (config.pieces if config.pieces != "auto" else "first")
        self.pad_id = int(tokenizer.pad_id or 0)
        self.main = "accuracy" if self.each else "f1"
        self._rules = space.rules()
        self._valid = None if valid is None else (valid, self._records(valid))

    @classmethod
    def fit(
        cls,
        config: TagConfig,
        train: Tagged,
        tokenizer: Tokenizer,
        *,
        length: int,
        valid: Tagged | None = None,
        test: Tagged | None = None,
    ) -> Tagging:
        """The task of this training data: its types, its labels, the rule for raw text. Raises DataError where there
        is no span to learn."""
        types = tuple(sorted(train.type_counts()))
        if not types:
            raise DataError("no text has a labelled span", where=train.places[0].rpartition(":")[0],
                            cure="name the column or key of the labels with --label")  # fmt: skip
        scheme = config.scheme if config.scheme != "auto" else "each" if train.each else "bio"
        rule = config.units if config.units != "auto" else fitting_rule(train)
        return cls(config, LabelSet(scheme, types), tokenizer, length=length, rule=rule, glued=train.glued, valid=valid)

    # ------------------------------------------------------------------------------------ the task's values

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.space.names

    @property
    def each(self) -> bool:
        """Whether every word has a label of its own."""
        return self.space.scheme == "each"

    @property
    def score(self) -> tuple[str, bool]:
        return self.main, True

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        if self.config.pieces == "auto":  # in a causal model the last piece alone has seen the word
            self.pieces = "last" if arch.attention == "causal" else "first"
        heads: dict[str, nn.Module] = {HEAD: TagHead(arch, len(self.labels), self.config.dropout)}
        if self.config.crf:
            heads[CHAIN] = CRF(arch, len(self.labels))
        if self.config.features:
            heads[SURFACE] = SurfaceHead(arch, self.config.features, len(self.labels), self.config.feature_dropout)
        return heads

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "length": self.length, "rule": self.rule, "glued": self.glued,
                "pieces": self.pieces, "scheme": self.space.scheme, "types": list(self.space.types),
                "config": self.config.model_dump()}  # fmt: skip

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Tagging:
        """The task of a bundle. Raises BundleError for settings of another task or damaged ones."""
        keys = ("length", "rule", "glued", "pieces", "scheme", "types", "config")
        length, rule, glued, pieces, scheme, types, config = restored_settings(settings, "tag", keys)
        try:
            space = LabelSet(scheme, tuple(map(str, types)))
            return cls(make(TagConfig, dict(config)), space, tokenizer, length=int(length), rule=str(rule),
                       glued=bool(glued), pieces=pieces)  # fmt: skip
        except (TypeError, ValueError) as error:
            raise BundleError(f"the task's settings are damaged ({error})", cure="fine-tune again") from None

    # ---------------------------------------------------------------------------------------------- inputs

    def inputs(self, records: Tagged) -> list[TagInput]:
        return records.inputs()

    def check(self, inputs: Sequence[Any]) -> None:
        for i, given in enumerate(inputs):
            if isinstance(given, (TagInput, str)):
                continue
            if not isinstance(given, (list, tuple)) or not all(isinstance(t, str) and t.strip() for t in given):
                what = f"input {i} is neither a text nor a list of tokens"
                raise DataError(what, cure="give strings, or lists of them")

    def read(self, given: TagInput | str | Sequence[str]) -> tuple[str, Units]:
        """The text of an input and its units: its own tokens, or what the rule cuts it into."""
        if isinstance(given, TagInput):
            return given.text, self.units_of(given.text, given.units)
        if isinstance(given, str):
            return given, self.units_of(given, None)
        return join_tokens(given, self.glued)

    def units_of(self, text: str, own: Units | None) -> Units:
        return find_units(text, self.rule) if own is None else own

    def as_input(self, given: TagInput | str | Sequence[str]) -> TagInput:
        """The input with its units, and how its answer is written."""
        text, units = self.read(given)
        return TagInput(text, units, self.each)

    def windows(self, given: Sequence[tuple[str, Units]]) -> TagWindows:
        """given: (text, units)."""
        pieces = align(self.tokenizer, [text for text, _ in given], [units for _, units in given])
        found = window(self.tokenizer, pieces, length=self.length, stride=self.config.stride)
        if not self.config.features:
            return found
        return replace(found, bags=hashed([cut_out(text, units) for text, units in given], self.config.features))

    def _records(self, records: Tagged) -> tuple[TagWindows, Tensor]:
        """Windows of labelled texts and the labels (N,) of all their units."""
        given = [self.read(i) for i in records.inputs()]
        gold = [self.space.numbers(len(units), on_units(outermost(spans), units))
                for (_, units), spans in zip(given, records.spans, strict=True)]  # fmt: skip
        return self.windows(given), torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *gold]))

    # ------------------------------------------------------------------------------------- the loop's job

    def batch(self, windows: TagWindows, chosen: Ints, labels: Tensor | None = None) -> Batch:
        """A batch of the windows numbered ``chosen``.

        examples: "unit_rows" (U,), "unit_first" and "unit_last" (U,) columns of the pieces of the units that these
        windows read, "sizes" (W,) how many each reads, "begins" and "ends" (W,) whether a text begins or ends there;
        "labels" (U,) where they are given; "features" (F,) and "feature_starts" (U,) where the head reads them.
        """
        laid = lay_out(windows.windows, chosen, chosen, self.pad_id)
        units, sizes = ranges(windows.unit_starts, chosen)
        whose = torch.from_numpy(np.repeat(np.arange(len(chosen)), sizes))
        begins = laid.examples["cols"][whose]
        found = {
            "unit_rows": laid.examples["rows"][whose],
            "unit_first": begins + torch.from_numpy(windows.first[units]),
            "unit_last": begins + torch.from_numpy(windows.last[units]),
            "sizes": torch.from_numpy(sizes),
            "begins": torch.from_numpy(np.isin(windows.unit_starts[chosen], windows.texts[:-1])),
            "ends": torch.from_numpy(np.isin(windows.unit_starts[chosen + 1], windows.texts[1:])),
        }
        if windows.bags is not None:
            ids, counts = ranges(windows.bags.starts, units)
            found["features"] = torch.from_numpy(windows.bags.ids[ids].astype(np.int64))
            found["feature_starts"] = torch.from_numpy(np.cumsum(counts) - counts)
        if labels is not None:
            found["labels"] = labels[torch.from_numpy(units)]
        return replace(laid, examples=found)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {HEAD: len(batch.examples["labels"])}  # units

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """One term: minus the log-likelihood of the gold labels, counted by units."""
        emissions = self.emissions(model, batch)
        return {HEAD: Term(self._negative_log(model, emissions, batch), self.counts(batch)[HEAD])}, state

    def emissions(self, model: Any, batch: Batch) -> Tensor:
        """(U, C) logits of the units of a batch."""
        scores: Tensor = model.heads[HEAD](self._states(model, batch))
        if SURFACE not in model.heads:
            return scores
        return scores + model.heads[SURFACE](batch.examples["features"], batch.examples["feature_starts"])

    def _states(self, model: Any, batch: Batch) -> Tensor:
        """(U, D) what stands for the units of a batch."""
        hidden: Tensor = model.body(batch.tokens, batch.documents, batch.positions, batch.types)  # (B, T, D)
        e = batch.examples
        if self.pieces != "mean":
            return hidden[e["unit_rows"], e["unit_first" if self.pieces == "first" else "unit_last"]]
        sizes = e["unit_last"] - e["unit_first"] + 1
        whose = torch.repeat_interleave(sizes)  # (P,) the unit of each piece
        offset = torch.arange(len(whose), device=whose.device) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        states = hidden[e["unit_rows"][whose], e["unit_first"][whose] + offset]  # (P, D)
        sums = states.new_zeros(len(sizes), states.shape[1]).index_add(0, whose, states)
        return sums / sizes[:, None]

    def _negative_log(self, model: Any, emissions: Tensor, batch: Batch) -> Tensor:
        """() the sum over the batch's units, in float32 at least."""
        emissions = emissions if emissions.dtype is torch.float64 else emissions.float()
        labels, sizes = batch.examples["labels"], batch.examples["sizes"]
        if not len(labels):
            return emissions.sum()
        if CHAIN not in model.heads:
            return F.cross_entropy(emissions, labels, reduction="sum")
        parts = [int(n) for n in sizes if n > 0]
        padded, gold = (nn.utils.rnn.pad_sequence(list(t.split(parts)), True) for t in (emissions, labels))
        read = sizes > 0
        begins, ends = (batch.examples[name][read] for name in ("begins", "ends"))
        loss: Tensor = model.heads[CHAIN].loss(padded, gold, sizes[read], self._rules, begins, ends)
        return loss

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss a unit and scores on the validation part, independent of batch size."""
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        records, (windows, labels) = self._valid
        emissions, total = self._run(model, windows, labels)
        answers = self._answers(model, [self.read(i) for i in records.inputs()], emissions, windows)
        values = {name: tally.value for name, tally in self.tallies(records, answers).items()}
        return {"loss": total / max(1, len(labels)), **values}

    def calibrate(self, model: nn.Module) -> None:
        """Nothing is decided after training."""

    # ----------------------------------------------------------------------------------------- prediction

    def _run(self, model: nn.Module, windows: TagWindows, labels: Tensor | None = None) -> tuple[Tensor, float]:
        """Logits (N, C) float32 on the CPU of all units in text order; the sum of the losses where there are labels."""
        device, out, total = next(model.parameters()).device, torch.zeros(len(windows.first), len(self.labels)), 0.0
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for chosen in by_budget(windows.windows.lengths, self.budget):
                    batch = self.batch(windows, chosen, labels).to(device)
                    emissions = self.emissions(model, batch)
                    out[torch.from_numpy(ranges(windows.unit_starts, chosen)[0])] = emissions.float().cpu()
                    if labels is not None:
                        total += float(self._negative_log(model, emissions, batch))
        finally:
            model.train(training)
        return out, total

    def _answers(
        self, model: Any, given: Sequence[tuple[str, Units]], emissions: Tensor, windows: TagWindows
    ) -> list[list[Mention]]:
        each = list(emissions.split(np.diff(windows.texts).tolist())) if len(given) else []
        crf: Chain | None = None
        if CHAIN in model.heads:
            with torch.inference_mode():
                crf = Chain(*(part.detach().float().cpu() for part in model.heads[CHAIN].chain(self._rules)))
        paths = best_labels(each, self._rules, crf)
        return [
            [Mention(int(units[f.first, 0]), int(units[f.last - 1, 1]), f.type, f.score) for f in found]
            for (_, units), found in zip(given, with_scores(each, paths, self.space, crf), strict=True)
        ]

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> list[list[Mention]]:
        given = [self.read(i) for i in inputs]
        windows = self.windows(given)
        return self._answers(model, given, self._run(model, windows)[0], windows)

    # --------------------------------------------------------------------------------------------- scores

    def tallies(self, records: Tagged, answers: Sequence[Sequence[Mention]]) -> dict[str, Tally]:
        return tallies(records, answers, [self.read(i)[1] for i in records.inputs()], self._written)

    def details(self, records: Tagged, answers: Sequence[Sequence[Mention]]) -> dict[str, Any]:
        units = [self.read(i)[1] for i in records.inputs()]
        return details(records, answers, units, set(self.space.types))

    @property
    def _written(self) -> Scheme:
        """How labels of units are compared: as BIO, whatever the model tells apart."""
        return "each" if self.each else "bio"

    def gold(self, records: Tagged) -> list[list[Mention]]:
        return [[Mention(*span, 1.0) for span in spans] for spans in records.spans]

    def row(self, given: Any, answer: Sequence[Mention]) -> dict[str, Any]:
        text = self.read(given)[0]
        return {"text": text, "spans": [{**m._asdict(), "surface": text[m.start : m.end]} for m in answer]}

    def word_tags(self, given: Any, answer: Sequence[Mention]) -> list[tuple[str, str]]:
        """(token, tag) of every unit: BIO, or its own label where every word has one."""
        text, units = self.read(given)
        tags = tags_of(len(units), on_units([m.span for m in answer], units), self._written)
        return [(text[a:b], tag) for (a, b), tag in zip(units.tolist(), tags, strict=True)]

    def line(self, given: Any, answer: Sequence[Mention]) -> str:
        text, parts, at = self.read(given)[0], [], 0
        for m in answer:
            parts += [text[at : m.start], f"[{text[m.start : m.end]}|{m.type}]"]
            at = m.end
        return " ".join("".join([*parts, text[at:]]).split())


def fitting_rule(train: Tagged) -> str:
    """What raw text is cut into, so that it looks as the training data does.

    Files of tokens: characters where these are; else the finer or the coarser rule for words, whichever leaves more
    of the file's tokens whole (for words of Chinese: jieba). Spans by character: words, where they cut through no
    more than one span in a hundred; else characters.
    """
    if train.glued:
        return "characters"
    tokens = [t for i in train.inputs()[:2000] if i.units is not None for t in i.tokens()]
    if tokens:
        if mostly_unspaced(tokens):
            return "jieba"
        return "tokens" if kept_whole(tokens, "tokens") >= kept_whole(tokens, "words") else "words"
    spans = cut = 0
    for text, found in zip(train.documents, train.spans, strict=True):
        units = find_units(text, "words")
        starts, ends = set(units[:, 0].tolist()), set(units[:, 1].tolist())
        spans += len(found)
        cut += sum(s.start not in starts or s.end not in ends for s in found)
    return "words" if cut <= CUT * spans else "characters"


class TagStream(EpochStream):
    """Training batches as a pure function of (seed, step): ``batch`` windows a step, of similar length (`Epochs`)."""

    def __init__(self, task: Tagging, records: Tagged, *, batch: int, seed: int):
        self.task = task
        self.windows, self.labels = task._records(records)
        owner = np.repeat(np.arange(len(records)), self.windows.windows.counts)
        self.places = [records.places[i] for i in owner]
        self.read = np.flatnonzero(np.diff(self.windows.unit_starts))  # windows that score a unit at all
        self.epochs = Epochs(self.windows.windows.lengths[self.read], batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        return self.epochs.batches(step, parts, self._batch)

    def _batch(self, chosen: Ints) -> Batch:
        windows = self.read[chosen]
        names = tuple(self.places[i] for i in windows)
        return replace(self.task.batch(self.windows, windows, self.labels), ids=names)
