"""One row per published model: architecture values, objective, paper."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import Any

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture

_TURC = "Turc et al. 2019, Well-Read Students Learn Better, table 1"
_DEVLIN = "Devlin et al. 2019, BERT, section 3"


@dataclass(frozen=True)
class Preset:
    """values: every Architecture field that the paper fixes but the vocabulary, which the tokenizer gives."""

    values: dict[str, Any]
    objective: str
    paper: str


def _bert(layers: int, width: int, paper: str) -> Preset:
    # heads of 64 and a feed-forward net four times the width in every published size
    values = {"layers": layers, "width": width, "heads": width // 64, "ffn_width": 4 * width, "max_positions": 512}
    return Preset(values, "masked", paper)


PRESETS: dict[str, Preset] = {
    "bert-tiny": _bert(2, 128, _TURC),
    "bert-mini": _bert(4, 256, _TURC),
    "bert-small": _bert(4, 512, _TURC),
    "bert-base": _bert(12, 768, _DEVLIN),
}


def architecture(preset: str, vocab_size: int, **overrides: Any) -> Architecture:
    """The preset's row with ``overrides`` in place of its values; None means "not given".

    Raises ConfigError on an unknown preset or key, naming the near miss, and on impossible values.
    """
    row = PRESETS.get(preset)
    if row is None:
        raise ConfigError(f"unknown preset {preset!r}{_near(preset, list(PRESETS))}", cure="name one of the presets")
    known = [f.name for f in fields(Architecture)]
    given = {k: v for k, v in overrides.items() if v is not None}
    for key in given:
        if key not in known:
            raise ConfigError(f"unknown model value {key!r}{_near(key, known)}", cure="correct that key")
    return Architecture(vocab_size=vocab_size, **{**row.values, **given})


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
