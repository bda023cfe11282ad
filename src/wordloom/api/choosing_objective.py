"""``choose objective``: what does each self-supervised task learn from this corpus in the same time?

One size, one tokenizer, one token store, the same minutes for each; each objective with the published model it belongs
to, as a causal model cannot be a masked one. Finished models are kept on resume; an unfinished one is trained anew,
because seconds of a resumed one would not be equal.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wordloom.api.compare import finished
from wordloom.api.labelled import Parts, classify_config, descriptions, divide, read
from wordloom.api.objective_scores import (
    bits_per_byte,
    frozen_probe,
    pairs_accuracy,
    unigram_bits_per_byte,
)
from wordloom.api.pretraining import prepare, pretrain
from wordloom.api.results import Result, paired_json, say, score_json, table
from wordloom.api.settings import LENGTHS, own_recipe, recipe_from, refuse_changes, required
from wordloom.config import (
    ChooseConfig,
    ClassifyConfig,
    CorpusConfig,
    DataConfig,
    MaskedConfig,
    ModelConfig,
    Recipe,
    Strict,
    TokenizerConfig,
    TrainConfig,
    make,
)
from wordloom.data.corpus import Corpus
from wordloom.data.store import TokenStore
from wordloom.disk import write_json
from wordloom.errors import ConfigError, RunError, WordloomError
from wordloom.explain.pairs_file import read_pairs
from wordloom.metrics import Score
from wordloom.report import render
from wordloom.run import Run, read_manifest
from wordloom.train import machine, parallel

PRESETS = {"causal": "gpt2", "masked": "bert", "hybrid": "loom", "replaced": "electra", "permuted": "xlnet",
           "spans": "t5"}  # fmt: skip
TABLES: dict[str, type[Strict]] = {
    "choose": ChooseConfig,
    "corpus": CorpusConfig,
    "data": DataConfig,
    "task": ClassifyConfig,
    "tokenizer": TokenizerConfig,
    "model": ModelConfig,
    "objective": MaskedConfig,
    "train": TrainConfig,
}
TOKENIZER = {"kind": "byte-bpe", "lowercase": False}  # every objective can read it, and it loses nothing of the text
MEASURED = "measured.json"  # written last: an objective is finished when it is there
TEST_SHARE = 0.3  # of the labelled file, where no test file is given
KINDS = ("bits_per_byte", "pairs", "probe", "random")


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    config: ChooseConfig
    corpus: CorpusConfig
    task: ClassifyConfig
    objectives: tuple[str, ...]

    def preset(self, objective: str) -> str:
        return f"{PRESETS[objective]}-{self.config.size}"

    def pretraining(self, objective: str) -> Recipe:
        """The recipe of one objective's run: the plan's own tables, its preset, the minutes of all."""
        given = self.recipe.model_dump(exclude_unset=True, exclude_none=True)
        values = {k: v for k, v in given.items() if k in ("corpus", "train", "model")}
        values["model"] = {**values.get("model", {}), "preset": self.preset(objective)}
        values["train"] = {**values.get("train", {}), "minutes": self.config.minutes}
        return Recipe.model_validate({**values, "objective": {"name": objective}})


def choose_objective(
    corpus: str | Path | None,
    out: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Train every objective on the same tokens for the same time and score all in one table.

    corpus: a file, folder or glob; None takes [corpus] of the recipe. settings: "minutes", "pairs" (minimal pairs),
    "size", "objectives", dotted "data.train" (labelled texts for the probe), "data.test", and keys of the other
    tables of TABLES. OUT/objectives/NAME are runs of their own. Raises a WordloomError for whatever is wrong.
    """
    parallel.refuse_several("choose")
    if resume and recipe is None:
        recipe = own_recipe(out)
    if corpus is not None:
        settings["corpus.paths"] = [str(corpus), *(settings.get("corpus.paths") or [])]
    if "seed" in settings:
        settings["train.seed"] = settings.pop("seed")
    plan = _plan(recipe_from({**settings, "choose.what": "objective"}, TABLES, base=recipe))
    torch.set_num_threads(machine.pick_threads(plan.recipe.train.threads))
    parts = _parts(plan, quiet)
    if plan.config.pairs is not None:
        read_pairs(plan.config.pairs, plan.config.pairs_limit)  # what would fail in hours fails now
    if not resume:
        Corpus(plan.corpus)
    values = plan.recipe.model_dump(exclude_none=True, exclude_unset=True)
    with Run.open(out) if resume else Run.create(out, values, "choose", overwrite) as run:
        if resume:
            refuse_changes(run, plan.recipe, TABLES)
            _refuse_other_examples(run, parts)
        try:
            return _perform(run, plan, parts, quiet)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"resume with: wordloom choose objective --out {out} --resume") from None


