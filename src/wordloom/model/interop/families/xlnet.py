"""XLNet (Yang et al. 2019): relative attention with memory, and the query stream of predicted positions.

The public code keeps u, v and b for each layer whatever ``untie_r`` says, as we do. It has one dropout for everything:
ours of attention, which only training reads, is not written. ``mem_len`` null keeps all that was ever read; a memory
here has a length, and null is read as the default, 512. Its classifiers summarise the last token, which ours do not:
they have no twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordloom.model.architecture import Architecture
from wordloom.model.heads import TokenHead
from wordloom.model.interop.family import ACTIVATIONS, ANSWER, HEADS, TAG, Family, View, pair

_LAYER = "transformer.layer.{i}"
_SELF = f"{_LAYER}.rel_attn"
# A matrix of all heads is kept as (D, H, d): inputs first, but for that of the output.
_HEADS_OUT = View(lambda t, arch: t.mT.unflatten(1, (arch.heads, -1)), lambda t, arch: t.flatten(1).mT)
_HEADS_IN = View(lambda t, arch: t.unflatten(1, (arch.heads, -1)), lambda t, arch: t.flatten(1))
_VECTOR = View(lambda t, arch: t.view(arch.heads, -1), lambda t, arch: t.flatten())  # (D,) as (H, d)
_QUERY = View(lambda t, arch: t.view(1, 1, -1), lambda t, arch: t.flatten())


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"attention_dropout": config["dropout"]}


def _write(arch: Architecture) -> dict[str, Any]:
    return {"d_head": arch.head_width, "untie_r": True, "reuse_len": None}


XLNET = Family(
    model_type="xlnet",
    prefix="transformer.",
    parts={
        "body": {
            "embeddings.tokens.weight": ("transformer.word_embedding.weight",),
            "embeddings.query": ("transformer.mask_emb",),
            "layers.{i}.attention.qkv.weight": (f"{_SELF}.q", f"{_SELF}.k", f"{_SELF}.v"),
            "layers.{i}.attention.place.weight": (f"{_SELF}.r",),
            "layers.{i}.attention.output.weight": (f"{_SELF}.o",),
            "layers.{i}.attention.content_bias": (f"{_SELF}.r_w_bias",),
            "layers.{i}.attention.place_bias": (f"{_SELF}.r_r_bias",),
            "layers.{i}.attention.segment_bias": (f"{_SELF}.r_s_bias",),
            "layers.{i}.attention.segments.weight": (f"{_SELF}.seg_embed",),
            **pair("layers.{i}.attention_norm", f"{_SELF}.layer_norm"),
            **pair("layers.{i}.ffn_in", f"{_LAYER}.ff.layer_1"),
            **pair("layers.{i}.ffn_out", f"{_LAYER}.ff.layer_2"),
            **pair("layers.{i}.ffn_norm", f"{_LAYER}.ff.layer_norm"),
        },
        "permuted": {"output": ("lm_loss.weight",), "bias": ("lm_loss.bias",)},
        "answer": ANSWER,
        "tag": TAG,
    },
    classes=(
        (("answer",), "XLNetForQuestionAnsweringSimple"),
        (("tag",), "XLNetForTokenClassification"),
        (("permuted",), "XLNetLMHeadModel"),
        ((), "XLNetModel"),
    ),
    keys={
        "vocab_size": "vocab_size",
        "d_model": "width",
        "n_layer": "layers",
        "n_head": "heads",
        "d_inner": "ffn_width",
        "layer_norm_eps": "norm_eps",
        "dropout": "dropout",
        "initializer_range": "init_std",
        "pad_token_id": "pad_id",
        "mem_len": "memory",
        "tie_word_embeddings": "tied",
    },
    required=("vocab_size", "d_model", "n_layer", "n_head", "d_inner"),
    activation=("ff_activation", ACTIVATIONS),
    slots={
        "position": "xl",
        "two_stream": True,
        "qkv_bias": False,
        "embedding_norm": False,
        "inner_dropout": True,
    },
    fixed={
        "attn_type": ("bi", "a model that sees the past alone"),
        "bi_data": (False, "rows of which half are read backwards"),
        "clamp_len": (-1, "distances that end"),
        "same_length": (False, "a past of one length for every token"),
    },
    defaults={"mem_len": 512, "pad_token_id": 5, "dropout": 0.1},
    derived=("attention_dropout", "max_positions"),
    read=_read,
    write=_write,
    copies={"lm_loss.weight": "transformer.word_embedding.weight"},
    views={
        "layers.{i}.attention.qkv.weight": _HEADS_OUT,
        "layers.{i}.attention.place.weight": _HEADS_OUT,
        "layers.{i}.attention.output.weight": _HEADS_IN,
        "layers.{i}.attention.segments.weight": _HEADS_IN,
        "layers.{i}.attention.content_bias": _VECTOR,
        "layers.{i}.attention.place_bias": _VECTOR,
        "layers.{i}.attention.segment_bias": _VECTOR,
        "embeddings.query": _QUERY,
    },
    classifier_dropout=None,
    heads={**HEADS, "permuted": lambda arch, classes: TokenHead(arch, transform=False, bias=True)},
)
