"""Public folders: config.json + weights, read and written so that plain AutoModel agrees with us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from wordloom.errors import BundleError
from wordloom.model.architecture import Architecture
from wordloom.model.build import Body
from wordloom.model.heads import ClassifyHead
from wordloom.model.interop.families import FAMILIES
from wordloom.model.interop.family import Family
from wordloom.model.interop.files import atomic_folder, read_json, read_weights, write_json, write_tensors
from wordloom.model.interop.keys import add_copies, merge_copies, places, shapes, tidy, to_ours, to_theirs
from wordloom.model.interop.settings import family_named, family_of, misfits, read_config, write_config
from wordloom.model.model import Model
from wordloom.model.tag_head import TagHead

_NAMED = {"classify", "tag"}  # parts whose classes have names in config.json
_SWAYED = {"tag": {"crf", "surface"}, "answer": {"near"}}  # head -> heads of ours that add to its logits or decode them


@dataclass(frozen=True)
class Loaded:
    """What `load_hf` found.

    states: part -> our state dict: "body" and those of the family's other parts ("pooler" and heads) that the folder
    holds whole. labels: names of the classes in order, () without a classifier. problem_type: as in config.json.
    report: what was ignored or absent. family: the public name of the kind of model, "wordloom" where it has none.
    """

    arch: Any
    states: dict[str, dict[str, Tensor]]
    labels: tuple[str, ...]
    problem_type: str | None
    family: str
    report: tuple[str, ...] = field(default=())


def load_hf(folder: str | Path, heads: Collection[str] = ()) -> Loaded:
    """Read a public folder: safetensors, sharded or not, or a .bin of plain tensors.

    heads: which of the family's parts ("pooler", "masked", "causal", "classify", ...) must be there.
    Raises BundleError: another model type or an unsupported feature; damaged or missing files; any missing
    or unexpected key or wrong shape, all of them listed. What may be ignored is named in ``report``.
    """
    folder = Path(folder)
    where = folder / "config.json"
    config = read_json(where)
    family, report = family_named(config, where), list[str]()
    arch = read_config(config, where, report)
    raw = read_weights(folder)
    arch = family.settle(arch, raw)
    classes = _classes(family, raw)
    sizes = {part: shapes(family, part, arch, classes) for part in family.parts}
    known = frozenset(name for names in sizes.values() for name in names)
    tensors = tidy(raw, family, known, folder, report)
    problems = merge_copies(tensors, family, known, arch)
    wanted = {"body", *heads}
    if lacking := sorted(wanted - set(family.parts)):
        what = f"a {family.model_type} folder cannot hold {', '.join(lacking)}"
        raise BundleError(what, where=folder, cure=f"ask for some of {', '.join(family.parts)}")
    present = [
        part for part in family.parts if part in wanted or _is_there(part, sizes, tensors, _claimed(family, config))
    ]
    expected = {name: shape for part in present for name, shape in sizes[part].items()}
    problems += [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unexpected {name}" for name in sorted(set(tensors) - set(expected))]
    for name, shape in expected.items():
        if name in tensors and tuple(tensors[name].shape) != shape:
            problems.append(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
    labels, labelled = _labels(config, where), bool(_NAMED & set(present))
    if labelled and labels and len(labels) != classes:
        problems.append(f"config.json names {len(labels)} classes, the classifier holds {classes}")
    if problems:
        raise BundleError(
            f"the weights do not fit config.json: {'; '.join(problems)}",
            where=folder,
            cure=f"use a complete {family.model_type} folder, or save it again with the heads that are wanted",
        )
    report += [f"no {part} in the folder" for part in family.parts if part not in present]
    return Loaded(
        arch,
        states={part: to_ours(family, part, tensors, arch, classes) for part in present},
        labels=labels if labelled else (),
        problem_type=config.get("problem_type"),
        family=family.model_type,
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
            own = head.state_dict()
            pooler = {f"pooler.{k}": v for k, v in states.get("pooler", {}).items()}
            given = {k: v for k, v in {**pooler, **states.get(name, {})}.items() if k in own}
            head.load_state_dict(given, strict=False)
            fresh += [f"heads.{name}.{k}" for k in own if k not in given]
    except RuntimeError as error:  # torch lists every mismatch, a line each, after a heading
        mismatch = str(error).splitlines()[1:2] or [str(error)]
        what = f"the weights do not fit the model: {mismatch[0].strip().rstrip('.')}"
        raise BundleError(what, cure="keep the saved architecture") from None
    return fresh


def model_of(found: Loaded) -> Model:
    """Every part of a public folder as a model, in evaluation mode: the pooler inside the heads that read it, or as a
    head where none does. Raises BundleError where a head is not there whole."""
    family, heads = FAMILIES[found.family], dict[str, nn.Module]()
    pooler = {name for names in family.parts.get("pooler", {}).values() for name in names}
    held = False
    for part, state in found.states.items():
        if part in ("body", "pooler"):
            continue
        classes = len(state["output.weight"]) if part in _NAMED else 2
        heads[part] = family.heads[part](found.arch, classes)
        held |= any(pooler & set(names) for names in family.parts[part].values())
    if "pooler" in found.states and not held:
        heads["pooler"] = family.heads["pooler"](found.arch, 2)
    model = Model(cast(Body, family.body(found.arch)), heads)
    if fresh := apply_states(model, found.states):
        raise BundleError(f"missing {', '.join(fresh)}", cure="use a complete folder")
    return model.eval()


def save_hf(
    folder: str | Path,
    model: Model,
    *,
    labels: Sequence[str] | None = None,
    problem_type: str | None = None,
    tokens: Mapping[str, int | None] | None = None,
    family: str | None = None,
    also: Callable[[Path], object] | None = None,
    overwrite: bool = False,
) -> None:
    """Write config.json + model.safetensors that AutoModel, and AutoModelFor* of the heads, open offline.

    labels: names of the classes of the "classify" head, in order. problem_type: "single_label_classification",
    "multi_label_classification" or "regression". tokens: ids of "bos", "eos" and "pad", for config.json and, where
    the family generates, generation_config.json. family: the model_type to write, which then also decides whether
    attention is causal (a hybrid model is both); None: the one that has the architecture. also: writes further files
    (the tokenizer's) into the folder before it is renamed. Raises BundleError when the folder holds something, when no
    family has this architecture, or when a head has no public twin (mean pooling).
    """
    chosen, arch = pick_family(model.arch, family, model.heads.keys())
    without = [name for name in model.heads if not has_twin(model, name, chosen)]
    if without:
        raise BundleError(f"no public twin for the head {', '.join(without)}", cure="save it as a bundle")
    with atomic_folder(Path(folder), overwrite) as temp:
        write_hf(temp, model, labels=labels, problem_type=problem_type, tokens=tokens, family=chosen, arch=arch)
        if also is not None:
            also(temp)


def pick_family(arch: Any, name: str | None = None, heads: Collection[str] = ()) -> tuple[Family, Any]:
    """The family that holds an architecture, and the architecture it then has: by name, with that family's attention.

    Raises BundleError where no family, or not the one named, holds it.
    """
    if name is None:
        found = family_of(arch, heads)
        if found is None:
            raise BundleError("no public family computes what this model does", cure="save it as a bundle")
        return found, arch
    if name not in FAMILIES:
        raise BundleError(f"unknown family {name!r}", cure=f"name one of {', '.join(FAMILIES)}")
    if isinstance(arch, Architecture):
        arch = replace(arch, attention=FAMILIES[name].slots.get("attention", "full"))
    if wrong := misfits(FAMILIES[name], arch):
        raise BundleError(f"{name} does not have this model's {', '.join(wrong)}", cure="export to another family")
    return FAMILIES[name], arch


def write_hf(
    folder: Path,
    model: Model,
    *,
    labels: Sequence[str] | None,
    problem_type: str | None,
    tokens: Mapping[str, int | None] | None = None,
    family: Family | None = None,
    arch: Any = None,
) -> None:
    """Write the files of the body and of every head with a twin into an existing folder."""
    family = pick_family(model.arch, heads=model.heads.keys())[0] if family is None else family
    arch = model.arch if arch is None else arch
    twins = [name for name in model.heads if has_twin(model, name, family)]
    tensors = to_theirs(family, "body", model.body.state_dict(), arch)
    for name in twins:
        head = model.heads[name]
        for key, value in to_theirs(family, name, head.state_dict(), arch, _classes_of(head)).items():
            if key in tensors:
                raise BundleError("two heads with a pooler each do not fit one folder", cure="save one of them")
            tensors[key] = value
    if not getattr(arch, "tied", True):
        add_copies(tensors, family)
    write_tensors(folder / "model.safetensors", tensors)
    config = {
        "architectures": [next(name for parts, name in family.classes if set(parts) <= set(twins))],
        **write_config(family, arch, tokens or {}),
        "dtype": str(model.token_embedding.dtype).removeprefix("torch."),
    }
    for name in _NAMED & set(twins):
        config |= _classifier_config(family, model.heads[name], labels, problem_type)
    write_json(folder / "config.json", config)
    if family.generates:
        ids = {f"{name}_token_id": (tokens or {}).get(name) for name in ("bos", "eos", "pad")}
        ids["decoder_start_token_id"] = config.get("decoder_start_token_id")
        write_json(folder / "generation_config.json", {k: v for k, v in ids.items() if v is not None})


def has_twin(model: Model, name: str, family: Family | None = None) -> bool:
    """Whether public code answers as this head does: the public layout holds it, and no head of ours has a say in its
    answers, which an Auto class would leave out without a word."""
    return not _SWAYED.get(name, set()) & set(model.heads) and fits(model, name, family)


def fits(model: Model, name: str, family: Family | None = None) -> bool:
    """Whether the public layout can hold this head: of ``family``, or of the one that has the architecture."""
    family = family_of(model.arch, model.heads.keys()) if family is None else family
    if family is None or name not in family.parts:
        return False
    head = model.heads[name]
    rows = places(family, name, model.arch, _classes_of(head))
    have = {k: tuple(v.shape) for k, v in head.state_dict().items()}  # a pooled mean has no pooler, and so on
    return have == {ours: None if place is None else place.ours for ours, place in rows.items()}


def has_segments(arch: Any) -> bool:
    """Whether public code may hand the model numbers of segments: whether it knows two of them."""
    return bool(getattr(arch, "types", 0) > 1)


def _classes_of(head: Any) -> int:
    return head.classes if isinstance(head, (ClassifyHead, TagHead)) else 2


def _classes(family: Family, raw: Mapping[str, Tensor]) -> int:
    """Rows of the classifier's last matrix; 2 where there is none."""
    names = {name for part in _NAMED for name in family.parts.get(part, {}).get("output.weight", ())}
    found = [raw[name].shape[0] for name in names if name in raw and raw[name].dim()]
    return found[0] if found else 2


def _claimed(family: Family, config: Mapping[str, Any]) -> set[str] | None:
    """The heads of the classes that config.json names; None where it names none or the bare body."""
    known = {name: parts for parts, name in family.classes}
    named = [name for name in config.get("architectures") or () if known.get(name) != ()]
    return {part for name in named for part in known.get(name, ())} if named else None


def _is_there(
    part: str, sizes: Mapping[str, Collection[str]], tensors: Mapping[str, Tensor], claimed: set[str] | None
) -> bool:
    """Whether a folder holds a part: anything of its own; a tied head with nothing of its own always.

    Heads that share names beside the pooler's (ModernBERT's, which all have a "head.dense") are told apart by the class
    that config.json names, and where it names none by the names that no other head has.
    """
    names = sizes[part]
    if part == "pooler":
        return any(name in tensors for name in names)
    own = [name for name in names if name not in sizes.get("pooler", ())]
    counts = Counter(name for others in sizes.values() for name in others)
    if any(counts[name] > 1 for name in own):
        if claimed is not None:
            return part in claimed
        if any(counts[name] == 1 for name in own):
            return any(counts[name] == 1 and name in tensors for name in own)
        # BERT's classifier of words is that of texts without the pooler: the larger of two that are there whole
        whole = [set(others) for others in sizes.values() if set(others) <= set(tensors)]
        return set(names) in whole and not any(set(names) < others for others in whole)
    return not own or any(name in tensors for name in own)


def _classifier_config(
    family: Family, head: Any, labels: Sequence[str] | None, problem_type: str | None
) -> dict[str, Any]:
    names = [f"LABEL_{i}" for i in range(head.classes)] if labels is None else list(labels)
    if len(names) != head.classes or len(set(names)) != len(names):
        raise BundleError(f"{len(names)} label names for {head.classes} classes", cure="name every class once")
    values: dict[str, Any] = {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": problem_type,
    }
    return values | ({family.classifier_dropout: head.dropout} if family.classifier_dropout else {})


def _labels(config: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    names = config.get("id2label") or {}
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (TypeError, ValueError, AttributeError):
        raise BundleError("id2label is not a map from numbers to names", where=where, cure="correct the file") from None
