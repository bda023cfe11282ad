"""sentence-transformers folders: a public encoder with the rule that makes one vector of a text's states.

``modules.json`` lists Transformer, Pooling and, where vectors have length 1, Normalize; ``1_Pooling/config.json`` says
how states become a vector; ``sentence_bert_config.json`` how many tokens are read. Written as versions 2 to 6 read it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordloom.errors import BundleError
from wordloom.model.heads import Pooling
from wordloom.model.interop.files import read_json, write_json

MODULES = "modules.json"
_OLD_NAMES: dict[str, str] = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens",
                              "max": "pooling_mode_max_tokens", "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
                              "weightedmean": "pooling_mode_weightedmean_tokens",
                              "lasttoken": "pooling_mode_lasttoken"}  # fmt: skip
_OURS: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}


@dataclass(frozen=True)
class SentenceRule:
    """length: tokens that are read, special ones included. normalized: whether their vectors have length 1 (ours always
    do). query_prefix, document_prefix: their prompts of these names."""

    pooling: Pooling
    length: int
    normalized: bool = True
    query_prefix: str = ""
    document_prefix: str = ""


def is_sentence_folder(folder: str | Path) -> bool:
    return (Path(folder) / MODULES).is_file()


def read_sentence_rule(folder: str | Path, positions: int) -> SentenceRule:
    """What is beside the weights. positions: the model's own limit, for folders that state none.

    Raises BundleError for modules other than these three, or a pooling that is not cls, mean or lasttoken.
    """
    folder = Path(folder)
    kinds = [(str(row.get("type", "")).rsplit(".", 1)[-1], str(row.get("path", ""))) for row in _modules(folder)]
    names = [kind for kind, _ in kinds]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or kinds[0][1]:
        what = f"its modules are {', '.join(names)}; Transformer, Pooling and Normalize are read"
        raise BundleError(what, where=folder / MODULES, cure="export it without further layers")
    prompts = _optional(folder / "config_sentence_transformers.json").get("prompts") or {}
    return SentenceRule(
        _pooling(folder / kinds[1][1] / "config.json"),
        _length(folder, positions),
        normalized="Normalize" in names,
        query_prefix=str(prompts.get("query", "")),
        document_prefix=str(prompts.get("document", prompts.get("passage", ""))),
    )


def write_sentence_files(folder: Path, rule: SentenceRule, width: int) -> None:
    """Beside config.json, weights and tokenizer that are there already. width: D of the vectors."""
    paths = [
        ("Transformer", ""),
        ("Pooling", "1_Pooling"),
        *([("Normalize", "2_Normalize")] if rule.normalized else []),
    ]
    rows = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(paths)]  # fmt: skip
    (folder / MODULES).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    for _, path in paths[1:]:
        (folder / path).mkdir()
    chosen = _THEIRS[rule.pooling]
    modes = {key: name == chosen for name, key in _OLD_NAMES.items()}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": rule.length, "do_lower_case": False})
    prompts = {"query": rule.query_prefix, "document": rule.document_prefix}
    values = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", values)


def _modules(folder: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads((folder / MODULES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"not readable as JSON: {error}"
        raise BundleError(what, where=folder / MODULES, cure="copy the folder again") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BundleError("does not hold a list of modules", where=folder / MODULES, cure="copy the folder again")
    return rows


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _pooling(path: Path) -> Pooling:
    values = read_json(path)
    chosen = values.get("pooling_mode") or [name for name, key in _OLD_NAMES.items() if values.get(key)]
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    if len(names) != 1 or names[0] not in _OURS:
        what = f"pools by {' and '.join(map(str, names)) or 'nothing'}; {', '.join(_OURS)} are read"
        raise BundleError(what, where=path, cure="use an encoder with one of these")
    if values.get("include_prompt") is False:
        raise BundleError("leaves the prompt out of the mean", where=path, cure="use an encoder that includes it")
    return _OURS[names[0]]


def _length(folder: Path, positions: int) -> int:
    """Version 6 keeps the limit in the tokenizer's settings, the others in a file of its own."""
    stated = _optional(folder / "sentence_bert_config.json").get("max_seq_length")
    stated = stated or _optional(folder / "tokenizer_config.json").get("model_max_length")
    return min(int(stated), positions) if isinstance(stated, (int, float)) and stated > 0 else positions
