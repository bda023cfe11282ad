"""A recipe and its remaining tables: [data], [compare], [choose]."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wordloom.config.objectives import ObjectiveConfig
from wordloom.config.strict import Strict
from wordloom.config.tasks import TaskConfig
from wordloom.config.training import CorpusConfig, LoraConfig, ModelConfig, TokenizerConfig, TrainConfig, VectorsConfig


class DataConfig(Strict):
    """[data]: labelled files."""

    train: str
    valid: str | None = None
    test: str | None = None
    text: str | None = None
    pair: str | None = Field(None, description="column of the second text")
    label: str | None = None
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    labels: int | None = Field(None, gt=0, description="use this many labelled examples only (stratified, by seed)")
    clean_html: bool = False


class CompareConfig(Strict):
    """[compare]: the same fine-tuning from pre-trained and from random weights, at several label counts."""

    labels: tuple[int | Literal["all"], ...] = ("all",)
    seeds: tuple[int, ...] = (0, 1, 2)
    beside: str | None = Field(None, description="another start, fine-tuned alike: what model.start was made from, say")


PretrainedBy = Literal["causal", "masked", "hybrid", "replaced", "permuted", "spans"]


class ChooseConfig(Strict):
    """[choose]: which vectors are enough, or which objective learns most from a corpus?

    [train] is of the pre-training, [finetune] of the fine-tuning.
    """

    what: Literal["vectors", "objective"] = "vectors"
    minutes: float = Field(5.0, gt=0, description="of pre-training, for each candidate")
    vectors: str | None = Field(None, description="a file or run of vectors to judge too")
    candidates: tuple[
        Literal["tf-idf", "skip-gram", "cbow", "subwords", "imported", "frozen", "finetuned"], ...
    ] = ("tf-idf", "skip-gram", "cbow", "subwords", "imported", "frozen", "finetuned")  # fmt: skip
    objectives: tuple[PretrainedBy, ...] = ("causal", "masked", "hybrid", "replaced", "permuted", "spans")
    size: Literal["tiny", "mini"] = Field("mini", description="of every objective's model: 2 x 128 or 4 x 256")
    pairs: str | None = Field(None, description="objective: minimal pairs of the corpus's language, such as BLiMP's")
    pairs_limit: int | None = Field(100, gt=0, description="the first so many pairs of each paradigm")


class Recipe(Strict):
    """What a TOML recipe may hold; ``run`` performs the parts that are there, in this order."""

    corpus: CorpusConfig | None = None
    tokenizer: TokenizerConfig | None = None
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig | None = None
    train: TrainConfig = TrainConfig()
    task: TaskConfig | None = None
    data: DataConfig | None = None
    vectors: VectorsConfig | None = None
    lora: LoraConfig | None = Field(None, description="of fine-tuning; absent: all weights are trained")
    finetune: TrainConfig | None = Field(None, description="[train] of the second stage when both stages run")
    compare: CompareConfig | None = None
    choose: ChooseConfig | None = None
