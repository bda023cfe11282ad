"""One self-contained HTML page per run: ``render(RUN) -> RUN/report.html``.

The page is made from the run directory's files alone: ``manifest.json``, ``scores.json``, ``metrics.jsonl``,
``recipe.toml``. Every key below is optional; a section is shown when its key is there and left out when it is not.
A section key may stand in ``manifest.json`` (facts known before or while training) or in ``scores.json``
(what was measured); where it stands in both, ``scores.json`` wins. Unknown keys are ignored.

Shares and scores are fractions (0.873, not 87.3), times are seconds, entropies and losses are nats per token.
A *score* is ``{"value": x, "low": x, "high": x}`` (95 % interval) or a bare number; ``"note"`` is shown beside it.

manifest.json ::

    {"kind": "pretrain" | "finetune" | "compare" | "choose" | ...,
     "title": "...",                      # absent: made from kind and the directory's name
     "status": "finished" | "running" | "stopped" | "failed",
     "command": "wordloom pretrain ...",  # what to type to do it again
     "created": "2026-01-31T10:00:00+00:00", "ended": "...",               # ISO 8601; "seconds" wins over them
     "parent": "runs/pretrained",         # the run or folder this one started from
     "seed": 0, "seeds": [0, 1, 2],
     "model": {"preset": "bert-mini", "parameters": 11171074, "layers": 4, "width": 256, ...},      # flat
     "tokenizer": {"kind": "wordpiece", "vocab_size": 8192, "bytes_per_token": 4.1, ...},            # flat
     "data": {"train": {"file": "a.tsv", "documents": 2000, "words": 90210, "sha256": "...", ...},   # part -> flat
              "test": {...}, "labels": {"numpy": 310, "torch": 290}},       # "labels": label -> training examples
     "warnings": ["12 test texts also occur in the training file", ...],    # pre-flight, plain sentences
     "versions": {"python": "3.11.9", ...}, "machine": {"cores": 2, "memory": 8e9, ...}, "environment": {...},  # flat
     "forecast": {"forecast": {"seconds": 300, "tokens_per_second": 21000, ...},                     # flat
                  "actual": {"seconds": 312.5, "tokens_per_second": 20400, ...}},                    # same keys
     "throughput": {"tokens_per_second": 20400, "share_of_peak": 0.61, "peak_memory_bytes": 1.2e9},
                                          # absent: medians of metrics.jsonl
     "unigram_entropy": 6.42,             # nats per token of the training tokens: the line in the loss plot
     "recipe_sha256": "...", "hashes": {"tokenizer": "..."},                 # name -> hex digest
     "files": [{"path": "bundle/model.safetensors", "bytes": 44700000, "sha256": "..."}, ...]}

scores.json ::

    {"main": "accuracy",                  # key in "scores" of the number the headline states; absent: the first
     "scores": {"accuracy": score, "macro_f1": score, "mcc": score, "auroc": score, "ece": score,
                "loss": score, "perplexity": score, ...},
     "examples": 1872,                    # number of held-out examples (or tokens) behind "scores"
     "baseline": {"name": "TF-IDF + logistic regression", "scores": {same keys}},
     "paired": {"name": "TF-IDF + logistic regression", "metric": "accuracy", "difference": score,
                "p": 0.03, "verdict": "no difference" | any sentence},
     "gain": {"metric": "accuracy",       # the same fine-tuning from pre-trained and from random weights
              "rows": [{"labels": 200, "seeds": 3,
                        "arms": {"pretrained": score, "random": score, "tfidf": score, "beside": score},
                        "gain": score,    # pretrained - random, paired
                        "verdict": "better" | "worse" | "no difference",
                        "gain_over_beside": score, "verdict_beside": ...}, ...],
              "beside": name of another start, or null},
     "choose": {"metric": "accuracy", "recommended": name, "advice": [sentences], "changes": [sentences],
                "notes": [sentences], "left_out": {title: reason},
                "rows": [{"name": name, "title": "...", "score": score, "pretraining": seconds | null,
                          "training": seconds, "microseconds": a text in a batch, "alone": a text by itself,
                          "memory": bytes | null, "size": bytes on disk, "as_good": as the best,
                          "against_best": {"difference": score, "p": 0.03, "verdict": "..."}}, ...]},   # best first
     "confusion": {"labels": ["a", "b"], "matrix": [[50, 2], [1, 47]]},      # rows gold, columns predicted
     "calibration": {"temperature": 1.31, "ece_before": 0.09, "ece_after": 0.02,
                     "before": [{"confidence": 0.55, "accuracy": 0.5, "count": 20}, ...],   # reliability bins,
                     "after": [...]},     # mean confidence and accuracy inside the bin; empty bins left out
     "worst": [{"text": "...", "pair": "...", "gold": "a", "predicted": "b", "confidence": 0.98,
                "place": "test.tsv:17"}, ...],    # most confident errors first; regression: numbers
     "tables": [{"title": "...", "header": [names], "rows": [[first cell, number or text, ...]], "note": "..."}],
     "samples": [{"input": "...", "answer": "...", "gold": "..." | null, "place": "test.tsv:17"}, ...],
     "map": [{"word": "tea", "x": 1.2, "y": -0.4}, ...],     # words in the plane
     "unscored": {"count": 3, "reason": "no text"}}

metrics.jsonl, one JSON object a line; a truncated last line (a killed run) is skipped ::

    {"step": 10, "loss": 7.1, "lr": 1e-4, "tokens_per_second": 20400, "seconds": 3.2, ...}
    {"step": 100, "evaluation": {"loss": 6.9, "accuracy": 0.31, ...}}
    {"step": 400, "note": "stuck at the unigram plateau ..."}
"""

from wordloom.report.page import render

__all__ = ["render"]
