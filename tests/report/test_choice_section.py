"""The section of ``choose``: the table, the advice, what was left out; parts that are missing are left out quietly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from wordloom.report import render

ROWS: list[dict[str, Any]] = [
    {"name": "finetuned", "title": "BERT, fine-tuned", "score": {"value": 0.91, "low": 0.9, "high": 0.92},
     "pretraining": 301.0, "training": 95.0, "microseconds": 2900.0, "alone": 5400.0, "memory": 6.2e8, "size": 1.6e7,
     "as_good": True},
    {"name": "tf-idf", "title": "TF-IDF <b>", "score": {"value": 0.9, "low": 0.89, "high": 0.91}, "pretraining": None,
     "training": 1.25, "microseconds": 54.3, "alone": 260.0, "memory": None, "size": 9e5, "as_good": True,
     "against_best": {"difference": {"value": -0.01, "low": -0.03, "high": 0.01}, "p": 0.4,
                      "verdict": "no difference"}},
    {"name": "cbow", "title": "CBOW", "score": {"value": 0.5, "low": None, "high": None}, "pretraining": 20.0,
     "training": 1.0, "microseconds": 20.0, "alone": 60.0, "memory": 4e8, "size": 2e7, "as_good": False,
     "against_best": {"difference": {"value": -0.41, "low": -0.5, "high": -0.3}, "p": 0.0, "verdict": "..."}},
]  # fmt: skip
CHOICE = {
    "metric": "accuracy",
    "recommended": "tf-idf",
    "rows": ROWS,
    "advice": ["Take TF-IDF: cheap."],
    "changes": ["More labels."],
    "notes": ["On one core."],
    "left_out": {"skip-gram": "too little text"},
}


def page(folder: Path, choice: dict[str, Any]) -> str:
    scores = {"main": "accuracy", "scores": {"accuracy": ROWS[1]["score"]}, "examples": 500, "choose": choice}
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "manifest.json").write_text(json.dumps({"kind": "choose", "status": "finished"}))
    return render(folder).read_text(encoding="utf-8")


def test_the_table_and_the_advice(tmp_path: Path) -> None:
    shown = page(tmp_path, CHOICE)
    section = shown[
        shown.index('<section id="choice">') : shown.index("</section>", shown.index('<section id="choice">'))
    ]
    plain = re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]+>", " ", section, flags=re.DOTALL))
    for text in ("Take TF-IDF: cheap.", "More labels.", "On one core.", "Left out: skip-gram: too little text",
                 "recommended", "90.0", "89.0 to 91.0", "no difference", "worse", "−41.0 points", "54.3 µs", "2,900 µs",
                 "5 min 01 s", "620.0 MB", "900.0 kB"):  # fmt: skip
        assert text in plain, (text, plain)
    assert plain.index("BERT, fine-tuned") < plain.index("CBOW") and plain.count("recommended") == 1
    assert "TF-IDF &lt;b&gt;" in section  # names are escaped
    assert ": TF-IDF &lt;b&gt;, the recommended" in shown  # the headline names it
    assert '<a href="#choice">' in shown


def test_it_is_left_out_where_there_is_none(tmp_path: Path) -> None:
    assert 'id="choice"' not in page(tmp_path, {})
    assert 'id="choice"' not in page(tmp_path, {"rows": []})
    bare = page(tmp_path, {"rows": [{"title": "A", "microseconds": 1.0, "alone": 2.0}]})
    assert 'id="choice"' in bare
