"""LoRA: W x -> (W + alpha / r B A) x with W frozen (Hu et al. 2021, section 4.1, equation 3).

A parametrisation of ``weight``, and not the package peft: that wraps torch's own Linear by its forward pass, and our
layers also read ``weight`` itself (relative attention its rows, the compiled step its address), which must be the
changed one. B A costs r / tokens of the layer's own product. What differs from the paper: q, k and v are one matrix
here and share an A; A begins with deviation 1 / sqrt(inputs); no dropout, which would need the input.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wordloom.config import LoraConfig
from wordloom.errors import ConfigError
from wordloom.model.cross import CrossAttention
from wordloom.model.layers import Linear
from wordloom.model.model import Model
from wordloom.model.relative import RelativeAttention
from wordloom.model.transformer import Attention, Layer

ATTENTIONS = (Attention, RelativeAttention, CrossAttention)


class LowRank(nn.Module):
    """W (O, I) -> W + scale B A; A (r, I) from normal(0, 1 / sqrt(I)), B (O, r) zero: at first W itself."""

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        outputs, inputs = weight.shape
        self.A = nn.Parameter(weight.new_empty(rank, inputs).normal_(0.0, inputs**-0.5))
        self.B = nn.Parameter(weight.new_zeros(outputs, rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return torch.addmm(weight, self.B, self.A, alpha=self.scale)


def adapt(model: Model, config: LoraConfig) -> None:
    """Freeze the body and give its matrices a product to be trained; the heads stay as they are.

    Random parts are drawn from torch's generator. Raises ConfigError for a body without Transformer layers.
    """
    found = list(_matrices(model, config))
    if not found:
        raise ConfigError("LoRA adapts the layers of Transformers, and this model has none", where="[lora]",
                          cure="leave [lora] out: other networks train whole")  # fmt: skip
    for p in model.body.parameters():
        p.requires_grad_(False)
    for matrix in found:
        low_rank = LowRank(matrix.weight, config.rank, config.alpha / config.rank)
        parametrize.register_parametrization(matrix, "weight", low_rank, unsafe=True)  # it keeps shape and type


def merge(model: Model) -> None:
    """Every product becomes part of its matrix: the model is an ordinary one again. Nothing where there is none."""
    for module in model.modules():
        if isinstance(module, Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    model.requires_grad_(True)


def _matrices(model: Model, config: LoraConfig) -> Iterator[Linear]:
    layers = [m for m in model.body.modules() if isinstance(m, Layer)]
    for layer in layers:
        parts = layer.modules() if config.targets == "all" else _attention(layer)
        yield from (m for m in parts if isinstance(m, Linear))


def _attention(layer: Layer) -> Iterator[nn.Module]:
    for part in layer.children():
        if isinstance(part, ATTENTIONS):
            yield from part.modules()
