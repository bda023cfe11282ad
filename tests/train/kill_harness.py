"""Kills, crashes and full disks, in a process of its own: torch is imported once and every victim is a fork of it.

``python kill_harness.py FOLDER SCENARIO`` prints one JSON object for test_kill.py. The undisturbed run is trained here
first: what torch imports lazily (0.8 s of a victim's 0.9) is then imported once; its data thread has ended by then.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from toy_training import ToyJob, ToyModel, ToyStream

from wordloom import disk
from wordloom.config import TrainConfig
from wordloom.errors import WordloomError
from wordloom.run import Run
from wordloom.train import checkpoint
from wordloom.train.loop import fit

MOMENTS = 20


def train(path: Path, steps: int) -> None:
    """Begin the run at ``path``, or go on with it: what a user types again after a crash."""
    settings = TrainConfig(
        steps=steps, batch=8, micro_batch=4, lr=1e-2, threads=1, precision="float32", log_every=2, evaluate_every=3,
        save_every=2, average=True,
    )  # fmt: skip
    resume = path.exists()
    model = ToyModel()
    with Run.open(path) if resume else Run.create(path, {}, "toy") as run:
        fit(ToyJob(memory=True), model, ToyStream(), settings, run, resume=resume, quiet=True, tensorboard=False)


def result(path: Path) -> dict[str, Any]:
    """All that a finished run leaves, less what depends on the clock."""
    index = json.loads((path / "checkpoints/index.json").read_text())
    files = sorted(path.glob("checkpoints/*/*"))
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("tokens_per_second", None)
    hashes = {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    return {"index": index, "files": hashes, "rows": rows, "left": sorted(p.name for p in path.glob("checkpoints/*"))}


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a child; 0, or 3 where it raised an error of ours, whose text goes to the child's stdout."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except WordloomError as error:
            print(error, file=sys.stderr)
            code = 3
        finally:
            os._exit(code)
    return child


def status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(path: Path, steps: int) -> dict[str, Any]:
    code = status(fork(lambda: train(path, steps)))
    return result(path) if code == 0 else {"resume failed": code}


def killed(folder: Path) -> dict[str, Any]:
    """SIGKILL at 20 seeded moments of the undisturbed run's duration; then resumed."""
    steps = 24
    train(folder / "whole", steps)
    whole = result(folder / "whole")
    start = time.monotonic()
    assert finish(folder / "again", steps) == whole
    duration = time.monotonic() - start
    rng = random.Random(11)
    moments = sorted(rng.uniform(0, 0.9 * duration) for _ in range(MOMENTS))
    wrong, died = [], 0
    for number, moment in enumerate(moments):
        path = folder / f"kill{number}"
        child = fork(lambda path=path: train(path, steps))  # type: ignore[misc]
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        died += status(child) == -signal.SIGKILL
        if finish(path, steps) != whole:
            wrong.append(moment / duration)
        shutil.rmtree(path)
    return {"wrong": wrong, "died": died, "kills": len(moments)}


# --- faults at every write and rename --------------------------------------------------------------------------------


def faulty(at: int, fault: Callable[[str, Any, tuple[Any, ...]], None]) -> None:
    """Replace the one seam every file of a run goes through: operation number ``at`` meets ``fault``."""
    count = 0

    def wrap(name: str, original: Any) -> Any:
        def call(*args: Any) -> None:
            nonlocal count
            count += 1
            if count == at:
                fault(name, original, args)
            else:
                original(*args)

        return call

    disk.write, disk.rename = wrap("write", disk.write), wrap("rename", disk.rename)  # type: ignore[assignment]


def before(name: str, original: Any, args: tuple[Any, ...]) -> None:
    os._exit(9)


def middle(name: str, original: Any, args: tuple[Any, ...]) -> None:
    original(*args)
    if name == "write":  # half of the file reached the disk
        os.truncate(args[0], os.path.getsize(args[0]) // 2)
    os._exit(9)


def full(name: str, original: Any, args: tuple[Any, ...]) -> None:
    if name == "write":
        Path(args[0]).write_bytes(b"half a f")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def faults(folder: Path, fault: Callable[..., None], expected: int) -> dict[str, Any]:
    """Every operation of a run in turn; a run that the fault did not reach ends the list."""
    steps = 4
    train(folder / "whole", steps)
    whole = result(folder / "whole")
    wrong: list[Any] = []
    for at in range(1, 200):
        path = folder / f"fault{at}"

        def victim(path: Path = path, at: int = at) -> None:
            faulty(at, fault)
            train(path, steps)

        code = status(fork(victim))
        if code == 0:
            return {"wrong": wrong, "operations": at - 1}
        if code != expected:
            wrong.append((at, "exit", code))
        if expected == 3 and (problem := _leftovers(path)):
            wrong.append((at, problem))
        if finish(path, steps) != whole:
            wrong.append((at, "other result"))
        shutil.rmtree(path)
    return {"wrong": wrong, "operations": -1}


def _leftovers(path: Path) -> str | None:
    """After a full disk: no half-written file anywhere, and the last good checkpoint loads."""
    if [p for p in path.parent.glob(f".{path.name}*")] or [p for p in path.rglob(".*") if p.name != ".lock"]:
        return "half-written files are left"
    index = path / "checkpoints/index.json"
    if index.exists():
        checkpoint.load(path / "checkpoints" / json.loads(index.read_text())["kept"][0])
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    where, scenario = Path(sys.argv[1]), sys.argv[2]
    if scenario == "kill":
        print(json.dumps(killed(where)))
    else:
        fault, expected = {"before": (before, 9), "middle": (middle, 9), "full": (full, 3)}[scenario]
        print(json.dumps(faults(where, fault, expected)))
