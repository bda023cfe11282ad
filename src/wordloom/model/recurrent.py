"""Recurrent networks: Elman, LSTM and GRU layers with the dropout and initial values that make them train.

The cells, with s the logistic function, * the product by elements, W for inputs, U recurrent (torch's fused equations):
  rnn    h' = tanh(W x + b + U h + u)                                              Elman 1990; Mikolov 2010, eq. 1-2
  lstm   i, f, o = s(W x + b + U h + u), g = tanh(W x + b + U h + u)               Hochreiter & Schmidhuber 1997,
         c' = f * c + i * g, h' = o * tanh(c')                                     f: Gers et al. 2000, no peepholes
  gru    r, z = s(W x + b + U h + u), n = tanh(W x + b + r * (U h + u))            Cho et al. 2014, eq. 5-8, but r acts
         h' = (1 - z) * n + z * h                                                  after U, there before: U (r * h)

Each has two biases, b and u, because torch's fused cells do; only the GRU's third pair is not redundant.
`model.recurrence` is the loop over time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.layers import Embedding, Linear, dropout
from wordloom.model.recurrence import GATES, Cell, Packing, Weights, pack_documents, pack_rows, recur, step
from wordloom.model.stored import WithoutSlots

State = dict[str, Tensor]  # "h" and, for an LSTM, "c": (B, layers, H), without gradient
DROPOUTS = ("dropout_embedding", "dropout_input", "dropout_hidden", "dropout_output", "weight_drop")
NEW_MODEL = "make the model again before training"


@dataclass(frozen=True)
class RecurrentArchitecture(WithoutSlots):
    """Values of one recurrent network.

    width is D, of the embedding and of the states that heads see; hidden is H, of a cell's state (None: D). Where the
    last layer gives another width (H, or 2H from both directions), a matrix brings it to D, so that the token table
    can be the output matrix; Merity et al. 2017 (section 4.5) give the last layer the embedding's size instead, which
    two directions cannot.
    Dropout: dropout_embedding drops whole rows of the token table (Gal & Ghahramani 2016; Merity et al. 2017, section
    4.3), the same for the batch; _input, _hidden (between layers) and _output have one mask for all tokens of a
    document (4.2, "locked"); weight_drop drops entries of the recurrent matrices, the same for the batch (section 2).
    forget_bias: initial bias of the LSTM's forget gate (Jozefowicz et al. 2015). init_std: deviation of the token table
    and the projection; 0.058 is that of the uniform(-0.1, 0.1) usual for recurrent language models.
    tied: the output matrix is the token table. Raises ConfigError on impossible values.
    """

    vocab_size: int
    width: int
    layers: int = 1
    hidden: int | None = None
    cell: Cell = "lstm"
    bidirectional: bool = False
    dropout_embedding: float = 0.0
    dropout_input: float = 0.0
    dropout_hidden: float = 0.0
    dropout_output: float = 0.0
    weight_drop: float = 0.0
    forget_bias: float = 1.0
    init_std: float = 0.058
    pad_id: int = 0
    tied: bool = True

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            cure = f"use {' or '.join(map(repr, GATES))}"
            raise ConfigError(f"model cell {self.cell!r} is unknown", cure=cure)
        for name, least in {"vocab_size": 1, "width": 1, "layers": 1, "hidden": 1, "pad_id": 0}.items():
            value = getattr(self, name)
            if name == "hidden" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                what = "above 0" if least else "of at least 0"
                raise ConfigError(f"model {name} must be a whole number {what}, not {value!r}", cure="correct it")
        for name in DROPOUTS:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigError(f"model {name} must be at least 0 and below 1, not {value!r}", cure="correct it")
        if not isinstance(self.init_std, (int, float)) or not 0 < self.init_std < 1:
            raise ConfigError(f"model init_std must lie between 0 and 1, not {self.init_std!r}", cure="correct it")
        if not isinstance(self.forget_bias, (int, float)) or not -100 <= self.forget_bias <= 100:
            raise ConfigError(f"model forget_bias must be a number, not {self.forget_bias!r}", cure="use 1.0")
        for name in ("bidirectional", "tied"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"model {name} must be true or false, not {getattr(self, name)!r}", cure="correct it")

    @property
    def cell_width(self) -> int:
        """H."""
        return self.width if self.hidden is None else self.hidden

    @property
    def attention(self) -> Literal["full", "causal"]:
        """Whether a token's state depends on what follows it, in the words of `Architecture`."""
        return "full" if self.bidirectional else "causal"

    @property
    def dropout(self) -> float:
        """What heads apply to the states they are given unless told otherwise."""
        return self.dropout_output


