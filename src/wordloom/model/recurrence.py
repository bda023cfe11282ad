"""One recurrent layer in one direction over sequences of many lengths: the loop over time and its gradient.

Sequences are packed as in ``torch.nn.utils.rnn.PackedSequence``: longest first, all first tokens, then all second
tokens, and so on; ``sizes[t]`` sequences are longer than t. Equal lengths are the special case of equal sizes.

Two ways to the same numbers:
  torch's fused cells   LSTM over equal lengths; any device and type, other backends of ``kernels``; the oracle
  ``_Recurrence``       the rest, in float32 on the CPU where ``kernels.backend()`` is "onednn"

Why the second: torch gives oneDNN only its LSTM over equal lengths; its GRU, its Elman cell and every packed batch go
through MKL, which leaves AMD processors at a third of their speed. Two layers of 650 forward and backward, 20 sequences
of 35 tokens, ms on one Zen 5 thread, torch and here: GRU 302, 137; Elman 90, 48; LSTM over 5 to 35 tokens 340, 112. Its
LSTM over equal lengths stays torch's (167, 197). What it takes: input products of all steps at once, the recurrent
matrix put into oneDNN's own order once a call (217 for 157 GFLOP/s at 20 rows), weight gradients as one product.
Under autocast packed sequences stay float32, as torch's loops over them in bfloat16 take longer: 32 sequences of 21 to
52 tokens, 256 wide, LSTM 39.5, 30.1; GRU 30.6, 24.2; Elman 11.7, 10.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wordloom.model import kernels

Cell = Literal["rnn", "lstm", "gru"]
GATES: dict[Cell, int] = {"rnn": 1, "lstm": 4, "gru": 3}  # lstm: input, forget, new, output; gru: reset, update, new
Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # input (G*H, I), recurrent (G*H, H), and their biases (G*H,)

_pointwise = torch.ops.mkldnn._linear_pointwise
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


@dataclass(frozen=True)
class Packing:
    """Where the N tokens of S sequences lie. One instance serves every layer of a forward pass.

    order: (N,) place of each packed token among the row-major tokens of the batch.
    sizes: sequences still running at each step, falling.
    sequence: (N,) number 0 .. S - 1 of the sequence a packed token belongs to, longest first.
    reverse: (N,) place of the token that stands as far from the other end of its sequence; its own inverse.
    ends: (S,) place of each sequence's last token.
    """

    order: Tensor
    sizes: list[int]
    sequence: Tensor
    reverse: Tensor
    ends: Tensor

    @property
    def dense(self) -> bool:
        return self.sizes[0] == self.sizes[-1]


def pack_rows(rows: int, length: int, device: torch.device) -> Packing:
    """Every row of (rows, length) tokens is one sequence."""
    places = torch.arange(rows * length, device=device).view(length, rows)
    return Packing(
        order=(places % rows * length + places // rows).reshape(-1),
        sizes=[rows] * length,
        sequence=(places % rows).reshape(-1),
        reverse=places.flip(0).reshape(-1),
        ends=places[-1],
    )


def pack_documents(documents: Tensor) -> Packing | None:
    """The documents (B, T) of all rows, each a sequence; None where every token is padding (number 0)."""
    T = documents.shape[1]
    first = documents > 0
    first[:, 1:] &= documents[:, 1:] != documents[:, :-1]
    real = (documents > 0).reshape(-1)
    tokens = real.nonzero().flatten()  # (N,) row-major places
    if len(tokens) == 0:
        return None
    owner = first.reshape(-1).cumsum(0)[tokens] - 1  # (N,) sequences in the order of the rows
    lengths = torch.bincount(owner)  # (S,)
    time = torch.arange(len(tokens), device=documents.device) - (lengths.cumsum(0) - lengths)[owner]  # (N,)
    longest_first = torch.argsort(lengths, descending=True, stable=True)
    rank = torch.empty_like(longest_first)
    rank[longest_first] = torch.arange(len(lengths), device=documents.device)
    counts = torch.bincount(lengths, minlength=T + 1)  # sequences of each length
    running = (len(lengths) - counts.cumsum(0))[: int(lengths.max())]  # (steps,) longer than t
    offsets = running.cumsum(0) - running
    place = offsets[time] + rank[owner]  # (N,) packed place of each token
    mirror = offsets[lengths[owner] - 1 - time] + rank[owner]
    order, sequence, reverse = torch.empty_like(place), torch.empty_like(place), torch.empty_like(place)
    order[place], sequence[place], reverse[place] = tokens, rank[owner], mirror
    ends = offsets[lengths[longest_first] - 1] + torch.arange(len(lengths), device=documents.device)
    return Packing(order, running.tolist(), sequence, reverse, ends)


def recur(
    cell: Cell, x: Tensor, packing: Packing, weights: Weights, h: Tensor | None = None, c: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """x (N, I) packed -> outputs (N, H), last outputs (S, H), last LSTM memories (S, H) or None.

    h, c (S, H): where the sequences start; absent: zeros. Gradients flow into x, weights and h, c, and out of the
    outputs; the last memories carry none (what is carried on is cut off there).
    """
    S, H = packing.sizes[0], weights[1].shape[1]
    h = x.new_zeros(S, H) if h is None else h
    c = x.new_zeros(S, H) if c is None else c
    plain = cell == "lstm" and packing.dense  # torch gives this one to oneDNN itself
    if not packing.dense and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return recur(cell, x.float(), packing, weights, h.float(), c.float())
    if plain or not kernels._onednn(x):
        return _recur_torch(cell, x, packing, weights, h, c)
    w_in, w_rec, b_in, b_rec = weights
    outputs, memories = _Recurrence.apply(
        x.contiguous(), w_in.contiguous(), w_rec.contiguous(), b_in, b_rec, h, c, packing.sizes, cell
    )
    return outputs, outputs[packing.ends], memories[packing.ends] if cell == "lstm" else None


def _recur_torch(
    cell: Cell, x: Tensor, packing: Packing, weights: Weights, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``recur`` by torch's fused cells (cuDNN on a CUDA device)."""
    fused: Any = {"rnn": torch.rnn_tanh, "lstm": torch.lstm, "gru": torch.gru}[cell]
    start: Any = (h[None], c[None]) if cell == "lstm" else h[None]
    layers, rate, training, bidirectional, batch_first = 1, 0.0, torch.is_grad_enabled(), False, False
    settings = (list(weights), True, layers, rate, training, bidirectional)
    if packing.dense:
        outputs, *last = fused(x.view(len(packing.sizes), -1, x.shape[1]), start, *settings, batch_first)
    else:
        outputs, *last = fused(x, torch.tensor(packing.sizes), start, *settings)
    memories = last[1][0].detach() if cell == "lstm" else None
    return outputs.reshape(-1, h.shape[1]), last[0][0], memories


