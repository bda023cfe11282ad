"""Wordloom's own folder of vectors: vectors.safetensors, vocabulary.json, wordloom.json (kind, twin: none, hashes)."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.data.sealed import file_hash
from wordloom.disk import jsonable, rename, write
from wordloom.errors import BundleError
from wordloom.vectors.embeddings import Subwords, Vectors
from wordloom.vectors.formats.disk import cannot_write

FORMAT = 1
KIND = "vectors"
_TENSORS, _VOCABULARY, _FACTS = "vectors.safetensors", "vocabulary.json", "wordloom.json"
_AGAIN = "copy the folder again"
_BLOCK = 1 << 22  # numbers copied at a time


def save_vectors(
    vectors: Vectors, folder: str | Path, *, extra: Mapping[str, Any] | None = None, overwrite: bool = False
) -> None:
    """The folder appears whole or not at all; nothing is lost: counts, sub-words, word rows and notes are kept.

    extra: what the caller wants in wordloom.json (recipe, scores); ``read_facts`` gives it back. Raises BundleError
    where the folder holds anything (unless ``overwrite``) or the disk fails.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise BundleError("is a file, not a folder", where=folder, cure="name another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite and (folder / _FACTS).is_file()):
        raise BundleError(
            "holds something already", where=folder, cure="name another folder, or ask to overwrite vectors"
        )
    building: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        _fill(vectors, building, extra or {})
        building.chmod(0o755)  # mkdtemp makes it private
        aside = building.with_name(building.name + ".old")
        if folder.exists():
            rename(folder, aside)
        rename(building, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
            aside = building.with_name(building.name + ".old")
            if aside.exists() and not folder.exists():
                os.replace(aside, folder)
            shutil.rmtree(aside, ignore_errors=True)


def _fill(vectors: Vectors, folder: Path, extra: Mapping[str, Any]) -> None:
    sub = vectors.subwords
    tensors = {"vectors": vectors.matrix}
    if sub is not None:
        tensors["ngrams"] = sub.rows
        if sub.own is not None:
            tensors["words"] = sub.own
    write(folder / _TENSORS, lambda path: write_tensors(path, tensors))
    counts = None if vectors.counts is None else vectors.counts.tolist()
    try:
        text = json.dumps({"words": vectors.words, "counts": counts}, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        what = f"the word {error.object[error.start - 10 : error.end + 10]!r} is not a Unicode string"
        raise BundleError(what, where=folder, cure="open the source file with its encoding") from None
    write(folder / _VOCABULARY, text)
    facts = {
        "format": FORMAT,
        "kind": KIND,
        "twin": "none",
        "words": len(vectors),
        "dimension": vectors.dimension,
        "subwords": None if sub is None else {"min_n": sub.min_n, "max_n": sub.max_n, "buckets": len(sub.rows)},
        "notes": list(vectors.notes),
        "extra": jsonable(extra),
        "hashes": {name: file_hash(folder / name) for name in (_TENSORS, _VOCABULARY)},
    }
    write(folder / _FACTS, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def is_native(folder: Path) -> bool:
    """Does the folder hold vectors of ours (damaged or not)?"""
    if (folder / _TENSORS).is_file():
        return True
    return (folder / _FACTS).is_file() and _json(folder / _FACTS).get("kind") == KIND


def read_facts(folder: str | Path) -> dict[str, Any]:
    """wordloom.json of a folder of vectors; nothing else is read. Raises BundleError."""
    where = Path(folder) / _FACTS
    facts = _json(where)
    if facts.get("kind") != KIND:
        raise BundleError("no vectors but another kind of bundle", where=folder, cure="name a folder of vectors")
    if facts.get("format") != FORMAT:
        what = f"format {facts.get('format')!r} is unknown"
        raise BundleError(what, where=where, cure="open it with the version that wrote it")
    kinds = {"hashes": dict, "words": int, "dimension": int, "notes": list, "extra": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(facts.get(key), kind)]
    if wrong or set(facts["hashes"]) != {_TENSORS, _VOCABULARY}:
        raise BundleError(f"lacks a usable {', '.join(wrong) or 'hashes'}", where=where, cure=_AGAIN)
    return facts


def read_vectors(folder: Path) -> Vectors:
    """Matrices stay memory-mapped. Raises BundleError where a file is missing or not the one that was saved."""
    facts = read_facts(folder)
    for name, expected in facts["hashes"].items():
        if not (folder / name).is_file():
            raise BundleError(f"{name} is missing", where=folder, cure=_AGAIN)
        if file_hash(folder / name) != expected:
            raise BundleError(f"{name} is damaged: it is not the file that was saved", where=folder, cure=_AGAIN)
    tensors = map_tensors(folder / _TENSORS)
    vocabulary = _json(folder / _VOCABULARY)
    words, counts, grams = vocabulary.get("words"), vocabulary.get("counts"), facts.get("subwords")
    try:
        subwords = None
        if grams is not None:
            subwords = Subwords(tensors["ngrams"], grams["min_n"], grams["max_n"], tensors.get("words"))
        kept = None if counts is None else np.array(counts, np.int64)
        return Vectors(words, tensors["vectors"], kept, subwords, facts["notes"])  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(f"lacks a usable part ({error})", where=folder, cure=_AGAIN) from None


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """A safetensors file. By hand, since the library's writer first holds all of it in memory a second time."""
    header: dict[str, Any] = {"__metadata__": {"format": "np"}}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + 4 * tensor.size]}
        at += 4 * tensor.size
    text = json.dumps(header).encode("ascii")
    text += b" " * (-(8 + len(text)) % 64)  # rows on the boundary of a cache line
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            step = max(1, _BLOCK // max(1, tensor.shape[1]))
            for start in range(0, len(tensor), step):
                file.write(np.ascontiguousarray(tensor[start : start + step], "<f4").tobytes())


def map_tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size - 8, 1 << 20):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        tensors: dict[str, NDArray[np.float32]] = {}
        for name, facts in header.items():
            if name == "__metadata__":
                continue
            start, stop = (8 + length + offset for offset in facts["data_offsets"])
            shape = tuple(facts["shape"])
            if facts["dtype"] != "F32" or len(shape) != 2 or stop > size or stop - start != 4 * math.prod(shape):
                raise ValueError(f"{name} does not fit the file")
            tensors[name] = np.memmap(path, "<f4", "r", start, shape)
        return tensors
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"unreadable: {error}", where=path, cure=_AGAIN) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path.name} is missing", where=path.parent, cure=_AGAIN) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"not readable as JSON: {error}", where=path, cure=_AGAIN) from None
    if not isinstance(values, dict):
        raise BundleError("does not hold a JSON object", where=path, cure=_AGAIN)
    return values
