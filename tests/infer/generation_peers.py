"""A random tiny GPT-2 of the public library and ours with its weights, for the tests of decoding."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from wordloom.model.architecture import Architecture
from wordloom.model.heads import CausalHead
from wordloom.model.interop import apply_states, load_hf
from wordloom.model.model import Model
from wordloom.model.transformer import Transformer

VOCABULARY, POSITIONS = 61, 64
ENDS = [1, 7, 16, 23, 30]  # so many that random weights find one of them
SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "width": 32, "layers": 3, "heads": 4, "ffn_width": 48}
GPT2: dict[str, Any] = {
    **SMALL, "max_positions": POSITIONS, "types": 0, "embedding_norm": False, "norm_place": "before",
    "activation": "gelu_tanh", "norm_eps": 1e-5, "attention": "causal", "init_std": 0.3,
}  # fmt: skip


@cache
def peers() -> tuple[Any, Model]:
    """(GPT2LMHeadModel, ours): large weights, so that the likeliest token is far from the next."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=32, n_layer=3, n_head=4, initializer_range=0.3,
        bos_token_id=1, eos_token_id=ENDS, pad_token_id=0,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config).eval()
    with TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        loaded = load_hf(Path(folder), ("causal",))
    model = Model(Transformer(loaded.arch), {"causal": CausalHead(loaded.arch)})
    apply_states(model, loaded.states)
    return theirs, model.eval()


def causal_model(seed: int = 0, **values: Any) -> Model:
    torch.manual_seed(seed)
    arch = Architecture(**{**GPT2, **values})
    return Model(Transformer(arch), {"causal": CausalHead(arch)}).eval()


def prompts(count: int, longest: int = 12, seed: int = 0) -> list[list[int]]:
    """Of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


@torch.no_grad()
def uncached(model: Model, ids: list[int]) -> Tensor:
    """Logits (V,) after the whole text, read anew."""
    x = torch.tensor([ids])
    hidden = model(x, torch.ones_like(x), torch.arange(len(ids))[None], torch.zeros_like(x))
    return model.heads["causal"](hidden[0, -1], model.token_embedding)
