"""Verbs of texts and models: check, tokenizer, pretrain, finetune, evaluate, predict, run, demo."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wordloom.cli.options import (
    Abstain,
    AsJson,
    Epochs,
    Header,
    IdColumn,
    Kind,
    LabelColumn,
    LabelCount,
    LearningRate,
    Minutes,
    Out,
    Overwrite,
    PairColumn,
    Probability,
    RecipeFile,
    Rename,
    Resume,
    Seed,
    Set,
    Steps,
    TestFile,
    TextColumn,
    ValidFile,
    renamed,
    settings_of,
)
from wordloom.errors import ConfigError, DataError


def check(
    paths: Annotated[list[str], typer.Argument(metavar="FILE", help="raw text or labelled files, folders, globs")],
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="other splits, or the pre-training corpus: exact and near leaks"),
    ] = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    kind: Kind = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="whose labelled files these are; absent: raw or classify"),
    ] = None,
    settings: Set = None,
    as_json: AsJson = False,
) -> None:
    """Look at data before training: sizes, damage, duplicates, labels, leaks between splits."""
    from wordloom import api

    report = api.check(
        paths, against=against or [], text=text, label=label, pair=pair, kind=kind, task=task,
        settings=settings_of(settings),
    )  # fmt: skip
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else "\n".join(report.lines()))
    if count := report.count("malformed"):
        parts = ", ".join(fact.part for fact in report.facts if fact.name == "malformed")
        what = f"training would refuse it for the {f'{count:,} faults' if count > 1 else 'fault'} above"
        raise DataError(what, where=parts, cure="correct the data and check again")


def tokenizer(
    corpus: Annotated[list[str], typer.Argument(metavar="CORPUS", help="files, folders, globs")],
    out: Out,
    kind: Annotated[str, typer.Option(metavar="KIND", help="wordpiece, bpe, byte-bpe, unigram")] = "wordpiece",
    size: Annotated[str, typer.Option(metavar="N", help="vocabulary size, or auto")] = "auto",
    keep_case: Annotated[bool, typer.Option("--keep-case", help="do not lowercase")] = False,
    settings: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a tokenizer and say how well it fits the text."""
    from wordloom import api

    chosen = settings_of(settings, kind=kind, lowercase=not keep_case, vocab_size=_number(size))
    print("\n".join(api.train_tokenizer(corpus, out, overwrite=overwrite, **chosen)))


def pretrain(
    corpus: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS", help="files, folders, globs of raw text")
    ] = None,
    out: Out = Path("run"),
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY-SIZE",
            help="such as bert-tiny; families: bert, roberta, albert, electra, loom, xlnet; gpt, gpt2, gpt3, rnn, "
            "lstm, gru, awd-lstm; t5, t5v1.1, transformer, gru-seq2seq, lstm-seq2seq; every row is in "
            "wordloom/presets.py; chosen from --minutes when absent",
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="MODEL", help="go on from a run or a public folder, with its tokenizer")
    ] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    epochs: Epochs = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="a tokenizer's folder or run; trained on the corpus when absent"),
    ] = None,
    lr: LearningRate = None,
    batch: Annotated[int | None, typer.Option(help="rows per step")] = None,
    length: Annotated[int | None, typer.Option(help="tokens per row")] = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Pre-train a language model on raw text."""
    from wordloom import api

    chosen = settings_of(
        settings,
        preset=preset,
        start=start,
        minutes=minutes,
        steps=steps,
        epochs=epochs,
        lr=lr,
        batch=batch,
        length=length,
        seed=seed,
    )
    if tokenizer is not None:
        chosen["tokenizer.path"] = tokenizer
    if not corpus and recipe is None and not resume:
        raise ConfigError("no corpus was given", cure="name files, folders or globs of raw text, or give --recipe")
    result = api.pretrain(corpus or None, out, recipe=recipe, resume=resume, overwrite=overwrite, **chosen)
    print(result.summary())


def finetune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="a run, a public folder, or a preset (random weights); word vectors (a run or file), "
            "word2vec (trained on the texts) or tf-idf for a linear classifier on these",
        ),
    ],
    data: Annotated[str, typer.Argument(metavar="FILE", help="labelled training file")],
    out: Out = Path("run"),
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="classify when absent; docs/tasks.md lists the tasks")
    ] = None,
    valid: ValidFile = None,
    test: TestFile = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    labels: LabelCount = None,
    kind: Kind = None,
    epochs: Epochs = None,
    minutes: Minutes = None,
    lr: LearningRate = None,
    batch: Annotated[int | None, typer.Option(help="examples per step")] = None,
    length: Annotated[int | None, typer.Option(help="tokens per window")] = None,
    seed: Seed = None,
    seeds: Annotated[int, typer.Option(help="train this many seeds, keep the best on validation")] = 1,
    recipe: RecipeFile = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a model on labelled texts; TF-IDF + logistic regression is always trained beside it."""
    from wordloom import api

    chosen = settings_of(
        settings, text=text, label=label, pair=pair, kind=kind, labels=labels, epochs=epochs, minutes=minutes,
        lr=lr, batch=batch, length=length, seed=seed, valid=valid, test=test,
    )  # fmt: skip
    result = api.finetune(
        model, data, out, task=task, seeds=seeds, recipe=recipe, resume=resume, overwrite=overwrite, **chosen
    )
    print(result.summary())