def step(cell: Cell, x: Tensor, weights: Weights, h: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """One token of each of B sequences: x (B, I), h, c (B, H) -> the next h and c (None but for an LSTM).

    Differentiable in everything. By torch's single cells: a fused layer would order its matrices anew at every token.
    """
    if cell == "lstm":
        return torch.lstm_cell(x, (h, cast(Tensor, c)), *weights)
    return (torch.gru_cell if cell == "gru" else torch.rnn_tanh_cell)(x, h, *weights), None


# --- the loop over time on oneDNN -------------------------------------------------------------------------------


class _Recurrence(torch.autograd.Function):
    """Arguments as ``recur``; gives outputs (N, H) and memories (N, H; without gradient, empty but for an LSTM)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_in: Tensor,
        w_rec: Tensor,
        b_in: Tensor,
        b_rec: Tensor,
        h: Tensor,
        c: Tensor,
        sizes: list[int],
        cell: Cell,
    ) -> tuple[Tensor, Tensor]:
        H = h.shape[1]
        inner = torch.zeros_like(b_rec)  # the part of the bias that the GRU's reset gate scales
        if cell == "gru":
            inner[2 * H :] = b_rec[2 * H :]
        gates = kernels._product(x, w_in, b_in + b_rec - inner)  # (N, G*H), activated in place
        outputs = x.new_empty(len(x), H)
        memories = torch.empty_like(outputs) if cell == "lstm" else outputs.new_empty(0)
        kept = torch.empty_like(outputs) if cell != "rnn" else outputs.new_empty(0)
        ordered = torch.ops.mkldnn._reorder_linear_weight(w_rec.detach(), sizes[0])
        last, memory = h, c
        for here, n in _steps(sizes):
            if cell == "gru":
                sums = _pointwise(last[:n], ordered, inner, "none", [], "")
                _gru(sums, gates[here], last[:n], kept[here], outputs[here])
            else:
                sums = _pointwise.binary(last[:n], gates[here], ordered, None, "add")
                if cell == "lstm":
                    _lstm(sums, gates[here], memory[:n], memories[here], kept[here], outputs[here])
                    memory = memories[here]
                else:
                    torch.tanh(sums, out=outputs[here])
            last = outputs[here]
        ctx.sizes, ctx.cell = sizes, cell
        ctx.mark_non_differentiable(memories)
        ctx.save_for_backward(x, w_in, w_rec, h, c, gates, outputs, memories, kept)
        return outputs, memories

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, w_in, w_rec, h, c, gates, outputs, memories, kept = ctx.saved_tensors
        cell, sizes = ctx.cell, ctx.sizes
        d_in = torch.empty_like(gates)  # gradient of the sums W x + U h + b
        d_rec = torch.empty_like(gates) if cell == "gru" else d_in  # of U h + b alone, where they differ
        ordered = torch.ops.mkldnn._reorder_linear_weight(w_rec.t(), sizes[0])
        before = _before(outputs, h, sizes)
        memory_before = _before(memories, c, sizes) if cell == "lstm" else memories
        dh, dc = torch.zeros_like(h), torch.zeros_like(c)
        for here, n in reversed(_steps(sizes)):
            # dh, dc: gradients from the next step; zero rows where a sequence ends here
            d, m = grad[here] + dh[:n], dc[:n]
            if cell == "lstm":
                _lstm_backward(d, m, gates[here], kept[here], memory_before[here], d_in[here])
            elif cell == "gru":
                d = _gru_backward(d, gates[here], kept[here], before[here], d_in[here], d_rec[here])
            else:
                _tanh_backward(d, outputs[here], grad_input=d_in[here])
            back = _pointwise(d_rec[here], ordered, None, "none", [], "")
            dh[:n] = back.add_(d) if cell == "gru" else back
        need = ctx.needs_input_grad
        return (
            kernels._product(d_in, w_in.t(), None) if need[0] else None,
            kernels._outer(d_in, x) if need[1] else None,
            kernels._outer(d_rec, before) if need[2] else None,
            kernels._sum_rows(d_in) if need[3] else None,
            kernels._sum_rows(d_rec) if need[4] else None,
            dh if need[5] else None,
            dc if need[6] else None,
            None,
            None,
        )


def _steps(sizes: list[int]) -> list[tuple[slice, int]]:
    """Places and number of the sequences of each step."""
    edges = [0, *accumulate(sizes)]
    return [(slice(a, b), b - a) for a, b in pairwise(edges)]


def _before(states: Tensor, start: Tensor, sizes: list[int]) -> Tensor:
    """(N, H) -> (N, H): for each token the state of the step before it."""
    steps = _steps(sizes)
    return torch.cat([start, *(states[here][:n] for (here, _), (_, n) in pairwise(steps))])


def _lstm(sums: Tensor, gates: Tensor, before: Tensor, memory: Tensor, squashed: Tensor, output: Tensor) -> None:
    """c = f * c_before + i * g, h = o * tanh(c); sums (n, 4H): the gates i, f, g, o before activation."""
    H = before.shape[1]
    torch.sigmoid(sums[:, : 2 * H], out=gates[:, : 2 * H])
    torch.tanh(sums[:, 2 * H : 3 * H], out=gates[:, 2 * H : 3 * H])
    torch.sigmoid(sums[:, 3 * H :], out=gates[:, 3 * H :])
    i, f, g, o = gates.chunk(4, 1)
    torch.mul(f, before, out=memory)
    memory.addcmul_(i, g)
    torch.tanh(memory, out=squashed)
    torch.mul(o, squashed, out=output)


def _lstm_backward(d: Tensor, dc: Tensor, gates: Tensor, squashed: Tensor, before: Tensor, d_sums: Tensor) -> None:
    """d (n, H): gradient of h; dc (n, H): of c from the next step, becomes that of the c before."""
    i, f, g, o = gates.chunk(4, 1)
    di, df, dg, do = d_sums.chunk(4, 1)
    _sigmoid_backward(d * squashed, o, grad_input=do)
    dc.add_(torch.ops.aten.tanh_backward(d * o, squashed))
    _sigmoid_backward(dc * g, i, grad_input=di)
    _sigmoid_backward(dc * before, f, grad_input=df)
    _tanh_backward(dc * i, g, grad_input=dg)
    dc.mul_(f)


def _gru(sums: Tensor, gates: Tensor, before: Tensor, inner: Tensor, output: Tensor) -> None:
    """h = n + z * (h_before - n), n = tanh(W x + b + r * (U h + b')); sums (n, 3H): U h (+ b' for n)."""
    H = before.shape[1]
    rz, n = gates[:, : 2 * H], gates[:, 2 * H :]
    rz.add_(sums[:, : 2 * H]).sigmoid_()
    inner.copy_(sums[:, 2 * H :])
    n.addcmul_(rz[:, :H], inner).tanh_()
    torch.lerp(n, before, rz[:, H:], out=output)


def _gru_backward(d: Tensor, gates: Tensor, inner: Tensor, before: Tensor, d_in: Tensor, d_rec: Tensor) -> Tensor:
    """d (n, H): gradient of h. Returns the part of h_before's gradient that does not pass the gates."""
    H = before.shape[1]
    r, z, n = gates.chunk(3, 1)
    dr, dz, dn = d_in.chunk(3, 1)
    through = d * z
    _tanh_backward(d - through, n, grad_input=dn)
    _sigmoid_backward(dn * inner, r, grad_input=dr)
    _sigmoid_backward(d * (before - n), z, grad_input=dz)
    d_rec[:, : 2 * H] = d_in[:, : 2 * H]
    torch.mul(dn, r, out=d_rec[:, 2 * H :])
    return through
