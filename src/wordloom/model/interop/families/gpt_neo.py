"""GPT-Neo (Black et al. 2021), the public twin of GPT-3's architecture: global and local layers in turn.

Its scores are not divided by sqrt(d) and are computed in float32 whatever the model's precision; queries, keys and
values have no bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.interop.families.gpt import CAUSAL_SLOTS, GPT_HEADS, LAST_NORM, gpt_body
from wordloom.model.interop.family import ACTIVATIONS, ANSWER, CAUSAL_HEADS, TAG, Family

_QKV = ("attention.q_proj", "attention.k_proj", "attention.v_proj")


def alternation(local: list[bool]) -> int | None:
    """g where the layers that are not local are those divisible by g, the number of layers where all but the first
    are local; None where there is no such g."""
    gaps = [i for i, is_local in enumerate(local) if i and not is_local]
    every = gaps[0] if gaps else len(local)
    return every if [bool(i % every) for i in range(len(local))] == local else None


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        kinds = [kind for kinds, times in config["attention_types"] for kind in list(kinds) * times]
    except (TypeError, ValueError):
        raise ConfigError(f"attention_types is {config['attention_types']!r}", cure="correct the file") from None
    if len(kinds) != config["num_layers"] or not set(kinds) <= {"global", "local"}:
        what = f"attention_types names {len(kinds)} layers ({', '.join(sorted(set(map(str, kinds))))})"
        raise ConfigError(f"{what}, not {config['num_layers']} that are global or local", cure="correct the file")
    every = alternation([kind == "local" for kind in kinds])
    if every is None:
        raise ConfigError("attention_types do not alternate evenly from a global layer", cure="use another folder")
    inner = config.get("intermediate_size")
    values = {"ffn_width": 4 * config["hidden_size"] if inner is None else inner}
    return values | ({"window": config["window_size"], "global_every": every} if "local" in kinds else {})


def _write(arch: Architecture) -> dict[str, Any]:
    kinds = ["local" if arch.is_local(i) else "global" for i in range(arch.layers)]
    return {
        "intermediate_size": arch.ffn_width,
        "attention_types": [[kinds, 1]],
        "window_size": arch.max_positions if arch.window is None else arch.window,
    }


GPT_NEO = Family(
    model_type="gpt_neo",
    prefix="transformer.",
    parts={
        "body": {**gpt_body("wte", "wpe", _QKV, "attention.out_proj"), **LAST_NORM},
        **GPT_HEADS,
        "answer": ANSWER,
        "tag": TAG,
    },
    classes=(
        (("classify",), "GPTNeoForSequenceClassification"),
        (("answer",), "GPTNeoForQuestionAnswering"),
        (("tag",), "GPTNeoForTokenClassification"),
        (("causal",), "GPTNeoForCausalLM"),
        ((), "GPTNeoModel"),
    ),
    keys={
        "vocab_size": "vocab_size",
        "hidden_size": "width",
        "num_layers": "layers",
        "num_heads": "heads",
        "max_position_embeddings": "max_positions",
        "layer_norm_epsilon": "norm_eps",
        "resid_dropout": "dropout",
        "attention_dropout": "attention_dropout",
        "initializer_range": "init_std",
        "pad_token_id": "pad_id",
        "tie_word_embeddings": "tied",
    },
    required=("vocab_size", "hidden_size", "num_layers", "num_heads"),
    activation=("activation_function", ACTIVATIONS),
    slots={**CAUSAL_SLOTS, "norm_place": "before", "attention_scale": False, "qkv_bias": False},
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": 2048,
        "attention_types": [[["global", "local"], 12]],
        "window_size": 256,
        "resid_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    same={"embed_dropout": "resid_dropout"},
    derived=("ffn_width", "window", "global_every"),
    read=_read,
    write=_write,
    copies={"lm_head.weight": "transformer.wte.weight"},
    ignorable=(r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)",),
    classifier_dropout=None,
    generates=True,
    heads=CAUSAL_HEADS,
)
