"""``export --to gguf``: what the file holds, read back by the format's own package, and llama.cpp's text where it is
installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import tiny
from cli_runs import command
from wordloom import api
from wordloom.errors import BundleError, TokenizerError
from wordloom.infer.generator import LanguageModel
from wordloom.model.heads import CausalHead
from wordloom.model.interop import load_bundle, save_bundle
from wordloom.model.interop.gguf import save_gguf
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer
from wordloom.text.byte_pairs import byte_pairs
from wordloom.text.tokenizer import Tokenizer

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
PROMPTS = ("The film", "Every scene was", "that's 12 films, naïve 中文 😀!\n  An actor", "")
CASED = {"tokenizer.vocab_size": 400, "train.steps": 60, "train.lr": 0.01}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 that has learned its tiny corpus (run/) and its file (model.gguf)."""
    folder = tmp_path_factory.mktemp("gguf")
    corpus = tiny.write_corpus(folder / "corpus.txt")
    api.pretrain(corpus, folder / "run", preset="gpt2-tiny", quiet=True, **{**tiny.TINY, **CASED})
    said = api.export_gguf(folder / "run", folder / "model.gguf")
    assert said[-1] == f"written: {folder / 'model.gguf'}"
    return folder


@pytest.fixture(scope="module")
def read(made: Path) -> Any:
    return gguf.GGUFReader(made / "model.gguf")


def field(read: Any, key: str) -> Any:
    return read.get_field(key).contents()


def expected_tensors(model: Model) -> dict[str, np.ndarray[Any, Any]]:
    """The names of llama.cpp's gpt2 (its llama-arch.cpp), written out beside ours."""
    body: Any = model.body
    found = {
        "token_embd.weight": body.embeddings.tokens.weight, "position_embd.weight": body.embeddings.positions.weight,
        "output_norm.weight": body.norm.weight, "output_norm.bias": body.norm.bias,
    }  # fmt: skip
    for i, layer in enumerate(body.layers):
        parts = {"attn_norm": layer.attention_norm, "attn_qkv": layer.attention.qkv, "attn_output":
                 layer.attention.output, "ffn_norm": layer.ffn_norm, "ffn_up": layer.ffn_in,
                 "ffn_down": layer.ffn_out}  # fmt: skip
        for name, part in parts.items():
            found |= {f"blk.{i}.{name}.weight": part.weight, f"blk.{i}.{name}.bias": part.bias}
    return {k: v.detach().numpy() for k, v in found.items()}


def test_every_tensor_is_there(made: Path, read: Any) -> None:
    expected = expected_tensors(load_bundle(made / "run/bundle").model)
    found = {t.name: t for t in read.tensors}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].tensor_type == gguf.GGMLQuantizationType.F32
        assert tuple(reversed(found[name].shape.tolist())) == value.shape
        assert np.array_equal(found[name].data, value), name


def test_hyperparameters(made: Path, read: Any) -> None:
    arch = load_bundle(made / "run/bundle").model.arch
    expected = {
        "context_length": arch.max_positions, "embedding_length": arch.width, "block_count": arch.layers,
        "feed_forward_length": arch.ffn_width, "attention.head_count": arch.heads,
        "attention.layer_norm_epsilon": np.float32(arch.norm_eps), "vocab_size": arch.vocab_size,
    }  # fmt: skip
    assert field(read, "general.architecture") == "gpt2" and field(read, "general.name") == "run"
    assert {key: field(read, f"gpt2.{key}") for key in expected} == expected


