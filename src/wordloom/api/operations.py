"""What a token costs: floating-point operations of its training (Kaplan et al. 2020, section 2.1)."""

from __future__ import annotations

import torch

from wordloom.api.objectives import AnyObjective, predicted_share
from wordloom.config import ReplacedConfig
from wordloom.model.architecture import Architecture
from wordloom.model.build import AnyArchitecture, make_body
from wordloom.model.generator import generator_architecture


def training_operations(config: AnyObjective, arch: AnyArchitecture, length: int) -> float:
    """Of one token of an objective, forward and backward; ELECTRA's is read by the generator and by the model."""
    share = predicted_share(config)
    if not isinstance(config, ReplacedConfig) or not isinstance(arch, Architecture):
        return flops_per_token(arch, length, share)
    small = generator_architecture(arch, config.generator_width, config.generator_layers)
    telling = 6.0 * (arch.width**2 + arch.width)  # the head of one logit, at every token
    return flops_per_token(arch, length, 0.0) + telling + flops_per_token(small, length, share)


def flops_per_token(arch: AnyArchitecture, length: int, rate: float) -> float:
    """6 per matrix parameter, 12 L T D for attention over rows of T, and the vocabulary product at the share ``rate``
    of the tokens that are predicted."""
    inner = arch.embedding_width or arch.width  # E, what the output matrix is applied to
    head = rate * (arch.width * inner + inner * arch.vocab_size)
    products = 6.0 * (body_parameters(arch) + head)
    return products + 12.0 * arch.layers * length * arch.width if isinstance(arch, Architecture) else products


def body_parameters(arch: AnyArchitecture) -> int:
    """Parameters of the layers' matrices, as often as they are applied: what a token costs, embeddings aside."""
    with torch.device("meta"):
        body = make_body(arch)
    layers = body.layers_by_depth()[1:]
    return sum(p.numel() for layer in layers for p in layer.parameters() if p.dim() == 2) * arch.layers // len(layers)
