"""Checkpoints: verified on reading, whole or not at all, the newest whole one found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toy_training import ToyModel

from wordloom.errors import RunError
from wordloom.train.checkpoint import Checkpoint, Checkpoints, load, load_weights, save, weights

SCORE = ("loss", False)


def make(step: int) -> Checkpoint:
    tensors = {"model": weights(ToyModel(seed=step)), "optimiser": {"a/step": torch.tensor(float(step))}}
    return Checkpoint(step, tensors, {"window": {"tokens": [1.5, 3, 1.0]}})


def test_it_reads_back(tmp_path: Path) -> None:
    save(tmp_path / "c", make(3))
    found = load(tmp_path / "c")
    assert found.step == 3 and found.log == make(3).log
    for stem, tensors in make(3).tensors.items():
        assert found.tensors[stem].keys() == tensors.keys()
        assert all(torch.equal(found.tensors[stem][n], t) for n, t in tensors.items())
    model = ToyModel(seed=9)
    load_weights(model, found.tensors["model"], tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), ToyModel(seed=3).parameters(), strict=True))
    assert model.head.weight is model.embedding.weight  # saved once, still tied
    assert "head.weight" not in found.tensors["model"] and "seen" in found.tensors["model"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "json", "foreign"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    save(tmp_path / "c", make(3))
    file = tmp_path / "c" / ("checkpoint.json" if damage in ("json", "foreign") else "model.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    file.write_bytes({"flip": bytes(content), "cut": content[:-4], "json": b"{", "foreign": b"{}"}.get(damage, b""))
    if damage == "remove":
        file.unlink()
    with pytest.raises(RunError):
        load(tmp_path / "c")


def filled(folder: Path, steps: range, scores: dict[int, float]) -> Checkpoints:
    kept = Checkpoints(folder, SCORE)
    for step in steps:
        kept.save(make(step))
        if step in scores:
            kept.evaluated(step, {"loss": scores[step]})
    return kept


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = filled(tmp_path, range(1, 7), {2: 1.0, 4: 3.0, 6: 2.0})
    assert sorted(p.name for p in tmp_path.glob("step*")) == ["step-00000002", "step-00000005", "step-00000006"]
    best = kept.best()
    assert best is not None and best.step == 2 and kept.best_step() == 2 and kept.without_gain() == 2


def test_a_damaged_newest_falls_back_and_says_so(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 5), {1: 3.0, 3: 2.0, 4: 1.0})
    (tmp_path / "step-00000004" / "model.safetensors").write_bytes(b"junk")
    kept = Checkpoints(tmp_path, SCORE)
    found, trouble = kept.restore()
    assert found is not None and found.step == 3 and trouble is not None and "step-00000004" in trouble
    assert [e["step"] for e in kept.index.evaluations] == [1, 3] and kept.best_step() == 3
    assert not (tmp_path / "step-00000004").exists()
    kept.save(make(4))
    again, trouble = Checkpoints(tmp_path, SCORE).restore()
    assert again is not None and again.step == 4 and trouble is None


def test_all_damaged_is_refused_and_nothing_is_removed(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 4), {})
    for file in tmp_path.glob("step*/model.safetensors"):
        file.write_bytes(b"junk")
    with pytest.raises(RunError, match="no checkpoint can be read"):
        Checkpoints(tmp_path, SCORE).restore()
    assert len(list(tmp_path.glob("step*"))) == 2


def test_an_unreadable_index_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 3), {})
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(RunError, match=r"index\.json: unreadable"):
        Checkpoints(tmp_path, SCORE).restore()


def test_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 3), {})
    (tmp_path / ".step-00000003.new").mkdir()
    save(tmp_path / "step-00000003", make(3))  # renamed, but killed before the index named it
    found, _ = Checkpoints(tmp_path, SCORE).restore()
    assert found is not None and found.step == 2
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["index.json", "step-00000001", "step-00000002"]


def test_no_pickle_on_disk(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 2), {})
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".safetensors", ".json"}
    json.loads((tmp_path / "step-00000001" / "checkpoint.json").read_text())
