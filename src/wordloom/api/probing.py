"""``probe``: minimal pairs scored by a pre-trained run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordloom.api.language import open_language
from wordloom.api.results import score_json, table
from wordloom.data.sealed import file_hash
from wordloom.disk import replace, write_json
from wordloom.errors import ConfigError
from wordloom.explain.likelihood import BATCH_TOKENS
from wordloom.explain.minimal_pairs import Accuracy, PairScores, Reading, reading_of, score_pairs
from wordloom.explain.pairs_file import read_pairs
from wordloom.text.tokenizer import Tokenizer
from wordloom.train import machine

GROUPS = {"fields": "field", "terms": "term", "paradigms": "paradigm"}


@dataclass(frozen=True)
class Probe:
    """Accuracies of one model on one file. ``convention``: how sentences were scored, in words. ``settings``: what the
    numbers depend on. ``path``: where they are written; None where nothing was."""

    scores: PairScores
    convention: str
    settings: dict[str, Any]
    path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        groups = {
            name: {k: _accuracy_json(a) for k, a in self.scores.by(group).items()}  # type: ignore[arg-type]
            for name, group in GROUPS.items()
        }
        return {
            **self.settings,
            "convention": self.convention,
            "mean_of_paradigms": _accuracy_json(self.scores.mean_of_paradigms()),
            "mean_of_pairs": _accuracy_json(self.scores.mean_of_pairs()),
            **groups,
        }

    def lines(self) -> list[str]:
        """A table: overall, then fields, terms and paradigms, worst paradigm first."""
        rows = [_row("mean of paradigms", self.scores.mean_of_paradigms())]
        rows.append(_row("mean of pairs", self.scores.mean_of_pairs()))
        for title, group in GROUPS.items():
            found = self.scores.by(group)  # type: ignore[arg-type]
            if not found:
                continue
            order = sorted(found, key=lambda k: found[k].ties_right.value) if group == "paradigm" else sorted(found)
            rows += [[title, *[""] * 4], *(_row(f"  {name}", found[name]) for name in order)]
        lines = [self.convention, *table(rows, ["accuracy [95 %]", "ties right", "ties wrong", "pairs", "ties"])]
        return [*lines, f"scores: {self.path}" if self.path else "scores are not kept; give --out FOLDER"]


def probe(
    model: str | Path,
    data: str | Path,
    *,
    limit: int | None = None,
    reading: Reading | None = None,
    rest_of_word: bool = False,
    leading_space: bool = False,
    start: str | None = None,
    out: str | Path | None = None,
    batch_tokens: int = BATCH_TOKENS,
    device: str | None = None,
) -> Probe:
    """Minimal pairs (`read_pairs` says which files) scored by a pre-trained run, a bundle or a public folder.

    limit: the first so many pairs of each paradigm. reading: "causal", "masked" or "permuted"; by the model when
    absent. rest_of_word: not of causal models; leading_space: see `score_pairs`. start: the token read before a
    sentence; absent: what began a text in its training (`start_of`), or where nothing did, what separates them.
    out: folder for NAME.json (accuracies) and NAME.jsonl (log p of every sentence); absent: RUN/probes, and nothing
    where the model is a bundle or folder alone. NAME is made of the file name and the settings: a repetition replaces
    its own.
    """
    pairs = read_pairs(data, limit)
    network, tokenizer, usual, hybrid = open_language(model)
    chosen = reading_of(network, reading, hybrid=hybrid)
    if rest_of_word and chosen == "causal":
        raise ConfigError("a causal model masks nothing", where="--rest-of-word", cure="leave it out")
    start_id = _start_id(tokenizer, start, usual)
    found = score_pairs(
        network.to(machine.pick_device(device)), tokenizer, pairs, chosen, start_id=start_id, hybrid=hybrid,
        rest_of_word=rest_of_word, leading_space=leading_space, batch_tokens=batch_tokens,
    )  # fmt: skip
    settings: dict[str, Any] = {"model": str(model), "file": str(data), "sha256": file_hash(Path(data))}
    settings |= {"pairs": len(pairs), "limit": limit, "reading": chosen}
    settings |= {"rest_of_word": rest_of_word, "leading_space": leading_space}
    first, last = (str(tokenizer.backend.id_to_token(i)) for i in (start_id, tokenizer.sep_id))
    settings["start"] = first
    said = _convention(chosen, first, last, rest_of_word, leading_space, limit)
    result = Probe(found, said, settings)
    folder = Path(out) if out is not None else Path(model) / "probes" if _is_run(model) else None
    return result if folder is None else _write(result, folder, start)


def _is_run(model: str | Path) -> bool:
    return (Path(model) / "manifest.json").exists()


def _start_id(tokenizer: Tokenizer, asked: str | None, usual: int | None) -> int:
    """usual: what begins a text; where nothing does, the first tokens of a sentence still need something before."""
    if asked is None:
        return tokenizer.cls_id if usual is None else usual
    number = tokenizer.backend.token_to_id(asked)
    if number is None:
        raise ConfigError(f"the vocabulary has no token {asked!r}", where="--start", cure="name one it has")
    return int(number)


def _convention(
    reading: Reading, start: str, last: str, rest_of_word: bool, leading_space: bool, limit: int | None
) -> str:
    if reading == "causal":
        said = f"sum of log p of a sentence's tokens after {start}, an end not counted"
    else:
        how = "masked" if reading == "masked" else "asked after all others"
        said = f"pseudo-log-likelihood, each token {how} in turn, between {start} and {last}"
        said += ", hidden with the rest of its word (PLL-word-l2r)" if rest_of_word else ""
    said += ", a space before each sentence" if leading_space else ""
    return said + (f"; the first {limit} pairs of each paradigm" if limit is not None else "")


def _write(result: Probe, folder: Path, start: str | None) -> Probe:
    s = result.settings
    name = Path(s["file"]).name.split(".")[0] + f"-{s['reading']}"
    name += "-word" if s["rest_of_word"] else ""
    name += "-space" if s["leading_space"] else ""
    name += f"-start-{hashlib.sha256(start.encode()).hexdigest()[:8]}" if start is not None else ""
    name += f"-first{s['limit']}" if s["limit"] is not None else ""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (
        {"place": p.place, "paradigm": p.paradigm, "good": g, "bad": b, "right": None if g == b else bool(g > b)}
        for p, g, b in zip(result.scores.pairs, result.scores.good.tolist(), result.scores.bad.tolist(), strict=True)
    )
    replace(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8"))
    write_json(folder / f"{name}.json", result.to_json())
    return Probe(result.scores, result.convention, s, folder / f"{name}.json")


def _accuracy_json(accuracy: Accuracy) -> dict[str, Any]:
    both = {"ties_right": score_json(accuracy.ties_right), "ties_wrong": score_json(accuracy.ties_wrong)}
    return {**both, "pairs": accuracy.pairs, "ties": accuracy.ties}


def _row(name: str, a: Accuracy) -> list[str]:
    return [name, a.ties_right.plain, a.ties_wrong.plain, f"{a.pairs:,}", f"{a.ties:,}"]
