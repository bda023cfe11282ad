"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from wordloom.disk import cure_of, rename, write
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

    temporary = path.with_name(f".{path.name}.new")
    try:
        write(temporary, content)
        rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: Path, error: OSError) -> BundleError:
    return BundleError(f"cannot be written: {error.strerror or error}", where=path, cure=cure_of(error))
