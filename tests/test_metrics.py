"""Scores equal scikit-learn's; intervals equal what explicit resampling gives; verdicts follow known cases."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, pearsonr, spearmanr
from sklearn import metrics as sk

from wordloom import metrics
from wordloom.errors import ConfigError, DataError
from wordloom.metrics import Mean, classification_scores, gain_over_seeds, mcnemar, paired, point_scores
from wordloom.metrics.scores import statistics
from wordloom.metrics.weighted import resample_weights

CLOSE = {"rtol": 0, "atol": 1e-12}


def made(classes: int, n: int = 400, seed: int = 0, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels with unequal shares and informative probabilities, rounded so that ties occur."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, classes + 1, dtype=float)[::-1]
    y = rng.choice(classes, n, p=share / share.sum())
    p = rng.dirichlet(np.ones(classes), n)
    p[np.arange(n), y] += 0.4
    p = np.round(p / p.sum(1, keepdims=True), digits)
    return y, p / p.sum(1, keepdims=True)


def reference(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """The same table from scikit-learn."""
    guess, classes = p.argmax(1), p.shape[1]
    out = {
        "accuracy": sk.accuracy_score(y, guess),
        "macro_f1": sk.f1_score(y, guess, average="macro"),
        "mcc": sk.matthews_corrcoef(y, guess),
        "log_loss": sk.log_loss(y, p, labels=range(classes)),
    }
    if classes > 2:
        return out | {"auroc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro")}
    rare = metrics.rare_class(y)
    fpr, tpr, _ = sk.roc_curve(y == rare, p[:, rare], drop_intermediate=False)
    return out | {
        "auroc": sk.roc_auc_score(y, p[:, 1]),
        "precision": sk.precision_score(y, guess, pos_label=rare),
        "recall": sk.recall_score(y, guess, pos_label=rare),
        "f1": sk.f1_score(y, guess, pos_label=rare),
        "recall_at_fpr_0.5": tpr[fpr <= 0.005].max(),
    }


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_values_equal_scikit_learn(classes: int) -> None:
    for seed in range(3):
        y, p = made(classes, seed=seed)
        ours = point_scores(y, p)
        for name, value in reference(y, p).items():
            np.testing.assert_allclose(ours[name], value, err_msg=name, **CLOSE)


@pytest.mark.parametrize("classes", [2, 4])
def test_weights_mean_repetition(classes: int) -> None:
    """A resample's statistic is scikit-learn's on the repeated examples: the bootstrap is the real one."""
    y, p = made(classes, n=60, digits=1)
    table, _ = statistics(y, p, "single")
    w = next(resample_weights(60, 5, seed=3))
    for row in w.astype(int):
        again = point_scores(np.repeat(y, row), np.repeat(p, row, axis=0))
        theirs = reference(np.repeat(y, row), np.repeat(p, row, axis=0))
        for name, statistic in table.items():
            if name in ("precision", "recall", "f1", "recall_at_fpr_0.5"):  # which class is rare is the data's
                continue
            value = statistic(row[None].astype(float))[0]
            np.testing.assert_allclose(value, again[name], err_msg=name, **CLOSE)
            np.testing.assert_allclose(value, theirs.get(name, value), err_msg=name, **CLOSE)


def test_recall_at_low_false_positive_rate_by_hand() -> None:
    """1,000 negatives allow 5 false positives; a positive counts that at most 5 negatives stand above."""
    negatives = np.linspace(0, 0.9, 1000)
    positives = np.array([0.99, 0.8975, 0.8958, 0.8954, 0.2])  # above: 0, 3, 5, 6 and hundreds of negatives
    p = np.concatenate([negatives, positives])
    y = np.array([0] * 1000 + [1] * 5)
    assert point_scores(y, np.stack([1 - p, p], 1))["recall_at_fpr_0.5"] == 0.6


def test_calibration_error_by_hand() -> None:
    """Bins are (low, high] of 1/15: 0.6 x 4 (three right), then 0.61 and 0.66 together (one right)."""
    confidence = np.array([0.6, 0.6, 0.6, 0.6, 0.61, 0.66])
    y = np.array([0, 0, 0, 1, 0, 1])
    expected = (4 * abs(0.75 - 0.6) + 2 * abs(0.5 - 0.635)) / 6
    np.testing.assert_allclose(point_scores(y, np.stack([confidence, 1 - confidence], 1))["ece"], expected, **CLOSE)


def test_multi_label_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random((300, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype(int)
    p = np.round(np.clip(0.5 * y + 0.7 * rng.random((300, 5)) - 0.1, 0, 1), 2)
    ours, guess = point_scores(y, p, "multi"), (p >= 0.5).astype(int)
    theirs = {
        "micro_f1": sk.f1_score(y, guess, average="micro"),
        "macro_f1": sk.f1_score(y, guess, average="macro"),
        "subset_accuracy": sk.accuracy_score(y, guess),
        "auroc": sk.roc_auc_score(y, p, average="macro"),
    }
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, err_msg=name, **CLOSE)


def test_regression_equals_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    y = np.round(rng.normal(3, 2, 200), 1)
    guess = np.round(y + rng.normal(0, 1, 200), 1)
    theirs = {
        "pearson": pearsonr(y, guess)[0],
        "spearman": spearmanr(y, guess)[0],
        "rmse": sk.root_mean_squared_error(y, guess),
        "mae": sk.mean_absolute_error(y, guess),
    }
    for name, value in theirs.items():
        np.testing.assert_allclose(point_scores(y, guess, "regression")[name], value, err_msg=name, **CLOSE)
    row = next(resample_weights(200, 1, seed=0))[0].astype(int)
    spearman = statistics(y, guess, "regression")[0]["spearman"]
    repeated = spearmanr(np.repeat(y, row), np.repeat(guess, row))[0]
    np.testing.assert_allclose(spearman(row[None].astype(float))[0], repeated, **CLOSE)


def test_absent_class_is_said_and_not_averaged() -> None:
    y, p = made(4)
    p = p[y != 2]
    y = y[y != 2]
    scores = classification_scores(y, p, names=["a", "b", "c", "d"], resamples=50)
    mean = np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in (0, 1, 3)])
    np.testing.assert_allclose(scores["auroc"].value, mean, **CLOSE)
    assert scores["auroc"].note.startswith("undefined for c:")
    p[:, 2] = 0  # a class in neither gold nor predictions has no F1, as in scikit-learn
    macro = sk.f1_score(y, p.argmax(1), average="macro")
    np.testing.assert_allclose(point_scores(y, p)["macro_f1"], macro, **CLOSE)
    only = classification_scores([1, 1, 1], [[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]], resamples=50)
    assert math.isnan(only["auroc"].value)
    assert math.isnan(only["auroc"].low)
    assert only["accuracy"].value == pytest.approx(2 / 3)


def test_rare_class_is_the_rarer_one_and_named() -> None:
    scores = classification_scores([1, 1, 1, 0], [[0.1, 0.9], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]],
                                   names=["ham", "spam"], resamples=20)  # fmt: skip
    assert (scores["precision"].value, scores["recall"].value) == (0.5, 1.0)
    assert scores["f1"].note == "of class ham"


def test_interval_matches_plain_resampling() -> None:
    """The percentile interval of accuracy is that of explicit index resampling, up to Monte Carlo noise."""
    y, p = made(2, n=500)
    score = classification_scores(y, p, resamples=4000)["accuracy"]
    correct = p.argmax(1) == y
    rng = np.random.default_rng(99)
    plain = np.percentile([correct[rng.integers(0, 500, 500)].mean() for _ in range(4000)], [2.5, 97.5])
    np.testing.assert_allclose([score.low, score.high], plain, atol=0.004)
    assert score.low < score.value < score.high


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 300 samples of 150 with true accuracy 0.8, about 95 % of the intervals hold 0.8 (seeded)."""
    rng = np.random.default_rng(4)
    inside = 0
    for seed in range(300):
        correct = (rng.random(150) < 0.8).astype(float)
        samples = metrics.bootstrap(lambda w, c=correct: w @ c / w.sum(1), 150, resamples=400, seed=seed)
        low, high = metrics.interval(samples)
        inside += low <= 0.8 <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_same_seed_same_interval() -> None:
    y, p = made(3)
    assert classification_scores(y, p, resamples=60) == classification_scores(y, p, resamples=60)
    other = classification_scores(y, p, resamples=60, seed=1)
    assert other["accuracy"].low != classification_scores(y, p, resamples=60)["accuracy"].low


