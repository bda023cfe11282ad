"""The encoder-decoder: who sees what, packed pairs, padding, caches, initial values, the head's smoothed loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wordloom import presets
from wordloom.data.batch import Batch
from wordloom.errors import ConfigError
from wordloom.infer.decode import generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.source_stepper import SourceStepper
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.heads import CausalHead
from wordloom.model.model import Model

torch.set_num_threads(1)
V = 50
TINY = {"layers": 2, "decoder_layers": 2, "width": 24, "heads": 3, "ffn_width": 40, "init_std": 0.3}
FAMILY = pytest.mark.parametrize("preset", ["t5-tiny", "t5v1.1-tiny", "transformer-tiny"])


def body_of(preset: str) -> EncoderDecoder:
    arch = presets.architecture(preset, V, dropout=0.0, attention_dropout=0.0, attention_width=36, **TINY)
    torch.manual_seed(0)
    body = make_body(arch)
    assert isinstance(body, EncoderDecoder)
    with torch.no_grad():  # norms and biases too: one that is not used would show
        for p in body.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return body.eval()


def side(lengths: list[list[int]], seed: int, width: int | None = None) -> Batch:
    """Rows of documents of these lengths, then padding up to ``width``."""
    g = torch.Generator().manual_seed(seed)
    width = max(map(sum, lengths)) if width is None else width
    documents, positions = (torch.zeros(len(lengths), width, dtype=torch.int64) for _ in range(2))
    for row, parts in enumerate(lengths):
        at = 0
        for number, n in enumerate(parts, 1):
            documents[row, at : at + n], positions[row, at : at + n] = number, torch.arange(n)
            at += n
    tokens = torch.randint(1, V, documents.shape, generator=g) * (documents > 0)
    return Batch(tokens, documents, positions, torch.zeros_like(tokens))


def run(body: EncoderDecoder, target: Batch, source: Batch) -> Tensor:
    with torch.no_grad():
        return body(target.tokens, target.documents, target.positions, target.types, source)


def changed(batch: Batch, row: int, column: int) -> Batch:
    tokens = batch.tokens.clone()
    tokens[row, column] = 1 + (tokens[row, column] + 5) % (V - 1)
    return Batch(**{**batch.__dict__, "tokens": tokens})


def moved(before: Tensor, after: Tensor, target: Batch) -> list[tuple[int, int]]:
    """Places (row, column) of the target's tokens whose states differ."""
    differs = ((after - before).abs().amax(-1) > 1e-6) & (target.documents > 0)
    return [(r, c) for r, c in differs.nonzero().tolist()]


@FAMILY
def test_a_target_sees_its_past_and_its_own_source(preset: str) -> None:
    body = body_of(preset)
    source, target = side([[5, 4], [7]], 1), side([[3, 4], [6]], 2)
    before = run(body, target, source)
    # the second token of target 2 in row 0 is seen from there to the end of that target
    assert moved(before, run(body, changed(target, 0, 4), source), target) == [(0, 4), (0, 5), (0, 6)]
    # a token of source 1 of row 0 is seen by all of target 1 and by nothing else
    assert moved(before, run(body, target, changed(source, 0, 1)), target) == [(0, 0), (0, 1), (0, 2)]
    assert moved(before, run(body, target, changed(source, 0, 8)), target) == [(0, c) for c in range(3, 7)]
    assert moved(before, run(body, target, changed(source, 1, 0)), target) == [(1, c) for c in range(6)]


@FAMILY
def test_packed_pairs_equal_singles_and_padding_changes_nothing(preset: str) -> None:
    body = body_of(preset)
    source, target = side([[5, 4], [7]], 1, 12), side([[3, 4], [6]], 2, 9)
    packed = run(body, target, source)
    assert bool(torch.isfinite(packed).all())  # padding too: a NaN there would reach the weights' gradients
    for row in range(2):
        for number in range(1, int(target.documents[row].max()) + 1):
            mine, its = target.documents[row] == number, source.documents[row] == number
            single = run(
                body,
                Batch(*(getattr(target, k)[row, mine][None] for k in ("tokens", "documents", "positions", "types"))),
                Batch(*(getattr(source, k)[row, its][None] for k in ("tokens", "documents", "positions", "types"))),
            )
            torch.testing.assert_close(packed[row, mine], single[0], rtol=0, atol=5e-6)


@FAMILY
def test_a_row_whose_source_is_full_and_whose_target_is_padded_gives_finite_gradients(preset: str) -> None:
    body = body_of(preset)
    source, target = side([[6], [6]], 1), side([[5], [2]], 2)
    for weights in (
        None,
        [],
    ):  # a softmax over nothing is 0 in the fused kernel, NaN in the plain one
        body.zero_grad()
        read = body.encode(source.tokens, source.documents, source.positions, source.types)
        hidden = body.decode(target.tokens, target.documents, target.positions, target.types, read, weights)
        hidden[target.documents > 0].sum().backward()
        for name, p in body.named_parameters():
            assert p.grad is not None and bool(torch.isfinite(p.grad).all()), name


