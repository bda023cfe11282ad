"""The body and its heads: initial values, depth order, dropout, padding, positions, pooling."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wordloom import presets
from wordloom.errors import BundleError, ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.attention import both, mask_between, order_mask
from wordloom.model.heads import ClassifyHead, MaskedHead, PairHead, window_mean
from wordloom.model.model import Model
from wordloom.model.positions import alibi_bias, refuse_far
from wordloom.model.transformer import Sight, Transformer

torch.set_num_threads(1)


def arch(**values: object) -> Architecture:
    return Architecture(
        **{"vocab_size": 100, "width": 32, "layers": 2, "heads": 4, "ffn_width": 64, "max_positions": 16, **values}
    )


def rows(documents: Tensor) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    positions = torch.zeros_like(documents)
    for t in range(1, documents.shape[1]):
        same = documents[:, t] == documents[:, t - 1]
        positions[:, t] = torch.where(same, positions[:, t - 1] + 1, 0)
    tokens = torch.randint(5, 100, documents.shape, generator=g)
    return {"tokens": tokens, "documents": documents, "positions": positions, "types": torch.zeros_like(tokens)}


def test_initial_values() -> None:
    torch.manual_seed(0)
    a = arch(width=128, heads=2, ffn_width=512, vocab_size=1000, init_std=0.02)
    model = Model(Transformer(a), {"masked": MaskedHead(a), "next_sentence": PairHead(a), "c": ClassifyHead(a, 3)})
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert (p == 0).all(), name
        elif "norm" in name:
            assert (p == 1).all(), name
        else:
            assert p.std().item() == pytest.approx(0.02, rel=0.2) and abs(p.mean().item()) < 0.004, name


def test_layers_by_depth_covers_every_parameter_once_in_order() -> None:
    body = Transformer(arch(layers=3))
    depth = body.layers_by_depth()
    assert [*depth[0]] == [body.embeddings] and [[*m] for m in depth[1:]] == [[m] for m in body.layers]
    inside = [p for part in depth for p in part.parameters()]
    assert [id(p) for p in inside] == [id(p) for p in body.parameters()]


def test_dropout_only_while_training_and_follows_the_seed() -> None:
    torch.manual_seed(0)
    body = Transformer(arch(dropout=0.2, attention_dropout=0.2))
    inputs = rows(torch.ones(2, 8, dtype=torch.int64))
    body.eval()
    quiet = body(**inputs)
    assert torch.equal(quiet, body(**inputs))
    body.train()
    torch.manual_seed(1)
    first, second = body(**inputs), body(**inputs)
    torch.manual_seed(1)
    assert torch.equal(first, body(**inputs)) and not torch.equal(first, second)
    assert first.isfinite().all() and 0.5 < first.std() / quiet.std() < 2
    plain = Transformer(arch(dropout=0.0, attention_dropout=0.0))
    plain.load_state_dict(body.state_dict())
    assert torch.equal(plain.train()(**inputs), quiet)


def test_padding_is_finite_and_changes_nothing() -> None:
    torch.manual_seed(0)
    body = Transformer(arch())
    padded = rows(torch.tensor([[1] * 5 + [0] * 3, [0] * 8]))
    body.train()
    hidden = body(**padded)
    (hidden[padded["documents"] > 0] ** 2).sum().backward()
    assert hidden.isfinite().all() and all(p.grad.isfinite().all() for p in body.parameters())
    body.eval()
    short = {k: v[:1, :5] for k, v in padded.items()}
    assert torch.allclose(body(**padded)[0, :5], body(**short)[0], atol=1e-6)


def test_context_is_two_sided_and_stays_in_the_document() -> None:
    torch.manual_seed(0)
    body = Transformer(arch()).eval()
    inputs = rows(torch.tensor([[1] * 4 + [2] * 4]))
    before = body(**inputs)[0]
    for changed in range(8):
        tokens = inputs["tokens"].clone()
        tokens[0, changed] = (tokens[0, changed] + 1) % 100
        moved = (body(**{**inputs, "tokens": tokens})[0] - before).abs().amax(-1) > 0
        assert moved.tolist() == [(t < 4) == (changed < 4) for t in range(8)]


def test_too_long_a_document_is_a_clear_error() -> None:
    body = Transformer(arch(max_positions=8)).eval()
    assert body(**rows(torch.tensor([[1] * 8 + [2] * 4]))).shape == (1, 12, 32)  # packed: positions restart
    with pytest.raises(ConfigError, match="9 tokens does not fit a model of 8 positions"):
        body(**rows(torch.ones(1, 9, dtype=torch.int64)))


def test_an_accelerator_is_not_asked_for_what_cannot_be() -> None:
    """A tensor without values stands for one whose values would have to be waited for."""
    refuse_far(8, torch.empty(2, 8, dtype=torch.int64, device="meta"))
    refuse_far(None, torch.empty(2, 9, dtype=torch.int64, device="meta"))
    with pytest.raises(RuntimeError):  # a longer row may hold a position too far: it has to be looked at
        refuse_far(8, torch.empty(2, 9, dtype=torch.int64, device="meta"))


@pytest.mark.parametrize(
    "values",
    [
        {"position": "t5", "buckets": 8, "bucket_distance": 6},
        {"position": "t5", "attention": "causal"},
        {"position": "t5", "window": 3, "global_every": 2},
        {"position": "alibi", "window": 3, "global_every": 2},
    ],
)
def test_biases_are_masked_once_for_all_layers(values: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit what every layer would make of a bias by positions, row by row, and its mask."""
    torch.manual_seed(0)
    body = Transformer(arch(layers=3, **values)).eval()
    given = rows(torch.tensor([[1] * 4 + [2] * 3 + [0], [1] * 8, [1] + [2] * 7]))
    documents, places, real = given["documents"], given["positions"], given["documents"] > 0
    bias = alibi_bias(places, places, 4, torch.float32) if body.buckets is None else body.buckets(places, places)
    masks = [
        both(
            mask_between(documents, documents),
            order_mask(8, 8, body.arch.attention == "causal", window, documents.device),
        )
        for window in (None, body.arch.window)
    ]
    made = Sight(*masks, bias, None, None, local_bias=bias)
    with torch.no_grad():
        x = body.embeddings(given["tokens"], places, given["types"])
        for layer in body.layers:
            x = layer(x, made)
        x = x if body.norm is None else body.norm(x)
        filled, masked_fill = list[object](), Tensor.masked_fill
        monkeypatch.setattr(Tensor, "masked_fill", lambda *a: (filled.append(a), masked_fill(*a))[1])
        assert torch.equal(body(**given)[real], x[real])
    assert len(filled) == (1 if body.arch.window is None else 2)


