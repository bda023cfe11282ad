"""T5 and T5 v1.1 (Raffel et al. 2020, section 2.1; v1.1: Shazeer 2020's gated feed-forward nets, an output matrix of
its own).

The public code scales the output where config.json's tie_word_embeddings was not false, or as scale_decoder_outputs
says since it always writes true for the former; whether the output matrix is the token table, the weights alone tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.model.architecture import Activation, Architecture
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.interop.family import ANSWER, Family, Rows

_FEED_FORWARD: Mapping[str, tuple[bool, Activation]] = {  # name -> gated, activation; the first of two is written
    "relu": (False, "relu"),
    "gelu": (False, "gelu"),
    "gelu_new": (False, "gelu_tanh"),
    "silu": (False, "silu"),
    "gated-gelu": (True, "gelu_tanh"),  # in the public code this name means the approximation
    "gated-gelu_new": (True, "gelu_tanh"),
    "gated-relu": (True, "relu"),
    "gated-silu": (True, "silu"),
}


def _stack(side: str, ffn: int) -> Rows:
    """Rows of the encoder or the decoder; ffn: the number of the feed-forward net among a block's parts."""
    block, ours = f"{side}.block.{{i}}.layer", f"{side}.layers.{{i}}"
    first = f"{block}.0.SelfAttention"
    return {
        f"{ours}.attention.qkv.weight": (f"{first}.q.weight", f"{first}.k.weight", f"{first}.v.weight"),
        f"{ours}.attention.output.weight": (f"{first}.o.weight",),
        f"{ours}.attention_norm.weight": (f"{block}.0.layer_norm.weight",),
        f"{ours}.ffn_in.weight": (f"{block}.{ffn}.DenseReluDense.wi.weight",),
        f"{ours}.ffn_out.weight": (f"{block}.{ffn}.DenseReluDense.wo.weight",),
        f"{ours}.ffn_norm.weight": (f"{block}.{ffn}.layer_norm.weight",),
        f"{side}.norm.weight": (f"{side}.final_layer_norm.weight",),
        f"{side}.buckets.weight": (f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
    }


def _gated(side: str, ffn: int) -> Rows:
    names = (f"{side}.block.{{i}}.layer.{ffn}.DenseReluDense.{name}.weight" for name in ("wi_0", "wi_1"))
    return {f"{side}.layers.{{i}}.ffn_in.weight": tuple(names)}


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    name = config.get("feed_forward_proj", "relu")
    if name not in _FEED_FORWARD:
        what = f"feed_forward_proj is {name!r}, not one of {', '.join(_FEED_FORWARD)}"
        raise ConfigError(what, cure="use another folder")
    pad = config.get("pad_token_id", 0)
    if config.get("decoder_start_token_id", pad) != pad:
        raise ConfigError("decoder_start_token_id is not pad_token_id", cure="use another folder")
    gated, activation = _FEED_FORWARD[name]
    width = config.get("d_kv", 64) * config["num_heads"]
    return {
        "gated": gated,
        "activation": activation,
        "attention_width": None if width == config["d_model"] else width,
        "attention_dropout": config.get("dropout_rate", 0.1),
        "decoder_layers": config.get("num_decoder_layers", config["num_layers"]),
        "max_positions": config.get("n_positions", 512),
        "output_scale": config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True)),
    }


def _write(arch: Architecture) -> dict[str, Any]:
    kind = arch.gated, arch.activation
    return {
        "feed_forward_proj": next(name for name, value in _FEED_FORWARD.items() if value == kind),
        "d_kv": arch.head_width,
        "num_decoder_layers": arch.decoder_layers,
        "n_positions": arch.max_positions,
        "scale_decoder_outputs": arch.output_scale,
        "tie_word_embeddings": arch.tied,
        "decoder_start_token_id": arch.pad_id,
    }


def _unfit(arch: Architecture) -> list[str]:
    wrong = [] if (arch.gated, arch.activation) in _FEED_FORWARD.values() else ["activation"]
    return wrong if arch.decoder_layers else [*wrong, "decoder_layers"]


def _settle(arch: Architecture, tensors: Mapping[str, Tensor]) -> Architecture:
    """The public code ties the output matrix unless the folder holds one that is not the token table."""
    own, table = tensors.get("lm_head.weight"), tensors.get("shared.weight")
    tied = own is None or (table is not None and torch.equal(own, table))
    return dataclasses.replace(arch, tied=tied)


_CROSS = "decoder.block.{i}.layer.1"

T5 = Family(
    model_type="t5",
    prefix="",
    parts={
        "body": {
            "embeddings.tokens.weight": ("shared.weight",),
            **_stack("encoder", 1),
            **_stack("decoder", 2),
            "decoder.layers.{i}.cross.query.weight": (f"{_CROSS}.EncDecAttention.q.weight",),
            "decoder.layers.{i}.cross.keys_values.weight": (
                f"{_CROSS}.EncDecAttention.k.weight",
                f"{_CROSS}.EncDecAttention.v.weight",
            ),
            "decoder.layers.{i}.cross.output.weight": (f"{_CROSS}.EncDecAttention.o.weight",),
            "decoder.layers.{i}.cross_norm.weight": (f"{_CROSS}.layer_norm.weight",),
        },
        "causal": {"output": ("lm_head.weight",)},
        "answer": ANSWER,
    },
    gated={**_gated("encoder", 1), **_gated("decoder", 2)},
    classes=(
        (("answer",), "T5ForQuestionAnswering"),
        (("causal",), "T5ForConditionalGeneration"),
        ((), "T5Model"),
    ),
    keys={
        "vocab_size": "vocab_size",
        "d_model": "width",
        "num_layers": "layers",
        "num_heads": "heads",
        "d_ff": "ffn_width",
        "relative_attention_num_buckets": "buckets",
        "relative_attention_max_distance": "bucket_distance",
        "dropout_rate": "dropout",
        "layer_norm_epsilon": "norm_eps",
        "pad_token_id": "pad_id",
    },
    required=("vocab_size", "d_model", "num_layers", "num_heads", "d_ff"),
    slots={
        "position": "t5",
        "types": 0,
        "norm": "rmsnorm",
        "norm_place": "before",
        "norm_eps": 1e-6,
        "embedding_norm": False,
        "attention_scale": False,
        "bias": False,
        "qkv_bias": False,
        "inner_dropout": True,
        "init": "inputs",
    },
    fixed={"is_encoder_decoder": (True, "half of the model"), "is_decoder": (False, "half of the model")},
    derived=(
        "gated",
        "activation",
        "attention_width",
        "attention_dropout",
        "decoder_layers",
        "max_positions",
        "output_scale",
        "tied",
    ),
    read=_read,
    write=_write,
    unfit=_unfit,
    settle=_settle,
    copies={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
    # an old bias of the cross-attention that no version of the public code adds
    ignorable=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    classifier_dropout=None,
    generates=True,
    body=EncoderDecoder,
)
