"""What one does with word vectors: open, export, score on word pairs and analogies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wordloom.api.results import score_json, scores_json, table
from wordloom.errors import ConfigError, DataError
from wordloom.metrics import Score, gain_over_seeds
from wordloom.vectors import formats
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats import open_vectors
from wordloom.vectors.formats.native import is_native
from wordloom.vectors.intrinsic import evaluate_analogies, evaluate_pairs, read_analogies, read_pairs, spearman_gain


def load_vectors(path: str | Path, *, encoding: str = "utf-8") -> Vectors:
    """Vectors of a run or of a file: word2vec text and binary, GloVe, fastText, gensim."""
    return open_vectors(path, encoding=encoding)


SAVERS: dict[str, Callable[..., None]] = {
    "text": formats.save_text,
    "glove": partial(formats.save_text, header=False),
    "binary": formats.save_binary,
    "fasttext": formats.save_fasttext,
    "gensim": formats.save_gensim,
    "folder": formats.save_vectors,
}
SPACED = ("text", "glove", "binary")  # a space ends the word


def export_vectors(
    found: Vectors, target: str | Path, form: str, *, space: str | None = None, overwrite: bool = False
) -> None:
    """Write in a form of ``SAVERS``; gensim's is a pickle, and only written when asked for by this name.

    space: what stands for a space in a word, for the forms ``SPACED``; None refuses such words.
    Raises BundleError where the target exists (unless ``overwrite``), DataError for words that the form cannot hold.
    """
    if form not in SAVERS:
        raise ConfigError(f"unknown format {form!r}", cure=f"use one of {', '.join(SAVERS)}")
    if space is not None and form not in SPACED:
        raise ConfigError(f"{form} keeps spaces in words as they are", cure="leave --space out")
    SAVERS[form](found, Path(target), overwrite=overwrite, **({} if space is None else {"space": space}))


# --- evaluation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Intrinsic:
    """Scores of vectors on one set of word pairs or analogies; of two, with the difference where both have vectors."""

    metric: str
    scores: dict[str, Score]
    covered: dict[str, int]
    total: int
    sections: dict[str, dict[str, Score]]
    difference: Score | None = None

    def to_json(self) -> dict[str, Any]:
        models = {n: {**score_json(s), "covered": self.covered[n]} for n, s in self.scores.items()}
        values: dict[str, Any] = {"metric": self.metric, "total": self.total, "models": models}
        if self.sections:
            values["sections"] = {n: scores_json(parts) for n, parts in self.sections.items()}
        if self.difference is not None:
            values["difference"] = score_json(self.difference)
        return values

    def lines(self) -> list[str]:
        names = list(self.scores)
        rows = [[self.metric, *(self.scores[n].plain for n in names)]]
        for section in self.sections.get(names[0], {}):
            rows.append([f"  {section}", *(self.sections[n][section].plain for n in names)])
        rows.append([f"with a vector, of {self.total:,}", *(f"{self.covered[n]:,}" for n in names)])
        lines = table(rows, ["", *names])
        if self.difference is not None:
            d = self.difference
            better = names[0] if d.value > 0 else names[1]
            verdict = f"{better} is better" if d.low > 0 or d.high < 0 else "no difference"
            lines.append(f"difference where both have one: {d.plain}: {verdict}")
        return lines


def evaluate_vectors(sources: Sequence[str | Path], data: str | Path) -> Intrinsic:
    """Spearman on a file of word pairs with scores, accuracy on a file of analogies (lines of four words); with 95 %
    intervals, upper and lower case being one, and coverage stated. Of two sources also the paired difference.

    Analogies are answered among the 30,000 most frequent words, as the authors' script does.
    """
    if not 1 <= len(sources) <= 2:
        raise ConfigError(f"{len(sources)} vectors were given", cure="write: wordloom evaluate VECTORS [VECTORS2] FILE")
    opened = [load_vectors(source) for source in sources]
    names = [str(s) for s in sources] if len(set(map(str, sources))) == len(sources) else ["A", "B"]
    by_name = dict(zip(names, opened, strict=True))
    return _on_analogies(by_name, Path(data)) if _is_analogies(Path(data)) else _on_pairs(by_name, Path(data))


def _on_analogies(by_name: dict[str, Vectors], data: Path) -> Intrinsic:
    questions = read_analogies(data)
    asked = {name: evaluate_analogies(vectors, questions) for name, vectors in by_name.items()}
    correct = np.stack([a.correct for a in asked.values()])  # (1 or 2, questions); NaN where it does not count
    both, difference = ~np.isnan(correct).any(0), None
    if len(asked) == 2 and both.any():
        gain = gain_over_seeds(correct[:1, both], correct[1:, both])
        difference = Score(gain.difference, gain.low, gain.high)
    return Intrinsic(
        "accuracy",
        {name: a.accuracy for name, a in asked.items()},
        {name: a.covered for name, a in asked.items()},
        len(questions),
        {name: {part: score for part, (score, _, _) in a.sections.items()} for name, a in asked.items()},
        difference,
    )


def _on_pairs(by_name: dict[str, Vectors], data: Path) -> Intrinsic:
    pairs = read_pairs(data)
    found = {n: evaluate_pairs(v, pairs, missing="subwords" if v.subwords else "skip") for n, v in by_name.items()}
    results = list(found.values())
    both = np.isfinite([r.similarity for r in results]).all(0)
    return Intrinsic(
        "spearman",
        {name: r.spearman for name, r in found.items()},
        {name: int(np.isfinite(r.similarity).sum()) for name, r in found.items()},
        len(pairs),
        {},
        spearman_gain(results[:1], results[1:]) if len(results) == 2 and both.sum() > 1 else None,
    )


def _is_analogies(path: Path) -> bool:
    """A file of analogies begins with a section or holds four words, none of them the score of a pair."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = next((line.strip() for line in lines if line.strip()), "")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, cure="check the path") from None
    words = first.split()
    return first.startswith(":") or (len(words) == 4 and not any(_is_number(w) for w in words))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def are_vectors(source: str | Path) -> bool:
    """Whether a path is vectors (a file, a run or folder of ours) and not a fine-tuned run."""
    path = Path(source)
    return path.is_file() or any(is_native(folder) for folder in (path / "bundle", path) if folder.is_dir())
