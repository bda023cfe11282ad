"""The verbs: each a few lines over ``api``. Plain errors and exit codes: 0 done, 2 your input, 130 interrupted.

Nothing heavy is imported at the top: ``wordloom --help`` answers without torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wordloom.errors import ConfigError, WordloomError

app = typer.Typer(
    help="From raw text to a served NLP model on your own machine, offline, with numbers you can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="folder of the run; must not exist yet")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="any key of a recipe, repeatable")
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="TOML recipe below the flags")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an existing run at --out")]
Resume = Annotated[bool, typer.Option("--resume", help="go on exactly where the run at --out stopped")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output on standard output")]
TextColumn = Annotated[
    str | None, typer.Option("--text", metavar="COLUMN", help="text column; guessed and stated when absent")
]
LabelColumn = Annotated[
    str | None, typer.Option("--label", metavar="COLUMN", help="label column; guessed and stated when absent")
]
PairColumn = Annotated[str | None, typer.Option("--pair", metavar="COLUMN", help="column of the second text of a pair")]
Kind = Annotated[
    str | None,
    typer.Option("--kind", metavar="KIND", help="of labels: single, multi, regression; guessed and stated when absent"),
]
Steps = Annotated[int | None, typer.Option(help="how long, in updates of the weights")]
Epochs = Annotated[float | None, typer.Option(help="how long, in passes over the data")]
Minutes = Annotated[float | None, typer.Option(help="how long, in minutes: the number of steps is fitted to it")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="highest learning rate")]
Seed = Annotated[int | None, typer.Option(help="of weights, order and dropout")]


def main() -> None:
    """Entry point: one sentence instead of a traceback for whatever a user can cause."""
    try:
        app()
    except WordloomError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        message = str(stop)
        print(f"\nstopped{': ' + message if message else ''}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `wordloom predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except MemoryError:
        print(
            "error: not enough memory. Lower train.length or the batch (of vectors: dimension, max_vocab or buckets); "
            "see docs/troubleshooting.md.",
            file=sys.stderr,
        )
        sys.exit(2)
    except OSError as error:
        print(
            f"error: {error.filename or ''}: {error.strerror or error}. Check the path and the disk.", file=sys.stderr
        )
        sys.exit(2)


@app.command()
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
    as_json: AsJson = False,
) -> None:
    """Look at data before training: sizes, damage, duplicates, labels, leaks between splits."""
    from wordloom import api

    report = api.check(paths, against=against or [], text=text, label=label, pair=pair, kind=kind)
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else "\n".join(report.lines()))


@app.command()
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

    chosen = _settings(settings, kind=kind, lowercase=not keep_case, vocab_size=_number(size))
    print("\n".join(api.train_tokenizer(corpus, out, overwrite=overwrite, **chosen)))


@app.command()
def vectors(
    corpus: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS", help="files, folders, globs of raw text")
    ] = None,
    out: Out = Path("vectors"),
    objective: Annotated[str | None, typer.Option(metavar="NAME", help="skip-gram or cbow")] = None,
    dimension: Annotated[int | None, typer.Option(help="numbers in a vector")] = None,
    window: Annotated[int | None, typer.Option(help="words to each side")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the corpus")] = None,
    words: Annotated[str | None, typer.Option(metavar="RULE", help="split, words, jieba, characters")] = None,
    min_count: Annotated[int | None, typer.Option(help="rarer words are left out")] = None,
    subwords: Annotated[
        bool | None, typer.Option("--subwords/--no-subwords", help="character n-grams, for words never seen")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="1 is bitwise repeatable, more are not")] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="cpu, cuda, auto (cpu)")] = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train word vectors (Word2Vec) on raw text."""
    from wordloom import api

    chosen = _settings(
        settings, objective=objective, dimension=dimension, window=window, epochs=epochs, words=words,
        min_count=min_count, subwords=subwords, threads=threads, device=device, seed=seed,
    )  # fmt: skip
    if not corpus and recipe is None and not resume:
        raise ConfigError("no corpus was given", cure="name files, folders or globs of raw text, or give --recipe")
    print(api.vectors(corpus or None, out, recipe=recipe, resume=resume, overwrite=overwrite, **chosen).summary())


