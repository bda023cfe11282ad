"""Scores from sums of counts: equal to scikit-learn and to the paired tests of single answers."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from wordloom.errors import DataError
from wordloom.metrics import Tally, gain_of_tallies, gain_over_seeds, paired, paired_tallies, tally_scores

RNG = np.random.default_rng(0)
GOLD, ANSWER, OTHER = (RNG.random(200) < p for p in (0.4, 0.45, 0.3))


def binary(answer: np.ndarray) -> Tally:
    return Tally.f1(GOLD & answer, answer, GOLD)


def test_f1_equals_scikit_learns_on_the_data_and_on_a_resample() -> None:
    tally = binary(ANSWER)
    assert tally.value == pytest.approx(f1_score(GOLD, ANSWER), abs=1e-12)
    drawn = RNG.integers(0, 200, 200)
    w = np.bincount(drawn, minlength=200)[None].astype(float)
    assert tally.weighted(w)[0] == pytest.approx(f1_score(GOLD[drawn], ANSWER[drawn]), abs=1e-12)


def test_an_interval_is_that_of_resampled_examples() -> None:
    values = RNG.normal(size=400)
    score = tally_scores({"mean": Tally.mean(values)}, resamples=4000)["mean"]
    half = 1.96 * values.std() / np.sqrt(400)  # the normal interval of a mean
    assert score.value == pytest.approx(values.mean())
    assert (score.low, score.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_a_single_example_has_no_interval() -> None:
    assert np.isnan(tally_scores({"mean": Tally.mean([1.0])})["mean"].low)


def test_nothing_predicted_and_nothing_to_find_is_zero() -> None:
    assert Tally.f1([0, 0], [0, 0], [0, 0]).value == 0
    assert Tally.share([0], [0]).value == 0


def test_paired_accuracy_equals_the_paired_test_of_a_classifier() -> None:
    right_a, right_b = GOLD == ANSWER, GOLD == OTHER
    ours = paired_tallies(Tally.mean(right_a), Tally.mean(right_b), "accuracy")
    as_probabilities = [np.stack([1.0 - x, x], axis=1).astype(float) for x in (ANSWER, OTHER)]
    theirs = paired(GOLD.astype(int), *as_probabilities, "single")
    assert (ours.difference, ours.low, ours.high) == pytest.approx((theirs.difference, theirs.low, theirs.high))


def test_seeds_are_drawn_as_for_single_answers() -> None:
    a, b = RNG.random((2, 3, 150)) < 0.6
    b[:, :40] = a[:, :40]
    ours = gain_of_tallies([Tally.mean(x) for x in a], [Tally.mean(x) for x in b], "accuracy")
    theirs = gain_over_seeds(a, b)
    assert (ours.difference, ours.low, ours.high) == pytest.approx((theirs.difference, theirs.low, theirs.high))
    assert ours.p_value == pytest.approx(theirs.p_value, abs=0.01)  # resamples that are 0 but for rounding


def test_scores_of_different_examples_are_refused() -> None:
    with pytest.raises(DataError, match="different examples"):
        paired_tallies(Tally.mean([1, 0]), Tally.mean([1, 0, 1]), "accuracy")
