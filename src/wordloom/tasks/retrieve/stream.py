"""Training batches of a bi-encoder: queries, their documents, and which of these must not count as wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from wordloom.data.batch import Batch
from wordloom.data.collection import Collection
from wordloom.errors import ConfigError, DataError
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.retrieve.lexical import hard_negatives
from wordloom.tasks.retrieve.task import Retrieve
from wordloom.tasks.windows import lay_out
from wordloom.text.sentences import sentence_starts

KEPT = 0.1  # share of the visits in which the drawn sentence stays in its document too (Lee et al. 2019, section 9.1)


@dataclass(frozen=True)
class Group:
    """n queries and m documents; document i is right for query i. numbers: of the collection's documents, (m,)."""

    queries: list[str]
    documents: list[str]
    numbers: list[int]


class RetrieveStream(EpochStream):
    """``batch`` examples a step (`Epochs`), always whole: the loss of a query reads every document of its batch.

    An example is a query with a relevant document ("pairs"), or a document ("cloze", "simcse").
    """

    @property
    def smallest_step(self) -> int:
        """A step is one micro-batch: in-batch negatives cannot be divided."""
        return 1

    def __init__(self, task: Retrieve, records: Collection, *, batch: int, seed: int):
        """Raises DataError where nothing can be learned: no relevant document, fewer than two examples."""
        self.task, self.records, self.seed = task, records, seed
        self.method = task.config.method
        positives = [records.positives(i) for i in range(len(records))]
        if self.method == "pairs":
            self.examples = [i for i, found in enumerate(positives) if found]
            self.positives = {i: positives[i] for i in self.examples}
            self.hard = hard_negatives(records, task.config)
            sizes = [len(records.documents[positives[i][0]].full) for i in self.examples]
        else:
            whole = records.rows.values() if records.judged else (n for found in positives for n in found)
            self.examples = list(dict.fromkeys(whole))
            sizes = [len(records.documents[n].full) for n in self.examples]
        if len(self.examples) < 2:
            raise DataError(f"{len(self.examples)} examples to learn from", cure="give two queries or texts, or more")
        self.epochs = Epochs(np.array(sizes, np.int64), batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        """The one batch of a step. Raises ConfigError for more parts than one."""
        if parts != 1:
            raise ConfigError("a batch with in-batch negatives cannot be divided", where="train.batch",
                              cure="lower train.batch or train.length, and use one process")  # fmt: skip
        chosen = [self.examples[i] for i in self.epochs.chosen(step)]
        rng = np.random.default_rng((self.seed, step, 1))
        group = {"pairs": self._pairs, "cloze": self._cloze, "simcse": self._simcse}[self.method](chosen, rng)
        return [self._lay(group, self._excluded(chosen, group.numbers), chosen)]

    def _pairs(self, chosen: list[int], rng: np.random.Generator) -> Group:
        """A relevant document of each query, then ``negatives`` hard ones of each."""
        right = [int(rng.choice(self.positives[q])) for q in chosen]
        wrong: list[int] = []
        for q in chosen:
            count = min(self.task.config.negatives, len(self.hard[q]))
            wrong += [int(n) for n in rng.choice(self.hard[q], count, replace=False)] if count else []
        numbers = right + list(dict.fromkeys(n for n in wrong if n not in right))
        documents = [self.records.documents[n].full for n in numbers]
        return Group([self.records.queries[q] for q in chosen], documents, numbers)

    def _cloze(self, chosen: list[int], rng: np.random.Generator) -> Group:
        """A sentence of each document, and the document without it (Lee et al. 2019, section 5)."""
        drawn = [draw_sentence(self.records.documents[n].full, rng) for n in chosen]
        return Group([query for query, _ in drawn], [rest for _, rest in drawn], chosen)

    def _simcse(self, chosen: list[int], rng: np.random.Generator) -> Group:
        """Each text twice: dropout makes the two different (Gao et al. 2021, section 3)."""
        texts = [self.records.documents[n].full for n in chosen]
        return Group(texts, texts, chosen)

    def _excluded(self, chosen: list[int], numbers: list[int]) -> NDArray[np.bool_]:
        """(n, m) True where document j is right for query i though it is not document i."""
        columns = np.array(numbers)
        excluded = np.zeros((len(chosen), len(numbers)), np.bool_)
        for i, example in enumerate(chosen):
            right: Sequence[int] = self.positives[example] if self.method == "pairs" else [example]
            excluded[i] = np.isin(columns, right)
            excluded[i, i] = False
        return excluded

    def _lay(self, group: Group, excluded: NDArray[np.bool_], chosen: list[int]) -> Batch:
        task, config = self.task, self.task.config
        before = config.document_prefix if self.method == "simcse" else config.query_prefix
        windows = task.windows(
            [before + q for q in group.queries] + [config.document_prefix + d for d in group.documents]
        )
        owner = np.repeat(np.arange(windows.examples), windows.counts)
        batch = lay_out(windows, np.arange(len(owner)), owner, task.pad_id)
        documents = self.records.documents
        places = (self.records.places[e] if self.method == "pairs" else documents[e].place for e in chosen)
        return replace(
            batch, examples={**batch.examples, "excluded": torch.from_numpy(excluded)}, ids=tuple(places)
        )  # fmt: skip


def draw_sentence(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """(a sentence of the text, the text without it, or with it in one visit of ten); of a single sentence one half of
    its words, and the other."""
    edges = [0, *sentence_starts(text).tolist(), len(text)]
    if len(edges) == 2:
        words = text.split()
        half = max(1, len(words) // 2)
        first, second = " ".join(words[:half]), " ".join(words[half:]) or text
        return (first, second) if rng.random() < 0.5 else (second, first)
    i = int(rng.integers(len(edges) - 1))
    sentence = text[edges[i] : edges[i + 1]].strip()
    rest = text if rng.random() < KEPT else f"{text[: edges[i]]} {text[edges[i + 1] :]}".strip()
    return sentence, rest
