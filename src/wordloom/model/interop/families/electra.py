"""ELECTRA (Clark et al. 2020): BERT's body over a token table of E columns, and a head that tells replaced tokens.

Where E is the width the body is BERT's own, and the head alone tells the families apart. A generator is a family
member too: a body with a masked head. The public classifier has a GELU where our
pooler has a tanh, so a classifier of ours is no twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wordloom.model.architecture import Architecture
from wordloom.model.interop.families.bert import (
    ENCODER_FIXED,
    ENCODER_KEYS,
    ENCODER_REQUIRED,
    OLD_NORMS,
    encoder_body,
    encoder_buffers,
    without_types,
)
from wordloom.model.interop.family import ACTIVATIONS, ANSWER, TAG, Family, pair


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"embedding_width": None if config["embedding_size"] == config["hidden_size"] else config["embedding_size"]}


def _write(arch: Architecture) -> dict[str, Any]:
    return {"embedding_size": arch.embedding_width or arch.width}


def _unfit(arch: Architecture) -> list[str]:
    """The public code has no matrix between equal widths."""
    return without_types(arch) + (["embedding_width"] if arch.embedding_width == arch.width else [])


ELECTRA = Family(
    model_type="electra",
    prefix="electra.",
    parts={
        "body": {**encoder_body("electra."), **pair("embeddings.project", "electra.embeddings_project")},
        "replaced": {
            **pair("dense", "discriminator_predictions.dense"),
            **pair("output", "discriminator_predictions.dense_prediction"),
        },
        "masked": {
            **pair("dense", "generator_predictions.dense"),
            **pair("norm", "generator_predictions.LayerNorm"),
            "output": ("generator_lm_head.weight",),
            "bias": ("generator_lm_head.bias",),
        },
        "answer": ANSWER,
        "tag": TAG,
    },
    classes=(
        (("answer",), "ElectraForQuestionAnswering"),
        (("tag",), "ElectraForTokenClassification"),
        (("replaced",), "ElectraForPreTraining"),
        (("masked",), "ElectraForMaskedLM"),
        ((), "ElectraModel"),
    ),
    keys=ENCODER_KEYS,
    required=(*ENCODER_REQUIRED, "embedding_size"),
    activation=("hidden_act", ACTIVATIONS),
    fixed=ENCODER_FIXED,
    derived=("embedding_width",),
    read=_read,
    write=_write,
    unfit=_unfit,
    copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    ignorable=encoder_buffers("electra."),
    spellings=OLD_NORMS,
)
