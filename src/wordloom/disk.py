"""Files that are whole or not there: written beside, brought to the disk, then renamed (POSIX rename(2))."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wordloom.errors import RunError

FREE = "free disk space"


def write(path: Path, content: bytes | Callable[[Path], None]) -> None:
    """A new file whose content has reached the disk. ``content`` may be a function that writes the file itself."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    sync(path)


def rename(old: Path, new: Path) -> None:
    """Atomic; the folder entry has reached the disk on return."""
    os.replace(old, new)
    sync(new.parent)


def write_json(path: Path, value: object) -> None:
    """Replace ``path`` in one step. Numbers JSON has no name for (nan, inf) become null."""
    text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace(path, text.encode("utf-8"))


def replace(path: Path, content: bytes | Callable[[Path], None]) -> None:
    """``put``; RunError where the disk fails."""
    try:
        put(path, content)
    except OSError as error:
        raise RunError(f"cannot write: {error.strerror}", where=path, cure=f"{cure_of(error)} and resume") from error


def put(path: Path, content: bytes | Callable[[Path], None]) -> None:
    """``write`` beside the path, then ``rename``. Whatever fails, what stood there is still whole, and nothing lies
    beside it."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        write(temporary, content)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def cure_of(error: BaseException) -> str:
    """What helps against a failed write: a clause without what to do then."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):  # safetensors has an error of its own
        return FREE
    barred = code in (errno.EACCES, errno.EPERM, errno.EROFS)
    return "make the folder writable" if barred else "check the folder and its disk"


def jsonable(value: Any) -> Any:
    """The value with tuples as lists, paths and unknown scalars as plain ones, and nan or inf as None."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # numpy and torch scalars
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sync(path: Path) -> None:
    """What was written to a file, or a folder's entries, has reached the disk on return."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
