"""Scores of written text, as sums over its examples: BLEU and chrF equal to sacreBLEU's, ROUGE to rouge-score's.

BLEU (Papineni et al. 2002) and chrF (Popović 2015) of a corpus are functions of summed n-gram counts; ROUGE (Lin 2004)
is a mean over examples. References are lists: one or more right answers to each example.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from wordloom.metrics.tally import Tally
from wordloom.metrics.weighted import Floats, ratio

Script = Literal["words", "zh", "ja"]
References = Sequence[Sequence[str]]
ORDER, CHARACTERS, BETA = 4, 6, 2  # n-grams of BLEU; of chrF, and the weight of its recall
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_KANA = "\u3040-\u30ff"
_TOKENS = re.compile(f"[{_HAN}{_KANA}]|[^\\W_{_HAN}{_KANA}]+")


def script_of(texts: Sequence[str]) -> Script:
    """How the texts are cut into the words that are counted: "zh" or "ja" where most letters are Chinese characters or
    kana, which no space parts."""
    text = "".join(texts)
    han, kana = (len(re.findall(f"[{part}]", text)) for part in (_HAN, _KANA))
    if 2 * (han + kana) <= sum(map(str.isalpha, text)):
        return "words"
    return "ja" if kana > 0.1 * (han + kana) else "zh"


def tokenize_of(script: Script) -> str:
    """sacreBLEU's tokenizer; Japanese by characters, as its own needs a dictionary that is not installed with it."""
    return {"words": "13a", "zh": "zh", "ja": "char"}[script]


# --- BLEU ---------------------------------------------------------------------------------------------------------


def bleu(answers: Sequence[str], references: References, script: Script = "words", lowercase: bool = False) -> Tally:
    """Corpus BLEU as a fraction: sacreBLEU's, whose signature is the note (Post 2018)."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize_of(script), lowercase=lowercase)

    def words(text: str) -> list[str]:
        return str(metric.tokenizer((text.lower() if lowercase else text).rstrip())).split()

    rows = [_bleu_counts(words(a), [words(r) for r in group]) for a, group in zip(answers, references, strict=True)]
    note = f"sacreBLEU, {_signature(metric, references)}"
    if lowercase:
        note += "; case ignored. Published Multi30k figures are of lower-cased Moses tokens: near this, not the same"
    return Tally(np.array(rows, np.float64).reshape(-1, 2 + 2 * ORDER), _bleu, note)


def _bleu_counts(answer: list[str], references: list[list[str]]) -> list[int]:
    """[words, words of the reference of nearest length, matches of 1- to 4-grams, 1- to 4-grams]."""
    nearest = min((abs(len(r) - len(answer)), len(r)) for r in references)[1]  # of two as near the shorter
    matches, totals = [], []
    for n in range(1, ORDER + 1):
        found = _ngrams(answer, n)
        known: Counter[Any] = Counter()
        for reference in references:
            known |= _ngrams(reference, n)
        matches.append((found & known).total())
        totals.append(found.total())
    return [len(answer), nearest, *matches, *totals]


def _ngrams(items: Sequence[str], n: int) -> Counter[Any]:
    return Counter(zip(*(items[i:] for i in range(n)), strict=False))


def _bleu(sums: Floats) -> Floats:
    """(R, 10) -> (R,). An order without a match counts 1 / (2^k of its n-grams) for the k-th such order ("exp" in
    sacreBLEU; NIST's mteval), one without an n-gram makes the score 0."""
    length, wanted = sums[:, 0], sums[:, 1]
    matches, totals = sums[:, 2 : 2 + ORDER], sums[:, 2 + ORDER :]
    penalty = np.where(length < wanted, np.exp(1 - ratio(wanted, length, np.inf)), 1.0)
    smooth = np.cumsum(matches == 0, axis=1)
    filled = np.where(matches == 0, 0.5**smooth, matches)
    some = (totals > 0).all(1) & (matches > 0).any(1)
    logs = np.log(filled) - np.log(np.where(totals > 0, totals, 1.0))
    return np.where(some, penalty * np.exp(logs.mean(1)), 0.0)


# --- chrF ---------------------------------------------------------------------------------------------------------


def chrf(answers: Sequence[str], references: References) -> Tally:
    """Corpus chrF2 as a fraction: sacreBLEU's. Of several references that counts which the answer is nearest to."""
    from sacrebleu.metrics import CHRF

    rows = []
    for answer, group in zip(answers, references, strict=True):
        found = _characters(answer)
        options = np.array([_chrf_counts(found, _characters(r)) for r in group], np.float64)
        rows.append(options[int(np.argmax(_chrf(options)))])
    note = f"sacreBLEU, {_signature(CHRF(), references)}"
    return Tally(np.array(rows, np.float64).reshape(-1, 3 * CHARACTERS), _chrf, note)


def _characters(text: str) -> list[Counter[Any]]:
    joined = "".join(text.split())
    return [Counter(joined[i : i + n] for i in range(len(joined) - n + 1)) for n in range(1, CHARACTERS + 1)]


def _chrf_counts(answer: list[Counter[Any]], reference: list[Counter[Any]]) -> list[int]:
    """For each order [n-grams of the answer, of the reference, of both]; none of the answer where the reference has
    none."""
    counts = []
    for a, r in zip(answer, reference, strict=True):
        counts += [a.total() if r else 0, r.total(), (a & r).total()]
    return counts


def _chrf(sums: Floats) -> Floats:
    """(R, 18) -> (R,): F2 of precision and recall averaged over the orders that both sides have."""
    ours, theirs, both = (sums[:, i::3] for i in range(3))
    there = (ours > 0) & (theirs > 0)
    orders = there.sum(1)
    precision = ratio((ratio(both, ours) * there).sum(1), orders)
    recall = ratio((ratio(both, theirs) * there).sum(1), orders)
    return ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


def _signature(metric: Any, references: References) -> str:
    """What sacreBLEU says a score is: the signature is made when something is scored."""
    counts = {len(group) for group in references}
    most = max(counts, default=1)
    streams: list[list[str | None]] = [["a", "a" if k < min(counts, default=1) else None] for k in range(most)]
    metric.corpus_score(["a", "a"], streams)
    return str(metric.get_signature())


# --- ROUGE --------------------------------------------------------------------------------------------------------


class _Characters:
    """Every Chinese character or kana is a word; other words are lower-cased and not stemmed."""

    def tokenize(self, text: str) -> list[str]:
        return _TOKENS.findall(text.lower())


def rouge(
    answers: Sequence[str], references: References, script: Script = "words", choose: Literal["first", "max"] = "max"
) -> dict[str, Tally]:
    """ROUGE-1, -2 and -L, F1, of the package rouge-score; choose: against the first reference, or the best for each
    measure. Chinese and Japanese are counted by characters."""
    from rouge_score.rouge_scorer import RougeScorer

    names = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    how: dict[str, Any] = {"use_stemmer": True} if script == "words" else {"tokenizer": _Characters()}
    scorer = RougeScorer([*names.values()], **how)
    kept = [list(group) if choose == "max" else [group[0]] for group in references]
    found = [[scorer.score(r, answer) for r in group] for answer, group in zip(answers, kept, strict=True)]
    words = "Porter stems" if script == "words" else "by characters, no stemming"
    note = f"rouge-score {version('rouge-score')}, F1, {words}"
    if any(len(group) > 1 for group in references):
        note += ", the best of the references" if choose == "max" else ", the first reference"
    return {
        name: Tally.mean([max(scores[key].fmeasure for scores in options) for options in found], note)
        for name, key in names.items()
    }
