"""GPT-2 (Radford et al. 2019): norms before the branches and at the end, residual matrices drawn smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordloom.model.architecture import Architecture
from wordloom.model.interop.families.gpt import (
    CAUSAL_SLOTS,
    CONV1D,
    GPT_HEADS,
    GPT_KEYS,
    GPT_REQUIRED,
    LAST_NORM,
    gpt_body,
)
from wordloom.model.interop.family import ACTIVATIONS, ANSWER, CAUSAL_HEADS, TAG, Family


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    inner = config.get("n_inner")
    return {"ffn_width": 4 * config["n_embd"] if inner is None else inner}


def _write(arch: Architecture) -> dict[str, Any]:
    return {"n_inner": arch.ffn_width}


GPT2 = Family(
    model_type="gpt2",
    prefix="transformer.",
    parts={"body": {**gpt_body("wte", "wpe"), **LAST_NORM}, **GPT_HEADS, "answer": ANSWER, "tag": TAG},
    classes=(
        (("classify",), "GPT2ForSequenceClassification"),
        (("answer",), "GPT2ForQuestionAnswering"),
        (("tag",), "GPT2ForTokenClassification"),
        (("causal",), "GPT2LMHeadModel"),
        ((), "GPT2Model"),
    ),
    keys=GPT_KEYS,
    required=GPT_REQUIRED,
    activation=("activation_function", ACTIVATIONS),
    slots={**CAUSAL_SLOTS, "norm_place": "before", "scaled_init": True},
    fixed={
        "scale_attn_weights": (True, "scores without their scale"),
        "scale_attn_by_inverse_layer_idx": (False, "another scale of the scores in each layer"),
        "add_cross_attention": (False, "cross-attention"),
    },
    defaults={"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_positions": 1024},
    same={"embd_pdrop": "resid_pdrop"},
    derived=("ffn_width",),
    read=_read,
    write=_write,
    copies={"lm_head.weight": "transformer.wte.weight"},
    ignorable=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",),
    views=CONV1D,
    classifier_dropout=None,
    generates=True,
    heads=CAUSAL_HEADS,
)