def _plan(recipe: Recipe) -> Plan:
    config = recipe.choose or ChooseConfig()
    corpus = required(recipe.corpus, "corpus", "choose objective")
    if len(set(config.objectives)) < 2:
        said = ", ".join(config.objectives) or "none"
        raise ConfigError(f"one alone is no choice: {said}", where="choose.objectives", cure="name two or more")
    if recipe.objective is not None or recipe.model.preset is not None or recipe.model.start is not None:
        cure = "name objectives in choose.objectives, and their size in choose.size"
        raise ConfigError("every objective comes with a model of its own", where="[objective], model.preset", cure=cure)
    if set_lengths := [f"train.{k}" for k in LENGTHS if k in recipe.train.model_fields_set]:
        cure = "set choose.minutes alone"
        raise ConfigError("each objective takes the minutes of the comparison", where=set_lengths[0], cure=cure)
    return Plan(recipe, config, corpus, classify_config(recipe), tuple(dict.fromkeys(config.objectives)))


def _parts(plan: Plan, quiet: bool) -> Parts | None:
    """The labelled texts of the probe; a test part is split off where no file is given."""
    config = plan.recipe.data
    if config is None:
        return None
    train, valid, test = (
        read(path, config, plan.task) if path else None for path in (config.train, config.valid, config.test)
    )
    for line in descriptions((train, valid, test)):
        say(line, quiet)
    train, seed = required(train, "data", "choose objective"), plan.recipe.train.seed
    train.require_trainable()
    if test is None:
        train, test = train.split(TEST_SHARE, seed)
    else:
        test, _ = test.without_texts_of(train)
    return divide(train, valid, test, config, seed)


def _refuse_other_examples(run: Run, parts: Parts | None) -> None:
    now = None if parts is None else parts.sha256
    if run.manifest.get("hashes", {}).get("examples", now) != now:
        raise RunError("cannot resume: the labelled files have changed", where=run.path, cure="start a new run")


# --- doing it --------------------------------------------------------------------------------------------------------


def _perform(run: Run, plan: Plan, parts: Parts | None, quiet: bool) -> Result:
    hashes = {} if parts is None else {"examples": parts.sha256}
    run.update_manifest(status="running", hashes=hashes, seed=plan.recipe.train.seed)
    for line in () if parts is None else parts.notes:
        say(line, quiet)
    given = (plan.recipe.tokenizer or TokenizerConfig()).model_dump(exclude_unset=True)
    common = run.path / "prepared"
    prepare(common, plan.corpus, make(TokenizerConfig, {**TOKENIZER, **given}), plan.recipe.train.seed, quiet)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for number, objective in enumerate(plan.objectives, start=1):
        place, head = run.path / "objectives" / objective, f"{number}/{len(plan.objectives)} {objective}"
        if (place / MEASURED).exists():
            say(f"\n{head}: finished before, kept", quiet)
        else:
            say(f"\n{head} ({plan.preset(objective)}) ...", quiet)
            try:
                if not finished(place):
                    shutil.rmtree(place, ignore_errors=True)
                    pretrain(None, place, recipe=plan.pretraining(objective), prepared=common, quiet=quiet)
                    shutil.rmtree(place / "checkpoints", ignore_errors=True)
                write_json(place / MEASURED, _measured(place, common, plan, parts, objective))
            except WordloomError as error:
                left_out[objective] = str(error)
                say(f"{head}: left out: {error}", quiet)
                continue
        rows.append(json.loads((place / MEASURED).read_text(encoding="utf-8")))
    if len(rows) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        what = f"{len(rows)} of {len(plan.objectives)} objectives could be trained ({reasons})"
        raise RunError(what, where=run.path, cure="give more text or more minutes")
    return _finish(run, plan, parts, rows, left_out)


