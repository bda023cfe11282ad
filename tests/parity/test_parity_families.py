"""Outputs of every family agree with transformers', weights going in both directions, and refusals name their keys."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from family_models import (
    CAUSAL,
    PAD,
    PUBLIC,
    V,
    agree,
    heads_of,
    lift_casts,
    outputs,
    public_model,
    public_outputs,
    read,
    rows,
    scatter_weights,
)
from safetensors.torch import load_file, save_file

from wordloom import presets
from wordloom.errors import BundleError
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.interop import load_any, load_bundle, load_hf, save_bundle, save_hf
from wordloom.model.interop.family import HEADS
from wordloom.model.interop.settings import family_of
from wordloom.model.model import Model

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

PAIRS = [(kind, head) for kind, (_, _, classes) in PUBLIC.items() for head in classes]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
EVERY = pytest.mark.parametrize(("kind", "head"), PAIRS, ids=[f"{k}-{h}" for k, h in PAIRS])


@DTYPES
@EVERY
def test_public_weights_give_equal_outputs(
    tmp_path: Path, kind: str, head: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dtype is torch.float64:
        lift_casts(monkeypatch)
    theirs = public_model(kind, head, dtype)
    theirs.save_pretrained(tmp_path / "hf")
    ours = read(tmp_path / "hf", kind, head, dtype)
    assert family_of(ours.arch).model_type == kind
    given, public = rows()
    expected = public_outputs(theirs, head, public)
    agree(outputs(ours, head, given), expected, dtype)

    save_hf(tmp_path / "ours", ours)
    name = PUBLIC[kind][2][head]
    again, info = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", dtype=dtype, output_loading_info=True, attn_implementation="eager"
    )
    assert not {k: v for k, v in info.items() if v and not (k == "missing_keys" and _only_pooler(v))}, info
    assert torch.equal(public_outputs(again.eval(), head, public), expected)  # the very same weights


def _only_pooler(keys: set[str]) -> bool:
    """A bare body of transformers has a pooler, which ours without heads has not."""
    return all("pooler" in key for key in keys)


@EVERY
def test_random_models_of_ours_open_in_transformers(
    tmp_path: Path, kind: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lift_casts(monkeypatch)
    arch = read_arch(tmp_path, kind)
    torch.manual_seed(3)
    ours = Model(make_body(arch), heads_of(kind, head, arch)).double()
    scatter_weights(ours).eval()
    tokens = {"bos": 2, "eos": 3, "pad": PAD}
    save_hf(tmp_path / "ours", ours, tokens=tokens)
    theirs = getattr(transformers, PUBLIC[kind][2][head]).from_pretrained(
        tmp_path / "ours", dtype=torch.float64, attn_implementation="eager"
    )
    given, public = rows()
    agree(outputs(ours, head, given), public_outputs(theirs.eval(), head, public), torch.float64)
    written = tmp_path / "ours/generation_config.json"
    assert written.exists() == (kind in CAUSAL)
    if written.exists():
        assert json.loads(written.read_text()) == {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": PAD}
    assert theirs.config.eos_token_id == 3 and theirs.config.pad_token_id == PAD


def read_arch(folder: Path, kind: str) -> Architecture:
    """The architecture of the family's small public model."""
    public_model(kind, "body", torch.float32).save_pretrained(folder / "arch")
    return load_hf(folder / "arch").arch


@pytest.mark.parametrize("kind", PUBLIC)
def test_packed_documents_equal_separate_rows(tmp_path: Path, kind: str) -> None:
    arch = read_arch(tmp_path, kind)
    torch.manual_seed(5)
    model = scatter_weights(Model(make_body(arch), {}).double()).eval()
    lengths = (7, 1, 9)
    documents = torch.tensor([[1] * 7 + [2] + [3] * 9 + [0] * 3])
    tokens = torch.randint(5, V, documents.shape)
    positions = torch.cat([torch.arange(n) for n in (*lengths, 3)])[None]
    packed = model(tokens, documents, positions, torch.zeros_like(tokens))[0]
    start = 0
    for n in lengths:
        part = slice(start, start + n)
        alone = model(tokens[:, part], torch.ones(1, n).long(), positions[:, part], torch.zeros(1, n).long())[0]
        assert torch.allclose(packed[part], alone, rtol=0, atol=1e-12)
        start += n


