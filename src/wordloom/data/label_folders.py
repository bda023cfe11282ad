"""A folder for each label, a text in each .txt file of it: how IMDb's reviews (aclImdb/train) are handed out."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Any

from wordloom.data.faults import STRICT, Faults
from wordloom.data.readers import text_lines
from wordloom.errors import DataError


def label_folders(path: str) -> list[str]:
    """Names of the folders with .txt files inside a folder, sorted: its labels. Without ``unsup``, which in aclImdb
    holds reviews without label."""
    if not os.path.isdir(path):
        return []
    inner = (name for name in sorted(os.listdir(path)) if name != "unsup" and not name.startswith("."))
    return [name for name in inner if _texts(path, name)]


def _texts(path: str, label: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(path), glob.escape(label), "*.txt")))


def read_folders(
    path: str, labels: Sequence[str], faults: Faults = STRICT
) -> tuple[list[str], list[Any] | None, list[str], str]:
    """(texts, [label] of each, places, how it was read), by label and name of the file. A file that is empty or no
    UTF-8 is a fault."""
    texts: list[str] = []
    given: list[Any] = []
    places: list[str] = []
    for label in labels:
        for file in _texts(path, label):
            text = "\n".join(text_lines(file, faults)).strip()
            if not text:
                faults.add(DataError("no text in this file", where=f"{file}:1", cure="fill it in or remove it"))
                continue
            texts.append(text)
            given.append([label])
            places.append(f"{file}:1")
    return texts, given, places, f"a text per file, its folder is its label ({', '.join(labels)})"
