"""``generate``, ``fill``: what a pre-trained language model says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from wordloom.api.objectives import learned_objective
from wordloom.api.start import bundle_folder
from wordloom.errors import BundleError
from wordloom.infer.generator import Candidate, Generated, LanguageModel
from wordloom.infer.linear import is_linear
from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead, MaskedHead
from wordloom.model.interop import apply_states, load_bundle, load_hf
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer


def language_model(model: str | Path | LanguageModel, device: str | None = None) -> LanguageModel:
    """A pre-trained run, a bundle or a public folder, to be asked many times.

    device: where it computes; None: the CPU. Raises BundleError for what is no language model.
    """
    if isinstance(model, LanguageModel):
        return model
    folder = bundle_folder(model)
    if is_linear(folder):
        raise BundleError("a linear classifier is no language model", where=folder, cure="give a pre-trained run")
    learned: dict[str, Any] = {}
    start_id: int | None
    if (folder / "wordloom.json").exists():
        bundle = load_bundle(folder)
        body, tokenizer = bundle.model, Tokenizer.load(folder)
        if bundle.extra.get("tokenizer_hash") not in (None, tokenizer.hash):
            raise BundleError(
                "the tokenizer beside these weights is not the one they were trained with",
                where=folder,
                cure="copy the whole bundle again, tokenizer files included",
            )
        learned = learned_objective(bundle.extra)
        start_id = tokenizer.sep_id if learned.get("documents") == "streams" else tokenizer.cls_id
    else:
        body, tokenizer = _public(folder), Tokenizer.load(folder)
        start_id = None if len({tokenizer.bos_id, tokenizer.eos_id}) == 1 else tokenizer.bos_id
    if device is not None:
        body = body.to(torch.device(device))
    return LanguageModel(body, tokenizer, start_id=start_id, hybrid=learned.get("name") == "hybrid")


def generate(
    model: str | Path | LanguageModel, prompt: str | Sequence[str], *, stop: Sequence[str] = (), **settings: Any
) -> list[Generated] | list[list[Generated]]:
    """The answers to a prompt, or to each of several: see `LanguageModel.generate` and `Decoding` for the settings."""
    loaded = language_model(model)
    if isinstance(prompt, str):
        return loaded.generate([prompt], stop, **settings)[0]
    return loaded.generate(prompt, stop, **settings)


def stream(
    model: str | Path | LanguageModel, prompt: str, *, stop: Sequence[str] = (), **settings: Any
) -> Iterator[str]:
    """The answer to a prompt, piece by piece."""
    return language_model(model).stream(prompt, stop, **settings)


def fill(model: str | Path | LanguageModel, text: str, *, top: int = 5) -> list[list[Candidate]]:
    """The likeliest tokens for every mask of the text, each mask alone (`LanguageModel.fill`)."""
    return language_model(model).fill(text, top)


def _public(folder: Path) -> Model:
    """A public folder with the heads it holds that predict tokens."""
    loaded = load_hf(folder)
    makers = {"causal": CausalHead, "masked": MaskedHead}
    heads = {name: make(loaded.arch) for name, make in makers.items() if name in loaded.states}
    model = Model(make_body(loaded.arch), heads)
    apply_states(model, {name: state for name, state in loaded.states.items() if name in ("body", *heads)})
    return model.eval()
