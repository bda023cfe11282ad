"""Recurrent encoder and decoder with attention: Bahdanau et al. 2014, Luong et al. 2015."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.layers import Linear, linear
from wordloom.model.recurrence import Cell, step
from wordloom.model.recurrent import (
    Recurrent,
    RecurrentArchitecture,
    State,
    from_values,
    locked_mask,
    make_cell,
    weights_of,
)

Score = Literal["additive", "dot", "general"]
SCORES: tuple[Score, ...] = ("additive", "dot", "general")


@dataclass(frozen=True)
class RecurrentSeq2SeqArchitecture:
    """Values of one encoder-decoder.

    width is D: of the token table, which both sides share, of the annotations (D / 2 from each direction, so D is
    even) and of the decoder's cells. layers: of the encoder and of the decoder. attention "additive" is Bahdanau's,
    "dot" and "general" are Luong's. dropout falls on the embeddings, between layers and on the output, each with one
    mask for all tokens of a text. forget_bias, init_std, tied: as `RecurrentArchitecture`.
    Raises ConfigError on impossible values.
    """

    vocab_size: int
    width: int
    layers: int = 1
    cell: Cell = "gru"
    attention: Score = "additive"
    dropout: float = 0.0
    forget_bias: float = 1.0
    init_std: float = 0.058
    pad_id: int = 0
    tied: bool = True

    embedding_width: ClassVar[None] = None
    max_positions: ClassVar[None] = None
    limit: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.attention not in SCORES:
            cure = f"use {' or '.join(map(repr, SCORES))}"
            raise ConfigError(f"model attention {self.attention!r} is unknown", cure=cure)
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ConfigError(f"model dropout must be at least 0 and below 1, not {self.dropout!r}", cure="correct it")
        if isinstance(self.width, int) and self.width % 2:
            raise ConfigError(
                f"model width {self.width} cannot be halved between the encoder's two directions",
                cure="choose an even width",
            )
        self.encoder()  # whose values are checked there

    def encoder(self) -> RecurrentArchitecture:
        return RecurrentArchitecture(
            vocab_size=self.vocab_size,
            width=self.width,
            layers=self.layers,
            hidden=self.width // 2 if isinstance(self.width, int) else self.width,
            cell=self.cell,
            bidirectional=True,
            dropout_input=self.dropout,
            dropout_hidden=self.dropout,
            dropout_output=self.dropout,
            forget_bias=self.forget_bias,
            init_std=self.init_std,
            pad_id=self.pad_id,
            tied=self.tied,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RecurrentSeq2SeqArchitecture:
        """Raises BundleError on missing, unknown or impossible values: they come from a saved folder."""
        return from_values(cls, values)


class Attention(nn.Module):
    """Weights of the source's annotations h_j for a decoder state s.

    additive  v . tanh(W s + U h_j)   Bahdanau et al. 2014, section A.1.2
    dot       s . h_j                 Luong et al. 2015, equation 8
    general   s . W h_j               the same
    The softmax over j (Bahdanau, eq. 6; Luong, eq. 7) leaves out padding.
    """

    def __init__(self, arch: RecurrentSeq2SeqArchitecture):
        super().__init__()
        D, std = arch.width, arch.width**-0.5
        self.score = arch.attention
        if arch.attention != "dot":
            self.key = Linear(D, D, std, bias=False)  # U, or W of "general"
        if arch.attention == "additive":
            self.query = Linear(D, D, std, bias=False)
            self.v = nn.Parameter(torch.empty(D).normal_(0.0, std))

    def keys(self, annotations: Tensor) -> Tensor:
        """The part of the score that does not depend on s, once a source: (B, S, D) -> (B, S, D)."""
        return annotations if self.score == "dot" else cast(Tensor, self.key(annotations))

    def forward(self, s: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """s (B, D), keys (B, S, D), mask (B, S) True on the source's tokens -> (B, S), each row summing to 1."""
        if self.score == "additive":
            scores = linear(torch.tanh(self.query(s)[:, None] + keys), self.v[None], None)[..., 0]
        else:
            scores = torch.bmm(keys, s[:, :, None])[..., 0]
        return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)