def test_tokenizer(made: Path, read: Any) -> None:
    tokenizer = Tokenizer.load(made / "run/bundle")
    file = json.loads((made / "run/bundle/tokenizer.json").read_text())
    tokens = field(read, "tokenizer.ggml.tokens")
    assert {token: i for i, token in enumerate(tokens)} == tokenizer.backend.get_vocab()
    assert field(read, "tokenizer.ggml.merges") == [" ".join(pair) for pair in file["model"]["merges"]]
    types = field(read, "tokenizer.ggml.token_type")
    assert [i for i, kind in enumerate(types) if kind == gguf.TokenType.CONTROL] == tokenizer.special_ids
    assert set(types) == {gguf.TokenType.CONTROL, gguf.TokenType.NORMAL}
    assert field(read, "tokenizer.ggml.model") == "gpt2" and field(read, "tokenizer.ggml.pre") == "gpt-2"
    start = api.language_model(made / "run").start_id
    assert field(read, "tokenizer.ggml.bos_token_id") == start == tokenizer.cls_id
    assert field(read, "tokenizer.ggml.eos_token_id") == tokenizer.eos_id
    assert field(read, "tokenizer.ggml.add_bos_token") is True and field(read, "tokenizer.ggml.add_eos_token") is False


def test_untied_output_and_rows_beyond_the_vocabulary(made: Path, tmp_path: Path) -> None:
    model = load_bundle(made / "run/bundle").model
    tokenizer = Tokenizer.load(made / "run/bundle")
    arch = dataclasses.replace(model.arch, tied=False, vocab_size=tokenizer.vocab_size + 3)
    wide = Model(Transformer(arch), {"causal": CausalHead(arch)})
    vocabulary = api.gguf.vocabulary_of(tokenizer, arch.vocab_size, None)
    save_gguf(tmp_path / "wide.gguf", wide, vocabulary, name="wide")
    read = gguf.GGUFReader(tmp_path / "wide.gguf")
    (output,) = (t for t in read.tensors if t.name == "output.weight")
    assert np.array_equal(output.data, wide.heads["causal"].output.detach().numpy())
    assert field(read, "tokenizer.ggml.token_type")[-3:] == [gguf.TokenType.UNUSED] * 3
    assert field(read, "tokenizer.ggml.add_bos_token") is False


def test_what_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def say(*words: object) -> str:
        said = command(monkeypatch, capfd, "export", *words, "--to", "gguf", "-o", tmp_path / "out.gguf")
        assert said.code == 2 and "Traceback" not in said.err and not (tmp_path / "out.gguf").exists()
        return said.err

    bundle = load_bundle(made / "run/bundle")
    tokenizer = Tokenizer.load(made / "run/bundle")
    for name, change in {"norm": {"norm_place": "after"}, "act": {"activation": "gelu"}}.items():
        arch = dataclasses.replace(bundle.model.arch, **change)
        other = Model(Transformer(arch), {"causal": CausalHead(arch)})
        save_bundle(tmp_path / name, other, "pretrained", {}, also=tokenizer.save)
    assert "GPT-2 rows alone: this model has another norm_place" in say(tmp_path / "norm")
    assert "GPT-2 rows alone: this model has another activation" in say(tmp_path / "act")
    save_bundle(tmp_path / "body", Model(bundle.model.body, {}), "pretrained", {}, also=tokenizer.save)
    assert "does not predict the next token" in say(tmp_path / "body")
    (tmp_path / "out.gguf").write_text("mine")
    with pytest.raises(BundleError, match="exists already"):
        api.export_gguf(made / "run", tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_text() == "mine"
    assert api.export_gguf(made / "run", tmp_path / "out.gguf", overwrite=True)
    assert (tmp_path / "out.gguf").read_bytes() == (made / "model.gguf").read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "before it splits it"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
         "another rule"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}},
         "another rule"),
        ({"model": {"ignore_merges": True}}, "ignore_merges"),
    ],
)  # fmt: skip
def test_tokenizers_that_llama_would_read_differently(made: Path, change: dict[str, Any], message: str) -> None:
    import tokenizers

    values = json.loads((made / "run/bundle/tokenizer.json").read_text())
    for key, value in change.items():
        values[key] = {**values[key], **value} if key == "model" else value
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(values)))
    with pytest.raises(TokenizerError, match=message):
        byte_pairs(tokenizer, tokenizer.vocab_size)


