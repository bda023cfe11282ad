"""The published rows, and what is said about a wrong name."""

from __future__ import annotations

import pytest
import torch

from wordloom.config import OBJECTIVES
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.heads import MaskedHead, Pooler
from wordloom.presets import PRESETS, architecture

# Parameters with pooler and masked head at the public vocabulary of 30,522 word pieces, in millions, as on the
# authors' model page for the small sizes (4.4, 11.3, 29.1) and for bert-base (110.1)
BERT = {"bert-tiny": 4.4, "bert-mini": 11.3, "bert-small": 29.1, "bert-base": 110.1}
# (vocabulary, millions of parameters of the body) of the public checkpoints; T5's: tests/model/test_encoder_decoder.py
PUBLISHED = {
    "roberta-base": (50265, 124.1),
    "albert-base": (30000, 11.1),
    "gpt-base": (40478, 116.5),
    "gpt2-small": (50257, 124.4),
    "gpt3-small": (50257, 125.2),
    "electra-small": (30522, 13.5),
    "electra-base": (30522, 108.9),
    "xlnet-base": (32000, 116.7),
    "lstm-medium": (10000, 13.3),  # Zaremba et al.: 20 million with an output matrix of its own
}


@pytest.mark.parametrize("name", BERT)
def test_parameter_counts_of_bert(name: str) -> None:
    arch = architecture(name, 30522)
    with torch.device("meta"):
        count = sum(p.numel() for part in (make_body(arch), Pooler(arch), MaskedHead(arch)) for p in part.parameters())
    assert count / 1e6 == pytest.approx(BERT[name], abs=0.05)
    assert arch.width // arch.heads == 64 and PRESETS[name].objective == "masked"


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    vocabulary, millions = PUBLISHED[name]
    with torch.device("meta"):
        count = sum(p.numel() for p in make_body(architecture(name, vocabulary)).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("name", PRESETS)
def test_every_row_is_possible_and_names_an_objective(name: str) -> None:
    arch = architecture(name, 500)
    assert PRESETS[name].objective in OBJECTIVES and PRESETS[name].paper
    assert not isinstance(arch, Architecture) or arch.head_width == 64


def test_overrides_and_near_misses() -> None:
    arch = architecture("bert-mini", 500, dropout=0.0, layers=None, max_positions=64)
    assert (arch.layers, arch.dropout, arch.max_positions, arch.vocab_size) == (4, 0.0, 64, 500)
    with pytest.raises(ConfigError, match="unknown preset 'bert-mni'; did you mean 'bert-mini'"):
        architecture("bert-mni", 500)
    with pytest.raises(ConfigError, match="bert-mini has no value 'layer'; did you mean 'layers'"):
        architecture("bert-mini", 500, layer=3)
    with pytest.raises(ConfigError, match="not divisible"):
        architecture("bert-mini", 500, heads=7)