@FAMILY
def test_weights_are_returned_and_are_what_was_used(preset: str) -> None:
    body = body_of(preset)
    source, target = side([[5, 4]], 1), side([[3, 4]], 2)
    read = body.encode(source.tokens, source.documents, source.positions, source.types)
    weights: list[Tensor] = []
    with torch.no_grad():
        plain = body.decode(target.tokens, target.documents, target.positions, target.types, read, weights)
    torch.testing.assert_close(plain, run(body, target, source), rtol=0, atol=5e-6)
    assert [tuple(w.shape) for w in weights] == [(1, 3, 7, 7), (1, 3, 7, 9)] * 2
    for w in weights:
        torch.testing.assert_close(w.sum(-1), torch.ones(1, 3, 7))
    assert float(weights[1][0, :, :3, 5:].abs().max()) == 0 and float(weights[1][0, :, :3, :5].min()) > 0


@FAMILY
def test_steps_with_caches_equal_the_whole(preset: str) -> None:
    body = body_of(preset)
    source, target = side([[5], [9]], 1), side([[7], [7]], 2)
    whole = run(body, target, source)
    with torch.no_grad():
        read = body.encode(source.tokens, source.documents, source.positions, source.types, keep=True)
        cache = body.new_cache(2, 7)
        for at in range(7):
            given = (getattr(target, k)[:, at : at + 1] for k in ("tokens", "documents", "positions", "types"))
            torch.testing.assert_close(body.decode(*given, read, cache=cache)[:, 0], whole[:, at], rtol=0, atol=5e-6)


def answers(model: Model, prompts: list[list[int]], **how: Any) -> list[tuple[int, ...]]:
    return [a.ids for row in generate(SourceStepper(model), prompts, Decoding(**how), ends=(2,)) for a in row]


@FAMILY
def test_the_stepper_decodes_as_the_whole_model_does(preset: str) -> None:
    body = body_of(preset)
    model = Model(body, {"causal": CausalHead(body.arch)}).eval()
    head: Any = model.heads["causal"]
    prompts = [[5, 6, 7, 8, 9], [9, 8], [7, 7, 7]]
    found = answers(model, prompts, max_tokens=9)
    for prompt, ids in zip(prompts, found, strict=True):
        n, text = len(prompt), [0]
        source = Batch(*(torch.tensor([x]) for x in (prompt, [1] * n, [*range(n)], [0] * n)))
        for token in [*ids, *[2] * (len(ids) < 9)]:
            n = len(text)
            target = Batch(*(torch.tensor([x]) for x in (text, [1] * n, [*range(n)], [0] * n)))
            assert int(head(run(body, target, source)[0, -1], model.token_embedding).argmax()) == token
            text.append(token)
    assert answers(model, prompts[:1], max_tokens=9) == found[:1]
    beams = answers(model, prompts, max_tokens=9, beams=3)
    assert [answers(model, [p], max_tokens=9, beams=3)[0] for p in prompts] == beams  # rows do not mix


def test_smoothing_is_torch_s() -> None:
    """Vaswani et al. 2017, section 5.4, against CrossEntropyLoss(label_smoothing=...), values and gradients."""
    for preset in ("t5-tiny", "t5v1.1-tiny", "transformer-tiny"):
        arch = presets.architecture(preset, V, **TINY)
        assert isinstance(arch, Architecture)
        torch.manual_seed(1)
        head = CausalHead(arch).double()
        with torch.no_grad():
            for p in head.parameters():
                p.add_(torch.randn_like(p))
        states = torch.randn(11, 24, dtype=torch.float64, requires_grad=True)
        table = torch.randn(V, 24, dtype=torch.float64, requires_grad=True)
        targets = torch.randint(0, V, (11,))
        inputs = [states, *head.parameters(), *([table] if head.output is None else [])]
        ours = head.loss(states, table, targets, 0.1)
        plain = torch.nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)(head(states, table), targets)
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=0)
        pairs = zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(plain, inputs), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_initial_values_are_those_of_the_authors_code() -> None:
    """Deviations of Raffel et al. 2020's code: table 1, queries (D d)^-1/2, other matrices inputs^-1/2."""
    arch = presets.architecture("t5-small", 600, layers=1, decoder_layers=1)
    torch.manual_seed(0)
    body = make_body(arch)
    assert isinstance(body, EncoderDecoder) and isinstance(arch, Architecture)
    first: Any = body.decoder.layers[0]
    found = {
        "table": (body.embeddings.tokens.weight, 1.0),
        "q": (first.attention.qkv.weight[:512], (512 * 64) ** -0.5),
        "k": (first.attention.qkv.weight[512:1024], 512**-0.5),
        "cross q": (first.cross.query.weight, (512 * 64) ** -0.5),
        "cross v": (first.cross.keys_values.weight[512:], 512**-0.5),
        "o": (first.attention.output.weight, 512**-0.5),
        "wi": (first.ffn_in.weight, 512**-0.5),
        "wo": (first.ffn_out.weight, 2048**-0.5),
    }
    for name, (weight, std) in found.items():
        assert float(weight.detach().std()) == pytest.approx(std, rel=0.02), name


