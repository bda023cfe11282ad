"""Checkpoints: a folder each, written whole or not at all; ``index.json`` says which is last and which is best.

    checkpoints/index.json                 {"kept": [newest, ...], "best": ..., "evaluations": [{step, scores}, ...]}
    checkpoints/step-00000100/model.safetensors, optimiser.safetensors, ... , checkpoint.json (hashes, step, log state)

Order of a save: files -> fsync -> rename of the folder -> index -> removal of what the index no longer names. A kill
between any two of them leaves an index that names complete checkpoints only. The newest two and the best are kept: the
second newest is what a damaged newest falls back to.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wordloom import disk
from wordloom.errors import RunError, TrainingError

FORMAT = "wordloom-checkpoint"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """step: steps done. tensors: file stem -> name -> tensor. log: what the run log needs to go on."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    log: dict[str, Any]


@dataclass
class Index:
    kept: list[str] = field(default_factory=list)
    best: str | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    def evaluation(self, step: int) -> dict[str, float] | None:
        return next((e["scores"] for e in self.evaluations if e["step"] == step), None)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write one checkpoint folder, complete or not at all. Raises TrainingError on a full disk, nothing left behind."""
    building = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        hashes = {}
        for stem, tensors in checkpoint.tensors.items():
            file = building / f"{stem}.safetensors"
            plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
            disk.write(file, lambda path, plain=plain: save_file(plain, path))  # type: ignore[misc]
            hashes[file.name] = _sha256(file)
        facts = {"format": FORMAT, "step": checkpoint.step, "sha256": hashes, "log": checkpoint.log}
        disk.write(building / "checkpoint.json", json.dumps(facts, indent=1).encode("utf-8"))
        if folder.exists():
            shutil.rmtree(folder)  # left by a process killed before its index named it, or damaged
        disk.rename(building, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(building, ignore_errors=True)
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        cure = f"{disk.cure_of(error)} and resume: the checkpoint before this one is whole"
        raise TrainingError(f"cannot save the checkpoint: {reason}", where=folder, cure=cure) from error


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint and verify every file against its hash. Raises RunError where it is damaged."""
    cure = "resume from an older checkpoint or start the run again"
    try:
        facts = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
        if facts.get("format") != FORMAT:
            raise RunError("not a checkpoint of this program", where=folder, cure=cure)
        tensors = {}
        for name, expected in facts["sha256"].items():
            if _sha256(folder / name) != expected:
                raise RunError("damaged: its content is not what was saved", where=folder / name, cure=cure)
            tensors[Path(name).stem] = load_file(folder / name)
        return Checkpoint(facts["step"], tensors, facts["log"])
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise RunError(f"unreadable checkpoint ({error})", where=folder, cure=cure) from error


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters (a tied one once) and persistent buffers by name."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    aliases = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return parameters | {name: t for name, t in model.state_dict().items() if name not in aliases}


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copy tensors into a model; names and shapes must agree exactly."""
    target = weights(model)
    wrong = sorted(set(target) ^ set(tensors))
    wrong += [n for n in target if n in tensors and target[n].shape != tensors[n].shape]
    if wrong:
        cure = "resume with the model the run was started with"
        raise RunError(f"the checkpoint is of another model: {', '.join(wrong[:3])}", where=where, cure=cure)
    for name, tensor in tensors.items():
        target[name].data.copy_(tensor)


class Checkpoints:
    """The checkpoints of one run: what is last, what is best, what evaluations gave."""

    def __init__(self, folder: Path, score: tuple[str, bool], writes: bool = True):
        self.folder, self._writes = folder, writes  # ranks that do not write keep the same index in memory
        self._score, self._higher = score
        self.index = Index()

    def save(self, checkpoint: Checkpoint) -> None:
        name = f"step-{checkpoint.step:08d}"
        if self._writes:
            save(self.folder / name, checkpoint)
        self.index.kept = [name, *[k for k in self.index.kept if k != name]][:KEPT]
        self._write()

    def evaluated(self, step: int, scores: dict[str, float]) -> None:
        """Record an evaluation; the newest checkpoint becomes the best where the score says so."""
        self.index.evaluations.append({"step": step, "scores": scores})
        if self.best_step() == step and self.index.kept:
            self.index.best = self.index.kept[0]
        self._write()

    def best_step(self) -> int | None:
        """Step of the best evaluation, of equals that of the least loss, then the earliest; None before the first
        (or while all are nan). With 50 validation examples most evaluations tie in accuracy; their losses do not."""
        rows = [(e["scores"][self._score], e["scores"].get("loss", 0.0), e["step"]) for e in self.index.evaluations]
        rows = [row for row in rows if row[0] is not None and row[0] == row[0]]
        if not rows:
            return None
        return min(rows, key=lambda row: (-row[0] if self._higher else row[0], *row[1:]))[2]

    def without_gain(self) -> int:
        """Evaluations since the best one."""
        best = self.best_step()
        return sum(best is None or e["step"] > best for e in self.index.evaluations)

    def restore(self) -> tuple[Checkpoint | None, str | None]:
        """(newest whole checkpoint or None, what was wrong with a newer one). Removes what killed saves left."""
        self.index = self._read()
        trouble = None
        for name in list(self.index.kept):
            try:
                checkpoint = load(self.folder / name)
            except RunError as error:
                trouble = trouble or str(error)
                self.index.kept.remove(name)
                continue
            self.index.evaluations = [e for e in self.index.evaluations if e["step"] <= checkpoint.step]
            best = self.best_step()
            self.index.best = None if best is None else f"step-{best:08d}"
            self._write()
            return checkpoint, trouble
        if trouble is not None:
            raise RunError(f"no checkpoint can be read; the newest: {trouble}", cure="start the run again")
        self._prune()
        return None, None

    def best(self) -> Checkpoint | None:
        """The best checkpoint by the job's score; the last where nothing was evaluated."""
        name = next((n for n in [self.index.best, *self.index.kept] if n and (self.folder / n).exists()), None)
        return None if name is None else load(self.folder / name)

    def _read(self) -> Index:
        file = self.folder / "index.json"
        if not file.exists():
            return Index()
        try:
            return Index(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"unreadable: {error}", where=file, cure="start the run again") from None

    def _write(self) -> None:
        if not self._writes:
            return
        try:
            disk.write_json(self.folder / "index.json", self.index.__dict__)
        except RunError as error:
            raise TrainingError(error.what, where=error.where, cure=error.cure) from error
        self._prune()

    def _prune(self) -> None:
        named = {*self.index.kept, self.index.best, "index.json"}
        for path in self.folder.glob("*"):
            if path.name not in named:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
