"""Language models of others: from the public folder or from its import they answer alike, and as transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from wordloom import api
from wordloom.api.start import open_start
from wordloom.config import Recipe, TokenizerConfig
from wordloom.errors import BundleError, ConfigError
from wordloom.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
GOOD, BAD = "the film was great to everyone.", "the film great was to everyone."
_SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
_DECODER = {**_SIZES, "local_attention": 6}
# name -> (config, values, model, token that separates texts, or None where BERT's five are kept)
PUBLIC: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    "gpt2": ("GPT2Config", _GPT2, "GPT2LMHeadModel", "<|endoftext|>"),
    "bert": ("BertConfig", {**_SIZES, "max_position_embeddings": 64}, "BertForMaskedLM", None),
    "decoder": ("ModernBertDecoderConfig", _DECODER, "ModernBertDecoderForCausalLM", "<|endoftext|>"),
}


def tokenizer_of(end: str | None) -> Tokenizer:
    kind: Any = "wordpiece" if end is None else "byte-bpe"
    trained = Tokenizer.train(tiny.documents(), TokenizerConfig(kind=kind, vocab_size=300))
    if end is None:
        return trained
    described = json.loads(trained.backend.to_str())
    described["added_tokens"], described["post_processor"] = [], None
    backend = type(trained.backend).from_str(json.dumps(described))
    backend.add_special_tokens([end])
    return Tokenizer(backend, dict.fromkeys(("bos_token", "eos_token", "unk_token"), end))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random models, as others publish them, and beside each its import, NAME-run."""
    root = tmp_path_factory.mktemp("public")
    for name, (config, values, model, end) in PUBLIC.items():
        tokenizer = tokenizer_of(end)
        torch.manual_seed(5)
        ids = {f"{key}_token_id": number for key, number in tokenizer.ends.items()}
        made = getattr(transformers, config)(vocab_size=tokenizer.vocab_size, initializer_range=0.3, **values, **ids)
        getattr(transformers, model)(made).save_pretrained(root / name)
        tokenizer.save(root / name)
        api.import_folder(root / name, root / f"{name}-run")
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "own.tsv").write_text(f"{GOOD}\t{BAD}\n")
    return tmp_path / "own.tsv"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_folder_and_its_import_begin_a_text_alike(name: str, folders: dict[str, Path]) -> None:
    """With nothing where one token begins and ends a text (GPT-2), else with what begins one ([CLS])."""
    public, imported = (api.language_model(folders[f"{name}{end}"]) for end in ("", "-run"))
    assert public.start_id == imported.start_id == (public.tokenizer.cls_id if name == "bert" else None)
    if name != "bert":
        assert public.encode(GOOD) == imported.encode(GOOD) == public.tokenizer.encode_ids([GOOD])[0].tolist()
        with pytest.raises(ConfigError, match="no token begins a text"):
            imported.encode("")


@pytest.mark.parametrize("name", ["gpt2", "decoder"])
@pytest.mark.parametrize("end", ["", "-run"])
def test_a_public_causal_model_goes_on_as_in_transformers(name: str, end: str, folders: dict[str, Path]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[name])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folders[name]).eval()
    x = tokenizer("the film was", return_tensors="pt")["input_ids"]
    expected = theirs.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=8, do_sample=False)[0, x.shape[1] :]
    model = api.language_model(folders[f"{name}{end}"])
    (answer,) = model.generate(["the film was"], max_tokens=8)[0]
    assert [*answer.ids, *[model.tokenizer.eos_id] * (answer.end == "end")] == expected.tolist()
    with pytest.raises(ConfigError, match="it cannot fill"):
        model.fill("the [MASK]")


@pytest.mark.parametrize("name", ["gpt2", "decoder"])
def test_a_public_causal_model_is_probed_as_in_transformers(name: str, folders: dict[str, Path], pairs: Path) -> None:
    """Sum of log p of the sentence's tokens after the token that separates texts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[name])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folders[name]).eval()
    found = api.probe(folders[name], pairs)
    assert found.settings["reading"] == "causal" and found.settings["start"] == "<|endoftext|>" and found.path is None
    for text, ours in ((GOOD, found.scores.good[0]), (BAD, found.scores.bad[0])):
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            logp = theirs(ids).logits.double().log_softmax(-1)
        assert ours == pytest.approx(float(logp[0, :-1].gather(1, ids[0, 1:, None]).sum()), abs=1e-3)
    again = api.probe(folders[f"{name}-run"], pairs)
    assert again.scores.good == pytest.approx(found.scores.good, abs=1e-9)


def test_a_public_masked_model_is_probed_and_fills(folders: dict[str, Path], pairs: Path) -> None:
    found, again = (api.probe(folders[name], pairs) for name in ("bert", "bert-run"))
    assert found.settings["reading"] == "masked" and found.settings["start"] == "[CLS]"
    assert found.scores.good.tolist() == again.scores.good.tolist() != found.scores.bad.tolist()
    assert api.fill(folders["bert"], "the [MASK] was") == api.fill(folders["bert-run"], "the [MASK] was")
    with pytest.raises(ConfigError, match="cannot be asked as a causal one"):
        api.probe(folders["bert"], pairs, reading="causal")
    with pytest.raises(ConfigError, match="it cannot generate"):
        api.generate(folders["bert"], "the")


def test_another_tokenizer_beside_the_weights_is_refused(folders: dict[str, Path], pairs: Path, tmp_path: Path) -> None:
    """Everywhere alike: the bundle states which one its weights were trained with."""
    run = Path(shutil.copytree(folders["bert-run"], tmp_path / "run"))
    Tokenizer.train(tiny.documents(seed=1), TokenizerConfig(vocab_size=200)).save(run)
    asked = {
        "generate": lambda: api.generate(run, "the"),
        "fill": lambda: api.fill(run, "the [MASK]"),
        "probe": lambda: api.probe(run, pairs),
        "finetune": lambda: open_start(run, Recipe(), []),
        "export": lambda: api.export_model(run, tmp_path / "hf"),
    }
    for name, ask in asked.items():
        with pytest.raises(BundleError, match="is not the one they were trained with"):
            ask()
            pytest.fail(name)
    assert not (tmp_path / "hf").exists()


def test_more_tokens_than_the_model_knows_are_refused(folders: dict[str, Path], pairs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["gpt2"], tmp_path / "folder"))
    Tokenizer.train(tiny.documents(), TokenizerConfig(kind="byte-bpe", vocab_size=400)).save(folder)
    for ask in (lambda: api.generate(folder, "the"), lambda: api.probe(folder, pairs)):
        with pytest.raises(BundleError, match=r"the tokenizer knows \d+ tokens, the model \d+"):
            ask()


def test_an_encoder_decoder_is_not_probed(pairs: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(tiny.documents(), TokenizerConfig(kind="byte-bpe", vocab_size=300)).with_sentinels(5)
    config = transformers.T5Config(vocab_size=tokenizer.vocab_size, d_model=16, d_kv=8, d_ff=16, num_layers=1,
                                   num_heads=2, decoder_start_token_id=0)  # fmt: skip
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tokenizer.save(tmp_path / "t5")
    with pytest.raises(ConfigError, match="reads a source and writes an answer"):
        api.probe(tmp_path / "t5", pairs)
