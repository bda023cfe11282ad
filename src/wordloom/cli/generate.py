"""Verbs of language models: generate, fill, prompt."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from wordloom.cli.options import AsJson, LabelColumn, TextColumn
from wordloom.errors import ConfigError


def generate(
    model: Annotated[
        str, typer.Argument(metavar="RUN", help="a run pre-trained to predict the next token, or a folder")
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help="repeatable; - reads standard input, all of it one prompt"),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="of an answer; default 64, or what the positions leave"),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0: the likeliest token always; above 0: sampled")] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="sample from the K likeliest tokens")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", metavar="P", help="from the likeliest of probability P")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option("--min-p", metavar="P", help="from those of P times the likeliest's probability")
    ] = None,
    beams: Annotated[int | None, typer.Option(metavar="K", help="search with K beams instead of sampling")] = None,
    length_penalty: Annotated[
        float | None, typer.Option("--length-penalty", metavar="A", help="of beams: scores are divided by length^A")
    ] = None,
    early_stopping: Annotated[
        str | None,
        typer.Option(
            "--early-stopping",
            metavar="true|false|never",
            help="of beams: end when K answers are complete; when none at its present length can become better; at any",
        ),
    ] = None,
    answers: Annotated[int | None, typer.Option(metavar="N", help="per prompt: samples, or the N best beams")] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option("--repetition-penalty", metavar="X", help="above 1: what was said becomes less likely"),
    ] = None,
    no_repeat_ngram: Annotated[
        int | None, typer.Option("--no-repeat-ngram", metavar="N", help="no N tokens in a row occur twice")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="an answer ends before this text")] = None,
    seed: Annotated[int | None, typer.Option(help="of sampling")] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="weights of 8 bits: faster on a CPU, and now and then another token")
    ] = False,
    stream: Annotated[bool, typer.Option("--stream", help="print as it is made")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a text: greedy, sampled, or searched with beams. The prompt itself is printed only with --json."""
    from wordloom import api

    prompts = [_read(p) for p in prompt or [""]]
    if stream and (as_json or len(prompts) > 1):
        cure = "leave --json away and give one --prompt, or leave --stream away"
        raise ConfigError("one plain answer can be streamed", cure=cure)
    early = {"true": True, "false": False}.get(early_stopping or "", early_stopping)
    settings = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "beams": beams, "length_penalty": length_penalty, "early_stopping": early,
        "answers": answers, "seed": seed,
        "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
    }  # fmt: skip
    loaded = api.language_model(model, int8=int8)
    if stream:
        for piece in loaded.stream(prompts[0], stop or (), **settings):
            print(piece, end="", flush=True)
        print()
        return
    for text, found in zip(prompts, loaded.generate(prompts, stop or (), **settings), strict=True):
        for answer in found:
            row = {"prompt": text, "text": answer.text, "end": answer.end, "tokens": len(answer.ids)}
            if answer.score is not None:
                row["score"] = answer.score
            print(json.dumps(row, ensure_ascii=False) if as_json else answer.text)


def fill(
    model: Annotated[str, typer.Argument(metavar="RUN", help="a run pre-trained with masked tokens, or a folder")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help='"the [MASK] sat"; <mask> is the same; - reads a line')],
    top: Annotated[int, typer.Option(metavar="N", help="candidates for each mask")] = 5,
    as_json: AsJson = False,
) -> None:
    """The likeliest tokens for a [MASK]; of several masks each is filled alone, the others staying masks."""
    from wordloom import api

    found = api.fill(model, _read(text), top=top)
    if as_json:
        rows = [[c._asdict() for c in candidates] for candidates in found]
        print(json.dumps({"text": text, "masks": rows}, ensure_ascii=False))
        return
    for number, candidates in enumerate(found, start=1):
        if len(found) > 1:
            print(f"mask {number} of {len(found)}, alone")
        for c in candidates:
            word = _on_a_line(c.word) if c.word.strip() else repr(c.word)
            print(f"{c.probability:.4f}\t{word}\t{_on_a_line(c.text)}")


def prompt(
    model: Annotated[
        str, typer.Argument(metavar="RUN", help="a run pre-trained to predict the next token, or a folder")
    ],
    data: Annotated[str, typer.Argument(metavar="FILE", help="labelled file: its texts are asked, its labels judge")],
    shots: Annotated[int, typer.Option(metavar="K", help="labelled examples in the prompt")] = 4,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="labelled file to draw the examples from; FILE itself")
    ] = None,
    draws: Annotated[int, typer.Option(metavar="N", help="sets of examples, of which the accuracy is the mean")] = 3,
    seed: Annotated[int, typer.Option(help="of the first set")] = 0,
    limit: Annotated[int | None, typer.Option(metavar="N", help="ask N of the texts, drawn with the seed")] = None,
    template: Annotated[
        str | None, typer.Option(metavar="TEXT", help=r"an example: 'Review: {text}\nSentiment: {label}\n\n'")
    ] = None,
    word: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=WORD", help="what stands for a label in the prompt, repeatable")
    ] = None,
    text: TextColumn = None,
    label: LabelColumn = None,
    as_json: AsJson = False,
) -> None:
    """Classify by examples in the prompt, nothing trained: accuracy before and after calibration (Zhao et al. 2021)."""
    from wordloom import api

    words = dict(w.partition("=")[::2] for w in word or [])
    if any("=" not in w for w in word or []):
        raise ConfigError("--word has no =", cure="write it as LABEL=WORD, such as 1=positive")
    form = None if template is None else template.replace(r"\n", "\n")
    found: Any = api.prompt(
        model, data, shots=shots, source=source, draws=draws, seed=seed, limit=limit, words=words, text=text,
        label=label, template=form,
    )  # fmt: skip
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(found.lines()))


def _read(text: str) -> str:
    return sys.stdin.read().rstrip("\r\n") if text == "-" else text


def _on_a_line(text: str) -> str:
    """A line break and what else cannot be printed as Python escapes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
