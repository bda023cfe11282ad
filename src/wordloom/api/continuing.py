"""Pre-training that goes on from a run or a public folder, on other text: with its tokenizer, shape and weights.

What Gururangan et al. 2020 ("Don't Stop Pretraining", section 3) call domain-adaptive pre-training.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from wordloom import presets
from wordloom.api.objectives import AnyObjective, learned_objective, refuse_maskless
from wordloom.api.start import Start, bundle_folder, open_start, refuse_adaptive, with_dropouts
from wordloom.config import Recipe, SpansConfig, TrainConfig, read_recipe
from wordloom.errors import ConfigError
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.model.interop.files import read_json

SETTABLE = {"start", "dropout", "attention_dropout"}  # of [model]: the rest is in the weights


def named_start(settings: dict[str, Any], recipe: str | Path | Recipe | None) -> str | None:
    """model.start of the settings, else of the recipe; None: random weights."""
    given = settings.get("start", settings.get("model.start"))
    if given is None and recipe is not None:
        given = (recipe if isinstance(recipe, Recipe) else read_recipe(recipe)).model.start
    return None if given is None else str(given)


def open_continued(name: str | None) -> tuple[Start, dict[str, Any]] | None:
    """The start, and what it decides of [objective] and [train] unless the recipe says otherwise, dotted. Raises
    ConfigError for a preset, BundleError as ``open_start``."""
    if name is None:
        return None
    if not Path(name).exists() and name in presets.PRESETS:
        cure = f"give --preset {name}, or a run or folder as start"
        raise ConfigError(f"{name} is a preset: there is nothing to go on from", where="model.start", cure=cure)
    start = open_start(name, Recipe(), [])
    refuse_adaptive(start, "pretrain --start")
    if start.source_tokenizer is not None:
        what = "the start reads another vocabulary than it writes: it cannot fill in spans of a text"
        raise ConfigError(what, where=name, cure="fine-tune it, or pre-train a preset")
    facts = bundle_folder(name) / "wordloom.json"
    learned = learned_objective(read_json(facts).get("extra") or {}) if facts.is_file() else {}
    if not learned:  # a public folder, or a fine-tuned run
        arch = start.arch
        learned = {"name": _named_by(arch, set(start.states or {}))}
        if reads_source(arch):
            learned["sentinels"] = len(start.tokenizer.sentinel_ids()) or None
    own = {f"objective.{k}": v for k, v in learned.items() if v is not None}
    usual = TrainConfig().length
    if start.arch.limit is not None and start.arch.limit < usual:
        own["train.length"] = start.arch.limit
    return start, own


def _named_by(arch: AnyArchitecture, heads: Set[str]) -> str:
    """What a network without our own facts was trained by, told from its shape and its heads."""
    if reads_source(arch):
        return "spans"
    if getattr(arch, "two_stream", False):
        return "permuted"
    if arch.attention == "causal":
        return "causal"
    return "replaced" if "replaced" in heads else "masked"


def settle(start: Start, recipe: Recipe) -> Start:
    """The start with the recipe's dropout. Raises ConfigError for what a start decides and the recipe gives too, and
    for a dropout that its network has no place for."""
    asked = sorted(recipe.model.model_fields_set - SETTABLE)
    if asked:
        cure = f"leave {'it' if len(asked) == 1 else 'them'} out, or leave model.start out"
        raise ConfigError(f"a model that is there has its {', '.join(asked)}", where=f"model.{asked[0]}", cure=cure)
    absent = sorted((recipe.model.model_fields_set & SETTABLE) - {"start", *(f.name for f in fields(start.arch))})
    if absent:
        raise ConfigError("the start has no such dropout", where=f"model.{absent[0]}", cure="leave it out")
    if recipe.tokenizer is not None:
        cure = "leave [tokenizer] out, or leave model.start out"
        raise ConfigError("a model that is there has its tokenizer", where="[tokenizer]", cure=cure)
    if start.arch.limit is not None and recipe.train.length > start.arch.limit:
        what = f"train.length {recipe.train.length} is more than the {start.arch.limit} positions of {start.name}"
        raise ConfigError(what, cure=f"give at most {start.arch.limit}")
    return replace(start, arch=with_dropouts(start.arch, recipe.model))


def refuse_tokenizer(objective: AnyObjective, start: Start) -> None:
    """Raises ConfigError where the tokenizer of the start lacks what the objective puts into a text."""
    refuse_maskless(objective, start.tokenizer)
    if not isinstance(objective, SpansConfig):
        return
    have = len(start.tokenizer.sentinel_ids())
    if start.tokenizer.with_sentinels(objective.sentinels).vocab_size > start.arch.vocab_size:
        what = f"{start.name} has no tokens for {objective.sentinels} missing spans"
        cure = f"give {have} or fewer" if have else "go on from a run or folder that learned to fill in spans"
        raise ConfigError(what, where="objective.sentinels", cure=cure)
