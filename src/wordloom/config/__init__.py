"""Recipes: strict, frozen models of a TOML file. An unknown key is an error that names the near miss.

No torch here: ``wordloom --help`` and recipe checks must answer at once.
"""

from wordloom.config.objectives import (
    OBJECTIVES,
    CausalConfig,
    HybridConfig,
    MaskedConfig,
    ObjectiveConfig,
    PermutedConfig,
    ReplacedConfig,
    SpansConfig,
)
from wordloom.config.reading import make, merge, near_miss, read_recipe
from wordloom.config.recipe import ChooseConfig, CompareConfig, DataConfig, PretrainedBy, Recipe
from wordloom.config.strict import Strict
from wordloom.config.tasks import (
    TASKS,
    AnswerConfig,
    ClassifyConfig,
    GenerateConfig,
    RetrieveConfig,
    RolesConfig,
    Seq2SeqConfig,
    SummarizeConfig,
    TagConfig,
    TaskConfig,
    TranslateConfig,
)
from wordloom.config.training import CorpusConfig, LoraConfig, ModelConfig, TokenizerConfig, TrainConfig, VectorsConfig

__all__ = [
    "OBJECTIVES",
    "TASKS",
    "AnswerConfig",
    "CausalConfig",
    "ChooseConfig",
    "ClassifyConfig",
    "CompareConfig",
    "CorpusConfig",
    "DataConfig",
    "GenerateConfig",
    "HybridConfig",
    "LoraConfig",
    "MaskedConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "PermutedConfig",
    "PretrainedBy",
    "Recipe",
    "ReplacedConfig",
    "RetrieveConfig",
    "RolesConfig",
    "Seq2SeqConfig",
    "SpansConfig",
    "Strict",
    "SummarizeConfig",
    "TagConfig",
    "TaskConfig",
    "TokenizerConfig",
    "TrainConfig",
    "TranslateConfig",
    "VectorsConfig",
    "make",
    "merge",
    "near_miss",
    "read_recipe",
]
