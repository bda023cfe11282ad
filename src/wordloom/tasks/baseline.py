"""TF-IDF + logistic regression: what every classifier must beat, trained beside it.

Words and word pairs with sublinear counts (Wang & Manning 2012 show how strong that is), for text written
without spaces 1-3 characters, optionally characters of words too; ridge regression for numbers. Saved as
JSON + safetensors; the decision function is computed here, so a loaded baseline predicts the same bits.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from wordloom.data.examples import Examples
from wordloom.errors import BundleError, DataError
from wordloom.metrics import MAIN, Kind, Score, classification_scores, point_scores
from wordloom.tasks.labels import LabelSpace

Features = Literal["auto", "word", "word+char", "char"]
GRID = (1.0, 4.0, 16.0, 64.0)  # inverse penalty C of the logistic regression; 1 / alpha of the ridge
FIXED = 16.0  # without a validation part: the value most often chosen on small sets of reviews and messages
COMMON = 200_000  # features kept, the most frequent
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


def unspaced(texts: Sequence[str]) -> bool:
    """Whether more than a third of the letters (first 1,000 texts) are of a script written without spaces."""
    sample = "".join(texts[:1000])
    letters = sum(c.isalpha() for c in sample)
    return letters > 0 and 3 * len(_UNSPACED.findall(sample)) > letters


def _vectorizer(features: str, texts: int, **state: Any) -> list[TfidfVectorizer]:
    rare = 2 if texts >= 1000 else 1
    common: dict[str, Any] = {"sublinear_tf": True, "min_df": rare, "max_features": COMMON, "dtype": np.float64}
    word = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **common)
    if features == "char":
        return [TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **common)]
    return [word] if features == "word" else [word, TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common)]


@dataclass(frozen=True)
class Baseline:
    """coef (C, F) and intercept (C,), C = 1 for two classes and for regression; F features of all vectorizers,
    twice for pairs. ``penalty`` is the C that was chosen."""

    space: LabelSpace
    features: str
    vectorizers: tuple[TfidfVectorizer, ...]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    pairs: bool
    penalty: float

    def decision(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float64]:
        """(E, C) before the logistic function."""
        return np.asarray(self._matrix(texts, pairs) @ self.coef.T) + self.intercept

    def predict_proba(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float64]:
        """(E, C), as the classifier's; (E,) values for regression. Raises DataError where pairs are missing."""
        return _probabilities(self.decision(texts, pairs), self.space)

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Any]:
        return self.space.decode(self.predict_proba(texts, pairs))

    def evaluate(self, examples: Examples) -> dict[str, Score]:
        """The scores of a classifier, with intervals."""
        gold = self.space.targets(examples.labels or [], examples.places)
        probabilities = self.predict_proba(examples.texts, examples.pairs)
        return classification_scores(gold, probabilities, self.space.kind, self.space.names)

    def _matrix(self, texts: Sequence[str], pairs: Sequence[str] | None) -> sparse.csr_matrix:
        if (pairs is not None) != self.pairs:
            raise DataError(
                "this baseline was trained on " + ("pairs of texts" if self.pairs else "single texts"),
                cure="name the second text's column with --pair" if self.pairs else "leave --pair away",
            )
        sides = [texts] if pairs is None else [texts, pairs]
        return sparse.hstack([v.transform(side) for side in sides for v in self.vectorizers], format="csr")

    def save(self, folder: str | Path) -> None:
        """baseline.json + baseline.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "features": self.features, "pairs": self.pairs, "penalty": self.penalty, "space": self.space.to_json(),
            "vocabularies": [sorted(v.vocabulary_, key=v.vocabulary_.__getitem__) for v in self.vectorizers],
        }  # fmt: skip
        tensors = {f"idf.{i}": v.idf_ for i, v in enumerate(self.vectorizers)}
        (folder / "baseline.json").write_text(json.dumps(values), encoding="utf-8")
        (folder / "baseline.safetensors").write_bytes(save(tensors | {"coef": self.coef, "intercept": self.intercept}))

    @classmethod
    def load(cls, folder: str | Path) -> Baseline:
        """Raises BundleError for a folder without a baseline or with a damaged one."""
        folder = Path(folder)
        try:
            values = json.loads((folder / "baseline.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "baseline.safetensors")
            vectorizers = _vectorizer(values["features"], 0)
            for i, (v, terms) in enumerate(zip(vectorizers, values["vocabularies"], strict=True)):
                v.set_params(vocabulary={t: j for j, t in enumerate(terms)})
                v.idf_ = tensors[f"idf.{i}"]
            return cls(LabelSpace.from_json(values["space"]), values["features"], tuple(vectorizers), tensors["coef"],
                       tensors["intercept"], bool(values["pairs"]), float(values["penalty"]))  # fmt: skip
        except FileNotFoundError as error:
            raise BundleError(f"no baseline here ({Path(str(error.filename)).name} is missing)", where=folder,
                              cure="fine-tune again") from None  # fmt: skip
        except (KeyError, ValueError, TypeError, SafetensorError, OSError) as error:
            raise BundleError(f"the baseline is damaged ({error})", where=folder, cure="fine-tune again") from None


def fit_baseline(
    train: Examples,
    kind: Kind | None = None,
    *,
    valid: Examples | None = None,
    space: LabelSpace | None = None,
    features: Features = "auto",
) -> Baseline:
    """Train on the same examples as the model beside it.

    kind: default the examples' own. space: the model's labels, so that both speak of the same classes.
    The penalty is chosen on ``valid`` from {1, 4, 16, 64} by accuracy (micro-F1, Pearson), ties by the
    smaller; without ``valid`` it is 16. features "auto": words and pairs of words, or 1-3 characters where
    the script has no spaces. 25,000 film reviews take well under a minute on one core.
    """
    labels = train.labels or []
    space = space or LabelSpace.fit(labels, kind or train.kind)
    chosen = ("char" if unspaced(train.texts) else "word") if features == "auto" else features
    vectorizers = _vectorizer(chosen, len(train.texts))
    matrix = _fit_vectorizers(vectorizers, train)
    gold = space.targets(labels, train.places)
    probe = Baseline(space, chosen, tuple(vectorizers), np.zeros((1, 1)), np.zeros(1), train.pairs is not None, FIXED)
    if valid is None or not len(valid.texts):
        coef, intercept = _fit(matrix, gold, space, FIXED)
        return Baseline(space, chosen, probe.vectorizers, coef, intercept, probe.pairs, FIXED)
    held, answers = probe._matrix(valid.texts, valid.pairs), space.targets(valid.labels or [], valid.places)
    name = MAIN[space.kind]
    best: tuple[float, Baseline] | None = None
    for penalty in GRID:
        coef, intercept = _fit(matrix, gold, space, penalty)
        guess = _probabilities(np.asarray(held @ coef.T) + intercept, space)
        value = float(np.nan_to_num(point_scores(answers, guess, space.kind)[name], nan=-1.0))
        if best is None or value > best[0]:
            best = value, Baseline(space, chosen, probe.vectorizers, coef, intercept, probe.pairs, penalty)
    assert best is not None
    return best[1]


def _fit_vectorizers(vectorizers: list[TfidfVectorizer], train: Examples) -> sparse.csr_matrix:
    both = list(train.texts) + list(train.pairs or [])
    n, blocks = len(train.texts), []
    for v in vectorizers:
        try:
            blocks.append(v.fit_transform(both))
        except ValueError:  # scikit-learn: empty vocabulary
            raise DataError("no training text holds a word", cure="check the text column") from None
    return sparse.hstack([b[side : side + n] for side in range(0, len(both), n) for b in blocks], format="csr")


def _probabilities(decision: NDArray[np.float64], space: LabelSpace) -> NDArray[np.float64]:
    if space.kind == "regression":
        return decision[:, 0]
    if space.kind == "multi":
        return expit(decision)
    if decision.shape[1] == 1:
        return np.stack([expit(-decision[:, 0]), expit(decision[:, 0])], 1)
    return softmax(decision, axis=1)


def _fit(x: sparse.csr_matrix, gold: NDArray, space: LabelSpace, penalty: float) -> tuple[NDArray, NDArray]:
    """coef (C, F) and intercept (C,); classes without an example get probability 0, labels that are never or
    always there the odds (n + 0.5) / 0.5."""
    if space.kind == "regression":
        ridge = Ridge(alpha=1 / penalty, solver="sparse_cg").fit(x, gold)
        return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
    if space.kind == "multi":
        both = [_logistic(x, gold[:, c], penalty) for c in range(gold.shape[1])]
        return np.concatenate([b[0] for b in both]), np.concatenate([b[1] for b in both])
    coef, intercept = _logistic(x, gold, penalty, np.array(space.weights)[gold])  # balanced where the model is
    if len(space.names) == 2 and len(coef) == 1:
        return coef, intercept
    seen = np.unique(gold)
    if len(seen) == 2:  # two of more classes occur: the two-class answer as two rows
        coef, intercept = np.concatenate([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
    full, at = np.zeros((len(space.names), x.shape[1])), np.full(len(space.names), -1e9)
    full[seen], at[seen] = coef, intercept
    return full, at


def _logistic(
    x: sparse.csr_matrix, y: NDArray, penalty: float, weights: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    values = np.unique(y)
    if len(values) == 1:
        odds = np.log((len(y) + 0.5) / 0.5)
        return np.zeros((1, x.shape[1])), np.array([odds if values[0] else -odds])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that stops early is compared as it is
        model = LogisticRegression(C=penalty, max_iter=200, solver="lbfgs").fit(x, y, sample_weight=weights)
    return model.coef_, model.intercept_
