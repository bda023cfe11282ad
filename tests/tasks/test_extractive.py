"""Summaries without a model and word-by-word translation, against their formulas written out."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from wordloom import api
from wordloom.api.task_summarize import KIND
from wordloom.config import SummarizeConfig
from wordloom.data.parallel import Parallel
from wordloom.errors import ConfigError
from wordloom.tasks.seq2seq.extractive import DAMPING, Extractive, Lead, pagerank, sentences_of, terms_of
from wordloom.tasks.seq2seq.word_by_word import WordByWord, model_1, tokens_of

TEXT = "The cat sat on the mat. A dog barked at the cat. The mat was red. Nobody knows the price of tea in China."


def test_pagerank_is_the_eigenvector() -> None:
    """Scores are the left eigenvector of d P + (1 - d) / S, which networkx's pagerank is too."""
    rng = np.random.default_rng(0)
    links = rng.random((6, 6)) * (rng.random((6, 6)) < 0.6)
    links[2] = 0  # gives to all alike
    sums = links.sum(1, keepdims=True)
    moves = np.where(sums > 0, links / np.where(sums > 0, sums, 1), 1 / 6)
    values, vectors = np.linalg.eig((DAMPING * moves + (1 - DAMPING) / 6).T)
    wanted = np.real(vectors[:, np.argmax(np.real(values))])
    assert np.allclose(pagerank(links), wanted / wanted.sum(), atol=1e-8)
    assert pagerank(np.zeros((1, 1))).tolist() == [1.0]


def test_centroid_is_the_cosine_with_the_sum() -> None:
    made = Extractive.fit([TEXT, "A dog. The tea."], method="centroid")
    sentences = sentences_of(TEXT)
    assert len(sentences) == 4
    idf = {t: math.log(3 / (1 + n)) + 1 for t, n in {"the": 2, "dog": 2, "tea": 2, "a": 2}.items()}
    rows = []
    for sentence in sentences:
        row: dict[str, float] = defaultdict(float)
        for term in terms_of(sentence):
            row[term] += idf.get(term, math.log(3 / 2) + 1)
        norm = math.sqrt(sum(v * v for v in row.values()))
        rows.append({t: v / norm for t, v in row.items()})
    centroid: dict[str, float] = defaultdict(float)
    for row in rows:
        for t, v in row.items():
            centroid[t] += v
    wanted = [sum(v * centroid[t] for t, v in row.items()) for row in rows]
    assert np.allclose(made.scores(sentences), wanted)


@pytest.mark.parametrize("method", ["centroid", "textrank"])
def test_the_odd_sentence_is_left_out_and_the_rest_is_in_order(method: str) -> None:
    made = Extractive.fit([TEXT], Lead("sentences", 2), method=method)  # type: ignore[arg-type]
    summary = made.summary(TEXT)
    assert "China" not in summary and len(sentences_of(summary)) == 2
    first, second = sentences_of(summary)
    assert TEXT.index(first) < TEXT.index(second)
    assert made.summary(sentences_of(TEXT)) == summary
    assert made.summary("One only") == "One only" and "extractive" in made.name


def test_textrank_follows_the_words_in_common() -> None:
    scores = Extractive.fit(["a b c d e f"]).scores(["a b.", "a b c.", "d e f."])
    assert scores[0] == pytest.approx(scores[1]) and scores[2] < 0.5 * scores[0]
    assert scores.sum() == pytest.approx(1.0)


def test_word_vectors_in_place_of_counts() -> None:
    """Two sentences without a word in common are one topic to vectors that say so."""
    vectors = {"cat": np.array([1.0, 0]), "feline": np.array([1.0, 0.1]), "tax": np.array([0, 1.0])}
    made = Extractive.fit(["cat feline tax"], method="centroid", vectors=vectors.get)
    scores = made.scores(["A cat.", "One feline.", "The tax."])
    assert scores[2] < min(scores[:2])
    assert made.scores(["unknown"]).tolist() == [0.0]