def test_each_layers_window_and_base_are_the_public_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row longer than the window of every local layer: one token more or less to see, or one base, would show."""
    lift_casts(monkeypatch)
    for kind in ("gpt_neo", "modernbert", "modernbert-decoder"):
        theirs = public_model(kind, "body", torch.float64)
        theirs.save_pretrained(tmp_path / kind)
        ours = read(tmp_path / kind, kind, "body", torch.float64)
        tokens = torch.randint(5, V, (1, 24), generator=torch.Generator().manual_seed(2))
        given = {"tokens": tokens, "documents": torch.ones_like(tokens), "positions": torch.arange(24)[None]}
        expected = theirs(input_ids=tokens).last_hidden_state
        agree(ours(**given, types=torch.zeros_like(tokens)), expected, torch.float64)
        for change in ({"window": ours.arch.window + 1}, {"window": ours.arch.window - 1}, {"rotary_base_local": 9e3}):
            if kind == "gpt_neo" and "window" not in change:
                continue
            other = make_body(dataclasses.replace(ours.arch, **change)).double().eval()
            other.load_state_dict(ours.body.state_dict())
            moved = other(**given, types=torch.zeros_like(tokens))
            assert (moved - expected).abs().max() > 1e-6 * expected.abs().max()


@pytest.mark.parametrize(("kind", "head"), [("gpt2", "causal"), ("bert", "masked"), ("roberta", "masked")])
def test_untied_output_matrices(tmp_path: Path, kind: str, head: str) -> None:
    theirs = public_model(kind, head, torch.float64, tie_word_embeddings=False)
    if kind != "gpt2":  # untied, the public code reads one of its two biases and keeps both
        predictions = theirs.cls.predictions if kind == "bert" else theirs.lm_head
        predictions.bias.data.copy_(predictions.decoder.bias)
    theirs.save_pretrained(tmp_path / "hf")
    ours = read(tmp_path / "hf", kind, head, torch.float64)
    assert not ours.arch.tied
    given, public = rows()
    expected = public_outputs(theirs, head, public)
    agree(outputs(ours, head, given), expected, torch.float64)
    save_hf(tmp_path / "ours", ours)
    again = type(theirs).from_pretrained(tmp_path / "ours", dtype=torch.float64, attn_implementation="eager")
    assert torch.equal(public_outputs(again.eval(), head, public), expected)


def test_old_gpt2_spellings_and_buffers(tmp_path: Path) -> None:
    public_model("gpt2", "causal", torch.float32).save_pretrained(tmp_path)
    expected = load_hf(tmp_path, ["causal"])
    tensors = load_file(tmp_path / "model.safetensors")
    old = {k.removeprefix("transformer."): v for k, v in tensors.items()}
    old["h.0.attn.bias"], old["h.0.attn.masked_bias"] = torch.ones(1, 1, 24, 24), torch.tensor(-1e4)
    old["lm_head.weight"] = old["wte.weight"].clone()
    save_file(old, tmp_path / "model.safetensors")
    found = load_hf(tmp_path, ["causal"])
    assert all(torch.equal(v, found.states["body"][k]) for k, v in expected.states["body"].items())
    assert sum("buffer that holds no weights" in line for line in found.report) == 2


@pytest.mark.parametrize("kind", PUBLIC)
def test_missing_unexpected_and_misshapen_keys_are_all_named(tmp_path: Path, kind: str) -> None:
    head = next(h for h in ("masked", "causal") if h in PUBLIC[kind][2])
    public_model(kind, head, torch.float32).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    gone, renamed, cut = sorted(k for k, v in tensors.items() if v.dim() == 2)[-3:]
    del tensors[gone]
    tensors[f"{renamed}_new"] = tensors.pop(renamed)
    tensors[cut] = tensors[cut][:-1].contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BundleError) as caught:
        load_hf(tmp_path)
    message = str(caught.value)
    for piece in (f"missing {gone}", f"missing {renamed}", f"unexpected {renamed}_new", f"{cut} has shape"):
        assert piece in message


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "another scale of the scores"),
        ("gpt2", {"activation_function": "mish"}, "activation_function is 'mish', not one of gelu"),
        ("gpt2", {"n_head": 5}, "not divisible"),
        ("gpt2", {"n_embd": "wide"}, "width must be a whole number|another kind"),
        ("gpt_neo", {"attention_types": [[["global", "local"], 2]]}, "names 4 layers"),
        ("gpt_neo", {"attention_types": [[["local", "global"], 1], [["local"], 1]]}, "do not alternate evenly"),
        ("gpt_neo", {"attention_types": 3}, "attention_types is 3"),
        ("roberta", {"hidden_act": "relu"}, "another activation"),
        ("albert", {"num_hidden_groups": 2}, "layers of several groups"),
        ("albert", {"embedding_size": None}, "lacks embedding_size"),
        ("modernbert", {"mlp_bias": True}, "differ"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types are not 5"),
        ("modernbert", {"decoder_bias": False}, "logits without a bias"),
        ("modernbert", {"rope_scaling": {"factor": 2}}, "stretch"),
    ],
)
def test_unsupported_configs_are_refused(tmp_path: Path, kind: str, values: dict[str, object], message: str) -> None:
    public_model(kind, "body", torch.float32).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **values}))
    with pytest.raises(BundleError, match=message) as caught:
        load_hf(tmp_path)
    assert str(tmp_path) in str(caught.value) and caught.value.cure


def small(name: str) -> dict[str, object]:
    """Values that make a preset's row quick to build."""
    row = presets.PRESETS[name]
    if row.kind is Architecture:
        return {"width": 16, "heads": 2, "ffn_width": 64, "layers": 2, "max_positions": 16}
    known = {field.name for field in dataclasses.fields(presets.PRESETS[name].kind)}
    return {key: 16 for key in ("width", "hidden") if key in known}


