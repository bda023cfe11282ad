"""The baseline is scikit-learn's own pipeline, and what is loaded predicts the same bits."""

import json

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from tiny_tasks import examples

from wordloom.data.examples import Examples
from wordloom.errors import BundleError, DataError
from wordloom.tasks.classify.baseline import Baseline, fit_baseline
from wordloom.tasks.classify.features import unspaced
from wordloom.tasks.classify.labels import LabelSpace
from wordloom.tasks.classify.linear import FIXED, GRID


def meaningful(count: int, seed: int = 0, names: tuple[str, ...] = ("neg", "pos")) -> Examples:
    """Texts whose words tell the label nine times of ten."""
    rng = np.random.default_rng(seed)
    cues = {"neg": ["bad", "dull"], "pos": ["good", "fine"], "meh": ["so", "average"]}
    labels = [str(rng.choice(names)) for _ in range(count)]
    filler = ["the", "film", "was", "plot", "a", "scene"]
    texts = []
    for label in labels:
        cue = label if rng.random() < 0.9 else str(rng.choice(names))
        texts.append(" ".join([*rng.choice(filler, 6), rng.choice(cues[cue]), *rng.choice(filler, 3)]))
    return Examples(texts, labels, [f"x:{i}" for i in range(count)])


def vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)


@pytest.mark.parametrize("names", [("neg", "pos"), ("neg", "meh", "pos")])
def test_equals_the_pipeline_of_scikit_learn(names: tuple[str, ...]) -> None:
    train, test = meaningful(200, names=names), meaningful(60, 1, names)
    ours = fit_baseline(train)
    theirs = vectorizer()
    model = LogisticRegression(C=FIXED, max_iter=200).fit(theirs.fit_transform(train.texts), train.labels)
    expected = model.predict_proba(theirs.transform(test.texts))[:, np.argsort(np.argsort(ours.space.names))]
    np.testing.assert_allclose(ours.predict_proba(test.texts), expected, atol=1e-9)
    assert ours.evaluate(test)["accuracy"].value > 0.8


def test_penalty_is_the_best_on_validation() -> None:
    train, valid = meaningful(120), meaningful(80, 1)
    chosen = fit_baseline(train, valid=valid)
    theirs = vectorizer()
    x, held = theirs.fit_transform(train.texts), theirs.transform(valid.texts)
    accuracy = [LogisticRegression(C=c, max_iter=200).fit(x, train.labels).score(held, valid.labels) for c in GRID]
    assert chosen.penalty == GRID[int(np.argmax(accuracy))]
    assert chosen.evaluate(valid)["accuracy"].value == max(accuracy)


def test_multi_label_is_one_versus_rest() -> None:
    train = examples(80, "multi")
    train = Examples(train.texts, [[*row, "always"] for row in train.labels], train.places, None, "multi")
    baseline = fit_baseline(train)
    theirs = vectorizer()
    x = theirs.fit_transform(train.texts)
    y = [int("x" in row) for row in train.labels]
    expected = LogisticRegression(C=FIXED, max_iter=200).fit(x, y).predict_proba(x)[:, 1]
    column = baseline.space.names.index("x")
    np.testing.assert_allclose(baseline.predict_proba(train.texts)[:, column], expected, atol=1e-9)
    always = baseline.predict_proba(["anything"])[0, baseline.space.names.index("always")]
    assert always == pytest.approx(80.5 / 81)


def test_regression_is_ridge() -> None:
    train = examples(80, "regression", longest=20)
    theirs = vectorizer()
    x = theirs.fit_transform(train.texts)
    expected = Ridge(alpha=1 / FIXED, tol=1e-8).fit(x, train.labels).predict(x)
    np.testing.assert_allclose(fit_baseline(train).predict_proba(train.texts), expected, atol=0.02)


def test_pairs_tell_the_sides_apart() -> None:
    rng = np.random.default_rng(0)
    first = [str(rng.choice(["good", "bad"])) for _ in range(200)]
    second = [str(rng.choice(["good", "bad"])) for _ in range(200)]
    train = Examples(first, first, [f"x:{i}" for i in range(200)], second)
    baseline = fit_baseline(train)
    assert baseline.predict(["good", "bad"], ["bad", "good"]) == ["good", "bad"]
    with pytest.raises(DataError, match="trained on pairs"):
        baseline.predict(["good"])


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
@pytest.mark.parametrize("features", ["word", "word+char"])
def test_loaded_predicts_the_same_bits(tmp_path, kind: str, features: str) -> None:
    train = examples(60, kind, pairs=kind == "multi", longest=20)
    baseline = fit_baseline(train, features=features)
    baseline.save(tmp_path / "b")
    again = Baseline.load(tmp_path / "b")
    np.testing.assert_array_equal(
        again.predict_proba(train.texts, train.pairs), baseline.predict_proba(train.texts, train.pairs)
    )
    assert (again.space, again.penalty, again.features) == (baseline.space, baseline.penalty, features)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["baseline.json", "baseline.safetensors"]


def test_chinese_takes_characters() -> None:
    assert unspaced(["这部电影很好看", "not this"])
    assert not unspaced(["the film 好"])
    assert not unspaced(["123 !!"])
    train = Examples(["房间很干净", "服务太差了", "位置很好", "态度太差"], ["1", "0", "1", "0"], ["x"] * 4)
    baseline = fit_baseline(train)
    assert baseline.features == "char"
    assert baseline.predict(["早餐很好", "真的太差"]) == ["1", "0"]


def test_classes_of_the_model_that_training_lacks_get_nothing() -> None:
    train = meaningful(60)
    space = LabelSpace.fit(train.labels, "single", names=("meh",))
    p = fit_baseline(train, space=space).predict_proba(train.texts)
    assert p.shape == (60, 3)
    assert (p[:, space.names.index("meh")] == 0).all()
    np.testing.assert_allclose(
        np.delete(p, space.names.index("meh"), 1), fit_baseline(train).predict_proba(train.texts)
    )


def test_balanced_weights_are_scikit_learns() -> None:
    train = meaningful(100)
    train = train.subset([i for i, label in enumerate(train.labels) if label == "pos" or i < 30])
    ours = fit_baseline(train, space=LabelSpace.fit(train.labels, "single", balanced=True))
    theirs = vectorizer()
    x = theirs.fit_transform(train.texts)
    model = LogisticRegression(C=FIXED, max_iter=200, class_weight="balanced").fit(x, train.labels)
    np.testing.assert_allclose(ours.predict_proba(train.texts), model.predict_proba(x), atol=1e-9)


def test_errors(tmp_path) -> None:
    with pytest.raises(DataError, match="no training text holds a word"):
        fit_baseline(Examples(["!", "?"], ["a", "b"], ["x:1", "x:2"]))
    with pytest.raises(BundleError, match=r"baseline.json is missing"):
        Baseline.load(tmp_path)
    fit_baseline(meaningful(20)).save(tmp_path)
    (tmp_path / "baseline.safetensors").write_bytes(b"junk")
    with pytest.raises(BundleError, match="damaged"):
        Baseline.load(tmp_path)
    values = json.loads((tmp_path / "baseline.json").read_text())
    (tmp_path / "baseline.json").write_text(json.dumps(values)[:50])
    with pytest.raises(BundleError, match="damaged"):
        Baseline.load(tmp_path)
