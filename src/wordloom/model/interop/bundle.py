"""A bundle: one folder that opens anywhere. ``wordloom.json`` states what the weights are and their hashes.

Where a public family computes what the body does, model.safetensors + config.json are its layout (body, and heads with
a twin); heads without one are in head.safetensors under our own names. A body without a twin is in model.safetensors
under our own names, and config.json's model_type is "wordloom", which AutoModel does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wordloom.errors import BundleError, ConfigError
from wordloom.model.adaptive import AdaptiveHead
from wordloom.model.build import AnyArchitecture, architecture_from_json, make_body
from wordloom.model.crf import CRF
from wordloom.model.embed_head import EmbedHead
from wordloom.model.heads import CausalHead, ClassifyHead, MaskedHead, PairHead, Pooler, ReplacedHead, TokenHead
from wordloom.model.interop.families import FAMILIES
from wordloom.model.interop.family import Family
from wordloom.model.interop.files import atomic_folder, read_json, read_tensors, sha256, write_json, write_tensors
from wordloom.model.interop.hf import Loaded, apply_states, fits, has_twin, load_hf, write_hf
from wordloom.model.interop.settings import family_of
from wordloom.model.model import Model
from wordloom.model.near_head import NearHead
from wordloom.model.roles_head import RolesHead
from wordloom.model.span_head import SpanHead
from wordloom.model.surface_head import SurfaceHead
from wordloom.model.tag_head import TagHead

FORMAT = 1
_AGAIN = "copy the folder again"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle. kind: what the folder is for ("pretrained", "classify"); twin: "exact" when AutoModel opens
    everything, "body" when some head is ours alone, "none" when the body is; extra: what the saver added."""

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
    tokens: Mapping[str, int | None] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the whole folder, or nothing: a temporary folder is filled, then renamed.

    extra: JSON values kept under "extra"; of these ``labels`` (list of class names) and ``problem_type`` also
    go to config.json. also: writes further files (the tokenizer's) into the folder before it is renamed.
    tokens: ids of "bos", "eos" and "pad", for config.json and generation_config.json.
    Raises BundleError when the folder holds something and overwrite is False.
    """
    family = family_of(model.arch, model.heads.keys())
    with atomic_folder(Path(folder), overwrite) as temp:
        own = [name for name in model.heads if family is None or not has_twin(model, name, family)]
        if family is None:
            write_tensors(temp / "model.safetensors", model.body.state_dict())
            write_json(temp / "config.json", {"model_type": "wordloom", "architectures": []})
        else:
            labels, problem_type = extra.get("labels"), extra.get("problem_type")
            write_hf(temp, model, labels=labels, problem_type=problem_type, tokens=tokens, family=family)
        weights = ["model.safetensors"]
        tensors = {f"{name}.{k}": v for name in own for k, v in model.heads[name].state_dict().items()}
        if tensors:  # a head may be a rule without weights
            weights.append("head.safetensors")
            write_tensors(temp / "head.safetensors", tensors)
        if also is not None:
            also(temp)
        values = {
            "format": FORMAT,
            "kind": kind,
            "twin": "none" if family is None else "body" if own else "exact",
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
    arch = architecture_from_json(values["architecture"])
    model = Model(make_body(arch), {name: _head(arch, name, row, where) for name, row in values["heads"].items()})
    _fill(model, folder, values["twin"] != "none")
    return Bundle(folder, model.eval(), values["kind"], values["twin"], values["extra"])


def load_any(folder: str | Path) -> Loaded:
    """The weights of a bundle, with or without a twin, or of a public folder. Raises BundleError as these do."""
    if not (Path(folder) / "wordloom.json").exists():
        return load_hf(folder)
    bundle = load_bundle(folder)
    states = {"body": bundle.model.body.state_dict()}
    states |= {name: head.state_dict() for name, head in bundle.model.heads.items()}
    for name, head in bundle.model.heads.items():
        if isinstance(getattr(head, "pooler", None), nn.Module) and isinstance(head, (PairHead, ClassifyHead)):
            states["pooler"] = head.pooler.state_dict()
            states[name] = {k: v for k, v in states[name].items() if not k.startswith("pooler.")}
    labels = tuple(bundle.extra.get("labels", ()))
    family = family_of(bundle.model.arch, bundle.model.heads.keys())
    name = "wordloom" if family is None else family.model_type
    return Loaded(bundle.model.arch, states, labels, bundle.extra.get("problem_type"), name)


def _fill(model: Model, folder: Path, has_public_body: bool) -> None:
    family: Family | None = None
    if has_public_body:
        family = FAMILIES.get(str(read_json(folder / "config.json").get("model_type")))
    there = (folder / "head.safetensors").exists()  # not where no head has weights; its hash was compared
    tensors = read_tensors(folder / "head.safetensors") if there else {}
    ours = {key.split(".")[0] for key in tensors}
    twins = [name for name in model.heads if family is not None and name not in ours and fits(model, name, family)]
    states: dict[str, dict[str, Tensor]]
    states = load_hf(folder, twins).states if has_public_body else {"body": read_tensors(folder / "model.safetensors")}
    model.to(next(iter(states["body"].values())).dtype)  # float64 stays float64
    own = [name for name in model.heads if name not in twins]
    fresh = set(apply_states(model, states))
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


def _causal(arch: AnyArchitecture, **row: Any) -> nn.Module:
    return AdaptiveHead(arch.vocab_size, arch.width, **row) if row else CausalHead(arch)


_KINDS: dict[str, Callable[..., nn.Module]] = {
    "pooler": Pooler,
    "masked": MaskedHead,
    "causal": _causal,
    "permuted": partial(TokenHead, transform=False, bias=True),
    "next_sentence": PairHead,
    "sentence_order": PairHead,
    "replaced": ReplacedHead,
    "classify": ClassifyHead,
    "embed": EmbedHead,
    "answer": SpanHead,
    "near": NearHead,
    "tag": TagHead,
    "crf": CRF,
    "surface": SurfaceHead,
    "roles": RolesHead,
}


def _describe(head: nn.Module) -> dict[str, Any]:
    """What a head is made from beside the architecture; some are made from that alone."""
    settings = getattr(head, "settings", None)
    return {} if settings is None else dict(settings())


def _head(arch: AnyArchitecture, name: str, row: dict[str, Any], where: Path) -> nn.Module:
    if name not in _KINDS:
        raise BundleError(f"unknown head {name!r}", where=where, cure="open it with the version that wrote it")
    try:
        return _KINDS[name](arch, **row)
    except (TypeError, ConfigError) as error:
        what = error.what if isinstance(error, ConfigError) else str(error)
        raise BundleError(f"head {name} is described wrongly: {what}", where=where, cure=_AGAIN) from None
