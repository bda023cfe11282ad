"""Phrases against gensim's Phrases, and against the definition written with a Counter."""

from __future__ import annotations

import gzip
import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from wordloom.config import CorpusConfig, VectorsConfig
from wordloom.data.corpus import Corpus
from wordloom.vectors import encode, phrases
from wordloom.vectors.encode import TokenIds, build
from wordloom.vectors.vocabulary import Splitter, Vocabulary

Sentences = list[list[str]]


def built(sentences: Sentences, config: VectorsConfig, folder: Path, threads: int = 1) -> tuple[Vocabulary, TokenIds]:
    path = folder.with_suffix(".txt")
    path.write_text("".join(" ".join(words) + "\n" for words in sentences), encoding="utf-8")
    return build(Corpus(CorpusConfig(paths=(str(path),), documents="line")), config, folder, threads)


def text_of(vocabulary: Vocabulary, ids: TokenIds) -> Sentences:
    flat = [vocabulary.words[number] for number in ids.ids.tolist()]
    return [flat[a:b] for a, b in zip(ids.starts[:-1], ids.starts[1:], strict=True)]


def settings(**values: object) -> VectorsConfig:
    return VectorsConfig.model_validate({"words": "split", "phrases": 1, **values})


def frequent(sentences: Sentences, least: int) -> Sentences:
    counts = Counter(word for words in sentences for word in words)
    left = [[word for word in words if counts[word] >= least] for words in sentences]
    return [words for words in left if words]


def by_definition(sentences: Sentences, config: VectorsConfig) -> Sentences:
    """Mikolov et al. 2013b, section 4, pass after pass, from left to right."""
    for _ in range(config.phrases):
        words = Counter(word for sentence in sentences for word in sentence)
        pairs = Counter(pair for sentence in sentences for pair in pairwise(sentence))
        total = words.total()
        chosen = set()
        for (a, b), both in pairs.items():
            if config.phrase_score == "counts":
                score = (both - config.min_count) / (words[a] * words[b]) * total
            else:
                score = math.log(both * total / (words[a] * words[b])) / -math.log(both / total)
            if both >= config.min_count and score > config.phrase_threshold:
                chosen.add((a, b))
        joined = []
        for sentence in sentences:
            left: list[str] = []
            rest = list(sentence)
            while rest:
                size = 2 if tuple(rest[:2]) in chosen else 1
                left.append("_".join(rest[:size]))
                del rest[:size]
            joined.append(left)
        sentences = joined
    return sentences


@pytest.fixture(scope="session")
def english(shared_data: Path) -> Sentences:
    """Real text of some 40,000 words, without the joining mark."""
    with gzip.open(shared_data / "pretrain/wikitext2_test.txt.gz", "rt", encoding="utf-8") as file:
        lines = file.read(220_000).replace("_", " ").split("\n")
    return [words for line in lines if (words := Splitter("words")(line))]


def counts_scorer(worda_count, wordb_count, bigram_count, len_vocab, min_count, corpus_word_count):  # type: ignore[no-untyped-def]  # fmt: skip
    """For gensim, which pickles it; its own "default" multiplies by the size of a table that holds pairs too."""
    return (bigram_count - min_count) / worda_count / wordb_count * corpus_word_count


@pytest.mark.parametrize(
    ("score", "threshold"), [("npmi", 0.3), ("npmi", 0.5), ("npmi", -1.0), ("counts", 100.0), ("counts", 5.0)]
)
def test_one_pass_is_gensims(score: str, threshold: float, english: Sentences, tmp_path: Path) -> None:
    gensim_phrases = pytest.importorskip("gensim.models.phrases")

    scoring = counts_scorer if score == "counts" else "npmi"
    model = gensim_phrases.Phrases(english, min_count=5, threshold=threshold, scoring=scoring)
    theirs = [model[words] for words in english]
    config = settings(phrase_score=score, phrase_threshold=threshold)
    vocabulary, ids = built(english, config, tmp_path / "ids")
    assert text_of(vocabulary, ids) == frequent(theirs, 5)
    assert vocabulary.total == sum(map(len, theirs))
    found = sum("_" in word for word in vocabulary.words)
    assert found > 20, "the comparison is empty where nothing is joined"


@pytest.mark.parametrize(("score", "threshold"), [("npmi", 0.3), ("counts", 20.0)])
def test_three_passes_are_the_definition(score: str, threshold: float, english: Sentences, tmp_path: Path) -> None:
    config = settings(phrase_score=score, phrase_threshold=threshold, phrases=3)
    vocabulary, ids = built(english, config, tmp_path / "ids", threads=2)
    assert text_of(vocabulary, ids) == frequent(by_definition(english, config), 5)
    assert any(word.count("_") > 1 for word in vocabulary.words)
    assert len(ids.notes) == 3 and ids.notes[0].startswith("phrases, pass 1: ")


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_and_repeats(seed: int, tmp_path: Path) -> None:
    """Four words at random: pairs of one word with itself, and pairs that overlap, in every sentence."""
    rng = random.Random(seed)
    sentences = [[rng.choice("aaabcd") for _ in range(rng.randrange(1, 9))] for _ in range(60)]
    for config in (settings(phrase_threshold=-1, min_count=2), settings(phrase_threshold=0.05, phrases=2, min_count=3)):
        vocabulary, ids = built(sentences, config, tmp_path / f"ids{config.phrases}")
        assert text_of(vocabulary, ids) == frequent(by_definition(sentences, config), config.min_count)


def test_a_phrase_that_stands_in_the_text_is_one_word_with_it(tmp_path: Path) -> None:
    sentences = []
    for n in range(6):
        sentences += [[f"x{n % 3}", "new", "york"], ["new_york", f"y{n % 3}"], ["z", "z"]]
    vocabulary, ids = built(sentences, settings(phrase_threshold=0.9), tmp_path / "ids")
    assert vocabulary.words == ["new_york", "z"] and vocabulary.counts.tolist() == [12, 12]
    assert text_of(vocabulary, ids) == [["new_york"], ["new_york"], ["z", "z"]] * 6


def test_rare_words_stand_between(tmp_path: Path) -> None:
    """ "new" and "york" are neighbours only where nothing, not even a word that will be dropped, stands between."""
    sentences = [["new", f"r{n}", "york"] for n in range(10)] + [["hot", "dog"]] * 10
    vocabulary, _ = built(sentences, settings(phrase_threshold=0.0), tmp_path / "ids")
    assert vocabulary.words == ["hot_dog", "new", "york"]


def test_forgotten_words_stand_between_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "TABLE_LIMIT", 6)
    monkeypatch.setattr(encode, "CHUNK", 40)
    sentences = [["new", f"r{n}", "york"] for n in range(10)] + [["hot", "dog"]] * 10
    vocabulary, ids = built(sentences, settings(phrase_threshold=0.0), tmp_path / "ids")
    assert set(vocabulary.words) >= {"hot_dog"} and not any("new_york" in word for word in vocabulary.words)
    assert "forgotten" in ids.notes[0]


def test_a_full_table_of_pairs_forgets_rare_ones_and_says_so(
    english: Sentences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = built(english, settings(), tmp_path / "whole")
    monkeypatch.setattr(phrases, "PAIR_LIMIT", 2000)
    vocabulary, ids = built(english, settings(), tmp_path / "ids")
    note = ids.notes[0]
    assert note.startswith("phrases, pass 1: more than 2,000 different pairs; those met") and "forgotten" in note
    assert 0 < sum("_" in word for word in vocabulary.words) < sum("_" in word for word in whole.words)
