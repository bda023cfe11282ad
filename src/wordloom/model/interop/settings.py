"""config.json <-> Architecture, by a family's row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from wordloom.errors import BundleError, ConfigError
from wordloom.model.interop.families import FAMILIES
from wordloom.model.interop.family import Family
from wordloom.model.interop.keys import places

_INITIAL = ("init", "init_std", "scaled_init", "position_waves")  # what only random weights depend on


def family_named(config: Mapping[str, Any], where: Path) -> Family:
    """Raises BundleError for a model_type that is none of the families."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        known = ", ".join(FAMILIES)
        what = f"model_type is {name!r}, which is not a family that can be read exactly"
        raise BundleError(what, where=where, cure=f"use a folder of one of {known}")
    return FAMILIES[name]


def family_of(arch: Any, heads: Collection[str] = ()) -> Family | None:
    """The public family whose code computes what this architecture does; None: there is none.

    Where several do, the first that has these heads: the body of ELECTRA may be BERT's.
    """
    fitting = [family for family in FAMILIES.values() if not misfits(family, arch)]
    return next((family for family in fitting if set(heads) <= set(family.parts)), fitting[0] if fitting else None)


def misfits(family: Family, arch: Any) -> list[str]:
    """The values of an architecture that the family's public code does not have."""
    if not isinstance(arch, family.architecture):
        return ["architecture"]
    free = {*family.keys.values(), *family.derived, *_INITIAL, *_unread(arch)}
    wrong = []
    for f in fields(arch):
        default = family.slots.get(f.name, None if f.default is MISSING else f.default)
        if f.name == "activation" and family.activation is not None:
            if arch.activation not in family.activation[1].values():
                wrong.append(f.name)
        elif f.name not in free and getattr(arch, f.name) != default:
            wrong.append(f.name)
    wrong += family.unfit(arch)
    if not wrong:
        wrong += [name for name, place in places(family, "body", arch).items() if place is None]
    return wrong


def _unread(arch: Any) -> set[str]:
    """Fields that this architecture does not look at."""
    position = getattr(arch, "position", None)
    idle = set() if position == "t5" else {"buckets", "bucket_distance"}
    idle |= set() if position == "rotary" else {"rotary_base", "rotary_base_local"}
    return idle if getattr(arch, "window", None) is not None else idle | {"global_every"}


def read_config(config: Mapping[str, Any], where: Path, report: list[str] | None = None) -> Any:
    """config.json -> Architecture. Raises BundleError on another model type or an unsupported feature.

    report: receives what could not be kept though the outputs are equal.
    """
    family = family_named(config, where)
    for key, (only, meaning) in family.fixed.items():
        value = config.get(key, only)
        if value != only:
            cure = f"start from a plain {family.model_type} folder"
            raise BundleError(f"{key} is {value!r}, not {only!r}: {meaning}", where=where, cure=cure)
    absent = [key for key in family.required if config.get(key) is None]
    if absent:
        raise BundleError(f"lacks {', '.join(absent)}", where=where, cure="copy or download the folder again")
    config = {**family.defaults, **{k: v for k, v in config.items() if v is not None}}
    values = {ours: config[theirs] for theirs, ours in family.keys.items() if theirs in config}
    try:
        values = {**family.slots, **values, **_activation(family, config), **family.read(config)}
        arch = family.architecture(**values)
    except ConfigError as error:
        raise BundleError(error.what, where=where, cure="correct the file, or use another folder") from None
    except TypeError as error:
        raise BundleError(f"holds a value of another kind: {error}", where=where, cure="correct the file") from None
    for key, other in family.same.items():
        if report is not None and config.get(key, config.get(other)) != config.get(other):
            report.append(f"{key} {config[key]} is not kept: it is {other} {config.get(other)} here")
    return arch


def _activation(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    if family.activation is None:
        return {}
    key, names = family.activation
    name = config.get(key, next(iter(names)))
    if name not in names:
        raise ConfigError(f"{key} is {name!r}, not one of {', '.join(names)}", cure="use another folder")
    return {"activation": names[name]}


def write_config(family: Family, arch: Any, tokens: Mapping[str, int | None]) -> dict[str, Any]:
    """Architecture -> config.json without what belongs to heads.

    tokens: ids of "bos", "eos" and "pad" where known; without them the keys are null, not the family's own numbers.
    """
    config = {"model_type": family.model_type, **{key: only for key, (only, _) in family.fixed.items()}}
    config |= {theirs: getattr(arch, ours) for theirs, ours in family.keys.items()}
    config |= {key: config[other] for key, other in family.same.items()}
    if family.activation is not None:
        key, names = family.activation
        config[key] = next(name for name, ours in names.items() if ours == arch.activation)
    config |= {"bos_token_id": None, "eos_token_id": None, **family.write(arch)}
    return config | {f"{name}_token_id": tokens[name] for name in ("bos", "eos") if tokens.get(name) is not None}
