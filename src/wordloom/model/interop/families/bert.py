"""BERT (Devlin et al. 2019)."""

from __future__ import annotations

import re

from wordloom.model.architecture import Architecture
from wordloom.model.interop.family import ACTIVATIONS, ANSWER, TAG, Family, Rows, pair

SIZE_KEYS = {  # config.json keys that every encoder here has, ModernBERT among them
    "vocab_size": "vocab_size",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "ffn_width",
    "max_position_embeddings": "max_positions",
    "initializer_range": "init_std",
    "pad_token_id": "pad_id",
    "tie_word_embeddings": "tied",
}
ENCODER_KEYS = {  # those of BERT, RoBERTa, ALBERT and ELECTRA
    **SIZE_KEYS,
    "type_vocab_size": "types",
    "layer_norm_eps": "norm_eps",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}
ENCODER_REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
ENCODER_FIXED = {
    "position_embedding_type": ("absolute", "relative positions"),
    "is_decoder": (False, "a decoder"),
    "add_cross_attention": (False, "cross-attention"),
}
OLD_NORMS = {r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"}


def encoder_body(prefix: str) -> Rows:
    """Rows of the body of BERT and RoBERTa."""
    layer = f"{prefix}encoder.layer.{{i}}"
    attention = f"{layer}.attention.self"
    return {
        "embeddings.tokens.weight": (f"{prefix}embeddings.word_embeddings.weight",),
        "embeddings.positions.weight": (f"{prefix}embeddings.position_embeddings.weight",),
        "embeddings.types.weight": (f"{prefix}embeddings.token_type_embeddings.weight",),
        **pair("embeddings.norm", f"{prefix}embeddings.LayerNorm"),
        **pair("layers.{i}.attention.qkv", f"{attention}.query", f"{attention}.key", f"{attention}.value"),
        **pair("layers.{i}.attention.output", f"{layer}.attention.output.dense"),
        **pair("layers.{i}.attention_norm", f"{layer}.attention.output.LayerNorm"),
        **pair("layers.{i}.ffn_in", f"{layer}.intermediate.dense"),
        **pair("layers.{i}.ffn_out", f"{layer}.output.dense"),
        **pair("layers.{i}.ffn_norm", f"{layer}.output.LayerNorm"),
    }


def encoder_buffers(prefix: str) -> tuple[str, ...]:
    """Patterns of what older versions of the public code kept beside the weights."""
    return (rf"{re.escape(prefix)}embeddings\.(position_ids|token_type_ids)",)


def without_types(arch: Architecture) -> list[str]:
    """The public code always adds a segment vector."""
    return [] if arch.types else ["types"]


_POOLER = pair("pooler.dense", "bert.pooler.dense")

BERT = Family(
    model_type="bert",
    prefix="bert.",
    parts={
        "body": encoder_body("bert."),
        "pooler": pair("dense", "bert.pooler.dense"),
        "masked": {
            **pair("dense", "cls.predictions.transform.dense"),
            **pair("norm", "cls.predictions.transform.LayerNorm"),
            "output": ("cls.predictions.decoder.weight",),
            "bias": ("cls.predictions.bias",),
        },
        "next_sentence": {**_POOLER, **pair("output", "cls.seq_relationship")},
        "classify": {**_POOLER, **pair("output", "classifier")},
        "answer": ANSWER,
        "tag": TAG,
    },
    classes=(
        (("classify",), "BertForSequenceClassification"),
        (("answer",), "BertForQuestionAnswering"),
        (("tag",), "BertForTokenClassification"),
        (("masked", "next_sentence"), "BertForPreTraining"),
        (("next_sentence",), "BertForNextSentencePrediction"),
        (("masked",), "BertForMaskedLM"),
        ((), "BertModel"),
    ),
    keys=ENCODER_KEYS,
    required=ENCODER_REQUIRED,
    activation=("hidden_act", ACTIVATIONS),
    fixed=ENCODER_FIXED,
    unfit=without_types,
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    ignorable=encoder_buffers("bert."),
    spellings=OLD_NORMS,
)
