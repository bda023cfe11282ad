"""What the command line and a notebook call. The composition root: every room meets here and nowhere else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wordloom.api.answering import DocumentReader, answer
    from wordloom.api.checking import check, train_tokenizer
    from wordloom.api.choosing import choose
    from wordloom.api.describing import zero_shot, zero_shot_lines
    from wordloom.api.downloading import download
    from wordloom.api.embeddings import are_vectors, evaluate_vectors, export_vectors, load_vectors
    from wordloom.api.finetuning import finetune
    from wordloom.api.generating import fill, generate, language_model, stream
    from wordloom.api.gguf import export_gguf
    from wordloom.api.importing import export_model, import_folder
    from wordloom.api.loading import evaluate, load, predict_file, predict_lines
    from wordloom.api.pretraining import pretrain
    from wordloom.api.probing import probe
    from wordloom.api.prompting import prompt
    from wordloom.api.recipes import demo, run_recipe
    from wordloom.api.searching import cross_encoder, evaluate_search, index, open_index, search
    from wordloom.api.sentence import export_sentence_folder
    from wordloom.api.submitting import Submission
    from wordloom.api.word2vec import vectors

__all__ = [
    "DocumentReader",
    "Submission",
    "answer",
    "are_vectors",
    "check",
    "choose",
    "cross_encoder",
    "demo",
    "download",
    "evaluate",
    "evaluate_search",
    "evaluate_vectors",
    "export_gguf",
    "export_model",
    "export_sentence_folder",
    "export_vectors",
    "fill",
    "finetune",
    "generate",
    "import_folder",
    "index",
    "language_model",
    "load",
    "load_vectors",
    "open_index",
    "predict_file",
    "predict_lines",
    "pretrain",
    "probe",
    "prompt",
    "run_recipe",
    "search",
    "stream",
    "train_tokenizer",
    "vectors",
    "zero_shot",
    "zero_shot_lines",
]

_HOMES = {
    "DocumentReader": "answering",
    "answer": "answering",
    "check": "checking",
    "train_tokenizer": "checking",
    "choose": "choosing",
    "download": "downloading",
    "finetune": "finetuning",
    "fill": "generating",
    "generate": "generating",
    "language_model": "generating",
    "stream": "generating",
    "export_gguf": "gguf",
    "export_model": "importing",
    "import_folder": "importing",
    "evaluate": "loading",
    "load": "loading",
    "predict_file": "loading",
    "predict_lines": "loading",
    "pretrain": "pretraining",
    "probe": "probing",
    "prompt": "prompting",
    "demo": "recipes",
    "run_recipe": "recipes",
    "are_vectors": "embeddings",
    "evaluate_vectors": "embeddings",
    "export_vectors": "embeddings",
    "load_vectors": "embeddings",
    "vectors": "word2vec",
    "cross_encoder": "searching",
    "evaluate_search": "searching",
    "index": "searching",
    "open_index": "searching",
    "search": "searching",
    "export_sentence_folder": "sentence",
    "Submission": "submitting",
    "zero_shot": "describing",
    "zero_shot_lines": "describing",
}


def __getattr__(name: str) -> Any:
    """On first use: ``check`` answers without torch, ``predict`` without scikit-learn."""
    if name in _HOMES:
        return getattr(import_module(f"wordloom.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'wordloom.api' has no attribute {name!r}")
