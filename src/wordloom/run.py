"""The run directory: one folder, one result. Created whole or not at all, locked, never overwritten unasked.

    RUN/{recipe.toml, manifest.json, metrics.jsonl, scores.json, checkpoints/, bundle/, tensorboard/, report.html}

Every file that a later step depends on goes through ``disk``: a reader finds the old file or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from wordloom import disk
from wordloom.errors import RunError
from wordloom.toml_text import to_toml

FORMAT = "wordloom-run"
VERSIONED = ("wordloom", "torch", "numpy", "numba", "llvmlite", "tokenizers", "safetensors", "scikit-learn")


class Run:
    """One run directory. Made by ``create`` or ``open``; as a context manager it gives the lock back at the end."""

    def __init__(self, path: Path, manifest: dict[str, Any], lock: IO[str] | None):
        self.path, self.manifest, self._lock = path, manifest, lock
        self.checkpoints, self.bundle, self.tensorboard = path / "checkpoints", path / "bundle", path / "tensorboard"
        self._metrics: IO[str] | None = None
        self._untouched = False  # opened, and nothing written since

    @classmethod
    def create(cls, path: str | Path, recipe: dict[str, Any], kind: str, overwrite: bool = False) -> Run:
        """A new, locked run. The folder appears complete or not at all.

        overwrite: replace a folder that is itself a run (nothing else is ever replaced); it is moved aside and
        removed once the new one stands. Raises RunError where the folder holds anything else, is in use, or holds the
        start that the recipe names.
        """
        path = Path(path).absolute()
        _recover(path)
        start = (recipe.get("model") or {}).get("start")
        if overwrite and start is not None and Path(start).absolute().is_relative_to(path) and Path(start).exists():
            what = "the run would replace the model that it starts from"
            raise RunError(what, where=path, cure="choose another folder for --out")
        old_lock = _may_replace(path, overwrite)
        building, aside = _beside(path, "new"), _beside(path, "old")
        try:
            building.mkdir(parents=True)
            lock = _take_lock(building)
            text = to_toml(recipe)
            disk.write(building / "recipe.toml", text.encode("utf-8"))
            manifest = _manifest(recipe, text, kind)
            disk.write_json(building / "manifest.json", manifest)
            if old_lock is not None:
                disk.rename(path, aside)
            disk.rename(building, path)
        except (OSError, RunError) as error:
            if old_lock is not None:
                old_lock.close()
            shutil.rmtree(building, ignore_errors=True)
            _recover(path)
            reason = error.strerror if isinstance(error, OSError) else error.what
            cure = f"{disk.FREE} or " * (disk.cure_of(error.__cause__ or error) == disk.FREE) + "choose another folder"
            raise RunError(f"cannot create the run: {reason}", where=path, cure=cure) from error
        if old_lock is not None:
            old_lock.close()
            shutil.rmtree(aside, ignore_errors=True)
        return cls(path, manifest, lock)

    @classmethod
    def open(cls, path: str | Path, writable: bool = True) -> Run:
        """An existing run; locked unless ``writable`` is False (then nothing can be written through it)."""
        path = Path(path).absolute()
        _recover(path)
        manifest = read_manifest(path)
        run = cls(path, manifest, _take_lock(path) if writable else None)
        run._untouched = True
        return run

    @property
    def writable(self) -> bool:
        return self._lock is not None

    def update_manifest(self, **values: Any) -> None:
        self._check_writable()
        self.manifest = {**self.manifest, **disk.jsonable(values)}
        disk.write_json(self.path / "manifest.json", self.manifest)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl. It reaches the disk with the next ``sync_log``."""
        self._check_writable()
        try:
            if self._metrics is None:
                self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8")
            self._metrics.write(json.dumps(disk.jsonable(row), ensure_ascii=False, allow_nan=False) + "\n")
            self._metrics.flush()
        except OSError as error:
            self._metrics = None
            where = self.path / "metrics.jsonl"
            raise RunError(
                f"cannot write: {error.strerror}", where=where, cure=f"{disk.cure_of(error)} and resume"
            ) from error

    def sync_log(self) -> None:
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())

    def read_log(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl; a last line torn by a kill is left out."""
        return list(_rows(self.path / "metrics.jsonl"))

    def cut_log(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the rows a resumed run will write again. Used once, before the first ``log``."""
        self._check_writable()
        path = self.path / "metrics.jsonl"
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if path.exists():
            rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(path) if keep(row)]
            disk.replace(path, "".join(rows).encode("utf-8"))

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        self._check_writable()
        disk.write_json(self.path / "scores.json", scores)

    def finish(self, status: str = "finished") -> None:
        """Record how the run ended: finished, interrupted, failed."""
        self.update_manifest(status=status, ended=_now())

    def close(self) -> None:
        """Close files and give the lock back. Safe to call twice."""
        for handle in (self._metrics, self._lock):
            if handle is not None:
                handle.close()
        self._metrics = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.writable and not self._untouched:  # a refused resume leaves the run as it was
            with contextlib.suppress(RunError, OSError):  # a full disk must not hide the first error
                self.finish("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")
        self.close()

    def _check_writable(self) -> None:
        self._untouched = False
        if not self.writable:
            raise RunError("the run was opened for reading only", where=self.path, cure="open it with Run.open(path)")