def test_a_scaled_table_enters_with_deviation_one() -> None:
    """Vaswani et al. 2017's code: the table has D^-1/2, so that times sqrt(D) it stands beside sinusoids of 0.7."""
    arch = presets.architecture("transformer-small", 600, layers=1, decoder_layers=1, dropout=0.0)
    torch.manual_seed(0)
    body = make_body(arch)
    assert isinstance(body, EncoderDecoder)
    tokens = torch.arange(600)[None]
    zeros = torch.zeros_like(tokens)
    with torch.no_grad():
        read = body.embeddings(tokens, zeros, zeros) - body.embeddings.waves[0]
    assert float(read.std()) == pytest.approx(1.0, rel=0.02)
    assert float(body.embeddings.tokens.weight.detach().std()) == pytest.approx(256**-0.5, rel=0.02)


@pytest.mark.parametrize("preset", ["t5-tiny", "transformer-tiny"])
def test_a_new_decoder_hears_its_source(preset: str) -> None:
    """Other sources beside one target change its states from the start: matrices are drawn by their inputs.

    With matrices of deviation 0.02 the source is 1e-4 of their variance in transformer-tiny: Adam and Muon, whose steps
    do not know how small a gradient is, then teach the decoder to write without it.
    """
    arch = presets.architecture(preset, 600, dropout=0.0, attention_dropout=0.0)
    torch.manual_seed(0)
    body = make_body(arch).eval()
    g = torch.Generator().manual_seed(0)
    source, target = torch.randint(1, 600, (16, 12), generator=g), torch.randint(1, 600, (1, 10), generator=g)

    def rows(tokens: Tensor) -> Batch:
        places = torch.arange(tokens.shape[1]).expand_as(tokens)
        return Batch(tokens, torch.ones_like(tokens), places, torch.zeros_like(tokens))

    assert isinstance(body, EncoderDecoder)
    hidden = run(body, rows(target.expand(16, -1)), rows(source))  # (16, 10, D)
    share = hidden.var(0).mean() / hidden.var((0, 1)).mean()
    assert share > 0.02


def test_the_published_sizes() -> None:
    """Millions of parameters: T5 small 60 and base 223 (their figures: about 60 and 220), v1.1 small 77, the paper's
    base Transformer 65 with 37,000 tokens."""
    for preset, vocab, millions in (
        ("t5-small", 32128, 60.5),
        ("t5-base", 32128, 222.9),
        ("t5v1.1-small", 32128, 77.0),
        ("t5v1.1-base", 32128, 247.6),
        ("transformer-base", 37000, 63.1),
    ):
        arch = presets.architecture(preset, vocab)
        with torch.device("meta"):
            model = Model(make_body(arch), {"causal": CausalHead(arch)})
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1), preset


def test_what_does_not_fit_is_refused() -> None:
    arch = presets.architecture("transformer-tiny", V, **{**TINY, "max_positions": 6})
    assert isinstance(arch, Architecture)
    body = EncoderDecoder(arch)
    short, long = side([[6]], 1), side([[7]], 1)
    for target, source in ((short, long), (long, short)):
        with pytest.raises(ConfigError, match="a document of 7 tokens does not fit a model of 6 positions"):
            run(body, target, source)
    with pytest.raises(ConfigError, match="needs a source to read"):
        body(short.tokens, short.documents, short.positions, short.types)
    with pytest.raises(ConfigError, match=r"needs model\.decoder_layers above 0"):
        EncoderDecoder(presets.architecture("bert-tiny", V))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="do not each fit a model of 6 positions"):
        answers(Model(body, {"causal": CausalHead(arch)}), [[1] * 7], max_tokens=2)
    with pytest.raises(ConfigError, match="width 25 is not divisible by its 3 heads"):
        presets.architecture("t5-tiny", V, **{**TINY, "attention_width": 25})


def test_a_batch_keeps_its_source() -> None:
    source, target = side([[5], [9], [2], [3]], 1), side([[7], [4], [1], [2]], 2)
    batch = Batch(target.tokens, target.documents, target.positions, target.types, source=source)
    assert batch.real_tokens == 19 + 14
    parts = batch.split(3)
    assert [p.rows for p in parts] == [p.source.rows for p in parts if p.source is not None] == [1, 2, 1]
    assert torch.equal(torch.cat([p.source.tokens for p in parts if p.source is not None]), source.tokens)
    there = batch.to("meta")
    assert there.source is not None and there.source.tokens.device.type == "meta"
