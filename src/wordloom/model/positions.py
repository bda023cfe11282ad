"""Where a token stands, each kind from its published formula: tables, rotations, biases of the scores.

``Transformer`` asks for one of them by ``Architecture.position``; none of them knows which.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError


def refuse_far(limit: int | None, positions: Tensor) -> None:
    """Raises ConfigError when a position (B, T) is not below ``limit``, the table's length; None: there is no table.

    On an accelerator rows no longer than the table are taken to hold none, as positions count from a document's first
    token: to look would make the processor wait for the device at every step.
    """
    if limit is None or (positions.device.type != "cpu" and positions.shape[1] <= limit):
        return
    last = int(positions.max())
    if last >= limit:
        raise ConfigError(
            f"a document of {last + 1} tokens does not fit a model of {limit} positions",
            cure=f"set train.length to at most {limit}, or model.max_positions higher before pre-training",
        )


def sinusoids(length: int, width: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """(length, D): sin(t / 10000^(2i/D)) in the first half of the columns, cos in the second.

    Vaswani et al. 2017, section 3.5, writes sines and cosines in turn; the halves are the order of the authors' code
    and of the public twin, and differ by a permutation of columns that the first matrix absorbs.
    """
    half = -(-width // 2)
    rates = 10_000.0 ** (-2 * torch.arange(half, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates  # (length, D / 2)
    return torch.cat([angles.sin(), angles[:, : width - half].cos()], dim=1).to(dtype)


def rotation(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """positions (B, T) -> cos, sin (B, 1, T, d) of t * base^(-2i/d), Su et al. 2021, equation 15.

    Pair i is columns (i, i + d/2), as in the public checkpoints; the paper pairs neighbours: a permutation of columns.
    Angles are taken in float32 at least: bfloat16 has 8 bits for a position.
    """
    exact = torch.float64 if dtype is torch.float64 else torch.float32
    rates = base ** (-torch.arange(0, width, 2, device=positions.device, dtype=exact) / width)  # (d / 2,)
    angles = (positions.to(exact)[..., None] * rates).repeat(1, 1, 2)[:, None]  # (B, 1, T, d)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, H, T, d) turned by each position's angles (Su et al. 2021, equation 34)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def alibi_slopes(heads: int) -> Tensor:
    """(H,) slopes 2^(-8/H), 2^(-16/H), ... (Press et al. 2022, section 3).

    Where H is not a power of two, their code's rule: those of the next smaller power of two, then every other one of
    twice as many heads.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = 2.0 ** (-8 / power * torch.arange(1, power + 1))
    between = 2.0 ** (-4 / power * torch.arange(1, 2 * power, 2))
    return torch.cat([slopes, between])[:heads]


def alibi_bias(queries: Tensor, keys: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """queries (B, T), keys (B, S) positions -> (B, H, T, S): -slope * distance, symmetric where the future is seen."""
    distance = (queries[:, :, None] - keys[:, None, :]).abs()  # (B, T, S)
    return (-alibi_slopes(heads).to(queries.device)[:, None, None] * distance[:, None]).to(dtype)


def buckets(relative: Tensor, count: int, distance: int, two_sided: bool) -> Tensor:
    """Relative positions (key - query) -> bucket numbers, Raffel et al. 2020, section 2.1.

    Half of the buckets are one distance each, the others logarithmic up to ``distance``, beyond which all share the
    last. two_sided: half of the buckets for keys after the query; else those count as distance 0.
    """
    if two_sided:
        count //= 2
        first = torch.where(relative > 0, count, 0)
        away = relative.abs()
    else:
        first = torch.zeros_like(relative)
        away = (-relative).clamp(min=0)
    exact = count // 2
    scaled = torch.log(away.clamp(min=1).float() / exact) / math.log(distance / exact) * (count - exact)
    far = (exact + scaled.long()).clamp(max=count - 1)
    return first + torch.where(away < exact, away, far)


class BucketBias(nn.Module):
    """T5's relative positions: a learned number for each bucket and head, added to the scores of every layer."""

    def __init__(self, count: int, distance: int, heads: int, two_sided: bool, std: float):
        super().__init__()
        self.distance, self.two_sided = distance, two_sided
        self.weight = nn.Parameter(torch.empty(count, heads).normal_(0.0, std))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """queries (B, T), keys (B, S) positions -> (B, H, T, S)."""
        relative = keys[:, None, :] - queries[:, :, None]  # (B, T, S)
        number = buckets(relative, self.weight.shape[0], self.distance, self.two_sided)
        return self.weight[number].permute(0, 3, 1, 2)
