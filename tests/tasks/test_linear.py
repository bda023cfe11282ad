"""The linear classifier is scikit-learn's on any matrix; averaged vectors are gensim's and NumPy's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_tasks import examples

from wordloom.data.examples import Examples
from wordloom.errors import BundleError, DataError
from wordloom.infer.linear import LinearPredictor, is_linear
from wordloom.tasks.classify.features import TfIdf
from wordloom.tasks.classify.features_vectors import Bag, WordRule, WordVectors
from wordloom.tasks.classify.labels import LabelSpace
from wordloom.tasks.classify.linear import DENSE_GRID, GRID, LinearClassifier, fit_linear
from wordloom.vectors.embeddings import Subwords, Vectors

WORDS = ["the", "film", "good", "bad", "new_york", "new", "york", "don't"]
COUNTS = np.array([500, 60, 40, 30, 9, 8, 7, 5])


def vectors(words: list[str] = WORDS, counts: np.ndarray | None = COUNTS, sub: Subwords | None = None) -> Vectors:
    rows = np.random.default_rng(3).normal(size=(len(words), 6)).astype(np.float32)
    return Vectors(words, rows, counts, sub)


def subwords() -> Subwords:
    return Subwords(np.random.default_rng(4).normal(size=(50, 6)).astype(np.float32), 3, 4)


@pytest.mark.parametrize("classes", [2, 3])
def test_dense_is_the_standardised_pipeline_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    x, held = rng.normal(3, [1, 20, 0.1, 5], (150, 4)), rng.normal(3, [1, 20, 0.1, 5], (40, 4))
    x, held = np.c_[x, np.full(150, 2.0)], np.c_[held, np.full(40, 2.0)]  # a constant column must not divide by 0
    gold = np.arange(150) % classes
    x[:, 2] += 0.1 * gold
    space = LabelSpace.fit([str(g) for g in gold], "single")
    for penalty in (0.01, 10.0):
        ours = fit_linear(x, gold, space, fixed=penalty)
        theirs = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=200)).fit(x, gold)
        np.testing.assert_allclose(ours.probabilities(held), theirs.predict_proba(held), atol=1e-9)
        two_ways = torch.softmax(torch.from_numpy(ours.logits(held)), 1).numpy()
        np.testing.assert_allclose(two_ways, ours.probabilities(held), atol=1e-12)


def test_dense_regression_is_ridge() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (80, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=80)
    ours = fit_linear(x, y, LabelSpace.fit(y.tolist(), "regression"), fixed=0.1)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=10)).fit(x, y)
    np.testing.assert_allclose(ours.probabilities(x), theirs.predict(x), atol=1e-9)


def test_the_penalty_is_the_best_on_validation() -> None:
    rng = np.random.default_rng(1)
    x, held = rng.normal(size=(60, 30)), rng.normal(size=(200, 30))
    gold, answers = ((m[:, 0] + rng.normal(size=len(m)) > 0).astype(int) for m in (x, held))
    space = LabelSpace.fit(["0", "1"], "single")
    found = fit_linear(x, gold, space, held=(held, answers), grid=DENSE_GRID)
    pipelines = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=200)).fit(x, gold) for c in DENSE_GRID
    ]
    scores = [p.score(held, answers) for p in pipelines]
    assert len(set(scores)) > 1
    assert found.penalty == DENSE_GRID[int(np.argmax(scores))] and found.value == pytest.approx(max(scores))
    even = np.arange(60) % 2
    easy = np.where(even, 50.0, -50.0)[:, None]  # every penalty is right: the smallest is taken
    assert fit_linear(easy, even, space, held=(easy, even), grid=DENSE_GRID).penalty == DENSE_GRID[0]


# --- words -----------------------------------------------------------------------------------------------------------


def listed(rule: WordRule, text: str, of: Vectors) -> list[str]:
    bag = rule.bag([text], of)
    row = bag.counts.toarray()[0]
    return [word for word, n in zip(bag.words, row, strict=True) for _ in range(int(n))]


def test_words_by_the_rule_of_the_training() -> None:
    known = vectors()
    text = "The FILM, the film!\nNew York don\u2019t"
    assert listed(WordRule("words"), text, known) == ["the", "the", "film", "film", "new", "york", "don't"]
    assert listed(WordRule("split"), text, known) == ["The", "FILM,", "the", "film!", "New", "York", "don\u2019t"]
    assert listed(WordRule("words", 1), text, known) == ["the", "the", "film", "film", "new_york", "don't"]
    cased = vectors(["Paris", "film", "US"], None)
    assert listed(WordRule("cased"), "Film in Paris, US", cased) == ["film", "in", "Paris", "US"]
    assert listed(WordRule("characters"), "好film", known) == ["好", "film"]


def test_texts_without_a_word_keep_their_rows() -> None:
    bag = WordRule("words").bag(["", "!!", "film film", "\n", "good"], vectors())
    np.testing.assert_array_equal(bag.counts.sum(1).A1, [0, 0, 2, 0, 1])
    assert WordRule("words").bag([], vectors()).counts.shape == (0, 0)


def test_the_rule_of_a_foreign_file_is_told_by_its_words() -> None:
    of = lambda *words: WordRule.of(vectors(list(words), None), {})  # noqa: E731
    assert of("the", "film", "good") == WordRule("words", 0)
    assert of("the", "Paris", "US") == WordRule("cased", 0)
    assert of("the", "new_york") == WordRule("words", 1)
    assert of("电影", "好看", "the").words == "jieba"
    assert of("电", "影", "好").words == "characters"
    trained = {"words": "characters", "phrases": 2}
    assert WordRule.of(vectors(), trained) == WordRule("characters", 2)


# --- averages --------------------------------------------------------------------------------------------------------


def test_mean_is_gensims() -> None:
    ours = vectors()
    theirs = KeyedVectors(6)
    theirs.add_vectors(WORDS, ours.matrix)
    got = WordVectors(ours, WordRule("words")).matrix(["the good film", "unknown", "Bad bad the zzz"])
    expected = [
        theirs.get_mean_vector(words, pre_normalize=False) for words in (["the", "good", "film"], ["bad", "bad", "the"])
    ]
    np.testing.assert_allclose(got[[0, 2]], expected, atol=1e-6)
    assert (got[1] == 0).all()


@pytest.mark.parametrize("sub", [False, True])
def test_sif_by_hand(sub: bool) -> None:
    ours = vectors(sub=subwords() if sub else None)
    texts = ["the good film", "bad film zzzz", "the the the", "new good"]
    features = WordVectors(ours, WordRule("words"), "sif")
    features = features.fitted(features.bags(texts))
    rows = []
    for text in texts:
        words = [w for w in text.split() if w in ours or sub]
        weight = lambda w: 1e-3 / (1e-3 + (COUNTS[ours.index(w)] / COUNTS.sum() if w in ours else 0))  # noqa: E731
        rows.append(sum(weight(w) * ours.vector(w).astype(np.float64) for w in words) / len(words))
    u = np.linalg.svd(np.array(rows))[2][0]
    np.testing.assert_allclose(features.matrix(texts), rows - np.outer(np.array(rows) @ u, u), atol=1e-6)
    later = features.matrix(["good"])  # the component of the training texts, not of this one
    assert np.abs(later).max() > 1e-3


def test_pairs_are_compared() -> None:
    ours = vectors()
    one = WordVectors(ours, WordRule("words"))
    got = WordVectors(ours, WordRule("words"), pairs=True).matrix(["good"], ["bad"])
    u, v = one.matrix(["good"]), one.matrix(["bad"])
    np.testing.assert_allclose(got, np.concatenate([u, v, abs(u - v), u * v], 1))
    with pytest.raises(DataError, match="trained on single texts"):
        one.matrix(["good"], ["bad"])


def test_sentences_are_what_they_were() -> None:
    """The quick averages of ``Vectors.sentences`` against one word at a time."""
    ours = vectors(sub=subwords())
    texts = [["good", "film", "good"], [], ["zzz", "q"], ["the"]]
    expected = [
        np.mean([ours.vector(w) for w in t if w in ours or ours.subwords.ids(w)] or [np.zeros(6)], 0) for t in texts
    ]
    np.testing.assert_allclose(ours.sentences(texts), expected, atol=1e-6)


# --- the classifier and its bundle -----------------------------------------------------------------------------------


def classifier(kind: str, pairs: bool = False, tfidf: bool = False) -> tuple[LinearClassifier, Examples]:
    train = examples(60, kind, pairs=pairs, longest=20)
    space = LabelSpace.fit(train.labels, kind)
    gold = space.targets(train.labels)
    if tfidf:
        features, x = TfIdf.fit(train)
        return LinearClassifier.fit([(features, x, x)], gold, gold, space, GRID), train
    words = sorted({w for t in [*train.texts, *(train.pairs or [])] for w in t.split()})
    of = vectors(words, np.arange(len(words), 0, -1), subwords())
    options = []
    for method in ("mean", "sif"):
        base = WordVectors(of, WordRule("words"), method, pairs)
        bags = base.bags(train.texts, train.pairs)
        features = base.fitted(bags)
        options.append((features, features.of(bags), features.of(bags)))
    return LinearClassifier.fit(options, gold, gold, space, DENSE_GRID), train


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
@pytest.mark.parametrize("tfidf", [False, True])
def test_loaded_predicts_the_same_bits(tmp_path: Path, kind: str, tfidf: bool) -> None:
    made, train = classifier(kind, pairs=kind == "multi", tfidf=tfidf)
    predictor = LinearPredictor(made, {"clean_html": False})
    predictor.save(tmp_path / "b")
    assert is_linear(tmp_path / "b") and not list((tmp_path / "b").rglob("*.pkl"))
    again = LinearPredictor.load(tmp_path / "b", LinearClassifier.restore)
    expected = predictor.predict_proba(train.texts, train.pairs)
    np.testing.assert_array_equal(again.predict_proba(train.texts, train.pairs), expected)
    one_by_one = [again.predict_proba([t], None if train.pairs is None else [p])[0]
                  for t, p in zip(train.texts[:5], (train.pairs or train.texts)[:5], strict=True)]  # fmt: skip
    np.testing.assert_allclose(one_by_one, expected[:5], atol=1e-12)
    assert (again.labels, again.kind, again.task.temperature) == (made.labels, kind, made.temperature)
    again.save(tmp_path / "c")
    assert LinearPredictor.load(tmp_path / "c", LinearClassifier.restore).evaluate(train) == predictor.evaluate(train)


def test_the_better_features_are_chosen() -> None:
    """One matrix tells the label, the other is noise: the first wins whatever its place."""
    rng = np.random.default_rng(0)
    gold = np.arange(80) % 2
    good, noise = gold[:, None] + rng.normal(0, 0.1, (80, 2)), rng.normal(size=(80, 2))
    space = LabelSpace.fit(["0", "1"], "single")
    a, b = (WordVectors(vectors(), WordRule("words"), m) for m in ("mean", "sif"))
    for options in ([(a, noise, noise), (b, good, good)], [(b, good, good), (a, noise, noise)]):
        assert LinearClassifier.fit(options, gold, gold, space, DENSE_GRID).features is b


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    made, _ = classifier("single")
    LinearPredictor(made).save(tmp_path / "b")
    target = tmp_path / "b" / "classifier.safetensors"
    whole = target.read_bytes()
    target.write_bytes(whole[:-1] + b"x")
    with pytest.raises(BundleError, match=r"classifier\.safetensors is damaged"):
        LinearPredictor.load(tmp_path / "b", LinearClassifier.restore)
    target.unlink()
    with pytest.raises(BundleError, match=r"classifier\.safetensors is missing"):
        LinearPredictor.load(tmp_path / "b", LinearClassifier.restore)
    target.write_bytes(whole)
    with pytest.raises(BundleError, match="already exists"):
        LinearPredictor(made).save(tmp_path / "b")
    facts = tmp_path / "b" / "wordloom.json"
    facts.write_text(facts.read_text().replace('"word-vectors"', '"tea-leaves"'))
    with pytest.raises(BundleError, match="the classifier is damaged"):
        LinearPredictor.load(tmp_path / "b", LinearClassifier.restore)


def test_a_bag_is_a_matrix_of_counts() -> None:
    bag: Bag = WordRule("words").bag(["film good film"], vectors())
    assert sparse.issparse(bag.counts) and dict(zip(bag.words, bag.counts.toarray()[0], strict=True)) == {
        "film": 2,
        "good": 1,
    }
