"""Several processes, one run: PyTorch's own DistributedDataParallel under ``torchrun``, nothing of ours.

Micro-batch p of a step belongs to rank p mod size, so a step is the same set of micro-batches for any number of
processes. Every rank builds all of them (the stream is a pure function) and so knows the totals without asking.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wordloom.errors import ConfigError, RunError, WordloomError
from wordloom.run import Run


@dataclass(frozen=True)
class World:
    """rank of this process among ``size``; ``local`` is its number on this machine (its GPU)."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def parts(self, parts: int) -> range:
        """Numbers of the micro-batches this rank computes."""
        return range(self.rank, parts, self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place; every rank holds the same bits afterwards."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, value: Any) -> Any:
        """Rank 0's value on every rank."""
        if self.size > 1:
            box = [value]
            dist.broadcast_object_list(box)
            return box[0]
        return value

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def refuse_several(verb: str) -> None:
    """For verbs that are a sequence of trainings: ConfigError under torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        cure = "start it without torchrun; pretrain and finetune of one seed take several processes"
        raise ConfigError(f"{verb} works in one process", cure=cure)


def start() -> World:
    """The world torchrun describes in the environment; one process alone where it does not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if not dist.is_initialized():
        if os.environ.get("LOCAL_WORLD_SIZE") == str(size) and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: never leave the loopback
        # Rank 0 evaluates while the others wait for its scores, so the limit is that of an evaluation, not of a step.
        limit = datetime.timedelta(hours=12)
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=limit)
    return World(rank, size, local)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(module: nn.Module, world: World) -> nn.Module:
    """DDP around ``module``; made again whenever the set of trainable parameters changes."""
    if world.size == 1:
        return module
    # A part need not touch every head (a pair head without pairs), hence find_unused_parameters.
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)


def no_sync(module: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Gradients stay local: for every part of a step but the last."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def shared_run(world: World, make: Callable[[], Run]) -> Run:
    """``make()`` on rank 0; the same run, for reading only, on the others. Its failure is every rank's failure."""
    run: Run | None = None
    path, failure = "", None
    if world.writes:
        try:
            run = make()
            path = str(run.path)
        except WordloomError as error:
            failure = (type(error), error.what, error.where, error.cure)
    path, failure = world.share((path, failure))
    if failure is not None:
        kind, what, where, cure = failure
        raise kind(what, where=where, cure=cure)
    return run if run is not None else Run.open(path, writable=False)


def check_parts(parts: int, world: World) -> None:
    if parts % world.size:
        cure = f"choose train.micro_batch so that their number is a multiple of {world.size}"
        raise RunError(f"{parts} micro-batches cannot be shared evenly by {world.size} processes", cure=cure)
