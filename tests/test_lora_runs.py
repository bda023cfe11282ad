"""[lora] through the API: classification and another task, merged bundles, a stopped run, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from cli_runs import Runs
from wordloom import api
from wordloom.errors import ConfigError
from wordloom.model.interop import load_bundle
from wordloom.run import Run
from wordloom.tasks.classify.task import ClassifyStream

VALUES: dict[str, Any] = {**tiny.TRAIN, "train.lr": 1e-2, "train.save_every": 1, "lora.rank": 2, "baseline": False,
                          "quiet": True}  # fmt: skip


def test_a_classifier_is_adapted_and_merged(runs: Runs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    api.finetune(runs.folder / "pretrained", runs.labelled, run, **VALUES)
    before, after = (load_bundle(p / "bundle").model for p in (runs.folder / "pretrained", run))
    theirs, ours = before.body.state_dict(), after.body.state_dict()
    assert theirs.keys() == ours.keys()
    for name, value in ours.items():
        adapted = any(part in name for part in ("qkv.weight", "output.weight", "ffn_in.weight", "ffn_out.weight"))
        assert torch.equal(value, theirs[name]) != adapted, name
        if adapted:
            assert torch.linalg.matrix_rank((value - theirs[name]).double(), rtol=1e-4) <= 2
    facts = json.loads((run / "manifest.json").read_text())["model"]
    head = sum(p.numel() for p in after.heads.parameters())
    low_rank = sum(2 * sum(v.shape) for n, v in ours.items() if v.ndim == 2 and "layers" in n)
    assert facts["trained parameters"] == low_rank + head
    assert facts["parameters"] == sum(p.numel() for p in after.parameters())
    texts, _, _ = tiny.labelled(6, seed=3)
    lines = (run / "predictions.jsonl").read_text().splitlines()
    assert len(api.load(run).predict(texts)) == 6 and lines
    transformers = pytest.importorskip("transformers")
    assert transformers.AutoModelForSequenceClassification.from_pretrained(run / "bundle")


def test_a_stopped_run_goes_on_bitwise(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = runs.folder / "pretrained"
    api.finetune(start, runs.labelled, tmp_path / "whole", **VALUES)
    step = ClassifyStream.step

    def broken(self: ClassifyStream, number: int, parts: int) -> Any:
        if number == 2:
            raise InterruptedError
        return step(self, number, parts)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifyStream, "step", broken)
        with pytest.raises(InterruptedError):
            api.finetune(start, runs.labelled, tmp_path / "parts", **VALUES)
    api.finetune(start, runs.labelled, tmp_path / "parts", resume=True, quiet=True, baseline=False)
    bundles = [tiny.fingerprint(tmp_path / name / "bundle") for name in ("whole", "parts")]
    assert bundles[0]["model.safetensors"] == bundles[1]["model.safetensors"]


def test_another_task_is_adapted_too(runs: Runs, tmp_path: Path) -> None:
    text = tmp_path / "a.conll"
    moods = [("good", "GOOD"), ("bad", "BAD")] * 8
    text.write_text("".join(f"{i} O\nfilm B-WHAT\nwas O\n{w} B-{k}\n\n" for i, (w, k) in enumerate(moods)))
    run = tmp_path / "run"
    api.finetune(runs.folder / "pretrained", text, run, task="tag", **VALUES)
    before, after = (load_bundle(p / "bundle").model for p in (runs.folder / "pretrained", run))
    changed = [n for n, v in after.body.state_dict().items() if not torch.equal(v, before.body.state_dict()[n])]
    assert changed and all("layers" in n and n.endswith("weight") for n in changed)
    assert json.loads((run / "manifest.json").read_text())["model"]["trained parameters"] > 0


@pytest.mark.parametrize(
    ("model", "values", "what"),
    [
        ("bert-tiny", tiny.TINY, "these are random"),
        (None, {"train.freeze": "body"}, "LoRA freezes the body itself"),
        ("tf-idf", {}, "says nothing to a linear classifier"),
        (None, {"lora.rank": 0}, "lora.rank"),
        (None, {"lora.rnk": 1}, "did you mean 'rank'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    runs: Runs, tmp_path: Path, model: str | None, values: dict[str, Any], what: str
) -> None:
    given = {"lora.rank": 2, "quiet": True, **({} if model == "tf-idf" else tiny.TRAIN), **values}
    with pytest.raises(ConfigError, match=what):
        api.finetune(model or runs.folder / "pretrained", runs.labelled, tmp_path / "run", **given)


def test_what_is_refused_replaces_no_run(runs: Runs, tmp_path: Path) -> None:
    Run.create(tmp_path / "run", {}, "finetune").close()
    (tmp_path / "run" / "kept").touch()
    for start, message in (("bert-tiny", "these are random"), (runs.folder / "pretrained", "freezes the body")):
        with pytest.raises(ConfigError, match=message):
            api.finetune(start, runs.labelled, tmp_path / "run", overwrite=True, **{**VALUES, "train.freeze": "body"})
        assert (tmp_path / "run" / "kept").exists()
