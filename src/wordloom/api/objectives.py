"""From an objective's table of a recipe to the objective, and to the rows of text it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wordloom.config import (
    CausalConfig,
    HybridConfig,
    MaskedConfig,
    PermutedConfig,
    ReplacedConfig,
    SpansConfig,
    TrainConfig,
)
from wordloom.data.contiguous import ContiguousRows
from wordloom.data.packing import PackedRows, PairRows
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.model.convolution import ConvolutionArchitecture
from wordloom.model.heads import refuse_narrow_table
from wordloom.model.model import Model
from wordloom.objectives.causal import Causal
from wordloom.objectives.hybrid import Hybrid
from wordloom.objectives.masked import Masked
from wordloom.objectives.permuted import Permuted
from wordloom.objectives.replaced import Replaced
from wordloom.objectives.spans import Spans
from wordloom.text.tokenizer import Tokenizer

AnyObjective = MaskedConfig | CausalConfig | ReplacedConfig | HybridConfig | SpansConfig | PermutedConfig


def make_objective(
    config: AnyObjective, tokenizer: Tokenizer, store: TokenStore | None = None
) -> Masked | Causal | Replaced | Hybrid | Spans | Permuted:
    """store: of the training text, read only by what counts its tokens."""
    if isinstance(config, CausalConfig):
        counted = store if config.softmax == "adaptive" else None
        return Causal(config, None if counted is None else torch.from_numpy(counted.counts(tokenizer.vocab_size)))
    if isinstance(config, SpansConfig):
        cls_id, eos_id = tokenizer.cls_id, tokenizer.sep_id
        sentinels = tokenizer.sentinel_ids()[: config.sentinels]
        return Spans(config, sentinels=sentinels, frame=(cls_id, eos_id), eos_id=eos_id, start_id=tokenizer.pad_id)
    if isinstance(config, PermutedConfig):
        return Permuted(config, vocab_size=tokenizer.vocab_size, special_ids=tokenizer.special_ids)
    refuse_maskless(config, tokenizer)
    ids: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "mask_id": tokenizer.mask_id,
        "special_ids": tokenizer.special_ids,
    }
    if isinstance(config, ReplacedConfig):
        return Replaced(config, Masked(MaskedConfig(rate=config.rate), **ids, masked=1.0, random=0.0))
    if isinstance(config, HybridConfig):
        masked = MaskedConfig(rate=config.rate, rate_end=config.rate_end)
        return Hybrid(config, Masked(masked, **ids), Causal(CausalConfig()))
    return Masked(config, **ids)


def refuse_maskless(config: AnyObjective, tokenizer: Tokenizer) -> None:
    """Raises ConfigError where the objective puts in a token that the tokenizer has not."""
    if isinstance(config, (MaskedConfig, ReplacedConfig, HybridConfig)) and tokenizer.mask_id is None:
        cure = "use another tokenizer, or objective.name = 'causal'"
        raise ConfigError(f"the tokenizer has no mask token, which the {config.name} objective puts in", cure=cure)


def make_layout(
    store: TokenStore, tokenizer: Tokenizer, train: TrainConfig, config: AnyObjective, *, streams: int
) -> Any:
    """Rows of the store as the objective wants them: pairs, contiguous streams, or packed documents.

    streams: rows taken together, of which each goes on in the next ones.
    """
    ids = {"cls_id": tokenizer.cls_id, "sep_id": tokenizer.sep_id, "pad_id": tokenizer.pad_id}
    if isinstance(config, MaskedConfig) and (config.next_sentence or config.sentence_order):
        return PairRows(store, train.length, seed=train.seed, swaps=config.sentence_order, **ids)
    if config.documents == "streams":
        return ContiguousRows(store, train.length, streams=streams, sep_id=tokenizer.sep_id, seed=train.seed)
    return PackedRows(store, train.length, seed=train.seed, documents=config.documents, **ids)


def refuse_unfit(config: AnyObjective, arch: AnyArchitecture, preset: str) -> None:
    """Refuse an objective that the model cannot learn: it would be cheated, or blind. preset: what the messages call
    the model. Raises ConfigError."""
    if isinstance(arch, ConvolutionArchitecture):
        what = f"{preset} sees a token with its neighbours at most: it learns from labels alone, and is not pre-trained"
        raise ConfigError(what, cure=f"train it with wordloom finetune {preset} DATA, or choose another preset")
    if isinstance(config, MaskedConfig) and config.documents != "isolated":
        for key in ("next_sentence", "sentence_order"):
            if getattr(config, key):
                cure = f"remove objective.documents or objective.{key}"
                raise ConfigError(f"{key.replace('_', '-')} pairs are always isolated", cure=cure)
    decoder = reads_source(arch)
    if decoder != isinstance(config, SpansConfig):
        what = "reads a source and writes a target" if decoder else "has no decoder to write what is missing"
        cure = f"choose another preset, or objective.name = {'spans' if decoder else 'masked'!r}"
        raise ConfigError(f"{preset} {what}: the {config.name} objective does not fit it", cure=cure)
    if isinstance(config, (ReplacedConfig, HybridConfig)) and not isinstance(arch, Architecture):
        cure = "choose a preset of that kind, or another objective.name"
        raise ConfigError(f"the {config.name} objective needs a Transformer encoder, which {preset} is not", cure=cure)
    two_stream = bool(getattr(arch, "two_stream", False))
    if two_stream != isinstance(config, PermutedConfig):
        has = "has a query stream that only the permuted objective trains" if two_stream else "has no query stream"
        cure = "choose an xlnet preset for permuted, another one for other objectives"
        raise ConfigError(f"{preset} {has}: the {config.name} objective does not fit it", cure=cure)
    wanted = "causal" if isinstance(config, CausalConfig) else "full"
    if arch.attention != wanted:
        sees = "sees the token it is to predict" if wanted == "causal" else "does not see what follows a masked token"
        cure = f"choose another preset, or objective.name = {'masked' if wanted == 'causal' else 'causal'!r}"
        raise ConfigError(f"{preset} {sees}: the {config.name} objective does not fit it", cure=cure)
    own_output = isinstance(config, CausalConfig) and config.softmax == "adaptive"
    if isinstance(config, (CausalConfig, SpansConfig, PermutedConfig)) and not own_output:
        refuse_narrow_table(arch)


def predicted_share(config: AnyObjective) -> float:
    """Share of the tokens whose logits are computed."""
    if isinstance(config, HybridConfig):
        return config.causal_share + (1 - config.causal_share) * config.rate
    if isinstance(config, SpansConfig):  # of both sides' tokens, with a sentinel a span, end tokens aside
        sentinels = config.rate / config.span
        return (config.rate + sentinels) / (1 + 2 * sentinels)
    if isinstance(config, PermutedConfig):
        return 1 / config.every
    return 1.0 if isinstance(config, CausalConfig) else config.rate


def learned_objective(extra: Mapping[str, Any]) -> dict[str, Any]:
    """[objective] of a bundle's pre-training; {} where the bundle does not say."""
    return dict(extra.get("objective") or {})


def without_auxiliary(model: Model, objective: Any) -> Model:
    """The model without the heads that serve its training alone, over the same weights: what a bundle holds."""
    auxiliary = getattr(objective, "auxiliary", ())
    return Model(model.body, {name: head for name, head in model.heads.items() if name not in auxiliary})
