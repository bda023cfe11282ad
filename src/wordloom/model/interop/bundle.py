"""A bundle: one folder that opens anywhere. ``wordloom.json`` states what the weights are and their hashes.

model.safetensors + config.json are the public layout (body, and heads with a twin); heads without one are
in head.safetensors under our own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from wordloom.errors import BundleError
from wordloom.model.architecture import Architecture
from wordloom.model.heads import ClassifyHead, MaskedHead, PairHead
from wordloom.model.interop.files import atomic_folder, read_json, read_tensors, sha256, write_json, write_tensors
from wordloom.model.interop.hf import apply_states, has_twin, load_hf, write_hf
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer

FORMAT = 1
_AGAIN = "copy the folder again"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle. kind: what the folder is for ("pretrained", "classify"); twin: "exact" when AutoModel
    opens everything, "body" when some head is ours alone; extra: what the saver added (labels, thresholds...)."""

    path: Path
    model: Model
    kind: str
    twin: str
    extra: dict[str, Any]


def save_bundle(
    folder: str | Path,
    model: Model,
    kind: str,
    extra: Mapping[str, Any],
    *,
    also: Callable[[Path], object] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the whole folder, or nothing: a temporary folder is filled, then renamed.

    extra: JSON values kept under "extra"; of these ``labels`` (list of class names) and ``problem_type`` also
    go to config.json. also: writes further files (the tokenizer's) into the folder before it is renamed.
    Raises BundleError when the folder holds something and overwrite is False.
    """
    with atomic_folder(Path(folder), overwrite) as temp:
        write_hf(temp, model, labels=extra.get("labels"), problem_type=extra.get("problem_type"))
        own = [name for name in model.heads if not has_twin(model, name)]
        weights = ["model.safetensors"]
        if own:
            weights.append("head.safetensors")
            write_tensors(
                temp / "head.safetensors",
                {f"{name}.{k}": v for name in own for k, v in model.heads[name].state_dict().items()},
            )
        if also is not None:
            also(temp)
        values = {
            "format": FORMAT,
            "kind": kind,
            "twin": "body" if own else "exact",
            "architecture": model.arch.to_json(),
            "heads": {name: _describe(head) for name, head in model.heads.items()},
            "hashes": {name: sha256(temp / name) for name in weights},
            "extra": dict(extra),
        }
        write_json(temp / "wordloom.json", values)


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle back with equal outputs; the model is in evaluation mode, on the CPU.

    Raises BundleError: no bundle, another format, weights that are missing, damaged, changed since they were
    written, or not those of the architecture.
    """
    folder = Path(folder)
    where = folder / "wordloom.json"
    if not where.exists():
        raise BundleError("not a Wordloom bundle: it has no wordloom.json", where=folder, cure="name a run or a bundle")
    values = read_json(where)
    if values.get("format") != FORMAT:
        raise BundleError(
            f"bundle format {values.get('format')!r} is unknown",
            where=where,
            cure="open it with the version that wrote it",
        )
    kinds = {"kind": str, "twin": str, "architecture": dict, "heads": dict, "hashes": dict, "extra": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]
    if wrong:
        raise BundleError(f"lacks a usable {', '.join(wrong)}", where=where, cure=_AGAIN)
    if "model.safetensors" not in values["hashes"]:
        raise BundleError("lacks the hash of model.safetensors", where=where, cure=_AGAIN)
    for name, expected in values["hashes"].items():
        if not (folder / name).is_file():
            raise BundleError(f"{name} is missing", where=folder, cure=_AGAIN)
        if sha256(folder / name) != expected:
            raise BundleError(f"{name} is damaged: it is not the file that was saved", where=folder, cure=_AGAIN)
    arch = Architecture.from_json(values["architecture"])
    model = Model(Transformer(arch), {name: _head(arch, name, row, where) for name, row in values["heads"].items()})
    _fill(model, folder)
    return Bundle(folder, model.eval(), values["kind"], values["twin"], values["extra"])


def _fill(model: Model, folder: Path) -> None:
    twins = [name for name in model.heads if has_twin(model, name)]
    loaded = load_hf(folder, twins)
    model.to(loaded.states["body"]["embeddings.tokens.weight"].dtype)  # float64 stays float64
    own = [name for name in model.heads if name not in twins]
    fresh = set(apply_states(model, loaded.states))
    if own:
        tensors = read_tensors(folder / "head.safetensors")
        for name in own:
            state = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            try:
                model.heads[name].load_state_dict(state)
            except RuntimeError as error:
                mismatch = str(error).splitlines()[-1].strip().rstrip(".")
                raise BundleError(f"head {name} does not fit: {mismatch}", where=folder, cure=_AGAIN) from None
            fresh -= {f"heads.{name}.{k}" for k in state}
    if fresh:
        raise BundleError(f"missing {', '.join(sorted(fresh))}", where=folder, cure=_AGAIN)


def _describe(head: nn.Module) -> dict[str, Any]:
    if isinstance(head, ClassifyHead):
        return {"classes": head.classes, "pooling": head.pooling, "dropout": head.dropout}
    return {}


def _head(arch: Architecture, name: str, row: dict[str, Any], where: Path) -> nn.Module:
    heads: dict[str, type[nn.Module]] = {
        "masked": MaskedHead,
        "next_sentence": PairHead,
        "classify": ClassifyHead,
    }
    if name not in heads:
        raise BundleError(f"unknown head {name!r}", where=where, cure="open it with the version that wrote it")
    try:
        return heads[name](arch, **row)
    except TypeError as error:
        raise BundleError(f"head {name} is described wrongly: {error}", where=where, cure=_AGAIN) from None
