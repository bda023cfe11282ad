"""The tokenizer that lies beside saved weights, and belongs to them."""

from __future__ import annotations

from pathlib import Path

from wordloom.errors import BundleError
from wordloom.model.interop.files import read_json
from wordloom.text.tokenizer import Tokenizer


def own_tokenizer(folder: str | Path, vocab_size: int, *, strict: bool = False) -> Tokenizer:
    """The tokenizer of a bundle or a public folder, whose model knows ``vocab_size`` tokens.

    A bundle's wordloom.json states the hash of the tokenizer that its weights were trained with; strict: one that
    states none is refused too. Raises BundleError for another tokenizer than that, or for one of more tokens than the
    model knows; TokenizerError where there is none to read.
    """
    folder = Path(folder)
    tokenizer = Tokenizer.load(folder)
    stated = folder / "wordloom.json"
    expected = (read_json(stated).get("extra") or {}).get("tokenizer_hash") if stated.exists() else None
    if expected != tokenizer.hash and (strict or expected is not None):
        raise BundleError(
            "the tokenizer beside these weights is not the one they were trained with",
            where=folder,
            cure="copy the whole bundle again, tokenizer files included",
        )
    if tokenizer.vocab_size > vocab_size:
        raise BundleError(
            f"the tokenizer knows {tokenizer.vocab_size} tokens, the model {vocab_size}",
            where=folder,
            cure="put the tokenizer files of this model beside it",
        )
    return tokenizer
