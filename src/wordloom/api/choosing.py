"""``choose vectors``: which representation is enough for these labelled texts, at an equal corpus and time?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wordloom.api.candidates import TABLES, TITLES, Plan, Work
from wordloom.api.choosing_objective import choose_objective
from wordloom.api.clock import measure_bundle, sample
from wordloom.api.compare import keep_bundle
from wordloom.api.labelled import Parts, descriptions, divide, read
from wordloom.api.linear import open_given, text_corpus
from wordloom.api.results import Result, say, score_json, table
from wordloom.api.settings import LENGTHS, own_recipe, recipe_from, refuse_changes, required
from wordloom.api.start import open_start
from wordloom.choice.advice import Advice, recommend
from wordloom.choice.comparison import Row, side_by_side
from wordloom.choice.stages import Maker, perform
from wordloom.config import (
    ChooseConfig,
    CorpusConfig,
    Recipe,
)
from wordloom.data.corpus import Corpus
from wordloom.data.examples import Examples
from wordloom.disk import write_json
from wordloom.errors import ConfigError, DataError, RunError
from wordloom.metrics import MAIN
from wordloom.report import render
from wordloom.run import Run
from wordloom.tasks.classify.labels import LabelSpace
from wordloom.train import machine, parallel


def choose(
    what: str,
    data: str | Path | None,
    out: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Train every candidate on the same corpus for the same time, score all on the same texts, advise.

    what: "vectors", or "objective" for `choose_objective`. data: a labelled file; None takes [data] of the recipe.
    settings: keys of the recipe's tables ("minutes", "test", "labels", "vectors" (a file or run of vectors to judge
    too), dotted "corpus.paths", "model.start" (a BERT run in place of one pre-trained here)). The run's bundle is the
    recommended candidate's.
    """
    if what == "objective":
        how: dict[str, Any] = {"recipe": recipe, "resume": resume, "overwrite": overwrite, "quiet": quiet}
        return choose_objective(data, out, **how, **settings)
    if what != "vectors":
        raise ConfigError(f"nothing is known of how to choose {what!r}", cure="write: choose vectors, or objective")
    parallel.refuse_several("choose")
    if resume and recipe is None:
        recipe = own_recipe(out)
    if "seed" in settings:
        seed = settings.pop("seed")
        settings |= {f"{table_}.seed": seed for table_ in ("train", "finetune", "vectors")}
    if data is not None:
        settings["data.train"] = str(data)
    chosen = recipe_from(settings, TABLES, base=recipe)
    plan = _plan(chosen)
    torch.set_num_threads(machine.pick_threads(None))
    parts = _parts(plan, quiet)
    if not resume:
        _refuse_impossible(plan, parts)
    values = plan.recipe.model_dump(exclude_none=True, exclude_unset=True)
    again = f"wordloom choose vectors {required(plan.recipe.data, 'data', 'choose').train} --out {out} --resume"
    with Run.open(out) if resume else Run.create(out, values, "choose", overwrite) as run:
        try:
            return _perform(run, plan, parts, resume, quiet)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"resume with: {again}") from None


# --- what is to be done ----------------------------------------------------------------------------------------------


def _plan(recipe: Recipe) -> Plan:
    config = recipe.choose or ChooseConfig()
    required(recipe.data, "data", "choose")
    known = tuple(c for c in config.candidates if c != "imported" or config.vectors is not None)
    if len(set(known)) < 2:
        said = ", ".join(known) or "none"
        raise ConfigError(f"one alone is no choice: {said}", where="choose.candidates", cure="name two or more")
    set_lengths = [f"train.{k}" for k in LENGTHS if k in recipe.train.model_fields_set]
    if set_lengths:
        cure = "set choose.minutes; how long to fine-tune stands in [finetune]"
        raise ConfigError("pre-training takes the minutes of the comparison", where=set_lengths[0], cure=cure)
    if recipe.compare is not None:
        raise ConfigError("[choose] and [compare] are two recipes", cure="write one for each")
    return Plan(recipe, config, tuple(dict.fromkeys(known)))


