"""int8 weights: the products are those of the dequantised matrices, and a trained model seldom says another token."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation_peers import causal_model
from test_decode import SLOTS

import tiny
from cli_runs import command
from wordloom import api
from wordloom.errors import ConfigError
from wordloom.infer.decode import generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.steppers import CausalState, CausalStepper, make_stepper
from wordloom.model import kernels
from wordloom.model.heads import MaskedHead
from wordloom.model.int8 import quantise
from wordloom.model.model import Model
from wordloom.model.native_int8 import int8_rows, int8_rows_on_threads
from wordloom.model.recurrent import Recurrent, RecurrentArchitecture

compiled = pytest.mark.skipif(kernels.backend() == "torch", reason="the kernels are switched off")


def test_quantised_by_hand() -> None:
    found = quantise(torch.tensor([[127.0, -63.4, 0.0], [0.0, 0.0, 0.0], [-2.54, 1.27, 0.0127]]))
    assert found.q.tolist() == [[127, -63, 0], [0, 0, 0], [-127, 64, 1]]  # 63.5 to even
    assert torch.allclose(found.scale, torch.tensor([1.0, 0.0, 0.02]))
    w = torch.randn(50, 70) * torch.rand(50, 1) * 10
    found = quantise(w)
    assert found.q.dtype is torch.int8 and int(found.q.abs().max()) == 127
    assert ((w - found.dequantise()).abs() <= found.scale[:, None] * 0.5001).all()


@compiled
@pytest.mark.parametrize("shape", [(1, 8, 16), (3, 33, 47), (5, 1, 7), (16, 64, 128)])
def test_product_is_torch(shape: tuple[int, int, int]) -> None:
    B, N, K = shape
    q, scale = quantise(torch.randn(N, K))
    x, y = torch.randn(B, K + 3), torch.randn(B, N)
    expected = y + x[:, :K] @ (q.float() * scale[:, None]).T
    for rows in (lambda *a: int8_rows(*a, 0, N), lambda *a: int8_rows_on_threads(*a, 3)):
        found = y.clone()
        rows(x.numpy(), q.numpy(), scale.numpy(), found.numpy())
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def dequantised(model: Model) -> Model:
    """Every matrix of the layers and heads as int8 weights stand for it; the tables that are looked up as they are."""
    other = copy.deepcopy(model)
    for name, p in other.named_parameters():
        if p.dim() == 2 and not any(table in name for table in ("tokens", "positions", "types", "buckets")):
            p.data = quantise(p.data).dequantise()
    return other


def assert_steps_are_dequantised(model: Model, head: str, hybrid: bool) -> None:
    texts, V = [[5, 9, 11, 3, 8], [7, 2]], model.arch.vocab_size
    ours, twin = CausalStepper(model, head, hybrid, int8=True), CausalStepper(dequantised(model), head, hybrid)
    table = quantise(model.token_embedding.detach()).dequantise()
    (logits, state), (read, other) = ours.begin(texts, 8), CausalStepper(model, head, hybrid).begin(texts, 8)
    assert state.fused is not None and torch.equal(logits, read)  # prompts are read with float32 weights
    plain = CausalState(other.cache, None)
    for i in range(8):
        chosen = torch.tensor([(7 * i + 3) % V, (5 * i + 1) % V])
        logits, state = ours.step(chosen, state)
        at = slice(plain.cache.length, plain.cache.length + 1)
        places = plain.cache.positions[:, at].clone()
        with torch.inference_mode():
            hidden = twin._forward(chosen[:, None], torch.ones_like(places), places, plain.cache)
            expected = twin.head(hidden[:, -1], table)
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@compiled
@pytest.mark.parametrize("slots", SLOTS.values(), ids=SLOTS.keys())
def test_a_step_is_that_of_the_dequantised_model(slots: dict[str, Any]) -> None:
    assert_steps_are_dequantised(causal_model(3, **slots), "causal", False)


@compiled
def test_a_narrow_table_and_a_head_with_a_layer_of_its_own() -> None:
    arch = replace(causal_model(3, attention="full").arch, embedding_width=12)
    torch.manual_seed(0)
    body = type(causal_model(3).body)(arch)
    assert_steps_are_dequantised(Model(body, {"masked": MaskedHead(arch)}).eval(), "masked", True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    corpus = tiny.write_corpus(folder / "corpus.txt")
    settings = {**tiny.TINY, "tokenizer.vocab_size": 300, "train.steps": 60, "train.lr": 0.01}
    api.pretrain(corpus, folder / "run", preset="gpt2-tiny", quiet=True, **settings)
    return folder / "run"


@compiled
def test_agreement_with_float32(made: Path) -> None:
    """Share of the tokens of the float32 text that int8 weights choose too, each after the same text."""
    model, agree, asked = api.language_model(made).model, 0, 0
    plain, narrow = make_stepper(model), make_stepper(model, int8=True)
    for text in tiny.documents(6, seed=9):
        ids = api.language_model(made).encode(text[:30])
        (answer,) = generate(plain, [ids], Decoding(max_tokens=40))[0]
        _, state = narrow.begin([ids], 40)
        for token, following in zip(answer.ids, answer.ids[1:], strict=False):
            logits, state = narrow.step(torch.tensor([token]), state)
            agree, asked = agree + (int(logits.argmax()) == following), asked + 1
    assert asked > 200 and agree / asked > 0.9


@compiled
def test_the_flag(made: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    said = command(monkeypatch, capfd, "generate", made, "-p", "The film", "--int8", "--max-tokens", 12)
    (answer,) = api.language_model(made, int8=True).generate(["The film"], max_tokens=12)[0]
    assert said.code == 0 and said.out.rstrip("\n") == answer.text, said.err
    many = command(
        monkeypatch, capfd, "generate", made, "-p", "The film", "--int8", "--answers", 20, "--temperature", 1
    )
    assert many.code == 2 and "20 answers of this model cannot be made with int8 weights" in many.err


def test_who_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = RecurrentArchitecture(cell="lstm", layers=1, width=8, vocab_size=20)
    from wordloom.model.heads import CausalHead

    with pytest.raises(ConfigError, match="causal Transformers alone"):
        make_stepper(Model(Recurrent(arch), {"causal": CausalHead(arch)}), int8=True)
    with pytest.raises(ConfigError, match="cannot be made with int8 weights"):
        CausalStepper(causal_model(3).double(), int8=True).begin([[1, 2]], 3)
