"""Greedy and sampled decoding: cached = uncached, batched = singles, greedy = the public library's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from generation_peers import ENDS, GPT2, POSITIONS, VOCABULARY, causal_model, peers, prompts, uncached
from scipy.stats import chisquare
from torch import Tensor

from wordloom.errors import ConfigError
from wordloom.infer import source_stepper, steppers
from wordloom.infer.decode import Answer, generate, tokens
from wordloom.infer.sampling import Decoding, Draws
from wordloom.infer.steppers import CausalStepper, RecurrentStepper, common_prefix, make_stepper
from wordloom.model import kernels
from wordloom.model.architecture import Architecture
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import CausalHead
from wordloom.model.model import Model
from wordloom.model.recurrent import Recurrent, RecurrentArchitecture

SLOTS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "post-norm, exact gelu": {"norm_place": "after", "activation": "gelu", "embedding_norm": True},
    "rotary, gated, window": {
        "position": "rotary", "gated": True, "activation": "silu", "window": 4, "global_every": 2,
        "rotary_base_local": 100.0, "first_norm": False,
    },
    "alibi, relu": {"position": "alibi", "activation": "relu", "bias": False, "qkv_bias": False},
    "t5": {"position": "t5", "norm": "rmsnorm", "attention_scale": False, "output_scale": True, "buckets": 8},
    "sinusoidal, types, scale": {"position": "sinusoidal", "types": 2, "embedding_scale": True, "output_bias": True},
    "offset, shared, own output": {"position_offset": 2, "shared_layers": True, "tied": False, "norm_bias": False},
    "odd widths": {"width": 30, "heads": 3, "ffn_width": 41, "vocab_size": 67, "attention_width": 21},
}  # fmt: skip


@pytest.fixture(params=["compiled", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the compiled step of `model.step`, and with the ordinary forward pass."""
    if request.param == "plain":
        monkeypatch.setattr(steppers, "can_fuse", lambda *rows: False)
        monkeypatch.setattr(source_stepper, "can_fuse", lambda *rows: False)
    elif kernels.backend() == "torch":
        pytest.skip("the kernels are switched off")
    return str(request.param)


@pytest.mark.parametrize("slots", SLOTS.values(), ids=SLOTS.keys())
def test_cached_is_uncached(slots: dict[str, Any], way: str) -> None:
    """Logits to 1e-5 of their size in every slot, for rows padded on the left too."""
    model = causal_model(3, **slots)
    V = model.arch.vocab_size
    texts = [[5, 9, 11, 3, 8], [7, 2]]
    stepper = CausalStepper(model)
    logits, state = stepper.begin(texts, 12)
    for i in range(12):
        expected = torch.stack([uncached(model, text) for text in texts])
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
        chosen = torch.tensor([(7 * i + 3) % V, (5 * i + 1) % V])
        texts = [[*text, int(token)] for text, token in zip(texts, chosen, strict=True)]
        logits, state = stepper.step(chosen, state)
    assert (state.fused is not None) == (way == "compiled")


def assert_same(answer: Answer, expected: list[int]) -> None:
    """The library keeps the end."""
    ended = expected[-1] in ENDS
    assert (list(answer.ids), answer.ended) == (expected[:-1] if ended else expected, ended)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 9])
def test_batched_is_single(rows: int, way: str) -> None:
    _, model = peers()
    stepper, how = make_stepper(model), Decoding(max_tokens=15)
    texts = prompts(rows, seed=rows)
    together = generate(stepper, texts, how, ENDS)
    assert together == [generate(stepper, [text], how, ENDS)[0] for text in texts]
    lengths = {len(a.ids) for (a,) in together}
    assert len(lengths) > 1 or rows == 1  # some ended before the others


def test_greedy_is_the_library(way: str) -> None:
    theirs, model = peers()
    for text in prompts(6, seed=1):
        x = torch.tensor([text])
        expected = theirs.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=30, do_sample=False)
        (answer,) = generate(make_stepper(model), [text], Decoding(max_tokens=30), ENDS)[0]
        assert_same(answer, expected[0, len(text) :].tolist())


def test_greedy_with_rules_is_the_library() -> None:
    theirs, model = peers()
    rules: list[dict[str, Any]] = [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 2}]
    rules.append({"repetition_penalty": 0.8, "no_repeat_ngram_size": 3})
    for rule in rules:
        ours = {key.removesuffix("_size"): value for key, value in rule.items()}
        for text in prompts(3, seed=2):
            x = torch.tensor([text])
            expected = theirs.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=30, do_sample=False, **rule)
            (answer,) = generate(make_stepper(model), [text], Decoding(max_tokens=30, **ours), ENDS)[0]
            assert_same(answer, expected[0, len(text) :].tolist())


