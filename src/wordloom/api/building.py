"""The tokenizer and the architecture that a recipe describes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from wordloom import presets
from wordloom.api.results import say
from wordloom.config import CorpusConfig, ModelConfig, TokenizerConfig
from wordloom.data.corpus import Corpus
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import AnyArchitecture
from wordloom.text.quality import suggest_size
from wordloom.text.tokenizer import Tokenizer


def open_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a folder, or of a run: RUN/tokenizer."""
    inside = Path(path) / "tokenizer"
    return Tokenizer.load(inside if inside.is_dir() else path)


def get_tokenizer(corpus: CorpusConfig, config: TokenizerConfig, quiet: bool) -> Tokenizer:
    """The tokenizer of a folder, or one trained on the corpus (of the suggested size for "auto")."""
    if config.path is not None:
        return open_tokenizer(config.path)
    if config.vocab_size == "auto":
        say("trying vocabulary sizes ...", quiet)
        suggestion = suggest_size((d.text for d in Corpus(corpus)), config)
        for line in suggestion.lines():
            say(line, quiet)
        config = config.model_copy(update={"vocab_size": suggestion.size})
    say(f"learning a {config.kind} vocabulary of at most {config.vocab_size:,} ...", quiet)
    tokenizer = Tokenizer.train((d.text for d in Corpus(corpus)), config)
    for line in tokenizer.notes:
        say(line, quiet)
    return tokenizer


def architecture_of(model: ModelConfig, preset: str, tokenizer: Tokenizer | None, length: int) -> AnyArchitecture:
    """The preset's row with what the recipe replaces; a row never shorter than the training's.

    tokenizer: None only to learn whether the values are possible.
    """
    vocab_size, pad_id = (tokenizer.vocab_size, tokenizer.pad_id) if tokenizer is not None else (1, 0)
    overrides = {k: v for k, v in model.model_dump(exclude={"preset", "start"}).items() if v is not None}
    arch = presets.architecture(preset, vocab_size, **overrides)
    if arch.limit is not None and length > arch.limit:
        raise ConfigError(
            f"train.length {length} is more than the {arch.limit} positions of {preset}",
            cure=f"set model.max_positions = {length}",
        )
    if isinstance(arch, Architecture) and arch.position_offset:  # RoBERTa's positions begin after the padding's row
        return dataclasses.replace(arch, pad_id=pad_id, position_offset=pad_id + 1)
    return dataclasses.replace(arch, pad_id=pad_id)
