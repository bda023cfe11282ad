"""The page says what the JSON says, needs nothing from outside, and is never broken by what it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fixture_runs as runs
import pytest

from wordloom.errors import RunError
from wordloom.report import render
from wordloom.report.plots import Bar, Scale, arms, reliability, thin, ticks
from wordloom.report.wording import duration, fact, measure, number, points, size

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;</style></title>"
VOID = {"meta", "hr", "br", "img", "link"}


class Page(HTMLParser):
    """Tags, attributes and visible text by section id; an unclosed or crossed tag is an error."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {"": ""}
        self._at = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self._at = str(dict(attrs)["id"])
            self.sections[self._at] = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.sections[self._at] += data + " "

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.sections.values()).split())


def page(folder: Path) -> Page:
    path = render(folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


RUNS: list[Callable[[Path], Path]] = [runs.pretrain, runs.finetune, runs.comparison]


@pytest.mark.parametrize("make", RUNS)
def test_page_is_self_contained_and_well_formed(make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = page(make(tmp_path / "run"))
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, attributes in found.tags:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("href", "src", "xlink:href", "action", "data"):
                assert str(value).startswith("#") and str(value)[1:] in found.sections
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|//\w", html)


@pytest.mark.parametrize(
    ("make", "sections"),
    [
        (runs.pretrain, "scores loss warnings data model speed environment recipe files"),
        (runs.finetune, "scores loss warnings data confusion calibration errors model environment recipe files"),
        (runs.comparison, "gain environment recipe"),
    ],
)
def test_sections_follow_the_data(make: Callable[[Path], Path], sections: str, tmp_path: Path) -> None:
    found = page(make(tmp_path / "run"))
    assert list(found.sections)[1:] == sections.split()
    assert [a["href"] for t, a in found.tags if t == "a"] == [f"#{s}" for s in sections.split()]


def test_scores_and_intervals_are_those_of_the_json(tmp_path: Path) -> None:
    folder = runs.finetune(tmp_path / "run")
    values = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    shown = " ".join(page(folder).sections["scores"].split())
    for source in (values["scores"], values["baseline"]["scores"]):
        for key, score in source.items():
            percent = key in ("accuracy", "macro_f1", "auroc")
            value, low, high = (f"{100 * v:.1f}" if percent else f"{v:.3f}" for v in score.values())
            assert f"{value} {low} to {high}" in shown, key
    assert "1,804 held-out examples" in shown and "2 out of reach: no text." in shown


def test_headline_is_the_main_score(tmp_path: Path) -> None:
    top = " ".join(page(runs.finetune(tmp_path / "a")).sections[""].split())
    main = json.loads((tmp_path / "a" / "scores.json").read_text(encoding="utf-8"))["scores"]["accuracy"]
    assert f"{100 * main['value']:.1f} % accuracy on 1,804 held-out examples" in top
    assert "+9.0 to +13.8) paired test, p = 0.0002 better" in top
    top = " ".join(page(runs.pretrain(tmp_path / "b")).sections[""].split())
    assert "3.158 loss (nats) on 6,120 held-out tokens; 3.263 below the unigram entropy of 6.421" in top
    top = " ".join(page(runs.comparison(tmp_path / "c")).sections[""].split())
    assert "+13.4 points from pre-training in accuracy with 200 labelled examples" in top
    assert "95 % interval +11.1 to +15.7 better" in top


def test_verdict_against_the_baseline_follows_the_sign_and_the_measure(tmp_path: Path) -> None:
    cases = [("accuracy", 0.02, "a is better", "better"), ("accuracy", -0.02, "b is better", "worse"),
             ("rmse", -0.02, "a is better", "better"), ("rmse", -0.02, "no difference", "no difference")]  # fmt: skip
    for i, (metric, value, said, shown) in enumerate(cases):
        paired = {"name": "B", "metric": metric, "difference": {"value": value}, "verdict": said}
        folder = runs.write(tmp_path / str(i), None, {"scores": {metric: 0.5}, "paired": paired})
        assert (
            " ".join(page(folder).sections[""].split()).split("Against B:")[1].split("Scores")[0].endswith(f" {shown} ")
        )


def test_a_model_above_the_unigram_entropy_is_told_so(tmp_path: Path) -> None:
    folder = runs.write(tmp_path / "run", {"kind": "pretrain", "unigram_entropy": 6.5}, {"scores": {"loss": 6.75}})
    assert "0.250 above the unigram entropy of 6.500: nothing is learned from context yet" in page(folder).text


def test_gain_table_and_plot(tmp_path: Path) -> None:
    shown = " ".join(page(runs.comparison(tmp_path / "run")).sections["gain"].split())
    assert (
        "200 3 seeds 45.2 43.4 to 47.0 31.8 29.7 to 33.9 36.3 34.3 to 38.3 +13.4 points (+11.1 to +15.7) better"
        in shown
    )
    assert "all 1 seed 73.1 71.7 to 74.5 72.4 70.8 to 74.0 – +0.7 points (−0.5 to +1.9) no difference" in shown
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert html.count('<path class="whisker') == 8  # 3 + 3 + 2 arms


def test_loss_curve_and_entropy(tmp_path: Path) -> None:
    folder = runs.pretrain(tmp_path / "run")
    rows = [
        json.loads(x) for x in (folder / "metrics.jsonl").read_text(encoding="utf-8").split("\n") if x.endswith("}")
    ]
    best = min((r["evaluation"]["loss"], r["step"]) for r in rows if "evaluation" in r)
    shown = page(folder).sections["loss"]
    assert f"Best held-out loss {best[0]:.3f} at step {best[1]:,}." in shown
    assert "The unigram entropy, 6.421" in shown and "unigram entropy" in shown


def test_steps_logged_twice_count_once(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "evaluation": {"loss": 1.0}},
        {"step": 2, "loss": 9.0},
        {"step": 1, "evaluation": {"loss": 2.0}},
    ]
    folder = runs.write(tmp_path / "run", {"kind": "pretrain"}, None, [*rows, {"step": 3, "note": "stuck <b>"}])
    shown = page(folder).sections["loss"]
    assert "Best held-out loss 2.000 at step 1." in shown and "Step 3: stuck <b>." in shown


def test_confusion_counts_and_the_long_list(tmp_path: Path) -> None:
    small = page(runs.finetune(tmp_path / "small")).sections["confusion"]
    matrix = json.loads((tmp_path / "small" / "scores.json").read_text(encoding="utf-8"))["confusion"]["matrix"]
    counted = [n for row in matrix for n in row if n]
    words = small.split("Rows are the gold label")[0].split()
    hovers = re.findall(r"read as \w+: (\d+) of 164", small)
    assert sorted(int(h) for h in hovers) == sorted(n for row in matrix for n in row)
    assert all(words.count(str(n)) >= counted.count(n) for n in set(counted))
    many = page(runs.finetune(tmp_path / "many", [f"class {i:02d}" for i in range(35)]))
    assert "The most frequent confusions of 35 classes." in many.sections["confusion"]
    assert "gold" not in many.sections["confusion"].split("Gold")[0]  # no drawing


def test_hostile_text_is_shown_and_never_run(tmp_path: Path) -> None:
    def poison(value: Any) -> Any:
        if isinstance(value, dict):
            return {(k if k in KEPT else k + HOSTILE if k in runs.LABELS else k): poison(v) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v) for v in value]
        return HOSTILE if isinstance(value, str) else value

    KEPT = {"kind", "metric", "main"}
    clean = page(runs.finetune(tmp_path / "run"))
    for name in ("manifest.json", "scores.json"):
        path = tmp_path / "run" / name
        values = poison(json.loads(path.read_text(encoding="utf-8")))
        values["main"] = "accuracy"
        path.write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "run" / "recipe.toml").write_text(HOSTILE, encoding="utf-8")
    found = page(tmp_path / "run")
    assert {t for t, _ in found.tags} <= {t for t, _ in clean.tags}
    assert not any(key.startswith("on") or key == "src" for _, a in found.tags for key in a)
    assert HOSTILE in found.sections["errors"] and HOSTILE in found.sections["recipe"]
    assert "script" not in {t for t, _ in found.tags}


