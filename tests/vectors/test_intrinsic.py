"""Word pairs and analogies against gensim's evaluation of the same vectors, and against arithmetic."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from wordloom.errors import ConfigError, DataError
from wordloom.vectors.embeddings import Subwords, Vectors
from wordloom.vectors.intrinsic import (
    Pair,
    Question,
    evaluate_analogies,
    evaluate_pairs,
    read_analogies,
    read_pairs,
    spearman_gain,
)

PAIR_FILES = {
    "EN-WS-353-ALL.txt": 353, "EN-WS-353-SIM.txt": 203, "EN-WS-353-REL.txt": 252, "EN-SIMLEX-999.txt": 999,
    "EN-MEN-TR-3k.txt": 3000, "EN-RW-STANFORD.txt": 2034, "wordsim-240.txt": 240, "wordsim-297.txt": 297,
}  # fmt: skip


def keyed(vectors: Vectors) -> Any:
    kv = pytest.importorskip("gensim.models.keyedvectors").KeyedVectors(vectors.dimension)
    kv.add_vectors(vectors.words, np.array(vectors.matrix))
    return kv


def made_up(words: list[str], seed: int, left_out: float = 0.2) -> Vectors:
    """Random vectors for most of the words, in random order, some of them in several spellings."""
    draw = np.random.default_rng(seed)
    kept = [word for word in dict.fromkeys(words) if draw.random() >= left_out]
    kept = list(dict.fromkeys([*kept, *(w.upper() for w in kept[::7]), *(w.lower() for w in kept[::5])]))
    draw.shuffle(kept)
    return Vectors(kept, draw.normal(size=(len(kept), 12)).astype(np.float32))


# --- pairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIR_FILES)
def test_pairs_equal_gensim(name: str, shared_data: Path, tmp_path: Path) -> None:
    pairs = read_pairs(shared_data / "vectors" / name)
    text = (shared_data / "vectors" / name).read_bytes().decode()
    path = tmp_path / name  # wordsim-297 has blanks beside some words: gensim takes them as part of the word
    path.write_bytes(re.sub(r" *([\t\n]) *", r"\1", text).encode())
    assert len(pairs) == PAIR_FILES[name]
    vectors = made_up([w for p in pairs for w in (p.first, p.second)], len(pairs))
    kv = keyed(vectors)
    for fold in (True, False):
        for missing in ("skip", "zero"):
            got = evaluate_pairs(vectors, pairs, missing=missing, fold=fold, resamples=20)  # type: ignore[arg-type]
            _, spearman, outside = kv.evaluate_word_pairs(
                str(path), case_insensitive=fold, dummy4unknown=missing == "zero"
            )
            # words paired with themselves tie at 1 here and differ by float32 rounding there
            assert got.spearman.value == pytest.approx(spearman[0], abs=1e-6)
            assert got.total - got.covered == pytest.approx(outside / 100 * got.total)
            assert got.spearman.low <= got.spearman.value <= got.spearman.high


def test_pairs_restricted_equal_gensim(shared_data: Path) -> None:
    path = shared_data / "vectors" / "EN-SIMLEX-999.txt"
    pairs = read_pairs(path)
    vectors = made_up([w for p in pairs for w in (p.first, p.second)], 3)
    _, spearman, outside = keyed(vectors).evaluate_word_pairs(str(path), restrict_vocab=700)
    got = evaluate_pairs(vectors, pairs, restrict=700, resamples=5)
    assert got.spearman.value == pytest.approx(spearman[0], abs=1e-6)
    assert 0 < got.covered < 700 and got.covered == pytest.approx((1 - outside / 100) * 999)


def test_pairs_by_hand() -> None:
    vectors = Vectors(["Cat", "cat", "dog", "car"], np.array([[1, 0], [0, 1], [1, 1], [1, -1]], np.float32))
    pairs = [Pair("CAT", "dog", 9), Pair("car", "dog", 1), Pair("cat", "cat", 10), Pair("cat", "cow", 8)]
    got = evaluate_pairs(vectors, pairs)
    r = math.sqrt(0.5)
    np.testing.assert_allclose(got.similarity, [r, 0, 1, np.nan], atol=1e-7)  # "Cat", the first spelling
    assert (got.spearman.value, got.covered, got.total) == (pytest.approx(1), 3, 4)
    assert got.spearman.note == "3 of 4 pairs"
    np.testing.assert_allclose(evaluate_pairs(vectors, pairs, missing="zero").similarity, [r, 0, 1, 0], atol=1e-7)
    exact = evaluate_pairs(vectors, pairs, fold=False)
    np.testing.assert_allclose(exact.similarity, [np.nan, 0, 1, np.nan], atol=1e-7)
    nothing = evaluate_pairs(vectors, pairs[3:])
    assert math.isnan(nothing.spearman.value) and nothing.covered == 0


def test_pairs_with_subwords() -> None:
    draw = np.random.default_rng(0)
    subwords = Subwords(draw.normal(size=(50, 4)).astype(np.float32), 3, 4)
    vectors = Vectors(["word", "other"], draw.normal(size=(2, 4)).astype(np.float32), subwords=subwords)
    pairs = [Pair("word", "Wordy", 3), Pair("word", "other", 2), Pair("other", "", 1), Pair("a", "others", 1.5)]
    plain, got = evaluate_pairs(vectors, pairs), evaluate_pairs(vectors, pairs, missing="subwords")
    assert (plain.covered, got.covered) == (1, 1)
    assert np.isfinite(got.similarity).tolist() == [True, True, False, True]
    a, b = vectors.matrix[0].astype(float), subwords.rows[subwords.ids("wordy")].astype(float).mean(0)
    assert got.similarity[0] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-6)
    assert got.similarity[1] == plain.similarity[1]


def test_interval_of_pairs_is_the_bootstrap() -> None:
    """Against scipy on resampled pairs, drawn otherwise: the ends agree within their own sampling error."""
    draw = np.random.default_rng(5)
    words = [f"w{i}" for i in range(120)]
    vectors = Vectors(words, draw.normal(size=(120, 3)).astype(np.float32))
    pairs = [Pair(words[2 * i], words[2 * i + 1], float(draw.normal())) for i in range(60)]
    got = evaluate_pairs(vectors, pairs, resamples=4000)
    samples = []
    for _ in range(2000):
        i = draw.integers(0, 60, 60)
        samples.append(stats.spearmanr(got.gold[i], got.similarity[i]).statistic)
    np.testing.assert_allclose([got.spearman.low, got.spearman.high], np.percentile(samples, [2.5, 97.5]), atol=0.03)


def test_gain_between_two_sides() -> None:
    """Better by construction: the interval lies above 0; a side against itself: 0, exactly."""
    draw = np.random.default_rng(4)
    words = [f"w{i}" for i in range(300)]
    base = draw.normal(size=(300, 5))
    pairs = [Pair(words[2 * i], words[2 * i + 1], 0.0) for i in range(150)]
    truth = evaluate_pairs(Vectors(words, base.astype(np.float32)), pairs).similarity
    pairs = [Pair(p.first, p.second, float(s)) for p, s in zip(pairs, truth, strict=True)]

    def side(noise: float) -> list[Any]:
        made = [Vectors(words, (base + noise * draw.normal(size=base.shape)).astype(np.float32)) for _ in range(3)]
        return [evaluate_pairs(v, pairs, resamples=5) for v in made]

    good, bad = side(0.3), side(1.0)
    gain = spearman_gain(good, bad, resamples=300)
    mean = [np.mean([r.spearman.value for r in s]) for s in (good, bad)]
    assert gain.value == pytest.approx(mean[0] - mean[1])
    assert 0 < gain.low < gain.value < gain.high
    same = spearman_gain(good[:1], good[:1], resamples=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(DataError, match="one set"):
        spearman_gain(good, [evaluate_pairs(Vectors(words, base.astype(np.float32)), pairs[:9])])


# --- analogies -----------------------------------------------------------------------------------------------------


def solvable(questions: list[Question], seed: int) -> Vectors:
    """Vectors in which a good part of the questions come out right."""
    vectors = made_up([w for q in questions for w in (q.a, q.b, q.c, q.expected)], seed, left_out=0.05)
    draw, matrix = np.random.default_rng(seed), np.array(vectors.matrix)
    for q in [questions[i] for i in draw.permutation(len(questions))]:
        if all(w in vectors for w in (q.a, q.b, q.c, q.expected)):
            a, b, c, d = (vectors.index(w) for w in (q.a, q.b, q.c, q.expected))
            matrix[d] = 0.5 * matrix[d] + 0.5 * (matrix[b] - matrix[a] + matrix[c])
            matrix[d] *= 3 / np.linalg.norm(matrix[d])
    return Vectors(vectors.words, matrix)


@pytest.mark.parametrize("name", ["questions-words.txt", "ca8_semantic.txt", "ca8_morphological.txt"])
def test_analogies_equal_gensim(name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (shared_data / "vectors" / name).read_bytes().split(b"\n")
    part = tmp_path / name  # line ends as in the original
    part.write_bytes(b"\n".join(line for i, line in enumerate(lines) if line.startswith(b":") or i % 25 == 0))
    questions = read_analogies(part)
    vectors = solvable(questions, 1)
    kv = keyed(vectors)
    for restrict, fold, missing in ((None, True, "skip"), (400, True, "zero"), (700, False, "skip")):
        got = evaluate_analogies(vectors, questions, restrict=restrict, fold=fold, missing=missing, resamples=20)  # type: ignore[arg-type]
        score, sections = kv.evaluate_word_analogies(
            str(part), restrict_vocab=restrict or len(vectors), case_insensitive=fold, dummy4unknown=missing == "zero"
        )
        assert got.accuracy.value == pytest.approx(score, abs=1e-12)
        assert [s["section"] for s in sections[:-1]] == list(got.sections)
        for section in sections[:-1]:
            right, wrong = len(section["correct"]), len(section["incorrect"])
            accuracy, covered, total = got.sections[section["section"]]
            assert (covered if missing == "skip" else total) == right + wrong
            assert accuracy.value == pytest.approx(right / (right + wrong)) if right + wrong else accuracy.value
        assert got.accuracy.value > (0.05 if restrict is None else 0)
        monkeypatch.setattr("wordloom.vectors.intrinsic._BLOCK", 20_000)  # the vocabulary in many blocks: the same
        again = evaluate_analogies(vectors, questions, restrict=restrict, fold=fold, missing=missing, resamples=20)  # type: ignore[arg-type]
        np.testing.assert_array_equal(again.correct, got.correct)


@pytest.mark.parametrize("method", ["add", "mul"])
def test_analogies_equal_single_queries(method: str) -> None:
    draw = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    vectors = Vectors(words, draw.normal(size=(40, 6)).astype(np.float32))
    given = [[words[i] for i in draw.permutation(40)[:3]] for _ in range(200)]
    answers = [vectors.analogy(*three, method=method)[0][0] for three in given]  # type: ignore[arg-type]
    kv = keyed(vectors)
    if method == "mul":
        assert answers == [kv.most_similar_cosmul([b, c], [a], 1)[0][0] for a, b, c in given]
    questions = [Question(*three, answer if i % 4 else "w0", "s") for i, (three, answer) in enumerate(zip(given, answers, strict=True))]  # fmt: skip  # noqa: E501
    got = evaluate_analogies(vectors, questions, method=method, restrict=None)  # type: ignore[arg-type]
    expected = [q.expected == answer for q, answer in zip(questions, answers, strict=True)]
    np.testing.assert_array_equal(got.correct, expected)
    assert sum(expected) in range(150, 170)
    error = math.sqrt(got.accuracy.value * (1 - got.accuracy.value) / 200)
    assert got.accuracy.high - got.accuracy.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_given_words_are_no_answer_and_spellings_are_one() -> None:
    """b itself is the nearest to b - a + c; and "KING" in another spelling is no answer either."""
    words = ["man", "king", "woman", "KING", "queen", "tree"]
    matrix = [[1, 0, 0.1], [1, 1, 0], [1, 0, 0], [1, 1, 0.01], [0.9, 0.8, 0.1], [-1, 0, 1]]
    vectors = Vectors(words, np.array(matrix, np.float32))
    question = [Question("man", "King", "woman", "Queen", "s")]
    assert evaluate_analogies(vectors, question).accuracy.value == 1
    cased = evaluate_analogies(vectors, [Question("man", "king", "woman", "queen", "s")], fold=False)
    assert cased.accuracy.value == 0  # KING is another word then, and nearer
    none = evaluate_analogies(vectors, question, fold=False)
    assert math.isnan(none.accuracy.value) and (none.covered, none.total) == (0, 1)
    assert evaluate_analogies(vectors, question, restrict=4, missing="zero").accuracy.value == 0


# --- files ---------------------------------------------------------------------------------------------------------


def test_files_of_other_shapes(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(
        "\ufeffWord 1,Word 2,Human (mean)\r\n# a comment\r\nlove,sex,6.77,9,6\r\n\r\ntiger,cat,7.35".encode()
    )
    assert read_pairs(path) == [Pair("love", "sex", 6.77), Pair("tiger", "cat", 7.35)]
    path.write_text("sun sunlight 50.0\nnew york\tcity\t9\n", encoding="utf-8")
    assert read_pairs(path) == [Pair("sun", "sunlight", 50), Pair("new york", "city", 9)]
    path.write_bytes(b"a b c d\r\n: one two \r\ne f g h\r\n\r\n")
    assert read_analogies(path) == [Question("a", "b", "c", "d", "pairs"), Question("e", "f", "g", "h", "one two")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\tb\t1\nc\td\n", "file.txt:2: no word pair"),
        (b"a\tb\t1\nc\td\tx\n", "file.txt:2: no word pair"),
        (b"a\tb\tnan\nc\t\t1\n", "file.txt:2: no word pair"),
        (b"\n", "no word pairs"),
        (b"a\tb\t1\n\xff\tb\t1\n", "file.txt:2: bytes that are no UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_bad_pairs(data: bytes | None, message: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "file.txt").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_pairs(tmp_path / "file.txt")


@pytest.mark.parametrize(
    ("data", "message"), [(b": s\na b c\n", "file.txt:2: an analogy of 3"), (b": s\n", "no analogies")]
)
def test_bad_analogies(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_analogies(tmp_path / "file.txt")


def test_bad_choices() -> None:
    vectors = Vectors(["a"], np.ones((1, 2), np.float32))
    with pytest.raises(ConfigError, match="missing"):
        evaluate_pairs(vectors, [Pair("a", "a", 1)], missing="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="restricted"):
        evaluate_pairs(vectors, [Pair("a", "a", 1)], restrict=0)
    with pytest.raises(ConfigError, match="method"):
        evaluate_analogies(vectors, [Question("a", "a", "a", "a", "")], method="div")  # type: ignore[arg-type]
