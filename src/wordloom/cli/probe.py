"""The verb that asks a language model what it knows of grammar: probe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from wordloom.cli.options import AsJson


def probe(
    model: Annotated[str, typer.Argument(metavar="RUN", help="a pre-trained run, a bundle or a public folder")],
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="minimal pairs: .jsonl with sentence_good and sentence_bad, or .tsv")
    ],
    limit: Annotated[int | None, typer.Option(metavar="N", help="the first N pairs of each paradigm")] = None,
    reading: Annotated[
        str | None, typer.Option("--as", metavar="KIND", help="causal, masked, permuted; by the model when absent")
    ] = None,
    rest_of_word: Annotated[
        bool, typer.Option("--rest-of-word", help="not causal: hide what follows in the word too (PLL-word-l2r)")
    ] = False,
    leading_space: Annotated[
        bool, typer.Option("--leading-space", help="a space before each sentence, as lm-eval's blimp task")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="read before each sentence; as in training when absent"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="for the scores; RUN/probes when absent")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Does the model prefer the grammatical sentence? BLiMP and minimal pairs of your own."""
    from wordloom import api
    from wordloom.errors import ConfigError

    if reading not in (None, "causal", "masked", "permuted"):
        raise ConfigError(f"--as {reading!r} is unknown", cure="use causal, masked or permuted")
    found: Any = api.probe(
        model, data, limit=limit, reading=reading, rest_of_word=rest_of_word, leading_space=leading_space,  # type: ignore[arg-type]
        start=start, out=out,
    )  # fmt: skip
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(found.lines()))
