"""Optimisers, layer-wise learning rates, freezing, weight averaging.

A model's layers are described by plain data: ``Layers`` is a sequence of ``(depth, parameters)``, depth 0 the
embeddings, 1 the lowest block, and so on. Parameters that are not listed (heads) lie above the top layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from wordloom.config import TrainConfig
from wordloom.errors import ConfigError

Layers = Sequence[tuple[int, Sequence[nn.Parameter]]]
AVERAGE_FROM = 0.75  # share of the steps after which weights are averaged: the last quarter


class Optimiser:
    """One or two torch optimisers stepped as one; state by parameter name, so that it needs no pickle."""

    def __init__(self, parts: list[torch.optim.Optimizer], names: dict[int, str], lr: float):
        self.parts, self._names, self._lr = parts, names, lr

    def step(self, factor: float) -> None:
        """One update with learning rate ``lr * factor * group's layer factor``; gradients are dropped."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self._lr * factor * group["layer_factor"]
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """``parameter/key`` -> tensor, for every parameter that has been updated at least once."""
        return {f"{name}/{key}": value for name, state in self._states() for key, value in state.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        owners = {self._names[id(p)]: (part, p) for part in self.parts for p in _parameters(part)}
        for part in self.parts:
            part.state.clear()
        for key, value in tensors.items():
            name, _, slot = key.rpartition("/")
            part, parameter = owners[name]
            home = "cpu" if value.ndim == 0 and parameter.device.type == "cpu" else parameter.device
            part.state[parameter][slot] = value.to(home, copy=True)

    def _states(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        for part in self.parts:
            for parameter, state in part.state.items():
                yield self._names[id(parameter)], {k: v for k, v in state.items() if isinstance(v, Tensor)}


def _parameters(part: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in part.param_groups:
        yield from group["params"]


def build_optimiser(model: nn.Module, config: TrainConfig, layers: Layers | None = None) -> Optimiser:
    """The optimiser of a recipe. No decay on vectors (biases, norms), as in Devlin et al. 2019's code.

    adamw  Loshchilov & Hutter 2019, algorithm 2
    sgd    with momentum
    muon   Jordan et al. 2024: momentum orthogonalised by Newton-Schulz for the matrices inside the network, AdamW for
           embeddings, heads and vectors. The update is scaled to AdamW's usual size (Liu et al. 2025, equation 4), so
           that one learning rate and one schedule serve both.
    layer_decay: factor per layer below the top (Clark et al. 2020, ELECTRA, appendix B).
    """
    if layers is None and config.layer_decay < 1:
        raise ConfigError("layer_decay needs a model with layers", where="train.layer_decay", cure="remove it")
    depths = {id(p): depth for depth, parameters in layers or () for p in parameters}
    top = max(depths.values(), default=-1) + 1
    named = list(model.named_parameters())
    names = {id(p): name for name, p in named}
    hidden = _hidden_matrices(model, depths if layers else None) if config.optimiser == "muon" else set()
    groups = _groups([p for _, p in named if id(p) not in hidden], depths, top, config)
    options = {"fused": True, "lr": config.lr}
    parts: list[torch.optim.Optimizer] = []
    if config.optimiser == "sgd":
        parts.append(torch.optim.SGD(groups, momentum=config.momentum, **options))  # type: ignore[arg-type]
    else:
        parts.append(torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, **options))  # type: ignore[arg-type]
    if hidden:
        matrices = _groups([p for _, p in named if id(p) in hidden], depths, top, config)
        adjust = "match_rms_adamw"
        parts.append(torch.optim.Muon(matrices, lr=config.lr, momentum=config.momentum, adjust_lr_fn=adjust))
    return Optimiser(parts, names, config.lr)


def _groups(
    parameters: Iterable[nn.Parameter], depths: dict[int, int], top: int, config: TrainConfig
) -> list[dict[str, object]]:
    """One group per (layer, decayed or not)."""
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for p in parameters:
        groups.setdefault((depths.get(id(p), top), p.ndim >= 2), []).append(p)
    return [
        {
            "params": members,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "layer_factor": config.layer_decay ** (top - depth),
        }
        for (depth, decayed), members in groups.items()
    ]


def _hidden_matrices(model: nn.Module, depths: dict[int, int] | None) -> set[int]:
    """Weights of linear maps between hidden states: not embeddings (nor what is tied to them), not heads."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    found = {id(p) for p in model.parameters() if p.ndim == 2} - embeddings
    return found if depths is None else {p for p in found if depths.get(p, 0) > 0}


def set_frozen(model: nn.Module, layers: Layers | None, freeze: str, step: int, steps: int) -> bool:
    """Set requires_grad for ``step``; True where that changed anything.

    gradual: from the top, one layer more each time (Howard & Ruder 2018, section 3.3), spread over the first half
    of the run, the heads trainable from the start.
    """
    if freeze == "none":
        return False
    if layers is None:
        raise ConfigError(f"freeze = {freeze!r} needs a model with layers", where="train.freeze", cure="remove it")
    depths = sorted({depth for depth, _ in layers})
    if freeze == "body":
        first = depths[-1] + 1
    elif freeze == "embeddings":
        first = 1
    else:
        every = max(1, steps // (2 * len(depths)))
        thawed = min(step // every, len(depths))
        first = depths[-thawed] if thawed else depths[-1] + 1
    changed = False
    for depth, parameters in layers:
        for p in parameters:
            changed |= p.requires_grad != (depth >= first)
            p.requires_grad_(depth >= first)
            if depth < first:
                p.grad = None
    return changed


# --- averaged weights ------------------------------------------------------------------------------------------------


def averages(step: int, steps: int) -> int:
    """How many weights the average holds after ``step`` steps; 0 before the last quarter."""
    return max(0, step - math.ceil(AVERAGE_FROM * steps))


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, count: int) -> None:
    """Running mean of the weights (Polyak & Juditsky 1992); ``count`` counts the one added now."""
    for name, p in model.named_parameters():
        if name in average:
            average[name].add_((p - average[name]) / count)
        else:
            average[name] = p.detach().clone()


@torch.no_grad()
def exchange(average: dict[str, Tensor], model: nn.Module) -> None:
    """Swap the model's weights with the averaged ones; twice is no change, to the bit."""
    for name, p in model.named_parameters():
        if name in average:
            kept = p.detach().clone()
            p.copy_(average[name])
            average[name] = kept