def test_mcnemar_is_the_exact_binomial() -> None:
    a = np.array([1] * 10 + [0] * 2 + [1] * 50)
    b = np.array([0] * 10 + [1] * 2 + [1] * 50)
    assert mcnemar(a, b) == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)  # 0.0386
    assert mcnemar(a, b) == pytest.approx(binomtest(10, 12).pvalue)
    assert mcnemar(a, a) == 1.0


def answers(y: np.ndarray, correct: np.ndarray) -> np.ndarray:
    p = np.full((len(y), 2), 0.1)
    p[np.arange(len(y)), np.where(correct, y, 1 - y)] = 0.9
    return p


def test_paired_verdicts() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    base = rng.random(1000) < 0.8
    better = base | (rng.random(1000) < 0.3)  # right wherever base is, and on 30 % of its errors
    gain = 100 * (better.mean() - base.mean())
    first = paired(y, answers(y, better), answers(y, base), names=("new", "old"))
    assert first.verdict.startswith(f"new is better by {gain:.1f} points [")
    assert first.low < first.difference < first.high
    assert first.p_value < 1e-6
    second = paired(y, answers(y, base), answers(y, better))
    assert second.verdict.startswith("B is better")
    assert second.difference == -first.difference
    same = paired(y, answers(y, base), answers(y, rng.permutation(base)))
    assert same.verdict == "no difference"
    assert paired(y, answers(y, base), answers(y, base)).p_value == 1.0