class Embeddings(nn.Module):
    """The token table with row dropout."""

    def __init__(self, arch: RecurrentArchitecture):
        super().__init__()
        self.tokens = Embedding(arch.vocab_size, arch.width, arch.init_std)
        self.dropout = arch.dropout_embedding

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (N,) -> (N, D)."""
        x = self.tokens(tokens)
        if not self.training or self.dropout == 0:
            return x
        return x * locked_mask(self.tokens.weight[:, :1], self.dropout)[tokens]  # (V, 1): a row is dropped as a whole


class Layer(nn.Module):
    """One layer: a cell over the tokens and, where bidirectional, one over the tokens backwards, side by side."""

    def __init__(self, arch: RecurrentArchitecture, number: int):
        super().__init__()
        H, directions = arch.cell_width, 1 + arch.bidirectional
        inputs = arch.width if number == 0 else directions * H
        self.kind, self.weight_drop = arch.cell, arch.weight_drop
        self.cell = make_cell(arch.cell, inputs, H, arch.forget_bias)
        self.backward_cell = make_cell(arch.cell, inputs, H, arch.forget_bias) if arch.bidirectional else None
        last = number == arch.layers - 1
        self.project = (
            Linear(directions * H, arch.width, arch.init_std) if last and directions * H != arch.width else None
        )

    def forward(
        self, x: Tensor, packing: Packing, h: Tensor | None = None, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """x (N, I) packed; h, c (S, H) to start from -> (N, H, 2H or D); last h and c (S, H) of the forward cell."""
        y, h, c = recur(self.kind, x, packing, self.dropped(self.cell), h, c)
        if self.backward_cell is not None:
            back, _, _ = recur(self.kind, x[packing.reverse], packing, self.dropped(self.backward_cell))
            y = torch.cat([y, back[packing.reverse]], dim=-1)
        return y if self.project is None else self.project(y), h, c

    def dropped(self, cell: nn.RNNBase) -> Weights:
        """The cell's matrices and biases; while training, the recurrent matrix with entries dropped."""
        w_in, w_rec, b_in, b_rec = weights_of(cell)
        return w_in, dropout(w_rec, self.weight_drop, self.training), b_in, b_rec