Source = Annotated[str, typer.Argument(metavar="VECTORS", help="a run, or a file of word2vec, GloVe, fastText, gensim")]
Encoding = Annotated[str, typer.Option(help="of the words in a foreign file")]


@app.command()
def neighbors(
    source: Source,
    words: Annotated[list[str], typer.Argument(metavar="WORD")],
    k: Annotated[int, typer.Option("-k", help="how many", min=1)] = 10,
    encoding: Encoding = "utf-8",
    as_json: AsJson = False,
) -> None:
    """The words nearest to a word, by cosine."""
    found = _open_vectors(source, encoding)
    for word in words:
        near = found.neighbors(word, k)
        _rows(near, as_json, word if len(words) > 1 else None)


@app.command()
def analogy(
    source: Source,
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    c: Annotated[str, typer.Argument(metavar="C")],
    k: Annotated[int, typer.Option("-k", help="how many", min=1)] = 5,
    method: Annotated[str, typer.Option(metavar="NAME", help="add (3CosAdd) or mul (3CosMul)")] = "add",
    encoding: Encoding = "utf-8",
    as_json: AsJson = False,
) -> None:
    """A is to B as C is to what?"""
    _rows(_open_vectors(source, encoding).analogy(a, b, c, k, method), as_json)


@app.command()
def similarity(
    source: Source,
    first: Annotated[str, typer.Argument(metavar="WORD")],
    second: Annotated[str, typer.Argument(metavar="WORD")],
    encoding: Encoding = "utf-8",
) -> None:
    """Cosine of two words' vectors."""
    print(f"{_open_vectors(source, encoding).similarity(first, second):.4f}")


@app.command("odd-one-out")
def odd_one_out(
    source: Source,
    words: Annotated[list[str], typer.Argument(metavar="WORD")],
    encoding: Encoding = "utf-8",
) -> None:
    """The word that fits the others least."""
    print(_open_vectors(source, encoding).odd_one_out(words))


@app.command()
def export(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="file to write")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="text, binary (word2vec), glove, fasttext (.bin), folder (ours), gensim (.kv: a pickle)",
        ),
    ] = "text",
    encoding: Encoding = "utf-8",
    space: Annotated[
        str | None, typer.Option(metavar="SIGN", help="text, glove, binary: instead of a space in a word, such as _")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
) -> None:
    """Write vectors in another program's format."""
    from wordloom import api

    api.export_vectors(_open_vectors(source, encoding), out, to, space=space, overwrite=overwrite)
    print(f"written: {out}")


def _open_vectors(source: str, encoding: str) -> Any:
    from wordloom import api

    found = api.load_vectors(source, encoding=encoding)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return found


def _rows(rows: list[tuple[str, float]], as_json: bool, head: str | None = None) -> None:
    if as_json:
        print(json.dumps({"word": head, "neighbors": rows} if head else rows, ensure_ascii=False))
        return
    for word, cosine in rows:
        print(f"{head}\t{word}\t{cosine:.4f}" if head else f"{word}\t{cosine:.4f}")


