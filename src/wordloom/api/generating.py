"""``generate``, ``fill``: what a pre-trained language model says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from wordloom.api.language import open_language
from wordloom.infer.generator import Candidate, Generated, LanguageModel


def language_model(model: str | Path | LanguageModel, device: str | None = None, int8: bool = False) -> LanguageModel:
    """A pre-trained run, a bundle or a public folder, to be asked many times.

    device: where it computes; None: the CPU. int8: ``generate`` and ``stream`` read int8 weights (`model.int8`).
    Raises BundleError for what is no language model.
    """
    if isinstance(model, LanguageModel):
        return model
    body, tokenizer, start_id, hybrid = open_language(model)
    if device is not None:
        body = body.to(torch.device(device))
    return LanguageModel(body, tokenizer, start_id=start_id, hybrid=hybrid, int8=int8)


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
