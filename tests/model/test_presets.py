"""The published rows, and what is said about a wrong name."""

from __future__ import annotations

import pytest
import torch

from wordloom.errors import ConfigError
from wordloom.model.heads import MaskedHead, Pooler
from wordloom.model.transformer import Transformer
from wordloom.presets import PRESETS, architecture

# Parameters with pooler and masked head at the public vocabulary of 30,522 word pieces, in millions, as on the
# authors' model page for the small sizes (4.4, 11.3, 29.1) and for bert-base (110.1)
PUBLISHED = {"bert-tiny": 4.4, "bert-mini": 11.3, "bert-small": 29.1, "bert-base": 110.1}


@pytest.mark.parametrize("name", PRESETS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    arch = architecture(name, 30522)
    with torch.device("meta"):
        count = sum(
            p.numel() for part in (Transformer(arch), Pooler(arch), MaskedHead(arch)) for p in part.parameters()
        )
    assert count / 1e6 == pytest.approx(PUBLISHED[name], abs=0.05)
    assert arch.width // arch.heads == 64 and PRESETS[name].objective == "masked"


def test_overrides_and_near_misses() -> None:
    arch = architecture("bert-mini", 500, dropout=0.0, layers=None, max_positions=64)
    assert (arch.layers, arch.dropout, arch.max_positions, arch.vocab_size) == (4, 0.0, 64, 500)
    with pytest.raises(ConfigError, match="unknown preset 'bert-mni'; did you mean 'bert-mini'"):
        architecture("bert-mni", 500)
    with pytest.raises(ConfigError, match="unknown model value 'layer'; did you mean 'layers'"):
        architecture("bert-mini", 500, layer=3)
    with pytest.raises(ConfigError, match="not divisible"):
        architecture("bert-mini", 500, heads=7)
