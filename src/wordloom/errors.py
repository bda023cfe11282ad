"""The one exception family. A message says what is wrong, where, and the cure."""

from __future__ import annotations

from pathlib import Path


class WordloomError(Exception):
    """Base of every error a user can cause or cure; the command line prints it and exits with 2.

    what: one clause without a final full stop.
    where: file, optionally with a line (``"a.csv:17"``), step, or key.
    cure: one imperative clause: what to do about it.
    """

    def __init__(self, what: str, *, where: str | Path | None = None, cure: str | None = None):
        self.what, self.where, self.cure = what, None if where is None else str(where), cure
        super().__init__(what, self.where, cure)

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        if self.cure is None:
            return text
        return f"{text}{'' if text.endswith('?') else '.'} {self.cure[:1].upper()}{self.cure[1:]}."


class ConfigError(WordloomError):
    """A recipe, flag or preset that cannot be used."""


class DataError(WordloomError):
    """A corpus, labelled file or token store that cannot be read."""


class TokenizerError(WordloomError):
    """A tokenizer that cannot be trained, read, or does not belong to the model."""


class BundleError(WordloomError):
    """A saved model folder that is incomplete, damaged or of another kind."""


class RunError(WordloomError):
    """A run directory that is locked, exists already, or cannot be resumed exactly."""


class TrainingError(WordloomError):
    """Training cannot go on: non-finite loss, no memory, full disk."""


class DownloadError(WordloomError):
    """A public model that cannot be fetched, or does not arrive as it was announced."""
