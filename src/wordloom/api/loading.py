"""``load``, ``evaluate``, ``predict``: what one does with a finished run."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wordloom.api.kinds import HOMES, task_kind
from wordloom.api.results import scores_json, table
from wordloom.api.start import bundle_folder
from wordloom.api.submitting import Submission, classifier_lines, refuse_glue_file, refuse_idle, task_lines
from wordloom.config import DataConfig, make, near_miss
from wordloom.data.examples import label_folders, read_examples, stream_texts
from wordloom.data.readers import stdin_lines
from wordloom.disk import jsonable, replace
from wordloom.errors import ConfigError, DataError
from wordloom.infer.abstaining import refuse_abstaining, selective_scores, withheld
from wordloom.infer.linear import LinearPredictor, is_linear
from wordloom.infer.predictor import Prediction, Predictor
from wordloom.infer.task_predictor import TaskPredictor
from wordloom.metrics import Paired, Score, paired, paired_tallies, tally_scores
from wordloom.model.interop.files import read_json
from wordloom.tasks.classify.task import Classify


def load(path: str | Path, settings: Mapping[str, Any] | None = None) -> Any:
    """The predictor of a run (RUN/bundle) or of a bundle: predict, predict_stream, evaluate, save.

    A `Predictor`, with predict_proba, of a classification; a `TaskPredictor` of any other task. settings: keys of the
    task that it can take anew (``TaskKind.adjustable``: the beams of a search, say).
    """
    folder = bundle_folder(path)
    facts = folder / "wordloom.json"
    if facts.is_file() and read_json(facts).get("kind") in HOMES:
        predictor = TaskPredictor.load(folder, lambda name: task_kind(name).restore)
        _adjust(predictor.task, settings or {})
        return predictor
    if settings:
        raise ConfigError(f"a classifier takes no {next(iter(settings))}", where="--set", cure="leave it away")
    if is_linear(folder):
        from wordloom.tasks.classify.linear import (
            LinearClassifier,  # here: scikit-learn takes half a second that BERT needs not
        )

        return LinearPredictor.load(folder, LinearClassifier.restore)
    return Predictor.load(folder, Classify.restore)


def _adjust(task: Any, settings: Mapping[str, Any]) -> None:
    known = task_kind(task.name).adjustable
    changed = {key.removeprefix("task."): value for key, value in settings.items()}
    for key in changed:
        if key not in known:
            hint = near_miss(key, sorted(known), "what can") if known else ""
            raise ConfigError(f"{key} cannot be changed in a finished model{hint}", where="--set",
                              cure="leave it away, or fine-tune with it")  # fmt: skip
    if changed:
        task.config = make(type(task.config), {**task.config.model_dump(), **changed})


@dataclass(frozen=True)
class Evaluation:
    """Scores of each model by name, and the paired test where there were two."""

    scores: dict[str, dict[str, Score]]
    examples: int
    columns: str
    test: Paired | None = None

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {"examples": self.examples, "read": self.columns}
        values["models"] = {name: scores_json(scores) for name, scores in self.scores.items()}
        if self.test is not None:
            t = self.test
            values["paired"] = {
                "metric": t.metric,
                "difference": t.difference,
                "low": t.low,
                "high": t.high,
                "p": t.p_value,
                "verdict": t.verdict,
            }
        return values

    def lines(self) -> list[str]:
        names = list(self.scores)
        metrics = [m for m in self.scores[names[0]] if all(m in self.scores[n] for n in names)]
        rows = [[m, *(self.scores[n][m].plain for n in names)] for m in metrics]
        lines = [self.columns, *table(rows, [f"{self.examples} examples", *names])]
        noted: dict[str, list[str]] = {}
        for m in metrics:
            for note in {self.scores[n][m].note for n in names} - {""}:
                noted.setdefault(note, []).append(m)
        lines += [f"{', '.join(about)}: {note}" for note, about in noted.items()]
        if self.test is not None:
            lines.append(f"paired test: {self.test.verdict} (p = {self.test.p_value:.3g})")
        return lines


def evaluate(
    models: Sequence[str | Path],
    data: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    settings: Mapping[str, Any] | None = None,
    abstain: float | None = None,
) -> Evaluation:
    """Scores with 95 % intervals of one model, or of two with a paired test on the same examples.

    settings: as `load`. abstain: also the share of the answers of at least this probability, and how many are right.
    """
    if not 1 <= len(models) <= 2:
        raise ConfigError(f"{len(models)} models were given", cure="write: wordloom evaluate RUN [RUN2] DATA")
    if Path(data).is_dir() and not label_folders(str(data)):
        raise ConfigError("a folder, not a labelled file", where=data, cure="write: wordloom evaluate RUN [RUN2] DATA")
    predictors = [load(m, settings) for m in models]
    names = [str(m) for m in models] if len(set(map(str, models))) == len(models) else ["A", "B"]
    if any(isinstance(p, TaskPredictor) for p in predictors):
        _refuse_abstaining(abstain)
        config = DataConfig(train=str(data), text=text, label=label, pair=pair)
        return evaluate_task(names, predictors, data, config)
    first = predictors[0]
    if any((p.kind, p.labels) != (first.kind, first.labels) for p in predictors):
        raise ConfigError(
            "the two models answer different questions: their labels differ", cure="compare models of one task"
        )
    examples = read_examples(str(data), text=text, label=label, pair=pair, kind=first.task.kind)
    if examples.labels is None:
        raise DataError("there is no label to score against", where=data, cure="name the label column with --label")
    pairs = examples.pairs if first.task.pairs else None
    probabilities = [p.predict_proba(examples.texts, pairs) for p in predictors]
    scores = {n: p.task.scores(examples, q) for n, p, q in zip(names, predictors, probabilities, strict=True)}
    if abstain is not None:
        refuse_abstaining(first.kind, abstain)
        right = [first.labels[i] for i in first.task.space.targets(examples.labels, examples.places)]
        for n, p, q in zip(names, predictors, probabilities, strict=True):
            answers = withheld(p.task.decode(q), q, p.labels, abstain)
            scores[n] = {**scores[n], **selective_scores(right, answers, abstain)}
    test = None
    if len(predictors) == 2:
        gold = first.task.space.targets(examples.labels, examples.places)
        test = paired(gold, probabilities[0], probabilities[1], first.task.kind, names=(names[0], names[1]))
    return Evaluation(scores, len(examples), examples.columns, test)


def evaluate_task(
    names: Sequence[str], predictors: Sequence[Any], data: str | Path, config: DataConfig | None = None
) -> Evaluation:
    """One or two predictors of the same task on its labelled records. config: which columns hold what."""
    tasks = [p.task for p in predictors if isinstance(p, TaskPredictor)]
    if len(tasks) != len(predictors) or len({t.name for t in tasks}) > 1:
        raise ConfigError("the two models do different tasks", cure="compare models of one task")
    first = tasks[0]
    records = task_kind(first.name).read(str(data), config or DataConfig(train=str(data)), first.config)
    tallies = [t.tallies(records, p.predict(t.inputs(records))) for t, p in zip(tasks, predictors, strict=True)]
    scores = {name: tally_scores(found) for name, found in zip(names, tallies, strict=True)}
    test = None
    if len(tallies) == 2:
        ours, theirs = (found[first.main] for found in tallies)
        test = paired_tallies(ours, theirs, first.main, names=(names[0], names[1]))
    return Evaluation(scores, len(records), records.columns, test)


def predict_lines(
    model: str | Path,
    data: str,
    *,
    text: str | None = None,
    pair: str | None = None,
    as_json: bool = False,
    form: str | None = None,
    settings: Mapping[str, Any] | None = None,
    abstain: float | None = None,
    submission: Submission | None = None,
) -> Iterator[str]:
    """Output lines in input order: JSON objects, the task's format ``form``, or columns to read (of a classifier: the
    answer, its probability, the text). settings: as `load`. abstain: a classifier's less probable answers are
    withheld. submission: how rows and answers are named in the formats csv, glue and clue."""
    config = DataConfig(train=data, text=text, pair=pair)
    yield from _lines(load(model, settings), data, config, as_json, form, abstain, submission or Submission())


def _lines(
    predictor: Any, data: str, config: DataConfig, as_json: bool, form: str | None, abstain: float | None,
    wanted: Submission,
) -> Iterator[str]:  # fmt: skip
    if isinstance(predictor, TaskPredictor):
        _refuse_abstaining(abstain)
        yield from _task_lines(predictor, data, config, as_json, form, wanted)
        return
    labels = predictor.labels
    inputs = read_inputs(data, config.text, config.pair, predictor.task.pairs)
    if form is not None:
        answers = predictor.predict_stream(inputs, abstain=abstain)
        yield from classifier_lines(form, data, answers, predictor.task, wanted, abstain)
        return
    refuse_idle(wanted, form, ())
    texts, copies = _tee(inputs)
    for answer in predictor.predict_stream(texts, abstain=abstain):
        source = copies.popleft()
        if as_json:
            yield json.dumps(_row(answer, source, labels), ensure_ascii=False)
        else:
            shown = source if isinstance(source, str) else " | ".join(source)
            yield f"{_shown(answer, labels)}\t{' '.join(shown.split())[:120]}"


def predict_file(
    model: str | Path, data: str, out: str | Path, *, text: str | None = None, pair: str | None = None,
    as_json: bool = False, form: str | None = None, overwrite: bool = False,
    settings: Mapping[str, Any] | None = None, abstain: float | None = None, submission: Submission | None = None,
) -> Path:  # fmt: skip
    """What ``predict_lines`` gives, or a format that is no text, as a file that is there whole or not at all."""
    out = Path(out)
    if out.exists() and not overwrite:
        raise ConfigError("this file is there already", where=out, cure="name another one, or add --overwrite")
    predictor, wanted = load(model, settings), submission or Submission()
    config = DataConfig(train=data, text=text, pair=pair)
    if isinstance(predictor, TaskPredictor) and form is not None:
        task, kind = predictor.task, task_kind(predictor.task.name)
        if form in kind.files:
            refuse_idle(wanted, form, ())
            replace(out, kind.files[form](predictor.predict_stream(kind.unlabelled(data, config, task))))
            return out
    elif form == "glue":
        refuse_glue_file(out, predictor.labels, wanted)
    lines = _lines(predictor, data, config, as_json, form, abstain, wanted)

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)

    replace(out, write)
    return out


def _task_lines(
    predictor: TaskPredictor, data: str, config: DataConfig, as_json: bool, form: str | None, wanted: Submission
) -> Iterator[str]:
    task, kind = predictor.task, task_kind(predictor.task.name)
    pairs = predictor.predict_stream(kind.unlabelled(data, config, task))
    if form == "csv" and kind.cell is not None:
        yield from task_lines(data, pairs, kind, wanted)
        return
    refuse_idle(wanted, form, ())
    if form is not None:
        if form in kind.files:
            raise ConfigError(f"{form} is no text for a screen", where="--format", cure="name a file with --out")
        if form not in kind.formats:
            known = [*kind.formats, *kind.files, *(["csv"] if kind.cell is not None else [])]
            raise ConfigError(f"unknown format {form!r}{near_miss(form, known, 'known')}",
                              where="--format", cure="name one of these, or use --json")  # fmt: skip
        yield from kind.formats[form](pairs)
        return
    for given, answer in pairs:
        yield json.dumps(jsonable(task.row(given, answer)), ensure_ascii=False) if as_json else task.line(given, answer)


def _refuse_abstaining(abstain: float | None) -> None:
    if abstain is not None:
        raise ConfigError("only a classifier's answers can be withheld", where="--abstain", cure="leave it out")


def _tee(inputs: Iterator[Any]) -> tuple[Iterator[Any], deque[Any]]:
    """The inputs, and the list of those read but not answered yet (predict_stream reads a block ahead)."""
    ahead: deque[Any] = deque()

    def read() -> Iterator[Any]:
        for item in inputs:
            ahead.append(item)
            yield item

    return read(), ahead


def read_inputs(data: str, text: str | None, pair: str | None, pairs: bool) -> Iterator[Any]:
    """Texts, or (first, second), of a file or of standard input, "-", a line each."""
    if data == "-":
        for number, line in enumerate(stdin_lines(), start=1):
            if not pairs:
                yield line
                continue
            first, tab, second = line.partition("\t")
            if not tab:
                raise DataError(
                    "this model reads pairs of texts", where=f"standard input:{number}", cure="separate them by a tab"
                )
            yield first, second
        return
    yield from stream_texts(data, text=text, pair=pair, pairs=pairs)


def _row(answer: Prediction, source: Any, labels: tuple[str, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {"text": source} if isinstance(source, str) else {"text": source[0], "pair": source[1]}
    if not labels:
        return {**row, "prediction": float(answer.value)}
    value = list(answer.value) if isinstance(answer.value, tuple) else answer.value
    named = {n: round(float(p), 6) for n, p in zip(labels, answer.probabilities, strict=True)}
    return {**row, "prediction": value, "probabilities": named}


def _shown(answer: Prediction, labels: tuple[str, ...]) -> str:
    """The answer and its probability; of none or several that of the likeliest label."""
    if isinstance(answer.value, float):
        return f"{answer.value:.4g}"
    value = ", ".join(answer.value) if isinstance(answer.value, tuple) else answer.value
    one = value in labels and not isinstance(answer.value, tuple)
    probability = answer.probabilities[labels.index(value)] if one else np.max(answer.probabilities)
    return f"{value or '(none)'}\t{float(probability):.3f}"
