"""Tiny examples and a tiny model: enough to see every rule, quick enough to run always."""

import numpy as np
import torch

from wordloom.data.examples import Examples
from wordloom.model.architecture import Architecture
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.tasks.classify.task import Classify

WORDS = (
    *("good", "fine", "great", "warm", "bright", "bad", "poor", "cold", "dull", "grim"),
    *("the", "film", "was", "and", "very", "plot", "with", "actor", "a", "scene"),
)


def texts(count: int, seed: int = 0, longest: int = 60) -> list[str]:
    """Seeded texts of 0 to ``longest`` words, short ones more often."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(longest * rng.random() ** 2))) for _ in range(count)]


def examples(count: int, kind: str = "single", pairs: bool = False, seed: int = 0, longest: int = 60) -> Examples:
    rng = np.random.default_rng(seed + 1)
    labels = {
        "single": [str(rng.choice(["neg", "neutral", "pos"])) for _ in range(count)],
        "multi": [[n for n in ("x", "y", "z") if rng.random() < 0.4] for _ in range(count)],
        "regression": [float(v) for v in rng.normal(10, 5, count)],
    }[kind]
    second = texts(count, seed + 2, longest) if pairs else None
    return Examples(texts(count, seed, longest), labels, [f"a.csv:{i + 2}" for i in range(count)], second, kind)


def build(task: Classify, arch: Architecture, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(Transformer(arch), task.heads(arch)).eval()
