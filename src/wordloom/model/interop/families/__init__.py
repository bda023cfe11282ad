"""Every family that is read and written, by model_type; the first that holds an architecture writes it."""

from __future__ import annotations

from collections.abc import Mapping

from wordloom.model.interop.families.albert import ALBERT
from wordloom.model.interop.families.bert import BERT
from wordloom.model.interop.families.electra import ELECTRA
from wordloom.model.interop.families.gpt import GPT
from wordloom.model.interop.families.gpt2 import GPT2
from wordloom.model.interop.families.gpt_neo import GPT_NEO
from wordloom.model.interop.families.marian import MARIAN
from wordloom.model.interop.families.modernbert import MODERNBERT, MODERNBERT_DECODER
from wordloom.model.interop.families.roberta import ROBERTA
from wordloom.model.interop.families.t5 import T5
from wordloom.model.interop.families.xlnet import XLNET
from wordloom.model.interop.family import Family

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        BERT,
        ROBERTA,
        ALBERT,
        ELECTRA,
        GPT,
        GPT2,
        GPT_NEO,
        MODERNBERT,
        MODERNBERT_DECODER,
        T5,
        MARIAN,
        XLNET,
    )
}
