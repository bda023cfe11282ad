"""Wordloom: from raw text to a served NLP model on your own machine, offline, with numbers you can trust."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wordloom.api import (
        check,
        choose,
        evaluate,
        fill,
        finetune,
        generate,
        language_model,
        load,
        load_vectors,
        pretrain,
        run_recipe,
    )

__version__ = "0.1.0"
__all__ = [
    "check",
    "choose",
    "evaluate",
    "fill",
    "finetune",
    "generate",
    "language_model",
    "load",
    "load_vectors",
    "pretrain",
    "run_recipe",
]


def __getattr__(name: str) -> Any:
    """Public names on first use: ``import wordloom`` and the command line's help stay free of torch."""
    if name in __all__:
        return getattr(import_module("wordloom.api"), name)
    raise AttributeError(f"module 'wordloom' has no attribute {name!r}")
