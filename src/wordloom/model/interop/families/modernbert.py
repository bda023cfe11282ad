"""ModernBERT (Warner et al. 2024) and its causal sister (Weller et al. 2025): rotary, gated, norms before the branches.

A local layer of the encoder sees local_attention / 2 tokens to each side and its own, so our window is one more; one
of the decoder sees local_attention / 2 tokens back, its own among them. Layers with and without a window turn
queries and keys with bases of their own, and the first layer has no norm before its attention.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.interop.families.bert import ENCODER_REQUIRED, SIZE_KEYS
from wordloom.model.interop.families.gpt_neo import alternation
from wordloom.model.interop.family import ACTIVATIONS, HEADS, Family, pair
from wordloom.model.span_head import SpanHead

_LAYER = "model.layers.{i}"
_BIASES = ("attention_bias", "mlp_bias", "classifier_bias")
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def _every(config: Mapping[str, Any]) -> int:
    kinds = config.get("layer_types")
    if kinds is None:
        return int(config.get("global_attn_every_n_layers", 3))
    if len(kinds) != config["num_hidden_layers"] or not set(kinds) <= {_GLOBAL, _LOCAL}:
        what = f"layer_types are not {config['num_hidden_layers']} of {_GLOBAL} and {_LOCAL}"
        raise ConfigError(what, cure="correct the file")
    every = alternation([kind == _LOCAL for kind in kinds])
    if every is None:
        raise ConfigError("layer_types do not alternate evenly from a global layer", cure="use another folder")
    return every


def _base(config: Mapping[str, Any], kind: str, old: str) -> float:
    values = (config.get("rope_parameters") or {}).get(kind) or {}
    if values.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise ConfigError("rope_parameters stretch the rotary positions", cure="use another folder")
    default = 160_000.0 if kind == _GLOBAL else 10_000.0
    return float(values.get("rope_theta", config.get(old) or default))


def _reader(more: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """more: our window less the half of local_attention."""

    def read(config: Mapping[str, Any]) -> dict[str, Any]:
        biases = {bool(config.get(key, False)) for key in _BIASES}
        if len(biases) > 1:
            raise ConfigError(f"{', '.join(_BIASES)} differ", cure="use a folder where all or none are true")
        act = config.get("classifier_activation", "gelu")
        if act != config.get("hidden_activation", "gelu"):
            raise ConfigError(f"classifier_activation {act!r} is not hidden_activation", cure="use another folder")
        values = {
            "bias": biases.pop(),
            "rotary_base": _base(config, _GLOBAL, "global_rope_theta"),
            "rotary_base_local": _base(config, _LOCAL, "local_rope_theta"),
        }
        values["qkv_bias"], every = values["bias"], _every(config)
        if every > 1 and config["num_hidden_layers"] > 1:
            values |= {"window": config["local_attention"] // 2 + more, "global_every": every}
        return values

    return read


def _writer(more: int) -> Callable[[Architecture], dict[str, Any]]:
    def write(arch: Architecture) -> dict[str, Any]:
        local = arch.rotary_base if arch.rotary_base_local is None else arch.rotary_base_local
        every = arch.global_every if arch.window is not None else 1
        return {
            **dict.fromkeys(_BIASES, arch.bias),
            "classifier_activation": next(k for k, v in ACTIVATIONS.items() if v == arch.activation),
            "local_attention": 128 if arch.window is None else 2 * (arch.window - more),
            "layer_types": [_LOCAL if arch.is_local(i) else _GLOBAL for i in range(arch.layers)],
            "rope_parameters": {
                _GLOBAL: {"rope_type": "default", "rope_theta": arch.rotary_base},
                _LOCAL: {"rope_type": "default", "rope_theta": local},
            },
            # the same facts for older versions of the public code
            "global_attn_every_n_layers": every,
            "global_rope_theta": arch.rotary_base,
            "local_rope_theta": local,
        }

    return write


def _write_decoder(arch: Architecture) -> dict[str, Any]:
    """Its configuration does not take null for these ids: padding stands where none is known."""
    return dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), arch.pad_id) | _writer(0)(
        arch
    )


def _unfit(arch: Architecture) -> list[str]:
    bias = ["qkv_bias"] if arch.qkv_bias != arch.bias else []
    return bias + (["window"] if arch.window == 1 else [])


def _body(*qkv: str) -> dict[str, tuple[str, ...]]:
    return {
        "embeddings.tokens.weight": ("model.embeddings.tok_embeddings.weight",),
        **pair("embeddings.norm", "model.embeddings.norm"),
        **pair("layers.{i}.attention_norm", f"{_LAYER}.attn_norm"),
        **pair("layers.{i}.attention.qkv", *(f"{_LAYER}.attn.{name}" for name in qkv)),
        **pair("layers.{i}.attention.output", f"{_LAYER}.attn.Wo"),
        **pair("layers.{i}.ffn_norm", f"{_LAYER}.mlp_norm"),
        **pair("layers.{i}.ffn_in", f"{_LAYER}.mlp.Wi"),
        **pair("layers.{i}.ffn_out", f"{_LAYER}.mlp.Wo"),
        **pair("norm", "model.final_norm"),
    }


def _masked(head: str) -> dict[str, tuple[str, ...]]:
    rows = {**pair("dense", f"{head}.dense"), **pair("norm", f"{head}.norm")}
    return {**rows, "output": ("decoder.weight",), "bias": ("decoder.bias",)}


MODERNBERT = Family(
    model_type="modernbert",
    prefix="model.",
    parts={
        "body": _body("Wqkv"),
        "masked": _masked("head"),
        "answer": {**pair("dense", "head.dense"), **pair("norm", "head.norm"), **pair("output", "classifier")},
    },
    classes=(
        (("answer",), "ModernBertForQuestionAnswering"),
        (("masked",), "ModernBertForMaskedLM"),
        ((), "ModernBertModel"),
    ),
    keys={
        **SIZE_KEYS,
        "norm_eps": "norm_eps",
        "norm_bias": "norm_bias",
        "mlp_dropout": "dropout",
        "attention_dropout": "attention_dropout",
    },
    required=ENCODER_REQUIRED,
    activation=("hidden_activation", ACTIVATIONS),
    slots={
        "types": 0,
        "position": "rotary",
        "norm_place": "before",
        "first_norm": False,
        "gated": True,
        "scaled_init": True,
    },
    fixed={"decoder_bias": (True, "logits without a bias")},
    defaults={
        "hidden_activation": "gelu",
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "mlp_dropout": 0.0,
        "attention_dropout": 0.0,
        "local_attention": 128,
    },
    same={"embedding_dropout": "mlp_dropout"},
    derived=("bias", "qkv_bias", "rotary_base", "rotary_base_local", "window", "global_every"),
    read=_reader(1),
    write=_writer(1),
    unfit=_unfit,
    copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    ignorable=(r"model\.(layers\.\d+\.attn\.)?rotary_emb\..*inv_freq",),
    heads={**HEADS, "answer": lambda arch, classes: SpanHead(arch, transform=True)},
)

MODERNBERT_DECODER = dataclasses.replace(
    MODERNBERT,
    model_type="modernbert-decoder",
    parts={"body": _body("q_proj", "k_proj", "v_proj"), "masked": _masked("lm_head")},
    classes=((("masked",), "ModernBertDecoderForCausalLM"), ((), "ModernBertDecoderModel")),
    slots={**MODERNBERT.slots, "attention": "causal"},
    read=_reader(0),
    write=_write_decoder,
    generates=True,
)
