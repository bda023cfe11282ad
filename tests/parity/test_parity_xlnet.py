"""Weights, logits, memories and gradients agree with transformers' XLNet, in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordloom.errors import BundleError
from wordloom.model.heads import TokenHead
from wordloom.model.interop import apply_states, load_hf, save_hf
from wordloom.model.model import Model
from wordloom.model.relative import Memory
from wordloom.model.transformer import Transformer

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

V, D, H, L, F = 60, 32, 4, 3, 48
B, T, K, M = 2, 12, 4, 7
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}  # of the largest output
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def exact_waves(pos_seq: Tensor, inv_freq: Tensor, bsz: int | None = None) -> Tensor:
    """The twin's sinusoids in float64: it takes them in float32 even in a float64 model, where its two streams fail."""
    rates = 10_000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angles = pos_seq.double()[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1)[:, None]
    return waves if bsz is None else waves.expand(-1, bsz, -1)


def make_theirs(dtype: torch.dtype, seed: int = 7, **values: object) -> torch.nn.Module:
    """Every parameter random, biases and norms too: a swapped or dropped one then shows."""
    given = {"mem_len": M, "d_head": D // H, **values}
    config = transformers.XLNetConfig(vocab_size=V, d_model=D, n_layer=L, n_head=H, d_inner=F, **given)
    theirs = transformers.XLNetLMHeadModel(config).to(dtype).eval()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(dtype) * 0.2)
    return as_dtype(theirs, dtype)


def as_dtype(theirs: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    if dtype is torch.float64:
        theirs.transformer.positional_embedding = exact_waves
    return theirs


def make_ours(folder: Path, theirs: torch.nn.Module, dtype: torch.dtype) -> Model:
    theirs.save_pretrained(folder)
    loaded = load_hf(folder, ["permuted"])
    model = Model(Transformer(loaded.arch), {"permuted": TokenHead(loaded.arch, transform=False, bias=True)})
    assert apply_states(model.to(dtype), loaded.states) == []
    return model.eval()


def inputs(seed: int = 1) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, V, (B, T), generator=g)
    positions = torch.arange(T).expand(B, T)
    return {
        "tokens": tokens,
        "documents": torch.ones_like(tokens),
        "positions": positions,
        "types": torch.zeros_like(tokens),
    }


def factorisation(seed: int = 2) -> tuple[Tensor, Tensor]:
    """order (B, T): 0 for the context, 1 .. K for the predicted; asked (B, K), one column fewer in the second row."""
    g = torch.Generator().manual_seed(seed)
    asked = torch.stack([torch.randperm(T, generator=g)[:K] for _ in range(B)])
    order = torch.zeros(B, T, dtype=torch.int64).scatter(1, asked, torch.arange(1, K + 1).expand(B, K))
    asked = asked.gather(1, torch.stack([torch.randperm(K, generator=g) for _ in range(B)]))
    asked[1, -1] = -1
    return order, asked


def masks(order: Tensor, asked: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """The twin's spelling: 1 forbids; a token of the context is seen by all."""
    forbidden = (order[:, None, :] >= order[:, :, None]) & (order[:, None, :] > 0)
    mapping = torch.nn.functional.one_hot(asked.clamp(min=0), T)  # a missing column asks for column 0: not compared
    return {"perm_mask": forbidden.to(dtype), "target_mapping": mapping.to(dtype)}


def agree(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    assert ours.dtype is dtype
    worst = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    assert worst <= TOLERANCE[dtype], worst


def logits(model: Model, states: Tensor) -> Tensor:
    return model.heads["permuted"](states, model.token_embedding)


@DTYPES
@pytest.mark.parametrize("untie_r", [True, False])
def test_plain_both_directions(tmp_path: Path, dtype: torch.dtype, untie_r: bool) -> None:
    theirs = make_theirs(dtype, untie_r=untie_r)
    model = make_ours(tmp_path / "hf", theirs, dtype)
    ours_in = inputs()
    for types in (torch.zeros(B, T, dtype=torch.int64), (torch.arange(T) >= 5).long().expand(B, T)):
        ours_in["types"] = types
        expected = theirs(input_ids=ours_in["tokens"], token_type_ids=types, output_attentions=True)
        agree(logits(model, model(**ours_in)), expected.logits, dtype)
        weights: list[Tensor] = []
        agree(logits(model, model.body(**ours_in, weights=weights)), expected.logits, dtype)
        assert len(weights) == L
        for w, attention in zip(weights, expected.attentions, strict=True):
            agree(w, attention, dtype)
    expected = theirs(input_ids=ours_in["tokens"])  # without types there are no segments; ours are then all equal
    agree(logits(model, model(**{**ours_in, "types": torch.zeros(B, T, dtype=torch.int64)})), expected.logits, dtype)

    save_hf(tmp_path / "ours", model)
    written, public = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ours", "hf"))
    assert written.keys() == public.keys() and all(torch.equal(written[k], public[k]) for k in public)
    if dtype is torch.float64:  # the twin opens its per-head matrices in float32 whatever it is asked for
        return
    again, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert type(again).__name__ == "XLNetLMHeadModel" and not any(info.values()), info
    assert torch.equal(again(ours_in["tokens"]).logits, theirs(ours_in["tokens"]).logits)
    assert again.config.mem_len == M and again.config.untie_r is True
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "ours")).__name__ == "XLNetModel"


