"""An adaptive softmax from the recipe to text: pre-trained, loaded and read as any other next-token head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import tiny
from wordloom import api
from wordloom.errors import ConfigError
from wordloom.model.adaptive import AdaptiveHead
from wordloom.model.interop import load_bundle
from wordloom.model.model import Model

SETTINGS = {**tiny.TRAIN, **tiny.TOKENIZER, "objective.softmax": "adaptive"}


def next_token(model: Model, ids: list[int]) -> int:
    tokens = torch.tensor([ids])
    ones, places = torch.ones_like(tokens), torch.arange(len(ids))[None]
    hidden: Tensor = model.body(tokens, ones, places, torch.zeros_like(tokens))  # (1, n, D)
    head = model.heads["causal"]
    assert isinstance(head, AdaptiveHead)
    return int(head.log_probs(hidden[:, -1]).argmax())


@pytest.mark.parametrize("preset", ["lstm-tiny", "gpt2-tiny"])
def test_from_recipe_to_text(tmp_path: Path, preset: str) -> None:
    model = tiny.MODEL if preset == "gpt2-tiny" else {"model.width": 32}
    run = tmp_path / "run"
    api.pretrain(tiny.write_corpus(tmp_path / "c.txt"), run, preset=preset, quiet=True, **model, **SETTINGS)
    loaded = load_bundle(run / "bundle").model
    head = loaded.heads["causal"]
    assert isinstance(head, AdaptiveHead) and len(head.edges) == 3
    assert not head.rank.equal(torch.arange(len(head.rank)))  # ordered by the counts of this text
    speaks = api.language_model(run)
    ids, said = list(speaks.stepper.context([speaks.encode("the cat")])[0]), []
    with torch.inference_mode():
        for _ in range(6):
            said.append(next_token(loaded, ids + said))
    answer = list(speaks.generate(["the cat"], max_tokens=6)[0][0].ids)
    assert answer and answer == said[: len(answer)]


def test_what_goes_on_refuses_it(tmp_path: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    api.pretrain(corpus, tmp_path / "run", preset="lstm-tiny", quiet=True, **{"model.width": 32}, **SETTINGS)
    with pytest.raises(ConfigError, match="adaptive softmax"):
        api.finetune(tmp_path / "run", corpus, tmp_path / "out", task="generate", quiet=True)
    with pytest.raises(ConfigError, match="adaptive softmax"):
        api.pretrain(corpus, tmp_path / "out", start=str(tmp_path / "run"), quiet=True)
