"""render(): a run directory's JSON -> one HTML page. The keys read are listed in the package's docstring."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wordloom.errors import RunError
from wordloom.report import plots
from wordloom.report.plots import Bar, Line
from wordloom.report.wording import MEASURES, duration, fact, measure, number, points, size, span, when, words
from wordloom.report.wording import bar as as_bar

SPEEDS = ("tokens_per_second", "share_of_peak")
ARMS = {"pretrained": "pre-trained", "random": "random weights", "tfidf": "TF-IDF + LR"}
MOST_CLASSES, MOST_CONFUSIONS, MOST_LABELS, MOST_WORST, EXCERPT = 20, 15, 30, 20, 420


def render(run_path: str | Path) -> Path:
    """Write RUN/report.html from the JSON in RUN and return its path; an existing report is replaced.

    Raises RunError when RUN holds neither a manifest nor scores, or one of its files is not JSON.
    """
    folder = Path(run_path)
    manifest, scores = _read_object(folder / "manifest.json"), _read_object(folder / "scores.json")
    if manifest is None and scores is None:
        raise RunError("no manifest.json or scores.json here", where=folder, cure="give the directory of a run")
    rows = _read_rows(folder / "metrics.jsonl")
    facts = _facts({**(manifest or {}), **(scores or {})}, rows)
    recipe = folder / "recipe.toml"
    page = (
        _environment()
        .get_template("template.html")
        .render(
            title=facts.get("title") or f"{_KINDS.get(str(facts.get('kind')), 'Run')}: {folder.resolve().name}",
            style=Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8")),
            facts=facts,
            headline=_headline(facts),
            curves=_curves(rows, facts.get("unigram_entropy")),
            table=_score_table(facts),
            gain=_gain(facts.get("gain")),
            choice=_choice(facts.get("choose")),
            confusion=_confusion(facts.get("confusion")),
            calibration=_calibration(facts.get("calibration")),
            map=_map(facts.get("map")),
            data=_data(facts.get("data")),
            tables=[_table(t) for t in facts.get("tables") or []],
            samples=[_sample(s) for s in (facts.get("samples") or [])[:MOST_WORST]],
            worst=[_error(e) for e in (facts.get("worst") or [])[:MOST_WORST]],
            recipe=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None,
        )
    )
    target = folder / "report.html"
    draft = folder / ".report.html.tmp"
    draft.write_text(page, encoding="utf-8", newline="\n")
    os.replace(draft, target)
    return target


_KINDS = {"pretrain": "Pre-training", "finetune": "Fine-tuning", "compare": "Comparison",
          "evaluate": "Evaluation", "vectors": "Word vectors", "choose": "Choice"}  # fmt: skip


def _facts(found: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is there, and what follows from it: seconds, environment, throughput, the hash of the recipe."""
    facts = {k: v for k, v in found.items() if v is not None}
    if "seconds" not in facts and facts.get("created") and facts.get("ended"):
        with contextlib.suppress(ValueError, TypeError):
            ended, created = (datetime.fromisoformat(facts[k]) for k in ("ended", "created"))
            facts["seconds"] = (ended - created).total_seconds()
    machine = {"memory_bytes" if k == "memory" else k: v for k, v in (facts.get("machine") or {}).items()}
    environment = {**(facts.get("versions") or {}), **machine, **(facts.get("environment") or {})}
    if environment:
        facts["environment"] = environment
    if "seeds" not in facts and facts.get("seed") is not None:
        facts["seeds"] = [facts["seed"]]
    if "recipe_sha256" in facts:
        facts["hashes"] = {"recipe": facts["recipe_sha256"], **(facts.get("hashes") or {})}
    speeds = {k: [r[k] for r in rows if isinstance(r.get(k), (int, float))] for k in SPEEDS}
    if "throughput" not in facts and any(speeds.values()):
        facts["throughput"] = {f"{k}_median": median(v) for k, v in speeds.items() if v}
    return facts


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("wordloom.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        number=number, size=size, duration=duration, words=words, when=when, measure=measure, points=points, fact=fact
    )
    return environment


# ------------------------------------------------------------------------------------------------ reading


def _read_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunError(f"not readable as JSON: {error}", where=path, cure="restore the file or run again") from None
    if not isinstance(values, dict):
        raise RunError("must hold one JSON object", where=path, cure="restore the file or run again")
    return values


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Objects that have a step; a line cut off by a killed run is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


# ----------------------------------------------------------------------------------------------- sections


