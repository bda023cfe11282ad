"""The Transformer of 2017 (Vaswani et al.), as Marian trains it (Junczys-Dowmunt et al. 2018): "marian".

Sines and cosines lie in halves, not in turn; the scale of the embeddings and the activation are configuration, and the
output has a bias. Where the two sides have no table in common, "vocab_size" is the source's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.interop.family import ACTIVATIONS, Family, Rows, View, pair

_SAME = {  # decoder key -> encoder key: both sides have one shape
    "decoder_attention_heads": "encoder_attention_heads",
    "decoder_ffn_dim": "encoder_ffn_dim",
    "decoder_start_token_id": "pad_token_id",
}


def _stack(side: str) -> Rows:
    ours, theirs = f"{side}.layers.{{i}}", f"model.{side}.layers.{{i}}"
    joined = (f"{theirs}.self_attn.{name}_proj" for name in "qkv")
    return {
        **pair(f"{ours}.attention.qkv", *joined),
        **pair(f"{ours}.attention.output", f"{theirs}.self_attn.out_proj"),
        **pair(f"{ours}.attention_norm", f"{theirs}.self_attn_layer_norm"),
        **pair(f"{ours}.ffn_in", f"{theirs}.fc1"),
        **pair(f"{ours}.ffn_out", f"{theirs}.fc2"),
        **pair(f"{ours}.ffn_norm", f"{theirs}.final_layer_norm"),
    }


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    for key, other in _SAME.items():
        if config.get(key, config.get(other)) != config.get(other):
            what = f"{key} {config[key]} is not {other} {config.get(other)}"
            raise ConfigError(what, cure="use a folder whose two sides have one shape")
    sizes = config.get("vocab_size"), config.get("decoder_vocab_size", config.get("vocab_size"))
    if not config.get("share_encoder_decoder_embeddings", True):
        return {"vocab_size": sizes[1], "source_vocab_size": sizes[0]}
    if sizes[0] != sizes[1]:
        what = f"decoder_vocab_size {sizes[1]} is not vocab_size {sizes[0]}, and one table serves both sides"
        raise ConfigError(what, cure="set share_encoder_decoder_embeddings to false where there are two")
    return {}


def _write(arch: Architecture) -> dict[str, Any]:
    return {
        "decoder_attention_heads": arch.heads,
        "decoder_ffn_dim": arch.ffn_width,
        "vocab_size": arch.vocab_size if arch.source_vocab_size is None else arch.source_vocab_size,
        "decoder_vocab_size": arch.vocab_size,
        "share_encoder_decoder_embeddings": arch.source_vocab_size is None,
        "decoder_start_token_id": arch.pad_id,
        "forced_eos_token_id": None,  # absent, the public code would force token 0
    }


def _unfit(arch: Architecture) -> list[str]:
    return [] if arch.decoder_layers else ["decoder_layers"]


_CROSS = "model.decoder.layers.{i}.encoder_attn"

MARIAN = Family(
    model_type="marian",
    prefix="model.",
    parts={
        "body": {
            "embeddings.tokens.weight": ("model.shared.weight",),
            **_stack("encoder"),
            **_stack("decoder"),
            **pair("decoder.layers.{i}.cross.query", f"{_CROSS}.q_proj"),
            **pair("decoder.layers.{i}.cross.keys_values", f"{_CROSS}.k_proj", f"{_CROSS}.v_proj"),
            **pair("decoder.layers.{i}.cross.output", f"{_CROSS}.out_proj"),
            **pair("decoder.layers.{i}.cross_norm", "model.decoder.layers.{i}.encoder_attn_layer_norm"),
        },
        "causal": {"output": ("lm_head.weight",), "bias": ("final_logits_bias",)},
    },
    classes=((("causal",), "MarianMTModel"), ((), "MarianModel")),
    keys={
        "vocab_size": "vocab_size",
        "d_model": "width",
        "encoder_layers": "layers",
        "decoder_layers": "decoder_layers",
        "encoder_attention_heads": "heads",
        "encoder_ffn_dim": "ffn_width",
        "max_position_embeddings": "max_positions",
        "dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "init_std": "init_std",
        "scale_embedding": "embedding_scale",
        "pad_token_id": "pad_id",
        "tie_word_embeddings": "tied",
    },
    required=(
        "vocab_size",
        "d_model",
        "encoder_layers",
        "decoder_layers",
        "encoder_attention_heads",
        "encoder_ffn_dim",
        "pad_token_id",
    ),
    activation=("activation_function", {**ACTIVATIONS, "swish": "silu"}),
    slots={"position": "sinusoidal", "types": 0, "embedding_norm": False, "norm_eps": 1e-5, "output_bias": True},
    fixed={
        "is_encoder_decoder": (True, "half of the model"),
        "is_decoder": (False, "half of the model"),
        "normalize_before": (False, "norms before the branches"),
        "normalize_embedding": (False, "a norm of the embeddings"),
        "add_final_layer_norm": (False, "a last norm"),
    },
    defaults={"activation_function": "gelu", "attention_dropout": 0.0, "max_position_embeddings": 1024},
    derived=("source_vocab_size",),
    read=_read,
    write=_write,
    unfit=_unfit,
    copies={
        "lm_head.weight": "model.shared.weight",
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
    },
    apart={
        "embeddings.tokens.weight": ("model.decoder.embed_tokens.weight",),
        "source_embeddings.tokens.weight": ("model.encoder.embed_tokens.weight",),
    },
    apart_copies={"lm_head.weight": "model.decoder.embed_tokens.weight"},
    ignorable=(r"model\.(encoder|decoder)\.embed_positions\.weight",),  # the sinusoids themselves
    views={"bias": View(lambda t, arch: t[None], lambda t, arch: t[0])},  # a row (1, V)
    classifier_dropout=None,
    generates=True,
    body=EncoderDecoder,
)
