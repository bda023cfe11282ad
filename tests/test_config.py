"""Recipes: strict, with the near miss named; flags above recipes above defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wordloom.api.finetuning import DEFAULTS, TABLES
from wordloom.api.settings import parse_assignment, recipe_from
from wordloom.config import MaskedConfig, Recipe, TrainConfig, make, merge, read_recipe
from wordloom.errors import ConfigError, WordloomError
from wordloom.toml_text import to_toml


def test_reading_a_recipe_imports_no_torch() -> None:
    program = "import sys, wordloom, wordloom.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_a_recipe_is_frozen_and_strict() -> None:
    train = make(TrainConfig, {"steps": 3})
    with pytest.raises(ValueError, match="frozen"):
        train.steps = 4  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"unknown key 'stesp'; did you mean 'steps'\? Correct that key"):
        make(TrainConfig, {"stesp": 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"lr": 0}}, "train.lr: Input should be greater than 0"),
        ({"train": {"steps": 1.5}}, "train.steps"),
        ({"train": {"steps": True, "lr": "x"}}, "train"),
        ({"train": {"betas": [0.9]}}, "train.betas"),
        ({"train": {"steps": 1, "minutes": 2}}, "give one of steps, epochs, minutes, not steps and minutes"),
        ({"objective": {"span": 0.5}}, "objective.span"),
        ({"objective": {"rate": 1}}, "objective.rate"),
        ({"task": {"pooling": "median"}}, "task.pooling"),
        ({"tokenizer": {"vocab_size": "x"}}, "a.toml: tokenizer.vocab_size: Input should be a valid integer"),
        ({"tokenizer": {"vocab_size": "x"}}, " or 'auto'. Correct"),
        ({"train": {"steps": 1, "minutes": 2}}, "a.toml: train: give one of"),
        ({"data": {}}, "data.train: Field required"),
        ({"data": {"train": "a", "labels": 0}}, "data.labels"),
        ({"compare": {"labels": ["some"]}}, "a.toml: compare.labels: "),
        ({"corpus": {"paths": ["a"], "documents": "pages"}}, "corpus.documents"),
        ({"corpus": {"path": ["a"]}}, "corpus.path"),
        ({"tokenizer": {"kind": "word-piece"}}, "tokenizer.kind"),
        ({"finetune": {"learning_rate": 1}}, "unknown key 'finetune.learning_rate'"),
        ({"zzz": {}}, "unknown key 'zzz'; known keys: choose, compare, corpus, data"),
    ],
)
def test_what_is_refused_names_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(Recipe, values, where="a.toml")
    assert message in str(caught.value) and str(caught.value).startswith("a.toml: ")
    assert "\n" not in str(caught.value)


def test_merge_replaces_keys_and_leaves_its_inputs_alone() -> None:
    values: dict[str, Any] = {"train": {"lr": 1.0, "seed": 3}}
    merged = merge(values, {"train.lr": 2.0, "train.clip": None, "model.layers": 2})
    assert merged == {"train": {"lr": 2.0, "seed": 3}, "model": {"layers": 2}}
    assert values == {"train": {"lr": 1.0, "seed": 3}}
    with pytest.raises(ConfigError, match=r"\[train\] must be a table"):
        merge({"train": 3}, {"train.lr": 1.0})


def test_flag_above_recipe_above_default(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[data]\ntrain = "x.csv"\n[train]\nlr = 0.5\nsteps = 9\n')
    chosen = recipe_from({"batch": 7, "task.pooling": "mean"}, TABLES, base=path, defaults=DEFAULTS)
    assert (chosen.train.lr, chosen.train.steps, chosen.train.batch) == (0.5, 9, 7)
    assert chosen.train.schedule == DEFAULTS["train.schedule"]  # only what neither said
    assert chosen.train.epochs is None  # the default length stays away where the recipe says how long
    assert chosen.task is not None and chosen.task.pooling == "mean"
    chosen = recipe_from({"minutes": 2.0}, TABLES, base=path, defaults=DEFAULTS)  # another unit replaces the recipe's
    assert (chosen.train.minutes, chosen.train.steps, chosen.train.epochs) == (2.0, None, None)
    with pytest.raises(ConfigError, match="unknown setting 'pooing'; did you mean 'pooling'"):
        recipe_from({"pooing": "mean"}, TABLES, base=path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.lr=3e-4", ("train.lr", 3e-4)),
        ("train.lr = 1", ("train.lr", 1)),
        ('corpus.paths=["a", "b"]', ("corpus.paths", ["a", "b"])),
        ("objective.whole_word=true", ("objective.whole_word", True)),
        ("tokenizer.kind=bpe", ("tokenizer.kind", "bpe")),  # not TOML, so it is a plain string
        ("data.text=a=b", ("data.text", "a=b")),
    ],
)
def test_set_reads_toml_or_a_plain_string(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


def test_what_a_run_writes_reads_back(tmp_path: Path) -> None:
    recipe = make(Recipe, {"corpus": {"paths": ["a b.txt", 'quo"te.txt']}, "objective": {"rate": 0.2},
                           "train": {"betas": [0.9, 0.98], "steps": 4, "threads": None}})  # fmt: skip
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe.model_dump(exclude_none=True, exclude_unset=True)))
    assert read_recipe(path).model_dump() | {"train": None} == recipe.model_dump() | {"train": None}
    assert read_recipe(path).train.betas == recipe.train.betas


def test_defaults_are_the_papers() -> None:
    assert MaskedConfig().rate == 0.15 and not MaskedConfig().whole_word  # Devlin et al. 2019, section 3.1
    assert issubclass(ConfigError, WordloomError)


def test_errors_have_what_where_and_cure() -> None:
    assert str(ConfigError("x is wrong", where="a.toml:3", cure="write y")) == "a.toml:3: x is wrong. Write y."
    assert str(ConfigError("x is wrong")) == "x is wrong"
    assert str(ConfigError("x; did you mean 'y'?", cure="write y")) == "x; did you mean 'y'? Write y."
