"""``check`` and ``tokenizer``: the verbs before any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wordloom.api.settings import recipe_from
from wordloom.config import ClassifyConfig, CorpusConfig, TokenizerConfig, make
from wordloom.data.check import CheckReport
from wordloom.data.check import check as check_data
from wordloom.data.corpus import Corpus
from wordloom.errors import ConfigError
from wordloom.run import Run
from wordloom.text.quality import quality_report


def check(
    paths: str | Path | Sequence[str | Path],
    *,
    against: Sequence[str | Path] = (),
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    kind: str | None = None,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> CheckReport:
    """Pre-flight of raw or labelled files, and of leaks between them and ``against``. task: whose files they are; None
    or "classify": raw text or texts with labels. settings: keys of [task] that say how its files are read."""
    given = [str(p) for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
    others = {Path(p).name if len({Path(q).name for q in against}) == len(against) else str(p): str(p) for p in against}
    if task not in (None, "classify"):
        from wordloom.api.check_task import check_task  # torch: the others do without

        return check_task(str(task), given, others, text=text, label=label, pair=pair, settings=settings)
    if settings:
        raise ConfigError("only another task's files are read by settings", where=next(iter(settings)),
                          cure="name the task with --task, or leave it out")  # fmt: skip
    given_kind = make(ClassifyConfig, {"kind": kind or "auto"}).kind
    return check_data(given, against=others, text=text, label=label, pair=pair, kind=given_kind)


def train_tokenizer(
    corpus: Sequence[str | Path], out: str | Path, *, overwrite: bool = False, **settings: Any
) -> list[str]:
    """Train a tokenizer into OUT/tokenizer; lines of its quality."""
    from wordloom.api.building import get_tokenizer  # torch: ``check`` does without

    settings["corpus.paths"] = [str(p) for p in corpus]
    recipe = recipe_from(settings, {"tokenizer": TokenizerConfig, "corpus": CorpusConfig})
    assert recipe.corpus is not None
    with Run.create(out, recipe.model_dump(exclude_none=True, exclude_unset=True), "tokenizer", overwrite) as run:
        tokenizer = get_tokenizer(recipe.corpus, recipe.tokenizer or TokenizerConfig(), quiet=False)
        tokenizer.save(run.path / "tokenizer")
        report = quality_report(tokenizer, (d.text for d in Corpus(recipe.corpus)))
        run.write_scores({"scores": report.to_json()})
        run.finish()
    return [*report.lines(), f"tokenizer: {Path(out) / 'tokenizer'}"]
