"""Candidates one after the other: what is finished is kept, what fails is left out and said."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wordloom.choice.stages import Maker, perform
from wordloom.disk import write_json
from wordloom.errors import DataError, RunError

CLOCK = {"microseconds": 12.0, "alone": 30.0, "memory": 10**8}


def maker(name: str, made: list[str], fail: BaseException | None = None) -> Maker:
    def make(folder: Path) -> tuple[float | None, float]:
        made.append(name)
        folder.mkdir(parents=True, exist_ok=True)
        if fail is not None:
            raise fail
        (folder / "bundle").mkdir(exist_ok=True)
        (folder / "bundle" / "w").write_bytes(b"12345")
        score = {"value": 0.5, "low": None, "high": 0.9}
        (folder / "scores.json").write_text(json.dumps({"main": "accuracy", "scores": {"accuracy": score}}))
        (folder / "predictions.jsonl").write_text('{"probabilities": [0.4, 0.6]}\n{"probabilities": [0.9, 0.1]}\n')
        return 7.0, 2.0

    return Maker(name, name.upper(), make)


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., tuple]:
    def run(*makers: Maker) -> tuple:
        told: list[str] = []
        found, left_out = perform(makers, tmp_path, lambda bundle: CLOCK, write_json, told.append)
        return found, left_out, told

    return run


def test_what_is_finished_is_kept(go: Callable[..., tuple], tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        go(maker("a", made), maker("b", made), maker("c", made, KeyboardInterrupt()))
    found, left_out, told = go(maker("a", made), maker("b", made), maker("c", made))
    assert made == ["a", "b", "c", "c"] and not left_out  # the one that was stopped is made anew
    assert [line for line in told if "kept" in line] == ["1/3 A: finished before, kept", "2/3 B: finished before, kept"]
    assert [c.name for c in found] == ["a", "b", "c"]
    first = found[0]
    assert (first.costs.pretraining, first.costs.training, first.costs.size) == (7.0, 2.0, 5)
    assert first.score.value == 0.5 and first.score.low != first.score.low and first.score.high == 0.9
    assert first.probabilities.tolist() == [[0.4, 0.6], [0.9, 0.1]]


def test_what_fails_is_left_out_and_said(go: Callable[..., tuple]) -> None:
    made: list[str] = []
    found, left_out, told = go(maker("a", made), maker("b", made, DataError("too little text")), maker("c", made))
    assert [c.name for c in found] == ["a", "c"]
    assert "too little text" in left_out["B"] and any("left out" in line for line in told)


def test_one_alone_is_no_choice(go: Callable[..., tuple]) -> None:
    with pytest.raises(RunError, match=r"1 of 2 candidates could be had.*B: too little text"):
        go(maker("a", []), maker("b", [], DataError("too little text")))
