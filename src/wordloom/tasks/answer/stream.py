"""Training batches of questions with all, or some, of their windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wordloom.data.batch import Batch
from wordloom.data.questions import Questions
from wordloom.errors import DataError
from wordloom.tasks.answer.task import Reader
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.windows import Ints


class AnswerStream(EpochStream):
    """A pure function of (seed, step): ``batch`` questions a step, of similar length (`Epochs`).

    Questions from which nothing can be learned are left out: no window holds a right answer whole. ``left_out``: how
    many. Raises DataError where none is left.
    """

    def __init__(self, task: Reader, examples: Questions, *, batch: int, seed: int):
        self.task, self.seed = task, seed
        self.windows = task.windows(examples.asked)
        self.targets = task.targets(self.windows, examples)
        self.places = examples.places
        self.learnt = np.flatnonzero(self.targets.reachable)
        self.left_out = len(examples) - len(self.learnt)
        if not len(self.learnt):
            cure = "check the answers' offsets, or raise train.length"
            raise DataError("no right answer stands whole in a window", where=examples.places[0], cure=cure)
        self.holds = np.isin(np.arange(len(self.windows.sizes)), self.targets.right[:, 0])  # (W,) a right answer
        counts = self.windows.windows.counts
        drawn = counts if task.config.max_windows is None else np.minimum(counts, task.config.max_windows)
        sizes: Ints = self.windows.windows.example_tokens * drawn // counts  # tokens of a visit
        self.epochs = Epochs(sizes[self.learnt], batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        """``parts`` batches of whole questions with nearly equal tokens. Raises ConfigError for too many parts."""
        chosen, groups = self.epochs.parts(step, parts)
        questions = self.learnt[chosen]
        rng = np.random.default_rng((self.seed, step, 1))
        drawn = [self._draw(int(e), rng) for e in questions]
        batches = []
        for group in groups:
            # the batch numbers questions in the order of the file
            order = group[np.argsort(questions[group], kind="stable")]
            batch = self.task.batch(self.windows, np.concatenate([drawn[i] for i in order]), self.targets)
            batches.append(replace(batch, ids=tuple(self.places[questions[i]] for i in order)))
        return batches

    def _draw(self, question: int, rng: np.random.Generator) -> Ints:
        """Numbers of its windows, in the order of the text; of too many, one with a right answer and a fresh choice of
        the others at every visit (Clark & Gardner 2018, section 4.3, sample the paragraphs of a document so)."""
        first = self.windows.windows.first
        numbers = np.arange(first[question], first[question + 1])
        limit = self.task.config.max_windows
        if limit is None or len(numbers) <= limit:
            return numbers
        right = numbers[self.holds[numbers]]
        kept = rng.choice(right, 1) if len(right) else right
        others = np.setdiff1d(numbers, kept)
        return np.sort(np.concatenate([kept, rng.choice(others, limit - len(kept), replace=False)]))
