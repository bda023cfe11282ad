"""What pre-training says of a model: held-out figures, where it starts, what a token costs."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny
from wordloom import api, presets
from wordloom.api.held_out import held_out_scores
from wordloom.api.operations import flops_per_token, training_operations
from wordloom.api.pretraining import start_from_frequencies, with_defaults
from wordloom.api.start import Start
from wordloom.config import (
    CausalConfig,
    MaskedConfig,
    Recipe,
    ReplacedConfig,
    SpansConfig,
    TokenizerConfig,
    read_recipe,
)
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.store import TokenStore
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead, MaskedHead, TokenHead
from wordloom.model.model import Model
from wordloom.objectives.pretraining import Pretraining
from wordloom.objectives.spans import Spans
from wordloom.text.tokenizer import Tokenizer

SMALL: dict[str, Any] = {"width": 16, "heads": 2, "ffn_width": 16}
BYTES, ENTROPY = 3.5, 4.25  # of an invented store


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(tiny.documents(), TokenizerConfig(kind="byte-bpe", vocab_size=300))


def spans_batches(tokenizer: Tokenizer) -> tuple[Spans, list[Batch]]:
    frame = (tokenizer.cls_id, tokenizer.sep_id)
    sentinels, start = tokenizer.sentinel_ids(), tokenizer.pad_id
    objective = Spans(SpansConfig(rate=0.3), sentinels=sentinels, frame=frame, eos_id=frame[1], start_id=start)
    ids = [[frame[0], *text.tolist(), frame[1]] for text in tokenizer.encode_ids(tiny.documents(6, seed=2))]
    batches = []
    for number, text in enumerate(ids):
        tokens = torch.tensor([text])
        places = torch.arange(len(text))[None]
        given = Batch(tokens, torch.ones_like(tokens), places, torch.zeros_like(tokens), ids=("a",))
        batches.append(objective.corrupt(given, np.random.default_rng(number), 1.0))
    return objective, batches


def test_figures_of_spans_are_of_the_text_alone(tokenizer: Tokenizer) -> None:
    """Bytes and word frequencies know no marks: what a sentinel or an end costs is in the loss and nowhere else."""
    tokenizer = tokenizer.with_sentinels(20)
    objective, batches = spans_batches(tokenizer)
    torch.manual_seed(0)
    arch = presets.architecture("t5-tiny", tokenizer.vocab_size, **SMALL, pad_id=tokenizer.pad_id)
    model = Model(make_body(arch), {"causal": CausalHead(arch)}).eval()
    store: Any = SimpleNamespace(bytes_per_token=BYTES, unigram_entropy=ENTROPY)
    found = held_out_scores(Pretraining(objective, batches), model, store, tokenizer.special_ids)

    costs, is_text = [], []
    for batch in batches:
        with torch.no_grad():
            hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types, batch.source)
            logits = model.heads["causal"](hidden, model.token_embedding)
        targets = batch.targets["spans"][batch.targets["spans"] != IGNORE]
        costs += F.cross_entropy(logits[batch.targets["spans"] != IGNORE].double(), targets, reduction="none").tolist()
        marks = {*tokenizer.sentinel_ids(), tokenizer.sep_id}
        is_text += [target not in marks for target in targets.tolist()]
    text = [cost for cost, real in zip(costs, is_text, strict=True) if real]
    assert 0 < len(text) < len(costs)
    mean = sum(text) / len(text)
    assert abs(mean - sum(costs) / len(costs)) > 1e-3  # else the test would not tell them apart
    assert found["loss"].value == pytest.approx(sum(costs) / len(costs), rel=1e-6)
    assert found["perplexity"].value == pytest.approx(math.exp(sum(costs) / len(costs)), rel=1e-5)
    assert found["below_unigram"].value == pytest.approx(ENTROPY - mean, rel=1e-5)
    assert found["bits_per_byte"].value == pytest.approx(mean / math.log(2) / BYTES, rel=1e-6)
    below = found["below_unigram"]
    assert below.low < below.value < below.high and "text alone" in below.note


def test_a_spans_run_is_not_held_against_the_unigram_entropy(tmp_path: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "corpus.txt")
    settings = {**tiny.MODEL, **tiny.TRAIN, "model.layers": 1, "tokenizer.vocab_size": 300}
    result = api.pretrain(corpus, tmp_path / "run", preset="t5-tiny", quiet=True, **settings)
    assert "unigram_entropy" not in json.loads((tmp_path / "run/manifest.json").read_text())
    assert re.search(r"the text alone: \d\.\d{3} (above|below) the unigram entropy of", result.summary())
    assert "above the unigram" not in (tmp_path / "run/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("head", ["masked", "permuted", "causal"])
def test_heads_that_fill_gaps_start_from_frequencies(head: str, tokenizer: Tokenizer) -> None:
    """log((count + 1) / sum) of every token, as special ones never occur; a head of next tokens is left alone."""
    arch = presets.architecture("bert-tiny", tokenizer.vocab_size, **SMALL, output_bias=True)
    made = {"masked": MaskedHead, "causal": CausalHead, "permuted": lambda a: TokenHead(a, transform=False, bias=True)}
    model = Model(make_body(arch), {head: made[head](arch)})
    stored = np.concatenate([[tokenizer.cls_id, *ids] for ids in tokenizer.encode_ids(tiny.documents(5))])
    store: Any = SimpleNamespace(tokens=stored.astype(np.uint16))
    store.counts = partial(TokenStore.counts, store)
    start_from_frequencies(model, store, tokenizer)
    counts = np.array([1 + np.sum(stored == i) * (i not in tokenizer.special_ids) for i in range(tokenizer.vocab_size)])
    expected = torch.from_numpy(np.log(counts / counts.sum())).float()
    torch.testing.assert_close(model.heads[head].bias, expected if head != "causal" else torch.zeros_like(expected))


def test_electra_is_read_by_two_networks() -> None:
    """By hand. Width 8, 2 layers, F 16, V 100: 2 (4 D^2 + 2 D F) = 1,024 weights; half of everything: 4 x 4 + 2 x 4 x 8
    = 128 a layer; 12 L T D for attention; the generator's head is (G E + E V) at 15 %, the other's D^2 + D always."""
    arch = presets.architecture("bert-tiny", 100, width=8, heads=2, ffn_width=16)
    T = 10
    main = 6 * (1024 + 8 * 8 + 8) + 12 * 2 * T * 8
    small = 6 * (2 * 128 + 0.15 * (4 * 8 + 8 * 100)) + 12 * 2 * T * 4
    config = ReplacedConfig(rate=0.15, generator_width=0.5, generator_layers=1.0)
    assert training_operations(config, arch, T) == pytest.approx(main + small)
    masked = 6 * (1024 + 0.15 * (8 * 8 + 8 * 100)) + 12 * 2 * T * 8
    assert training_operations(MaskedConfig(rate=0.15), arch, T) == pytest.approx(masked)
    whole = 6 * (1024 + 8 * 8 + 8 * 100) + 12 * 2 * T * 8
    assert training_operations(CausalConfig(), arch, T) == flops_per_token(arch, T, 1.0) == pytest.approx(whole)
    narrow = presets.architecture("albert-tiny", 100, width=8, heads=2, ffn_width=16, embedding_width=2)
    assert flops_per_token(narrow, T, 1.0) == pytest.approx(6 * (1024 + 8 * 2 + 2 * 100) + 12 * 2 * T * 8)


def test_keys_of_a_presets_objective_need_not_name_it(tmp_path: Path) -> None:
    run = api.pretrain(tiny.write_corpus(tmp_path / "corpus.txt"), tmp_path / "run", preset="t5-tiny", quiet=True,
                       sentinels=4, **tiny.MODEL, **tiny.TRAIN, **{"tokenizer.vocab_size": 300})  # fmt: skip
    assert read_recipe(run.path / "recipe.toml").objective == SpansConfig(sentinels=4)


def test_pre_training_begins_masked_rows_its_own_way_and_only_it() -> None:
    def begun(**settings: Any) -> tuple[str | None, float | None]:
        model = with_defaults(Recipe.model_validate({"model": settings})).model
        return model.init, model.position_waves

    assert begun() == begun(preset="bert-mini") == begun(preset="albert-tiny") == ("inputs", 4.0)
    assert begun(preset="gpt2-mini") == begun(preset="loom-tiny") == (None, None)
    assert begun(init_std=0.05) == (None, 4.0) and begun(init="normal", position_waves=0.0) == ("normal", 0.0)
    row = presets.architecture("bert-tiny", 99)
    trained = presets.architecture("bert-tiny", 99, init="inputs", position_waves=4.0)
    assert isinstance(row, Architecture) and row.init == "normal" and row.position_waves == 0
    assert Start("run", trained, Any, {}).randomly().arch == row  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", ["gpt2-tiny", "xlnet-tiny", "t5-tiny"])
def test_a_table_of_another_width_is_refused_before_a_run_is_made(preset: str, tmp_path: Path) -> None:
    corpus = tiny.write_corpus(tmp_path / "c.txt")
    with pytest.raises(ConfigError, match="64 wide, from states 128 wide"):
        api.pretrain(corpus, tmp_path / "run", preset=preset, quiet=True, **{"model.embedding_width": 64})
    assert not (tmp_path / "run").exists()
