"""What a family of public checkpoints is: one declarative row, read in both directions.

A row says which of our parameters is which public tensor, which value of config.json is which field of an
architecture, and what else the public code takes for granted. Nothing else in `interop` knows a family by name; the
rows lie in `families/`, one file each, and are listed in `families/__init__.py`.

To add one: state ``parts`` as our name -> public names. ``{i}`` stands for the number in our name, so the layers of a
deep model, of a shared one (number 0 alone) and of two stacks ("encoder.layers.{i}...", "decoder.layers.{i}...") are
all written once. Which rows are used, and every shape, is read off our own modules, built without memory: a row whose
parameter this architecture has not (a bias, a segment table) is skipped, a parameter without a row means that the
family cannot hold the architecture. ``body`` and ``heads`` make these modules, ``architecture`` is their class of
values: an encoder-decoder names its own. Where a public tensor is not our matrix cut along dimension 0, give a `View`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from wordloom.model.architecture import Activation, Architecture
from wordloom.model.heads import CausalHead, ClassifyHead, MaskedHead, PairHead, Pooler, ReplacedHead
from wordloom.model.span_head import SpanHead
from wordloom.model.tag_head import TagHead
from wordloom.model.transformer import Transformer

Rows = Mapping[str, tuple[str, ...]]
MakeHead = Callable[[Any, int], nn.Module]  # (architecture, classes)

ACTIVATIONS: Mapping[str, Activation] = {  # public name -> ours; the first of two is the one that is written
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}
HEADS: Mapping[str, MakeHead] = {
    "pooler": lambda arch, classes: Pooler(arch),
    "masked": lambda arch, classes: MaskedHead(arch),
    "causal": lambda arch, classes: CausalHead(arch),
    "next_sentence": lambda arch, classes: PairHead(arch),
    "sentence_order": lambda arch, classes: PairHead(arch),
    "replaced": lambda arch, classes: ReplacedHead(arch),
    "classify": lambda arch, classes: ClassifyHead(arch, classes, "cls"),
    "answer": lambda arch, classes: SpanHead(arch),
    "tag": lambda arch, classes: TagHead(arch, classes),
}
CAUSAL_HEADS: Mapping[str, MakeHead] = {
    **HEADS,
    "classify": lambda arch, classes: ClassifyHead(arch, classes, "last"),
}


@dataclass(frozen=True)
class View:
    """How a public tensor is seen as rows of our matrix: ``theirs`` of one piece, and back; both of (tensor, arch)."""

    theirs: Callable[[Tensor, Any], Tensor]
    ours: Callable[[Tensor, Any], Tensor]


TRANSPOSED = View(lambda t, arch: t.mT, lambda t, arch: t.mT)  # GPT-2's Conv1D keeps (inputs, outputs)


@dataclass(frozen=True, eq=False)  # equal to itself alone: rows are dicts, and results are kept by family
class Family:
    """One family.

    model_type: config.json's. prefix: of the body's public names, absent in folders that hold the body alone.
    parts: what a folder may hold: "body", "pooler" and heads; our name -> public names, joined along dimension 0.
    classes: ("part", ...) -> the transformers class that has these heads; the first that a model has wins.
    keys: config.json key -> field, value for value. activation: its key and names. slots: fields the family fixes.
    derived: fields that ``read`` and ``write`` turn into further keys; ``unfit`` says what else an architecture lacks.
    fixed: key -> (the one value that is supported, what another would mean). defaults: of keys that may be absent,
    where they are not ours. same: key -> key whose value it has here, dropouts alone; a difference is reported.
    copies: tied copy -> original. ignorable: patterns of buffers. spellings: old patterns of names -> today's.
    gated: rows of a gated body that stand for those of ``parts``; apart, apart_copies: rows and copies of a body with a
    table of tokens for each side, that stand for those of ``parts`` and for ``copies``.
    settle: (architecture, raw tensors) -> architecture, where only the weights tell what it is.
    views: our name (with ``{i}``) -> View. generates: whether generation_config.json belongs to it.
    """

    model_type: str
    prefix: str
    parts: Mapping[str, Rows]
    classes: tuple[tuple[tuple[str, ...], str], ...]
    keys: Mapping[str, str]
    required: tuple[str, ...]
    activation: tuple[str, Mapping[str, Activation]] | None = None
    slots: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    read: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda config: {}
    write: Callable[[Any], dict[str, Any]] = lambda arch: {}
    unfit: Callable[[Any], list[str]] = lambda arch: []
    copies: Mapping[str, str] = field(default_factory=dict)
    ignorable: tuple[str, ...] = ()
    spellings: Mapping[str, str] = field(default_factory=dict)
    gated: Rows = field(default_factory=dict)
    apart: Rows = field(default_factory=dict)
    apart_copies: Mapping[str, str] = field(default_factory=dict)
    settle: Callable[[Any, Mapping[str, Tensor]], Any] = lambda arch, tensors: arch
    views: Mapping[str, View] = field(default_factory=dict)
    classifier_dropout: str | None = "classifier_dropout"
    generates: bool = False
    architecture: type[Any] = Architecture
    body: Callable[[Any], nn.Module] = Transformer
    heads: Mapping[str, MakeHead] = field(default_factory=lambda: HEADS)


ANSWER: Rows = {"output.weight": ("qa_outputs.weight",), "output.bias": ("qa_outputs.bias",)}  # of most families
TAG: Rows = {"output.weight": ("classifier.weight",), "output.bias": ("classifier.bias",)}


def pair(ours: str, *theirs: str) -> dict[str, tuple[str, ...]]:
    """The rows of a matrix and its bias."""
    return {f"{ours}.{leaf}": tuple(f"{name}.{leaf}" for name in theirs) for leaf in ("weight", "bias")}


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def row_of(rows: Mapping[str, Any], ours: str) -> tuple[Any, str]:
    """(the entry of our parameter's name, its number), (None, ...) where there is none."""
    number = _NUMBER.search(ours)
    return rows.get(_NUMBER.sub("{i}", ours)), number.group() if number else "0"
