"""[objective]: what pre-training predicts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from wordloom.config.strict import Strict, name_or


class MaskedConfig(Strict):
    """[objective] name = "masked": Devlin et al. 2019, section 3.1."""

    name: Literal["masked"] = "masked"
    rate: float = Field(0.15, gt=0, lt=1)
    rate_end: float | None = Field(None, gt=0, lt=1, description="linear schedule from rate to rate_end")
    whole_word: bool = False
    span: float | None = Field(None, ge=1, description="mean span length (SpanBERT, geometric); excludes whole_word")
    ngram: int | None = Field(None, ge=1, description="longest run of words masked together (ALBERT: 3)")
    next_sentence: bool = False
    sentence_order: bool = Field(False, description="ALBERT's; excludes next_sentence")
    documents: Literal["isolated", "separated"] = "isolated"

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        for keys in (("whole_word", "span", "ngram"), ("next_sentence", "sentence_order")):
            given = [key for key in keys if getattr(self, key)]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other")
        return self


class CausalConfig(Strict):
    """[objective] name = "causal": predict the next token."""

    name: Literal["causal"] = "causal"
    documents: Literal["isolated", "separated", "streams"] = Field(
        "isolated", description="streams: rows go on where those of the step before ended, for recurrent models"
    )
    softmax: Literal["full", "adaptive"] = Field(
        "full", description="adaptive: rare tokens cost less; its output matrix is not the token table"
    )
    clusters: int = Field(2, gt=0, description="of rare tokens, adaptive only")

    @model_validator(mode="after")
    def _clusters_of_something(self) -> Self:
        if self.softmax == "full" and self.clusters != 2:
            raise ValueError("clusters belong to softmax = 'adaptive'")
        return self


class ReplacedConfig(Strict):
    """[objective] name = "replaced": a small generator fills masks, the model tells which tokens are not the original.

    Clark et al. 2020 (ELECTRA), section 2.
    """

    name: Literal["replaced"] = "replaced"
    rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that the generator fills")
    weight: float = Field(50.0, gt=0, description="of the discriminator's loss; the generator's is 1")
    generator_width: float = Field(0.25, gt=0, le=1, description="its width, heads and feed-forward width over ours")
    generator_layers: float = Field(1.0, gt=0, le=1, description="its layers over ours")
    documents: Literal["isolated", "separated"] = "isolated"


class HybridConfig(Strict):
    """[objective] name = "hybrid": some rows causal, the others masked, one output head.

    Charpentier & Samuel 2024 (GPT-BERT), section 2; their masking rate falls from 0.3 to 0.15.
    """

    name: Literal["hybrid"] = "hybrid"
    causal_share: float = Field(0.0625, gt=0, lt=1, description="share of the rows that are causal")
    rate: float = Field(0.3, gt=0, lt=1, description="of the masked rows")
    rate_end: float | None = Field(0.15, gt=0, lt=1, description="linear schedule from rate to rate_end")
    documents: Literal["isolated", "separated"] = "isolated"


class SpansConfig(Strict):
    """[objective] name = "spans": an encoder reads text with spans missing, a decoder writes them.

    Raffel et al. 2020 (T5), section 3.1.4.
    """

    name: Literal["spans"] = "spans"
    rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are missing")
    span: float = Field(3.0, ge=1, description="mean length of a span in tokens")
    sentinels: int = Field(100, gt=0, description="most spans of a document; as many tokens join the vocabulary")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Vaswani et al. 2017, section 5.4")
    documents: Literal["isolated"] = "isolated"


class PermutedConfig(Strict):
    """[objective] name = "permuted": predict some tokens in a random order, each from all before it and the rest.

    Yang et al. 2019 (XLNet), section 2.
    """

    name: Literal["permuted"] = "permuted"
    every: int = Field(6, ge=2, description="one token of so many is predicted (their K)")
    span: int = Field(5, ge=1, description="longest run of tokens predicted together; lengths are uniform from 1")
    documents: Literal["isolated", "separated", "streams"] = Field(
        "isolated", description="streams: rows go on where those of the step before ended, for models with a memory"
    )


OBJECTIVES: dict[str, type[Strict]] = {
    "masked": MaskedConfig,
    "causal": CausalConfig,
    "replaced": ReplacedConfig,
    "hybrid": HybridConfig,
    "spans": SpansConfig,
    "permuted": PermutedConfig,
}


ObjectiveConfig = Annotated[
    Annotated[MaskedConfig, Tag("masked")]
    | Annotated[CausalConfig, Tag("causal")]
    | Annotated[ReplacedConfig, Tag("replaced")]
    | Annotated[HybridConfig, Tag("hybrid")]
    | Annotated[SpansConfig, Tag("spans")]
    | Annotated[PermutedConfig, Tag("permuted")],
    Discriminator(name_or("masked")),
]
