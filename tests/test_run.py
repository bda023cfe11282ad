"""The run directory: whole or not at all, locked, never overwritten unasked."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wordloom import disk
from wordloom.config import Recipe, read_recipe
from wordloom.errors import RunError
from wordloom.run import Run, read_manifest
from wordloom.toml_text import to_toml

RECIPE = {"train": {"steps": 5, "seed": 7}, "model": {"preset": "bert-tiny"}}


def test_a_new_run_has_its_manifest_and_a_recipe_that_reads_back(tmp_path: Path) -> None:
    recipe = Recipe.model_validate({**RECIPE, "corpus": {"paths": ['a "b".txt', "文\\n.txt"]}})
    with Run.create(tmp_path / "r", recipe.model_dump(exclude_none=True), "pretrain") as run:
        assert run.manifest["status"] == "running"
        run.finish()
    manifest = read_manifest(tmp_path / "r")
    assert manifest["kind"] == "pretrain" and manifest["status"] == "finished" and manifest["seed"] == 7
    assert {"python", "torch", "numpy"} <= set(manifest["versions"]) and manifest["machine"]["cores"] >= 1
    assert read_recipe(tmp_path / "r" / "recipe.toml") == recipe
    assert not [p for p in tmp_path.iterdir() if p.name != "r"]  # nothing half-built beside it


scalars = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.text(max_size=20))
values = st.one_of(scalars, st.lists(scalars, max_size=3))
keys = st.text(min_size=1, max_size=8)
tables = st.recursive(values, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=12)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.dictionaries(keys, tables, max_size=5))
def test_toml_reads_back_as_it_was(recipe: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(recipe)) == recipe


def test_none_is_left_out_of_toml() -> None:
    assert tomllib.loads(to_toml({"a": None, "t": {"b": 1, "c": None}})) == {"t": {"b": 1}}


def test_a_run_is_never_overwritten_unasked(tmp_path: Path) -> None:
    Run.create(tmp_path / "r", RECIPE, "x").close()
    (tmp_path / "r" / "precious").write_text("weights")
    with pytest.raises(RunError, match="exists already"):
        Run.create(tmp_path / "r", RECIPE, "x")
    assert (tmp_path / "r" / "precious").read_text() == "weights"
    Run.create(tmp_path / "r", RECIPE, "y", overwrite=True).close()
    assert not (tmp_path / "r" / "precious").exists() and read_manifest(tmp_path / "r")["kind"] == "y"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("manifest", [None, "{}", "junk", '{"format": "other"}', "[]"])
def test_only_a_run_is_ever_replaced(tmp_path: Path, manifest: str | None) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("years of work")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    with pytest.raises(RunError, match="not a Wordloom run, so it is not overwritten"):
        Run.create(folder, RECIPE, "x", overwrite=True)
    with pytest.raises(RunError):
        Run.open(folder)
    assert (folder / "chapter.tex").read_text() == "years of work"


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("a file")
    with pytest.raises(RunError):
        Run.create(tmp_path / "r", RECIPE, "x", overwrite=True)
    with pytest.raises(RunError):
        Run.create(tmp_path / "r" / "below", RECIPE, "x")
    assert (tmp_path / "r").read_text() == "a file"


def test_an_empty_folder_becomes_the_run(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    Run.create(tmp_path / "r", RECIPE, "x").close()
    assert read_manifest(tmp_path / "r")["kind"] == "x"


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        Run.open(tmp_path / "absent")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Another process holds the lock: open and overwrite are refused with its pid; its death frees the run."""
    ready, wrote = os.pipe()
    holder = os.fork()
    if holder == 0:
        with Run.create(tmp_path / "r", RECIPE, "x"):
            os.write(wrote, b"1")
            signal.pause()
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"1"
        with pytest.raises(RunError, match=rf"in use by another process \(pid {holder}\)"):
            Run.open(tmp_path / "r")
        with pytest.raises(RunError, match="in use"):
            Run.create(tmp_path / "r", RECIPE, "x", overwrite=True)
        reader = Run.open(tmp_path / "r", writable=False)  # reading needs no lock
        with pytest.raises(RunError, match="for reading only"):
            reader.log({"step": 1})
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    Run.open(tmp_path / "r").close()


