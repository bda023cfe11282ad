"""ALBERT (Lan et al. 2020): a token table of E columns, one layer applied L times, sentence order."""

from __future__ import annotations

from wordloom.model.architecture import Architecture
from wordloom.model.interop.families.bert import (
    ENCODER_FIXED,
    ENCODER_KEYS,
    ENCODER_REQUIRED,
    OLD_NORMS,
    encoder_buffers,
    without_types,
)
from wordloom.model.interop.family import ACTIVATIONS, ANSWER, TAG, Family, pair

_LAYER = "albert.encoder.albert_layer_groups.{i}.albert_layers.0"
_SELF = f"{_LAYER}.attention"
_POOLER = pair("pooler.dense", "albert.pooler")


def _unfit(arch: Architecture) -> list[str]:
    return without_types(arch) + ([] if arch.embedding_width is not None else ["embedding_width"])


ALBERT = Family(
    model_type="albert",
    prefix="albert.",
    parts={
        "body": {
            "embeddings.tokens.weight": ("albert.embeddings.word_embeddings.weight",),
            "embeddings.positions.weight": ("albert.embeddings.position_embeddings.weight",),
            "embeddings.types.weight": ("albert.embeddings.token_type_embeddings.weight",),
            **pair("embeddings.norm", "albert.embeddings.LayerNorm"),
            **pair("embeddings.project", "albert.encoder.embedding_hidden_mapping_in"),
            **pair("layers.{i}.attention.qkv", f"{_SELF}.query", f"{_SELF}.key", f"{_SELF}.value"),
            **pair("layers.{i}.attention.output", f"{_SELF}.dense"),
            **pair("layers.{i}.attention_norm", f"{_SELF}.LayerNorm"),
            **pair("layers.{i}.ffn_in", f"{_LAYER}.ffn"),
            **pair("layers.{i}.ffn_out", f"{_LAYER}.ffn_output"),
            **pair("layers.{i}.ffn_norm", f"{_LAYER}.full_layer_layer_norm"),
        },
        "pooler": pair("dense", "albert.pooler"),
        "masked": {
            **pair("dense", "predictions.dense"),
            **pair("norm", "predictions.LayerNorm"),
            "output": ("predictions.decoder.weight",),
            "bias": ("predictions.bias",),
        },
        "sentence_order": {**_POOLER, **pair("output", "sop_classifier.classifier")},
        "classify": {**_POOLER, **pair("output", "classifier")},
        "answer": ANSWER,
        "tag": TAG,
    },
    classes=(
        (("classify",), "AlbertForSequenceClassification"),
        (("answer",), "AlbertForQuestionAnswering"),
        (("tag",), "AlbertForTokenClassification"),
        (("masked", "sentence_order"), "AlbertForPreTraining"),
        (("masked",), "AlbertForMaskedLM"),
        ((), "AlbertModel"),
    ),
    keys={**ENCODER_KEYS, "embedding_size": "embedding_width"},
    required=(*ENCODER_REQUIRED, "embedding_size"),
    activation=("hidden_act", ACTIVATIONS),
    slots={"shared_layers": True},
    fixed={
        **ENCODER_FIXED,
        "num_hidden_groups": (1, "layers of several groups"),
        "inner_group_num": (1, "several layers in a group"),
    },
    defaults={"hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    unfit=_unfit,
    copies={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    ignorable=encoder_buffers("albert."),
    spellings=OLD_NORMS,
    classifier_dropout="classifier_dropout_prob",
)
