"""Values of JSON in the words and units of the page."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from wordloom.report.plots import Bar

# key: (name on the page, shown as a percentage, what is good). Others are shown under their own key.
MEASURES: dict[str, tuple[str, bool, str]] = {
    "accuracy": ("Accuracy", True, "higher"),
    "macro_f1": ("Macro F1", True, "higher"),
    "micro_f1": ("Micro F1", True, "higher"),
    "f1": ("F1", True, "higher"),
    "strict_f1": ("F1, strict tags", True, "higher"),
    "exact_match": ("Exact match", True, "higher"),
    "has_answer_f1": ("F1 where there is an answer", True, "higher"),
    "has_answer_exact": ("Exact match where there is an answer", True, "higher"),
    "no_answer_accuracy": ("Silent where there is no answer", True, "higher"),
    "precision": ("Precision", True, "higher"),
    "recall": ("Recall", True, "higher"),
    "f1_gold": ("F1, predicates given", True, "higher"),
    "f1_predicted": ("F1, predicates found", True, "higher"),
    "predicate_f1": ("Predicates: F1", True, "higher"),
    "predicate_precision": ("Predicates: precision", True, "higher"),
    "predicate_recall": ("Predicates: recall", True, "higher"),
    "sense_accuracy": ("Senses: accuracy", True, "higher"),
    "perfect_frames": ("Frames without a mistake", True, "higher"),
    "coverage": ("Share answered", True, "higher"),
    "answered_accuracy": ("Accuracy of what was answered", True, "higher"),
    "auroc": ("AUROC", True, "higher"),
    "mcc": ("Matthews correlation", False, "higher"),
    "ece": ("Calibration error (ECE)", False, "lower"),
    "loss": ("Loss (nats)", False, "lower"),
    "perplexity": ("Perplexity", False, "lower"),
    "bits_per_byte": ("Bits per byte", False, "lower"),
    "masked_accuracy": ("Masked-token accuracy", True, "higher"),
    "pearson": ("Pearson correlation", False, "higher"),
    "spearman": ("Spearman correlation", False, "higher"),
    "subset_accuracy": ("Exact-match accuracy", True, "higher"),
    "recall_at_fpr_0.5": ("Recall at 0.5 % false positives", True, "higher"),
    "below_unigram": ("Below the unigram entropy (nats)", False, "higher"),
    "log_loss": ("Log loss (nats)", False, "lower"),
    "rmse": ("Root mean squared error", False, "lower"),
    "bleu": ("BLEU (sacreBLEU)", True, "higher"),
    "bleu_lower": ("BLEU, case ignored", True, "higher"),
    "chrf": ("chrF2", True, "higher"),
    "rouge_1": ("ROUGE-1", True, "higher"),
    "rouge_2": ("ROUGE-2", True, "higher"),
    "rouge_l": ("ROUGE-L", True, "higher"),
    "mae": ("Mean absolute error", False, "lower"),
    "ndcg@10": ("nDCG@10", True, "higher"),
    "recall@100": ("Recall@100", True, "higher"),
    "mrr@10": ("MRR@10", True, "higher"),
}


def number(value: Any) -> str:
    """1234567 -> 1,234,567; 0.12345 -> 0.1235; other things as they are."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if value and (abs(value) < 1e-3):
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def size(value: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1000 or unit == "GB":
            return f"{value:.0f} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def words(key: str) -> str:
    return str(key).removesuffix("_bytes").replace("_", " ")


def when(value: str) -> str:
    try:
        return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return value


def fact(value: Any, key: str) -> str:
    """A value of a flat table, by the unit its key names."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    if plain and key.endswith("seconds"):
        return duration(value)
    if plain and key.endswith("bytes"):
        return size(value)
    if plain and (key.endswith("share") or key.startswith("share")):
        return f"{100 * value:.1f} %" if abs(value) >= 0.01 else f"{100 * value:.2g} %"
    if plain and key in MEASURES:
        return measure(value, key)
    if isinstance(value, (list, tuple)) and all(isinstance(v, (str, int, float)) for v in value):
        return ", ".join(map(number, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else number(value)


def measure(value: float | None, key: str, sign: bool = False) -> str:
    """A score of the measure ``key``: percentages with one decimal, others with three (one from 100 on)."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    if not MEASURES.get(key, ("", False, ""))[1]:
        digits = 3 if abs(value) < 100 else 1
        text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "−")


def points(bar: Bar, key: str) -> str:
    """A difference with its interval: "+6.1 points (+3.2 to +9.0)"."""
    unit = " points" if MEASURES.get(key, ("", False, ""))[1] else ""
    text = measure(bar.value, key, sign=True) + unit
    if bar.low is None or bar.high is None:
        return text
    return f"{text} ({measure(bar.low, key, sign=True)} to {measure(bar.high, key, sign=True)})"


def bar(score: Any) -> Bar | None:
    """A score, bare or with its interval; None when it is not a finite number."""
    if not isinstance(score, dict):
        score = {"value": score}
    value, low, high = (score.get(k) for k in ("value", "low", "high"))
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return None
    bounded = all(isinstance(v, (int, float)) and math.isfinite(v) for v in (low, high))
    return Bar(value, low, high) if bounded else Bar(value, None, None)


def span(score: Bar, key: str, sign: bool = False) -> str | None:
    if score.low is None or score.high is None:
        return None
    return f"{measure(score.low, key, sign)} to {measure(score.high, key, sign)}"
