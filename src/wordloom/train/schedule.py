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
      noam      (step + 1)^-0.5 after a warm-up that reaches 1 one step sooner (Vaswani et al. 2017, equation 3, which
                train.lr scales: there it is D^-0.5 warmup_steps^-0.5); never without a step of warm-up
      wsd       1, then linear to 0 over the last ``decay * steps`` (warmup-stable-decay, Hu et al. 2024, section 4;
                linear as in Hägele et al. 2024)
    """
    warm = round(config.warmup * steps)
    if config.schedule == "noam":
        warm = max(1, warm)
        return min((step + 1) / warm, math.sqrt(warm / (step + 1)))
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
