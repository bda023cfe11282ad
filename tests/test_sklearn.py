"""``wordloom.sklearn.TextClassifier`` as scikit-learn wants an estimator to behave.

scikit-learn's own ``check_estimator`` stops at estimators of strings ("can't test estimator ... which requires input of
type string"). So: the checks that need no data run as they are (CHECKS); those that make up a numeric X (every
``check_classifiers_*``, ``check_estimators_dtypes``, ``check_n_features_in``, sparse, nan, ...) cannot be handed texts,
and what they demand and a text has is written out below: fit returns self and changes no parameter, unfitted
raises, refitting repeats, one sample at a time and another order give the same answers, label types come back, y of the
wrong shape is a ValueError, pickling.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

import tiny
from wordloom.sklearn import TextClassifier
from wordloom.train import machine

CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
    "check_do_not_raise_errors_in_init_or_set_params",
]
TEXTS, LABELS, _ = tiny.labelled(24)


@pytest.fixture(scope="module", autouse=True)
def one_thread_a_fit() -> Iterator[None]:
    """The estimator has no parameter for threads; two of them on a core that others use wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "pick_threads", lambda wanted: 1)
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny pre-trained run: fits are quick, and all of them start from the same weights."""
    from wordloom import api

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sklearn")
    corpus = tiny.write_corpus(folder / "corpus.txt")
    api.pretrain(corpus, folder / "run", preset="bert-tiny", quiet=True, **tiny.TINY)
    return str(folder / "run")


def classifier(start: str, **values: Any) -> TextClassifier:
    return TextClassifier(start, **{"epochs": 1, "batch": 8, "length": 32, "lr": 1e-2, **values})


@pytest.fixture(scope="module")
def fitted(start: str) -> TextClassifier:
    return classifier(start, epochs=20).fit(TEXTS, LABELS)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.filterwarnings("ignore")
def test_estimator_checks_that_need_no_data(name: str) -> None:
    check = getattr(estimator_checks, name)
    check("TextClassifier", TextClassifier())


def test_scikit_learn_itself_can_check_no_more() -> None:
    """Should a release learn to make up texts, its checks are to be used here."""
    with pytest.warns(UserWarning, match="Can't test estimator TextClassifier"):
        list(estimator_checks._yield_all_checks(TextClassifier(), legacy=True))


def test_parameters_survive_fitting_and_cloning(start: str, fitted: TextClassifier) -> None:
    before = classifier(start, epochs=20).get_params()
    assert fitted.get_params() == before
    copy = clone(fitted)
    assert copy.get_params() == before and not hasattr(copy, "classes_")
    estimator = classifier(start)
    assert estimator.fit(TEXTS, LABELS) is estimator


def test_unfitted_raises() -> None:
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(TextClassifier(), method)(["a text"])
    with pytest.raises(NotFittedError):
        TextClassifier().score(["a text"], ["a"])


def test_it_learns_and_answers_in_shape(fitted: TextClassifier) -> None:
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (24, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-9)
    np.testing.assert_array_equal(fitted.classes_, ["neg", "pos"])
    np.testing.assert_array_equal(fitted.predict(TEXTS), fitted.classes_[probabilities.argmax(1)])
    assert fitted.score(TEXTS, LABELS) > 0.9


def test_refitting_repeats_and_the_seed_matters(start: str) -> None:
    first, again, other = (classifier(start, seed=s).fit(TEXTS, LABELS).predict_proba(TEXTS) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_answers_depend_on_the_text_alone(fitted: TextClassifier) -> None:
    whole = fitted.predict_proba(TEXTS)
    np.testing.assert_allclose(np.concatenate([fitted.predict_proba([t]) for t in TEXTS]), whole, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(TEXTS[::-1])[::-1], whole, atol=1e-6)
    for container in (tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object), iter(TEXTS)):
        np.testing.assert_allclose(fitted.predict_proba(container), whole, atol=1e-12)


@pytest.mark.parametrize("labels", [[10, 9], [True, False], [10.0, 9.0], ["b", "a"]], ids=str)
def test_label_types_come_back(start: str, labels: list[Any]) -> None:
    """Columns follow ``classes_``, sorted as numbers where they are numbers ("10.0" sorts before "9.0")."""
    y = np.array([labels[i % 2] for i in range(len(TEXTS))])
    estimator = classifier(start).fit(TEXTS, y)
    np.testing.assert_array_equal(estimator.classes_, np.unique(y))
    assert estimator.predict(TEXTS).dtype == y.dtype
    inside = estimator.predictor_
    for column, value in zip(estimator.predict_proba(TEXTS).T, np.unique(y), strict=True):
        np.testing.assert_array_equal(column, inside.predict_proba(TEXTS)[:, inside.labels.index(str(value))])


def test_bad_input_is_a_value_error(start: str) -> None:
    estimator = classifier(start)
    for X, y, message in (
        (TEXTS, LABELS[:-1], "24 texts but y has shape"),
        (TEXTS, np.array([LABELS, LABELS]).T, "y"),
        ([*TEXTS[:-1], 3], LABELS, r"X\[23\] is int, not str"),
        (np.zeros((24, 2)), LABELS, "not str"),
        ("one string", LABELS, "one string"),
        (TEXTS, ["a"] * 24, "at least 2 classes"),
        (TEXTS, np.linspace(0, 1, 24), "continuous"),
        ([], [], "at least 2 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.fit(X, y)


def test_pickling_in_memory(fitted: TextClassifier) -> None:
    """joblib sends fitted estimators between processes; nothing of ours writes a pickle to disk."""
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_grid_search_and_pipeline(start: str) -> None:
    steps = make_pipeline(FunctionTransformer(lambda X: [t.upper() for t in X]), classifier(start))
    grid = {"textclassifier__lr": [1e-3, 1e-2]}
    search = GridSearchCV(steps, grid, cv=2, error_score="raise").fit(TEXTS, LABELS)
    assert search.best_params_["textclassifier__lr"] in (1e-3, 1e-2)
    assert search.predict(TEXTS).shape == (24,) and search.score(TEXTS, LABELS) >= 0
    np.testing.assert_array_equal(search.predict([t.upper() for t in TEXTS]), search.predict(TEXTS))


def test_cross_validation_with_a_scorer_of_probabilities(start: str) -> None:
    scores = cross_val_score(classifier(start), TEXTS, LABELS, cv=2, scoring="roc_auc", error_score="raise")
    assert scores.shape == (2,) and np.isfinite(scores).all()


def test_out_keeps_the_run(start: str, tmp_path: Path) -> None:
    from wordloom import api

    estimator = classifier(start, out=str(tmp_path / "run")).fit(TEXTS, LABELS)
    np.testing.assert_allclose(api.load(tmp_path / "run").predict_proba(TEXTS), estimator.predict_proba(TEXTS))
