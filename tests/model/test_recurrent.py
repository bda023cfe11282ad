"""The recurrent network: documents apart, state carried, every kind of dropout, what is refused and saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordloom.errors import BundleError, ConfigError
from wordloom.model import kernels
from wordloom.model.recurrence import Cell
from wordloom.model.recurrent import Recurrent, RecurrentArchitecture, State, locked_mask, weights_of

CELLS = ("rnn", "lstm", "gru")
BOTH = [(cell, two) for cell in CELLS for two in (False, True)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    kernels.use_backend(None)
    torch.set_num_threads(before)


@pytest.fixture(params=["torch", "onednn"])
def path(request: pytest.FixtureRequest) -> str:
    if request.param == "onednn" and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    kernels.use_backend(request.param)
    return str(request.param)


def make(**values: object) -> Recurrent:
    return Recurrent(
        RecurrentArchitecture(**{"vocab_size": 40, "width": 12, "layers": 2, "init_std": 0.5, **values})  # type: ignore
    )


def inputs(tokens: Tensor, documents: Tensor | None = None) -> dict[str, Tensor]:
    documents = torch.ones_like(tokens) if documents is None else documents
    zeros = torch.zeros_like(tokens)
    return {"tokens": tokens, "documents": documents, "positions": zeros, "types": zeros}


def draw(*shape: int) -> Tensor:
    return torch.randint(1, 40, shape)


PACKED = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1, 2, 2, 2, 3, 3, 3], [1] * 7, [0] * 7])


@pytest.mark.parametrize(("cell", "two"), BOTH)
def test_packed_equals_one_by_one(cell: Cell, two: bool, path: str) -> None:
    body = make(cell=cell, bidirectional=two, hidden=8).eval()
    tokens = draw(4, 7)
    hidden = body(**inputs(tokens, PACKED))
    assert hidden.shape == (4, 7, 12) and not hidden[PACKED == 0].any()
    for row, number in ((0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (2, 1)):
        here = (PACKED[row] == number).nonzero().flatten()
        alone = body(**inputs(tokens[row, here][None]))
        assert (alone[0] - hidden[row, here]).abs().max() < 1e-6
    nothing = body(**inputs(tokens, torch.zeros_like(PACKED)))
    assert nothing.shape == hidden.shape and not nothing.any()


@pytest.mark.parametrize(("cell", "two"), BOTH)
def test_a_document_changes_no_other(cell: Cell, two: bool, path: str) -> None:
    body = make(cell=cell, bidirectional=two).eval()
    tokens = draw(4, 7)
    before = body(**inputs(tokens, PACKED))
    tokens[1, 1:4] = 39 - tokens[1, 1:4]
    after = body(**inputs(tokens, PACKED))
    changed = torch.zeros(4, 7, dtype=torch.bool)
    changed[1, 1:4] = True
    assert after[~changed].equal(before[~changed])
    assert (after[changed] != before[changed]).any(-1).all()


@pytest.mark.parametrize("cell", CELLS)
def test_the_future_is_not_seen_unless_bidirectional(cell: Cell, path: str) -> None:
    tokens = draw(2, 9)
    other = tokens.clone()
    other[:, 5] = 39 - tokens[:, 5]
    one, two = make(cell=cell).eval(), make(cell=cell, bidirectional=True).eval()
    a, b = one(**inputs(tokens)), one(**inputs(other))
    assert a[:, :5].equal(b[:, :5]) and (a[:, 5:] != b[:, 5:]).any(-1).all()
    a, b = two(**inputs(tokens)), two(**inputs(other))
    assert (a != b).any(-1).all()


@pytest.mark.parametrize("cell", CELLS)
def test_carried_state_equals_one_long_pass(cell: Cell, path: str) -> None:
    body = make(cell=cell, hidden=8, layers=3).eval()
    tokens = draw(3, 12)
    whole = body(**inputs(tokens))
    state: State | None = None
    parts = []
    for a, b in ((0, 4), (4, 5), (5, 12)):
        hidden, state = body.forward_state(**inputs(tokens[:, a:b]), state=state)
        parts.append(hidden)
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-6
    assert state is not None and set(state) == ({"h", "c"} if cell == "lstm" else {"h"})
    assert all(t.shape == (3, 3, 8) and not t.requires_grad for t in state.values())
    steps, state = [], None
    for t in range(12):
        hidden, state = body.step(tokens[:, t : t + 1] if t % 2 else tokens[:, t], state)
        steps.append(hidden)
    assert (torch.stack(steps, 1) - whole).abs().max() < 1e-6


def test_gradients_end_at_the_edge_of_a_call() -> None:
    body = make()
    _, state = body.forward_state(**inputs(draw(2, 5)), state=None)
    first = torch.tensor([[3, 3], [3, 3]])
    body.forward_state(**inputs(first), state=state)[0].sum().backward()
    grad = body.embeddings.tokens.weight.grad
    assert grad is not None and grad[3].any() and not grad[torch.arange(40) != 3].any()


@pytest.mark.parametrize(("cell", "two"), BOTH)
def test_both_paths_agree_in_gradients(cell: Cell, two: bool) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch was built without oneDNN")
    body = make(cell=cell, bidirectional=two, hidden=8)
    tokens = draw(4, 7)
    found = []
    for name in ("torch", "onednn"):
        kernels.use_backend(name)
        hidden = body(**inputs(tokens, PACKED))
        found.append(torch.autograd.grad((hidden**3).sum(), [*body.parameters()]))
    for a, b in zip(*found, strict=True):
        assert a.any() and (a - b).abs().max() < 1e-5 * max(1.0, float(a.abs().max()))


def test_float64_and_repeatable() -> None:
    body = make(dropout_hidden=0.2, weight_drop=0.3).double()
    tokens = draw(2, 6)
    torch.manual_seed(5)
    a = body(**inputs(tokens))
    torch.manual_seed(5)
    assert a.dtype is torch.float64 and a.equal(body(**inputs(tokens)))
    twin = make(dropout_hidden=0.2, weight_drop=0.3).double()
    torch.manual_seed(5)
    assert not a.equal(twin(**inputs(tokens)))
    torch.manual_seed(1)
    one = make().state_dict()
    torch.manual_seed(1)
    two = make().state_dict()
    assert all(one[n].equal(two[n]) for n in one)


# --- dropout ----------------------------------------------------------------------------------------------------


def zeros_of(body: Recurrent, documents: Tensor, layer: int) -> list[Tensor]:
    """What layer ``layer`` is given, or for layer -1 the output, as masks of zeros, one (T, D) a document."""
    seen: list[Tensor] = []
    tokens = draw(*documents.shape)
    if layer >= 0:
        body.layers[layer].register_forward_pre_hook(lambda m, args: seen.extend(args[:2]))
        body(**inputs(tokens, documents))
        x, packing = seen
        assert isinstance(x, Tensor)
        flat = torch.ones(documents.numel(), x.shape[1])
        flat[packing.order] = x.detach()  # type: ignore[attr-defined]
    else:
        flat = body(**inputs(tokens, documents)).detach().flatten(0, 1)
    flat = (flat == 0).view(*documents.shape, -1)
    return [flat[r][documents[r] == n] for r in range(len(documents)) for n in range(1, int(documents[r].max()) + 1)]


@pytest.mark.parametrize(("name", "layer"), [("dropout_input", 0), ("dropout_hidden", 1), ("dropout_output", -1)])
@pytest.mark.parametrize("packed", [False, True])
def test_locked_masks(name: str, layer: int, packed: bool) -> None:
    """One mask over the time of a document, another for the next document, and none of the other two kinds."""
    documents = PACKED if packed else torch.ones(6, 7, dtype=torch.int64)
    body = make(width=64, layers=3, **{name: 0.4})
    masks = zeros_of(body, documents, layer)
    assert len(masks) == 6
    for mask in masks:
        assert (mask == mask[0]).all()
        assert 0.15 < mask.float().mean() < 0.65
    assert len({tuple(mask[0].tolist()) for mask in masks}) == 6
    for other in {0, 1, -1} - {layer}:
        assert not any(mask.any() for mask in zeros_of(body, documents, other))
    body.eval()
    assert not any(mask.any() for mask in zeros_of(body, documents, layer))


def test_locked_values_keep_their_mean() -> None:
    mask = locked_mask(torch.zeros(200, 300), 0.3)
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert mask.mean().item() == pytest.approx(1, abs=0.01)  # 4 standard deviations of 0.0027


def test_embedding_dropout_drops_rows_of_the_table() -> None:
    body = make(vocab_size=400, dropout_embedding=0.3).train()
    tokens = torch.arange(400).repeat(2)
    x = body.embeddings(tokens)
    dropped = (x == 0).all(1)
    assert dropped[:400].equal(dropped[400:]) and 80 < dropped[:400].sum() < 160  # everywhere in the batch
    table = body.embeddings.tokens.weight[tokens]
    assert (x[~dropped] - table[~dropped] / 0.7).abs().max() < 1e-6
    assert body.eval().embeddings(tokens).equal(table)


@pytest.mark.parametrize("two", [False, True])
def test_weight_drop_drops_the_recurrent_matrices_alone(two: bool) -> None:
    body = make(width=40, layers=2, weight_drop=0.3, bidirectional=two)
    for layer in body.layers:
        for cell in [layer.cell, layer.backward_cell][: 1 + two]:
            w_in, w_rec, b_in, b_rec = layer.dropped(cell)
            kept = weights_of(cell)
            assert w_in is kept[0] and b_in is kept[2] and b_rec is kept[3]
            zero = w_rec == 0
            assert zero.float().mean().item() == pytest.approx(0.3, abs=0.03)
            assert (w_rec[~zero] - kept[1][~zero] / 0.7).abs().max() < 1e-6
            assert not (kept[1] == 0).any()
    layer = body.eval().layers[0]
    assert layer.dropped(layer.cell)[1] is layer.cell.weight_hh_l0


def test_weight_drop_reaches_the_states_and_its_gradient_the_parameter() -> None:
    """A dropped entry has no gradient in that pass; evaluation is deterministic and equals the network without."""
    body = make(layers=1, weight_drop=0.5)
    tokens = draw(2, 6)
    body(**inputs(tokens)).sum().backward()
    grad = body.layers[0].cell.weight_hh_l0.grad
    assert (grad == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert not body(**inputs(tokens)).equal(body(**inputs(tokens)))
    plain = make(layers=1)
    plain.load_state_dict(body.state_dict())
    body.eval()
    assert body(**inputs(tokens)).equal(body(**inputs(tokens))) and body(**inputs(tokens)).equal(
        plain(**inputs(tokens))
    )


# --- shape, saving, refusals ------------------------------------------------------------------------------------


def test_projection_only_where_the_widths_differ_and_depth_order() -> None:
    for values, projected in (({}, False), ({"hidden": 8}, True), ({"bidirectional": True}, True)):
        body = make(**values)
        assert (body.layers[-1].project is not None) == projected and body.layers[0].project is None
        assert body(**inputs(draw(2, 3))).shape == (2, 3, 12)
        depth = body.layers_by_depth()
        assert len(depth) == 3 and depth[0] is body.embeddings
        assert [id(p) for m in depth for p in m.parameters()] == [id(p) for p in body.parameters()]
    half = make(hidden=6, bidirectional=True)
    assert half.layers[-1].project is None and half.arch.attention == "full" and make().arch.attention == "causal"


def test_saved_and_loaded(tmp_path: Path) -> None:
    body = make(cell="gru", hidden=8, bidirectional=True, dropout_hidden=0.1).eval()
    save_file(body.state_dict(), tmp_path / "body.safetensors")
    (tmp_path / "arch.json").write_text(json.dumps(body.arch.to_json()))
    arch = RecurrentArchitecture.from_json(json.loads((tmp_path / "arch.json").read_text()))
    assert arch == body.arch
    other = Recurrent(arch).eval()
    other.load_state_dict(load_file(tmp_path / "body.safetensors"))
    tokens = draw(2, 5)
    assert other(**inputs(tokens)).equal(body(**inputs(tokens)))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"cell": "elman"}, "cell 'elman' is unknown"),
        ({"width": 0}, "width must be a whole number above 0"),
        ({"hidden": 1.5}, "hidden must be"),
        ({"layers": True}, "layers must be"),
        ({"dropout_output": 1.0}, "dropout_output must be at least 0 and below 1"),
        ({"weight_drop": -0.1}, "weight_drop"),
        ({"init_std": 0}, "init_std"),
        ({"forget_bias": float("nan")}, "forget_bias"),
        ({"bidirectional": 1}, "bidirectional must be true or false"),
    ],
)
def test_impossible_values(values: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make(**values)
    good = make().arch.to_json()
    with pytest.raises(BundleError, match=match):
        RecurrentArchitecture.from_json(good | values)
    with pytest.raises(BundleError, match="unknown architecture keys heads"):
        RecurrentArchitecture.from_json(good | {"heads": 2})
    del good["width"]
    with pytest.raises(BundleError, match="incomplete"):
        RecurrentArchitecture.from_json(good)


def test_what_cannot_carry_a_state_is_refused() -> None:
    two, one, tokens = make(bidirectional=True), make(), draw(2, 4)
    assert one.carries and not two.carries
    with pytest.raises(ConfigError, match="bidirectional"):
        two.forward_state(**inputs(tokens), state=None)
    with pytest.raises(ConfigError, match="bidirectional"):
        two.step(tokens[:, 0], None)
    for documents in (torch.tensor([[1, 1, 2, 2]] * 2), torch.tensor([[1, 1, 1, 0]] * 2)):
        with pytest.raises(ConfigError, match="contiguous"):
            one.forward_state(**inputs(tokens, documents), state=None)
    _, state = one.forward_state(**inputs(tokens), state=None)
    with pytest.raises(ConfigError, match="another batch"):
        one.forward_state(**inputs(draw(3, 4)), state=state)
    with pytest.raises(ConfigError, match="'c' is none"):
        one.step(tokens[:, 0], {"h": state["h"]})
