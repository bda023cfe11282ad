"""What the command line and a notebook call. The composition root: every room meets here and nowhere else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wordloom.api.checking import check, train_tokenizer
    from wordloom.api.finetuning import finetune
    from wordloom.api.loading import evaluate, load, predict_lines
    from wordloom.api.pretraining import pretrain
    from wordloom.api.recipes import demo, run_recipe

__all__ = [
    "check",
    "demo",
    "evaluate",
    "finetune",
    "load",
    "predict_lines",
    "pretrain",
    "run_recipe",
    "train_tokenizer",
]

_HOMES = {
    "check": "checking",
    "train_tokenizer": "checking",
    "finetune": "finetuning",
    "evaluate": "loading",
    "load": "loading",
    "predict_lines": "loading",
    "pretrain": "pretraining",
    "demo": "recipes",
    "run_recipe": "recipes",
}


def __getattr__(name: str) -> Any:
    """On first use: ``check`` answers without torch, ``predict`` without scikit-learn."""
    if name in _HOMES:
        return getattr(import_module(f"wordloom.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'wordloom.api' has no attribute {name!r}")
