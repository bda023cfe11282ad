"""Labels without labelled examples: the description whose vector is nearest to the text's (Chang et al. 2008,
dataless classification; here with sentence vectors of one's own encoder, or averaged word vectors).

A cosine is no probability: none is claimed, and texts and descriptions compare only within one model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordloom.api.embeddings import are_vectors
from wordloom.api.linear import open_given
from wordloom.api.loading import load, read_inputs
from wordloom.errors import ConfigError, DataError
from wordloom.tasks.classify.features_vectors import WordRule, WordVectors
from wordloom.tasks.retrieve.task import Retrieve

CHUNK = 256  # texts read at a time
Embed = Callable[[Sequence[str], str], NDArray[np.float64]]  # (E texts, "query" or "document") -> (E, D)


class Nearest(NamedTuple):
    """label: None of a text that has no vector. cosines: (C,) in the order of the descriptions."""

    label: str | None
    cosines: NDArray[np.float64]


def zero_shot(model: str | Path, texts: Sequence[str], descriptions: Mapping[str, str]) -> list[Nearest]:
    """The nearest description of each text. descriptions: label -> what texts of it are about.

    model: a run of the task retrieve, or word vectors, averaged with SIF's weights (Arora et al. 2017, equation 3)
    where they come with counts.
    Raises ConfigError for another model, fewer than two labels, a description without a vector.
    """
    return list(_nearest(_embedder(model), iter(texts), descriptions))


def zero_shot_lines(
    model: str | Path, data: str, given: Sequence[str], *, text: str | None = None, as_json: bool = False
) -> Iterator[str]:
    """given: "LABEL=WORDS" each. Lines in input order: the label, its cosine, the text; or JSON objects."""
    descriptions = _parsed(given)
    shown, asked = tee(read_inputs(data, text, None, False))
    for source, found in zip(shown, _nearest(_embedder(model), asked, descriptions), strict=True):
        if as_json:
            cosines = {name: round(float(c), 6) for name, c in zip(descriptions, found.cosines, strict=True)}
            yield json.dumps({"text": source, "prediction": found.label, "cosines": cosines}, ensure_ascii=False)
        else:
            yield f"{found.label or '(none)'}\t{found.cosines.max():.3f}\t{' '.join(source.split())[:120]}"


def _nearest(embed: Embed, texts: Iterator[str], descriptions: Mapping[str, str]) -> Iterator[Nearest]:
    if len(descriptions) < 2:
        raise ConfigError("fewer than two labels are described", where="--zero-shot",
                          cure="write --zero-shot LABEL=WORDS for each label")  # fmt: skip
    labels, wanted = list(descriptions), _units(embed(list(descriptions.values()), "query"))
    empty = [label for label, row in zip(labels, wanted, strict=True) if not row.any()]
    if empty:
        raise ConfigError(f"no word of the description of {empty[0]!r} has a vector", where="--zero-shot",
                          cure="describe it in other words")  # fmt: skip
    while block := list(islice(texts, CHUNK)):
        for row in _units(embed(block, "document")):
            cosines = wanted @ row  # (C,)
            yield Nearest(labels[int(cosines.argmax())] if row.any() else None, cosines)


def _embedder(model: str | Path) -> Embed:
    if are_vectors(model):
        vectors, recipe = open_given(model)
        method: Literal["mean", "sif"] = "mean" if vectors.counts is None else "sif"
        made = WordVectors(vectors, WordRule.of(vectors, recipe), method)
        return lambda texts, kind: made.matrix(texts)
    predictor: Any = load(model)
    task = getattr(predictor, "task", None)
    if not isinstance(task, Retrieve):
        raise ConfigError("is no encoder of texts", where=model, cure="fine-tune one with --task retrieve (raw text is "
                          "enough), or give word vectors")  # fmt: skip
    return lambda texts, kind: _of_text(task.embed(predictor.model, texts, kind).double().numpy(), texts)


def _of_text(rows: NDArray[np.float64], texts: Sequence[str]) -> NDArray[np.float64]:
    """A blank text has a vector in an encoder, that of its special tokens, and it says nothing."""
    return rows * np.array([[bool(t.strip())] for t in texts])


def _units(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E, D) of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _parsed(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in given:
        label, equals, words = (p.strip() for p in part.partition("="))
        if not (label and equals and words):
            raise ConfigError(f"cannot read {part!r}", where="--zero-shot", cure='write it as "sports=about sport"')
        if label in found:
            raise DataError(f"the label {label!r} is described twice", where="--zero-shot", cure="describe it once")
        found[label] = words
    return found
