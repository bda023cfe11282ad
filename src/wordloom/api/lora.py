"""[lora] of a recipe: where fine-tuning begins and ends with it, whatever the task."""

from __future__ import annotations

from typing import Any

from wordloom.api.start import Start
from wordloom.config import Recipe
from wordloom.errors import ConfigError
from wordloom.model.lora import adapt
from wordloom.model.model import Model


def adapted(model: Model, start: Start, recipe: Recipe) -> dict[str, Any]:
    """Adapt the model where the recipe says so; what the manifest tells of it. Raises ConfigError where that makes no
    sense: over random weights, which would stay random, and beside train.freeze."""
    if recipe.lora is None:
        return {}
    if start.states is None:
        raise ConfigError("LoRA changes pre-trained weights a little, and these are random", where="[lora]",
                          cure="start from a pre-trained run or folder, or leave [lora] out")  # fmt: skip
    if recipe.train.freeze != "none":
        raise ConfigError("LoRA freezes the body itself", where="train.freeze", cure="leave train.freeze out")
    whole = sum(p.numel() for p in model.parameters())
    adapt(model, recipe.lora)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"parameters": whole, "trained parameters": trained}
