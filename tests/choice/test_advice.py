"""The table and the advice from numbers made by hand."""

import numpy as np
import pytest

from wordloom.choice.advice import recommend
from wordloom.choice.comparison import Candidate, Costs, Row, side_by_side
from wordloom.metrics import Paired, Score, paired


def row(
    name: str, score: float, micro: float, seconds: tuple[float | None, float] = (0.0, 1.0), gap: float | None = None,
    same: bool = True,
) -> Row:  # fmt: skip
    test = None
    if gap is not None:
        verdict = "no difference" if same else "the best is better by 9 points"
        test = Paired(gap, gap - 0.02, gap + 0.02 if same else gap / 2, 0.3 if same else 0.001, verdict, "accuracy")
    costs = Costs(seconds[0], seconds[1], micro, 10 * micro, 10**8, 10**6)
    return Row(name, name.upper(), Score(score, score - 0.02, score + 0.02), costs, test)


def test_the_cheapest_of_those_as_good_as_the_best() -> None:
    rows = [
        row("bert", 0.90, 5000, (300, 60)),
        row("sg", 0.895, 300, (20, 1), -0.005),
        row("tfidf", 0.89, 1000, gap=-0.01),
        row("cbow", 0.80, 200, gap=-0.1, same=False),
    ]
    advice = recommend(rows, 1000)
    assert advice.recommended == "sg"
    said = " ".join(advice.sentences)
    assert "Take SG: it scores 89.5 and costs 300 µs a text, 21 s to train." in said
    assert "BERT scored highest, 90.0, but these examples do not show that it is better" in said
    assert "its lead of 0.5 points may be anything from -1.5 to +2.5" in said
    assert "slower to answer: BERT (16.7 times), TFIDF (3.33 times)" in said
    changes = " ".join(advice.changes)
    assert "CBOW answers 1.5 times as fast, at 80.0 where SG has 89.5" in changes
    assert "if BERT is really 0.5 points better, some 16,000 examples would show it; these are 1,000" in changes
    assert "Give --test" not in changes


def test_as_fast_then_the_quickest_to_train_with_its_pretraining() -> None:
    """Timings within 25 % are the same; what was pre-trained elsewhere costs nothing here."""
    rows = [row("a", 0.9, 1000, (300, 5)), row("b", 0.9, 1100, (50, 5), 0.0), row("c", 0.9, 1240, (0, 60), 0.0),
            row("d", 0.9, 1260, (0, 1), 0.0)]  # fmt: skip
    assert recommend(rows, 100).recommended == "b"
    rows[1] = row("b", 0.9, 1100, (None, 56), 0.0)
    assert recommend(rows, 100).recommended == "b"
    rows[1] = row("b", 0.9, 1100, (5, 56), 0.0)
    advice = recommend(rows, 100)
    assert advice.recommended == "c"
    assert "As good, but slower to answer: D (1.02 times)." in advice.sentences
    assert "As good and as fast to answer, but longer to train: A (5 min), B (61 s)." in advice.sentences


def test_below_a_tenth_of_a_millisecond_no_one_waits() -> None:
    """30 us and 90 us a text are the same; 101 are not."""
    rows = [row("sg", 0.9, 30, (60, 1)), row("tfidf", 0.9, 90, gap=0.0)]
    assert recommend(rows, 100).recommended == "tfidf"
    rows[1] = row("tfidf", 0.9, 101, gap=0.0)
    assert recommend(rows, 100).recommended == "sg"


def test_the_best_alone_is_taken_whatever_it_costs() -> None:
    rows = [row("bert", 0.95, 9000, (600, 600)), row("tfidf", 0.8, 10, gap=-0.15, same=False)]
    advice = recommend(rows, 500, tested=False)
    assert advice.recommended == "bert"
    assert advice.sentences == ["Take BERT: it is better than every other candidate (9000 µs a text, 20 min to train)."]
    assert "Give --test." in advice.changes[0] and "TFIDF answers 900 times as fast" in advice.changes[1]


def test_side_by_side_is_the_paired_test_against_the_best() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 300)

    def answers(right: float) -> np.ndarray:
        shown = np.where(rng.random(300) < right, gold, 1 - gold)
        return np.stack([1.0 - shown, shown], 1) * 0.8 + 0.1

    costs = Costs(0.0, 1.0, 10.0, 20.0, None, 5)
    found = []
    for name, right in (("low", 0.7), ("high", 0.95), ("near", 0.94)):
        p = answers(right)
        value = float((p.argmax(1) == gold).mean())
        found.append(Candidate(name, name, Score(value, value, value), costs, p))
    rows = side_by_side(found, gold, "single")
    assert [r.name for r in rows][2] == "low" and rows[0].against_best is None and rows[0].as_good
    best = next(c for c in found if c.name == rows[0].name)
    expected = paired(gold, found[0].probabilities, best.probabilities, names=("low", best.name))
    assert rows[2].against_best == expected and not rows[2].as_good and rows[1].as_good


def test_costs_survive_json() -> None:
    costs = Costs(None, 1.5, 10.0, 20.0, None, 5)
    assert Costs.from_json(costs.to_json()) == costs and costs.seconds == 1.5
    with pytest.raises(KeyError):
        Costs.from_json({})