@app.command()
def pretrain(
    corpus: Annotated[
        list[str] | None, typer.Argument(metavar="CORPUS", help="files, folders, globs of raw text")
    ] = None,
    out: Out = Path("run"),
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="bert-tiny, bert-mini, bert-small, bert-base; chosen from --minutes when absent"
        ),
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

    chosen = _settings(
        settings,
        preset=preset,
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


@app.command()
def finetune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="a run, a Hugging Face BERT folder, or a preset (random weights); word vectors (a run or file), "
            "word2vec (trained on the texts) or tf-idf for a linear classifier on these",
        ),
    ],
    data: Annotated[str, typer.Argument(metavar="FILE", help="labelled training file")],
    out: Out = Path("run"),
    task: Annotated[str, typer.Option(metavar="NAME", help="classify")] = "classify",
    valid: Annotated[
        str | None, typer.Option(metavar="FILE", help="validation file; split off the training file when absent")
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="FILE", help="test file: scores with intervals in the report")
    ] = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    labels: Annotated[int | None, typer.Option(help="use this many labelled examples only")] = None,
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

    chosen = _settings(
        settings, text=text, label=label, pair=pair, kind=kind, labels=labels, epochs=epochs, minutes=minutes,
        lr=lr, batch=batch, length=length, seed=seed, valid=valid, test=test,
    )  # fmt: skip
    result = api.finetune(
        model, data, out, task=task, seeds=seeds, recipe=recipe, resume=resume, overwrite=overwrite, **chosen
    )
    print(result.summary())


@app.command()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(help="one run, or two for a paired test, then the labelled file"),
    ],
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
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
        report = api.evaluate(models[:-1], models[-1], text=text, label=label, pair=pair)
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else "\n".join(report.lines()))


@app.command()
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
) -> None:
    """Predict, in input order: a table, or JSON lines with --json."""
    from wordloom import api

    if data == "-" and sys.stdin.isatty():
        print("reading standard input, a text per line; Ctrl-D ends it", file=sys.stderr)
    for line in api.predict_lines(model, data, text=text, pair=pair, as_json=as_json):
        print(line)


@app.command()
def choose(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="vectors")],
    data: Annotated[
        str | None, typer.Argument(metavar="FILE", help="labelled training file; or give --recipe, or --resume")
    ] = None,
    out: Out = Path("choice"),
    test: Annotated[
        str | None, typer.Option(metavar="FILE", help="what all are judged on; else the validation")
    ] = None,
    valid: Annotated[str | None, typer.Option(metavar="FILE", help="validation file; split off when absent")] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="raw text to pre-train on, repeatable; the training texts when absent"),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="of pre-training, for each candidate (5)")] = None,
    vectors: Annotated[str | None, typer.Option(metavar="FILE", help="vectors to judge too: a file or a run")] = None,
    start: Annotated[
        str | None, typer.Option(metavar="RUN", help="a BERT run, in place of one pre-trained here")
    ] = None,
    labels: Annotated[int | None, typer.Option(help="use this many labelled examples only")] = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    pair: PairColumn = None,
    kind: Kind = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
    settings: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Which representation is enough for your texts? TF-IDF, word vectors, BERT: same text, same time, one test."""
    from wordloom import api

    chosen = _settings(
        settings, test=test, valid=valid, minutes=minutes, labels=labels, kind=kind, seed=seed,
        **{"choose.vectors": vectors, "model.start": start, "corpus.paths": corpus or None,
           "data.text": text, "data.label": label, "data.pair": pair},
    )  # fmt: skip
    result = api.choose(what, data, out, recipe=recipe, resume=resume, overwrite=overwrite, **chosen)
    print(result.summary())


@app.command()
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
    print(api.run_recipe(recipe, folder, resume=resume, overwrite=overwrite, **_settings(settings)).summary())


@app.command()
def demo(
    out: Out = Path("demo-run"),
    minutes: Annotated[float, typer.Option(help="of pre-training")] = 3.0,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """The whole path on the documentation already on this machine: no download, under ten minutes."""
    from wordloom import api

    print(api.demo(out, minutes=minutes, resume=resume, overwrite=overwrite).summary())


def _settings(assignments: list[str] | None, **flags: Any) -> dict[str, Any]:
    from wordloom.api.settings import parse_assignment

    chosen = {k: v for k, v in flags.items() if v is not None}
    chosen.update(parse_assignment(a) for a in assignments or [])
    return chosen


def _number(text: str) -> int | str:
    if not text.isdigit() and text != "auto":
        raise ConfigError(f"--size {text!r} is neither a whole number nor auto", cure="write for example --size 8192")
    return text if text == "auto" else int(text)


if __name__ == "__main__":
    main()
