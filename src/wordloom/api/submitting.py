"""``predict --format csv | glue | clue``: answers as competitions and benchmarks want them.

A row for every row of the data file, in its order, and nothing else. What each site wants is its own rule: GLUE's names
and words are those of Wang et al. 2018's site, CLUE's those of its repository's description of submissions.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from wordloom.api.kinds import TaskKind
from wordloom.config import near_miss
from wordloom.data.columns import read_ids
from wordloom.errors import ConfigError
from wordloom.infer.predictor import Prediction

_BINARY, _RELATED = ("0", "1"), ("entailment", "not_entailment")
_INFERENCE = ("entailment", "neutral", "contradiction")
GLUE: dict[str, tuple[str, ...]] = {  # the site's file -> its label words; none: a number
    "CoLA.tsv": _BINARY, "SST-2.tsv": _BINARY, "MRPC.tsv": _BINARY, "QQP.tsv": _BINARY, "WNLI.tsv": _BINARY,
    "STS-B.tsv": (), "MNLI-m.tsv": _INFERENCE, "MNLI-mm.tsv": _INFERENCE, "AX.tsv": _INFERENCE,
    "QNLI.tsv": _RELATED, "RTE.tsv": _RELATED,
}  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """How rows and answers are named in a submission.

    id: column of the data file that holds the ids; None: one named id, index, idx or qid, else the row's number from
        0.
    header: names of all columns of a csv; None: the id column's own name and "prediction".
    probability: write the probabilities of these labels, a column each, in place of the likeliest label.
    rename: label -> the word written for it.
    """

    id: str | None = None
    header: Sequence[str] | None = None
    probability: Sequence[str] = ()
    rename: dict[str, str] = field(default_factory=dict)

    def asked(self) -> dict[str, str]:
        """Of what was asked for: field -> its flag."""
        flags = {"id": "--id", "header": "--header", "probability": "--probability", "rename": "--rename"}
        return {name: flag for name, flag in flags.items() if getattr(self, name) not in (None, (), [], {})}


@dataclass(frozen=True)
class Rows:
    """Of a classifier. name: of the id column. answers: (id, answer) in order. labels: all it knows, () of numbers."""

    name: str
    answers: Iterator[tuple[Any, Prediction]]
    labels: tuple[str, ...]


def refuse_idle(wanted: Submission, form: str | None, takes: Sequence[str]) -> None:
    """Raises ConfigError where something was asked for that this output does not write. takes: fields."""
    for name, flag in wanted.asked().items():
        if name not in takes:
            what = "this output" if form is None else f"--format {form}"
            raise ConfigError(f"has no meaning with {what}", where=flag, cure="leave it out, or use --format csv")


def classifier_lines(
    form: str, path: str, answers: Iterator[Prediction], task: Any, wanted: Submission, abstain: float | None
) -> Iterator[str]:
    """Lines of a classifier's submission. path: the file that was read. Raises ConfigError, before anything is
    predicted, for what the format does not take; DataError for ids."""
    if form not in CLASSIFIER:
        raise ConfigError(f"a classifier has no output format {form!r}{near_miss(form, list(CLASSIFIER), 'known')}",
                          where="--format", cure="name one of these, or use --json")  # fmt: skip
    write, takes = CLASSIFIER[form]
    refuse_idle(wanted, form, takes)
    _refuse_labels(wanted, task.labels)
    if form != "csv" and abstain is not None:
        raise ConfigError(f"{form.upper()} wants an answer for every row", where="--abstain",
                          cure="leave it out; --format csv writes an empty cell")  # fmt: skip
    if (form != "csv" and task.kind == "multi") or (form == "clue" and task.kind == "regression"):
        said = "several labels" if task.kind == "multi" else "a number"
        raise ConfigError(f"{form.upper()} takes one label a row, and the model gives {said}", where="--format",
                          cure="use --format csv or --json")  # fmt: skip
    name, ids = read_ids(path, wanted.id)
    rows = zip(count(), answers, strict=False) if ids is None else zip(ids, answers, strict=True)
    return write(Rows(name, rows, task.labels), wanted)


def task_lines(path: str, pairs: Iterator[tuple[Any, Any]], kind: TaskKind, wanted: Submission) -> Iterator[str]:
    """``csv`` of a task whose row says what a cell holds. pairs: (input, answer)."""
    assert kind.cell is not None
    refuse_idle(wanted, "csv", ("id", "header"))
    own = kind.own_id if wanted.id is None else None
    name, ids = ("id", None) if own is not None else read_ids(path, wanted.id)
    yield _row(_header(wanted, name, ["prediction"]))
    rows = zip(count(), pairs, strict=False) if ids is None else zip(ids, pairs, strict=True)
    for number, (given, answer) in rows:
        yield _row([number if own is None else own(given), kind.cell(answer)])


def refuse_glue_file(out: Path, labels: Sequence[str], wanted: Submission) -> None:
    """Raises ConfigError for a name GLUE's site does not look for, and labels that are not that task's."""
    if out.name not in GLUE:
        raise ConfigError(f"GLUE has no file {out.name!r}{near_miss(out.name, list(GLUE), 'known')}", where="--out",
                          cure="name one of these")  # fmt: skip
    words = GLUE[out.name]
    ours = [wanted.rename.get(label, label) for label in labels]
    if (words and not ours) or (ours and not words):
        kinds = ("labels", "numbers") if words else ("numbers", "labels")
        raise ConfigError(f"{out.name} holds {kinds[0]}, and the model gives {kinds[1]}", where="--out",
                          cure="name the file of the model's task")  # fmt: skip
    strange = [label for label, word in zip(labels, ours, strict=True) if word not in words]
    if strange:
        raise ConfigError(f"{out.name} holds {', '.join(words)}, and the model says {strange[0]!r}", where="--out",
                          cure=f"say what it is: --rename {strange[0]}={words[0]}")  # fmt: skip


def _refuse_labels(wanted: Submission, labels: tuple[str, ...]) -> None:
    for flag, names in (("--probability", wanted.probability), ("--rename", wanted.rename)):
        for name in names:
            if name not in labels:
                known = near_miss(name, list(labels), "known") if labels else ": its answers are numbers"
                raise ConfigError(f"the model has no label {name!r}{known}", where=flag, cure="correct it")


# ---- a format each


def _csv(rows: Rows, wanted: Submission) -> Iterator[str]:
    """The label, an empty cell where it is withheld; several labels with a space between; or probabilities."""
    at = [rows.labels.index(label) for label in wanted.probability]
    several = [wanted.rename.get(label, label) for label in wanted.probability]
    yield _row(_header(wanted, rows.name, several if len(several) > 1 else ["prediction"]))
    for number, answer in rows.answers:
        if at:
            yield _row([number, *(f"{float(answer.probabilities[i]):.9g}" for i in at)])
        else:
            yield _row([number, _word(answer.value, wanted)])


def _glue(rows: Rows, wanted: Submission) -> Iterator[str]:
    yield "index\tprediction"
    for number, answer in rows.answers:
        yield f"{number}\t{_word(answer.value, wanted)}"


def _clue(rows: Rows, wanted: Submission) -> Iterator[str]:
    for number, answer in rows.answers:
        yield json.dumps({"id": number, "label": _word(answer.value, wanted)}, ensure_ascii=False)


Write = Callable[[Rows, Submission], Iterator[str]]
CLASSIFIER: dict[str, tuple[Write, tuple[str, ...]]] = {  # name -> (how it is written, what of Submission it takes)
    "csv": (_csv, ("id", "header", "probability", "rename")),
    "glue": (_glue, ("id", "rename")),
    "clue": (_clue, ("id", "rename")),
}


def _word(value: Any, wanted: Submission) -> str:
    """An answer as it is written: "" where it is withheld."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, tuple):
        words = [wanted.rename.get(name, str(name)) for name in value]
        if broken := [word for word in words if " " in word]:
            raise ConfigError(f"the label {broken[0]!r} holds a space, which parts labels", where="--format",
                              cure="--rename it, or write columns of probabilities with --probability")  # fmt: skip
        return " ".join(words)
    return wanted.rename.get(value, str(value))


def _header(wanted: Submission, name: str, columns: list[str]) -> list[str]:
    found = [name, *columns] if wanted.header is None else list(wanted.header)
    if len(found) != len(columns) + 1 or not all(found):
        usual = ",".join([name, *columns])
        raise ConfigError(f"{','.join(found)!r} names {len(found)} columns, and there are {len(columns) + 1}",
                          where="--header", cure=f"write for example --header {usual}")  # fmt: skip
    return found


def _row(cells: Sequence[Any]) -> str:
    """A record of a csv file without its end; quoted where it must be."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