def _measured(place: Path, common: Path, plan: Plan, parts: Parts | None, objective: str) -> dict[str, Any]:
    """One row of the table as JSON."""
    length = plan.recipe.train.length
    manifest = read_manifest(place)
    bits = bits_per_byte(place, TokenStore.open(common / "store" / "valid"), length)
    accuracy = None if plan.config.pairs is None else pairs_accuracy(place, plan.config.pairs, plan.config.pairs_limit)
    row: dict[str, Any] = {
        "objective": objective, "preset": plan.preset(objective), "parameters": manifest["model"]["parameters"],
        "seconds": manifest["seconds"],
        "bits_per_byte": None if bits is None else score_json(bits),
        "pairs": None if accuracy is None else score_json(accuracy),
    }  # fmt: skip
    if parts is not None:
        found = frozen_probe(place, parts, plan.task, length, plan.recipe.train.seed)
        row |= {"metric": found.metric, "probe": score_json(found.score), "random": score_json(found.random),
                "gain": paired_json(found.gain, "random weights")}  # fmt: skip
    return row


# --- what came of it -------------------------------------------------------------------------------------------------


def _finish(
    run: Run, plan: Plan, parts: Parts | None, rows: list[dict[str, Any]], left_out: Mapping[str, str]
) -> Result:
    stores = [TokenStore.open(run.path / "prepared" / "store" / part) for part in ("train", "valid")]
    unigram = unigram_bits_per_byte(stores[0], stores[1], plan.recipe.train.length)
    notes = _conditions(plan, parts, unigram)
    header, cells = _cells(rows)
    values: dict[str, Any] = {
        "objectives": {"rows": rows, "unigram_bits_per_byte": score_json(unigram), "left_out": dict(left_out),
                       "notes": notes},
        "tables": [{"title": "Objectives, in equal time", "header": header, "rows": cells, "note": " ".join(notes)}],
    }  # fmt: skip
    run.write_scores(values)
    run.finish()
    said = [*table(cells, header), "", *notes, *(f"left out: {name}: {why}" for name, why in left_out.items())]
    return Result(run.path, "choose", values, said, render(run.path))


def _cells(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A column of scores is there where some objective has that score."""
    metric = next((row["metric"] for row in rows if "metric" in row), "")
    names = {"bits_per_byte": "bits per byte", "pairs": "minimal pairs", "probe": f"probe, {metric}",
             "random": "random weights"}  # fmt: skip
    shown = [key for key in KINDS if any(row.get(key) for row in rows)]
    header = ["", "model", "size", "seconds", *(names[key] for key in shown)]
    gains = any("gain" in row for row in rows)
    cells = []
    for row in rows:
        found = [row["objective"], row["preset"], f"{row['parameters'] / 1e6:.1f} M", f"{row['seconds']:.0f}"]
        found += [_score(row.get(key)) for key in shown]
        cells.append([*found, _verdict(row["gain"])] if gains else found)
    return [*header, "against random, points"] if gains else header, cells


def _score(value: Mapping[str, float | None] | None) -> str:
    if value is None or value["value"] is None:
        return "-"
    low, high = (math.nan if value[key] is None else float(value[key] or 0.0) for key in ("low", "high"))
    return f"{float(value['value']):.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")


def _verdict(gain: Mapping[str, Any]) -> str:
    d = gain["difference"]
    return f"{100 * d['value']:+.1f} [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"


def _conditions(plan: Plan, parts: Parts | None, unigram: Score) -> list[str]:
    source = ", ".join(plan.corpus.paths)
    notes = [
        f"{plan.config.minutes:g} minutes for each on {source}, one tokenizer and one token store for all; one "
        "depth and width, the model otherwise each objective's own; parameters hold ELECTRA's generator.",
        f"Bits per byte: held-out beginnings of {plan.recipe.train.length - 1} tokens at most, each token given those "
        f"before it, of objectives that learn that; token frequencies alone: {unigram.plain}.",
    ]
    if plan.config.pairs is not None:
        notes.append(
            f"Minimal pairs: {Path(plan.config.pairs).name}, mean of the paradigms, ties as wrong; a causal model by "
            "log p, the others by pseudo-log-likelihood."
        )
    if parts is not None and parts.test is not None:
        notes.append(
            f"Probe: a linear classifier on the mean last states of the frozen model (of spans: of its encoder), "
            f"{len(parts.train):,} training and {len(parts.test):,} test texts; random weights: the same, untrained."
        )
    return notes