def test_the_summary_beside_a_model_reads_ones_own_vectors(tmp_path: Path) -> None:
    """A cat and a feline are one topic to the vectors alone; TF-IDF sees three sentences without a link."""
    (tmp_path / "own.txt").write_text("3 2\ncat 1 0\nfeline 1 0.1\ntax 0 1\n")
    texts = ["Tax. Cat. Feline."] * 4
    train = Parallel(texts, [("Cat.",)] * 4, [f"a:{i}" for i in range(4)])
    for given, expected in ((None, "Tax."), (str(tmp_path / "own.txt"), "Feline.")):
        beside = KIND.baseline(train, None, SummarizeConfig(vectors=given, extract="centroid"))
        assert [answer.text for answer in beside.predict(train)] == [expected] * 4
        assert ("word vectors" in beside.name) == (given is not None) and "centroid" in beside.name


def test_missing_vectors_are_said_before_training(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("document\tsummary\n" + "".join(f"A cat sat {i}.\tA cat {i}.\n" for i in range(40)))
    with pytest.raises(ConfigError, match=r"task\.vectors: .*none\.txt holds no word vectors"):
        api.finetune("t5-tiny", pairs, tmp_path / "run", task="summarize", quiet=True,
                     **{"task.vectors": str(tmp_path / "none.txt"), "tokenizer.vocab_size": 300})  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_chinese_is_counted_in_pairs_of_characters() -> None:
    assert terms_of("我去北京 GPT") == ["我去", "去北", "北京", "gpt"]
    made = Extractive.fit(["我去北京。他也去北京了。今天下雨。"], Lead("words", 4))
    assert len(made.summary("我去北京。他也去北京了。今天下雨。")) == 4


def test_the_lead_is_as_long_as_training_says() -> None:
    """Titles of three words: the first three words beat the first sentence; summaries of a sentence, the other way."""
    titles = Parallel([TEXT] * 4, [("The cat sat",)] * 4, ["a:1"] * 4)
    assert Lead.fit(titles, "words") == Lead("words", 3)
    whole = Parallel([TEXT, "Hi. A dog."], [("The cat sat on the mat.",), ("Hi.",)], ["a:1"] * 2)
    lead = Lead.fit(whole, "words")
    assert lead == Lead("sentences", 1) and lead.name == "first sentence"
    assert lead.summaries(whole) == ["The cat sat on the mat.", "Hi."]
    given = Parallel(["a b. c"], [("x",)], ["a:1"], sentences=[("a b.", "c")])
    assert Lead("sentences", 1).summaries(given) == ["a b."]


def brute(pairs: list[tuple[list[int], list[int]]], rounds: int) -> dict[tuple[int, int], float]:
    """Model 1 as Koehn (2010, figure 4.3) writes it, with the empty word."""
    t: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        count: dict[tuple[int, int], float] = defaultdict(float)
        total: dict[int, float] = defaultdict(float)
        for source, target in pairs:
            e_words = [0, *(e + 1 for e in source)]
            for f in target:
                norm = sum(t[e, f] for e in e_words)
                for e in e_words:
                    count[e, f] += t[e, f] / norm
                    total[e] += t[e, f] / norm
        t = defaultdict(float, {(e, f): c / total[e] for (e, f), c in count.items()})
    return t


def test_model_1_is_its_equations() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.integers(0, 6, rng.integers(1, 5)).tolist(), rng.integers(0, 7, rng.integers(1, 6)).tolist())
             for _ in range(12)]  # fmt: skip
    wanted = brute(pairs, 4)
    e, f, t = model_1([np.array(s) for s, _ in pairs], [np.array(w) for _, w in pairs], rounds=4)
    assert {(int(a), int(b)) for a, b in zip(e, f, strict=True)} == set(wanted)
    for a, b, p in zip(e, f, t, strict=True):
        assert p == pytest.approx(wanted[int(a), int(b)])
    sums = np.bincount(e, t)
    assert np.allclose(sums[sums > 0], 1)


def test_word_by_word_learns_the_dictionary() -> None:
    pairs = [("the house", "das Haus"), ("the book", "das Buch"), ("a book", "ein Buch"), ("a house.", "ein Haus.")]
    made = WordByWord.fit(Parallel([s for s, _ in pairs], [(t,) for _, t in pairs], ["a:1"] * 4))
    assert made.translate("A house, the book.") == "Ein Haus, das Buch."
    assert made.translate("The Zebra") == "Das Zebra"
    assert tokens_of("It's 3-D, 你好!") == ["It's", "3-D", ",", "你", "好", "!"]
    assert WordByWord({"hi": "你", "there": "好"}).translate("hi there") == "你好"