class RecurrentSeq2Seq(nn.Module):
    """``forward(source, source_documents, target) -> hidden (B, T, D), alignments (B, T, S)``.

    The encoder is a bidirectional `Recurrent`; the decoder is one of these, y the embedding of the token before:
      additive      a = attention(s_before), c = a . h, s = cell([y; c], s_before)             Bahdanau et al. 2014
      dot, general  s = cell([y; t_before], s_before), a = attention(s), c = a . h             Luong et al. 2015, 3.3
    and t = tanh(W [c; s]) (Luong, equation 5) is the hidden state that heads see. With several layers s is the last
    one's. It begins with h = tanh(W_s . the encoder's state at the first token, read backwards) (Bahdanau, A.2.2), an
    LSTM's c = 0 and t = 0. We differ from Bahdanau in t, there a maxout layer over s_before, y and c (A.2.2), and in
    the GRU, which is torch's.
    """

    def __init__(self, arch: RecurrentSeq2SeqArchitecture):
        super().__init__()
        self.arch = arch
        D = arch.width
        self.encoder = Recurrent(arch.encoder())
        self.start = Linear(D // 2, arch.layers * D, D**-0.5)
        self.attention = Attention(arch)
        self.cells = nn.ModuleList(
            make_cell(arch.cell, D if i else 2 * D, D, arch.forget_bias) for i in range(arch.layers)
        )
        self.combine = Linear(2 * D, D, (2 * D) ** -0.5, bias=False)

    @property
    def embeddings(self) -> nn.Module:
        """``.tokens.weight`` (V, D) serves source, target and tied heads."""
        return self.encoder.embeddings

    def forward(self, source: Tensor, source_documents: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """source, source_documents (B, S): one text a row, document 1 and padding 0; target (B, T): the decoder's
        inputs, each right answer shifted by one. Raises ConfigError as `begin`."""
        state = self.begin(source, source_documents)
        y = self.encoder.embeddings(target.reshape(-1)).view(*target.shape, -1)  # (B, T, D)
        masks = self._masks(y[:, 0])
        hidden, alignments = [], []
        for t in range(target.shape[1]):
            s, a, state = self._advance(y[:, t], state, masks)
            hidden.append(s)
            alignments.append(a)
        out = self._drop(torch.stack(hidden, 1), None if masks is None else masks[-1][:, None])
        return out, torch.stack(alignments, 1)

    def begin(self, source: Tensor, source_documents: Tensor) -> State:
        """What decoding carries: every tensor has the B rows first, so that beams can be chosen among them.

        Raises ConfigError where a row holds no text or several.
        """
        mask = source_documents > 0
        if not bool(mask.any(1).all()) or int(source_documents.max()) > 1:
            raise ConfigError("a source row must hold one text", cure="number its tokens 1 and its padding 0")
        B, D = source.shape[0], self.arch.width
        places = torch.zeros_like(source)
        annotations = self.encoder(source, source_documents, places, places)  # (B, S, D)
        first = annotations[torch.arange(B, device=source.device), mask.int().argmax(1), D // 2 :]  # (B, D/2)
        h = torch.tanh(self.start(first)).view(B, self.arch.layers, D)
        state = {"annotations": annotations, "keys": self.attention.keys(annotations), "mask": mask, "h": h}
        if self.arch.cell == "lstm":
            state["c"] = torch.zeros_like(h)
        if self.arch.attention != "additive":
            state["t"] = h.new_zeros(B, D)
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """One more token of B texts, (B,) or (B, 1), without dropout -> hidden (B, D), alignment (B, S), next state."""
        return self._advance(self.encoder.embeddings.tokens(tokens.reshape(-1)), state, None)

    def layers_by_depth(self) -> list[nn.Module]:
        """The encoder's, then the decoder's first to last; what stands between them counts with the first."""
        decoder = [nn.ModuleList([self.start, self.attention, self.cells[0]]), *self.cells[1:]]
        decoder[-1] = nn.ModuleList([decoder[-1], self.combine])
        return [*self.encoder.layers_by_depth(), *decoder]

    def _advance(self, y: Tensor, state: State, masks: list[Tensor] | None) -> tuple[Tensor, Tensor, State]:
        """y (B, D) -> t (B, D), alignment (B, S), next state."""
        y = self._drop(y, None if masks is None else masks[0])
        if self.arch.attention == "additive":
            a, context = self._attend(state["h"][:, -1], state)
            x = torch.cat([y, context], dim=1)
        else:
            x = torch.cat([y, state["t"]], dim=1)
        h: list[Tensor] = []
        c: list[Tensor] = []
        for i, cell in enumerate(cast("list[nn.RNNBase]", [*self.cells])):
            if i:
                x = self._drop(x, None if masks is None else masks[i])
            memory = state["c"][:, i] if "c" in state else None
            x, memory = step(self.arch.cell, x, weights_of(cell), state["h"][:, i], memory)
            h.append(x)
            if memory is not None:
                c.append(memory)
        after = state | {"h": torch.stack(h, 1)}
        if c:
            after["c"] = torch.stack(c, 1)
        if self.arch.attention != "additive":
            a, context = self._attend(x, state)
        t = torch.tanh(self.combine(torch.cat([context, x], dim=1)))
        if self.arch.attention != "additive":
            after["t"] = t
        return t, a, after

    def _attend(self, s: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """s (B, D) -> alignment (B, S), context (B, D)."""
        a = self.attention(s, state["keys"], state["mask"])
        return a, torch.bmm(a[:, None], state["annotations"])[:, 0]

    def _masks(self, like: Tensor) -> list[Tensor] | None:
        """Of the input of each layer and of the output, (B, D)."""
        p = self.arch.dropout
        return [locked_mask(like, p) for _ in range(self.arch.layers + 1)] if self.training and p else None

    @staticmethod
    def _drop(x: Tensor, mask: Tensor | None) -> Tensor:
        return x if mask is None else x * mask
