"""Names and tensors: our state of a part <-> the public tensors of a family, each way from its one row."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from wordloom.errors import BundleError
from wordloom.model.interop.family import Family, View, row_of

_AS_IS = View(lambda t, arch: t, lambda t, arch: t)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one parameter of ours lies: public names, their view, the shape of each of them, and ours."""

    names: tuple[str, ...]
    view: View
    shape: tuple[int, ...]
    ours: tuple[int, ...]


@lru_cache(maxsize=64)  # a large model's modules take a tenth of a second to build, even without memory
def places(family: Family, part: str, arch: Any, classes: int = 2) -> dict[str, Place | None]:
    """Our names of the part's parameters -> their places; None for one without a row. Not to be changed."""
    with torch.device("meta"):  # shapes only: no memory, and the random state stays as it is
        module = family.body(arch) if part == "body" else family.heads[part](arch, classes)
    rows = {**family.parts[part], **family.gated} if getattr(arch, "gated", False) else family.parts[part]
    rows = {**rows, **family.apart} if _has_two_tables(arch) else rows
    found: dict[str, Place | None] = {}
    for ours, tensor in module.state_dict().items():
        names, number = row_of(rows, ours)
        view = row_of(family.views, ours)[0] or _AS_IS
        if names is None or tensor.shape[0] % len(names):
            found[ours] = None
            continue
        piece = view.theirs(tensor[: tensor.shape[0] // len(names)], arch)
        found[ours] = Place(
            tuple(name.format(i=number) for name in names), view, tuple(piece.shape), tuple(tensor.shape)
        )
    return found


def shapes(family: Family, part: str, arch: Any, classes: int = 2) -> dict[str, tuple[int, ...]]:
    """Public names of the part -> shapes."""
    found = places(family, part, arch, classes).values()
    return {name: place.shape for place in found if place is not None for name in place.names}


def to_theirs(family: Family, part: str, state: Mapping[str, Tensor], arch: Any, classes: int = 2) -> dict[str, Tensor]:
    """Our state of a part that the family holds -> public names; joined tensors are cut into equal pieces."""
    out: dict[str, Tensor] = {}
    for ours, place in places(family, part, arch, classes).items():
        assert place is not None, ours  # has_twin and family_of have looked
        pieces = state[ours].chunk(len(place.names))
        out.update({n: place.view.theirs(p, arch).contiguous() for n, p in zip(place.names, pieces, strict=True)})
    return out


def to_ours(family: Family, part: str, tensors: Mapping[str, Tensor], arch: Any, classes: int = 2) -> dict[str, Tensor]:
    """Public tensors, every name of the part present -> our state of the part."""
    out: dict[str, Tensor] = {}
    for ours, place in places(family, part, arch, classes).items():
        assert place is not None, ours
        pieces = [place.view.ours(tensors[name], arch) for name in place.names]
        out[ours] = torch.cat(pieces) if len(pieces) > 1 else pieces[0].contiguous()
    return out


def tidy(
    raw: Mapping[str, Tensor], family: Family, known: frozenset[str], folder: Any, report: list[str]
) -> dict[str, Tensor]:
    """Today's names with the body's prefix, float32 at least, without buffers that hold no weights.

    known: every public name of this architecture. Raises BundleError where two names become one.
    """
    tensors: dict[str, Tensor] = {}
    widened = set()
    for key, tensor in raw.items():
        name = key
        for old, new in family.spellings.items():
            name = re.sub(old, new, name)
        prefixed = family.prefix + name
        if any(re.fullmatch(pattern, n) for pattern in family.ignorable for n in (name, prefixed)):
            report.append(f"ignored {key}: a buffer that holds no weights")
            continue
        if name not in known and prefixed in known:
            name = prefixed
        if name in tensors:
            raise BundleError(f"holds {name} twice, once as {key}", where=folder, cure="save the folder again")
        if tensor.dtype in (torch.float16, torch.bfloat16):
            widened.add(str(tensor.dtype))
            tensor = tensor.float()
        tensors[name] = tensor
    report += [f"weights widened from {dtype} to float32" for dtype in sorted(widened)]
    return tensors


def _has_two_tables(arch: Any) -> bool:
    return getattr(arch, "source_vocab_size", None) is not None


def merge_copies(tensors: dict[str, Tensor], family: Family, known: frozenset[str], arch: Any) -> list[str]:
    """Remove tied copies from ``tensors``; the problems are copies that differ from their original.

    A copy that is a parameter of its own here (an untied output matrix) is none.
    """
    problems = []
    for copy, original in (family.apart_copies if _has_two_tables(arch) else family.copies).items():
        if copy not in tensors or copy in known:
            continue
        tensor = tensors.pop(copy)
        if original not in tensors:
            tensors[original] = tensor  # some folders store only the copy
        elif not torch.equal(tensor, tensors[original]):
            problems.append(f"{copy} differs from {original}, and config.json does not say tie_word_embeddings: false")
    return problems


def add_copies(tensors: dict[str, Tensor], family: Family) -> None:
    """Write out what the public code ties only together with the output matrix, where that is untied."""
    for copy, original in family.copies.items():
        if copy not in tensors and original in tensors and copy.endswith("bias"):
            tensors[copy] = tensors[original].clone()