def test_masked_head_is_tied_and_gets_gradient_from_both_sides() -> None:
    torch.manual_seed(0)
    a = arch(dropout=0.0, attention_dropout=0.0)
    model = Model(Transformer(a), {"masked": MaskedHead(a)})
    assert sum(p.shape == (100, 32) for p in model.parameters()) == 1
    hidden = model(**rows(torch.ones(1, 6, dtype=torch.int64)))
    loss = model.heads["masked"].loss(hidden[0, :2], model.token_embedding, torch.tensor([7, 8]))
    loss.backward()
    assert (model.token_embedding.grad.abs().sum(-1) > 0).all()  # every row: it is in every softmax
    assert all(p.grad is not None for p in model.parameters())
    empty = model.heads["masked"].loss(hidden[0, :0], model.token_embedding, torch.zeros(0, dtype=torch.int64))
    assert empty.item() == 0


def test_loss_is_summed_in_float32_under_bfloat16() -> None:
    a = arch()
    head = MaskedHead(a).bfloat16()
    states = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    table = torch.randn(100, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    targets = torch.arange(5)
    loss = head.loss(states, table, targets)
    logits = head(states, table).double()
    expected = -logits.log_softmax(-1)[torch.arange(5), targets].sum()
    assert loss.dtype is torch.float32 and torch.allclose(loss.double(), expected, rtol=1e-6)


def test_mean_pooling_of_packed_windows() -> None:
    documents = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6]])
    hidden = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    where = [(1, 0), (0, 3), (0, 0), (2, 5)]  # any order; windows 2..5 of row 2 are asked for in part
    pooled = window_mean(hidden, *torch.tensor(where).T, documents)
    expected = torch.stack([hidden[1].mean(0), hidden[0, 3:5].mean(0), hidden[0, :3].mean(0), hidden[2, 5]])
    assert torch.allclose(pooled, expected, rtol=0, atol=1e-14)
    head = ClassifyHead(arch(width=8, heads=2), 3, pooling="mean").double().eval()
    assert torch.equal(head(hidden, *torch.tensor(where).T, documents), head.output(pooled))


