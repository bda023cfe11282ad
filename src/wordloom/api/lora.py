"""[lora] of a recipe: where fine-tuning begins and ends with it, whatever the task."""

from __future__ import annotations

from typing import Any

import torch

from wordloom.api.start import Start
from wordloom.config import Recipe
from wordloom.errors import ConfigError
from wordloom.model.build import make_body
from wordloom.model.lora import adapt
from wordloom.model.model import Model


def refuse_lora(start: Start, recipe: Recipe) -> None:
    """Raises ConfigError where the recipe asks for what makes no sense: over random weights, which would stay random,
    beside train.freeze, or of a body without Transformer layers. Before a run is created, or an old one replaced."""
    if recipe.lora is None:
        return
    if start.states is None:
        raise ConfigError("LoRA changes pre-trained weights a little, and these are random", where="[lora]",
                          cure="start from a pre-trained run or folder, or leave [lora] out")  # fmt: skip
    if recipe.train.freeze != "none":
        raise ConfigError("LoRA freezes the body itself", where="train.freeze", cure="leave train.freeze out")
    with torch.device("meta"):  # shapes only
        adapt(Model(make_body(start.arch), {}), recipe.lora)


def adapted(model: Model, start: Start, recipe: Recipe) -> dict[str, Any]:
    """Adapt the model where the recipe says so; what the manifest tells of it. Raises ConfigError as `refuse_lora`."""
    refuse_lora(start, recipe)
    if recipe.lora is None:
        return {}
    whole = sum(p.numel() for p in model.parameters())
    adapt(model, recipe.lora)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"parameters": whole, "trained parameters": trained}
