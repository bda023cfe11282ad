"""The key map between our parameters and those of a public BERT folder, stated once and read both ways.

A row maps one of our names to the public names whose tensors, joined along dimension 0, it holds;
``{i}`` runs over the layers. Parts are what a folder may or may not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wordloom.model.architecture import Architecture

Rows = dict[str, tuple[str, ...]]


def _pair(ours: str, *theirs: str) -> Rows:
    return {f"{ours}.{leaf}": tuple(f"{name}.{leaf}" for name in theirs) for leaf in ("weight", "bias")}


_LAYER = "bert.encoder.layer.{i}"
_SELF = f"{_LAYER}.attention.self"
PARTS: dict[str, Rows] = {
    "body": {
        "embeddings.tokens.weight": ("bert.embeddings.word_embeddings.weight",),
        "embeddings.positions.weight": ("bert.embeddings.position_embeddings.weight",),
        "embeddings.types.weight": ("bert.embeddings.token_type_embeddings.weight",),
        **_pair("embeddings.norm", "bert.embeddings.LayerNorm"),
        **_pair("layers.{i}.attention.qkv", f"{_SELF}.query", f"{_SELF}.key", f"{_SELF}.value"),
        **_pair("layers.{i}.attention.output", f"{_LAYER}.attention.output.dense"),
        **_pair("layers.{i}.attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
        **_pair("layers.{i}.ffn_in", f"{_LAYER}.intermediate.dense"),
        **_pair("layers.{i}.ffn_out", f"{_LAYER}.output.dense"),
        **_pair("layers.{i}.ffn_norm", f"{_LAYER}.output.LayerNorm"),
    },
    "pooler": _pair("dense", "bert.pooler.dense"),
    "masked": {
        **_pair("dense", "cls.predictions.transform.dense"),
        **_pair("norm", "cls.predictions.transform.LayerNorm"),
        "bias": ("cls.predictions.bias",),
    },
    "next_sentence": _pair("output", "cls.seq_relationship"),
    "classify": _pair("output", "classifier"),
}
POOLED = ("next_sentence", "classify")  # heads whose public twin reads the shared pooler

# Copies of other tensors: {copy: original}. Refused when they differ, since the copy could not be kept.
COPIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
# Buffers that old versions wrote and that hold no weights: position and segment numbers.
IGNORABLE = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")


def part_rows(part: str, arch: Architecture) -> Rows:
    """The part's rows with the layer numbers filled in."""
    rows: Rows = {}
    for ours, theirs in PARTS[part].items():
        for i in range(arch.layers) if "{i}" in ours else (0,):
            rows[ours.format(i=i)] = tuple(name.format(i=i) for name in theirs)
    return rows


def modern(key: str) -> str:
    """An old spelling of a public key -> today's: gamma and beta, and bodies saved without ``bert.``."""
    if key.startswith(("embeddings.", "encoder.", "pooler.")):
        key = f"bert.{key}"
    stem, _, leaf = key.rpartition(".")
    if stem.endswith("LayerNorm"):
        key = f"{stem}.{ {'gamma': 'weight', 'beta': 'bias'}.get(leaf, leaf) }"
    return key


def to_theirs(part: str, state: Mapping[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """Our state of a part -> public names; joined tensors are cut into equal pieces."""
    out: dict[str, Tensor] = {}
    for ours, theirs in part_rows(part, arch).items():
        pieces = state[ours].chunk(len(theirs))
        out.update({name: piece.contiguous() for name, piece in zip(theirs, pieces, strict=True)})
    return out


def to_ours(part: str, tensors: Mapping[str, Tensor], arch: Architecture) -> dict[str, Tensor]:
    """Public tensors, every name of the part present -> our state of the part."""
    return {
        ours: torch.cat([tensors[name] for name in theirs]) if len(theirs) > 1 else tensors[theirs[0]]
        for ours, theirs in part_rows(part, arch).items()
    }


def shapes(arch: Architecture, classes: int) -> dict[str, tuple[int, ...]]:
    """Shape of every public tensor this architecture has, all parts."""
    D, F, V = arch.width, arch.ffn_width, arch.vocab_size
    tall = {
        "embeddings.tokens": V,
        "embeddings.positions": arch.max_positions,
        "embeddings.types": arch.types,
        "ffn_in": F,
        "": V,  # the masked head's bias
    }
    out: dict[str, tuple[int, ...]] = {}
    for part in PARTS:
        for ours, theirs in part_rows(part, arch).items():
            module, _, leaf = ours.rpartition(".")
            rows = next((n for end, n in tall.items() if module == end or (end and module.endswith(end))), D)
            if part in POOLED:
                rows = classes if part == "classify" else 2
            columns = F if module.endswith("ffn_out") else D
            vector = leaf == "bias" or module.endswith("norm")
            out.update(dict.fromkeys(theirs, (rows,) if vector else (rows, columns)))
    return out
