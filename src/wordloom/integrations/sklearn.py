"""A scikit-learn classifier over the same fine-tuning: pipelines, ``cross_val_score``, ``GridSearchCV``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted

from wordloom import api


class TextClassifier(ClassifierMixin, BaseEstimator):
    """Fine-tunes ``model`` on texts: X is a sequence of strings (n,), y one label each.

    model: a run or bundle of one's own pre-training, a public folder, or a preset ("bert-tiny":
        random weights, tokenizer trained on X); or word vectors (a run or a file), "word2vec" (trained on X) or
        "tf-idf", for a linear classifier on these.
    epochs, lr, batch, length, seed: keys of [train]; pooling: of [task]; None keeps wordloom's default.
    out: folder of the run to keep; None works in a temporary folder.

    Attributes: classes_ (C,), predictor_ (a ``wordloom.infer.predictor.Predictor``).
    """

    def __init__(
        self,
        model: str = "bert-tiny",
        *,
        epochs: float | None = None,
        lr: float | None = None,
        batch: int | None = None,
        length: int | None = None,
        pooling: str | None = None,
        seed: int = 0,
        out: str | None = None,
    ):
        self.model = model
        self.epochs = epochs
        self.lr = lr
        self.batch = batch
        self.length = length
        self.pooling = pooling
        self.seed = seed
        self.out = out

    def fit(self, X: Iterable[str], y: ArrayLike) -> TextClassifier:
        """Raises ValueError for X that is not texts or not as long as y, as scikit-learn's users expect."""
        texts, labels = _texts(X), np.asarray(y)
        check_classification_targets(labels)
        if labels.shape != (len(texts),):
            raise ValueError(f"X has {len(texts)} texts but y has shape {labels.shape}")
        self.classes_ = unique_labels(labels)
        if len(self.classes_) < 2:
            raise ValueError(f"TextClassifier needs at least 2 classes; y holds {list(self.classes_)}")
        names = {str(c): i for i, c in enumerate(self.classes_)}
        if len(names) != len(self.classes_):
            raise ValueError("two classes have the same name when written out; rename one")
        settings: dict[str, Any] = {k: getattr(self, k) for k in ("epochs", "lr", "batch", "length", "pooling", "seed")}
        with tempfile.TemporaryDirectory(prefix="wordloom-") as scratch:
            run = Path(self.out) if self.out is not None else Path(scratch) / "run"
            data = (texts, [str(v) for v in labels])
            result = api.finetune(self.model, data, run, baseline=False, quiet=True, kind="single", **settings)
        predictor: Any = result.predictor  # a classifier's
        self.predictor_ = predictor
        # the bundle sorts label names as text; columns must follow classes_
        self._columns = np.array([predictor.labels.index(str(c)) for c in self.classes_])
        return self

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float64]:
        """(n, C) calibrated probabilities, columns as ``classes_``."""
        check_is_fitted(self, "predictor_")
        return self.predictor_.predict_proba(_texts(X))[:, self._columns]

    def predict(self, X: Iterable[str]) -> NDArray[Any]:
        best = self.predict_proba(X).argmax(axis=1)  # first: it is what raises NotFittedError
        return self.classes_[best]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        tags.non_deterministic = False
        return tags


def _texts(X: Iterable[str]) -> list[str]:
    if isinstance(X, str):
        raise ValueError("X is one string; give a sequence of strings")
    texts = list(np.asarray(X, dtype=object).ravel()) if hasattr(X, "shape") else list(X)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"X[{i}] is {type(text).__name__}, not str")
    return texts
