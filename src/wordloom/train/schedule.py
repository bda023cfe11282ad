"""Learning-rate factors: pure functions of the step."""

from __future__ import annotations

import math

from wordloom.config import TrainConfig


def factor(step: int, steps: int, config: TrainConfig) -> float:
    """What the learning rate is multiplied by in step ``step`` (0-based) of ``steps``.

    Warm-up rises linearly and reaches 1 after ``warmup * steps`` steps; its first step is not wasted on a rate of 0
    (transformers' schedules start at 0). After it:
      constant  1
      linear    to 0 at ``steps`` (Devlin et al. 2019, A.2)
      cosine    half a cosine to 0 (Loshchilov & Hutter 2017, equation 5, no restarts)
      wsd       1, then linear to 0 over the last ``decay * steps`` (warmup-stable-decay, Hu et al. 2024, section 4;
                linear as in Hägele et al. 2024)
    """
    warm = round(config.warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    left = steps - step  # the last step has 1 left: its rate is small, not 0
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        return left / max(1, steps - warm)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
    decay = max(1, min(round(config.decay * steps), steps - warm))
    return min(1.0, left / decay) if config.decay else 1.0
