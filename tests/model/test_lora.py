"""LoRA against its equation and peft, in every Transformer row: what is trained, and that merging loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wordloom import presets
from wordloom.config import LoraConfig
from wordloom.data.batch import Batch
from wordloom.errors import ConfigError
from wordloom.infer.decode import generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.steppers import CausalStepper
from wordloom.model.build import SourceReader, make_body
from wordloom.model.heads import CausalHead
from wordloom.model.layers import Linear
from wordloom.model.lora import LowRank, adapt, merge
from wordloom.model.model import Model

ROWS = ("bert", "roberta", "albert", "electra", "loom", "xlnet", "gpt", "gpt2", "gpt3", "t5", "t5v1.1", "transformer")
SMALL: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4, "ffn_width": 48, "dropout": 0.0,
                         "attention_dropout": 0.0}  # fmt: skip


def model_of(row: str, seed: int = 0, **values: Any) -> Model:
    small = {**SMALL, **values}
    name = f"{row}-tiny"
    own = presets.PRESETS[name].values
    small |= {"decoder_layers": 2} if "decoder_layers" in own else {}
    small |= {"attention_width": 32} if "attention_width" in own else {}
    torch.manual_seed(seed)
    arch = presets.architecture(name, 60, **small)
    heads = {"causal": CausalHead(arch)} if arch.attention == "causal" or "decoder_layers" in own else {}
    return Model(make_body(arch), heads)


def states(model: Model) -> Tensor:
    """(2, 9, D): two documents in the first row."""
    g = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 60, (2, 9), generator=g)
    documents = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 2, 2], [1] * 9])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4], list(range(9))])
    inputs = (tokens, documents, positions, torch.zeros_like(tokens))
    return model.body(*inputs, Batch(*inputs)) if isinstance(model.body, SourceReader) else model.body(*inputs)


def stirred(model: Model) -> None:
    """B is no longer zero."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LowRank):
                module.B.normal_(0, 0.05)


@pytest.mark.parametrize("targets", ["all", "attention"])
@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_adapted_and_merged(row: str, targets: Any) -> None:
    model = model_of(row).eval()
    before, names = states(model).detach(), {n: p.detach().clone() for n, p in model.state_dict().items()}
    adapt(model, LoraConfig(rank=3, alpha=6, targets=targets))
    assert torch.allclose(states(model), before, atol=1e-5)  # B is zero
    stirred(model)
    adapted = states(model)
    assert (adapted - before).abs().max() > 1e-3
    adapted.square().sum().backward()
    for name, p in model.body.named_parameters():
        mine = name.endswith((".A", ".B"))
        assert p.requires_grad == mine
        assert (p.grad is not None and bool(p.grad.abs().sum() > 0)) == mine, name
    changed = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear) and hasattr(module, "parametrizations"):
            low: Any = module.parametrizations.weight[0]  # type: ignore[index, union-attr]
            changed[f"{name}.weight"] = names[f"{name}.weight"] + 6 / 3 * low.B @ low.A
    merge(model)
    assert torch.allclose(states(model), adapted, atol=1e-5)
    after = model.state_dict()
    assert after.keys() == names.keys() and all(p.requires_grad for p in model.parameters())
    for name, value in after.items():
        assert torch.allclose(value, changed.get(name, names[name]), atol=1e-6), name
    per_layer = 2 if targets == "attention" else 4
    assert len(changed) >= per_layer * (1 if row == "albert" else 2)
    assert all("attention" in n or "cross" in n for n in changed) == (targets == "attention")


def test_one_matrix_is_pefts() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    public = nn.Sequential(nn.Linear(12, 20))
    wrapped = peft.get_peft_model(public, peft.LoraConfig(r=4, lora_alpha=6, target_modules=["0"]))
    layer = wrapped.base_model.model[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b.normal_()
    ours = LowRank(layer.base_layer.weight, 4, 6 / 4)
    with torch.no_grad():
        ours.A.copy_(a), ours.B.copy_(b)
    x = torch.randn(5, 12)
    wanted = wrapped(x)
    found = nn.functional.linear(x, ours(layer.base_layer.weight), layer.base_layer.bias)
    assert torch.allclose(found, wanted, atol=1e-5)
    theirs = torch.autograd.grad(wanted.square().sum(), (a, b))
    for mine, other in zip(torch.autograd.grad(found.square().sum(), (ours.A, ours.B)), theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize("row", ["gpt2", "gpt3", "gpt"])
def test_the_compiled_step_reads_the_adapted_weights(row: str) -> None:
    model = model_of(row, init_std=0.2).eval()
    how, prompts = Decoding(max_tokens=12), [[5, 6, 7], [8, 9]]
    before = generate(CausalStepper(model), prompts, how)
    adapt(model, LoraConfig(rank=4, alpha=40))
    stirred(model)
    adapted = generate(CausalStepper(model), prompts, how)
    assert adapted != before
    merge(model)
    assert generate(CausalStepper(model), prompts, how) == adapted


def test_a_recurrent_network_is_refused() -> None:
    arch = presets.architecture("lstm-tiny", 60, width=16)
    with pytest.raises(ConfigError, match="this model has none"):
        adapt(Model(make_body(arch), {}), LoraConfig())
