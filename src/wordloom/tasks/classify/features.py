"""Texts -> a matrix of features for a linear classifier: what every maker of features has, and TF-IDF."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from wordloom.data.examples import Examples
from wordloom.errors import DataError

Matrix: TypeAlias = NDArray[np.float64] | sparse.csr_matrix
Kinds = Literal["auto", "word", "word+char", "char"]
COMMON = 200_000  # features kept, the most frequent
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


class Features(Protocol):
    """What a linear classifier reads, of E texts or pairs of texts."""

    @property
    def name(self) -> str: ...

    @property
    def pairs(self) -> bool:
        """Whether an example is two texts."""

    def matrix(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Matrix:
        """(E, F), rows in input order."""

    def settings(self) -> dict[str, Any]:
        """JSON from which, beside the files of ``save``, the same features are opened again."""

    def save(self, folder: Path) -> list[Path]:
        """Write the files that ``settings`` speaks of; their paths."""


def unspaced(texts: Sequence[str]) -> bool:
    """Whether more than a third of the letters (first 1,000 texts) are of a script written without spaces."""
    sample = "".join(texts[:1000])
    letters = sum(c.isalpha() for c in sample)
    return letters > 0 and 3 * len(_UNSPACED.findall(sample)) > letters


def refuse_sides(expected: bool, pairs: Sequence[str] | None, name: str) -> None:
    """DataError where pairs are given to what was trained on single texts, or the reverse."""
    if (pairs is not None) != expected:
        raise DataError(
            f"this {name} was trained on " + ("pairs of texts" if expected else "single texts"),
            cure="name the second text's column with --pair" if expected else "leave --pair away",
        )


@dataclass(frozen=True)
class TfIdf:
    """Words and word pairs with sublinear counts (Wang & Manning 2012 show how strong that is), for text written
    without spaces 1-3 characters, optionally characters of words too. Of a pair the two sides stand side by side."""

    kind: str
    vectorizers: tuple[TfidfVectorizer, ...]
    pairs: bool
    name = "tf-idf"

    @classmethod
    def fit(cls, train: Examples, kind: Kinds = "auto") -> tuple[TfIdf, sparse.csr_matrix]:
        """The features of these texts, and their matrix. DataError where no text holds a word."""
        chosen = ("char" if unspaced(train.texts) else "word") if kind == "auto" else kind
        vectorizers = _vectorizers(chosen, len(train.texts))
        both, n = list(train.texts) + list(train.pairs or []), len(train.texts)
        try:
            blocks = [v.fit_transform(both) for v in vectorizers]
        except ValueError:  # scikit-learn: empty vocabulary
            raise DataError("no training text holds a word", cure="check the text column") from None
        matrix = sparse.hstack([b[side : side + n] for side in range(0, len(both), n) for b in blocks], format="csr")
        return cls(chosen, tuple(vectorizers), train.pairs is not None), matrix

    @classmethod
    def of(cls, kind: str, pairs: bool, vocabularies: Sequence[Sequence[str]], tensors: Mapping[str, NDArray]) -> TfIdf:
        """From what ``vocabularies`` and ``tensors`` gave. KeyError or ValueError where these do not fit."""
        vectorizers = _vectorizers(kind, 0)
        for i, (v, terms) in enumerate(zip(vectorizers, vocabularies, strict=True)):
            v.set_params(vocabulary={t: j for j, t in enumerate(terms)})
            v.idf_ = tensors[f"idf.{i}"]
        return cls(kind, tuple(vectorizers), pairs)

    def matrix(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> sparse.csr_matrix:
        refuse_sides(self.pairs, pairs, "baseline")
        sides = [texts] if pairs is None else [texts, pairs]
        return sparse.hstack([v.transform(side) for side in sides for v in self.vectorizers], format="csr")

    @property
    def vocabularies(self) -> list[list[str]]:
        """The terms of each vectorizer, in the order of its columns."""
        return [sorted(v.vocabulary_, key=v.vocabulary_.__getitem__) for v in self.vectorizers]

    @property
    def tensors(self) -> dict[str, NDArray]:
        return {f"idf.{i}": v.idf_ for i, v in enumerate(self.vectorizers)}

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "pairs": self.pairs}

    def save(self, folder: Path) -> list[Path]:
        terms, idf = folder / "terms.json", folder / "idf.safetensors"
        terms.write_text(json.dumps(self.vocabularies), encoding="utf-8")
        idf.write_bytes(save(self.tensors))
        return [terms, idf]

    @classmethod
    def restore(cls, settings: Mapping[str, Any], folder: Path) -> TfIdf:
        """What ``save`` wrote. OSError, KeyError, ValueError or SafetensorError for damaged files."""
        vocabularies = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
        return cls.of(settings["kind"], bool(settings["pairs"]), vocabularies, load_file(folder / "idf.safetensors"))


def _vectorizers(kind: str, texts: int) -> list[TfidfVectorizer]:
    rare = 2 if texts >= 1000 else 1
    common: dict[str, Any] = {"sublinear_tf": True, "min_df": rare, "max_features": COMMON, "dtype": np.float64}
    word = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **common)
    if kind == "char":
        return [TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **common)]
    return [word] if kind == "word" else [word, TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common)]
