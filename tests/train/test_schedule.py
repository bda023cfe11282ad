"""Learning-rate factors against hand values and torch's schedulers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup, get_wsd_schedule

from wordloom.config import TrainConfig
from wordloom.train.schedule import factor


def factors(steps: int, **values: Any) -> list[float]:
    return [factor(step, steps, TrainConfig(steps=steps, **values)) for step in range(steps)]


def theirs(steps: int, make: Any) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimiser)
    values = []
    for _ in range(steps):
        values.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return values


def test_hand_values() -> None:
    assert factors(10, schedule="wsd", warmup=0.2, decay=0.4) == pytest.approx(
        [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    )
    assert factors(4, schedule="constant", warmup=0.5) == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert factors(4, schedule="linear", warmup=0.0) == [1.0, 0.75, 0.5, 0.25]
    assert factors(4, schedule="cosine", warmup=0.0) == pytest.approx([1, 0.8535534, 0.5, 0.1464466])
    assert factors(3, schedule="wsd", warmup=0.0, decay=0.0) == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("linear", lambda o: get_linear_schedule_with_warmup(o, 20, 100)),
        ("cosine", lambda o: get_cosine_schedule_with_warmup(o, 20, 100)),
        (
            "wsd",
            lambda o: get_wsd_schedule(o, 20, 30, num_stable_steps=50, decay_type="linear", min_lr_ratio=0.0),
        ),
    ],
)
def test_transformers_agrees_after_the_warm_up(name: str, make: Any) -> None:
    """In the warm-up ours is one part of 21 ahead: theirs spends the first step on a rate of 0."""
    ours, reference = factors(100, schedule=name, warmup=0.2, decay=0.3), theirs(100, make)
    assert ours[20:] == pytest.approx(reference[20:], abs=1e-12)
    assert ours[:20] == pytest.approx([(20 * f + 1) / 21 for f in reference[:20]])


@pytest.mark.parametrize("name", ["wsd", "cosine", "linear", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("warmup", "decay"), [(0.0, 1.0), (0.9, 0.9), (0.05, 0.2)])
def test_every_step_learns(name: str, steps: int, warmup: float, decay: float) -> None:
    values = factors(steps, schedule=name, warmup=warmup, decay=decay)
    assert all(0 < value <= 1 for value in values)
    peak = values.index(max(values))
    assert values[:peak] == sorted(values[:peak]) and values[peak:] == sorted(values[peak:], reverse=True)


def test_noam_is_the_papers_equation() -> None:
    """Vaswani et al. 2017, equation 3: D^-0.5 min(n^-0.5, n warmup^-1.5) for step n from 1; ours is over its peak."""
    config = TrainConfig(schedule="noam", warmup=0.04)
    paper = [512**-0.5 * min(n**-0.5, n * 4000**-1.5) for n in range(1, 100_001, 97)]
    peak = 512**-0.5 * 4000**-0.5
    ours = [factor(n - 1, 100_000, config) * peak for n in range(1, 100_001, 97)]
    assert ours == pytest.approx(paper, rel=1e-12)
    assert factor(0, 100, TrainConfig(schedule="noam", warmup=0.0)) == 1.0
