"""Verbs of word vectors: vectors, neighbors, analogy, similarity, odd-one-out, export, choose."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wordloom.cli.options import (
    AsJson,
    Kind,
    LabelColumn,
    LabelCount,
    Out,
    Overwrite,
    PairColumn,
    RecipeFile,
    Resume,
    Seed,
    Set,
    TestFile,
    TextColumn,
    ValidFile,
    settings_of,
)
from wordloom.errors import ConfigError


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

    chosen = settings_of(
        settings, objective=objective, dimension=dimension, window=window, epochs=epochs, words=words,
        min_count=min_count, subwords=subwords, threads=threads, device=device, seed=seed,
    )  # fmt: skip
    if not corpus and recipe is None and not resume:
        raise ConfigError("no corpus was given", cure="name files, folders or globs of raw text, or give --recipe")
    print(api.vectors(corpus or None, out, recipe=recipe, resume=resume, overwrite=overwrite, **chosen).summary())


Source = Annotated[str, typer.Argument(metavar="VECTORS", help="a run, or a file of word2vec, GloVe, fastText, gensim")]
Encoding = Annotated[str, typer.Option(help="of the words in a foreign file")]


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


def similarity(
    source: Source,
    first: Annotated[str, typer.Argument(metavar="WORD")],
    second: Annotated[str, typer.Argument(metavar="WORD")],
    encoding: Encoding = "utf-8",
) -> None:
    """Cosine of two words' vectors."""
    print(f"{_open_vectors(source, encoding).similarity(first, second):.4f}")


def odd_one_out(
    source: Source,
    words: Annotated[list[str], typer.Argument(metavar="WORD")],
    encoding: Encoding = "utf-8",
) -> None:
    """The word that fits the others least."""
    print(_open_vectors(source, encoding).odd_one_out(words))


def export(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="vectors (a run or file); with --to hf or gguf: a run or bundle")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="file or folder to write")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="of a model: hf (a folder that plain transformers opens), gguf (a file of llama.cpp, of GPT-2 rows), "
            "sentence-transformers (an encoder's folder); "
            "of vectors: text, binary (word2vec), glove, "
            "fasttext (.bin), folder (ours), gensim (.kv: a pickle)",
        ),
    ] = "text",
    family: Annotated[
        str | None,
        typer.Option("--as", metavar="FAMILY", help="hf: the family to write where several fit, such as modernbert"),
    ] = None,
    encoding: Encoding = "utf-8",
    space: Annotated[
        str | None, typer.Option(metavar="SIGN", help="text, glove, binary: instead of a space in a word, such as _")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
) -> None:
    """Write a model as a public folder or file (--to hf, gguf), or vectors in another program's format."""
    from wordloom import api

    if to == "hf":
        print("\n".join(api.export_model(source, out, family=family, overwrite=overwrite)))
        return
    if to == "sentence-transformers":
        print("\n".join(api.export_sentence_folder(source, out, overwrite=overwrite)))
        return
    if family is not None:
        raise ConfigError("--as is of models", cure="write --to hf with it")
    if to == "gguf":
        print("\n".join(api.export_gguf(source, out, overwrite=overwrite)))
        return
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


def choose(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="vectors or objective")],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="vectors: labelled training file; objective: raw text; or give --recipe, or --resume"
        ),
    ] = None,
    out: Out = Path("choice"),
    test: TestFile = None,
    valid: ValidFile = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="raw text to pre-train on, repeatable; the training texts when absent"),
    ] = None,
    labelled: Annotated[
        str | None, typer.Option(metavar="FILE", help="objective: labelled file for the probe of frozen states")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="FILE", help="objective: minimal pairs of the corpus's language, as of probe")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="NAME", help="objective: tiny (2 x 128) or mini (4 x 256)")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="of pre-training, for each candidate (5)")] = None,
    vectors: Annotated[str | None, typer.Option(metavar="FILE", help="vectors to judge too: a file or a run")] = None,
    start: Annotated[
        str | None, typer.Option(metavar="RUN", help="a BERT run, in place of one pre-trained here")
    ] = None,
    labels: LabelCount = None,
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
    """vectors: which representation is enough for your texts? TF-IDF, word vectors, BERT: same text, same time.

    objective: what do causal, masked, hybrid, replaced, permuted, spans learn from a corpus in the same time?
    """
    from wordloom import api

    chosen = settings_of(
        settings, test=test, valid=valid, minutes=minutes, labels=labels, kind=kind, seed=seed,
        **{"choose.pairs": pairs, "choose.size": size, "data.train": labelled},
        **{"choose.vectors": vectors, "model.start": start, "corpus.paths": corpus or None,
           "data.text": text, "data.label": label, "data.pair": pair},
    )  # fmt: skip
    result = api.choose(what, data, out, recipe=recipe, resume=resume, overwrite=overwrite, **chosen)
    print(result.summary())
