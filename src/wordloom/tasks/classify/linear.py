"""Logistic regression (ridge for numbers) on a matrix of features, wherever the matrix comes from.

The penalty is chosen on validation; the decision function is computed here, so what is loaded predicts the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits
from torch import Tensor

from wordloom.data.examples import Examples
from wordloom.errors import BundleError
from wordloom.metrics import MAIN, Kind, Score, classification_scores, point_scores
from wordloom.tasks.classify.calibrate import calibrated, fit_temperature
from wordloom.tasks.classify.features import Features, Matrix, TfIdf
from wordloom.tasks.classify.features_vectors import WordVectors
from wordloom.tasks.classify.labels import LabelSpace

KIND = "linear"  # the task, by name
GRID = (1.0, 4.0, 16.0, 64.0)  # TF-IDF: inverse penalty C of the logistic regression; 1 / alpha of the ridge
FIXED = 16.0  # without a validation part: the value most often chosen on small sets of reviews and messages
# Of standardised columns: one grid for vectors of any length. On 500 and 25,000 film reviews it is as good as the best
# of six penalties on the columns as they are (81.8 and 85.1 % against 82.1 and 85.1).
DENSE_GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
_FILE = "classifier.safetensors"
_MAKERS: dict[str, Any] = {TfIdf.name: TfIdf, WordVectors.name: WordVectors}


@dataclass(frozen=True)
class Linear:
    """coef (C, F) and intercept (C,), C = 1 for two classes and for regression. ``penalty``: the C that was chosen;
    value: its main score on the validation part, nan without one."""

    space: LabelSpace
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    penalty: float
    value: float = float("nan")

    @property
    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """For a safetensors file, whose writer takes the memory of an array as it lies: rows must follow each other."""
        return {"coef": np.ascontiguousarray(self.coef), "intercept": np.ascontiguousarray(self.intercept)}

    def decision(self, x: Matrix) -> NDArray[np.float64]:
        """(E, C) before the logistic function."""
        return np.asarray(x @ self.coef.T) + self.intercept

    def probabilities(self, x: Matrix) -> NDArray[np.float64]:
        """(E, C), as a classifier's; (E,) values for regression."""
        return _probabilities(self.decision(x), self.space)

    def logits(self, x: Matrix) -> NDArray[np.float64]:
        """(E, outputs of the space): with two classes both, half the decision each way, the same probabilities."""
        found = self.decision(x)
        two = self.space.kind == "single" and found.shape[1] == 1
        return np.concatenate([-found / 2, found / 2], 1) if two else found


def fit_linear(
    x: Matrix,
    gold: NDArray,
    space: LabelSpace,
    *,
    held: tuple[Matrix, NDArray] | None = None,
    grid: Sequence[float] = GRID,
    fixed: float = FIXED,
) -> Linear:
    """x (E, F), gold (E,) or (E, C) as ``space.targets`` gives them.

    The penalty is the one of ``grid`` of the best accuracy (micro-F1, Pearson) on ``held``, ties by the smaller; it is
    ``fixed`` without. A dense x is standardised for the fit, and the standardisation taken into the coefficients.
    """
    dense = not sparse.issparse(x)
    mean, scale = (x.mean(0), _scale(x)) if dense else (np.zeros(1), np.ones(1))
    scaled = (x - mean) / scale if dense else x

    def fitted(penalty: float) -> Linear:
        coef, intercept = _fit(scaled, gold, space, penalty)
        if dense:
            coef = coef / scale
            intercept = intercept - coef @ mean
        return Linear(space, coef, intercept, penalty)

    if held is None:
        return fitted(fixed)
    best: Linear | None = None
    for penalty in grid:
        found = fitted(penalty)
        scores = point_scores(held[1], found.probabilities(held[0]), space.kind)
        value = float(np.nan_to_num(scores[MAIN[space.kind]], nan=-1.0))
        if best is None or value > best.value:
            best = Linear(space, found.coef, found.intercept, penalty, value)
    assert best is not None
    return best


def _scale(x: NDArray) -> NDArray:
    """(F,) deviations; 1 for a constant column."""
    deviation = x.std(0)
    return np.where(deviation > 1e-12, deviation, 1.0)


def _probabilities(decision: NDArray[np.float64], space: LabelSpace) -> NDArray[np.float64]:
    if space.kind == "regression":
        return decision[:, 0]
    if space.kind == "multi":
        return expit(decision)
    if decision.shape[1] == 1:
        return np.stack([expit(-decision[:, 0]), expit(decision[:, 0])], 1)
    return softmax(decision, axis=1)