def test_paired_knows_when_lower_is_better() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=300)
    good, bad = y + rng.normal(0, 0.2, 300), y + rng.normal(0, 0.6, 300)
    result = paired(y, good, bad, "regression")
    assert result.difference < 0
    assert result.verdict.startswith("A is better by")
    with pytest.raises(ConfigError, match="unknown metric 'f2'"):
        paired(y, good, bad, "regression", "f2")


def test_two_equal_models_are_rarely_called_different() -> None:
    rng = np.random.default_rng(5)
    y = np.zeros(200, int)
    claims = sum(
        paired(y, answers(y, rng.random(200) < 0.8), answers(y, rng.random(200) < 0.8), resamples=200).verdict
        != "no difference"
        for _ in range(200)
    )
    assert claims <= 16  # 5 % of 200 is 10


def test_gain_over_seeds() -> None:
    rng = np.random.default_rng(6)
    skill = rng.random(500)
    a = (skill + rng.normal(0, 0.1, (3, 500)) > 0.2).astype(int)
    b = (skill + rng.normal(0, 0.1, (3, 500)) > 0.35).astype(int)
    result = gain_over_seeds(a, b, names=("pre-trained", "random"))
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert result.verdict.startswith("pre-trained is better by")
    assert gain_over_seeds(a, a[::-1]).verdict == "no difference"
    # seeds that disagree: +20, +20, -25 points; the examples alone would call it a gain
    wild = np.stack([np.arange(500) < 100, np.arange(500) < 100, -(np.arange(500) < 125).astype(int)]).astype(float)
    assert gain_over_seeds(wild, np.zeros((3, 500))).verdict == "no difference"
    one = gain_over_seeds(a[:1], b[:1])
    assert one.low < one.difference < one.high


def test_seed_spread_has_the_unbiased_variance() -> None:
    """No spread over examples: the samples' variance is that of a mean of S seeds, s^2 / S, not (S-1)/S of it."""
    per_seed = np.array([0.1, 0.2, 0.6])
    result = gain_over_seeds(np.repeat(per_seed[:, None], 10, axis=1), np.zeros((3, 10)), resamples=20000)
    # extremes of a draw of 3 seeds are 0.1 and 0.6 widened about 0.3 by sqrt(3/2)
    assert result.low == pytest.approx(0.3 - 0.2 * math.sqrt(1.5))
    assert result.high == pytest.approx(0.3 + 0.3 * math.sqrt(1.5))


def test_mean_adds_totals() -> None:
    assert (Mean(3, 2) + Mean(1, 6)).value == 0.5
    assert math.isnan(Mean().value)


def test_perplexity_and_bits_per_byte() -> None:
    assert metrics.perplexity(math.log(50)) == pytest.approx(50)
    assert metrics.perplexity(1e6) == math.inf
    assert metrics.bits_per_byte(math.log(2) * 6, 4) == pytest.approx(1.5)
    with pytest.raises(DataError):
        metrics.bits_per_byte(1.0, 0)


@pytest.mark.parametrize(
    ("labels", "probabilities", "kind"),
    [
        ([0, 1], [[0.5, 0.5]], "single"),
        ([], np.zeros((0, 2)), "single"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "single"),
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "single"),
        ([0, 1], [0.5, 0.5], "single"),
        ([[0, 1]], [[0.5, 0.5, 0.1]], "multi"),
    ],
)
def test_bad_input_is_one_sentence(labels: list, probabilities: list, kind: metrics.Kind) -> None:
    with pytest.raises(DataError):
        classification_scores(labels, probabilities, kind)


def test_one_example_has_no_interval() -> None:
    score = classification_scores([1], [[0.2, 0.8]])["accuracy"]
    assert score.value == 1 and math.isnan(score.low) and math.isnan(score.high) and str(score) == "1.0000"


@pytest.mark.parametrize("classes", [2, 5])
def test_reliability_bins_are_those_of_the_calibration_error(classes: int) -> None:
    y, p = made(classes)
    bins = metrics.reliability(y, p)
    counts = np.array([b["count"] for b in bins])
    gaps = np.array([abs(b["confidence"] - b["accuracy"]) for b in bins])
    assert counts.sum() == len(y) and (counts > 0).all()
    np.testing.assert_allclose((counts * gaps).sum() / len(y), point_scores(y, p)["ece"], **CLOSE)
    edges = [(p.max(1) > b / 15) & (p.max(1) <= (b + 1) / 15) for b in range(15)]  # Guo et al. 2017: (low, high]
    by_hand = [(p.max(1)[m].mean(), (p.argmax(1) == y)[m].mean(), m.sum()) for m in edges if m.any()]
    np.testing.assert_allclose([(b["confidence"], b["accuracy"], b["count"]) for b in bins], by_hand, **CLOSE)


def test_a_comparison_says_which_score_it_compared() -> None:
    y, p = made(2)
    assert paired(y, p, p).metric == "accuracy" and paired(y, p, p, metric="auroc").metric == "auroc"
