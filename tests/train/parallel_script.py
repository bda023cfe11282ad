"""One run, an interruption seen by one rank only, its resumption, and a refused step; alone or under torchrun."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from toy_training import ToyJob, ToyModel, ToyStream

from wordloom.config import TrainConfig
from wordloom.data.batch import Batch
from wordloom.errors import RunError, TrainingError
from wordloom.run import Run
from wordloom.train import parallel
from wordloom.train.loop import Interrupted, fit

SETTINGS = {
    "steps": 8, "batch": 8, "micro_batch": 2, "lr": 1e-2, "threads": 1, "precision": "float32", "log_every": 1,
    "evaluate_every": 3, "freeze": "gradual", "layer_decay": 0.8, "average": True,
}  # fmt: skip


class StopsOneRank(ToyJob):
    """The last rank alone receives SIGTERM, in step 4: all ranks must stop after the same step."""

    def __init__(self, world: parallel.World):
        super().__init__(memory=True)
        self.last = world.rank == world.size - 1
        self.calls, self.at = 0, 4 * (4 // world.size)

    def loss(self, model: nn.Module, batch: Batch, state: Any) -> Any:
        if self.last and self.calls == self.at:
            signal.raise_signal(signal.SIGTERM)
        self.calls += 1
        return super().loss(model, batch, state)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    world = parallel.start()
    options: dict[str, Any] = {"quiet": True, "tensorboard": False, "world": world}
    settings = TrainConfig.model_validate(SETTINGS)
    facts: dict[str, Any] = {"rank": world.rank, "interrupted": False, "refused": ""}

    def create(name: str) -> Run:
        return parallel.shared_run(world, lambda: Run.create(folder / name, {}, "toy"))

    model = ToyModel(seed=world.rank)  # rank 0's weights count
    with create("run") as run:
        try:
            fit(StopsOneRank(world), model, ToyStream(), settings, run, layers=model.layers(), **options)
        except Interrupted as stopped:
            facts["interrupted"] = str(stopped)
    model = ToyModel(seed=7)
    with parallel.shared_run(world, lambda: Run.open(folder / "run")) as run:
        job = ToyJob(memory=True)
        outcome = fit(job, model, ToyStream(), settings, run, layers=model.layers(), resume=True, **options)
    with create("poisoned") as run:
        try:
            fit(
                ToyJob(),
                ToyModel(),
                ToyStream(poison=2),
                settings.model_copy(update={"freeze": "none", "layer_decay": 1.0}),
                run,
                **options,
            )
        except TrainingError as refused:
            facts["refused"] = str(refused)
    try:
        create("run")
    except RunError as error:
        facts["exists"] = str(error)
    facts |= {"scores": outcome.scores, "best": outcome.best_step, "weight": model.hidden.weight.sum().item()}
    (folder / f"rank{world.rank}.json").write_text(json.dumps(facts))
    parallel.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
