"""The published rows, and what is said about a wrong name."""

from __future__ import annotations

import re
from typing import get_args, get_type_hints

import pytest
import torch

from wordloom.cli.models import pretrain
from wordloom.config import OBJECTIVES
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.generator import Generator, generator_architecture
from wordloom.model.heads import MaskedHead, Pooler
from wordloom.presets import PRESETS, architecture
from wordloom.train.optim import set_frozen

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
    "textcnn-small": (10000, 3.4),  # by hand: 10,000 x 300, and 100 x 300 x (3 + 4 + 5) + 300 of Kim's filters
}


def test_the_verb_names_every_family() -> None:
    """In words of its help, as listing the rows there would load torch to print them."""
    option = get_args(get_type_hints(pretrain, include_extras=True)["preset"])[1]
    said = {word.rstrip(".") for word in re.findall(r"[a-z0-9.-]+", option.help)}
    families = {name.rpartition("-")[0] for name in PRESETS if PRESETS[name].pretrains}
    assert families - {"awd"} <= said and "awd-lstm" in said


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
    assert (PRESETS[name].objective in OBJECTIVES or not PRESETS[name].pretrains) and PRESETS[name].paper
    assert not isinstance(arch, Architecture) or arch.head_width == 64


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_of_a_body_has_one_depth(name: str) -> None:
    """Else freeze = "body" would train what it leaves out, and layer_decay take it for a head."""
    with torch.device("meta"):
        arch = architecture(name, 500, layers=2, **({"decoder_layers": 3} if "t5" in name else {}))
        stacks = [make_body(arch)]
        if name.startswith("electra"):
            assert isinstance(arch, Architecture)
            stacks.append(Generator(generator_architecture(arch, 0.5, 1.0)))
    for stack in stacks:
        depths = stack.layers_by_depth()
        own = [p for part, p in stack.named_parameters() if not part.startswith("head.")]
        assert sorted(id(p) for part in depths for p in part.parameters()) == sorted(map(id, own))
        layers = [(depth, list(part.parameters())) for depth, part in enumerate(depths)]
        set_frozen(stack, layers, "body", 0, 1)
        assert not any(p.requires_grad for p in own)
        set_frozen(stack, layers, "embeddings", 0, 1)
        frozen = {name for name, p in stack.named_parameters() if not p.requires_grad}
        below = ("embeddings.", "encoder.embeddings.", "project.")
        assert frozen or name.startswith("electra")
        assert all(part.startswith(below) or ".buckets." in f".{part}" for part in frozen)


def test_overrides_and_near_misses() -> None:
    arch = architecture("bert-mini", 500, dropout=0.0, layers=None, max_positions=64)
    assert (arch.layers, arch.dropout, arch.max_positions, arch.vocab_size) == (4, 0.0, 64, 500)
    with pytest.raises(ConfigError, match="unknown preset 'bert-mni'; did you mean 'bert-mini'"):
        architecture("bert-mni", 500)
    with pytest.raises(ConfigError, match="bert-mini has no value 'layer'; did you mean 'layers'"):
        architecture("bert-mini", 500, layer=3)
    with pytest.raises(ConfigError, match="not divisible"):
        architecture("bert-mini", 500, heads=7)
