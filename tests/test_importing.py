"""`wordloom import FOLDER` and `wordloom export RUN --to hf` through the command line, against transformers."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_runs import Runs, Said, command
from wordloom import api, presets
from wordloom.api.start import open_start
from wordloom.config import Recipe, TokenizerConfig
from wordloom.model.build import make_body
from wordloom.model.heads import MaskedHead
from wordloom.model.interop import load_bundle, save_bundle
from wordloom.model.model import Model
from wordloom.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
Say = Callable[..., Said]
TEXT = "the river took the old bridge"


@pytest.fixture(scope="module")
def public(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 folder as others would publish it: weights, config, vocab.json and merges.txt."""
    folder = tmp_path_factory.mktemp("public") / "gpt2"
    lines = runs.corpus.read_text(encoding="utf-8").splitlines()
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(lines, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
    folder.mkdir()
    trained.save_model(str(folder))
    torch.manual_seed(1)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), 0)
    config = transformers.GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=64, **ends)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    return lambda *words: command(monkeypatch, capfd, *words)


def public_logits(folder: Path, auto: str, text: str = TEXT) -> torch.Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits


def test_import_then_export_gives_the_same_logits(say: Say, public: Path, tmp_path: Path) -> None:
    said = say("import", public, "-o", tmp_path / "run")
    assert said.code == 0 and "gpt2:" in said.out and "heads: causal" in said.out
    bundle, tokenizer = load_bundle(tmp_path / "run"), Tokenizer.load(tmp_path / "run")
    ids = torch.from_numpy(tokenizer.encode_ids([TEXT])[0]).long()[None]
    hidden = bundle.model(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
    ours = bundle.model.heads["causal"](hidden, bundle.model.token_embedding)
    expected = public_logits(public, "AutoModelForCausalLM")
    assert (ours - expected).abs().max() <= 2e-6 * expected.abs().max()

    said = say("export", tmp_path / "run", "--to", "hf", "-o", tmp_path / "hf")
    assert said.code == 0, said.err
    assert torch.equal(public_logits(tmp_path / "hf", "AutoModelForCausalLM"), expected)  # token by token, id by id
    assert not (tmp_path / "hf/wordloom.json").exists()
    ends = json.loads((tmp_path / "hf/generation_config.json").read_text())
    assert ends == {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    again = say("export", tmp_path / "run", "--to", "hf", "-o", tmp_path / "hf")
    assert again.code == 2 and "already exists" in again.err


def test_an_imported_model_is_a_start(say: Say, public: Path, runs: Runs, tmp_path: Path) -> None:
    assert say("import", public, "-o", tmp_path / "run").code == 0
    start = open_start(tmp_path / "run", Recipe(), [])
    assert start.states is not None and set(start.states) == {"body", "causal"}
    said = say("finetune", tmp_path / "run", runs.labelled, "-o", tmp_path / "tuned", "--epochs", 1, "--length", 32)
    assert said.code == 0, said.err
    said = say("export", tmp_path / "tuned", "--to", "hf", "-o", tmp_path / "hf")
    assert said.code == 2 and "reads the end token, which is its padding too" in said.err


@pytest.mark.parametrize("preset", ["gpt2-tiny", "roberta-tiny"])
def test_classifiers_of_ours_answer_as_before(say: Say, runs: Runs, tmp_path: Path, preset: str) -> None:
    said = say(
        "finetune", preset, runs.labelled, "-o", tmp_path / "run", "--epochs", 1, "--length", 32,
        "--set", "tokenizer.vocab_size=300", "--set", "model.width=32", "--set", "model.heads=2",
    )  # fmt: skip
    assert said.code == 0, said.err
    said = say("export", tmp_path / "run", "--to", "hf", "-o", tmp_path / "hf")
    assert said.code == 0, said.err
    expected = api.load(tmp_path / "run").logits([TEXT])
    found = public_logits(tmp_path / "hf", "AutoModelForSequenceClassification")
    assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_a_pretrained_run_fills_as_before(say: Say, runs: Runs, tmp_path: Path) -> None:
    folder = next(p for p in sorted(runs.folder.iterdir()) if (p / "manifest.json").exists()
                  and json.loads((p / "manifest.json").read_text())["kind"] == "pretrain")  # fmt: skip
    assert say("export", folder, "--to", "hf", "-o", tmp_path / "hf").code == 0
    model = load_bundle(folder / "bundle").model
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")(TEXT, return_tensors="pt")["input_ids"]
    hidden = model(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
    ours = model.heads["masked"](hidden, model.token_embedding)
    found = public_logits(tmp_path / "hf", "AutoModelForMaskedLM")
    assert (ours - found).abs().max() <= 2e-6 * found.abs().max()


@pytest.mark.parametrize(
    "head", ["BertModel", "BertForPreTraining", "BertForMaskedLM", "RobertaForSequenceClassification"]
)
def test_every_weight_of_a_folder_survives(say: Say, tmp_path: Path, head: str) -> None:
    kind = head.partition("For")[0].removesuffix("Model")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = getattr(transformers, f"{kind}Config")(vocab_size=9, pad_token_id=0, max_position_embeddings=8, **shape)
    getattr(transformers, head)(config).save_pretrained(tmp_path / "public")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "d"]
    (tmp_path / "public/vocab.txt").write_text("".join(f"{w}\n" for w in words))
    (tmp_path / "public/tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert say("import", tmp_path / "public", "-o", tmp_path / "run").code == 0
    said = say("export", tmp_path / "run", "--to", "hf", "-o", tmp_path / "hf")
    assert said.code == 0, said.err
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("public", "hf"))
    assert before.keys() - after.keys() <= {k.removeprefix("bert.") for k in after} | {f"bert.{k}" for k in after}
    found = {k.removeprefix("bert."): v for k, v in after.items()}
    assert all(torch.equal(v, found[k.removeprefix("bert.")]) for k, v in before.items())


def test_folders_that_do_not_fit_are_refused_with_the_list(say: Say, public: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(public, tmp_path / "broken"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.bias"]
    tensors["transformer.h.0.adapter"] = torch.zeros(2)
    save_file(tensors, folder / "model.safetensors")
    said = say("import", folder, "-o", tmp_path / "run")
    assert said.code == 2 and not (tmp_path / "run").exists()
    assert "missing transformer.h.1.mlp.c_fc.bias" in said.err and "unexpected transformer.h.0.adapter" in said.err
    assert "Traceback" not in said.err
    for wrong, message in ((tmp_path / "none", "no such folder"), (tmp_path, "no such file")):
        said = say("import", wrong, "-o", tmp_path / "run")
        assert said.code == 2 and message in said.err
    assert say("import", public, "-o", tmp_path / "run").code == 0
    said = say("import", tmp_path / "run", "-o", tmp_path / "other")
    assert said.code == 2 and "of ours already" in said.err
    for words, message in (
        (("export", tmp_path / "run", "--to", "hf", "--as", "bert"), "bert does not have this model's"),
        (("export", tmp_path / "run", "--to", "text", "--as", "bert"), "--as is of models"),
        (("export", public, "--to", "hf"), "not a Wordloom bundle"),
    ):
        said = say(*words, "-o", tmp_path / "hf")
        assert said.code == 2 and message in said.err, said.err
    assert not (tmp_path / "hf").exists()


def test_a_hybrid_model_is_exported_as_encoder_and_as_decoder(say: Say, tmp_path: Path, runs: Runs) -> None:
    tokenizer = Tokenizer.train(runs.corpus.read_text(encoding="utf-8").splitlines(), TokenizerConfig(vocab_size=300))
    small = {"width": 32, "heads": 2, "ffn_width": 32, "layers": 4, "window": 3}
    arch = presets.architecture("loom-tiny", tokenizer.vocab_size, **small)
    model = Model(make_body(arch), {"masked": MaskedHead(arch)})
    extra = {"tokenizer_hash": tokenizer.hash}
    save_bundle(tmp_path / "run", model, "pretrained", extra, also=lambda p: tokenizer.save(p, segments=False))
    for family, auto in (("modernbert", "AutoModelForMaskedLM"), ("modernbert-decoder", "AutoModelForCausalLM")):
        said = say("export", tmp_path / "run", "--to", "hf", "--as", family, "-o", tmp_path / family)
        assert said.code == 0, said.err
        found = public_logits(tmp_path / family, auto)
        ids = transformers.AutoTokenizer.from_pretrained(tmp_path / family)(TEXT, return_tensors="pt")["input_ids"]
        attention = "causal" if family.endswith("decoder") else "full"
        body = make_body(dataclasses.replace(arch, attention=attention)).eval()
        body.load_state_dict(model.body.state_dict())
        hidden = body(ids, torch.ones_like(ids), torch.arange(ids.shape[1])[None], torch.zeros_like(ids))
        ours = model.heads["masked"](hidden, model.token_embedding)
        assert (ours - found).abs().max() <= 2e-6 * found.abs().max()
