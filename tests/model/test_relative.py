"""Transformer-XL's relative attention and memory, and XLNet's two streams, against their published formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.cache import Cache
from wordloom.model.relative import Memory, RelativeAttention, distance_waves, relate, shifted
from wordloom.model.transformer import Sight, Transformer

torch.set_num_threads(1)
V, D, H, T, M = 40, 16, 2, 7, 5
XLNET = Architecture(
    vocab_size=V, width=D, layers=3, heads=H, ffn_width=24, position="xl", two_stream=True, qkv_bias=False,
    embedding_norm=False, inner_dropout=True, memory=M,
)  # fmt: skip
XL = replace(XLNET, two_stream=False, types=0, attention="causal")


def make(arch: Architecture, dtype: torch.dtype = torch.float64) -> Transformer:
    torch.manual_seed(3)
    body = Transformer(arch).to(dtype).eval()
    with torch.no_grad():
        for p in body.parameters():
            p.add_(torch.randn(p.shape, dtype=dtype) * 0.2)
    return body


def row(*lengths: int, rows: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Rows that hold documents of these lengths; types change in the middle of each."""
    g = torch.Generator().manual_seed(seed)
    numbers = torch.cat([torch.full((n,), i + 1) for i, n in enumerate(lengths)])
    positions = torch.cat([torch.arange(n) for n in lengths])
    types = torch.cat([(torch.arange(n) >= n // 2).long() for n in lengths])
    return {
        "tokens": torch.randint(0, V, (rows, len(numbers)), generator=g),
        "documents": numbers.expand(rows, -1),
        "positions": positions.expand(rows, -1),
        "types": types.expand(rows, -1),
    }


def plain_sinusoid(distance: int) -> Tensor:
    """R_{i-j}: Vaswani et al. 2017, section 3.5, the sines first."""
    angles = [distance / 10_000 ** (2 * i / D) for i in range(D // 2)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)


def by_the_formula(attention: RelativeAttention, x: Tensor, past: Tensor, types: Tensor, causal: bool) -> Tensor:
    """Dai et al. 2019, section 3.3: each score as a sum of its terms, one pair at a time. x (T, D), past (M, D)."""
    keys = torch.cat([past, x])
    held, d = len(past), D // H
    names = ("content_bias", "place_bias") + (("segment_bias",) if attention.segments is not None else ())
    w_q, w_k, w_v = attention.qkv.weight.chunk(3)
    out = []
    for i in range(len(x)):
        heads = []
        for h in range(H):
            part = slice(h * d, (h + 1) * d)
            u, v, *b = (getattr(attention, name)[part] for name in names)
            q = w_q[part] @ x[i]
            scores = []
            for j in range(held + i + 1 if causal else len(keys)):
                k = w_k[part] @ keys[j]
                r = attention.place.weight[part] @ plain_sinusoid(held + i - j)
                score = q @ k + q @ r + u @ k + v @ r  # (a), (b), (c), (d)
                if attention.segments is not None:
                    other = int(types[i]) != (0 if j < held else int(types[j - held]))
                    score = score + (q + b[0]) @ attention.segments.weight[int(other), part]
                scores.append(score / math.sqrt(d))
            weights = torch.softmax(torch.stack(scores), dim=0)
            heads.append(sum(w * (w_v[part] @ keys[j]) for j, w in enumerate(weights)))
        out.append(attention.output.weight @ torch.cat(heads))
    return torch.stack(out)


@pytest.mark.parametrize("held", [0, M])
@pytest.mark.parametrize("arch", [XLNET, XL], ids=["full", "causal"])
def test_attention_is_the_formula(arch: Architecture, held: int) -> None:
    body = make(arch)
    attention = body.layers[1].attention
    inputs = row(T)
    x, past = torch.randn(2, T, D, dtype=torch.float64), torch.randn(2, 3, held, D, dtype=torch.float64)
    memory = Memory(arch, {"memory": past}, inputs["documents"]) if held else None
    sight: Sight = body.sight(inputs["documents"], inputs["positions"], x.dtype, memory=memory)
    sight = sight._replace(relative=relate(arch, T, held + T, x, inputs["types"], memory, False))
    found, weights = attention(x, sight, layer=1), list[Tensor]()
    torch.testing.assert_close(attention(x, sight, weights, layer=1), found, rtol=0, atol=1e-12)
    assert weights[0].shape == (2, H, T, held + T)
    for b in range(2):
        expected = by_the_formula(attention, x[b], past[b, 1], inputs["types"][b], arch.attention == "causal")
        torch.testing.assert_close(found[b], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 4), (2, 2), (5, 9), (9, 9)])
def test_shift_puts_every_distance_in_its_place(queries: int, keys: int) -> None:
    for last in (-1, -max(queries - 1, 1)):
        distance = torch.arange(keys - 1, last - 1, -1).expand(1, 1, queries, -1).contiguous()
        found = shifted(distance, keys)[0, 0]
        expected = (keys - queries + torch.arange(queries))[:, None] - torch.arange(keys)
        seen = expected >= last
        assert torch.equal(found[seen], expected[seen])


def test_waves_of_negative_distances() -> None:
    waves = distance_waves(5, -4, D, torch.zeros(1, dtype=torch.float64))
    assert waves.shape == (10, D)
    for place, distance in enumerate(range(5, -5, -1)):
        torch.testing.assert_close(waves[place], plain_sinusoid(distance), rtol=0, atol=1e-14)


@pytest.mark.parametrize("arch", [XLNET, XL], ids=["full", "causal"])
def test_packed_documents_are_isolated(arch: Architecture) -> None:
    body = make(arch)
    both, first, second = row(4, 6), row(4), row(6)
    together = body(**both)
    for part, documents in ((slice(0, 4), first), (slice(4, 10), second)):
        alone = body(**{**documents, "tokens": both["tokens"][:, part]})
        torch.testing.assert_close(together[:, part], alone, rtol=0, atol=1e-12)


def test_memory_of_a_causal_model_is_one_long_segment() -> None:
    """A past that is all remembered: the second segment's states are those of one row of both."""
    arch = replace(XL, memory=2 * T)
    body, inputs = make(arch), row(3 * T)
    whole, state, parts = body(**inputs), None, []
    for start in range(0, 3 * T, T):
        piece = {k: v[:, start : start + T] for k, v in inputs.items()}
        hidden, state = body.forward_state(**piece, state=state)
        parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=1e-12)
    shorter = make(replace(arch, memory=1))
    _, state = shorter.forward_state(**{k: v[:, :T] for k, v in inputs.items()}, state=None)
    last, state = shorter.forward_state(**{k: v[:, T : 2 * T] for k, v in inputs.items()}, state=state)
    assert state["memory"].shape == (2, 3, 1, D)
    embedded = shorter.embeddings(*(inputs[k][:, 2 * T - 1 : 2 * T] for k in ("tokens", "positions", "types")))
    assert torch.equal(state["memory"][:, 0], embedded)  # the first layer reads the last token's embedding
    assert (last - whole[:, T : 2 * T]).abs().max() > 1e-3  # the rest is forgotten


def test_memory_gives_no_gradient_to_the_segment_before() -> None:
    body, inputs = make(XLNET), row(T)
    inputs["types"] = torch.zeros_like(inputs["types"])
    _, state = body.forward_state(**inputs, state=None)
    assert set(state) == {"memory"} and not state["memory"].requires_grad
    body.forward_state(**inputs, state=state)[0].sum().backward()  # the graph of the first call is not needed


def test_cached_is_uncached() -> None:
    body, inputs = make(replace(XL, memory=0)), row(T + 3)
    inputs["documents"] = (torch.arange(T + 3) >= torch.tensor([[0], [2]])).long()  # the second is padded on the left
    whole = body(**inputs)
    cache = Cache(body.arch, 2, T + 3, dtype=torch.float64, device=torch.device("cpu"))
    pieces = [slice(0, 4), slice(4, 9), *(slice(i, i + 1) for i in range(9, T + 3))]
    found = torch.cat([body(**{k: v[:, p] for k, v in inputs.items()}, cache=cache) for p in pieces], dim=1)
    real = inputs["documents"] > 0
    torch.testing.assert_close(found[real], whole[real], rtol=0, atol=1e-12)


ORDER = torch.tensor([[0, 3, 0, 1, 0, 2, 0], [1, 0, 0, 4, 2, 3, 0]])
ASKED = torch.tensor([[5, 1, 3, -1], [3, 0, 4, 5]])


def two(body: Transformer, inputs: dict[str, Tensor], **more: Any) -> Tensor:
    return body.forward_two(**inputs, order=ORDER, asked=ASKED, **more)


def test_target_never_sees_itself() -> None:
    """Another token at a target's place leaves its own state as it is, and changes that of later ones."""
    body, inputs = make(XLNET), row(T)
    with torch.no_grad():
        before = two(body, inputs)
        for b in range(2):
            for k, column in enumerate(ASKED[b].tolist()):
                if column < 0:
                    continue
                tokens = inputs["tokens"].clone()
                tokens[b, column] = (tokens[b, column] + 1) % V
                after = two(body, {**inputs, "tokens": tokens})
                later = ORDER[b][ASKED[b].clamp(min=0)] > ORDER[b, column]
                same = (after - before).abs().amax(dim=-1) < 1e-12  # bits may differ with the alignment of memory
                assert same[b, k] and same[1 - b].all()
                assert torch.equal(same[b] | (ASKED[b] < 0), ~later | (ASKED[b] < 0))


def test_target_sees_exactly_those_before_it() -> None:
    body, inputs = make(XLNET), row(T)
    made: list[Tensor] = []
    body.embeddings.register_forward_hook(lambda module, given, out: made.append(out) or out.retain_grad())
    for b in range(2):
        for k, column in enumerate(ASKED[b].tolist()):
            body.zero_grad()
            two(body, inputs)[b, k].square().sum().backward()
            reached = made[-1].grad.abs().sum(-1) > 0  # (B, T)
            expected = torch.zeros_like(reached)
            if column >= 0:
                expected[b] = ORDER[b] < ORDER[b, column]
            assert torch.equal(reached, expected)


def test_weights_of_the_query_stream() -> None:
    body, inputs = make(XLNET), row(T)
    weights: list[Tensor] = []
    torch.testing.assert_close(two(body, inputs, weights=weights), two(body, inputs), rtol=0, atol=1e-12)
    assert len(weights) == 3 and weights[0].shape == (2, H, 4, T)
    place = ORDER.gather(1, ASKED.clamp(min=0))
    seen = (ORDER[:, None, :] < place[:, :, None])[:, None].expand(-1, H, -1, -1)
    real = (ASKED >= 0)[:, None, :, None].expand_as(seen)
    for w in weights:
        assert torch.equal((w > 0)[real], seen[real])


def test_one_who_sees_nothing_mixes_nothing() -> None:
    """The first of a full permutation: its state is that of the query vector alone (equation 3 with no context)."""
    body, inputs = make(XLNET), row(T)
    order, asked = torch.arange(T).expand(2, T), torch.zeros(2, 1, dtype=torch.int64)
    found = body.forward_two(**inputs, order=order, asked=asked)
    g = body.embeddings.query.expand(1, 1, D)
    for layer in body.layers:
        g = layer._finish(g, torch.zeros(1, 1, D, dtype=g.dtype), Sight(None, None, None, None, None), None, 0)
    torch.testing.assert_close(found, g.expand(2, 1, D), rtol=0, atol=1e-12)


def test_streams_of_packed_documents_are_isolated() -> None:
    body, both = make(XLNET), row(4, 6)
    order = torch.tensor([[0, 2, 0, 1, 0, 4, 0, 3, 0, 0]] * 2)
    asked = torch.tensor([[1, 3, 5, 7]] * 2)
    together = body.forward_two(**both, order=order, asked=asked)
    for first, last, columns in ((0, 4, slice(0, 2)), (4, 10, slice(2, 4))):
        part = {k: v[:, first:last] for k, v in both.items()}
        part["documents"] = torch.ones_like(part["documents"])
        alone = body.forward_two(**part, order=order[:, first:last], asked=asked[:, columns] - first)
        torch.testing.assert_close(together[:, columns], alone, rtol=0, atol=1e-12)


def test_streams_read_the_memory() -> None:
    """The content stream of a context that sees everything is the plain stack: so is what it leaves to the memory."""
    body, inputs = make(XLNET), row(T)
    inputs["types"] = torch.zeros_like(inputs["types"])
    _, state = body.forward_state(**inputs, state=None)
    documents = inputs["documents"]
    order, asked = torch.zeros(2, T, dtype=torch.int64), torch.full((2, 1), -1)
    memory = Memory(body.arch, state, documents)
    body.forward_two(**inputs, order=order, asked=asked, memory=memory)
    _, expected = body.forward_state(**inputs, state=state)
    torch.testing.assert_close(memory.state()["memory"], expected["memory"], rtol=0, atol=1e-12)
    changed = {"memory": state["memory"] + 1.0}
    seen = [two(body, inputs, memory=Memory(body.arch, s, documents)) for s in (state, changed)]
    real = ASKED >= 0
    assert ((seen[0] - seen[1]).abs().amax(-1)[real] > 1e-6).all()


def test_all_parameters_learn() -> None:
    body = make(XLNET).train()
    two(body, row(T)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in body.parameters())
    assert all(float(p.grad.abs().sum()) > 0 for p in body.parameters() if p.grad is not None)


@pytest.mark.parametrize("norm_place", ["before", "after"])
@pytest.mark.parametrize("shared", [True, False])
def test_other_slots(norm_place: Any, shared: bool) -> None:
    """Norms before the branches, one layer applied L times: the streams still never see themselves."""
    body, inputs = make(replace(XLNET, norm_place=norm_place, shared_layers=shared)), row(T)
    before = two(body, inputs)
    tokens = inputs["tokens"].clone()
    tokens[0, 5] = (tokens[0, 5] + 1) % V
    after = two(body, {**inputs, "tokens": tokens})
    change = (after - before).abs().amax(dim=-1)
    assert change[0, 0] < 1e-12 and change[0, 1] > 1e-9  # column 5 itself, and column 1, which comes later


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"position": "learned"}, "relative attention"),
        ({"position": "learned", "two_stream": False}, "relative attention"),
        ({"attention": "causal"}, "query stream"),
        ({"window": 3}, "query stream"),
        ({"memory": -1}, "memory"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(XLNET, **values)


def test_wrong_calls_are_refused() -> None:
    body, inputs = make(XLNET), row(T)
    _, state = body.forward_state(**inputs, state=None)
    with pytest.raises(ConfigError, match="another batch or model"):
        body.forward_state(**{k: v[:1] for k, v in inputs.items()}, state=state)
    with pytest.raises(ConfigError, match="another batch or model"):
        body.forward_state(**inputs, state={"h": torch.zeros(2, 3, 4)})
    with pytest.raises(ConfigError, match="rows that go on"):
        body.forward_state(**row(3, 4), state=None)
    with pytest.raises(ConfigError, match="no query stream"):
        two(make(XL), inputs)
    assert body.carries and not make(replace(XLNET, memory=0)).carries
