"""What architectures share: values in a saved folder, and what a network says that has no slots of a Transformer."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, ClassVar, Literal, Self

from wordloom.errors import BundleError, ConfigError


class Stored:
    """Base of the architectures, which are frozen dataclasses: to JSON and back."""

    def to_json(self: Any) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises BundleError on missing, unknown or impossible values: they come from a saved folder."""
        own: Any = cls
        unknown = set(values) - {f.name for f in fields(own)}
        if unknown:
            what = f"unknown architecture keys {', '.join(sorted(unknown))}"
            raise BundleError(what, cure="open it with the version that wrote it")
        try:
            return cls(**values)
        except (TypeError, ConfigError) as error:
            what = error.what if isinstance(error, ConfigError) else f"architecture is incomplete: {error}"
            raise BundleError(what, cure="write the folder again") from None


class WithoutSlots(Stored):
    """What heads and the programs around read of any architecture, of one where it cannot be chosen."""

    bias: ClassVar[bool] = True
    norm: ClassVar[Literal["layernorm"]] = "layernorm"
    norm_bias: ClassVar[bool] = True
    norm_eps: ClassVar[float] = 1e-5
    activation: ClassVar[Literal["gelu", "relu"]] = "gelu"
    init: ClassVar[Literal["normal"]] = "normal"
    output_scale: ClassVar[bool] = False
    output_bias: ClassVar[bool] = False
    embedding_width: ClassVar[None] = None
    max_positions: ClassVar[None] = None
    limit: ClassVar[None] = None  # a document may be of any length
