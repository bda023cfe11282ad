"""The task: packed equals one by one, windows pooled, batch size without effect, stream a pure function."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_tasks import build, examples, texts

from wordloom.config import ClassifyConfig
from wordloom.data.batch import Batch
from wordloom.data.examples import Examples
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.infer.predictor import Answers
from wordloom.metrics import point_scores
from wordloom.model.architecture import Architecture
from wordloom.tasks.base import Task
from wordloom.tasks.classify.task import Classify, ClassifyStream, pooled, window_logits
from wordloom.tasks.windows import lay_out
from wordloom.text.tokenizer import Tokenizer

KINDS = ["single", "multi", "regression"]


def held_out(kind: str = "single", pairs: bool = False) -> Examples:
    """Without equal texts: their logits are ties that float noise may break either way in a ranking."""
    found = examples(30, kind, pairs, seed=9)
    return found.subset([i for i, t in enumerate(found.texts) if t not in found.texts[:i]])


def fitted(tokenizer: Tokenizer, kind: str = "single", pairs: bool = False, count: int = 40, **config: object) -> tuple:
    train = examples(count, kind, pairs)
    valid = held_out(kind, pairs)
    task = Classify.fit(ClassifyConfig(**config), train, tokenizer, length=24, valid=valid)
    return task, train


def one_by_one(task: Classify, model: torch.nn.Module, train: Examples) -> torch.Tensor:
    """Logits of each window alone, unpacked and unpadded, then averaged: the definition."""
    windows = task.windows(train.texts, train.pairs)
    out = []
    for e in range(windows.examples):
        each = []
        for w in range(windows.first[e], windows.first[e + 1]):
            part = slice(windows.starts[w], windows.starts[w + 1])
            tokens = torch.from_numpy(windows.tokens[part].astype(np.int64))[None]
            types = torch.from_numpy(windows.types[part].astype(np.int64))[None]
            ones, zero = torch.ones_like(tokens), torch.zeros(1, dtype=torch.int64)
            hidden = model.body(tokens, ones, torch.arange(tokens.shape[1])[None], types)
            each.append(model.heads["classify"](hidden, zero, zero, ones))
        out.append(torch.cat(each).mean(0))
    return torch.stack(out)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("pairs", [False, True])
def test_packed_equals_one_by_one(tokenizer: Tokenizer, arch: Architecture, pooling: str, pairs: bool) -> None:
    task, train = fitted(tokenizer, pairs=pairs, pooling=pooling, stride=0.2)
    assert task.windows(train.texts, train.pairs).counts.max() > 2
    model = build(task, arch)
    with torch.no_grad():
        expected = one_by_one(task, model, train)
    assert expected.std(0).min() > 0.02  # else the test could not fail
    torch.testing.assert_close(task.logits(model, train.texts, train.pairs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_does_not_depend_on_batch_size(tokenizer: Tokenizer, arch: Architecture, kind: str) -> None:
    task, _ = fitted(tokenizer, kind)
    model = build(task, arch).train()
    found = []
    for budget in (1, 100, 10**6):
        task.budget = budget
        found.append(task.evaluate(model))
    assert model.training  # left as it was found
    assert task.score[0] in found[0]
    for other in found[1:]:
        for name, value in found[0].items():
            assert value == pytest.approx(other[name], abs=1e-5, nan_ok=True), name


def test_evaluate_equals_the_definition(tokenizer: Tokenizer, arch: Architecture) -> None:
    task, _ = fitted(tokenizer)
    model, valid = build(task, arch), held_out()
    with torch.no_grad():
        logits = one_by_one(task, model, valid)
    gold = torch.tensor([task.labels.index(label) for label in valid.labels])
    found = task.evaluate(model)
    assert found["loss"] == pytest.approx(float(F.cross_entropy(logits, gold)), abs=1e-5)
    theirs = point_scores(gold.numpy(), torch.softmax(logits, 1).numpy())
    assert found["accuracy"] == theirs["accuracy"]


def stepped(task: Classify, train: Examples, parts: int = 1, batch: int = 16, step: int = 0, seed: int = 0) -> list:
    return ClassifyStream(task, train, batch=batch, seed=seed).step(step, parts)


def test_loss_single_equals_torch(tokenizer: Tokenizer, arch: Architecture) -> None:
    task, train = fitted(tokenizer)
    model = build(task, arch)
    (batch,) = stepped(task, train, batch=40)
    terms, state = task.loss(model, batch, None)
    logits = one_by_one(task, model, train)
    gold = torch.tensor([task.labels.index(label) for label in train.labels])
    torch.testing.assert_close(terms["classify"].sum, F.cross_entropy(logits, gold, reduction="sum"), atol=1e-4, rtol=0)
    assert (terms["classify"].count, state) == (40, None)
    assert task.counts(batch) == {"classify": 40}


def test_loss_multi_and_regression_equal_torch(tokenizer: Tokenizer, arch: Architecture) -> None:
    task, train = fitted(tokenizer, "multi", class_weights="balanced")
    model = build(task, arch)
    (batch,) = stepped(task, train, batch=40)
    gold = torch.tensor([[float(n in row) for n in "xyz"] for row in train.labels])
    weight = (40 - gold.sum(0)) / gold.sum(0)
    expected = F.binary_cross_entropy_with_logits(
        one_by_one(task, model, train), gold, pos_weight=weight, reduction="sum"
    )
    term = task.loss(model, batch)[0]["classify"]
    torch.testing.assert_close(term.sum, expected, atol=1e-3, rtol=0)
    assert term.count == 40 * 3

    task, train = fitted(tokenizer, "regression")
    model = build(task, arch)
    (batch,) = stepped(task, train, batch=40)
    values = np.array(train.labels)
    gold = torch.tensor((values - values.mean()) / values.std(), dtype=torch.float32)
    expected = F.mse_loss(one_by_one(task, model, train)[:, 0], gold, reduction="sum")
    torch.testing.assert_close(task.loss(model, batch)[0]["classify"].sum, expected, atol=1e-4, rtol=0)
    inverse = task.probabilities(torch.tensor([[0.0], [1.0]]))
    np.testing.assert_allclose(inverse, [values.mean(), values.mean() + values.std()], rtol=1e-6)


def test_balanced_weights_make_the_epoch_the_weighted_objective(tokenizer: Tokenizer, arch: Architecture) -> None:
    """Sums over an epoch divided by examples = torch's weighted mean over the whole training set."""
    task, train = fitted(tokenizer, class_weights="balanced", count=41)
    assert task.score == ("macro_f1", True)
    model = build(task, arch)
    stream = ClassifyStream(task, train, batch=7, seed=0)
    with torch.no_grad():
        terms = [task.loss(model, b)[0]["classify"] for s in range(stream.steps_per_epoch) for b in stream.step(s, 2)]
        logits = one_by_one(task, model, train)
    gold = torch.tensor([task.labels.index(label) for label in train.labels])
    weight = len(gold) / (3 * torch.bincount(gold, minlength=3))
    total = sum(float(t.sum) for t in terms) / sum(t.count for t in terms)
    assert total == pytest.approx(float(F.cross_entropy(logits, gold, weight=weight)), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_does_not_change_the_gradient(tokenizer: Tokenizer, arch: Architecture, kind: str) -> None:
    task, train = fitted(tokenizer, kind, class_weights="balanced")
    gradients = []
    for parts in (1, 2, 8):
        model = build(task, replace(arch, dropout=0.0, attention_dropout=0.0))
        batches = stepped(task, train, parts)
        count = sum(task.counts(b)["classify"] for b in batches)
        for batch in batches:
            (task.loss(model, batch)[0]["classify"].sum / count).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-4, atol=1e-5)


