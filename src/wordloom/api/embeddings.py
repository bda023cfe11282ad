"""What one does with word vectors: open, export, score on word pairs and analogies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


EXPORTS = ("text", "binary", "fasttext", "gensim")


def export_vectors(found: Vectors, target: str | Path, form: str) -> None:
    """Write in another program's format; gensim's is a pickle, and only written when asked for by this name."""
    if form not in EXPORTS:
        raise ConfigError(f"unknown format {form!r}", cure=f"use one of {', '.join(EXPORTS)}")
    getattr(formats, f"save_{form}")(found, target)


# --- evaluation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Intrinsic:
    """Scores of vectors on one set of word pairs or analogies; of two, with the difference on what both know."""

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
        rows.append([f"known, of {self.total:,}", *(f"{self.covered[n]:,}" for n in names)])
        lines = table(rows, ["", *names])
        if self.difference is not None:
            d = self.difference
            better = names[0] if d.value > 0 else names[1]
            verdict = f"{better} is better" if d.low > 0 or d.high < 0 else "no difference"
            lines.append(f"difference on what both know: {d.plain}: {verdict}")
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
    if _is_analogies(Path(data)):
        questions = read_analogies(Path(data))
        asked = [evaluate_analogies(v, questions) for v in opened]
        difference = None
        if len(asked) == 2:
            both = ~np.isnan(asked[0].correct) & ~np.isnan(asked[1].correct)
            if both.any():
                gain = gain_over_seeds(*(a.correct[None, both] for a in asked))
                difference = Score(gain.difference, gain.low, gain.high)
        sections = {n: {k: s for k, (s, _, _) in a.sections.items()} for n, a in zip(names, asked, strict=True)}
        scores, covered = [a.accuracy for a in asked], [a.covered for a in asked]
        return _intrinsic("accuracy", names, scores, covered, len(questions), sections, difference)
    pairs = read_pairs(Path(data))
    compared = [evaluate_pairs(v, pairs, missing="subwords" if v.subwords else "skip") for v in opened]
    both_know = np.all([np.isfinite(r.similarity) for r in compared], axis=0).sum()
    gain_of_two = spearman_gain(compared[:1], compared[1:]) if len(compared) == 2 and both_know > 1 else None
    scores, covered = [r.spearman for r in compared], [int(np.isfinite(r.similarity).sum()) for r in compared]
    return _intrinsic("spearman", names, scores, covered, len(pairs), {}, gain_of_two)


def _intrinsic(
    metric: str, names: list[str], scores: list[Score], covered: list[int], total: int,
    sections: dict[str, dict[str, Score]], difference: Score | None,
) -> Intrinsic:  # fmt: skip
    return Intrinsic(metric, dict(zip(names, scores, strict=True)), dict(zip(names, covered, strict=True)), total,
                     sections, difference)  # fmt: skip


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