def import_folder(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="config.json, weights and tokenizer of a public model")
    ],
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Read a public model exactly, or refuse it with the list of what does not fit; leaves a bundle."""
    from wordloom import api

    print("\n".join(api.import_folder(source, out, overwrite=overwrite)))


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(help="one run, or two for a paired test, then the labelled file"),
    ],
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    abstain: Abstain = None,
    settings: Set = None,
    as_json: AsJson = False,
) -> None:
    """Scores with 95 % intervals: `evaluate RUN DATA`, or `evaluate A B DATA` for a paired test.

    Of vectors: DATA is a file of word pairs with scores, or of analogies.
    """
    from wordloom import api

    report: Any
    if len(models) > 1 and all(api.are_vectors(m) for m in models[:-1]):
        report = api.evaluate_vectors(models[:-1], models[-1])
    else:
        report = api.evaluate(
            models[:-1], models[-1], text=text, label=label, pair=pair, settings=settings_of(settings), abstain=abstain
        )
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else "\n".join(report.lines()))


def predict(
    model: Annotated[str, typer.Argument(metavar="RUN", help="a fine-tuned run or bundle")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="file of texts, or - for standard input: every line is a text, an empty one too"
        ),
    ] = "-",
    text: TextColumn = None,
    pair: PairColumn = None,
    as_json: AsJson = False,
    form: Annotated[
        str | None,
        typer.Option("--format", "--submission", metavar="NAME",
                     help="a task's own file format, or a submission: csv, glue, clue, squad (docs/data.md)"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="write there instead of on standard output")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file at --out")] = False,
    abstain: Abstain = None,
    id_column: IdColumn = None,
    header: Header = None,
    probability: Probability = None,
    rename: Rename = None,
    zero_shot: Annotated[
        list[str] | None,
        typer.Option("--zero-shot", metavar="LABEL=WORDS", help="labels by description, repeatable; RUN is a run of "
                     "--task retrieve, or word vectors"),
    ] = None,
    settings: Set = None,
) -> None:  # fmt: skip
    """Predict, in input order: a table, JSON lines with --json, or --format."""
    from wordloom import api

    if zero_shot:
        idle = {"--format": form, "--out": out, "--abstain": abstain, "--pair": pair, "--set": settings or None}
        idle |= {"--id": id_column, "--header": header, "--probability": probability, "--rename": rename}
        wrong = next((name for name, value in idle.items() if value is not None), None)
        if wrong is not None:
            raise ConfigError("has no meaning with --zero-shot", where=wrong, cure="leave it out")
        for line in api.zero_shot_lines(model, data, zero_shot, text=text, as_json=as_json):
            print(line)
        return
    if data == "-" and sys.stdin.isatty():
        print("reading standard input, a text per line; Ctrl-D ends it", file=sys.stderr)
    given: dict[str, Any] = {"text": text, "pair": pair, "as_json": as_json, "form": form, "abstain": abstain}
    given["settings"] = settings_of(settings)
    given["submission"] = api.Submission(
        id_column, None if header is None else header.split(","), probability or (), renamed(rename)
    )
    if out is not None:
        print(f"answers: {api.predict_file(model, data, out, overwrite=overwrite, **given)}")
        return
    for line in api.predict_lines(model, data, **given):
        print(line)


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="TOML recipe")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="default: runs/NAME-OF-RECIPE")
    ] = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Perform a recipe: pre-train, fine-tune, compare, as its tables say."""
    from wordloom import api

    folder = out or Path("runs") / recipe.stem
    print(api.run_recipe(recipe, folder, resume=resume, overwrite=overwrite, **settings_of(settings)).summary())


def demo(
    out: Out = Path("demo-run"),
    minutes: Annotated[float, typer.Option(help="of pre-training")] = 3.0,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """The whole path on the documentation already on this machine: no download, under ten minutes."""
    from wordloom import api

    print(api.demo(out, minutes=minutes, resume=resume, overwrite=overwrite).summary())


def _number(text: str) -> int | str:
    if not text.isdecimal() and text != "auto":
        raise ConfigError(f"--size {text!r} is neither a whole number nor auto", cure="write for example --size 8192")
    return text if text == "auto" else int(text)
