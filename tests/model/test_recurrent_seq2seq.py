"""Encoder-decoder with attention against the papers' equations, one token and one source word at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wordloom.data.batch import Batch
from wordloom.errors import BundleError, ConfigError
from wordloom.model.recurrence import Cell
from wordloom.model.recurrent_seq2seq import RecurrentSeq2Seq, RecurrentSeq2SeqArchitecture, Score

SOURCE = torch.tensor([[5, 6, 7, 8, 9], [4, 3, 2, 0, 0], [0, 8, 8, 1, 0]])
DOCUMENTS = torch.tensor([[1] * 5, [1, 1, 1, 0, 0], [0, 1, 1, 1, 0]])
TARGET = torch.tensor([[2, 9, 8, 7], [2, 4, 4, 6], [2, 3, 5, 1]])
ALL = [(cell, score) for cell in ("rnn", "lstm", "gru") for score in ("additive", "dot", "general")]
torch.set_num_threads(1)


def make(**values: object) -> RecurrentSeq2Seq:
    torch.manual_seed(0)
    arch = RecurrentSeq2SeqArchitecture(**{"vocab_size": 20, "width": 8, "layers": 2, "init_std": 0.5, **values})  # type: ignore
    return RecurrentSeq2Seq(arch).double()


def single(kind: Cell, module: nn.RNNBase, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """torch's own module on one token: held against the papers in test_recurrent_cells."""
    start = (h[None], c[None]) if kind == "lstm" else h[None]
    _, last = module(x[None], start)
    return (last[0][0], last[1][0]) if kind == "lstm" else (last[0], c)