def _headline(facts: dict[str, Any]) -> dict[str, Any] | None:
    """The one number of the run: the gain of a comparison, else its main score."""
    gain = _gain(facts.get("gain"))
    first = next((r for r in gain["rows"] if r["gain"]), None) if gain else None
    if gain and first:
        text = f"from pre-training in {gain['name'].lower()} with {first['labels']} labelled examples"
        return {
            "value": measure(first["gain"].value, gain["key"], sign=True),
            "unit": gain["unit"],
            "text": text,
            "interval": span(first["gain"], gain["key"], sign=True),
            "verdict": first["verdict"],
        }
    scores = facts.get("scores") or {}
    key = facts.get("main") if facts.get("main") in scores else next(iter(scores), None)
    bar = as_bar(scores[key]) if key else None
    if bar is None or key is None:
        return None
    name, percent, _ = MEASURES.get(key, (words(key), False, ""))
    count = facts.get("examples")
    text = name.lower() if name.isupper() is False else name
    text += (
        f" on {number(count)} held-out {'tokens' if facts.get('kind') == 'pretrain' else 'examples'}" if count else ""
    )
    choice = facts.get("choose") or {}
    taken = [r.get("title") for r in choice.get("rows") or [] if r.get("name") == choice.get("recommended")]
    text += f": {taken[0]}, the recommended one" if taken else ""
    entropy = facts.get("unigram_entropy")
    if key == "loss" and isinstance(entropy, (int, float)):
        side = "below" if bar.value < entropy else "above"
        text += f"; {abs(entropy - bar.value):.3f} {side} the unigram entropy of {entropy:.3f}"
        text += "" if side == "below" else ": nothing is learned from context yet"
    return {
        "value": measure(bar.value, key),
        "unit": "%" if percent else "",
        "text": text,
        "interval": span(bar, key),
        "verdict": None,
    }


def _curves(rows: list[dict[str, Any]], entropy: Any) -> dict[str, Any] | None:
    train = _series((r["step"], r.get("loss")) for r in rows)
    scored = ((r["step"], r.get("evaluation")) for r in rows)
    valid = _series((step, scores.get("loss")) for step, scores in scored if isinstance(scores, dict))
    lines = [Line("training", plots.thin(train), "s1")] if train else []
    lines += [Line("held out", valid, "s2")] if valid else []
    if not lines:
        return None
    level = ("unigram entropy", float(entropy)) if isinstance(entropy, (int, float)) else None
    notes = [f"Step {r['step']:,}: {r['note']}." for r in rows if isinstance(r.get("note"), str)]
    best = min(valid, key=lambda p: p[1]) if valid else None
    return {
        "svg": plots.curve(lines, level, "step", "loss, nats", "loss by step"),
        "last": train[-1] if train else None,
        "notes": notes,
        "best": best,
        "entropy": level[1] if level else None,
    }


def _series(pairs: Iterable[tuple[int, Any]]) -> list[tuple[float, float]]:
    """Finite values by step, in order; of a step logged twice (a resumed run) the last."""
    good = {s: float(v) for s, v in pairs if isinstance(v, (int, float)) and math.isfinite(v)}
    return sorted(good.items())


def _score_table(facts: dict[str, Any]) -> dict[str, Any] | None:
    baseline = facts.get("baseline") or {}
    other = baseline.get("scores") or {}
    rows = []
    for key, score in (facts.get("scores") or {}).items():
        bar, second = as_bar(score), as_bar(other.get(key))
        note = score.get("note") if isinstance(score, dict) else None
        if bar is None and not note:
            continue
        name, percent, good = MEASURES.get(key, (words(key), False, ""))
        rows.append(
            {
                "key": key,
                "name": name,
                "percent": percent,
                "good": good,
                "bar": bar,
                "note": note,
                "range": span(bar, key) if bar else None,
                "other": second,
                "other_range": span(second, key) if second else None,
                "sketch": plots.interval(bar, second) if percent and bar else None,
            }
        )
    if not rows:
        return None
    paired = facts.get("paired") or {}
    difference = as_bar(paired.get("difference"))
    verdict = paired.get("verdict")
    if difference and verdict != "no difference":
        lower = MEASURES.get(str(paired.get("metric")), ("", False, ""))[2] == "lower"
        verdict = "better" if (difference.value > 0) != lower else "worse"
    sketched = any(row["sketch"] for row in rows)
    return {
        "rows": rows,
        "sketched": sketched,
        "baseline": baseline.get("name") if other else None,
        "paired": paired,
        "verdict": verdict,
        "difference": points(difference, str(paired.get("metric"))) if difference else None,
    }


def _gain(gain: Any) -> dict[str, Any] | None:
    if not gain or not gain.get("rows"):
        return None
    key = str(gain.get("metric", "accuracy"))
    name, percent, _ = MEASURES.get(key, (words(key), False, ""))
    titles = {**ARMS, "beside": str(gain.get("beside"))}
    rows, groups = [], []
    names: dict[str, str] = {}
    for row in gain["rows"]:
        bars = {k: b for k, b in ((k, as_bar(v)) for k, v in (row.get("arms") or {}).items()) if b}
        names |= {k: titles.get(k, words(k)) for k in bars}
        label = number(row.get("labels"))
        rows.append(
            {
                "labels": label,
                "seeds": row.get("seeds"),
                "arms": bars,
                "gain": as_bar(row.get("gain")),
                "verdict": row.get("verdict"),
                "gain_over_beside": as_bar(row.get("gain_over_beside")),
                "verdict_beside": row.get("verdict_beside"),
                "ranges": {k: span(b, key) for k, b in bars.items()},
            }
        )
        factor = 100 if percent else 1
        scaled = {k: Bar(*(None if v is None else factor * v for v in b)) for k, b in bars.items()}  # type: ignore[arg-type]
        if scaled:
            groups.append((label, scaled))
    unit = "points" if percent else ""
    svg = plots.arms(groups, names, f"{name.lower()}{', %' if percent else ''}", "scores by arm") if groups else None
    return {"key": key, "name": name, "unit": unit, "rows": rows, "names": names, "svg": svg}


