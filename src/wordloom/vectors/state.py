"""Checkpoints of a Word2Vec run: both matrices and the number of the next block, which is all there is to keep."""

from __future__ import annotations

import re

from wordloom.disk import replace
from wordloom.errors import RunError
from wordloom.run import Run
from wordloom.vectors.formats.native import map_tensors, write_tensors
from wordloom.vectors.training import Trainer
from wordloom.vectors.weights import Weights

_NAME = re.compile(r"block-(\d+)\.safetensors")


def save(run: Run, trainer: Trainer) -> None:
    """RUN/checkpoints/block-N.safetensors appears whole or not at all; older ones go. The trainer must be at rest."""
    weights = trainer.weights
    tensors = {"inputs": weights.rows(weights.inputs), "outputs": weights.rows(weights.outputs)}
    target = run.checkpoints / f"block-{trainer.block}.safetensors"
    run.sync_log()
    run.checkpoints.mkdir(exist_ok=True)
    replace(target, lambda path: write_tensors(path, tensors))
    for old in run.checkpoints.glob("*block-*"):
        if old != target:
            old.unlink()


def restore(run: Run, weights: Weights) -> int:
    """Fill the weights from the newest checkpoint; the next block, 0 where there is none."""
    found = {int(m[1]): p for p in run.checkpoints.glob("*") if (m := _NAME.fullmatch(p.name))}
    if not found:
        return 0
    block = max(found)
    tensors = map_tensors(found[block])
    for name, flat in (("inputs", weights.inputs), ("outputs", weights.outputs)):
        kept, to = tensors.get(name), weights.rows(flat)
        if kept is None or kept.shape != to.shape:
            raise RunError("the checkpoint is of other vectors", where=found[block], cure="remove it and resume")
        to[:] = kept
    return block


def remove(run: Run) -> None:
    for old in run.checkpoints.glob("*block-*"):
        old.unlink()
