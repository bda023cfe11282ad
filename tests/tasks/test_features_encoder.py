"""Frozen encoder: the features are the definition's, and the head that is saved is the linear classifier on them."""

import numpy as np
import pytest
import torch
from tiny_tasks import build, examples

from wordloom.config import ClassifyConfig
from wordloom.model.architecture import Architecture
from wordloom.tasks.classify.features_encoder import encode, put_into_head
from wordloom.tasks.classify.linear import fit_linear
from wordloom.tasks.classify.task import Classify
from wordloom.text.tokenizer import Tokenizer


def fitted(tokenizer: Tokenizer, arch: Architecture, kind: str, pairs: bool = False, pooling: str = "mean") -> tuple:
    train = examples(40, kind, pairs)
    config = ClassifyConfig(pooling=pooling)
    task = Classify.fit(config, train, tokenizer, length=24, valid=examples(30, kind, pairs, seed=9))
    return task, build(task, arch), train


@pytest.mark.parametrize("pairs", [False, True])
def test_features_are_means_of_means(tokenizer: Tokenizer, arch: Architecture, pairs: bool) -> None:
    """Each window alone, unpacked: the mean of its last states; of a text's windows, the mean."""
    task, model, train = fitted(tokenizer, arch, "single", pairs)
    windows = task.windows(train.texts, train.pairs)
    assert windows.counts.max() > 2
    expected = []
    for e in range(windows.examples):
        each = []
        for w in range(windows.first[e], windows.first[e + 1]):
            part = slice(windows.starts[w], windows.starts[w + 1])
            tokens = torch.from_numpy(windows.tokens[part].astype(np.int64))[None]
            types = torch.from_numpy(windows.types[part].astype(np.int64))[None]
            with torch.no_grad():
                hidden = model.body(tokens, torch.ones_like(tokens), torch.arange(tokens.shape[1])[None], types)
            each.append(hidden[0].mean(0).numpy())
        expected.append(np.mean(each, 0))
    np.testing.assert_allclose(encode(task, model, train.texts, train.pairs), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_the_linear_classifier(tokenizer: Tokenizer, arch: Architecture, kind: str, classes: int) -> None:
    task, model, train = fitted(tokenizer, arch, kind)
    if kind == "single" and classes == 2:
        keep = [i for i, label in enumerate(train.labels) if label != "neutral"]
        train = train.subset(keep)
        task = Classify.fit(ClassifyConfig(pooling="mean"), train, tokenizer, length=24)
        model = build(task, arch)
    x = encode(task, model, train.texts)
    linear = fit_linear(x, task.space.targets(train.labels), task.space, fixed=0.1)
    put_into_head(model, linear)
    got = task.probabilities(task.logits(model, train.texts))
    np.testing.assert_allclose(got, linear.probabilities(x), atol=2e-4 if kind != "regression" else 2e-3)


def test_pooling_must_be_the_mean(tokenizer: Tokenizer, arch: Architecture) -> None:
    task, model, train = fitted(tokenizer, arch, "single", pooling="cls")
    linear = fit_linear(encode(task, model, train.texts), task.space.targets(train.labels), task.space)
    with pytest.raises(ValueError, match="pooling"):
        put_into_head(model, linear)
