"""Running a model of semantic role labelling over sentences, and what it says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.config import RolesConfig
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.frames import Frame, Sentence
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture
from wordloom.model.recurrent import RecurrentArchitecture
from wordloom.model.roles_head import RolesHead
from wordloom.tasks.roles.answers import Answer, Asked
from wordloom.tasks.roles.decode import arguments_of, best_tags
from wordloom.tasks.roles.units import Pieces, Style, Target, Units, make_batch, make_units, units_of
from wordloom.tasks.windows import Ints, by_budget

if TYPE_CHECKING:
    from wordloom.tasks.roles.task import Roles

HEAD = "roles"
Places = Sequence[Sequence[int]]  # of each sentence the words that are asked about as predicates


class Outputs(NamedTuple):
    """Logits of predicates (N',), tags (M, K) and senses (P, C), as `roles_units.make_batch` numbers them."""

    predicates: Tensor
    tags: Tensor
    senses: Tensor


def style_of(config: RolesConfig, arch: AnyArchitecture) -> Style:
    """How this architecture is told the predicate. Raises ConfigError where it cannot read the one asked for."""
    attends = not isinstance(arch, RecurrentArchitecture) and arch.attention == "full"
    if config.encoding == "sentence" or (config.encoding == "auto" and not attends):
        return "sentence"
    if not attends:
        what = "a predicate can be marked in the input only of a Transformer that sees the whole sentence"
        raise ConfigError(what, where="task.encoding", cure='use "sentence" or "auto"')
    return "types" if getattr(arch, "types", 0) > 1 else "separators"


def outputs(model: nn.Module, batch: Batch) -> Outputs:
    """float32 (float64 where the model is) logits of a batch of units."""
    e = batch.examples
    hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types)  # type: ignore[operator]  # (B, T, D)
    words = hidden[e["word_rows"], e["word_cols"]]  # (N, D)
    head: RolesHead = model.heads[HEAD]  # type: ignore[index, assignment]
    owned = words[e["frame_words"]]  # (M, D)
    tags, senses = head.frames(owned, e["frame"], e["predicates"], e["candidates"])
    found = (head.predicates(words[e["plain"]]), tags, senses)
    return Outputs(*(x if x.dtype == torch.float64 else x.float() for x in found))


def best_threshold(said: NDArray[np.float32], gold: Ints) -> float:
    """said, gold (N,): the threshold in the middle of the widest choice between two words at the best F1."""
    order = np.argsort(-said, kind="stable")
    hits, values = np.cumsum(gold[order]), said[order].astype(np.float64)
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + gold.sum()) if len(order) else np.zeros(0)
    f1[:-1][values[1:] == values[:-1]] = -1  # a threshold cannot part equal probabilities
    if not len(order) or f1.max() <= 0:
        return 0.5
    k = int(f1.argmax())
    return float((values[k] + (values[k + 1] if k + 1 < len(values) else 0.0)) / 2)


class Reader:
    """Runs the model over sentences, batch by batch, and keeps what it says: see ``Roles.predict``.

    sentences: given, their labels count towards ``sums``: name of a loss -> (sum, count).
    """

    def __init__(
        self, task: Roles, model: nn.Module, asked: Sequence[Asked], pieces: Sequence[Pieces],
        sentences: Sequence[Sentence] | None = None,
    ):  # fmt: skip
        self.task, self.model, self.asked, self.pieces, self.sentences = task, model, asked, pieces, sentences
        self.lemmas = [dict(a.predicates or ()) for a in asked]
        self.probabilities: dict[int, NDArray[np.float32]] = {}  # sentence -> (W,)
        self.frames: dict[tuple[int, int], Frame] = {}
        self.sums: dict[str, tuple[float, int]] = {}

    def read(self, places: Places, plain: bool = False) -> None:
        """The frames of these predicates, and, where ``plain``, which words are predicates."""
        task, model = self.task, self.model
        style = style_of(task.config, model.arch)  # type: ignore[arg-type]
        listed = units_of(places, style, plain)
        units = make_units(task.tokenizer, self.pieces, listed, style, task.length)
        targets = [[self._target(u.sentence, p) for p in u.predicates] for u in listed]
        gold = [is_predicate(s) for s in self.sentences] if self.sentences is not None else self._no_gold()
        device = next(model.parameters()).device
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for chosen in by_budget(units.sizes, task.budget):
                    batch = make_batch(units, chosen, task.pad_id, targets, gold).to(device)
                    self._keep(units, chosen, outputs(model, batch), batch)
        finally:
            model.train(training)

    def _no_gold(self) -> list[Ints]:
        return [np.zeros(len(a.words), np.int64) for a in self.asked]

    def _target(self, sentence: int, place: int) -> Target:
        words = self.asked[sentence].words
        if self.sentences is not None:
            for frame in self.sentences[sentence].frames:
                if frame.index == place:
                    return self.task.target(len(words), frame)
        lemma = self._lemma(sentence, place)
        return Target(np.full(len(words), IGNORE, np.int64), self.task.lexicon.numbers(lemma), IGNORE)

    def _lemma(self, sentence: int, place: int) -> str:
        given = self.lemmas[sentence].get(place)
        return self.task.lexicon.lemma(self.asked[sentence].words[place]) if given is None else given

    def _keep(self, units: Units, chosen: Ints, found: Outputs, batch: Batch) -> None:
        lexicon, own = self.task.lexicon, [units.units[u] for u in chosen]
        plain = [u.sentence for u in own if u.plain]
        said = torch.sigmoid(found.predicates).cpu().numpy()
        sizes = [len(self.asked[s].words) for s in plain]
        self.probabilities |= dict(zip(plain, np.split(said, np.cumsum(sizes)[:-1]), strict=True)) if plain else {}
        keys = [(u.sentence, p) for u in own for p in u.predicates]
        if keys:
            scores = found.tags.log_softmax(-1).cpu().numpy()
            edges = np.cumsum([len(self.asked[s].words) for s, _ in keys])[:-1]
            senses = found.senses.argmax(-1).tolist()
            for (s, p), tags, k in zip(keys, best_tags(np.split(scores, edges)), senses, strict=True):
                lemma = self._lemma(s, p)
                sense = lexicon.candidates(lemma)[k if lexicon.numbers(lemma) else 0]
                self.frames[s, p] = Frame(p, lemma, sense, arguments_of(tags, lexicon.labels))
        if self.sentences is not None:
            for name, term in self.task.terms(found, batch).items():
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = total + float(term.sum), count + term.count

    def found(self) -> list[list[int]]:
        """The words of each sentence that are predicates."""
        limit = self.task.threshold
        return [np.flatnonzero(self.probabilities[i] > limit).tolist() for i in range(len(self.asked))]

    def answers(self) -> list[Answer]:
        """A predicate that was found but not read has no arguments here."""
        gold, out = self.task.config.predicates == "gold", []
        for i, (asked, places) in enumerate(zip(self.asked, self.found(), strict=True)):
            found = tuple(self.frames.get((i, p), Frame(p, self._lemma(i, p), "")) for p in places)
            given = None
            if asked.predicates is not None:
                given = tuple(self.frames[i, p] for p, _ in asked.predicates)
            # where the predicates are said and there is nothing to compare with, they are what is meant
            use_given = given is not None and (gold or asked.source is None)
            out.append(Answer(asked.words, given if use_given and given is not None else found, found, given))
        return out


def is_predicate(sentence: Sentence) -> Ints:
    """(W,) 1 at predicates."""
    out = np.zeros(len(sentence.words), np.int64)
    out[[f.index for f in sentence.frames]] = 1
    return out