def test_the_lock_is_given_back(tmp_path: Path) -> None:
    with Run.create(tmp_path / "r", RECIPE, "x"), pytest.raises(RunError, match="in use"):
        Run.open(tmp_path / "r")
    Run.open(tmp_path / "r").close()


def test_a_kill_inside_create_leaves_the_old_run_or_the_new_one(tmp_path: Path) -> None:
    """Every write and rename of an overwriting create, killed before and after it."""
    for when in ("before", "after"):
        for stop_at in range(1, 20):
            path = tmp_path / f"{when}{stop_at}" / "r"
            Run.create(path, RECIPE, "old").close()
            if not _dies_in_create(path, stop_at, when):
                break
            left = Run.open(path)
            assert left.manifest["kind"] in ("old", "new") and (path / "recipe.toml").exists()
            left.close()
            Run.create(path, RECIPE, "newest", overwrite=True).close()
            assert [p.name for p in path.parent.iterdir()] == ["r"], "leftovers beside the run"
        assert stop_at > 4, "the faults were never reached"


def _dies_in_create(path: Path, stop_at: int, when: str) -> bool:
    child = os.fork()
    if child == 0:
        count = 0

        def dying(original: Any) -> Any:
            def call(*args: Any) -> None:
                nonlocal count
                count += 1
                if count == stop_at and when == "before":
                    os._exit(9)
                original(*args)
                if count == stop_at:
                    os._exit(9)

            return call

        disk.write, disk.rename = dying(disk.write), dying(disk.rename)
        Run.create(path, RECIPE, "new", overwrite=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_full_disk_creates_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run.create(tmp_path / "r", RECIPE, "old").close()

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(RunError, match=r"No space left on device\. Free disk space or choose another folder\."):
            Run.create(tmp_path / "r", RECIPE, "new", overwrite=True)
        with Run.open(tmp_path / "r") as run, pytest.raises(RunError, match="No space left"):
            run.update_manifest(status="lost")
    assert read_manifest(tmp_path / "r")["kind"] == "old" and read_manifest(tmp_path / "r")["status"] == "running"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert not list((tmp_path / "r").glob("*.new"))


def test_the_cure_follows_from_what_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Not a directory\. Choose another folder\."):
        Run.create(tmp_path / "file" / "r", RECIPE, "x")
    causes = (errno.ENOSPC, "free disk space"), (errno.EROFS, "make the folder writable"), (errno.EIO, "check the")
    assert all(disk.cure_of(OSError(code, "")).startswith(cure) for code, cure in causes)


def test_the_log_is_cut_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    with Run.create(tmp_path / "r", RECIPE, "x") as run:
        for step in range(1, 6):
            run.log({"step": step, "loss": np.float32(1.5), "bad": math.nan})
    with (tmp_path / "r" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with Run.open(tmp_path / "r") as run:
        assert [row["step"] for row in run.read_log()] == [1, 2, 3, 4, 5]
        run.cut_log(lambda row: row["step"] <= 3)
        run.log({"step": 4, "again": True})
        assert run.read_log()[2:] == [{"step": 3, "loss": 1.5, "bad": None}, {"step": 4, "again": True}]
    for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_scores_are_replaced_in_one_step(tmp_path: Path) -> None:
    with Run.create(tmp_path / "r", RECIPE, "x") as run:
        run.write_scores({"accuracy": np.float64(0.5), "nan": float("inf")})
        assert json.loads((run.path / "scores.json").read_text()) == {"accuracy": 0.5, "nan": None}


@pytest.mark.parametrize(("error", "status"), [(ValueError(), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_how_a_run_ended_is_recorded(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), Run.create(tmp_path / "r", RECIPE, "x"):
        raise error
    assert read_manifest(tmp_path / "r")["status"] == status


def test_content_that_cannot_be_made_leaves_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")

    def breaks(path: Path) -> None:
        path.write_text("half of it")
        raise ValueError

    with pytest.raises(ValueError):
        disk.replace(tmp_path / "a.txt", breaks)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "before")]