def contents(batches: list[Batch]) -> list[tuple]:
    """(name, label, its windows' tokens) of every example, sorted: what a step holds however it is divided."""
    out = []
    for b in batches:
        for e, name in enumerate(b.ids):
            windows = []
            for w in (b.examples["example"] == e).nonzero()[:, 0]:
                row, col = int(b.examples["rows"][w]), int(b.examples["cols"][w])
                inside = b.documents[row] == b.documents[row, col]
                windows.append(tuple(b.tokens[row][inside].tolist()))
            out.append((name, int(b.examples["labels"][e]), tuple(windows)))
    return sorted(out)


@pytest.mark.parametrize("limit", [None, 1])
def test_union_of_the_parts_does_not_depend_on_their_number(tokenizer: Tokenizer, limit: int | None) -> None:
    task, train = fitted(tokenizer, max_windows=limit, count=50)
    stream = ClassifyStream(task, train, batch=12, seed=3)
    for step in (0, 3, 7):
        whole = contents(stream.step(step, 1))
        assert len(whole) in (10, 11, 12)
        for parts in (2, 5, len(whole)):
            batches = stream.step(step, parts)
            assert len(batches) == parts
            assert contents(batches) == whole
            assert all(len(b.examples["labels"]) for b in batches)
    loads = [b.real_tokens for b in stream.step(0, 2)]
    assert max(loads) / min(loads) < 1.5
    with pytest.raises(ConfigError, match="cannot be split"):
        stream.step(0, 13)


