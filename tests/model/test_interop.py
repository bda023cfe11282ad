"""Folders: round trips, old spellings, shards, and every way a folder can be wrong."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordloom.errors import BundleError
from wordloom.model.architecture import Architecture
from wordloom.model.heads import ClassifyHead, MaskedHead, PairHead
from wordloom.model.interop import apply_states, load_bundle, load_hf, save_bundle, save_hf
from wordloom.model.interop.files import read_tensors
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer

torch.set_num_threads(1)
ARCH = Architecture(vocab_size=50, width=16, layers=2, heads=2, ffn_width=24, max_positions=12, dropout=0.2)


def model(*heads: str, pooling: str = "cls", dtype: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(0)
    kinds = {
        "masked": lambda: MaskedHead(ARCH),
        "next_sentence": lambda: PairHead(ARCH),
        "classify": lambda: ClassifyHead(ARCH, 3, pooling, dropout=0.3),
    }
    built = Model(Transformer(ARCH), {name: kinds[name]() for name in heads}).to(dtype)
    with torch.no_grad():
        for p in built.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return built.eval()


def same(a: Model, b: Model) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return list(x) == list(y) and all(torch.equal(x[k], y[k]) for k in x)


def folder(tmp_path: Path, *heads: str) -> Path:
    save_hf(tmp_path / "hf", model(*heads))
    return tmp_path / "hf"


def edit(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("heads", [(), ("masked",), ("masked", "next_sentence"), ("classify",)])
def test_hf_round_trip_is_exact(tmp_path: Path, heads: tuple[str, ...], dtype: torch.dtype) -> None:
    saved = model(*heads, dtype=dtype)
    save_hf(tmp_path / "a", saved)
    loaded = load_hf(tmp_path / "a", heads)
    assert loaded.arch == ARCH
    again = model(*heads, dtype=dtype)
    with torch.no_grad():
        for p in again.parameters():
            p.zero_()
    assert apply_states(again, loaded.states) == [] and same(saved, again)


def test_new_task_takes_body_and_pooler_and_says_what_is_fresh(tmp_path: Path) -> None:
    loaded = load_hf(folder(tmp_path, "masked", "next_sentence"))
    new = model("classify")
    fresh = apply_states(new, loaded.states)
    assert fresh == ["heads.classify.output.weight", "heads.classify.output.bias"]
    pooler = model("masked", "next_sentence").heads["next_sentence"].pooler
    assert torch.equal(new.heads["classify"].pooler.dense.weight, pooler.dense.weight)
    bare = load_hf(folder(tmp_path / "b", "masked"))
    assert "no pooler in the folder" in bare.report
    assert len(apply_states(model("classify"), bare.states)) == 4


def old_spelling(t: dict[str, Tensor]) -> None:
    for key in list(t):
        new = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        t[new] = t.pop(key)
    t["bert.embeddings.position_ids"] = torch.arange(12)[None]
    t["cls.predictions.decoder.weight"] = t["bert.embeddings.word_embeddings.weight"].clone()
    t["cls.predictions.decoder.bias"] = t["cls.predictions.bias"].clone()


def test_old_spellings_read_the_same(tmp_path: Path) -> None:
    expected = load_hf(folder(tmp_path, "masked"), ["masked"])
    edit(tmp_path / "hf", old_spelling)
    loaded = load_hf(tmp_path / "hf", ["masked"])
    for part in ("body", "masked"):
        assert all(torch.equal(v, loaded.states[part][k]) for k, v in expected.states[part].items())
    assert any("position_ids" in line for line in loaded.report)


def test_missing_prefix_and_half_precision(tmp_path: Path) -> None:
    expected = load_hf(folder(tmp_path)).states["body"]
    edit(tmp_path / "hf", lambda t: [t.update({k.removeprefix("bert."): t.pop(k).half()}) for k in list(t)])
    loaded = load_hf(tmp_path / "hf")
    assert all(torch.equal(v.half().float(), loaded.states["body"][k]) for k, v in expected.items())
    assert "weights widened from torch.float16 to float32" in loaded.report


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards_and_bin(tmp_path: Path, name: str) -> None:
    path = folder(tmp_path, "masked")
    expected = load_hf(path, ["masked"]).states
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    write = save_file if name.endswith("safetensors") else torch.save
    if name.endswith("bin"):
        torch.save(tensors, path / name)
        assert same_states(load_hf(path, ["masked"]).states, expected)
        (path / name).unlink()
    keys = sorted(tensors)
    stem, end = name.split(".")
    places = {k: f"{stem}-0000{1 + (i > 9)}-of-00002.{end}" for i, k in enumerate(keys)}
    for shard in set(places.values()):
        write({k: tensors[k] for k in keys if places[k] == shard}, path / shard)
    (path / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert same_states(load_hf(path, ["masked"]).states, expected)
    (path / places[keys[0]]).unlink()
    with pytest.raises(BundleError, match="no such weight file"):
        load_hf(path, ["masked"])


def same_states(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[p][k], b[p][k]) for p in a for k in a[p])


def test_missing_and_unexpected_keys_are_all_listed(tmp_path: Path) -> None:
    path = folder(tmp_path, "masked")

    def change(t: dict[str, Tensor]) -> None:
        del t["bert.encoder.layer.1.attention.self.key.bias"], t["cls.predictions.bias"]
        t["bert.adapter.weight"] = torch.zeros(2)
        t["bert.embeddings.position_embeddings.weight"] = torch.zeros(11, 16)

    edit(path, change)
    with pytest.raises(BundleError) as caught:
        load_hf(path, ["masked"])
    for piece in (
        "missing bert.encoder.layer.1.attention.self.key.bias",
        "missing cls.predictions.bias",
        "unexpected bert.adapter.weight",
        "position_embeddings.weight has shape (11, 16), not (12, 16)",
    ):
        assert piece in str(caught.value)


def test_absent_head_deeper_model_and_untied_decoder_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path, "masked")
    with pytest.raises(BundleError, match=r"missing bert\.pooler\.dense\.weight.*missing classifier\.weight"):
        load_hf(path, ["classify"])
    edit_json(path / "config.json", num_hidden_layers=1)
    with pytest.raises(BundleError, match=r"unexpected bert\.encoder\.layer\.1\."):
        load_hf(path)
    edit_json(path / "config.json", num_hidden_layers=2)
    edit(path, lambda t: t.update({"cls.predictions.decoder.weight": torch.ones(50, 16)}))
    with pytest.raises(BundleError, match="decoder\.weight differs from bert\.embeddings\.word_embeddings\.weight"):
        load_hf(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "deberta"}, "model_type is 'deberta'"),
        ({"model_type": None}, "model_type is None"),
        ({"position_embedding_type": "relative_key"}, "relative positions"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"is_decoder": True}, "a decoder"),
        ({"hidden_size": "wide"}, "width must be a whole number"),
        ({"num_attention_heads": 3}, "not divisible"),
        ({"vocab_size": 51}, r"shape \(50, 16\), not \(51, 16\)"),
    ],
)
def test_unsupported_configs_are_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = folder(tmp_path)
    edit_json(path / "config.json", **values)
    with pytest.raises(BundleError, match=message):
        load_hf(path)


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_pickled_code_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = folder(tmp_path)
    (path / "model.safetensors").unlink()
    for write in (torch.save, lambda v, p: p.write_bytes(pickle.dumps(v))):
        write({"bert.embeddings.LayerNorm.bias": _Code()}, path / "pytorch_model.bin")
        with pytest.raises(BundleError, match="not a plain weight file"):
            load_hf(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("damage", ["cut", "junk", "empty", "gone", "no config", "bad config", "list config"])
def test_damaged_folders_are_refused(tmp_path: Path, damage: str) -> None:
    path = folder(tmp_path)
    weights, config = path / "model.safetensors", path / "config.json"
    content = weights.read_bytes()
    {
        "cut": lambda: weights.write_bytes(content[: len(content) // 2]),
        "junk": lambda: weights.write_bytes(b"\xff" * 4000),
        "empty": lambda: weights.write_bytes(b""),
        "gone": weights.unlink,
        "no config": config.unlink,
        "bad config": lambda: config.write_text('{"model_type": "bert"'),
        "list config": lambda: config.write_text("[]"),
    }[damage]()
    with pytest.raises(BundleError) as caught:
        load_hf(path)
    assert str(path) in str(caught.value) and caught.value.cure


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """By name, of a public folder and of a bundle: the model would answer every question with nan."""
    broken = model("classify")
    next(broken.heads["classify"].parameters()).data.fill_(math.nan)
    save_bundle(tmp_path / "bundle", broken, "classify", {})
    with pytest.raises(BundleError, match=r"weights are not numbers \(nan\)"):
        load_bundle(tmp_path / "bundle")
    path = folder(tmp_path)
    edit(path, lambda tensors: tensors["bert.embeddings.LayerNorm.bias"][3].fill_(math.nan))
    with pytest.raises(BundleError, match=r"nan\): bert.embeddings.LayerNorm.bias"):
        load_hf(path)


def test_index_may_not_point_outside(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(BundleError, match="points outside"):
        load_hf(path)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_bundle_round_trip(tmp_path: Path, pooling: str) -> None:
    saved = model("classify", pooling=pooling, dtype=torch.float64)
    extra = {"labels": ["a", "b", "ç"], "problem_type": "single_label_classification", "temperature": 1.25}
    save_bundle(tmp_path / "b", saved, "classify", extra, also=lambda p: (p / "tokenizer.json").write_text("{}"))
    bundle = load_bundle(tmp_path / "b")
    assert same(saved, bundle.model) and bundle.extra == extra and bundle.kind == "classify"
    assert bundle.twin == ("exact" if pooling == "cls" else "body")
    assert (tmp_path / "b/head.safetensors").exists() == (pooling == "mean") and not bundle.model.training
    assert bundle.model.heads["classify"].dropout == 0.3 and (tmp_path / "b/tokenizer.json").exists()
    with pytest.raises(BundleError, match="already exists"):
        save_bundle(tmp_path / "b", saved, "classify", extra)
    save_bundle(tmp_path / "b", saved, "again", {}, overwrite=True)
    assert load_bundle(tmp_path / "b").kind == "again" and not (tmp_path / "b/tokenizer.json").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]  # nothing temporary stays


def test_mean_pooling_has_no_twin(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no public twin for the head classify"):
        save_hf(tmp_path / "a", model("classify", pooling="mean"))
    assert not list(tmp_path.iterdir())


def test_failed_save_leaves_the_old_folder(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", model("masked"), "pretrained", {})

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match="No space left"):
        save_bundle(tmp_path / "b", model("masked"), "new", {}, also=full, overwrite=True)
    with pytest.raises(BundleError, match="2 label names for 3 classes"):
        save_bundle(tmp_path / "b", model("classify"), "new", {"labels": ["a", "b"]}, overwrite=True)
    assert load_bundle(tmp_path / "b").kind == "pretrained" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 99}, "bundle format 99 is unknown"),
        ({"heads": {"poet": {}}}, "unknown head 'poet'"),
        ({"heads": {"classify": {"classes": 3, "colour": 1}}}, "described wrongly"),
        ({"heads": {"classify": {"classes": 4, "pooling": "cls", "dropout": 0.1}}}, "do not fit the model"),
        ({"architecture": {**ARCH.to_json(), "width": 18}}, "do not fit the model"),
        ({"architecture": {"width": 16}}, "incomplete"),
        ({"hashes": None}, "lacks a usable hashes"),
        ({"hashes": {"model.safetensors": "0"}}, "model.safetensors is damaged"),
        ({"hashes": {"other.safetensors": "0"}}, "lacks the hash of model.safetensors"),
    ],
)
def test_wrong_bundles_are_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    save_bundle(tmp_path / "b", model("classify"), "classify", {})
    edit_json(tmp_path / "b/wordloom.json", **values)
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "b")


def test_flipped_byte_and_foreign_folder(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", model("masked"), "pretrained", {})
    weights = tmp_path / "b/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert read_tensors(weights)  # still a valid file: only the hash can tell
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="not a Wordloom bundle"):
        load_bundle(folder(tmp_path))
