"""``prompt``: a labelled file answered by a causal model from k examples in its prompt, without any training."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordloom.api.language import Language, open_language
from wordloom.api.results import score_json, scores_json, table
from wordloom.api.start import bundle_folder
from wordloom.data.examples import Examples, read_examples
from wordloom.errors import ConfigError, DataError
from wordloom.explain.likelihood import BATCH_TOKENS
from wordloom.explain.prompting import (
    CONTENT_FREE,
    TEMPLATE,
    Prompts,
    Template,
    answer_ids,
    answer_log_p,
    calibrated,
    make_prompts,
    normalised,
)
from wordloom.metrics import Paired, Score, classification_scores, gain_over_seeds
from wordloom.model.interop.files import read_json
from wordloom.train import machine

SHOWN = ("accuracy", "macro_f1", "ece")


@dataclass(frozen=True)
class Draw:
    """One set of examples: where they stand, in the order shown, p of each label with a text that says nothing, and the
    scores by "prompted" and "calibrated"."""

    seed: int
    shots: list[str]
    content_free: dict[str, float]
    scores: dict[str, dict[str, Score]]


@dataclass(frozen=True)
class Prompted:
    """settings: what the numbers depend on. accuracy: of "majority", "prompted", "calibrated", over all draws, with
    intervals over texts and draws. gains: paired differences. notes: what a reader must know."""

    settings: dict[str, Any]
    examples: int
    draws: list[Draw]
    accuracy: dict[str, Score]
    gains: dict[str, Paired]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        draws = [
            {"seed": d.seed, "shots": d.shots, "content_free": d.content_free,
             **{name: scores_json(scores) for name, scores in d.scores.items()}}
            for d in self.draws
        ]  # fmt: skip
        gains = {
            name: {"difference": g.difference, "low": g.low, "high": g.high, "p": g.p_value, "verdict": g.verdict}
            for name, g in self.gains.items()
        }
        accuracy = {name: score_json(score) for name, score in self.accuracy.items()}
        return {**self.settings, "examples": self.examples, "accuracy": accuracy, "gains": gains, "draws": draws,
                "notes": self.notes}  # fmt: skip

    def lines(self) -> list[str]:
        head = [f"{self.examples} examples", "accuracy [95 %]"]
        lines = table([[name, score.plain] for name, score in self.accuracy.items()], head)
        rows = [[f"draw {d.seed}, {name}", *(d.scores[name][m].plain for m in SHOWN)]
                for d in self.draws for name in d.scores]  # fmt: skip
        lines += ["", *table(rows, ["", *SHOWN]), ""]
        lines += [f"{name}: {gain.verdict} (p = {gain.p_value:.3g})" for name, gain in self.gains.items()]
        return lines + self.notes


def prompt(
    model: str | Path,
    data: str | Path,
    *,
    shots: int = 4,
    source: str | Path | None = None,
    draws: int = 3,
    seed: int = 0,
    limit: int | None = None,
    template: str | None = None,
    words: Mapping[str, str] | None = None,
    text: str | None = None,
    label: str | None = None,
    batch_tokens: int = BATCH_TOKENS,
    device: str | None = None,
) -> Prompted:
    """Accuracy on a labelled file of a pre-trained causal or hybrid model, before and after contextual calibration.

    shots: examples in the prompt, every label among them where there are as many; 0 asks without any. source: the file
    they are drawn from; None: ``data``, whose drawn examples are then not scored. draws: as many sets, of seeds
    ``seed``, ``seed`` + 1, ...: which examples and in which order changes the answers much. limit: score so many texts,
    drawn with ``seed``. template: with {text} and {label}; None: TEMPLATE. words: label -> the word that stands for it;
    absent: itself. A prompt holds at most as many tokens as a row of the model's training: texts that do not fit are
    cut, and counted.
    """
    if shots < 0 or draws < 1 or (limit is not None and limit < 1):
        raise ConfigError("shots below 0, or no draw or text at all", cure="ask for 1 or more")
    template = TEMPLATE if template is None else template
    form = Template.parse(template)
    language = open_language(model)
    asked = _read(data, text, label)
    pool, repeats = (asked, 0) if source is None else _read(source, text, label).without_texts_of(asked)
    names = sorted({*asked.label_names(), *pool.label_names()})
    spelled = _words(names, words or {})
    answers = answer_ids(language.tokenizer, form, spelled)
    sets = [_shots(pool, shots, seed + i) for i in range(draws if shots else 1)]
    scored = asked if source is not None else asked.subset(_left(asked, sets))
    if not len(scored):
        raise DataError("every text is an example", where=data, cure="give --from another file, or fewer --shots")
    if limit is not None and limit < len(scored):
        scored = scored.sample(limit, seed)
    room = _rows_of_training(model, language)
    network = language.model.to(machine.pick_device(device))
    gold = np.array([names.index(name) for name in _labels(scored)], np.int64)
    tried = []
    for number, chosen in enumerate(sets):
        shown = pool.subset(chosen)
        pairs = [(t, spelled[name]) for t, name in zip(shown.texts, _labels(shown), strict=True)]
        made = make_prompts(language.tokenizer, form, pairs, [*scored.texts, *CONTENT_FREE], answers, room)
        logs = answer_log_p(network, made.ids, answers, start_id=language.start_id, hybrid=language.hybrid,
                            batch_tokens=batch_tokens)  # fmt: skip
        tried.append(_draw(seed + number, shown.places, normalised(logs), gold, names, made))
    settings: dict[str, Any] = {"model": str(model), "file": str(data), "from": str(source or data), "shots": shots}
    settings |= {"template": template, "words": spelled, "tokens": room}
    return _judged(settings, tried, gold, names, _notes(tried, len(scored), room, repeats, shots))


@dataclass(frozen=True)
class _Tried:
    draw: Draw
    right: dict[str, NDArray[np.float64]]  # "prompted", "calibrated" -> (E,) 1 where the answer is right
    made: Prompts


def _draw(
    seed: int, shots: list[str], p: NDArray[np.float64], gold: NDArray[np.int64], names: list[str], made: Prompts
) -> _Tried:
    """p (E + content-free texts, C), gold (E,)."""
    p, free = p[: len(gold)], p[len(gold) :]
    by_name = {"prompted": p, "calibrated": calibrated(p, free)}
    scores = {name: classification_scores(gold, q, names=names) for name, q in by_name.items()}
    right = {name: (q.argmax(1) == gold).astype(np.float64) for name, q in by_name.items()}
    return _Tried(Draw(seed, shots, dict(zip(names, free.mean(0).tolist(), strict=True)), scores), right, made)


def _read(path: str | Path, text: str | None, label: str | None) -> Examples:
    found = read_examples(str(path), text=text, label=label)
    if found.kind != "single":
        cure = "fine-tune a model for this task: wordloom finetune"
        raise DataError(
            f"the labels are of kind {found.kind}, where one word must be the answer", where=path, cure=cure
        )
    if found.labels is None:
        raise DataError("there is no label", where=path, cure="name the label column with --label")
    return found


def _words(names: list[str], given: Mapping[str, str]) -> dict[str, str]:
    if odd := sorted(set(given) - set(names)):
        cure = f"use the labels {', '.join(names)}"
        raise ConfigError(f"no example has the label {odd[0]!r}", where="--word", cure=cure)
    return {name: given.get(name, name) for name in names}


def _shots(pool: Examples, count: int, seed: int) -> list[int]:
    """Numbers of the examples in the order shown: labels in their shares, each at least once where count allows."""
    if not count:
        return []
    places = set(pool.sample(count, seed).places)
    chosen = [i for i, place in enumerate(pool.places) if place in places]
    random.Random(seed).shuffle(chosen)
    return chosen


def _left(asked: Examples, sets: list[list[int]]) -> list[int]:
    """The examples whose texts are in no prompt: the same ones for every draw."""
    shown = {asked.key(i) for chosen in sets for i in chosen}
    return [i for i in range(len(asked)) if asked.key(i) not in shown]


def _rows_of_training(model: str | Path, language: Language) -> int | None:
    """Tokens of a row the model was trained on, which its positions may exceed; None: it has no limit."""
    limit = language.model.arch.limit
    path = bundle_folder(model) / "wordloom.json"
    trained = (read_json(path).get("extra") or {}).get("length") if path.exists() else None
    return limit if limit is None or trained is None else min(limit, int(trained))


def _labels(examples: Examples) -> list[str]:
    return [str(name) for name in examples.labels or []]


def _judged(
    settings: dict[str, Any], tried: list[_Tried], gold: NDArray[np.int64], names: list[str], notes: list[str]
) -> Prompted:
    """Means over draws; an interval resamples texts and draws (`gain_over_seeds` against nothing)."""
    most = int(np.bincount(gold, minlength=len(names)).argmax())
    majority = f"majority ({names[most]})"
    right = {majority: np.tile((gold == most).astype(np.float64), (len(tried), 1))}  # (draws, E)
    right |= {name: np.stack([t.right[name] for t in tried]) for name in tried[0].right}
    accuracy = {}
    for name, hits in right.items():
        mean = gain_over_seeds(hits, np.zeros_like(hits))
        accuracy[name] = Score(mean.difference, mean.low, mean.high)
    pairs = (("calibrated", "prompted"), ("calibrated", majority))
    gains = {f"{a} - {b}": gain_over_seeds(right[a], right[b], names=(a, b)) for a, b in pairs}
    return Prompted(settings, len(gold), [t.draw for t in tried], accuracy, gains, notes)


def _notes(tried: list[_Tried], examples: int, room: int | None, repeats: int, shots: int) -> list[str]:
    notes = ["majority: the label that most of the scored texts have"]
    if most := max(t.made.cut for t in tried):
        notes.append(f"up to {most} of {examples} texts lost their ends: a prompt holds {room} tokens")
    if most := max(t.made.cut_shots for t in tried):
        notes.append(f"up to {most} of {shots} examples in a prompt lost their ends")
    if repeats:
        notes.append(f"{repeats} possible examples were left out: their texts are among the scored ones")
    return notes