def written_out(model: RecurrentSeq2Seq, row: int) -> tuple[Tensor, Tensor]:
    """One pair, from the papers: (T, D) and (T, S) with zeros at the padding."""
    arch, w = model.arch, dict(model.named_parameters())
    words = DOCUMENTS[row].nonzero().flatten().tolist()
    here = SOURCE[row, words][None]
    zeros = torch.zeros_like(here)
    h = model.encoder(here, torch.ones_like(here), zeros, zeros)[0]  # (S, D) annotations
    first = torch.tanh(w["start.weight"] @ h[0, arch.width // 2 :] + w["start.bias"])
    s = list(first.view(arch.layers, arch.width))  # Bahdanau, A.2.2: s_0 = tanh(W_s h_1 read backwards)
    c = [torch.zeros_like(x) for x in s]
    t_before = torch.zeros(arch.width).double()
    states, alignments = [], []

    def attend(query: Tensor) -> tuple[list[float], Tensor]:
        scores = []
        for j in range(len(words)):
            if arch.score == "additive":
                inner = w["attention.query.weight"] @ query + w["attention.key.weight"] @ h[j]
                scores.append(w["attention.v"] @ torch.tanh(inner))
            elif arch.score == "general":
                scores.append(query @ (w["attention.key.weight"] @ h[j]))
            else:
                scores.append(query @ h[j])
        total = sum(torch.exp(e) for e in scores)
        context = torch.zeros(arch.width).double()
        for j in range(len(words)):
            context = context + torch.exp(scores[j]) / total * h[j]
        return [float((torch.exp(e) / total).detach()) for e in scores], context

    for token in TARGET[row]:
        y = w["encoder.embeddings.tokens.weight"][token]
        if arch.score == "additive":
            alpha, context = attend(s[-1])
            x = torch.cat([y, context])
        else:
            x = torch.cat([y, t_before])
        for i, cell in enumerate(model.cells):
            assert isinstance(cell, nn.RNNBase)
            s[i], c[i] = single(arch.cell, cell, x, s[i], c[i])
            x = s[i]
        if arch.score != "additive":
            alpha, context = attend(x)
        t_before = torch.tanh(w["combine.weight"] @ torch.cat([context, x]))
        states.append(t_before)
        line = torch.zeros(SOURCE.shape[1]).double()
        line[words] = torch.tensor(alpha, dtype=torch.float64)
        alignments.append(line)
    return torch.stack(states), torch.stack(alignments)


@pytest.mark.parametrize(("cell", "score"), ALL)
def test_equations(cell: Cell, score: Score) -> None:
    model = make(cell=cell, score=score)
    hidden, alignments = model.align(SOURCE, DOCUMENTS, TARGET)
    wanted = [written_out(model, row) for row in range(3)]
    assert (hidden - torch.stack([t for t, _ in wanted])).abs().max() < 1e-12
    assert (alignments - torch.stack([a for _, a in wanted])).abs().max() < 1e-12
    assert (alignments.sum(-1) - 1).abs().max() < 1e-12 and not alignments[
        (DOCUMENTS == 0)[:, None].expand_as(alignments)
    ].any()
    parameters = [*model.parameters()]
    weight = torch.randn_like(hidden)
    ours = torch.autograd.grad((hidden * weight).sum(), parameters)
    theirs = torch.autograd.grad((torch.stack([t for t, _ in wanted]) * weight).sum(), parameters)
    for (name, _), a, b in zip(model.named_parameters(), ours, theirs, strict=True):
        assert (a - b).abs().max() < 1e-11 and (a.any() or "bias" in name), name


@pytest.mark.parametrize(("cell", "score"), ALL)
def test_steps_equal_forward_and_rows_can_be_chosen(cell: Cell, score: Score) -> None:
    model = make(cell=cell, score=score)
    hidden, alignments = model.align(SOURCE, DOCUMENTS, TARGET)
    state = model.begin(SOURCE, DOCUMENTS)
    beams = torch.tensor([2, 0, 0, 1])
    state = {name: value[beams] for name, value in state.items()}
    for t in range(TARGET.shape[1]):
        tokens = TARGET[beams, t]
        out, alignment, state = model.step(tokens[:, None] if t % 2 else tokens, state)
        assert (out - hidden[beams, t]).abs().max() < 1e-12
        assert (alignment - alignments[beams, t]).abs().max() < 1e-12


@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_padding_on_both_sides_and_the_future_change_nothing(score: Score) -> None:
    model = make(score=score)
    hidden, _ = model.align(SOURCE, DOCUMENTS, TARGET)
    other = torch.where(DOCUMENTS == 0, 13, SOURCE)
    assert model.align(other, DOCUMENTS, TARGET)[0].equal(hidden)
    later = TARGET.clone()
    later[:, 2:] = 17
    changed, _ = model.align(SOURCE, DOCUMENTS, later)
    assert changed[:, :2].equal(hidden[:, :2]) and (changed[:, 2:] != hidden[:, 2:]).any(-1).all()
    real = SOURCE.clone()
    real[0, 4] = 13
    assert (model.align(real, DOCUMENTS, TARGET)[0][0] != hidden[0]).any(-1).all()


def test_dropout_is_locked_and_only_while_training() -> None:
    model = make(width=64, dropout=0.4).train()
    hidden, _ = model.align(SOURCE, DOCUMENTS, TARGET)
    zero = hidden == 0
    assert (zero == zero[:, :1]).all() and 0.2 < zero.double().mean() < 0.6 and not zero[0].equal(zero[1])
    torch.manual_seed(3)
    a = model.align(SOURCE, DOCUMENTS, TARGET)[0]
    torch.manual_seed(3)
    assert a.equal(model.align(SOURCE, DOCUMENTS, TARGET)[0])
    model.eval()
    plain = make(width=64).eval()
    plain.load_state_dict(model.state_dict())
    assert plain.align(SOURCE, DOCUMENTS, TARGET)[0].equal(model.align(SOURCE, DOCUMENTS, TARGET)[0])


def test_it_learns_to_copy_backwards() -> None:
    """A few steps on reversing: attention must find the mirrored word, which no single state could tell."""
    torch.manual_seed(0)
    model = make(vocab_size=12, width=32, layers=1, init_std=0.3).float()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for _ in range(120):
        source = torch.randint(2, 12, (32, 5), generator=generator)
        answer = source.flip(1)
        inputs = torch.cat([torch.ones(32, 1, dtype=torch.int64), answer[:, :-1]], 1)
        hidden, alignments = model.align(source, torch.ones_like(source), inputs)
        logits = hidden @ model.embeddings.tokens.weight.T
        loss = nn.functional.cross_entropy(logits.flatten(0, 1) * 4, answer.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3  # guessing is log 10 = 2.3
    places = alignments.mean(0).argmax(1)  # an annotation knows its neighbours too, so they may be off by one
    assert (places.diff() <= 0).all() and places[0] - places[-1] >= 3


def test_shape_saving_and_refusals() -> None:
    model = make(layers=3)
    depth = model.layers_by_depth()
    found = [id(p) for m in depth for p in m.parameters()]
    assert len(depth) == 7 and sorted(found) == sorted(id(p) for p in model.parameters())
    one = make(layers=1)
    assert sorted(id(p) for m in one.layers_by_depth() for p in m.parameters()) == sorted(map(id, one.parameters()))
    values = model.arch.to_json()
    assert RecurrentSeq2SeqArchitecture.from_json(values) == model.arch
    for wrong, match in (
        ({"score": "concat"}, "score 'concat' is unknown"),
        ({"width": 7}, "halved"),
        ({"width": "8"}, "width must be"),
        ({"dropout": 1}, "dropout"),
        ({"cell": "x"}, "cell 'x'"),
    ):
        with pytest.raises(ConfigError, match=match):
            make(**wrong)
        with pytest.raises(BundleError, match=match):
            RecurrentSeq2SeqArchitecture.from_json(values | wrong)
    for documents in (torch.tensor([[0] * 5, [1] * 5, [1] * 5]), torch.tensor([[1, 1, 1, 2, 2]] * 3)):
        with pytest.raises(ConfigError, match="one text"):
            model.begin(SOURCE, documents)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("score", ["dot", "general"])
def test_without_feeding_all_tokens_at_once_are_the_steps(cell: Cell, score: Score) -> None:
    """`_run_at_once` against the same decoder a token at a time, in values, alignments and gradients."""
    model = make(cell=cell, score=score, feeding=False)
    hidden, alignments = model.align(SOURCE, DOCUMENTS, TARGET)
    state, wanted, looked = model.begin(SOURCE, DOCUMENTS), [], []
    for t in range(TARGET.shape[1]):
        out, alignment, state = model.step(TARGET[:, t], state)
        wanted.append(out)
        looked.append(alignment)
    assert (hidden - torch.stack(wanted, 1)).abs().max() < 1e-12
    assert (alignments - torch.stack(looked, 1)).abs().max() < 1e-12
    weight = torch.randn_like(hidden)
    parameters = [*model.parameters()]
    ours = torch.autograd.grad((hidden * weight).sum(), parameters)
    theirs = torch.autograd.grad((torch.stack(wanted, 1) * weight).sum(), parameters)
    assert all((a - b).abs().max() < 1e-11 for a, b in zip(ours, theirs, strict=True))
    with pytest.raises(ConfigError, match="additive attention is made before"):
        make(score="additive", feeding=False)


@pytest.mark.parametrize("feeding", [True, False])
def test_packed_pairs_are_pairs_apart(feeding: bool) -> None:
    """Documents of a row, padding between and behind them: each has the states that it has alone."""
    model = make(score="general", feeding=feeding)
    source = Batch(*(torch.zeros(2, 7, dtype=torch.int64) for _ in range(4)))
    source.tokens[0], source.documents[0] = torch.arange(3, 10), torch.tensor([1, 1, 0, 2, 2, 2, 3])
    source.tokens[1], source.documents[1] = torch.arange(10, 17), torch.tensor([1, 1, 1, 1, 0, 0, 0])
    tokens = torch.arange(14).view(2, 7) % 9
    documents = torch.tensor([[1, 1, 1, 2, 3, 3, 0], [0, 1, 1, 0, 0, 0, 0]])
    zeros = torch.zeros_like(tokens)
    hidden = model(tokens, documents, zeros, zeros, source)
    assert not hidden[documents == 0].any()
    for row, number in ((0, 1), (0, 2), (0, 3), (1, 1)):
        here, there = documents[row] == number, source.documents[row] == number
        text = source.tokens[row][there][None]
        alone, _ = model.align(text, torch.ones_like(text), tokens[row][here][None])
        assert (hidden[row][here] - alone[0]).abs().max() < 1e-12
    nothing = model(tokens, zeros, zeros, zeros, Batch(zeros, zeros, zeros, zeros))
    assert not nothing.any() and nothing.shape == hidden.shape
    for wrong in (documents.clamp(max=2), torch.roll(documents, 1, 0)):
        with pytest.raises(ConfigError, match="hold different documents"):
            model(tokens, wrong, zeros, zeros, source)
    with pytest.raises(ConfigError, match="needs a source"):
        model(tokens, documents, zeros, zeros)
