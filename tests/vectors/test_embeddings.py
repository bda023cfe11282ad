"""Queries against gensim and scikit-learn on the same vectors, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from vector_samples import make

from wordloom.errors import ConfigError, DataError
from wordloom.vectors.embeddings import Subwords, Vectors, compose


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return make(3000, 20)


@pytest.fixture(scope="module")
def peer(vectors: Vectors):  # type: ignore[no-untyped-def]
    gensim = pytest.importorskip("gensim")
    keyed = gensim.models.KeyedVectors(vectors.dimension)
    keyed.add_vectors(vectors.words, np.array(vectors.matrix))
    return keyed


def equal(ours: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> None:
    assert [word for word, _ in ours] == [word for word, _ in theirs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=0, atol=2e-6)


@pytest.mark.parametrize("word", ["the", "king", "日本", "w2000"])
def test_neighbors_equal_gensims(vectors: Vectors, peer, word: str) -> None:  # type: ignore[no-untyped-def]
    equal(vectors.neighbors(word, 25), peer.most_similar(word, topn=25))


def test_neighbors_of_a_vector_equal_gensims(vectors: Vectors, peer) -> None:  # type: ignore[no-untyped-def]
    query = np.random.default_rng(1).normal(size=20)
    equal(vectors.neighbors(query, 12), peer.similar_by_vector(query.astype(np.float32), topn=12))
    assert vectors.neighbors(vectors.vector("king"), 1)[0][0] == "king", "a vector bars no word"


@pytest.mark.parametrize("a, b, c", [("man", "king", "woman"), ("w5", "w700", "größe"), ("the", "a", "the")])
def test_analogies_equal_gensims(vectors: Vectors, peer, a: str, b: str, c: str) -> None:  # type: ignore[no-untyped-def]
    equal(vectors.analogy(a, b, c, 10), peer.most_similar(positive=[b, c], negative=[a], topn=10))
    theirs = peer.most_similar_cosmul(positive=[b, c], negative=[a], topn=10)
    ours = vectors.analogy(a, b, c, 10, "mul")
    assert [w for w, _ in ours] == [w for w, _ in theirs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=1e-4)


def test_analogy_by_hand() -> None:
    """b - a + c of unit vectors, equations 3 and 4 of Levy & Goldberg, written out."""
    rng = np.random.default_rng(3)
    unit = rng.normal(size=(6, 4))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    vectors = Vectors(list("abcdef"), unit.astype(np.float32) * 3)
    cosine = unit @ unit.T
    add = {w: cosine[i, 1] - cosine[i, 0] + cosine[i, 2] for i, w in enumerate("abcdef") if w not in "abc"}
    mul = {w: (1 + cosine[i, 1]) * (1 + cosine[i, 2]) / (1 + cosine[i, 0]) for i, w in enumerate("abcdef")}
    ranked = [w for w, _ in vectors.analogy("a", "b", "c", 3)]
    assert ranked == sorted(add, key=add.__getitem__, reverse=True)
    by_mul = [w for w, _ in vectors.analogy("a", "b", "c", 3, method="mul")]
    assert by_mul == sorted("def", key=mul.__getitem__, reverse=True)


def test_similarity_and_odd_one_out_equal_gensims(vectors: Vectors, peer) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    for _ in range(30):
        words = [vectors.words[i] for i in rng.choice(len(vectors), 5, replace=False)]
        assert vectors.odd_one_out(words) == peer.doesnt_match(words)
        assert vectors.similarity(words[0], words[1]) == pytest.approx(peer.similarity(*words[:2]), abs=2e-6)


def test_equal_scores_come_in_the_order_of_the_vocabulary() -> None:
    words = [f"w{i}" for i in np.random.default_rng(0).permutation(300)]
    vectors = Vectors(words, np.array([[4, 4 * (i % 2)] for i in range(300)], np.float32))
    assert [w for w, _ in vectors.neighbors([1.0, 1.0], 250)] == words[1::2] + words[:200:2]


def test_rows_of_zeros_and_of_extreme_length() -> None:
    rows = np.array([[1, 0], [0, 0], [1e-30, 1e-30], [1e25, 0]], np.float32)
    vectors = Vectors(["a", "zero", "tiny", "huge"], rows)
    scores = dict(vectors.neighbors("a", 3))
    assert scores["huge"] == pytest.approx(1) and scores["zero"] == 0
    assert scores["tiny"] == pytest.approx(np.sqrt(0.5), abs=1e-6)
    with pytest.raises(DataError, match="'zero' has no direction"):
        vectors.neighbors("zero")


def test_more_neighbors_than_words() -> None:
    vectors = make(5)
    assert len(vectors.neighbors("king", 99)) == 4
    assert Vectors(["a"], np.ones((1, 2), np.float32)).neighbors("a") == []


def test_unknown_words_name_near_misses(vectors: Vectors) -> None:
    with pytest.raises(DataError, match="did you mean 'king'"):
        vectors.index("King")
    with pytest.raises(DataError, match="did you mean 'queen'"):
        vectors.neighbors("quen")
    with pytest.raises(DataError, match="did you mean 'new_york'"):
        vectors.vector("new york")
    with pytest.raises(DataError, match="not among the 3,000 words"):
        vectors.similarity("king", "§§§§§§§§§§§§")


def test_bad_questions(vectors: Vectors) -> None:
    with pytest.raises(ConfigError, match="method 'cos' is unknown"):
        vectors.analogy("a", "the", "king", method="cos")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0 words were asked for"):
        vectors.neighbors("king", 0)
    with pytest.raises(DataError, match="fewer than three"):
        vectors.odd_one_out(["king", "queen"])
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        vectors.neighbors([1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="not a string"):
        vectors.sentence("the king")
    with pytest.raises(DataError, match="have none"):
        make(5, counts=False).sentences([["king"]], "sif")


def test_parts_that_do_not_fit() -> None:
    ones = np.ones((2, 3), np.float32)
    with pytest.raises(DataError, match="3 words do not fit a matrix"):
        Vectors(["a", "b", "c"], ones)
    with pytest.raises(DataError, match="1 words stand twice"):
        Vectors(["a", "a"], ones)
    with pytest.raises(DataError, match="do not fit 1 counts"):
        Vectors(["a", "b"], ones, np.array([1]))
    with pytest.raises(DataError, match="do not fit vectors of 3"):
        Vectors(["a", "b"], ones, subwords=Subwords(np.ones((4, 2), np.float32), 3, 6))


def test_read_only(vectors: Vectors) -> None:
    with pytest.raises(ValueError, match="read-only"):
        vectors.matrix[0, 0] = 1


# --- sentences -------------------------------------------------------------------------------------------------------

TEXTS = [["the", "king"], ["queen", "nowhere", "woman", "woman"], ["nowhere"], [], ["a", "the", "w30", "w31", "w99"]]


def test_mean_sentence_vectors_by_hand() -> None:
    vectors = make(50)
    found = vectors.sentences(TEXTS)
    of = vectors.vector
    np.testing.assert_allclose(found[0], (of("the") + of("king")) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[1], (of("queen") + 2 * of("woman")) / 3, rtol=1e-6)
    assert not found[2].any() and not found[3].any()
    np.testing.assert_array_equal(vectors.sentence(TEXTS[4]), found[4])


def test_sif_equals_the_papers_steps() -> None:
    """Weights a / (a + p(w)), then the first component of an uncentred truncated SVD taken off (scikit-learn's)."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = make(50)
    assert vectors.counts is not None
    p = vectors.counts / vectors.counts.sum()
    expected = np.zeros((len(TEXTS), vectors.dimension))
    for i, text in enumerate(TEXTS):
        rows = [vectors.words.index(word) for word in text if word in vectors.words]
        if rows:
            expected[i] = np.mean([1e-2 / (1e-2 + p[r]) * vectors.matrix[r].astype(np.float64) for r in rows], axis=0)
    component = decomposition.TruncatedSVD(1, algorithm="arpack", random_state=0).fit(expected).components_[0]
    np.testing.assert_allclose(
        vectors.sentences(TEXTS, "sif", a=1e-2), expected - np.outer(expected @ component, component), atol=1e-4
    )
    ours = vectors.common_component(TEXTS, a=1e-2)
    assert abs(ours @ component) == pytest.approx(1)
    later = vectors.sentence(["king"], "sif", a=1e-2, component=ours)
    assert abs(later @ ours) < 1e-5 * np.linalg.norm(vectors.vector("king"))


# --- sub-words -------------------------------------------------------------------------------------------------------


def test_sub_words_give_unknown_words_a_vector() -> None:
    vectors = make(60, subwords=True)
    sub = vectors.subwords
    assert sub is not None and "kingdom" not in vectors
    np.testing.assert_allclose(vectors.vector("kingdom"), sub.rows[sub.ids("kingdom")].mean(axis=0), rtol=1e-5)
    assert "king" in dict(vectors.neighbors("kingdom", 59)), "a word outside the vocabulary bars none"
    assert not np.allclose(vectors.sentence(["kingdom"]), 0)
    with pytest.raises(DataError, match="not among"):
        make(60).vector("kingdom")


def test_compose_is_the_mean_of_own_and_n_gram_rows() -> None:
    vectors = make(60, subwords=True)
    sub = vectors.subwords
    assert sub is not None and sub.own is not None
    for i, word in enumerate(vectors.words):
        rows = np.concatenate([sub.own[i : i + 1], sub.rows[sub.ids(word)]])
        np.testing.assert_allclose(vectors.matrix[i], rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    again = compose(iter(vectors.words), sub.own, sub.rows, 3, 6)
    assert again.tobytes() == vectors.matrix.tobytes()
