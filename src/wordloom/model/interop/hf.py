"""Public BERT folders: config.json + weights, read and written so that plain AutoModel agrees with us."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordloom.errors import BundleError, ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.heads import ClassifyHead
from wordloom.model.interop.files import atomic_folder, read_json, read_weights, write_json, write_tensors
from wordloom.model.interop.keys import (
    COPIES,
    IGNORABLE,
    PARTS,
    POOLED,
    modern,
    part_rows,
    shapes,
    to_ours,
    to_theirs,
)
from wordloom.model.model import Model

# config.json key -> Architecture field
_CONFIG = {
    "vocab_size": "vocab_size",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "ffn_width",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "types",
    "layer_norm_eps": "norm_eps",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "initializer_range": "init_std",
    "pad_token_id": "pad_id",
}
_REQUIRED = tuple(_CONFIG)[:5]  # the others have the same defaults there and here
# config.json key -> (the one value we support, what another value would mean)
_ONLY = {
    "model_type": ("bert", "another kind of model"),
    "hidden_act": ("gelu", "another activation"),
    "position_embedding_type": ("absolute", "relative positions"),
    "is_decoder": (False, "a decoder"),
    "add_cross_attention": (False, "cross-attention"),
}


@dataclass(frozen=True)
class Loaded:
    """What `load_hf` found.

    states: part -> our state dict: "body" and those of "pooler", "masked", "next_sentence", "classify"
    that the folder holds whole. labels: names of the classes in order, () without a classifier.
    report: sentences about everything ignored, absent or changed, for the log.
    """

    arch: Architecture
    states: dict[str, dict[str, Tensor]]
    labels: tuple[str, ...]
    problem_type: str | None
    classifier_dropout: float | None
    report: tuple[str, ...] = field(default=())


def load_hf(folder: str | Path, heads: Collection[str] = ()) -> Loaded:
    """Read a BERT folder: safetensors, sharded or not, or a .bin of plain tensors.

    heads: which of "pooler", "masked", "next_sentence", "classify" must be there.
    Raises BundleError: another model type or an unsupported feature; damaged or missing files; any missing
    or unexpected key or wrong shape, all of them listed. What may be ignored is named in ``report``.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    arch = read_config(config, folder / "config.json")
    report: list[str] = []
    tensors = _modern_tensors(read_weights(folder), folder, report)
    problems = _merge_copies(tensors)
    classes = tensors["classifier.weight"].shape[0] if "classifier.weight" in tensors else 2
    wanted = {"body", *heads} | ({"pooler"} if set(heads) & set(POOLED) else set())
    names = {part: [n for theirs in part_rows(part, arch).values() for n in theirs] for part in PARTS}
    present = {part for part in PARTS if part in wanted or any(n in tensors for n in names[part])}
    expected = [n for part in PARTS if part in present for n in names[part]]
    missing = [n for n in expected if n not in tensors]
    unexpected = sorted(set(tensors) - set(expected))
    problems += [f"missing {n}" for n in missing] + [f"unexpected {n}" for n in unexpected]
    sizes = shapes(arch, classes)
    for n in expected:
        if n in tensors and tuple(tensors[n].shape) != sizes[n]:
            problems.append(f"{n} has shape {tuple(tensors[n].shape)}, not {sizes[n]}")
    labels = _labels(config, folder / "config.json")
    if "classify" in present and labels and len(labels) != classes:
        problems.append(f"config.json names {len(labels)} classes, classifier.weight holds {classes}")
    if problems:
        raise BundleError(
            f"the weights do not fit config.json: {'; '.join(problems)}",
            where=folder,
            cure="use a complete BERT folder, or save it again with the heads that are wanted",
        )
    report += [f"no {part} in the folder" for part in PARTS if part not in present]
    return Loaded(
        arch,
        states={part: to_ours(part, tensors, arch) for part in PARTS if part in present},
        labels=labels if "classify" in present else (),
        problem_type=config.get("problem_type"),
        classifier_dropout=config.get("classifier_dropout"),
        report=tuple(report),
    )


