"""Questions about short texts of a few words, and tiny readers of them."""

import numpy as np
import torch
from tiny_tasks import WORDS

from wordloom.config import AnswerConfig
from wordloom.data.questions import Question, Questions, Span
from wordloom.model.build import make_body
from wordloom.model.model import Model
from wordloom.tasks.answer.task import Reader
from wordloom.text.tokenizer import Tokenizer


def questions(count: int, seed: int = 0, longest: int = 60, silent: float = 0.25) -> Questions:
    """Contexts of 5 to ``longest`` words; a right answer is a run of one to three of them, sometimes two are."""
    rng = np.random.default_rng(seed)
    asked, answers = [], []
    for i in range(count):
        words = list(rng.choice(WORDS, int(rng.integers(5, longest))))
        context = " ".join(words)
        spans = []
        for _ in range(0 if rng.random() < silent else int(rng.integers(1, 3))):
            a = int(rng.integers(len(words)))
            b = min(len(words), a + int(rng.integers(1, 4)))
            spans.append(Span(" ".join(words[a:b]), len(" ".join(words[:a])) + (a > 0)))
        asked.append(Question(" ".join(rng.choice(WORDS, int(rng.integers(1, 6)))), context, str(i)))
        answers.append(tuple(spans))
    return Questions(asked, answers, [f"a.json: article, paragraph {i}/{i}" for i in range(count)])


def reader(tokenizer: Tokenizer, records: Questions, length: int = 32, valid: bool = True, **values) -> Reader:
    config = AnswerConfig(**values)
    return Reader.fit(config, records, tokenizer, length=length, valid=records if valid else None)


def build(task: Reader, arch, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(make_body(arch), task.heads(arch)).eval()
