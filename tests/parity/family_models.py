"""Small public models of every family, with random weights, and how our side reads the same rows."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wordloom.model.build import make_body
from wordloom.model.heads import CausalHead, ClassifyHead, MaskedHead, PairHead
from wordloom.model.interop import apply_states, load_hf
from wordloom.model.model import Model

V, T, D, CLASSES, PAD = 60, 13, 32, 3, 1
LENGTHS = (13, 6, 9)  # tokens of each row; the rest is padding
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}  # of the largest output
EAGER = {"attn_implementation": "eager"}
_ENCODER = {"hidden_size": D, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
_GPT = {"n_embd": D, "n_layer": 3, "n_head": 4, "n_positions": 24}
_IDS = {"pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": 3}
_MODERN = {**_ENCODER, "max_position_embeddings": 24, "local_attention": 6, "norm_bias": False, "cls_token_id": 2,
           "sep_token_id": 3, **_IDS}  # fmt: skip

# model_type -> (config class, its values, head -> model class, head -> the logits' name)
PUBLIC: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "bert": ("BertConfig", {**_ENCODER, "max_position_embeddings": 24, "pad_token_id": PAD},
             {"body": "BertModel", "masked": "BertForMaskedLM", "classify": "BertForSequenceClassification"}),
    "roberta": ("RobertaConfig", {**_ENCODER, "max_position_embeddings": 26, **_IDS, "type_vocab_size": 1},
                {"body": "RobertaModel", "masked": "RobertaForMaskedLM",
                 "classify": "RobertaForSequenceClassification"}),
    "albert": ("AlbertConfig", {**_ENCODER, "embedding_size": 16, "max_position_embeddings": 24, "pad_token_id": PAD},
               {"body": "AlbertModel", "masked": "AlbertForMaskedLM", "classify": "AlbertForSequenceClassification",
                "sentence_order": "AlbertForPreTraining"}),
    "openai-gpt": ("OpenAIGPTConfig", {**_GPT, "pad_token_id": PAD},
                   {"body": "OpenAIGPTModel", "causal": "OpenAIGPTLMHeadModel",
                    "classify": "OpenAIGPTForSequenceClassification"}),
    "gpt2": ("GPT2Config", {**_GPT, **_IDS},
             {"body": "GPT2Model", "causal": "GPT2LMHeadModel", "classify": "GPT2ForSequenceClassification"}),
    "gpt_neo": ("GPTNeoConfig", {"hidden_size": D, "num_layers": 3, "num_heads": 4, "max_position_embeddings": 24,
                                 "attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 4,
                                 **_IDS},
                {"body": "GPTNeoModel", "causal": "GPTNeoForCausalLM", "classify": "GPTNeoForSequenceClassification"}),
    "modernbert": ("ModernBertConfig", {**_MODERN, "num_hidden_layers": 5},
                   {"body": "ModernBertModel", "masked": "ModernBertForMaskedLM"}),
    "modernbert-decoder": ("ModernBertDecoderConfig", {**_MODERN, "num_hidden_layers": 5},
                           {"body": "ModernBertDecoderModel", "masked": "ModernBertDecoderForCausalLM"}),
}  # fmt: skip
CAUSAL = ("openai-gpt", "gpt2", "gpt_neo", "modernbert-decoder")


def scatter_weights(model: nn.Module) -> nn.Module:
    """Every parameter random, biases and norms too: a swapped or dropped one then shows. An untied copy of a tied
    bias is set to its original, which is what the public code reads."""
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype) * 0.2)
    return model


def public_model(kind: str, head: str, dtype: torch.dtype, **values: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    config_class, given, classes = PUBLIC[kind]
    config = getattr(transformers, config_class)(vocab_size=V, **{**given, **values})
    if head == "classify":
        config.num_labels = CLASSES
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    return scatter_weights(getattr(transformers, classes[head])(config).to(dtype)).eval()


def heads_of(kind: str, head: str, arch: Any) -> dict[str, nn.Module]:
    pooling = "last" if kind in CAUSAL else "cls"
    make = {
        "body": dict,
        "masked": lambda: {"masked": MaskedHead(arch)},
        "causal": lambda: {"causal": CausalHead(arch)},
        "classify": lambda: {"classify": ClassifyHead(arch, CLASSES, pooling)},
        "sentence_order": lambda: {"masked": MaskedHead(arch), "sentence_order": PairHead(arch)},
    }
    return make[head]()


def read(folder: Path, kind: str, head: str, dtype: torch.dtype) -> Model:
    """Our model of a public folder, every weight of which came from there."""
    found = load_hf(folder, [name for name in {"sentence_order": ("masked", "sentence_order")}.get(head, (head,))])
    model = Model(make_body(found.arch), heads_of(kind, head, found.arch)).to(dtype)
    assert apply_states(model, found.states) == []
    return model.eval()


def rows() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same rows for both: (ours, theirs)."""
    g = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, V, (len(LENGTHS), T), generator=g)
    documents = (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).long()
    tokens = torch.where(documents > 0, tokens, PAD)
    positions = torch.arange(T).expand(len(LENGTHS), T)
    ours = {"tokens": tokens, "documents": documents, "positions": positions, "types": torch.zeros_like(tokens)}
    return ours, {"input_ids": tokens, "attention_mask": documents}


def outputs(model: Model, head: str, given: dict[str, Tensor]) -> Tensor:
    """(N, D) or (N, V) of the tokens that are not padding; (B, C) of a head of rows."""
    hidden, real = model(**given), given["documents"] > 0
    if head in ("masked", "causal"):
        return model.heads[head](hidden[real], model.token_embedding)
    if head == "sentence_order":
        return model.heads[head](hidden[:, 0])
    if head == "classify":
        first = torch.arange(len(hidden))
        return model.heads[head](hidden, first, torch.zeros_like(first), given["documents"])
    return hidden[real]


def public_outputs(theirs: Any, head: str, given: dict[str, Tensor]) -> Tensor:
    real = given["attention_mask"] > 0
    with torch.no_grad():
        out = theirs(**given)
    if head == "sentence_order":
        return out.sop_logits
    if head == "classify":
        return out.logits
    return (out.last_hidden_state if head == "body" else out.logits)[real]


def agree(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE[dtype] * theirs.abs().max()


def lift_casts(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-Neo and ModernBERT compute scores and rotations in float32 whatever their weights are. With these casts
    made to float64 nothing else of their code changes, and equality can be asked for to the last digits."""
    proxy = SimpleNamespace(**{k: getattr(torch, k) for k in dir(torch) if not k.startswith("__")})
    proxy.float32 = proxy.float = torch.float64
    for name in ("gpt_neo.modeling_gpt_neo", "modernbert.modeling_modernbert",
                 "modernbert_decoder.modeling_modernbert_decoder"):  # fmt: skip
        module = importlib.import_module(f"transformers.models.{name}")
        monkeypatch.setattr(module, "torch", proxy)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
