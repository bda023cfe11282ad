"""The Transformer of 2017 agrees with transformers' Marian: states, logits, gradients, greedy text, both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sources import (
    DTYPES,
    SOURCE,
    TARGET,
    S,
    T,
    V,
    agree,
    build,
    check_cached,
    check_gradients,
    check_greedy,
    logits,
    public_inputs,
    rows,
    states,
)

from wordloom.errors import BundleError
from wordloom.model.interop import load_hf, save_hf

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)


def make(dtype: torch.dtype = torch.float32, activation: str = "swish", noise: float = 0.3, shared: bool = True) -> Any:
    """A public model with every parameter random, the output's bias too; shared: one table of tokens for both sides,
    else the source has five tokens more."""
    config = transformers.MarianConfig(
        vocab_size=V if shared else V + 5, decoder_vocab_size=V, share_encoder_decoder_embeddings=shared,
        d_model=32, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=24,
        activation_function=activation, scale_embedding=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        forced_eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.MarianMTModel(config).to(dtype).eval()
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in [*model.named_parameters(), ("bias", model.final_logits_bias)]:
            if "embed_positions" not in name:
                p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(dtype) * noise)
    return model


@DTYPES
@pytest.mark.parametrize(("activation", "shared"), [("swish", True), ("relu", True), ("relu", False)])
def test_both_directions(tmp_path: Path, activation: str, shared: bool, dtype: torch.dtype) -> None:
    theirs = make(dtype, activation, shared=shared)
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", dtype)
    assert (model.arch.vocab_size, model.arch.source_vocab_size) == (V, None if shared else V + 5)
    assert model.arch.activation == ("silu" if activation == "swish" else "relu")
    real_s, real_t = rows(SOURCE, S, 1)["documents"] > 0, rows(TARGET, T, 2)["documents"] > 0
    expected = theirs(**public_inputs())
    encoded, hidden = states(model)
    agree(encoded[real_s], expected.encoder_last_hidden_state[real_s], dtype)
    agree(logits(model, hidden)[real_t], expected.logits[real_t], dtype)

    save_hf(tmp_path / "ours", model, tokens={"eos": 1})
    again, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path / "ours", dtype=dtype, output_loading_info=True
    )
    assert not any(info.values()), info
    kept = again.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in theirs.state_dict().items())
    agree(again(**public_inputs()).logits[real_t], expected.logits[real_t], dtype)
    assert again.config.forced_eos_token_id is None and again.generation_config.decoder_start_token_id == 0
    body = transformers.AutoModel.from_pretrained(tmp_path / "ours", dtype=dtype)
    found = body(**public_inputs()).encoder_last_hidden_state
    agree(found[real_s], expected.encoder_last_hidden_state[real_s], dtype)


def memorised(theirs: Any) -> Any:
    """Trained until it answers each of the three sources with its target: random weights repeat one token for ever."""
    source, target = rows(SOURCE, S, 1), rows(TARGET, T, 2)
    labels = target["tokens"].masked_fill(target["documents"] == 0, -100)
    labels[range(len(TARGET)), [n - 1 for n in TARGET]] = 1
    optimiser = torch.optim.Adam(theirs.parameters(), lr=5e-3)
    for _ in range(60):
        theirs(input_ids=source["tokens"], attention_mask=source["documents"], labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        theirs.final_logits_bias.add_(torch.randn(1, V, generator=torch.Generator().manual_seed(5)) * 0.1)
    return theirs


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_cached_steps_and_greedy_text(tmp_path: Path, shared: bool) -> None:
    theirs = memorised(make(noise=0.0, shared=shared))
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", torch.float32)
    check_cached(model)
    check_greedy(model, theirs, left=False)
    check_gradients(model, theirs, tmp_path / "gradients")


def test_an_old_folder_with_its_copies_and_sinusoids(tmp_path: Path) -> None:
    theirs = make()
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    table = theirs.model.shared.weight.detach()
    for side in ("encoder", "decoder"):
        weights[f"model.{side}.embed_tokens.weight"] = table.clone()
        weights[f"model.{side}.embed_positions.weight"] = theirs.model.encoder.embed_positions.weight.clone()
    weights["lm_head.weight"] = table.clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = build(tmp_path, torch.float32)
    real = rows(TARGET, T, 2)["documents"] > 0
    agree(logits(model, states(model)[1])[real], theirs(**public_inputs()).logits[real], torch.float32)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("decoder_ffn_dim", 64, "decoder_ffn_dim 64 is not encoder_ffn_dim 48"),
        ("decoder_start_token_id", 3, "decoder_start_token_id 3 is not pad_token_id 0"),
        ("normalize_before", True, "normalize_before is True, not False: norms before the branches"),
        ("share_encoder_decoder_embeddings", False, "missing model.decoder.embed_tokens.weight"),
        ("decoder_vocab_size", 7, "decoder_vocab_size 7 is not vocab_size"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    make().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(BundleError, match=message):
        load_hf(tmp_path)
