"""A folder that was written whole: manifest.json names its files, sizes and hashes; one sentence where that fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wordloom.errors import DataError


def open_sealed(
    folder: Path, noun: str, stamp: tuple[str, int], needed: Mapping[str, type], files: tuple[str, ...], verify: bool
) -> dict[str, Any]:
    """The manifest, checked against the folder. Raises DataError.

    noun: what the folder holds, "a token store". stamp: "format" and "version" of the manifest. needed: keys of other
    facts with their types. files: all that "files" lists. verify: read every file and compare its hash, too.
    """
    manifest = _read(folder, noun, stamp)
    wrong = [key for key, kind in {**needed, "files": dict}.items() if not isinstance(manifest.get(key), kind)]
    if not wrong and set(manifest["files"]) != set(files):
        wrong = ["files"]
    if wrong:
        raise damaged(folder, f"manifest.json has no usable {wrong[0]!r}")
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise damaged(folder, f"{name} is missing")
        if path.stat().st_size != facts["bytes"]:
            raise damaged(folder, f"{name} has {path.stat().st_size:,} bytes instead of {facts['bytes']:,}")
        if verify and file_hash(path) != facts["sha256"]:
            raise damaged(folder, f"{name} is not what was written (sha256 differs)")
    return manifest


def _read(folder: Path, noun: str, stamp: tuple[str, int]) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"not {noun}: no manifest.json", where=folder, cure="give the folder that was built") from None
    except (OSError, ValueError) as error:
        raise damaged(folder, f"manifest.json cannot be read ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != stamp[0]:
        raise DataError(f"not the manifest of {noun}", where=path, cure="give the folder that was built")
    if manifest.get("version") != stamp[1]:
        what = f"written in version {manifest.get('version')} of the format, this program reads {stamp[1]}"
        raise DataError(what, where=path, cure="build it again")
    return manifest


def damaged(folder: Path, what: str) -> DataError:
    return DataError(f"damaged folder: {what}", where=folder, cure="build it again")


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