def _parts(plan: Plan, quiet: bool) -> Parts:
    config = required(plan.recipe.data, "data", "choose")
    train, valid, test = (
        read(path, config, plan.task) if path else None for path in (config.train, config.valid, config.test)
    )
    for line in descriptions((train, valid, test)):
        say(line, quiet)
    parts = divide(required(train, "data", "choose"), valid, test, config, plan.seed)
    valid, said_of_valid = _unseen(parts.valid, parts.train, "validation")
    test, said = _unseen(parts.test, parts.train, "test") if parts.test is not None else (None, [])
    return Parts(parts.train, valid, test, (*parts.notes, *said_of_valid, *said))


def _unseen(part: Examples, train: Examples, name: str) -> tuple[Examples, list[str]]:
    """Without the texts that were trained on: what learns by heart is not to win by them."""
    kept, repeats = part.without_texts_of(train)
    if not len(kept):
        where = part.places[0].rpartition(":")[0] if part.places else None
        raise DataError(f"every {name} text occurs in the training texts", where=where, cure="give texts of its own")
    said = f"{repeats:,} of {len(part):,} {name} texts occur in the training texts and are left out"
    return kept, [said] if repeats else []


def _refuse_impossible(plan: Plan, parts: Parts) -> None:
    """What would fail in hours fails now."""
    if plan.recipe.corpus is not None:
        Corpus(plan.recipe.corpus)
    if plan.config.vectors is not None:
        open_given(plan.config.vectors)
    if plan.recipe.model.start is not None:
        open_start(plan.recipe.model.start, plan.finetuning(plan.recipe.model.start), parts.train.texts)


# --- doing it --------------------------------------------------------------------------------------------------------


def _perform(run: Run, plan: Plan, parts: Parts, resume: bool, quiet: bool) -> Result:
    if resume:
        if run.manifest["kind"] != "choose":
            raise RunError(f"a run of kind {run.manifest['kind']!r}, not of choose", where=run.path,
                           cure="name another folder")  # fmt: skip
        refuse_changes(run, plan.recipe, TABLES)
        if run.manifest.get("hashes", {}).get("examples", parts.sha256) != parts.sha256:
            raise RunError("cannot resume: the labelled files have changed", where=run.path, cure="start a new run")
    for line in parts.notes:
        say(line, quiet)
    run.update_manifest(data=parts.facts(), hashes={"examples": parts.sha256}, status="running")
    part = parts.test or parts.valid
    texts = run.path / "timed.json"
    write_json(texts, sample(part.texts, part.pairs))
    work = Work(run, plan, dataclasses.replace(parts, notes=()), _corpus(run, plan, parts), quiet)
    makers = [Maker(name, TITLES[name], work.maker(name)) for name in plan.candidates]
    found, left_out = perform(makers, run.path / "candidates", lambda bundle: measure_bundle(bundle, texts), write_json,
                              lambda line: say(f"\n{line}", quiet))  # fmt: skip
    kind = parts.train.kind if plan.task.kind == "auto" else plan.task.kind
    names = [*(parts.test.label_names() if parts.test is not None else ()), *parts.valid.label_names()]
    space = LabelSpace.fit(parts.train.labels or [], kind, names=names)
    say("\ntesting each against the best ...", quiet)
    rows = side_by_side(found, space.targets(part.labels or [], part.places), kind)
    advice = recommend(rows, len(part), percent=kind != "regression", tested=parts.test is not None)
    return _finish(run, plan, parts, rows, advice, left_out)


def _corpus(run: Run, plan: Plan, parts: Parts) -> CorpusConfig:
    """[corpus], or the texts of the training file: those whose labels are not used too, but not the validation part."""
    if plan.recipe.corpus is not None:
        return plan.recipe.corpus
    config = required(plan.recipe.data, "data", "choose")
    everything: Examples = read(config.train, config, plan.task)
    held = set(parts.valid.places)
    kept = [i for i, place in enumerate(everything.places) if place not in held]
    return text_corpus([everything.both(i) for i in kept], run.path / "texts.txt")


