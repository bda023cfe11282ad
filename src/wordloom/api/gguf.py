"""``export --to gguf``: a GPT-2 row with its tokenizer as one file of llama.cpp."""

from __future__ import annotations

from pathlib import Path

from wordloom.api.generating import language_model
from wordloom.model.interop.gguf import Vocabulary, refuse_unfit, require_gguf, save_gguf
from wordloom.text.byte_pairs import byte_pairs
from wordloom.text.tokenizer import Tokenizer


def export_gguf(source: str | Path, out: str | Path, *, overwrite: bool = False) -> list[str]:
    """Write a run's, bundle's or public folder's GPT-2 as a .gguf file; what there is to say.

    The file begins a text as ``generate`` does, so that the greedy text is the same. Raises BundleError for other
    models, TokenizerError for a tokenizer that llama.cpp would read differently.
    """
    loaded = language_model(source)
    refuse_unfit(loaded.model)
    vocabulary = vocabulary_of(loaded.tokenizer, loaded.model.arch.vocab_size, loaded.start_id)
    save_gguf(out, loaded.model, vocabulary, name=Path(source).resolve().name, overwrite=overwrite)
    parameters = sum(p.numel() for p in loaded.model.parameters())
    return [f"gpt2: {parameters:,} parameters as float32, {len(vocabulary.merges):,} merges", f"written: {out}"]


def vocabulary_of(tokenizer: Tokenizer, size: int, start_id: int | None) -> Vocabulary:
    """size: rows of the model's token table; start_id: the token that begins a text, None: none does."""
    kinds = require_gguf().TokenType
    numbers = {"text": kinds.NORMAL, "special": kinds.CONTROL, "added": kinds.USER_DEFINED, "unused": kinds.UNUSED}
    pairs = byte_pairs(tokenizer, size)
    return Vocabulary(
        tokens=pairs.tokens,
        types=[int(numbers[kind]) for kind in pairs.kinds],
        merges=[" ".join(pair) for pair in pairs.merges],
        bos_id=tokenizer.bos_id if start_id is None else start_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        add_bos=start_id is not None,
    )
