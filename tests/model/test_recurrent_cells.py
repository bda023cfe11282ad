"""One layer over time equals the papers' equations written out, in values and gradients, on every path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from wordloom.model import kernels
from wordloom.model.recurrence import GATES, Cell, Packing, pack_documents, pack_rows, recur, step
from wordloom.model.recurrent import make_cell, weights_of

DOCUMENTS = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 2, 2, 3, 3, 3], [0] * 6, [1] * 6, [0, 1, 1, 0, 2, 0]])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    kernels.use_backend(None)
    torch.set_num_threads(before)


# --- the equations, one token of one sequence at a time, x (I,), h (H,), c (H,) ----------------------------------


def elman(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Elman 1990: the hidden units see the input and their own values one step before."""
    return torch.tanh(W @ x + b + U @ h + u), c


def lstm(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000: y_in, y_phi, y_out are their gates."""

    def net(k: int) -> Tensor:
        rows = slice(k * len(h), (k + 1) * len(h))
        return W[rows] @ x + b[rows] + U[rows] @ h + u[rows]

    y_in, y_phi, y_out = (1 / (1 + torch.exp(-net(k))) for k in (0, 1, 3))
    state = y_phi * c + y_in * torch.tanh(net(2))
    return y_out * torch.tanh(state), state


def gru(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Cho et al. 2014, eq. 5-8, but with r * (U h + u) where the paper has U (r * h): torch's (and cuDNN's) variant."""
    W, U, b, u = (list(t.view(3, len(h), *t.shape[1:])) for t in (W, U, b, u))
    r = 1 / (1 + torch.exp(-(W[0] @ x + b[0] + U[0] @ h + u[0])))
    z = 1 / (1 + torch.exp(-(W[1] @ x + b[1] + U[1] @ h + u[1])))
    new = torch.tanh(W[2] @ x + b[2] + r * (U[2] @ h + u[2]))
    return z * h + (1 - z) * new, c


EQUATIONS: dict[Cell, Callable[..., tuple[Tensor, Tensor]]] = {"rnn": elman, "lstm": lstm, "gru": gru}


def written_out(
    cell: Cell, x: Tensor, sequences: list[list[int]], weights: tuple[Tensor, ...], h0: Tensor, c0: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """sequences: for each its places in x (N, I) in order. -> outputs (N, H), last h and c (S, H)."""
    outputs: dict[int, Tensor] = {}
    last_h, last_c = [], []
    for s, places in enumerate(sequences):
        h, c = h0[s], c0[s]
        for place in places:
            h, c = EQUATIONS[cell](x[place], h, c, *weights)
            outputs[place] = h
        last_h.append(h)
        last_c.append(c)
    return torch.stack([outputs[n] for n in range(len(x))]), torch.stack(last_h), torch.stack(last_c)


def sequences_of(packing: Packing) -> list[list[int]]:
    """Places of each sequence's tokens: packed places rise with time."""
    numbers = packing.sequence.tolist()
    return [[n for n, s in enumerate(numbers) if s == which] for which in range(packing.sizes[0])]


def case(cell: Cell, packing: Packing, dtype: torch.dtype) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor]:
    S, H, size = packing.sizes[0], 7, 5
    G = GATES[cell]
    weights = tuple(
        (0.5 * torch.randn(*shape, dtype=dtype)).requires_grad_()
        for shape in ((G * H, size), (G * H, H), (G * H,), (G * H,))
    )
    h, c, x = (torch.randn(n, w, dtype=dtype, requires_grad=True) for n, w in ((S, H), (S, H), (len(packing.order), 5)))
    return x, weights, h, c


PACKINGS = {"rows": lambda: pack_rows(3, 6, torch.device("cpu")), "documents": lambda: pack_documents(DOCUMENTS)}
PATHS = [("torch", torch.float64, 1e-12), ("torch", torch.float32, 1e-6), ("onednn", torch.float32, 1e-6)]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("kind", PACKINGS)
@pytest.mark.parametrize(("path", "dtype", "close"), PATHS)
def test_equations(cell: Cell, kind: str, path: str, dtype: torch.dtype, close: float) -> None:
    if path == "onednn" and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    kernels.use_backend(path)
    packing = PACKINGS[kind]()
    x, weights, h, c = case(cell, packing, dtype)
    ours = recur(cell, x, packing, weights, h, c)  # type: ignore[arg-type]
    theirs = written_out(cell, x, sequences_of(packing), weights, h, c)
    assert (ours[2] is not None) == (cell == "lstm")
    for a, b in zip(ours, theirs, strict=True):
        assert a is None or (a.shape == b.shape and (a - b).abs().max() < close)
    inputs = [x, *weights, h, *([c] if cell == "lstm" else [])]
    grad, grad_last = torch.randn_like(ours[0]), torch.randn_like(ours[1])
    for a, b in zip(
        torch.autograd.grad([*ours[:2]], inputs, [grad, grad_last]),
        torch.autograd.grad([*theirs[:2]], inputs, [grad, grad_last]),
        strict=True,
    ):
        assert (a - b).abs().max() < close * max(1.0, float(b.abs().max()))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_absent_states_are_zeros_and_a_step_is_one_token(cell: Cell) -> None:
    packing = pack_rows(3, 1, torch.device("cpu"))
    x, weights, h, c = case(cell, packing, torch.float64)
    zero = torch.zeros_like(h)
    assert recur(cell, x, packing, weights)[0].equal(recur(cell, x, packing, weights, zero, zero)[0])  # type: ignore
    one_h, one_c = step(cell, x, weights, h, c)  # type: ignore[arg-type]
    out, _, last_c = recur(cell, x, packing, weights, h, c)  # type: ignore[arg-type]
    assert (one_h - out).abs().max() < 1e-14
    assert last_c is None or (one_c is not None and (one_c - last_c).abs().max() < 1e-14)


@pytest.mark.parametrize("cell", list(GATES))
def test_packed_sequences_stay_float32_under_autocast(cell: Cell) -> None:
    """Values and gradients are those without it, bit for bit."""
    packing, made = pack_documents(DOCUMENTS), make_cell(cell, 6, 4, 1.0)
    assert packing is not None and not packing.dense
    x = torch.randn(len(packing.order), 6).bfloat16().float()
    found = []
    for half in (False, True):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            outputs, last, _ = recur(cell, given.bfloat16() if half else given, packing, weights_of(made))
        gradients = torch.autograd.grad((outputs * torch.arange(4)).sum(), [given, *weights_of(made)])
        found.append((outputs, last, *gradients[1:]))
    for plain, other in zip(*found, strict=True):
        assert other.dtype is torch.float32 and torch.equal(plain, other)


def test_where_cho_and_torch_part() -> None:
    """The paper resets h before U: equal only where r is 1 or U diagonal. Named in the docs, so held here."""
    W, U, h, x = torch.randn(9, 3), torch.randn(9, 3), torch.randn(3), torch.randn(3)
    zero = torch.zeros(9)
    ours = gru(x, h, zero[:3], W, U, zero, zero)[0]
    Wr, Wz, Wn = W.view(3, 3, 3)
    Ur, Uz, Un = U.view(3, 3, 3)
    r, z = torch.sigmoid(Wr @ x + Ur @ h), torch.sigmoid(Wz @ x + Uz @ h)
    paper = z * h + (1 - z) * torch.tanh(Wn @ x + Un @ (r * h))
    assert (ours - paper).abs().max() > 0.01
    U.view(3, 3, 3)[2] = torch.eye(3)
    ours = gru(x, h, zero[:3], W, U, zero, zero)[0]
    paper = z * h + (1 - z) * torch.tanh(Wn @ x + r * h)
    assert (ours - paper).abs().max() < 1e-6


def test_packing_by_hand() -> None:
    packing = pack_documents(torch.tensor([[1, 1, 2, 0], [1, 1, 1, 2]]))
    assert packing is not None
    # longest first: tokens 4 5 6, then 0 1, then 2, then 7
    assert packing.sizes == [4, 2, 1] and not packing.dense
    assert packing.order.tolist() == [4, 0, 2, 7, 5, 1, 6]
    assert packing.sequence.tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert packing.ends.tolist() == [6, 5, 2, 3]
    assert packing.order[packing.reverse].tolist() == [6, 1, 2, 7, 5, 0, 4]
    assert pack_documents(torch.zeros(2, 3, dtype=torch.int64)) is None
    rows = pack_rows(2, 3, torch.device("cpu"))
    same = pack_documents(torch.ones(2, 3, dtype=torch.int64))
    assert same is not None and rows.dense and rows.sizes == same.sizes
    for name in ("order", "sequence", "reverse", "ends"):
        assert getattr(rows, name).equal(getattr(same, name)), name


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_initial_values(cell: Cell) -> None:
    module = make_cell(cell, 20, 30, forget_bias=1.5)
    w_in, w_rec, b_in, b_rec = (w.detach() for w in weights_of(module))
    for gate in w_rec.chunk(GATES[cell]):
        assert (gate @ gate.T - torch.eye(30)).abs().max() < 1e-5
    bound = (6 / (20 + 30)) ** 0.5
    for gate in w_in.chunk(GATES[cell]):
        assert gate.abs().max() <= bound and gate.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    wanted = torch.zeros(GATES[cell] * 30)
    if cell == "lstm":
        wanted[30:60] = 1.5
    assert b_in.equal(wanted) and not b_rec.any()


def test_the_forget_bias_keeps_the_memory() -> None:
    """With no input the memory shrinks by s(forget bias) a step: the rows of the bias are the forget gate's."""
    module = make_cell("lstm", 2, 3, forget_bias=2.0).double()
    with torch.no_grad():
        for w in weights_of(module)[:2]:
            w.zero_()
    packing = pack_rows(1, 1, torch.device("cpu"))
    c = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    _, _, after = recur("lstm", torch.zeros(1, 2).double(), packing, weights_of(module), torch.zeros_like(c), c)
    assert after is not None and (after / c - torch.sigmoid(torch.tensor(2.0).double())).abs().max() < 1e-12


def test_the_bidirectional_layer_of_torch() -> None:
    """Our reversed packing against ``nn.LSTM(bidirectional=True)`` on a PackedSequence."""
    from wordloom.model.recurrent import Layer, RecurrentArchitecture

    arch = RecurrentArchitecture(vocab_size=9, width=12, hidden=6, bidirectional=True)
    layer = Layer(arch, 0).double()
    theirs = nn.LSTM(12, 6, bidirectional=True).double()
    names = [n.replace("cell.", "") for n in layer.state_dict() if not n.startswith("backward")]
    values = {n: layer.state_dict()["cell." + n] for n in names}
    values |= {n + "_reverse": layer.state_dict()["backward_cell." + n] for n in names}
    theirs.load_state_dict(values)
    packing = pack_documents(DOCUMENTS)
    assert packing is not None
    x = torch.randn(len(packing.order), 12).double()
    wanted, _ = theirs(nn.utils.rnn.PackedSequence(x, torch.tensor(packing.sizes)))
    assert (layer(x, packing)[0] - wanted.data).abs().max() < 1e-12
