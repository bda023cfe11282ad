"""Pairs of a source and a target, and what both encoder-decoder families are asked about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wordloom.model.build import make_body
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import CausalHead
from wordloom.model.interop import apply_states, load_hf, save_hf
from wordloom.model.model import Model

V, S, T = 70, 11, 8
SOURCE, TARGET = (11, 6, 9), (5, 8, 3)  # tokens of each row; the rest is padding
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}  # of the largest output
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def rows(lengths: tuple[int, ...], width: int, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    documents = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.randint(2, V, documents.shape, generator=g) * documents
    positions = torch.arange(width).expand(documents.shape)
    return {"tokens": tokens, "documents": documents, "positions": positions, "types": torch.zeros_like(tokens)}


def public_inputs() -> dict[str, Tensor]:
    source, target = rows(SOURCE, S, 1), rows(TARGET, T, 2)
    return {
        "input_ids": source["tokens"], "attention_mask": source["documents"],
        "decoder_input_ids": target["tokens"], "decoder_attention_mask": target["documents"],
    }  # fmt: skip


def build(folder: Path, dtype: torch.dtype) -> Model:
    loaded = load_hf(folder, ["causal"])
    model = Model(make_body(loaded.arch), {"causal": CausalHead(loaded.arch)}).to(dtype)
    assert apply_states(model, loaded.states) == []
    return model.eval()


def states(model: Model) -> tuple[Tensor, Tensor]:
    """Of the encoder (B, S, D) and the decoder (B, T, D)."""
    assert isinstance(model.body, EncoderDecoder)
    read = model.body.encode(**rows(SOURCE, S, 1))
    return read.states, model.body.decode(**rows(TARGET, T, 2), source=read)


def logits(model: Model, hidden: Tensor) -> Tensor:
    head: Any = model.heads["causal"]
    return head(hidden, model.token_embedding)


def agree(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    assert (ours - theirs).abs().max() <= TOLERANCE[dtype] * theirs.abs().max()


def greedy(model: Model, tokens: Tensor, documents: Tensor, steps: int, eos: int) -> list[list[int]]:
    """Each row's tokens up to and with the end token, with a cache, several rows at once."""
    body: Any = model.body
    n = len(tokens)
    positions = (documents.cumsum(1) - 1).clamp(min=0)
    read = body.encode(tokens, documents, positions, torch.zeros_like(tokens), keep=True)
    cache = body.new_cache(n, steps)
    given, ones = torch.full((n, 1), body.start_id), torch.ones(n, 1, dtype=torch.int64)
    out: list[list[int]] = [[] for _ in range(n)]
    for step in range(steps):
        hidden = body.decode(given, ones, ones * step, ones * 0, read, cache=cache)
        given = logits(model, hidden[:, -1:]).argmax(-1)  # (B, 1)
        for row, token in zip(out, given[:, 0].tolist(), strict=True):
            if not row or row[-1] != eos:
                row.append(token)
    return out


def check_greedy(model: Model, theirs: Any, left: bool) -> None:
    """left: the shorter sources are padded on the left."""
    source = rows(SOURCE, S, 1)
    tokens, documents = source["tokens"], source["documents"]
    if left:
        tokens, documents = tokens.flip(1), documents.flip(1)
    with torch.no_grad():
        ours = greedy(model, tokens, documents, 20, eos=1)
        found = theirs.generate(
            input_ids=tokens, attention_mask=documents, max_new_tokens=20, do_sample=False, num_beams=1
        )
    for row, expected in zip(ours, found[:, 1:].tolist(), strict=True):
        assert row == expected[: len(row)] and (row[-1] == 1 or len(row) == 20)
        assert all(token == 0 for token in expected[len(row) :])
    assert len({tuple(row) for row in ours}) == 3 and len({t for row in ours for t in row}) > 6  # no stuck text


def check_gradients(model: Model, theirs: Any, folder: Path) -> None:
    """Of every parameter, after one loss of all real targets, in float32."""
    real = rows(TARGET, T, 2)["documents"] > 0
    labels = torch.randint(0, V, (3, T), generator=torch.Generator().manual_seed(3))
    torch.nn.functional.cross_entropy(theirs(**public_inputs()).logits[real], labels[real]).backward()
    head: Any = model.heads["causal"]
    (head.loss(states(model)[1][real], model.token_embedding, labels[real]) / int(real.sum())).backward()
    with torch.no_grad():  # the gradients as the weights of a model, written in the public layout
        for p in model.parameters():
            assert p.grad is not None
            p.copy_(p.grad)
    save_hf(folder, model)
    found = load_file(folder / "model.safetensors")
    named = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    assert set(found) - {"final_logits_bias"} == set(named)  # a buffer there
    most = max(float(p.grad.abs().max()) for p in named.values())
    for name, p in named.items():  # the bias of keys has none: a softmax does not see it, and rounding is left
        largest = max(float(p.grad.abs().max()), 0.01 * most)
        assert float((found[name] - p.grad).abs().max()) <= 2e-5 * largest, name


def check_cached(model: Model) -> None:
    """Step by step, one token or several at a time, the decoder's states are those of the whole target."""
    assert isinstance(model.body, EncoderDecoder)
    whole = states(model)[1]
    target, read = rows(TARGET, T, 2), model.body.encode(**rows(SOURCE, S, 1), keep=True)
    real = target["documents"] > 0
    for sizes in ([1] * T, [3, 1, 4]):
        cache, at, parts = model.body.new_cache(3, T), 0, []
        for n in sizes:
            part = {k: v[:, at : at + n] for k, v in target.items()}
            parts.append(model.body.decode(**part, source=read, cache=cache))
            at += n
        agree(torch.cat(parts, 1)[real], whole[real], torch.float32)
