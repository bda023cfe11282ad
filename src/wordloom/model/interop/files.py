"""Weight files and folders on disk: what can be damaged is checked here, and nothing half-written stays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordloom import disk
from wordloom.errors import BundleError

_WHOLE = "copy or download the folder again"


@contextmanager
def atomic_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when the block ends without an error.

    Raises BundleError when target holds something and overwrite is False. A crash leaves the old folder
    or the new one; at the worst moment of an overwrite the old one lies beside it under a ``.old`` name.
    """
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise BundleError("is a file, not a folder", where=target, cure="name another folder")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise BundleError("already exists", where=target, cure="name another folder, or ask to overwrite")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise BundleError(f"cannot be written: {error}", where=target, cure="name another folder") from None
    old = temp.with_name(temp.name + ".old")
    try:
        yield temp
        for path in temp.rglob("*"):
            if path.is_file():
                disk.sync(path)
        temp.chmod(0o755)  # mkdtemp makes it private
        if target.exists():
            os.replace(target, old)
        disk.rename(temp, target)
    except BaseException as error:
        shutil.rmtree(temp, ignore_errors=True)
        if old.exists() and not target.exists():
            os.replace(old, target)
        if isinstance(error, (OSError, SafetensorError)):
            raise BundleError(
                f"cannot be written: {error}", where=target, cure="free some space, or check access"
            ) from None
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Raises BundleError when the file is missing, unreadable, or not a JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError("no such file", where=path, cure="name a folder that holds a saved model") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"not readable as JSON: {error}", where=path, cure=_WHOLE) from None
    if not isinstance(values, dict):
        raise BundleError("does not hold a JSON object", where=path, cure=_WHOLE)
    return values


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """One .safetensors file, or a .bin read without executing anything. Raises BundleError when damaged, or where a
    weight is not a number: a training that broke down, which would answer every question with nan."""
    tensors = _read_tensors(path)
    broken = sorted(name for name, tensor in tensors.items() if tensor.isnan().any())
    if broken:
        named = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
        raise BundleError(f"weights are not numbers (nan): {named}", where=path, cure="take an earlier checkpoint")
    return tensors


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)  # refuses any pickled code
    except FileNotFoundError:
        raise BundleError("no such weight file", where=path, cure=_WHOLE) from None
    except (SafetensorError, OSError) as error:
        raise BundleError(f"weights are damaged: {error}", where=path, cure=_WHOLE) from None
    except Exception as error:  # torch.load raises a dozen kinds, all of which mean that the file is not weights
        first = str(error).strip().split("\n")[0]
        raise BundleError(f"not a plain weight file: {first}", where=path, cure="save it as safetensors") from None
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise BundleError("does not hold named tensors", where=path, cure="save it as safetensors")
    return loaded


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder: model.safetensors, its shards, pytorch_model.bin, its shards; the first found."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return read_tensors(folder / name)
        if (folder / f"{name}.index.json").exists():
            return _read_shards(folder, folder / f"{name}.index.json")
    raise BundleError("holds neither model.safetensors nor pytorch_model.bin", where=folder, cure=_WHOLE)


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(v, str) for v in places.values()):
        raise BundleError("the index has no usable weight_map", where=index, cure=_WHOLE)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise BundleError(f"the index points outside the folder: {name!r}", where=index, cure=_WHOLE)
        tensors.update(read_tensors(folder / name))
    absent = sorted(set(places) - set(tensors))
    if absent:
        raise BundleError(f"the shards lack {', '.join(absent)}", where=index, cure=_WHOLE)
    return tensors


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