def _fit(x: Matrix, gold: NDArray, space: LabelSpace, penalty: float) -> tuple[NDArray, NDArray]:
    """coef (C, F) and intercept (C,); classes without an example get probability 0, labels that are never or
    always there the odds (n + 0.5) / 0.5."""
    if space.kind == "regression":
        ridge = Ridge(alpha=1 / penalty, solver="sparse_cg" if sparse.issparse(x) else "auto").fit(x, gold)
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


def _logistic(x: Matrix, y: NDArray, penalty: float, weights: NDArray | None = None) -> tuple[NDArray, NDArray]:
    values = np.unique(y)
    if len(values) == 1:
        odds = np.log((len(y) + 0.5) / 0.5)
        return np.zeros((1, x.shape[1])), np.array([odds if values[0] else -odds])
    # One BLAS thread: on vectors of 100,000 numbers a second gains nothing on an idle machine, and on a busy one the
    # two wait for each other (measured on 3,900 messages: 21 s in place of 1).
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that stops early is compared as it is
        model = LogisticRegression(C=penalty, max_iter=200, solver="lbfgs").fit(x, y, sample_weight=weights)
    return model.coef_, model.intercept_


class LinearClassifier:
    """Features and a linear classifier on them: what ``infer.predictor.Answers`` asks of a task, without a network."""

    def __init__(self, features: Features, linear: Linear, temperature: float = 1.0):
        self.features, self.linear, self.temperature = features, linear, temperature
        self.pairs = features.pairs

    @classmethod
    def fit(
        cls, options: Sequence[tuple[Features, Matrix, Matrix]], gold: NDArray, answers: NDArray, space: LabelSpace,
        grid: Sequence[float],
    ) -> LinearClassifier:  # fmt: skip
        """The features and the penalty of the best validation score, ties by the first; then the temperature.

        options: features, their matrix of the training examples (gold) and that of the validation part (answers).
        """
        fitted = [(fit_linear(x, gold, space, held=(held, answers), grid=grid), f, held) for f, x, held in options]
        linear, features, held = max(fitted, key=lambda found: found[0].value)
        targets = torch.from_numpy(np.ascontiguousarray(answers))
        temperature = fit_temperature(torch.from_numpy(linear.logits(held)), targets, space.kind)
        return cls(features, linear, temperature)

    @property
    def space(self) -> LabelSpace:
        return self.linear.space

    @property
    def kind(self) -> Kind:
        return self.space.kind

    @property
    def labels(self) -> tuple[str, ...]:
        return self.space.names

    def logits(self, model: Any, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """(E, C) float64, in input order; there is no model."""
        return torch.from_numpy(self.linear.logits(self.features.matrix(texts, pairs)))

    def heads(self, arch: Any) -> dict[str, Any]:
        return {}

    def probabilities(self, logits: Tensor) -> NDArray[np.float64]:
        """(E, C) temperature-scaled, or (E,) numbers in the labels' own unit."""
        if self.kind == "regression":
            return logits[:, 0].double().numpy()
        return calibrated(logits, self.kind, self.temperature)

    def decode(self, probabilities: NDArray[np.float64]) -> list[Any]:
        return self.space.decode(probabilities)

    def scores(self, examples: Examples, probabilities: NDArray[np.float64]) -> dict[str, Score]:
        gold = self.space.targets(examples.labels or [], examples.places)
        return classification_scores(gold, probabilities, self.kind, self.labels)

    def settings(self) -> dict[str, Any]:
        return {"name": KIND, "features": self.features.settings(), "penalty": self.linear.penalty,
                "temperature": self.temperature, **self.space.to_json()}  # fmt: skip

    def save(self, folder: Path) -> list[Path]:
        """The files beside wordloom.json; their paths."""
        (folder / _FILE).write_bytes(save(self.linear.tensors))
        return [folder / _FILE, *self.features.save(folder)]

    @classmethod
    def restore(cls, settings: Mapping[str, Any], folder: Path) -> LinearClassifier:
        """Raises BundleError for damaged settings or files."""
        try:
            tensors = load_file(folder / _FILE)
            space = LabelSpace.from_json(dict(settings))
            features = _MAKERS[settings["features"]["name"]].restore(settings["features"], folder)
            linear = Linear(space, tensors["coef"], tensors["intercept"], float(settings["penalty"]))
            return cls(features, linear, float(settings["temperature"]))
        except FileNotFoundError as error:
            missing = Path(str(error.filename)).name
            raise BundleError(f"{missing} is missing", where=folder, cure="copy the folder again") from None
        except (KeyError, TypeError, ValueError, SafetensorError, OSError) as error:
            raise BundleError(f"the classifier is damaged ({error})", where=folder, cure="fine-tune again") from None
