"""T5 and T5 v1.1: states, logits, gradients and greedy text agree with transformers, in both directions."""

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
from torch import Tensor

from wordloom.errors import BundleError
from wordloom.model.interop import load_bundle, load_hf, save_bundle, save_hf

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

D = 32
VERSIONS = {"1.0": {}, "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}}
VERSION = pytest.mark.parametrize("version", list(VERSIONS))


def make(
    version: str, dtype: torch.dtype = torch.float32, own_output: bool = True, layers: int = 3, noise: float = 0.1
) -> Any:
    """A public model with every parameter random; v1.1 with an output matrix of its own. Heads of 12, D / H is 8."""
    config = transformers.T5Config(
        vocab_size=V, d_model=D, d_kv=12, d_ff=40, num_layers=2, num_decoder_layers=layers, num_heads=4, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0, relative_attention_num_buckets=8, relative_attention_max_distance=10,
        **VERSIONS[version],
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(config).to(dtype).eval()
    if version == "1.1" and own_output:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(V, D, dtype=dtype))
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(dtype) * noise)
    return model


@pytest.fixture
def exact_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public norm takes its mean square in float32 whatever the type: in float64 it is the oracle no more."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    monkeypatch.setattr(transformers.models.t5.modeling_t5.T5LayerNorm, "forward", forward)


@DTYPES
@VERSION
def test_both_directions(tmp_path: Path, version: str, dtype: torch.dtype, exact_norm: None) -> None:
    theirs = make(version, dtype)
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", dtype)
    assert model.arch.tied == model.arch.output_scale == (version == "1.0")
    assert model.arch.head_width == 12 and model.arch.gated == (version == "1.1")
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
    assert again.generation_config.decoder_start_token_id == 0 and again.generation_config.eos_token_id == 1
    body = transformers.AutoModel.from_pretrained(tmp_path / "ours", dtype=dtype)
    found = body(**public_inputs()).encoder_last_hidden_state
    agree(found[real_s], expected.encoder_last_hidden_state[real_s], dtype)


@VERSION
def test_gradients(tmp_path: Path, version: str) -> None:
    theirs = make(version)
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", torch.float32)
    check_gradients(model, theirs, tmp_path / "gradients")


@VERSION
def test_cached_steps_equal_the_whole(tmp_path: Path, version: str) -> None:
    make(version).save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", torch.float32)
    check_cached(model)


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@VERSION
def test_greedy_text_is_that_of_generate(tmp_path: Path, version: str, left: bool) -> None:
    theirs = make(version, layers=2, noise=0.5)  # as deep as the encoder, whose layers the public cache counts
    theirs.save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", torch.float32)
    check_greedy(model, theirs, left)


def test_the_bundle_opens_in_both(tmp_path: Path) -> None:
    make("1.1").save_pretrained(tmp_path / "hf")
    model = build(tmp_path / "hf", torch.float32)
    save_bundle(tmp_path / "bundle", model, "pretrained", {}, tokens={"eos": 1})
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.twin == "exact" and bundle.model.arch == model.arch
    assert torch.equal(logits(bundle.model, states(bundle.model)[1]), logits(model, states(model)[1]))


def test_folders_of_the_hub(tmp_path: Path) -> None:
    """Copies of the table under old names, v1.1's key for the scale, an old bias no one reads, tied v1.1 weights."""
    theirs = make("1.1", own_output=False)
    theirs.save_pretrained(tmp_path)
    weights, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    assert "lm_head.weight" not in weights
    del config["scale_decoder_outputs"], config["num_decoder_layers"]
    config |= {"tie_word_embeddings": False, "num_layers": 2}
    weights = {k: v for k, v in weights.items() if not k.startswith("decoder.block.2.")}
    for side in ("encoder", "decoder"):
        weights[f"{side}.embed_tokens.weight"] = weights["shared.weight"].clone()
    weights["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(8, 4)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = build(tmp_path, torch.float32)
    assert model.arch.tied and not model.arch.output_scale and model.arch.decoder_layers == 2
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    real = rows(TARGET, T, 2)["documents"] > 0
    agree(logits(model, states(model)[1])[real], again(**public_inputs()).logits[real], torch.float32)

    weights["encoder.embed_tokens.weight"] += 1
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"encoder\.embed_tokens\.weight differs"):
        load_hf(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("decoder_start_token_id", 5, "decoder_start_token_id is not pad_token_id"),
        ("feed_forward_proj", "gated-tanh", "feed_forward_proj is 'gated-tanh', not one of relu"),
        ("is_encoder_decoder", False, "is_encoder_decoder is False, not True"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    make("1.0").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(BundleError, match=message):
        load_hf(tmp_path)
