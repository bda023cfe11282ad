"""Options that several verbs have, and what they are together: the keys of a recipe's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wordloom.errors import ConfigError

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
ValidFile = Annotated[
    str | None, typer.Option("--valid", metavar="FILE", help="validation file; split off the training file when absent")
]
TestFile = Annotated[
    str | None, typer.Option("--test", metavar="FILE", help="test file: what the scores with intervals are of")
]
LabelCount = Annotated[int | None, typer.Option("--labels", help="use this many labelled examples only")]
Kind = Annotated[
    str | None,
    typer.Option("--kind", metavar="KIND", help="of labels: single, multi, regression; guessed and stated when absent"),
]
Abstain = Annotated[
    float | None,
    typer.Option("--abstain", metavar="P", help="withhold a classifier's answers of less than this probability"),
]
IdColumn = Annotated[
    str | None,
    typer.Option("--id", metavar="COLUMN", help="of a submission: the file's column of ids; absent: id, index, idx or "
                 "qid, else the row's number from 0"),
]  # fmt: skip
Header = Annotated[
    str | None, typer.Option("--header", metavar="NAMES", help="of --format csv: its columns, such as Id,target")
]
Probability = Annotated[
    list[str] | None,
    typer.Option("--probability", metavar="LABEL", help="of --format csv: this label's probability, repeatable"),
]
Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", metavar="LABEL=WORD", help="of a submission: what is written for a label, repeatable"),
]
Steps = Annotated[int | None, typer.Option(help="how long, in updates of the weights")]
Epochs = Annotated[float | None, typer.Option(help="how long, in passes over the data")]
Minutes = Annotated[float | None, typer.Option(help="how long, in minutes: the number of steps is fitted to it")]
LearningRate = Annotated[float | None, typer.Option("--lr", help="highest learning rate")]
Seed = Annotated[int | None, typer.Option(help="of weights, order and dropout")]


def settings_of(assignments: list[str] | None, **flags: Any) -> dict[str, Any]:
    """Keyword arguments of an api function: the flags that were given, then each TABLE.KEY=VALUE."""
    from wordloom.api.settings import parse_assignment

    chosen = {k: v for k, v in flags.items() if v is not None}
    chosen.update(parse_assignment(a) for a in assignments or [])
    return chosen


def renamed(assignments: list[str] | None) -> dict[str, str]:
    """LABEL=WORD, each. Raises ConfigError for another form."""
    parts = [a.rpartition("=") for a in assignments or []]
    for label, sign, word in parts:
        if not (label and sign and word):
            raise ConfigError(
                f"{label + sign + word!r} is not LABEL=WORD", where="--rename", cure="write --rename pos=1"
            )
    return {label: word for label, _, word in parts}
