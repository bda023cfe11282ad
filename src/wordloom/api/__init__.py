"""What the command line and a notebook call. The composition root: every room meets here and nowhere else."""

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
