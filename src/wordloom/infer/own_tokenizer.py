"""The tokenizers that lie beside saved weights, and belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordloom.errors import BundleError
from wordloom.model.build import AnyArchitecture
from wordloom.model.interop.files import read_json
from wordloom.text.tokenizer import Tokenizer

_SOURCE = "source_tokenizer"  # its folder, in that of the bundle


@dataclass(frozen=True)
class Tokenizers:
    """What belongs to one model. source: of what it reads, where that is another vocabulary than what it writes."""

    own: Tokenizer
    source: Tokenizer | None = None

    @classmethod
    def open(cls, folder: str | Path, arch: AnyArchitecture, *, strict: bool = False) -> Tokenizers:
        """Those beside the weights of a bundle or a public folder. Raises as `own_tokenizer`."""
        return cls(own_tokenizer(folder, arch.vocab_size, strict=strict), source_tokenizer(folder, arch, strict=strict))

    @property
    def hashes(self) -> dict[str, str]:
        """As a bundle states them."""
        source = {} if self.source is None else {"source_tokenizer_hash": self.source.hash}
        return {"tokenizer_hash": self.own.hash, **source}

    def save(self, folder: Path, *, segments: bool) -> None:
        """segments: as `Tokenizer.save`."""
        self.own.save(folder, segments=segments)
        if self.source is not None:
            self.source.save(folder / _SOURCE, segments=segments)


def own_tokenizer(folder: str | Path, vocab_size: int, *, strict: bool = False) -> Tokenizer:
    """The tokenizer of a bundle or a public folder, whose model knows ``vocab_size`` tokens; of what it writes, where
    it reads another vocabulary.

    A bundle's wordloom.json states the hash of the tokenizer that its weights were trained with; strict: one that
    states none is refused too. Raises BundleError for another tokenizer than that, or for one of more tokens than the
    model knows; TokenizerError where there is none to read.
    """
    return _stated(Path(folder), "", "tokenizer_hash", vocab_size, strict)


def source_tokenizer(folder: str | Path, arch: AnyArchitecture, *, strict: bool = False) -> Tokenizer | None:
    """The tokenizer of what a model reads; None where it reads and writes one vocabulary. Raises as `own_tokenizer`."""
    size = getattr(arch, "source_vocab_size", None)
    return None if size is None else _stated(Path(folder), _SOURCE, "source_tokenizer_hash", size, strict)


def _stated(folder: Path, inside: str, key: str, vocab_size: int, strict: bool) -> Tokenizer:
    """The tokenizer in ``folder / inside``, held against what wordloom.json states under ``key``."""
    tokenizer = Tokenizer.load(folder / inside)
    stated = folder / "wordloom.json"
    expected = (read_json(stated).get("extra") or {}).get(key) if stated.exists() else None
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