class LlamaCpp(NamedTuple):
    """llama.cpp with a model open. read: ids of a text as it would be generated from. go_on: greedy text of at most so
    many tokens, and whether the model ended it. logits: (T, V) of T ids."""

    read: Callable[[str], list[int]]
    go_on: Callable[[str, int], tuple[str, bool]]
    logits: Callable[[list[int]], np.ndarray[Any, Any]]


def by_llama_cpp_python(path: Path) -> LlamaCpp:
    import llama_cpp

    opened = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, logits_all=True, verbose=False)

    def go_on(prompt: str, most: int) -> tuple[str, bool]:
        said = opened.create_completion(prompt, max_tokens=most, temperature=0.0, repeat_penalty=1.0)["choices"][0]
        return said["text"], said["finish_reason"] == "stop"

    def logits(ids: list[int]) -> np.ndarray[Any, Any]:
        opened.reset()
        opened.eval(ids)
        return opened.scores[: len(ids)]

    return LlamaCpp(lambda prompt: opened.tokenize(prompt.encode(), add_bos=True, special=True), go_on, logits)


def by_cyllama(path: Path) -> LlamaCpp:
    from cyllama.api import LLM
    from cyllama.llama import llama_cpp

    class Model(llama_cpp.LlamaModel):
        n_vocab: int  # get_logits of cyllama 0.2.18 asks the model for it, which only its vocabulary knows

    llama_cpp.disable_logging()
    settings, how = llama_cpp.LlamaModelParams(), llama_cpp.LlamaContextParams()
    settings.n_gpu_layers = 0
    how.n_ctx, how.n_threads, how.n_threads_batch = 256, 1, 1
    model = Model(str(path), settings)
    vocabulary, context = model.get_vocab(), llama_cpp.LlamaContext(model, how)
    Model.n_vocab = vocabulary.n_vocab
    plain = {"temperature": 0.0, "repeat_penalty": 1.0, "n_ctx": 256, "n_gpu_layers": 0}

    def go_on(prompt: str, most: int) -> tuple[str, bool]:
        with LLM(str(path), max_tokens=most, **plain) as opened:
            pieces = list(opened(prompt, stream=True))  # one a token
        return "".join(pieces), len(pieces) < most

    def logits(ids: list[int]) -> np.ndarray[Any, Any]:
        context.kv_cache_clear()
        rows = []
        for place, token in enumerate(ids):  # it hands out the last token's alone
            context.decode(llama_cpp.llama_batch_get_one([token], place))
            rows.append(context.get_logits())
        return np.array(rows)

    return LlamaCpp(lambda prompt: vocabulary.tokenize(prompt, True, True), go_on, logits)


BINDINGS = {"llama_cpp": by_llama_cpp_python, "cyllama": by_cyllama}


def test_llama_cpp_says_the_same(made: Path) -> None:
    installed = [name for name in BINDINGS if importlib.util.find_spec(name)]
    if not installed:
        pytest.skip("neither llama-cpp-python nor cyllama is installed")
    ours = api.language_model(made / "run")
    ends = set()
    for name in installed:
        theirs = BINDINGS[name](made / "model.gguf")
        for prompt in PROMPTS:
            ids = theirs.read(prompt)
            assert ids == ours.encode(prompt), name
            for most in (40, 2):  # ended by the model, and cut
                (answer,) = ours.generate([prompt], max_tokens=most)[0]
                assert theirs.go_on(prompt, most) == (answer.text, answer.end == "end"), name
                ends.add(answer.end)
            assert_logits_agree(theirs.logits(ids), ours, ids)
    assert ends == {"end", "length"}


def assert_logits_agree(theirs: np.ndarray[Any, Any], ours: LanguageModel, ids: list[int]) -> None:
    """To what its gelu, a table of float16, and its cache of keys and values in float16 leave."""
    x = torch.tensor([ids])
    hidden = ours.model(x, torch.ones_like(x), torch.arange(len(ids))[None], torch.zeros_like(x))
    expected = ours.model.heads["causal"](hidden[0], ours.model.token_embedding).detach().numpy()
    assert theirs.shape == expected.shape and np.abs(theirs - expected).max() < 0.005