class Recurrent(nn.Module):
    """``forward(tokens, documents, positions, types) -> hidden (B, T, D)``, all inputs (B, T) int64, as `Transformer`.

    Every document starts from a zero state and none sees another; states of padding (number 0) are zero. Positions
    and types are not read: order is in the recurrence, and the two texts of a pair are told apart by their separator.
    Recurrent matrices start orthogonal, gate by gate: U h then neither grows nor shrinks a gradient on its way back
    (Saxe et al. 2013). Input matrices are Glorot-uniform, gate by gate: of one variance for outputs and gradients
    (Glorot & Bengio 2010, eq. 16). Biases are zero but for the forget gate's.
    """

    def __init__(self, arch: RecurrentArchitecture):
        super().__init__()
        self.arch = arch
        self.embeddings = Embeddings(arch)
        self.layers = nn.ModuleList(Layer(arch, i) for i in range(arch.layers))

    def forward(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, weights: list[Tensor] | None = None
    ) -> Tensor:
        """A list given as ``weights`` stays empty: there is no attention."""
        B, T = tokens.shape
        whole = bool(((documents == documents[:, :1]) & (documents > 0)).all())  # every row is one document
        packing = pack_rows(B, T, tokens.device) if whole else pack_documents(documents)
        if packing is None:
            return self.embeddings.tokens.weight.new_zeros(B, T, self.arch.width)
        hidden, _ = self._run(tokens, packing, None)  # (N, D)
        if whole:
            return hidden.view(T, B, -1).transpose(0, 1)
        return hidden.new_zeros(B * T, hidden.shape[1]).index_copy(0, packing.order, hidden).view(B, T, -1)

    def forward_state(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        """The next T tokens of B streams: state is what the call before returned, None at the beginning.

        Gradients end at the edges of the call: truncated back-propagation (Williams & Peng 1990; Mikolov 2010).
        Raises ConfigError for a bidirectional network, for rows that are not one stream, and for another number of
        rows than the state's.
        """
        self._refuse_backwards("carry its state from row to row")
        if not bool((documents == 1).all()):
            what = "a state can be carried only along rows that go on where the row before ended"
            raise ConfigError(what, cure="use the contiguous layout, whose documents are all number 1")
        B, T = tokens.shape
        self._refuse_state(state, B)
        hidden, state = self._run(tokens, pack_rows(B, T, tokens.device), state)
        return hidden.view(T, B, -1).transpose(0, 1), state

    def step(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One more token of B texts, (B,) or (B, 1), without dropout -> hidden (B, D) and the state for the next.

        Raises ConfigError for a bidirectional network and for another number of texts than the state's.
        """
        self._refuse_backwards("generate: it must see what follows")
        tokens = tokens.reshape(-1)
        self._refuse_state(state, len(tokens))
        x = self.embeddings.tokens(tokens)  # (B, D)
        zeros = x.new_zeros(len(tokens), self.arch.cell_width)
        ends: list[tuple[Tensor, Tensor | None]] = []
        for i, layer in enumerate(cast("list[Layer]", [*self.layers])):
            h, c = (zeros, zeros) if state is None else _of_layer(state, i)
            h, c = step(self.arch.cell, x, weights_of(layer.cell), h, c)
            ends.append((h, c))
            x = h if layer.project is None else layer.project(h)
        return x, _join(ends)

    @property
    def carries(self) -> bool:
        """Whether `forward_state` may carry a state from batch to batch."""
        return not self.arch.bidirectional

    def layers_by_depth(self) -> list[nn.Module]:
        """Embeddings, then layer 0 .. L-1 (the last with its projection): the order of layer-wise learning rates."""
        return [self.embeddings, *self.layers]

    def _run(self, tokens: Tensor, packing: Packing, state: State | None) -> tuple[Tensor, State]:
        """tokens (B, T) -> hidden (N, D) packed, last states of the forward cells (S, layers, H)."""
        arch = self.arch
        x = self.embeddings(tokens.reshape(-1)[packing.order])  # (N, D)
        x = self._lock(x, packing, arch.dropout_input)
        ends: list[tuple[Tensor, Tensor | None]] = []
        for i, layer in enumerate(cast("list[Layer]", [*self.layers])):
            if i:
                x = self._lock(x, packing, arch.dropout_hidden)
            x, h, c = layer(x, packing, *((None, None) if state is None else _of_layer(state, i)))
            ends.append((h, c))
        return self._lock(x, packing, arch.dropout_output), _join(ends)

    def _lock(self, x: Tensor, packing: Packing, p: float) -> Tensor:
        """Dropout with one mask for all tokens of a sequence; x (N, D)."""
        if not self.training or p == 0:
            return x
        if packing.dense:
            x = x.view(len(packing.sizes), packing.sizes[0], -1)  # (T, S, D)
            return (x * locked_mask(x[0], p)).flatten(0, 1)
        return x * locked_mask(x[: packing.sizes[0]], p)[packing.sequence]

    def _refuse_backwards(self, what: str) -> None:
        if self.arch.bidirectional:
            raise ConfigError(
                f"a bidirectional network cannot {what}", cure=f"set bidirectional = false and {NEW_MODEL}"
            )

    def _refuse_state(self, state: State | None, rows: int) -> None:
        shape = (rows, self.arch.layers, self.arch.cell_width)
        for name in () if state is None else ("h", "c") if self.arch.cell == "lstm" else ("h",):
            found = state.get(name) if state is not None else None
            if found is None or tuple(found.shape) != shape:
                size = "none" if found is None else tuple(found.shape)
                what = f"the state carried on is of another batch or model: {name!r} is {size}, not {shape}"
                raise ConfigError(what, cure="keep the number of rows, or begin with state None")


def make_cell(kind: Cell, inputs: int, hidden: int, forget_bias: float) -> nn.RNNBase:
    """One of torch's fused cells, one layer in one direction, with the initial values that `Recurrent` states."""
    types: dict[Cell, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
    cell: nn.RNNBase = types[kind](inputs, hidden)
    w_in, w_rec, b_in, b_rec = weights_of(cell)
    with torch.no_grad():
        for gate in w_rec.chunk(GATES[kind]):
            nn.init.orthogonal_(gate)  # (H, H)
        for gate in w_in.chunk(GATES[kind]):
            nn.init.xavier_uniform_(gate)  # (H, I)
        b_in.zero_()
        b_rec.zero_()
        if kind == "lstm":
            b_in[hidden : 2 * hidden] = forget_bias
    return cell


def weights_of(cell: nn.RNNBase) -> Weights:
    """Input matrix (G*H, I), recurrent matrix (G*H, H), their biases (G*H,)."""
    return cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0, cell.bias_hh_l0  # type: ignore[return-value]


def locked_mask(like: Tensor, p: float) -> Tensor:
    """A mask to drop with more than once: shape, type, device of ``like``; 0 with probability p, else 1 / (1 - p)."""
    return torch.empty_like(like).bernoulli_(1 - p).div_(1 - p)


def _of_layer(state: State, layer: int) -> tuple[Tensor, Tensor | None]:
    """(B, layers, H) -> h and c (B, H)."""
    c = state.get("c")
    return state["h"][:, layer].contiguous(), None if c is None else c[:, layer].contiguous()


def _join(ends: list[tuple[Tensor, Tensor | None]]) -> State:
    state = {"h": torch.stack([h for h, _ in ends], dim=1).detach()}
    memories = [c for _, c in ends if c is not None]
    if memories:
        state["c"] = torch.stack(memories, dim=1).detach()
    return state
