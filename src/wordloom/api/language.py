"""A language model opened for ``generate``, ``fill`` and ``probe``: one's own run, a bundle, or a public folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wordloom.api.objectives import learned_objective
from wordloom.api.start import bundle_folder
from wordloom.errors import BundleError
from wordloom.infer.linear import refuse_linear
from wordloom.infer.own_tokenizer import own_tokenizer
from wordloom.model.interop import load_bundle, load_hf, model_of
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer


class Language(NamedTuple):
    """model: in evaluation mode, on the CPU. start_id: see `start_of`. hybrid: it learned the hybrid objective."""

    model: Model
    tokenizer: Tokenizer
    start_id: int | None
    hybrid: bool


def open_language(path: str | Path) -> Language:
    """Raises BundleError for what is no language model, is damaged, or has another model's tokenizer."""
    folder = bundle_folder(path)
    refuse_linear(folder, "a linear classifier is no language model", cure="give a pre-trained run")
    extra: Mapping[str, Any] | None = None
    if (folder / "wordloom.json").exists():
        bundle = load_bundle(folder)
        model, extra = bundle.model, bundle.extra
    else:
        model = model_of(load_hf(folder))
    if getattr(model.arch, "source_vocab_size", None) is not None:
        raise BundleError("the model reads another vocabulary than it writes: it answers sources alone", where=path,
                          cure="use wordloom predict")  # fmt: skip
    tokenizer = own_tokenizer(folder, model.arch.vocab_size)
    hybrid = learned_objective(extra or {}).get("name") == "hybrid"
    return Language(model, tokenizer, start_of(tokenizer, extra), hybrid)


def start_of(tokenizer: Tokenizer, extra: Mapping[str, Any] | None) -> int | None:
    """The token that stood before a text in training; None: none did, or it is not known.

    extra: of a bundle; None: a public folder. Of public weights, imported ones among them, it is the token that begins
    a text, but where that is the one that ends it: GPT-2's <|endoftext|> stood between texts, and its prompts begin
    without. Our own models read [CLS] before a document, or, where documents followed each other in streams, [SEP].
    """
    fine_tuned = dict((extra or {}).get("task") or {})
    if "start_id" in fine_tuned:  # `tasks.generate` says it itself
        return int(fine_tuned["start_id"])
    if extra is None or "imported" in extra:
        return None if tokenizer.bos_id == tokenizer.eos_id else tokenizer.bos_id
    return tokenizer.sep_id if learned_objective(extra).get("documents") == "streams" else tokenizer.cls_id
