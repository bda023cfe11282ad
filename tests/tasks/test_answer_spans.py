"""Spans from logits against brute force, the threshold against all thresholds, and the lexical baseline."""

import itertools
import math

import numpy as np
import pytest

from wordloom.data.questions import Question, Questions, Span
from wordloom.metrics.squad import RULES
from wordloom.tasks.answer.baseline import SlidingWindow, best_window
from wordloom.tasks.answer.spans import Piece, best_threshold, read_spans

CHINESE = "1928年，手塚治虫在日本大阪府出生。他是漫画家！The 😀 end。"


def brute(pieces: list[Piece], characters: np.ndarray, longest: int) -> dict[tuple[int, int], float]:
    """Sum of exp(score) of every span of the text."""
    found: dict[tuple[int, int], float] = {}
    for p in pieces:
        for i, j in itertools.product(range(len(p.starts)), repeat=2):
            if i <= j < i + longest and p.starts[i] > -np.inf and p.ends[j] > -np.inf:
                place = int(characters[p.begin + i, 0]), int(characters[p.begin + j, 1])
                found[place] = found.get(place, 0.0) + math.exp(p.starts[i] + p.ends[j])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_spans_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    characters = np.stack([np.arange(12) * 3, np.arange(12) * 3 + 2], axis=1).astype(np.int32)
    pieces = []
    for begin, n in ((0, 6), (4, 5), (7, 5)):
        starts, ends = rng.normal(size=(2, n)) * 2
        starts[rng.integers(n)] = -np.inf
        pieces.append(Piece(begin, starts, ends))
    reading = read_spans(pieces, characters, 0.7, longest=4)
    expected = brute(pieces, characters, 4)
    assert reading.total == pytest.approx(math.log(sum(expected.values())))
    best = sorted(expected.items(), key=lambda item: -item[1])
    for (place, weight), span in zip(best[:10], reading.spans, strict=False):
        assert (span.start, span.end) == place and span.score == pytest.approx(math.log(weight))
        whole = sum(expected.values()) + math.exp(0.7)
        assert reading.probability(span.score) == pytest.approx(weight / whole)
    assert reading.margin == pytest.approx(0.7 - reading.spans[0].score)
    everything = sum(reading.probability(math.log(w)) for w in expected.values()) + reading.probability(0.7)
    assert everything == pytest.approx(1)


def test_a_context_without_tokens_has_no_span() -> None:
    nothing = [Piece(0, np.zeros(0), np.zeros(0))], np.zeros((0, 2), np.int32)
    reading = read_spans(*nothing, -math.inf, 4)
    assert reading.spans == () and reading.total == -math.inf
    silent = read_spans(*nothing, 0.3, 4)
    assert silent.margin == math.inf and silent.probability(0.3) == 1


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=30).round(1)  # with ties
    answered, silent = rng.random(30), (rng.random(30) < 0.4).astype(float)

    def total(t: float) -> float:
        return float(np.where(margins > t, silent, answered).sum())

    found = best_threshold(margins, answered, silent)
    assert total(found) == pytest.approx(max(total(t) for t in np.arange(-5, 5, 0.025)))
    assert best_threshold(margins, np.ones(30), np.ones(30)) == 0.0


def test_the_sliding_window_finds_the_words_of_the_question() -> None:
    english = "Rome is old. The red cat of Anna slept in Paris all day. Oslo is cold."
    a, b, _ = best_window(Question("Where did the red cat of Anna slept in?", english), 1)
    assert english[a:b] == "Paris"
    a, b, score = best_window(Question("手塚治虫在哪里出生？", CHINESE), 5)
    assert CHINESE[a:b] == "日本大阪府" and 0 < score < 1
    assert best_window(Question("who?", "!?"), 3) == (0, 0, 0.0)


def test_the_baseline_is_fitted_and_answers_like_a_model() -> None:
    rng = np.random.default_rng(0)
    asked, answers = [], []
    for i in range(40):
        names = rng.permutation(["Anna", "Berta", "Carla", "Dora", "Emil"])
        places = rng.permutation(["rome", "paris", "oslo", "cairo", "delhi"])
        context = ". ".join(f"{n} lives in {p}" for n, p in zip(names[:4], places[:4], strict=True)) + "."
        k = int(rng.integers(5))
        asked.append(Question(f"where lives {names[k]} ?", context, str(i)))
        answers.append((Span(places[k], context.index(places[k])),) if k < 4 else ())
    records = Questions(asked, answers, [f"a:{i}" for i in range(40)])
    baseline = SlidingWindow.fit(records)
    said = [a.text for a in baseline.predict(records)]
    f1, exact = RULES["words"].scores(said, [[s.text for s in spans] for spans in answers], True)
    silent = np.array([not spans for spans in answers])
    assert baseline.length == 1 and f1.mean() > 0.9 and exact[silent].mean() == 1
