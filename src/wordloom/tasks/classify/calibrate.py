"""Temperature scaling: one number that makes probabilities honest (Guo et al. 2017, section 4.2)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from wordloom.metrics import Kind

RANGE = (0.1, 10.0)  # a small validation part that is all correct would else ask for certainty, T -> 0


def negative_log_likelihood(logits: Tensor, targets: Tensor, kind: Kind, temperature: float = 1.0) -> float:
    """Mean in nats: logits (E, C), targets (E,) classes or (E, C) of 0 and 1; computed in float64."""
    scaled = logits.double() / temperature
    if kind == "single":
        return float(F.cross_entropy(scaled, targets.long()))
    return float(F.binary_cross_entropy_with_logits(scaled, targets.double()))


def fit_temperature(logits: Tensor, targets: Tensor, kind: Kind) -> float:
    """The T in [0.1, 10] of the least validation likelihood loss; exactly 1 unless that is better than T = 1.

    The loss is convex in 1/T, so a bounded scalar search finds its only minimum; accuracy cannot change.
    """
    if kind == "regression" or len(logits) == 0:
        return 1.0
    loss = lambda log_t: negative_log_likelihood(logits, targets, kind, math.exp(log_t))  # noqa: E731
    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-5})
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0


def calibrated(logits: Tensor, kind: Kind, temperature: float) -> np.ndarray:
    """(E, C) float64 probabilities of logits / T: softmax, or one sigmoid per label."""
    scaled = logits.double() / temperature
    return (torch.softmax(scaled, -1) if kind == "single" else torch.sigmoid(scaled)).numpy()
