"""The verb of reading: answer."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from wordloom.cli.options import AsJson


def answer(
    model: Annotated[str, typer.Argument(metavar="RUN", help="a run of finetune --task answer")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="- reads a question a line")],
    documents: Annotated[
        str, typer.Option(metavar="PATH", help="an index, or documents as index reads them: a folder, a file")
    ],
    passages: Annotated[int, typer.Option("-k", help="passages that are read (documents, of an index)", min=1)] = 20,
    answers: Annotated[int, typer.Option("-n", help="answers given", min=1)] = 3,
    reader_share: Annotated[float, typer.Option(help="of a score; the rest is the retriever's")] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Answer from documents: passages are found, read, and each answer cited with its document and characters."""
    from wordloom.api.answering import DocumentReader, answered_json, answered_lines

    reader = DocumentReader(model, documents)
    for line in sys.stdin if question == "-" else [question]:
        asked = line.strip()
        if not asked:
            continue
        found = reader.ask(asked, passages=passages, answers=answers, reader_share=reader_share)
        if as_json:
            print(json.dumps(answered_json(asked, found), ensure_ascii=False))
        else:
            print("\n".join([*([asked] if question == "-" else []), *answered_lines(found)]))
