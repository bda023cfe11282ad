"""RoBERTa (Liu et al. 2019): BERT's body without segments, and positions that begin after the padding's row.

The public code numbers positions from pad_token_id + 1 by counting the tokens that are not padding; the rows before
belong to no position. A text that holds the padding token itself is numbered otherwise there than here.
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
from wordloom.model.interop.family import ANSWER, TAG, Family, pair

_POSITIONS = "max_position_embeddings"
_DIRECT = {key: name for key, name in ENCODER_KEYS.items() if key != _POSITIONS}


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    offset = config["pad_token_id"] + 1
    return {"position_offset": offset, "max_positions": config[_POSITIONS] - offset}


def _write(arch: Architecture) -> dict[str, Any]:
    return {_POSITIONS: arch.max_positions + arch.position_offset}


def _unfit(arch: Architecture) -> list[str]:
    offset = ["position_offset"] if arch.position_offset != arch.pad_id + 1 else []
    return without_types(arch) + offset


ROBERTA = Family(
    model_type="roberta",
    prefix="roberta.",
    parts={
        "body": encoder_body("roberta."),
        "pooler": pair("dense", "roberta.pooler.dense"),
        "masked": {
            **pair("dense", "lm_head.dense"),
            **pair("norm", "lm_head.layer_norm"),
            "output": ("lm_head.decoder.weight",),
            "bias": ("lm_head.bias",),
        },
        # its classifier has a dense layer of its own instead of the pooler, and a further dropout before it
        "classify": {**pair("pooler.dense", "classifier.dense"), **pair("output", "classifier.out_proj")},
        "answer": ANSWER,
        "tag": TAG,
    },
    classes=(
        (("classify",), "RobertaForSequenceClassification"),
        (("answer",), "RobertaForQuestionAnswering"),
        (("tag",), "RobertaForTokenClassification"),
        (("masked",), "RobertaForMaskedLM"),
        ((), "RobertaModel"),
    ),
    keys=_DIRECT,
    required=(*ENCODER_REQUIRED,),
    fixed={**ENCODER_FIXED, "hidden_act": ("gelu", "another activation, which the public head does not have")},
    defaults={"pad_token_id": 1, _POSITIONS: 512},
    derived=("position_offset", "max_positions"),
    read=_read,
    write=_write,
    unfit=_unfit,
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    ignorable=encoder_buffers("roberta."),
    spellings=OLD_NORMS,
)