def _choice(choose: Any) -> dict[str, Any] | None:
    """The table of candidates, the advice and its conditions."""
    if not isinstance(choose, dict) or not choose.get("rows"):
        return None
    key = str(choose.get("metric", "accuracy"))
    name = MEASURES.get(key, (words(key), False, ""))[0]
    rows = []
    for row in choose["rows"]:
        score, test = as_bar(row.get("score")), row.get("against_best") or {}
        gap = as_bar(test.get("difference"))
        rows.append(
            {
                **{
                    k: row.get(k)
                    for k in ("title", "pretraining", "training", "microseconds", "alone", "memory", "size")
                },
                "score": score,
                "range": span(score, key) if score else None,
                "gap": points(gap, key) if gap else None,
                "verdict": "best" if not test else "no difference" if row.get("as_good") else "worse",
                "chosen": row.get("name") == choose.get("recommended"),
            }
        )
    lists = {k: [str(line) for line in choose.get(k) or []] for k in ("advice", "changes", "notes")}
    return {
        "key": key,
        "name": name,
        "rows": rows,
        "left_out": choose.get("left_out") or {},
        **lists,
    }


def _confusion(confusion: Any) -> dict[str, Any] | None:
    if not confusion or not confusion.get("matrix"):
        return None
    labels, matrix = [str(x) for x in confusion["labels"]], confusion["matrix"]
    pairs = [
        (count, labels[i], labels[j], sum(row))
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    pairs.sort(key=lambda p: (-p[0], p[1], p[2]))
    drawn = len(labels) <= MOST_CLASSES
    svg = plots.confusion(labels, matrix, "confusion matrix") if drawn else None
    return {"svg": svg, "classes": len(labels), "pairs": pairs[: 5 if drawn else MOST_CONFUSIONS]}


def _calibration(calibration: Any) -> dict[str, Any] | None:
    if not calibration:
        return None
    plotted = [
        (name, plots.reliability(calibration[key], name, classes), calibration.get(f"ece_{key}"))
        for key, name, classes in (("before", "as trained", "s2"), ("after", "temperature-scaled", "s1"))
        if calibration.get(key)
    ]
    return {"plots": plotted, "temperature": calibration.get("temperature")} if plotted else None


def _map(found: Any) -> Markup | None:
    if not isinstance(found, list) or len(found) < 2:
        return None
    points = [(str(p["word"]), float(p["x"]), float(p["y"])) for p in found]
    return plots.scatter(points, "Frequent words, near ones near each other")


def _data(data: Any) -> dict[str, Any] | None:
    if not data:
        return None
    parts = {k: v for k, v in data.items() if k != "labels" and isinstance(v, dict)}
    names = dict.fromkeys(c for part in parts.values() for c in part)
    columns = {c: all(isinstance(part.get(c, 0), (int, float)) for part in parts.values()) for c in names}  # numeric?
    counts = data.get("labels") if isinstance(data.get("labels"), dict) else {}
    ordered = sorted(((str(k), v) for k, v in counts.items()), key=lambda c: (-c[1], c[0]))
    plain = {k: v for k, v in data.items() if k != "labels" and not isinstance(v, dict)}
    svg = plots.shares(ordered[:MOST_LABELS], "training examples by label") if ordered else None
    return {"parts": parts, "columns": columns, "plain": plain, "labels": len(ordered), "svg": svg}


def cut(text: Any) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= EXCERPT else text[:EXCERPT] + " …"


def _table(found: dict[str, Any]) -> dict[str, Any]:
    rows = [[number(cell) if cell is not None else "–" for cell in row] for row in found.get("rows") or []]
    return {"title": found.get("title"), "header": found.get("header") or [], "rows": rows, "note": found.get("note")}


def _sample(found: dict[str, Any]) -> dict[str, Any]:
    gold = found.get("gold")
    said = {key: cut(found.get(key, "")) for key in ("input", "answer")}
    return {**said, "gold": None if gold is None else cut(gold), "place": found.get("place")}


def _error(error: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": cut(error.get("text", "")),
        "pair": cut(error["pair"]) if error.get("pair") else None,
        "gold": number(error.get("gold")),
        "predicted": number(error.get("predicted")),
        "confidence": error.get("confidence"),
        "place": error.get("place"),
    }