def apply_states(model: Model, states: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """Copy loaded parts into a model; a head whose own part is absent still takes the pooler.

    For a new task leave "classify" out of ``states``: class 3 there is not class 3 here.
    Returns the names of the parameters that no part covered: they keep their random values. Raises BundleError
    where shapes differ.
    """
    try:
        model.body.load_state_dict(states["body"])
        fresh: list[str] = []
        for name, head in model.heads.items():
            given = dict(states.get(name, {}))
            own = head.state_dict()
            if "pooler" in states:
                given.update({f"pooler.{k}": v for k, v in states["pooler"].items()})
            given = {k: v for k, v in given.items() if k in own}
            head.load_state_dict(given, strict=False)
            fresh += [f"heads.{name}.{k}" for k in own if k not in given]
    except RuntimeError as error:  # torch lists every mismatch, a line each, after a heading
        mismatch = str(error).splitlines()[1:2] or [str(error)]
        what = f"the weights do not fit the model: {mismatch[0].strip().rstrip('.')}"
        raise BundleError(what, cure="keep the saved architecture") from None
    return fresh


def save_hf(
    folder: str | Path,
    model: Model,
    *,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write config.json + model.safetensors that AutoModel, and AutoModelFor* of the heads, open offline.

    labels: names of the classes of the "classify" head, in order. problem_type: "single_label_classification",
    "multi_label_classification" or "regression". Raises BundleError when the folder holds something, or a
    head has no public twin (mean pooling).
    """
    without = [name for name in model.heads if not has_twin(model, name)]
    if without:
        raise BundleError(f"no public twin for the head {', '.join(without)}", cure="save it as a bundle")
    with atomic_folder(Path(folder), overwrite) as temp:
        write_hf(temp, model, labels=labels, problem_type=problem_type)


def write_hf(folder: Path, model: Model, *, labels: Sequence[str] | None, problem_type: str | None) -> None:
    """Write the files of the body and of every head with a twin into an existing folder."""
    arch = model.arch
    twins = [name for name in model.heads if has_twin(model, name)]
    if len(set(twins) & set(POOLED)) > 1:
        raise BundleError("two heads with a pooler each do not fit one folder", cure="save one of them")
    tensors = to_theirs("body", model.body.state_dict(), arch)
    for name in twins:
        state = model.heads[name].state_dict()
        tensors.update(to_theirs(name, state, arch))
        if name in POOLED:
            pooler = {k.removeprefix("pooler."): v for k, v in state.items() if k.startswith("pooler.")}
            tensors.update(to_theirs("pooler", pooler, arch))
    write_tensors(folder / "model.safetensors", tensors)
    config: dict[str, Any] = {
        "architectures": [_class_name(twins)],
        **{key: only for key, (only, _) in _ONLY.items()},
        **{theirs: getattr(arch, ours) for theirs, ours in _CONFIG.items()},
        "tie_word_embeddings": True,
        "dtype": str(model.token_embedding.dtype).removeprefix("torch."),
    }
    head = model.heads["classify"] if "classify" in twins else None
    if isinstance(head, ClassifyHead):
        names = [f"LABEL_{i}" for i in range(head.classes)] if labels is None else list(labels)
        if len(names) != head.classes or len(set(names)) != len(names):
            raise BundleError(f"{len(names)} label names for {head.classes} classes", cure="name every class once")
        config |= {
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
            "problem_type": problem_type,
            "classifier_dropout": head.dropout,
        }
    write_json(folder / "config.json", config)


def has_twin(model: Model, name: str) -> bool:
    """Whether the public layout can hold this head."""
    head = model.heads[name]
    return name in PARTS and not (isinstance(head, ClassifyHead) and head.pooling != "cls")


def read_config(config: Mapping[str, Any], where: Path) -> Architecture:
    """config.json -> Architecture. Raises BundleError on another model type or an unsupported feature."""
    for key, (only, meaning) in _ONLY.items():
        value = config.get(key, None if key == "model_type" else only)
        if value != only:
            raise BundleError(
                f"{key} is {value!r}, not {only!r}: {meaning}", where=where, cure="start from a plain BERT folder"
            )
    absent = [key for key in _REQUIRED if key not in config]
    if absent:
        raise BundleError(f"lacks {', '.join(absent)}", where=where, cure="copy or download the folder again")
    values = {ours: config[theirs] for theirs, ours in _CONFIG.items() if config.get(theirs) is not None}
    try:
        return Architecture(**values)
    except ConfigError as error:
        raise BundleError(error.what, where=where, cure="correct the file") from None


def _modern_tensors(raw: dict[str, Tensor], folder: Path, report: list[str]) -> dict[str, Tensor]:
    """Today's key names, float32 at least, without the ignorable buffers."""
    tensors: dict[str, Tensor] = {}
    widened = set()
    for key, tensor in raw.items():
        name = modern(key)
        if name in IGNORABLE:
            report.append(f"ignored {key}: a buffer that holds no weights")
            continue
        if name in tensors:
            raise BundleError(f"holds {name} twice, once as {key}", where=folder, cure="save the folder again")
        if tensor.dtype in (torch.float16, torch.bfloat16):
            widened.add(str(tensor.dtype))
            tensor = tensor.float()
        tensors[name] = tensor
    report += [f"weights widened from {dtype} to float32" for dtype in sorted(widened)]
    return tensors


def _merge_copies(tensors: dict[str, Tensor]) -> list[str]:
    """Remove tied copies from ``tensors``; the problems are copies that differ from their original."""
    problems = []
    for copy, original in COPIES.items():
        if copy not in tensors:
            continue
        tensor = tensors.pop(copy)
        if original not in tensors:
            tensors[original] = tensor  # some folders store only the copy
        elif not torch.equal(tensor, tensors[original]):
            problems.append(f"{copy} differs from {original} (untied output weights are not supported)")
    return problems


def _labels(config: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    names = config.get("id2label") or {}
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (TypeError, ValueError, AttributeError):
        raise BundleError("id2label is not a map from numbers to names", where=where, cure="correct the file") from None


def _class_name(twins: Sequence[str]) -> str:
    if "classify" in twins:
        return "BertForSequenceClassification"
    if "next_sentence" in twins:
        return "BertForPreTraining"
    return "BertForMaskedLM" if "masked" in twins else "BertModel"