# --- what came of it -------------------------------------------------------------------------------------------------


def _finish(run: Run, plan: Plan, parts: Parts, rows: list[Row], advice: Advice, left_out: Mapping[str, str]) -> Result:
    best = run.path / "candidates" / advice.recommended
    keep_bundle(run, best / "bundle")
    shown = json.loads((best / "scores.json").read_text(encoding="utf-8"))
    part = parts.test or parts.valid
    kind = parts.train.kind if plan.task.kind == "auto" else plan.task.kind
    values = {
        **{k: shown[k] for k in ("main", "scores", "examples", "confusion", "calibration", "worst") if k in shown},
        "choose": {
            "metric": MAIN[kind],
            "rows": [_row_json(row) for row in rows],
            "recommended": advice.recommended,
            "advice": advice.sentences,
            "changes": advice.changes,
            "left_out": dict(left_out),
            "notes": [*parts.notes, *_conditions(plan, len(part), parts.test is not None)],
        },
    }
    run.write_scores(values)
    run.update_manifest(seed=plan.seed)
    (run.path / "timed.json").unlink(missing_ok=True)
    run.finish()
    notes = [*_table(rows, MAIN[kind]), "", *advice.sentences, "What would change this advice:",
             *(f"- {line}" for line in advice.changes)]  # fmt: skip
    notes += [f"left out: {title}: {why}" for title, why in left_out.items()]
    return Result(run.path, "choose", values, notes, render(run.path))


def _conditions(plan: Plan, examples: int, tested: bool) -> list[str]:
    corpus = plan.recipe.corpus
    source = ", ".join(corpus.paths) if corpus is not None else "the training texts"
    said = [
        f"Pre-training of each: {plan.config.minutes:g} minutes on {source}; the seconds hold reading the corpus "
        "too, which is why they can exceed the budget.",
        f"Scores: {examples:,} {'test' if tested else 'validation'} examples. The best was picked on these very "
        "examples, so its own score is slightly optimistic.",
        "Microseconds a text: medians of several passes over up to 256 of the texts at once, and over single texts, "
        "in a process of its own, on one core of the machine named below; memory: the peak of that process.",
        "The advice takes, of those that cannot be told from the best, the cheapest to answer (within 25 %, or at most "
        "100 microseconds, is the same), then to train.",
    ]
    if plan.recipe.model.start is not None:
        said.append(f"BERT was not pre-trained here: {plan.recipe.model.start}; its time may differ from the others'.")
    return said


def _row_json(row: Row) -> dict[str, Any]:
    values = {"name": row.name, "title": row.title, "score": score_json(row.score), **row.costs.to_json()}
    test = row.against_best
    if test is not None:
        values["against_best"] = {"difference": {"value": test.difference, "low": test.low, "high": test.high},
                                  "p": test.p_value, "verdict": test.verdict}  # fmt: skip
    return values | {"as_good": row.as_good}


def _table(rows: list[Row], metric: str) -> list[str]:
    def cells(row: Row) -> list[str]:
        c = row.costs
        before = "-" if c.pretraining is None else f"{c.pretraining:.0f}"
        test = row.against_best
        verdict = "best" if test is None else "no difference" if row.as_good else f"worse, p = {test.p_value:.2g}"
        memory = "-" if c.memory is None else f"{c.memory / 1e6:.0f}"
        return [row.title, row.score.plain, before, f"{c.training:.1f}", f"{c.microseconds:,.0f}", f"{c.alone:,.0f}",
                memory, f"{c.size / 1e6:.1f}", verdict]  # fmt: skip

    header = [
        "",
        metric,
        "pre-training s",
        "training s",
        "us/text",
        "us alone",
        "memory MB",
        "disk MB",
        "against the best",
    ]
    return table([cells(row) for row in rows], header)
