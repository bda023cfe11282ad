"""Sums over sentences against the libraries' scores of a corpus."""

from __future__ import annotations

import random

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from wordloom.metrics import paired_tallies, tally_scores
from wordloom.metrics.generation import Script, bleu, chrf, rouge, script_of

SENTENCE = "A man, in an orange hat starring at something. Two dogs run (quickly) over snow; it's 3.5 m-high!"
WORDS = SENTENCE.split()
HAN = list("我们今天去北京看朋友他说很好吃的饭abc, 12 。")


def corpus(seed: int, count: int, references: tuple[int, ...], zh: bool = False) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)
    vocabulary, glue = (HAN, "") if zh else (WORDS, " ")

    def sentence(base: list[str]) -> str:
        words = [w if rng.random() < 0.75 else rng.choice(vocabulary) for w in base]
        return glue.join(words[: max(1, int(len(words) * rng.uniform(0.6, 1.3)))])

    answers, groups = [], []
    for _ in range(count):
        base = [rng.choice(vocabulary) for _ in range(rng.randint(1, 14))]
        groups.append([glue.join(base), *(sentence(base) for _ in range(rng.choice(references) - 1))])
        answers.append(sentence(base) if rng.random() > 0.05 else "")
    return answers, groups


def streams(groups: list[list[str]]) -> list[list[str | None]]:
    return [[g[k] if k < len(g) else None for g in groups] for k in range(max(map(len, groups)))]


CASES: list[tuple[int, tuple[int, ...], Script]] = [
    (60, (1,), "words"), (60, (3,), "words"), (60, (1, 2, 4), "words"), (60, (1,), "zh"), (60, (2,), "zh"),
    (1, (1,), "words"), (60, (1,), "ja"),
]  # fmt: skip


@pytest.mark.parametrize(("count", "references", "script"), CASES)
@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_is_sacrebleus(count: int, references: tuple[int, ...], script: Script, lowercase: bool) -> None:
    answers, groups = corpus(count, count, references, script != "words")
    metric = sacrebleu.metrics.BLEU(tokenize={"words": "13a", "zh": "zh", "ja": "char"}[script], lowercase=lowercase)
    theirs = metric.corpus_score(answers, streams(groups))
    ours = bleu(answers, groups, script, lowercase)
    assert 100 * ours.value == pytest.approx(theirs.score, abs=1e-9)
    assert str(metric.get_signature()) in ours.note


@pytest.mark.parametrize(("count", "references", "script"), CASES)
def test_chrf_is_sacrebleus(count: int, references: tuple[int, ...], script: Script) -> None:
    answers, groups = corpus(count, count, references, script != "words")
    metric = sacrebleu.metrics.CHRF()
    theirs = metric.corpus_score(answers, streams(groups))
    ours = chrf(answers, groups)
    assert 100 * ours.value == pytest.approx(theirs.score, abs=1e-9)
    assert str(metric.get_signature()) in ours.note


def test_bleu_without_matches_or_ngrams() -> None:
    """Smoothed orders, no order at all, and nothing said: as sacreBLEU has each."""
    for answer, reference in (("a b c d e", "a b x d e"), ("a b", "a b"), ("", "a b c"), ("x y z w", "a b c d"),
                              ("a x c y e z", "a b c d e f")):  # fmt: skip
        theirs = sacrebleu.corpus_bleu([answer], [[reference]]).score
        assert 100 * bleu([answer], [[reference]]).value == pytest.approx(theirs, abs=1e-9), answer


def test_intervals_and_paired_tests_come_from_resampled_sums() -> None:
    answers, groups = corpus(5, 80, (1,))
    tally = bleu(answers, groups)
    score = tally_scores({"bleu": tally}, resamples=200)["bleu"]
    assert score.low < score.value < score.high
    chosen = np.random.default_rng(0).integers(0, 80, 80)
    w = np.bincount(chosen, minlength=80).astype(float)[None]
    theirs = sacrebleu.corpus_bleu([answers[i] for i in chosen], [[groups[i][0] for i in chosen]]).score
    assert 100 * tally.weighted(w)[0] == pytest.approx(theirs, abs=1e-9)
    right = bleu([g[0] for g in groups], groups)
    assert right.value == 1.0 and paired_tallies(right, tally, "bleu").low > 0


@pytest.mark.parametrize("choose", ["first", "max"])
def test_rouge_is_rouge_scores(choose: str) -> None:
    answers, groups = corpus(7, 40, (1, 3))
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    kept = groups if choose == "max" else [[g[0]] for g in groups]
    ours = rouge(answers, groups, "words", choose)  # type: ignore[arg-type]
    for name, key in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        theirs = [scorer.score_multi(g, a)[key].fmeasure for a, g in zip(answers, kept, strict=True)]
        assert ours[name].value == pytest.approx(np.mean(theirs)), name
        assert "Porter stems" in ours[name].note and "0.1.2" in ours[name].note
    assert ("first reference" in ours["rouge_1"].note) == (choose == "first")


def test_rouge_of_chinese_by_hand() -> None:
    """我去北京 against 他去北京了: 去北京 of 4 and 5 characters; bigrams 去北 北京 of 3 and 4."""
    ours = rouge(["我去北京。"], [["他去北京了！"]], "zh")
    assert ours["rouge_1"].value == pytest.approx(2 * 3 / (4 + 5))
    assert ours["rouge_2"].value == pytest.approx(2 * 2 / (3 + 4))
    assert ours["rouge_l"].value == pytest.approx(2 * 3 / (4 + 5))
    assert rouge(["GPT4 很好"], [["gpt4很好"]], "zh")["rouge_2"].value == 1.0


def test_the_script_is_what_most_letters_are() -> None:
    assert script_of(["Two dogs", "你好"]) == "words" and script_of(["你好", "GPT 很好，我们都用"]) == "zh"
    assert script_of(["今日はとても良い天気です"]) == "ja" and script_of(["12 34"]) == "words"
