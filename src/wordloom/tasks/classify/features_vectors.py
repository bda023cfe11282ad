"""Texts -> averaged word vectors: the mean, or SIF (Arora, Liang & Ma 2017) with the training texts' common component.

Text becomes words by the rule the vectors were trained with; of a foreign file the rule is told from its vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from scipy import sparse

from wordloom.tasks.classify.features import refuse_sides
from wordloom.text import chinese
from wordloom.vectors.embeddings import Vectors
from wordloom.vectors.formats.native import read_vectors, save_vectors
from wordloom.vectors.vocabulary import Splitter
from wordloom.vectors.wordhash import cut

FOLDER, _COMPONENT = "vectors", "component.safetensors"
A = 1e-3  # of SIF: the paper's value
_BLOCK = 1 << 22  # characters cut at a time
_LOOKED_AT = 20_000  # words of a foreign file that tell its rule
_MARK = "x"  # begins every line: ``cut`` leaves out lines without a word, and a text without one has a row too
_CASED = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


class Bag(NamedTuple):
    """How often each of U different words stands in each of E texts. words: U; counts: (E, U) float64."""

    words: list[str]
    counts: sparse.csr_matrix


@dataclass(frozen=True)
class WordRule:
    """How text becomes words. words: as [vectors] words, or "cased": runs of letters and digits in their own case, in
    lower case where only that has a vector. phrases: passes that join two words with a vector of their own, a_b."""

    words: Literal["split", "words", "jieba", "characters", "cased"]
    phrases: int = 0

    @classmethod
    def of(cls, vectors: Vectors, recipe: Mapping[str, Any]) -> WordRule:
        """recipe: [vectors] of the run; empty for a foreign file, whose most frequent words then tell."""
        if recipe:
            return cls(recipe["words"], int(recipe.get("phrases", 0)))
        seen = vectors.words[:_LOOKED_AT]
        unspaced = [word for word in seen if chinese.has_chinese(word)]
        if 3 * len(unspaced) > len(seen):
            several = sum(len(word) > 1 for word in unspaced)
            return cls("jieba" if 2 * several > len(unspaced) and chinese.segmenter() == "jieba" else "characters")
        capitals = sum(word != word.lower() for word in seen)
        return cls("cased" if 100 * capitals > len(seen) else "words", int(any("_" in word[1:-1] for word in seen)))

    def bag(self, texts: Sequence[str], vectors: Vectors) -> Bag:
        """The words of E texts. 25,000 reviews of 230 words take 2 s; with phrases or cased, 10 s."""
        index: dict[str, int] = {}
        parts = [self._counted(block, vectors, index) for block in _blocks(texts)]
        ids = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
        sizes = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        shape = (len(texts), len(index))
        counts = sparse.csr_matrix((np.ones(len(ids)), ids, starts), shape=shape)
        counts.sum_duplicates()
        return Bag(list(index), counts)

    def _counted(self, texts: list[str], vectors: Vectors, index: dict[str, int]) -> tuple[NDArray, NDArray]:
        """Word numbers of all texts one after the other, and words of each text; ``index`` grows."""
        if self.words == "cased":
            split = [_cased(text, vectors) for text in texts]
        else:
            splitter = Splitter(self.words)
            lines = [f"{_MARK} {text}" for text in (t.replace("\n", " ") for t in texts)]
            chunk = cut(splitter.encode(lines), splitter.rules)
            known = [chunk.word(number).decode("utf-8") for number in range(len(chunk.counts))]
            sizes = np.diff(chunk.ends, prepend=0)
            if not self.phrases:
                ids = np.delete(chunk.ids, chunk.ends - sizes)
                numbers = np.zeros(len(known), np.int64)
                for used in np.unique(ids).tolist():
                    numbers[used] = index.setdefault(known[used], len(index))
                return numbers[ids], sizes - 1
            lists = np.split(chunk.ids, chunk.ends[:-1])
            split = [[known[number] for number in one[1:].tolist()] for one in lists]
        for _ in range(self.phrases):
            split = [_joined(words, vectors) for words in split]
        listed = [index.setdefault(word, len(index)) for words in split for word in words]
        return np.array(listed, np.int64), np.array([len(words) for words in split], np.int64)


def _blocks(texts: Sequence[str]) -> list[list[str]]:
    blocks: list[list[str]] = []
    size = _BLOCK
    for text in texts:
        if size >= _BLOCK:
            blocks.append([])
            size = 0
        blocks[-1].append(text)
        size += len(text)
    return blocks


def _cased(text: str, vectors: Vectors) -> list[str]:
    found = _CASED.findall(text)
    return [word if word in vectors or word.lower() not in vectors else word.lower() for word in found]


def _joined(words: list[str], vectors: Vectors) -> list[str]:
    """One pass from left to right, as the training joined them."""
    out: list[str] = []
    i = 0
    while i < len(words):
        pair = f"{words[i]}_{words[i + 1]}" if i + 1 < len(words) else ""
        out.append(pair if pair and pair in vectors else words[i])
        i += 2 if out[-1] is pair else 1
    return out


@dataclass(frozen=True)
class WordVectors:
    """(E, D) averaged vectors; of pairs (E, 4 D): both sides, their absolute difference and their product (Conneau et
    al. 2017, section 3.2), since a linear classifier cannot compare two sides by itself.

    component: (D,) what SIF takes off; None for the mean.
    """

    vectors: Vectors
    rule: WordRule
    method: Literal["mean", "sif"] = "mean"
    pairs: bool = False
    component: NDArray[np.float64] | None = None
    name = "word-vectors"

    def bags(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Bag]:
        """One, or two of pairs."""
        refuse_sides(self.pairs, pairs, "classifier")
        return [self.rule.bag(side, self.vectors) for side in ([texts] if pairs is None else [texts, pairs])]

    def fitted(self, bags: Sequence[Bag]) -> WordVectors:
        """With the common component of these (training) texts, where the method has one."""
        if self.method == "mean":
            return self
        rows = np.concatenate([self.vectors.means(bag.words, bag.counts, "sif", A) for bag in bags])
        return replace(self, component=np.linalg.eigh(rows.T @ rows)[1][:, -1].copy())  # safetensors wants whole rows

    def of(self, bags: Sequence[Bag]) -> NDArray[np.float64]:
        """(E, D) or (E, 4 D)."""
        sides = []
        for bag in bags:
            rows = self.vectors.means(bag.words, bag.counts, self.method, A)
            sides.append(rows if self.component is None else rows - np.outer(rows @ self.component, self.component))
        if len(sides) == 1:
            return sides[0]
        first, second = sides
        return np.concatenate([first, second, abs(first - second), first * second], 1)

    def matrix(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.float64]:
        return self.of(self.bags(texts, pairs))

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "method": self.method, "pairs": self.pairs, "words": self.rule.words,
                "phrases": self.rule.phrases}  # fmt: skip

    def save(self, folder: Path) -> list[Path]:
        """Our folder of vectors, all of them: texts not yet seen hold other words. Its facts hold the hashes of the
        rest; the words' own rows of sub-word vectors, which no query needs, are left out."""
        sub, of = self.vectors.subwords, self.vectors
        if sub is not None:
            of = Vectors(of.words, of.matrix, of.counts, replace(sub, own=None), of.notes)
        save_vectors(of, folder / FOLDER, extra={"recipe": {"words": self.rule.words, "phrases": self.rule.phrases}})
        files = [folder / FOLDER / "wordloom.json"]
        if self.component is not None:
            (folder / _COMPONENT).write_bytes(save({"component": self.component}))
            files.append(folder / _COMPONENT)
        return files

    @classmethod
    def restore(cls, settings: Mapping[str, Any], folder: Path) -> WordVectors:
        """What ``save`` wrote. BundleError for damaged vectors; OSError, KeyError, ValueError for other damage."""
        method = settings["method"]
        component = load_file(folder / _COMPONENT)["component"] if method == "sif" else None
        rule = WordRule(settings["words"], int(settings["phrases"]))
        return cls(read_vectors(folder / FOLDER), rule, method, bool(settings["pairs"]), component)