def test_common_prefix_is_read_once(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers, and the shared tokens pass through the model one time."""
    _, model = peers()
    shared = [3 + i for i in range(20)]
    texts = [shared + rest for rest in prompts(4, 5, seed=3)] + [shared]
    how = Decoding(max_tokens=6)
    singles = [generate(make_stepper(model), [text], how)[0] for text in texts]
    stepper, read = CausalStepper(model), list[int]()
    forward = stepper._forward

    def counted(given: Tensor, *rest: Any) -> Tensor:
        read.append(given.numel())
        return forward(given, *rest)

    monkeypatch.setattr(stepper, "_forward", counted)
    assert generate(stepper, texts, how) == singles
    longest = max(map(len, texts)) - len(shared)
    assert read[:2] == [len(shared), len(texts) * longest]

    prefix = stepper.read(shared)
    read.clear()
    logits, _ = stepper.begin(texts, 3, prefix)
    assert read == [len(texts) * longest]
    torch.testing.assert_close(logits[1], uncached(model, texts[1]), rtol=1e-5, atol=1e-4)
    logits, _ = stepper.begin([shared[:7]], 3, prefix)  # shorter than what was read before
    torch.testing.assert_close(logits[0], uncached(model, shared[:7]), rtol=1e-5, atol=1e-4)


def test_rows_of_very_different_lengths_share_a_prefix() -> None:
    """The prefix of a short prompt would reach beyond the column from which the longest is read on."""
    _, model = peers()
    shared = [3 + i for i in range(17)]
    texts = [shared, [*shared, *range(2, 40)], [*shared, 9, 9]]
    how = Decoding(max_tokens=5)
    assert generate(make_stepper(model), texts, how) == [generate(make_stepper(model), [t], how)[0] for t in texts]


DECODERS: dict[str, dict[str, Any]] = {
    "t5": {
        "position": "t5", "norm": "rmsnorm", "attention_scale": False, "output_scale": True, "gated": True,
        "norm_place": "before", "bias": False, "qkv_bias": False,
    },
    "transformer": {
        "position": "sinusoidal", "activation": "silu", "norm_place": "after", "embedding_scale": True,
        "output_bias": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("slots", DECODERS.values(), ids=DECODERS.keys())
def test_encoder_decoder_cached_is_uncached(slots: dict[str, Any], way: str) -> None:
    """Sources of different lengths; then beams, whose rows change places and sources are picked."""
    torch.manual_seed(5)
    arch = Architecture(**{**GPT2, **slots, "attention": "full", "decoder_layers": 2, "dropout": 0.0})
    model = Model(EncoderDecoder(arch), {"causal": CausalHead(arch)}).eval()
    body = model.body
    assert isinstance(body, EncoderDecoder)
    if arch.output_bias:
        torch.nn.init.normal_(model.heads["causal"].bias)  # type: ignore[arg-type]
    texts, sources = [[body.start_id], [body.start_id], [body.start_id]], [[5, 9, 11, 3, 8], [7, 2], [4, 4, 9]]
    stepper = make_stepper(model)
    logits, state = stepper.begin(sources, 9)

    @torch.no_grad()
    def expected(source: list[int], text: list[int]) -> Tensor:
        x, y = torch.tensor([source]), torch.tensor([text])
        zeros = torch.zeros_like
        read = body.encode(x, torch.ones_like(x), torch.arange(len(source))[None], zeros(x))
        hidden = body.decode(y, torch.ones_like(y), torch.arange(len(text))[None], zeros(y), read)
        return model.heads["causal"](hidden[0, -1], model.token_embedding)

    for i in range(9):
        wanted = torch.stack([expected(s, t) for s, t in zip(sources, texts, strict=True)])
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
        if i in (3, 5):  # the same rows in another order, then others
            rows = [2, 0, 1] if i == 3 else [1, 1, 0, 2]
            state = stepper.reorder(state, torch.tensor(rows))
            sources, texts = [sources[r] for r in rows], [texts[r] for r in rows]
        chosen = [(7 * i + 3 * row) % VOCABULARY for row in range(len(texts))]
        texts = [[*text, token] for text, token in zip(texts, chosen, strict=True)]
        logits, state = stepper.step(torch.tensor(chosen), state)
    assert (state.fused is not None) == (way == "compiled")


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_carries_its_state(cell: Any) -> None:
    torch.manual_seed(1)
    arch = RecurrentArchitecture(vocab_size=VOCABULARY, width=24, layers=2, cell=cell, init_std=0.6)
    model = Model(Recurrent(arch), {"causal": CausalHead(arch)}).eval()
    texts, how = prompts(5, seed=4), Decoding(max_tokens=20)
    stepper = make_stepper(model)
    assert isinstance(stepper, RecurrentStepper)
    together = generate(stepper, texts, how, ENDS)
    for text, (answer,) in zip(texts, together, strict=True):
        ids = list(text)
        for token in answer.ids:
            assert int(uncached(model, ids).argmax()) == token
            ids.append(token)
        assert answer.ended == (int(uncached(model, ids).argmax()) in ENDS) or len(answer.ids) == 20
    _, state = stepper.begin(texts, 1)
    picked = stepper.reorder(state, torch.tensor([4, 0]))
    after, _ = stepper.step(torch.tensor([8, 8]), picked)
    torch.testing.assert_close(after[0], uncached(model, [*texts[4], 8]), rtol=1e-5, atol=1e-5)


def test_sampling_is_a_function_of_seed_and_row() -> None:
    _, model = peers()
    how = Decoding(max_tokens=12, temperature=1.5, top_k=20, top_p=0.95, seed=3, answers=2)
    texts = prompts(3, seed=5)
    once = generate(make_stepper(model), texts, how, ENDS)
    assert generate(make_stepper(model), texts, how, ENDS) == once
    assert generate(make_stepper(model), texts[:1], how, ENDS) == once[:1]  # other rows do not matter
    assert once[0][0] != once[0][1]
    other = Decoding(max_tokens=12, temperature=1.5, top_k=20, top_p=0.95, seed=4, answers=2)
    assert generate(make_stepper(model), texts, other, ENDS) != once


def test_draws_have_the_distribution() -> None:
    """Chi-square of 20,000 draws: five streams, four thousand of each, against softmax(logits)."""
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0, float("-inf"), 0.5]]).expand(5, -1)
    draws = Draws(11, range(5))
    counts = Counter(int(t) for _ in range(4000) for t in draws.choose(logits))
    expected = 20_000 * logits[0].double().softmax(0)
    assert counts[4] == 0
    kept = [0, 1, 2, 3, 5]
    assert chisquare([counts[i] for i in kept], expected[kept].numpy()).pvalue > 0.01


def test_tokens_end_row_by_row() -> None:
    _, model = peers()
    texts = prompts(4, seed=4)
    how = Decoding(max_tokens=25)
    columns = list(tokens(make_stepper(model), texts, how, ENDS))
    for row, (answer,) in enumerate(generate(make_stepper(model), texts, how, ENDS)):
        found = [c[row] for c in columns]
        kept = len(answer.ids)
        assert found[:kept] == list(answer.ids)
        if answer.ended:
            assert found[kept] in ENDS
            assert found[kept + 1 :] == [None] * (len(columns) - kept - 1)


def test_refusals() -> None:
    _, model = peers()
    stepper = make_stepper(model)
    with pytest.raises(ConfigError, match=f"do not fit a model of {POSITIONS} positions. Ask for at most 15 tokens"):
        generate(stepper, [[2] * 50], Decoding(max_tokens=16))
    assert len(generate(stepper, [[2] * 50], Decoding(max_tokens=15))[0][0].ids) == 15
    with pytest.raises(ConfigError, match="Give a shorter prompt"):
        generate(stepper, [[2] * 65], Decoding(max_tokens=1))
    with pytest.raises(ConfigError, match="no token"):
        generate(stepper, [[2], []], Decoding())
    with pytest.raises(ConfigError, match="no token"):
        generate(stepper, [], Decoding())
    with pytest.raises(ConfigError, match="does not predict the next token"):
        make_stepper(causal_model(attention="full"))
    _, state = stepper.begin([[2, 3]], 2)
    with pytest.raises(ConfigError, match="not among"):
        stepper.step(torch.tensor([VOCABULARY]), state)


def test_common_prefix_of_sequences() -> None:
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_prefix([[1], [2]]) == 0
    assert common_prefix([[1, 2], [1, 2]]) == 2
