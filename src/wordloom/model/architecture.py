"""The shape of a model as one frozen row of values: what a preset holds and a checkpoint records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True)
class Architecture:
    """Values of one Transformer encoder. Each slot is described once, here, and tested once.

    width is D, heads is H (D divisible by H), ffn_width is F, max_positions the longest row T.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    ffn_width: int
    max_positions: int = 512
    types: int = 2
    position: Literal["learned"] = "learned"
    norm: Literal["layernorm"] = "layernorm"
    norm_place: Literal["after"] = "after"
    activation: Literal["gelu"] = "gelu"
    norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    init_std: float = 0.02
    pad_id: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Architecture:
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown architecture keys {sorted(unknown)}")
        return cls(**values)
