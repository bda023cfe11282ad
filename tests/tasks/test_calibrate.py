"""Temperature scaling finds the temperature that made the labels and never makes the likelihood worse."""

import numpy as np
import pytest
import torch

from wordloom.tasks.classify.calibrate import RANGE, calibrated, fit_temperature, negative_log_likelihood


def drawn(temperature: float, kind: str, n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from them at a known temperature."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(0, 3, (n, 4)))
    p = calibrated(logits, kind, temperature)
    if kind == "multi":
        return logits, torch.tensor((rng.random(p.shape) < p).astype(np.float32))
    return logits, torch.tensor([rng.choice(4, p=row) for row in p])


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_known_temperature_is_found(kind: str, temperature: float) -> None:
    logits, targets = drawn(temperature, kind)
    found = fit_temperature(logits, targets, kind)
    assert found == pytest.approx(temperature, rel=0.06)
    least = negative_log_likelihood(logits, targets, kind, found)
    assert least < negative_log_likelihood(logits, targets, kind)
    for near in (0.97, 1.03):  # a minimum indeed
        assert least < negative_log_likelihood(logits, targets, kind, found * near)


def test_likelihood_never_worse_and_order_kept() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 3, 30):
        for _ in range(20):
            logits, targets = torch.tensor(rng.normal(0, 2, (n, 3))), torch.tensor(rng.integers(0, 3, n))
            t = fit_temperature(logits, targets, "single")
            assert RANGE[0] <= t <= RANGE[1]
            scaled = negative_log_likelihood(logits, targets, "single", t)
            assert scaled <= negative_log_likelihood(logits, targets, "single")
            assert (calibrated(logits, "single", t).argmax(1) == logits.argmax(1).numpy()).all()


def test_all_correct_does_not_ask_for_certainty() -> None:
    logits = torch.eye(3).repeat(5, 1) * 2
    assert fit_temperature(logits, logits.argmax(1), "single") == pytest.approx(RANGE[0], rel=0.01)
    assert fit_temperature(logits, torch.zeros(15), "regression") == 1.0
    assert fit_temperature(torch.zeros(9, 3), torch.zeros(9), "single") == 1.0  # no temperature is better
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0), "single") == 1.0