def test_classify_head_of_packed_rows_equals_rows_alone() -> None:
    torch.manual_seed(0)
    for pooling in ("cls", "mean"):
        body, head = Transformer(arch()).double().eval(), ClassifyHead(arch(), 3, pooling=pooling).double().eval()
        packed = rows(torch.tensor([[1, 1, 1, 2, 2, 2, 2, 0]]))
        both = head(body(**packed), torch.tensor([0, 0]), torch.tensor([0, 3]), packed["documents"])
        for w, part in enumerate((slice(0, 3), slice(3, 7))):
            alone = {k: v[:, part] for k, v in packed.items()}
            zero = torch.tensor([0])
            one = head(body(**alone), zero, zero, torch.ones_like(alone["documents"]))
            assert torch.allclose(both[w], one[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heads": 5}, "not divisible"),
        ({"layers": 0}, "layers must be a whole number above 0"),
        ({"width": 32.0}, "width must be a whole number"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"norm_eps": 0}, "norm_eps must lie between 0 and 1"),
        ({"activation": "swish"}, "activation 'swish' is unknown"),
    ],
)
def test_impossible_architectures_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arch(**values)
    with pytest.raises(BundleError, match=message):
        Architecture.from_json({**arch().to_json(), **values})


def test_architecture_json() -> None:
    a = arch(dropout=0.3)
    assert Architecture.from_json(a.to_json()) == a
    with pytest.raises(BundleError, match="unknown architecture keys wdith"):
        Architecture.from_json({**a.to_json(), "wdith": 3})
    with pytest.raises(BundleError, match="incomplete"):
        Architecture.from_json({"width": 8})


@pytest.mark.parametrize("preset", ["bert-mini", "roberta-tiny", "albert-mini", "electra-tiny"])
def test_learned_positions_begin_as_waves_beside_the_words(preset: str) -> None:
    """Of words of deviation 1 / sqrt(E), and sinusoids of four times that, where a masked row is pre-trained."""
    torch.manual_seed(0)
    own = {k: v for k, v in presets.preset(preset).defaults.items() if k.startswith("model.")}
    assert own == {"model.init": "inputs", "model.position_waves": 4.0}
    a = presets.architecture(preset, 600, **{k.partition(".")[2]: v for k, v in own.items()})
    assert isinstance(a, Architecture)
    e = Transformer(a).embeddings
    width = a.embedding_width or a.width
    assert float(e.tokens.weight.detach().std()) == pytest.approx(width**-0.5, rel=0.05)
    waves = e.positions.weight.detach()[a.position_offset :]  # (P, E)
    half, t = width // 2, 7
    rates = [10_000 ** (-2 * i / width) for i in range(half)]
    wanted = [4 * width**-0.5 * 2**0.5 * f(t * r) for f in (math.sin, math.cos) for r in rates]
    assert waves[t].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    if e.project is not None:
        assert float(e.project.weight.detach().std()) == pytest.approx(width**-0.5, rel=0.05)