TWINS = {
    "bert": "bert",
    "roberta": "roberta",
    "albert": "albert",
    "gpt": "openai-gpt",
    "gpt2": "gpt2",
    "gpt3": "gpt_neo",
    "loom": "modernbert",
    "t5": "t5",
    "t5v1.1": "t5",
    "transformer": "marian",
    "xlnet": "xlnet",
}


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_is_saved_and_read(tmp_path: Path, name: str) -> None:
    arch = presets.architecture(name, V, **small(name))
    family = family_of(arch)
    expected = TWINS.get(name.split("-")[0])
    if expected is not None:
        assert family is not None and family.model_type == expected
    torch.manual_seed(0)
    known = set(HEADS) if family is None else set(family.parts)
    order = ("causal", "masked", "permuted") if arch.attention == "causal" else ("masked", "causal", "permuted")
    part = next(part for part in order if part in known)
    heads = {part: (HEADS if family is None else family.heads)[part](arch, 2)}
    model = Model(make_body(arch), heads).eval()
    save_bundle(tmp_path / "b", model, "pretrained", {})
    found = load_bundle(tmp_path / "b")
    assert found.twin == ("none" if family is None else "exact") and found.model.arch == arch
    before, after = model.state_dict(), found.model.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[k], after[k]) for k in before)
    states = load_any(tmp_path / "b").states
    assert states.keys() == {"body", *heads}


def test_models_without_a_twin_say_so(tmp_path: Path) -> None:
    arch = Architecture(vocab_size=V, width=16, layers=1, heads=2, ffn_width=16, position="alibi")
    model = Model(make_body(arch), {})
    with pytest.raises(BundleError, match="no public family computes"):
        save_hf(tmp_path / "a", model)
    with pytest.raises(BundleError, match="gpt2 does not have this model's"):
        save_hf(tmp_path / "a", model, family="gpt2")
    with pytest.raises(BundleError, match="unknown family 'gpt5'"):
        save_hf(tmp_path / "a", model, family="gpt5")
    save_bundle(tmp_path / "b", model, "pretrained", {})
    with pytest.raises(BundleError, match="model_type is 'wordloom'"):
        load_hf(tmp_path / "b")
    assert load_any(tmp_path / "b").family == "wordloom"
