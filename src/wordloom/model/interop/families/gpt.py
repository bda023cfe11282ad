"""GPT (Radford et al. 2018), "openai-gpt": norms after the branches, no last norm, a feed-forward net of 4 D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordloom.model.architecture import Architecture
from wordloom.model.interop.family import CAUSAL_HEADS, TRANSPOSED, Family, Rows, pair

GPT_KEYS = {  # of "openai-gpt" and "gpt2"
    "vocab_size": "vocab_size",
    "n_embd": "width",
    "n_layer": "layers",
    "n_head": "heads",
    "n_positions": "max_positions",
    "layer_norm_epsilon": "norm_eps",
    "resid_pdrop": "dropout",
    "attn_pdrop": "attention_dropout",
    "initializer_range": "init_std",
    "pad_token_id": "pad_id",
    "tie_word_embeddings": "tied",
}
GPT_REQUIRED = ("vocab_size", "n_embd", "n_layer", "n_head")
CAUSAL_SLOTS = {"attention": "causal", "types": 0, "embedding_norm": False}
CONV1D = {
    f"layers.{{i}}.{name}.weight": TRANSPOSED for name in ("attention.qkv", "attention.output", "ffn_in", "ffn_out")
}
GPT_HEADS: dict[str, Rows] = {
    "causal": {"output": ("lm_head.weight",)},
    "classify": {"output.weight": ("score.weight",)},
}
_LAYER = "transformer.h.{i}"


def gpt_body(tokens: str, positions: str, qkv: tuple[str, ...] = ("c_attn",), output: str = "c_proj") -> Rows:
    """Rows of the tables and layers of GPT, GPT-2 and GPT-Neo, by the names in which they differ."""
    attention = f"{_LAYER}.attn"
    return {
        "embeddings.tokens.weight": (f"transformer.{tokens}.weight",),
        "embeddings.positions.weight": (f"transformer.{positions}.weight",),
        **pair("layers.{i}.attention.qkv", *(f"{attention}.{name}" for name in qkv)),
        **pair("layers.{i}.attention.output", f"{attention}.{output}"),
        **pair("layers.{i}.attention_norm", f"{_LAYER}.ln_1"),
        **pair("layers.{i}.ffn_in", f"{_LAYER}.mlp.c_fc"),
        **pair("layers.{i}.ffn_out", f"{_LAYER}.mlp.c_proj"),
        **pair("layers.{i}.ffn_norm", f"{_LAYER}.ln_2"),
    }


LAST_NORM = pair("norm", "transformer.ln_f")  # of GPT-2 and GPT-Neo


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"ffn_width": 4 * config["n_embd"]}


def _unfit(arch: Architecture) -> list[str]:
    return [] if arch.ffn_width == 4 * arch.width else ["ffn_width"]


GPT = Family(
    model_type="openai-gpt",
    prefix="transformer.",
    parts={"body": gpt_body("tokens_embed", "positions_embed"), **GPT_HEADS},
    classes=(
        (("classify",), "OpenAIGPTForSequenceClassification"),
        (("causal",), "OpenAIGPTLMHeadModel"),
        ((), "OpenAIGPTModel"),
    ),
    keys=GPT_KEYS,
    required=GPT_REQUIRED,
    activation=("afn", {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu"}),  # its "gelu" is the approximation
    slots=CAUSAL_SLOTS,
    defaults={"afn": "gelu", "layer_norm_epsilon": 1e-5, "n_positions": 512},
    same={"embd_pdrop": "resid_pdrop"},
    derived=("ffn_width",),
    read=_read,
    unfit=_unfit,
    copies={"lm_head.weight": "transformer.tokens_embed.weight"},
    ignorable=(r"transformer\.h\.\d+\.attn\.bias", r"transformer\.position_ids"),
    views=CONV1D,
    classifier_dropout=None,
    generates=True,
    heads=CAUSAL_HEADS,
)
