"""[12] Every shipped recipe parses, and its stages run three steps each on tiny files at tiny size."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tiny_records

import tiny
import wordloom
from wordloom import api, presets
from wordloom.config import Recipe, read_recipe

ROOT = Path(__file__).resolve().parents[2]
DEMO = Path(wordloom.__file__).parent / "api" / "demo.toml"
RECIPES = [DEMO, *sorted((ROOT / "recipes").glob("**/*.toml"))]

STARTS = {"generate": "gpt2-tiny", "summarize": "t5v1.1-tiny", "translate": "t5v1.1-tiny"}  # else bert-tiny


def small(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Overrides that keep what the recipe is about (objective, optimiser, schedule, task) and shrink the rest."""
    values: dict[str, Any] = {**_model(recipe), **tiny.TRAIN}
    if recipe.corpus is not None:
        values["corpus.paths"] = [str(tiny.write_corpus(folder / "corpus.txt"))]
        if recipe.corpus.documents in ("blank-line", "file"):
            values["corpus.documents"] = "line"
    if recipe.tokenizer is None or recipe.tokenizer.path is None:
        values["tokenizer.vocab_size"] = 320 if recipe.tokenizer and recipe.tokenizer.kind == "byte-bpe" else 150
    if recipe.data is not None and recipe.task is not None and recipe.task.name != "classify":
        for seed, part in enumerate(("train", "valid", "test")):
            if named := getattr(recipe.data, part):
                values[f"data.{part}"] = tiny_records.write(recipe.task, named, folder / "records", seed)
    elif recipe.data is not None:
        data, task = recipe.data, recipe.task
        kind = task.kind if task and task.kind != "auto" else "single"
        columns = {"text": data.text or "text", "label": data.label or "label", "pair": data.pair or "second"}
        columns = {k: v if not v.isdigit() else f"column{v}" for k, v in columns.items()}
        for part, seed in (("train", 0), ("valid", 1), ("test", 2)):
            if getattr(data, part) is not None:
                path = folder / f"{part}.jsonl"
                tiny.write_labelled(path, 24, kind, data.pair is not None, seed, **columns)
                values[f"data.{part}"] = str(path)
        values |= {f"data.{k}": columns[k] for k in ("text", "label", "pair") if getattr(data, k)}
        if data.labels is not None:
            values["data.labels"] = 12
    if recipe.corpus is not None and recipe.data is not None:
        values |= dict(zip(_finetune_keys(), tiny.TRAIN.values(), strict=True))
    if recipe.choose is not None and recipe.choose.what == "objective":  # all six: tests/test_choosing_objective.py
        values = {k: v for k, v in values.items() if k not in ("train.steps", *_finetune_keys())}
        (folder / "pairs.tsv").write_text("the film was good.\tthe film good was.\n")
        values |= {"choose.minutes": 0.004, "choose.size": "tiny", "choose.objectives": ["causal", "spans"],
                   "choose.pairs": str(folder / "pairs.tsv"), "tokenizer.vocab_size": 300}  # fmt: skip
    elif recipe.choose is not None:  # all candidates: tests/test_choosing.py; here the recipe's own keys are tried
        values = {k: v for k, v in values.items() if not k.startswith("train.")}
        values |= {"choose.candidates": ["tf-idf", "skip-gram"], "vectors.epochs": 3, "vectors.min_count": 1}
    if recipe.compare is not None:
        values |= {"compare.labels": [12], "compare.seeds": [0]}
    starts = {"model.start": recipe.model.start, "compare.beside": recipe.compare and recipe.compare.beside}
    for key, start in starts.items():
        if start is not None and start not in presets.PRESETS:
            values[key] = str(_start(recipe, folder / key))
    if recipe.corpus is not None and recipe.model.start is not None:  # goes on with the start's own shape and tokenizer
        values = {k: v for k, v in values.items() if k not in tiny.MODEL and k != "tokenizer.vocab_size"}
    return values


def _start(recipe: Recipe, run: Path) -> Path:
    """A tiny run in place of one that the recipe names."""
    preset = STARTS.get(recipe.task.name if recipe.task else "", "bert-tiny")
    known = {field.name for field in fields(presets.PRESETS[preset].kind)}
    model = {key: value for key, value in tiny.MODEL.items() if key[6:] in known}
    corpus = tiny.write_corpus(run.with_suffix(".txt"))
    values = {**model, **tiny.TRAIN, "tokenizer.vocab_size": 150}
    api.pretrain(corpus, run, preset=preset, quiet=True, **values)
    return run


def _finetune_keys() -> list[str]:
    return [f"finetune.{k.partition('.')[2]}" for k in tiny.TRAIN]


def _model(recipe: Recipe) -> dict[str, Any]:
    """The tiny values that the recipe's architecture has."""
    preset = presets.PRESETS.get(recipe.model.preset or recipe.model.start or "")
    known = {field.name for field in fields(preset.kind)} if preset else {key[6:] for key in tiny.MODEL}
    return {key: value for key, value in tiny.MODEL.items() if key[6:] in known}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_runs_three_steps(tmp_path: Path, path: Path) -> None:
    recipe = read_recipe(path)
    result = api.run_recipe(path, tmp_path / "out", quiet=True, **small(recipe, tmp_path))
    logs = list((tmp_path / "out").rglob("metrics.jsonl"))
    if recipe.choose is not None and recipe.choose.what == "objective":
        assert {row["objective"] for row in result.scores["objectives"]["rows"]} == {"causal", "spans"}
        return
    if recipe.choose is not None:
        assert {row["name"] for row in result.scores["choose"]["rows"]} == {"tf-idf", "skip-gram"}
        return
    assert result.scores and logs and (tmp_path / "out" / "bundle" / "wordloom.json").exists()
    for log in logs:
        assert '"step": 3' in log.read_text(), log


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_first_comment_is_the_command_and_the_result_to_expect(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines[: next(i for i, x in enumerate(lines) if x[:1] != "#")])
    assert "wordloom " in comment
    expected = comment.split("xpect", 1)[1]  # a figure, or where it stands
    named = re.findall(r"(?:docs|benchmarks)/[\w/.-]+\.(?:json|md)", comment)
    assert (named or re.search(r"\d", expected)) and "not yet" not in expected
    assert all((ROOT / name).is_file() for name in named)
