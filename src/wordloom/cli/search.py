"""Verbs of retrieval: index, search."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from wordloom.cli.options import AsJson
from wordloom.errors import ConfigError


def index(
    docs: Annotated[
        str | None,
        typer.Argument(metavar="DOCS", help="a BEIR folder, .jsonl, .csv, .tsv, .parquet, or text files"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="INDEX", help="folder of the index")] = Path("index"),
    model: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="an encoder (of the task retrieve, or imported): search by meaning"),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="to an index that is there; changed ones are replaced")] = False,
    delete: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="take a document out; repeatable, or parted by commas")
    ] = None,
    stem: Annotated[str, typer.Option(metavar="NAME", help="a Snowball language, none, or auto")] = "auto",
    chinese: Annotated[str, typer.Option(metavar="NAME", help="jieba, bigrams, or auto")] = "auto",
    ids: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="guessed when absent")] = None,
    title: Annotated[str | None, typer.Option("--title", metavar="COLUMN", help="guessed when absent")] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="guessed when absent")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where it was killed")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the index at --out")] = False,
    as_json: AsJson = False,
) -> None:
    """Index documents for `search`: by words (BM25), and by meaning with --model."""
    from wordloom import api
    from wordloom.data.documents import DocumentColumns

    gone = [name.strip() for given in delete or [] for name in given.split(",") if name.strip()]
    done = api.index(
        docs, out, model=model, add=add, delete=gone, stem=stem, chinese=chinese,
        columns=DocumentColumns(ids, title, text), resume=resume, overwrite=overwrite, quiet=as_json,
    )  # fmt: skip
    print(json.dumps(done.to_json(), ensure_ascii=False) if as_json else "\n".join(done.lines()))


def search(
    path: Annotated[str, typer.Argument(metavar="INDEX", help="folder of an index")],
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="- reads a query a line")] = None,
    k: Annotated[int, typer.Option("-k", help="how many", min=1)] = 10,
    mode: Annotated[
        str | None, typer.Option(metavar="NAME", help="bm25, dense, hybrid; hybrid where there are vectors")
    ] = None,
    rerank: Annotated[
        str | None, typer.Option(metavar="RUN", help="a classifier of pairs that reads the first answers again")
    ] = None,
    judged: Annotated[int, typer.Option("--rerank-depth", metavar="N", help="how many it reads", min=1)] = 50,
    evaluate: Annotated[
        str | None, typer.Option(metavar="QRELS", help="judged queries: nDCG@10, Recall@100, MRR@10 of every mode")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an index: `search INDEX "query"`."""
    from wordloom import api

    if (query is None) == (evaluate is None):
        raise ConfigError("give a query, or --evaluate QRELS", cure='write: wordloom search INDEX "query"')
    if evaluate is not None:
        modes = None if mode is None else [mode]
        found = api.evaluate_search(path, evaluate, modes=modes, rerank=rerank, judged=judged)  # type: ignore[arg-type]
        print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else "\n".join(found.lines()))
        return
    assert query is not None
    opened, judge = api.open_index(path), None if rerank is None else api.cross_encoder(rerank)
    for line in sys.stdin if query == "-" else [query]:
        asked = line.strip()
        hits = opened.search(asked, k, mode=mode, judge=judge, judged=judged)  # type: ignore[arg-type]
        if as_json:
            rows = [asdict(hit) for hit in hits]
            print(json.dumps({"query": asked, "hits": rows}, ensure_ascii=False))
            continue
        for rank, hit in enumerate(hits, start=1):
            shown = " ".join(f"{hit.title} {hit.text}".split())[:120]
            print(f"{rank}\t{hit.score:.4f}\t{hit.id}\t{shown}")
        if not hits:
            print("nothing found", file=sys.stderr)