def read_manifest(path: str | Path) -> dict[str, Any]:
    """manifest.json of a run directory. Raises RunError where the folder is not a run."""
    file = Path(path) / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        cure = "give the folder of a run (it holds manifest.json)"
        raise RunError("not a Wordloom run" if Path(path).exists() else "no such run", where=path, cure=cure) from None
    except (OSError, ValueError) as error:
        raise RunError(f"unreadable: {error}", where=file, cure="restore it from a copy or start a new run") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RunError("not a Wordloom run", where=path, cure="give the folder of a run")
    return manifest


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # torn by a kill in the middle of a write
            if isinstance(row, dict):
                yield row


# --- creation and the lock -------------------------------------------------------------------------------------------


def _may_replace(path: Path, overwrite: bool) -> IO[str] | None:
    """The lock of the run that stands there and may be replaced; None where nothing stands there."""
    if not path.exists():
        return None
    if path.is_dir() and not any(path.iterdir()):
        return None  # an empty folder: rename(2) replaces it
    if not overwrite:
        cure = "choose another folder, resume it, or pass --overwrite"
        raise RunError("exists already and is never overwritten unasked", where=path, cure=cure)
    try:
        read_manifest(path)
    except RunError:
        cure = "choose another folder, or remove it yourself"
        raise RunError("exists and is not a Wordloom run, so it is not overwritten", where=path, cure=cure) from None
    return _take_lock(path)


def _take_lock(path: Path) -> IO[str]:
    """Exclusive flock on RUN/.lock, which names its holder. It ends with the process, however that dies."""
    try:
        handle = (path / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot lock the run: {error.strerror}", where=path, cure="check its permissions") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        cure = "wait for it, stop it, or choose another folder"
        raise RunError(f"in use by another process (pid {holder})", where=path, cure=cure) from None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def _beside(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{role}-{os.getpid()}")


def _recover(path: Path) -> None:
    """Undo what a process killed inside ``create`` left: put a run moved aside back, drop half-built folders."""
    for left in path.parent.glob(f".{path.name}.*-*"):
        role, _, pid = left.name.removeprefix(f".{path.name}.").partition("-")
        if role not in ("new", "old") or not pid.isdigit() or (_alive(int(pid)) and int(pid) != os.getpid()):
            continue
        if role == "old" and not path.exists():
            os.replace(left, path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# --- manifest and recipe ---------------------------------------------------------------------------------------------


def _manifest(recipe: dict[str, Any], text: str, kind: str) -> dict[str, Any]:
    train = recipe.get("train")
    return {
        "format": FORMAT,
        "kind": kind,
        "status": "running",
        "created": _now(),
        "seed": train.get("seed", 0) if isinstance(train, Mapping) else None,
        "recipe_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "versions": versions(),
        "machine": machine(),
    }


def versions() -> dict[str, str]:
    """Python and the packages a result depends on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """What the run ran on: system, processor name, usable cores, memory in bytes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = platform.processor()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        name = found[1].strip() if found else name
    return {"system": platform.platform(), "processor": name, "cores": cores, "memory": memory}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