def test_stream_is_a_function_of_seed_and_step(tokenizer: Tokenizer) -> None:
    task, train = fitted(tokenizer, max_windows=1, count=50)
    stream = ClassifyStream(task, train, batch=12, seed=3)
    ahead = [contents(stream.step(s, 1)) for s in range(12)]
    assert [contents(stepped(task, train, 1, 12, s, 3)) for s in (11, 4, 0)] == [ahead[11], ahead[4], ahead[0]]
    assert contents(stepped(task, train, 1, 12, 0, 4)) != ahead[0]
    assert stream.steps_per_epoch == 5
    for epoch in (ahead[:5], ahead[5:10]):  # every example once per epoch
        assert sorted(e[0] for step in epoch for e in step) == sorted(train.places)
    assert {frozenset(e[0] for e in s) for s in ahead[:5]} != {frozenset(e[0] for e in s) for s in ahead[5:10]}
    first = {e[0]: e[2] for step in ahead[:5] for e in step}
    second = {e[0]: e[2] for step in ahead[5:10] for e in step}
    assert all(len(w) == 1 for w in first.values())
    assert first != second  # a long text shows another of its windows at the next visit


def test_batches_group_similar_lengths(tokenizer: Tokenizer) -> None:
    task, train = fitted(tokenizer, count=40)
    train = replace(train, texts=texts(2000, longest=20), labels=["neg", "pos"] * 1000, places=["x:1"] * 2000)
    stream = ClassifyStream(task, train, batch=20, seed=0)
    sizes = stream.windows.example_tokens
    spread = np.mean([sizes[b].std() for b in stream.epochs.plan(0)])
    assert spread < 0.15 * sizes.std()
    means = np.array([sizes[b].mean() for b in stream.epochs.plan(0)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2  # and short batches do not come first
    full = [b.real_tokens / b.tokens.numel() for s in range(100) for b in stream.step(s, 1)]
    assert np.mean(full) > 0.8


def test_training_draw_keeps_text_order(tokenizer: Tokenizer) -> None:
    task, train = fitted(tokenizer, max_windows=2)
    (batch,) = stepped(task, train, batch=40)
    counts = torch.bincount(batch.examples["example"])
    expected = np.minimum(task.windows(train.texts).counts, 2)
    assert sorted(counts.tolist()) == sorted(expected.tolist())


def test_pooled_is_the_mean_per_example() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 0.0]])
    assert pooled(logits, torch.tensor([0, 0, 1]), 2).tolist() == [[2.0, 3.0], [10.0, 0.0]]


def test_windows_do_not_see_each_other(tokenizer: Tokenizer, arch: Architecture) -> None:
    """Another text beside it in the row leaves a window's logits as they are."""
    task, _ = fitted(tokenizer)
    model = build(task, arch)
    logits = []
    for other in ("bad dull grim", "good warm great"):
        windows = task.windows(["the film was fine and very bright", other])
        batch = lay_out(windows, np.array([0, 1]), np.array([0, 1]), task.pad_id)
        assert batch.rows == 1
        with torch.no_grad():
            logits.append(window_logits(model, batch))
    torch.testing.assert_close(logits[0][0], logits[1][0], rtol=0, atol=1e-6)
    assert (logits[0][1] - logits[1][1]).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_settings_rebuild_the_task(tokenizer: Tokenizer, arch: Architecture, kind: str) -> None:
    task, train = fitted(tokenizer, kind, class_weights="balanced", stride=0.25)
    model = build(task, arch)
    assert task.calibrate(model) == task.temperature
    assert (task.temperature != 1) == (kind != "regression")
    again = Classify.restore(task.settings(), tokenizer)
    logits = task.logits(model, train.texts)
    assert torch.equal(again.logits(model, train.texts), logits)
    np.testing.assert_array_equal(again.probabilities(logits), task.probabilities(logits))
    assert (again.labels, again.kind, again.score) == (task.labels, task.kind, task.score)
    assert again.decode(again.probabilities(logits)) == task.decode(task.probabilities(logits))


def test_contracts_are_met(tokenizer: Tokenizer) -> None:
    task, _ = fitted(tokenizer)
    contract: Task = task
    answers: Answers = task
    assert contract is answers


def test_no_texts_give_no_logits(tokenizer: Tokenizer, arch: Architecture) -> None:
    task, _ = fitted(tokenizer)
    assert task.logits(build(task, arch), []).shape == (0, 3)


def test_errors(tokenizer: Tokenizer) -> None:
    task, train = fitted(tokenizer)
    with pytest.raises(DataError, match=r"^a.csv:2: label 'odd' does not occur in the training data"):
        task.targets(train.subset([0]).__class__(["t"], ["odd"], ["a.csv:2"]))
    with pytest.raises(DataError, match="only the label 'a' occurs"):
        Classify.fit(ClassifyConfig(), Examples(["t", "u"], ["a", "a"], ["f:1", "f:2"]), tokenizer, length=16)
    with pytest.raises(DataError, match="every label is 2"):
        Classify.fit(
            ClassifyConfig(), Examples(["t", "u"], [2.0, 2.0], ["f:1", "f:2"], None, "regression"), tokenizer, length=16
        )
    with pytest.raises(BundleError, match="holds the task 'tag'"):
        Classify.restore({"name": "tag"}, tokenizer)
    damaged = task.settings()
    del damaged["temperature"]
    with pytest.raises(BundleError, match="damaged"):
        Classify.restore(damaged, tokenizer)
