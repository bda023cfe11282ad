"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from wordloom.disk import cure_of, put
from wordloom.errors import BundleError


def replace_file(path: Path, fill: Callable[[IO[bytes]], None], overwrite: bool) -> None:
    """Writes beside ``path``, then renames. Raises BundleError where it exists (unless ``overwrite``) or the disk
    fails."""
    if path.exists() and not (overwrite and path.is_file()):
        cure = "give another name" + ", or ask to overwrite" * path.is_file()
        raise BundleError("exists already", where=path, cure=cure)

    def content(temporary: Path) -> None:
        with temporary.open("wb") as file:
            fill(file)

    try:
        put(path, content)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> BundleError:
    return BundleError(f"cannot be written: {error.strerror or error}", where=path, cure=cure_of(error))