@pytest.mark.parametrize("make", RUNS)
def test_any_missing_part_leaves_a_page(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Every key of both files left out in turn, and set to null: the page is there, and so are the other sections."""
    folder = make(tmp_path / "run")
    for name in ("manifest.json", "scores.json"):
        path = folder / name
        whole = path.read_text(encoding="utf-8")
        for key in json.loads(whole):
            for less in ({k: v for k, v in json.loads(whole).items() if k != key}, {**json.loads(whole), key: None}):
                path.write_text(json.dumps(less), encoding="utf-8")
                assert "Wordloom report" in page(folder).text
        path.write_text(whole, encoding="utf-8")
    for name in ("metrics.jsonl", "recipe.toml", "scores.json"):
        (folder / name).unlink(missing_ok=True)
        assert "Wordloom report" in page(folder).text


def test_values_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    scores = {
        "main": "accuracy",
        "scores": {"accuracy": None, "mcc": {"value": None, "note": "one class only"}, "f1": 0.5},
    }
    rows = [{"step": 1, "loss": None}, {"step": 2, "loss": 1.5}, {"loss": 3.0}, {"step": "x"}]
    found = page(runs.write(tmp_path / "run", {"kind": "finetune"}, scores, rows))
    assert "Accuracy" not in found.sections["scores"] and "one class only" in found.sections["scores"]
    assert "50.0" in found.sections["scores"] and "loss" in found.sections


def test_what_follows_from_the_manifest(tmp_path: Path) -> None:
    manifest = {
        "kind": "pretrain",
        "created": "2026-01-31T10:00:00+00:00",
        "ended": "2026-01-31T10:02:05+00:00",
        "seed": 7,
        "versions": {"torch": "2.13.0"},
        "machine": {"memory": 8_000_000_000},
        "recipe_sha256": "ab" * 32,
    }
    rows = [{"step": s, "loss": 1.0, "tokens_per_second": t} for s, t in ((1, 100.0), (2, 300.0), (3, 200.0))]
    found = page(runs.write(tmp_path / "run", manifest, None, rows))
    assert "took 2 min 05 s" in found.text and "seed 7" in found.text
    assert "8.0 GB" in found.sections["environment"] and "2.13.0" in found.sections["environment"]
    assert "200" in found.sections["speed"] and "ab" * 32 in found.sections["files"]


def test_cells_of_tables_keep_their_text(tmp_path: Path) -> None:
    """An interval goes to a line of its own; numbers, and brackets that end no score, stay as they are."""
    rows = [["a", "0.68 [0.67, 0.69]", 12, "-", "[x]"]]
    values = {"tables": [{"title": "Scores of types", "header": ["", "f1", "n", "r", "s"], "rows": rows}]}
    folder = runs.write(tmp_path / "run", None, values)
    found = render(folder).read_text(encoding="utf-8")
    assert '<td class="n">0.68<br><span class="muted">[0.67, 0.69]</span></td>' in found
    assert all(f'<td class="n">{cell}</td>' in found for cell in ("12", "-", "[x]"))


def test_not_a_run_or_broken_json(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no manifest\.json or scores\.json"):
        render(tmp_path)
    (tmp_path / "scores.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"scores\.json: not readable as JSON"):
        render(tmp_path)
    (tmp_path / "scores.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunError, match="one JSON object"):
        render(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_wording() -> None:
    assert [number(v) for v in (1234567, 0.12345, 1e-5, 20412.7, True, None, "x")] == [
        "1,234,567", "0.1235", "1e-05", "20,413", "True", "None", "x"]  # fmt: skip
    assert [size(v) for v in (812, 21_734_400, 3e12)] == ["812 bytes", "21.7 MB", "3000.0 GB"]
    assert [duration(v) for v in (3.25, 59.99, 312.5, 7260)] == ["3.2 s", "60.0 s", "5 min 12 s", "2 h 01 min"]
    assert measure(836.717, "perplexity") == "836.7" and measure(23.5204, "perplexity") == "23.520"
    assert measure(0.12345, "accuracy") == "12.3" and measure(-0.5, "mcc") == "−0.500" and measure(None, "f1") == "–"
    assert points(Bar(0.061, -0.01, 0.09), "accuracy") == "+6.1 points (−1.0 to +9.0)"
    assert fact(0.0004, "unknown_share") == "0.04 %" and fact(0.61, "share_of_peak") == "61.0 %"
    assert fact([1, 2], "seeds") == "1, 2" and fact({"a": 1}, "x") == '{"a": 1}'


def test_geometry_by_hand() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(3, 3) == [3]
    assert Scale(0, 10, 100, 200)(2.5) == 125 and Scale(0, 1, 100, 0)(0.25) == 75
    assert thin([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)], 2) == [(0.5, 2.0), (2.5, 6.0)]
    dots = re.findall(
        r'class="dot s1" cx="([\d.]+)" cy="([\d.]+)"', reliability([{"confidence": 0.5, "accuracy": 0.5}], "x", "s1")
    )
    x, y = map(float, dots[0])
    assert x == round(48 + 0.5 * (320 - 14 - 48), 1) and y == (320 - 44 + 14) / 2
    svg = arms([("200", {"a": Bar(1.0, None, None)})], {"a": "arm"}, "y", "t")
    assert "whisker" not in svg and svg.count("<circle") == 2


def test_map_shows_every_word_and_none_over_another(tmp_path: Path) -> None:
    folder = runs.finetune(tmp_path / "run")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    spread = [{"word": f"w{i}", "x": i % 5, "y": i // 5} for i in range(20)]
    scores["map"] = [*spread, {"word": HOSTILE, "x": 2, "y": 2}, {"word": "w20", "x": 4.0, "y": 3.0}]
    (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    found = page(folder)
    assert all(f"w{i}" in found.sections["map"] for i in range(21)) and HOSTILE in found.sections["map"]
    assert "script" not in {t for t, _ in found.tags}
    drawn = (folder / "report.html").read_text(encoding="utf-8").split('id="map"')[1].split("</section>")[0]
    assert drawn.count("<circle") == 2  # the two that would have covered a word
