"""The shape of a model as one frozen row of values: what a preset holds and a checkpoint records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from wordloom.errors import BundleError, ConfigError


@dataclass(frozen=True)
class Architecture:
    """Values of one Transformer encoder. Each slot is described once, here, and tested once.

    width is D, heads is H (D divisible by H), ffn_width is F, max_positions the longest document.
    dropout falls on the embeddings and on both branches of a layer, attention_dropout on the attention
    weights; init_std is the deviation of every random matrix. Raises ConfigError on impossible values.
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

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "ffn_width", "max_positions", "types"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"model {name} must be a whole number above 0, not {value!r}", cure="correct it")
        for name in ("dropout", "attention_dropout"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigError(f"model {name} must be at least 0 and below 1, not {value!r}", cure="correct it")
        for name in ("norm_eps", "init_std"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < 1:
                raise ConfigError(f"model {name} must lie between 0 and 1, not {value!r}", cure="correct it")
        if self.width % self.heads:
            raise ConfigError(
                f"model width {self.width} is not divisible by its {self.heads} heads",
                cure="choose a number of heads that divides the width (width / 64 is usual)",
            )
        slots = {"position": "learned", "norm": "layernorm", "norm_place": "after", "activation": "gelu"}
        for name, only in slots.items():
            if getattr(self, name) != only:
                raise ConfigError(f"model {name} {getattr(self, name)!r} is unknown", cure=f"use {only!r}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Architecture:
        """Raises BundleError on missing, unknown or impossible values: they come from a saved folder."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise BundleError(
                f"unknown architecture keys {', '.join(sorted(unknown))}", cure="open it with the version that wrote it"
            )
        try:
            return cls(**values)
        except (TypeError, ConfigError) as error:
            what = error.what if isinstance(error, ConfigError) else f"architecture is incomplete: {error}"
            raise BundleError(what, cure="write the folder again") from None
