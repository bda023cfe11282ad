"""From the values of an architecture to the body that has them, and back from what a bundle says."""

from __future__ import annotations

from typing import Any

from wordloom.model.architecture import Architecture
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.recurrent import Recurrent, RecurrentArchitecture
from wordloom.model.transformer import Transformer

AnyArchitecture = Architecture | RecurrentArchitecture
Body = Transformer | EncoderDecoder | Recurrent


def make_body(arch: AnyArchitecture) -> Body:
    """A body with random weights, drawn from torch's generator."""
    if isinstance(arch, RecurrentArchitecture):
        return Recurrent(arch)
    return EncoderDecoder(arch) if arch.decoder_layers else Transformer(arch)


def architecture_from_json(values: dict[str, Any]) -> AnyArchitecture:
    """What ``to_json`` of either kind wrote. Raises BundleError on missing, unknown or impossible values."""
    return RecurrentArchitecture.from_json(values) if "cell" in values else Architecture.from_json(values)
