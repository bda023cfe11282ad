"""From the values of an architecture to the body that has them, and back from what a bundle says."""

from __future__ import annotations

from typing import Any

from wordloom.model.architecture import Architecture
from wordloom.model.convolution import Convolution, ConvolutionArchitecture
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.recurrent import Recurrent, RecurrentArchitecture
from wordloom.model.recurrent_seq2seq import RecurrentSeq2Seq, RecurrentSeq2SeqArchitecture
from wordloom.model.transformer import Transformer

AnyArchitecture = Architecture | RecurrentArchitecture | RecurrentSeq2SeqArchitecture | ConvolutionArchitecture
SourceReader = EncoderDecoder | RecurrentSeq2Seq  # bodies that write what they read in a source
Body = Transformer | Recurrent | Convolution | SourceReader


def reads_source(arch: AnyArchitecture) -> bool:
    """Whether its body is a `SourceReader`."""
    return isinstance(arch, RecurrentSeq2SeqArchitecture) or getattr(arch, "decoder_layers", 0) > 0


def make_body(arch: AnyArchitecture) -> Body:
    """A body with random weights, drawn from torch's generator."""
    if isinstance(arch, RecurrentArchitecture):
        return Recurrent(arch)
    if isinstance(arch, RecurrentSeq2SeqArchitecture):
        return RecurrentSeq2Seq(arch)
    if isinstance(arch, ConvolutionArchitecture):
        return Convolution(arch)
    return EncoderDecoder(arch) if arch.decoder_layers else Transformer(arch)


def architecture_from_json(values: dict[str, Any]) -> AnyArchitecture:
    """What ``to_json`` of any kind wrote. Raises BundleError on missing, unknown or impossible values."""
    if "feeding" in values:
        return RecurrentSeq2SeqArchitecture.from_json(values)
    if "widths" in values:
        return ConvolutionArchitecture.from_json(values)
    return RecurrentArchitecture.from_json(values) if "cell" in values else Architecture.from_json(values)