@DTYPES
@pytest.mark.parametrize("typed", [False, True])
def test_two_streams(tmp_path: Path, dtype: torch.dtype, typed: bool) -> None:
    """Logits of predicted positions with perm_mask and target_mapping, and the gradient of their sum."""
    theirs = make_theirs(dtype)
    model = make_ours(tmp_path / "hf", theirs, dtype)
    ours_in, (order, asked) = inputs(), factorisation()
    if typed:
        ours_in["types"] = (torch.arange(T) >= 5).long().expand(B, T)
    expected = theirs(input_ids=ours_in["tokens"], token_type_ids=ours_in["types"], **masks(order, asked, dtype)).logits
    real = asked >= 0
    found = logits(model, model.body.forward_two(**ours_in, order=order, asked=asked))
    assert found.shape == (B, K, V)
    agree(found[real], expected[real], dtype)

    expected[real].logsumexp(-1).sum().backward()
    found[real].logsumexp(-1).sum().backward()
    attention = model.body.layers[0].attention
    twin = theirs.transformer.layer[0].rel_attn
    loose = {torch.float32: 2e-5, torch.float64: 1e-11}[dtype]
    for mine, public in (
        (attention.qkv.weight.grad[:D], twin.q.grad.flatten(1).mT),
        (attention.place.weight.grad, twin.r.grad.flatten(1).mT),
        (attention.content_bias.grad, twin.r_w_bias.grad.flatten()),
        (attention.place_bias.grad, twin.r_r_bias.grad.flatten()),
        (model.body.embeddings.query.grad, theirs.transformer.mask_emb.grad.flatten()),
    ):
        assert (mine - public).abs().max() <= loose * public.abs().max()


@DTYPES
def test_memory_over_three_segments(tmp_path: Path, dtype: torch.dtype) -> None:
    """Memories grow to M and then slide; the plain stack and the two streams read the same."""
    theirs = make_theirs(dtype)
    model = make_ours(tmp_path / "hf", theirs, dtype)
    assert model.body.carries and model.arch.memory == M
    mems, state = None, None
    order, asked = factorisation()
    real = asked >= 0
    for segment in range(3):
        ours_in = inputs(seed=10 + segment)
        short = 5 if segment == 0 else T  # the first segment is shorter than the memory
        part = {k: v[:, :short] for k, v in ours_in.items()}
        if segment == 2:
            given = masks(order, asked, dtype)
            two = theirs(input_ids=part["tokens"], mems=mems, use_mems=True, **given)
            memory = Memory(model.arch, state, part["documents"])
            found = model.body.forward_two(**part, order=order, asked=asked, memory=memory)
            agree(logits(model, found)[real], two.logits[real], dtype)
            compare_memory(memory.state()["memory"], two.mems, dtype)
        expected = theirs(input_ids=part["tokens"], mems=mems, use_mems=True)
        hidden, state = model.body.forward_state(**part, state=state)
        agree(logits(model, hidden), expected.logits, dtype)
        mems = expected.mems
        compare_memory(state["memory"], mems, dtype)
        assert state["memory"].shape == (B, L, min(M, short), D) and not state["memory"].requires_grad


def compare_memory(ours: Tensor, theirs: list[Tensor], dtype: torch.dtype) -> None:
    for layer, public in enumerate(theirs):  # (M, B, D)
        agree(ours[:, layer], public.transpose(0, 1), dtype)


@DTYPES
def test_padding(tmp_path: Path, dtype: torch.dtype) -> None:
    theirs = make_theirs(dtype)
    model = make_ours(tmp_path / "hf", theirs, dtype)
    ours_in = inputs()
    ours_in["documents"] = (torch.arange(T) < torch.tensor([[T], [8]])).long()
    expected = theirs(input_ids=ours_in["tokens"], attention_mask=ours_in["documents"].to(dtype)).logits
    real = ours_in["documents"] > 0
    agree(logits(model, model(**ours_in))[real], expected[real], dtype)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("attn_type", "uni", "attn_type"),
        ("bi_data", True, "bi_data"),
        ("clamp_len", 8, "clamp_len"),
        ("same_length", True, "same_length"),
        ("ff_activation", "swish7", "ff_activation"),
    ],
)
def test_what_is_not_the_same_is_refused(tmp_path: Path, key: str, value: object, said: str) -> None:
    make_theirs(torch.float32).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(BundleError, match=said) as caught:
        load_hf(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_key_is_named(tmp_path: Path) -> None:
    theirs = make_theirs(torch.float32)
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["transformer.layer.1.rel_attn.r_s_bias"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BundleError, match=r"missing transformer\.layer\.1\.rel_attn\.r_s_bias"):
        load_hf(tmp_path)


def test_published_values_are_read(tmp_path: Path) -> None:
    """config.json of the published base model: null memory lengths, untie_r, summary keys."""
    make_theirs(torch.float32, mem_len=None).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"mem_len": None, "reuse_len": None, "untie_r": True, "d_head": D // H, "summary_type": "last"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    arch = load_hf(tmp_path).arch
    assert arch.memory == 512 and arch.two_stream and arch.position == "xl" and arch.types == 2
