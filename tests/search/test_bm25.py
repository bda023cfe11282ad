"""Words of a search, BM25 by its formula, rankings and their fusion by hand."""

import math

import numpy as np
import pytest

from wordloom.errors import ConfigError, DataError
from wordloom.search.bm25 import BM25
from wordloom.search.ranking import fuse, ordered, top
from wordloom.search.words import Words, choose_words

TEXTS = ["tea tea is warm", "coffee is dark and warm", "a leaf", "tea leaf tea leaf tea", "", "dark"]


def formula(texts: list[str], query: str, k1: float, b: float) -> list[float]:
    """Robertson & Zaragoza 2009, equation 3.15, word by word."""
    tokens = [t.split() for t in texts]
    average = sum(map(len, tokens)) / len(tokens)
    scores = []
    for document in tokens:
        score = 0.0
        for word in query.split():
            df, tf = sum(word in d for d in tokens), document.count(word)
            idf = math.log(1 + (len(tokens) - df + 0.5) / (df + 0.5))
            if tf == 0:
                continue
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(document) / average))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 0.0), (1.5, 1.0)])
def test_bm25_is_the_formula(k1: float, b: float) -> None:
    found = BM25(TEXTS, Words("none"), k1=k1, b=b)
    for query in ("tea", "warm tea", "tea tea leaf", "nothing", ""):
        assert found.scores(query) == pytest.approx(formula(TEXTS, query, k1, b), rel=1e-6)


def test_bm25_without_words() -> None:
    with pytest.raises(DataError, match="no word"):
        BM25(["...", ""], Words("none"))


def test_words() -> None:
    assert Words("none")("Tea-time's O’Neil 2023") == ["tea", "time", "s", "o", "neil", "2023"]
    assert Words("english")("running studies GENES") == ["run", "studi", "gene"]
    assert Words("none")("ẹ̀kọ́ Yorùbá") == ["ẹ̀kọ́", "yorùbá"]
    assert Words("none", "bigrams")("中文分词abc很 x") == ["中文", "文分", "分词", "abc", "很", "x"]
    with pytest.raises(ConfigError, match="no stemmer"):
        Words("klingon")


def test_words_by_jieba() -> None:
    pytest.importorskip("jieba")
    found = Words("none", "jieba")("小明硕士毕业于中国科学院计算所")
    assert {"中国", "科学院", "中国科学院"} <= set(found)  # the long word and those in it


def test_words_are_chosen_by_the_texts() -> None:
    pytest.importorskip("jieba")
    assert choose_words(["The tea of the house is in a cup."]) == Words("english", "bigrams")
    assert choose_words(["Der Tee im Haus steht in einer Tasse auf dem Tisch am Fenster."]).stem == "none"
    assert choose_words(["我爱北京天安门"]) == Words("none", "jieba")
    assert choose_words(["The tea"], stem="german", chinese="bigrams") == Words("german", "bigrams")
    assert Words(**Words("german").to_json()) == Words("german")


def test_ties_fall_as_in_trec_eval() -> None:
    assert ordered([("a", 1), ("c", 1), ("b", 2)]) == [("b", 2), ("c", 1), ("a", 1)]
    scores = np.array([0, 3, 3, 0, 1], np.float32)
    ids = list("abcde")
    assert top(scores, ids, 1) == [("c", 3)] and top(scores, ids, 10, positive=True) == [("c", 3), ("b", 3), ("e", 1)]
    assert [d for d, _ in top(scores, ids, 4)] == ["c", "b", "e", "d"]


def test_fusion_by_hand() -> None:
    found = fuse([[("a", 9.0), ("b", 5.0)], [("b", 0.3), ("c", 0.2), ("a", 0.1)]])
    assert [d for d, _ in found] == ["b", "a", "c"]
    assert [s for _, s in found] == pytest.approx([1 / 62 + 1 / 61, 1 / 61 + 1 / 63, 1 / 62])
