"""Recurrent encoder and decoder with attention: Bahdanau et al. 2014, Luong et al. 2015."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.cross import Rows
from wordloom.model.layers import Linear, linear
from wordloom.model.recurrence import Cell, Packing, pack_documents, recur, step
from wordloom.model.recurrent import (
    Embeddings,
    Recurrent,
    RecurrentArchitecture,
    State,
    locked_mask,
    make_cell,
    weights_of,
)
from wordloom.model.stored import WithoutSlots

Score = Literal["additive", "dot", "general"]
SCORES: tuple[Score, ...] = ("additive", "dot", "general")


@dataclass(frozen=True)
class RecurrentSeq2SeqArchitecture(WithoutSlots):
    """Values of one encoder-decoder.

    width is D: of the token table, which both sides share unless the source has its own (source_vocab_size, as in
    `Architecture`), of the annotations (D / 2 from each direction, so D is even) and of the decoder's cells.
    layers: of the encoder and of the decoder. score: of the attention, "additive" is Bahdanau's, "dot" and
    "general" are Luong's. feeding: the decoder is also given what the attention made of the token before (Luong,
    section 3.3); without it, which "additive" cannot be, no token waits for another's attention, and the cells run
    over all target tokens in one call. dropout falls on the embeddings, between layers and on the output, each with
    one mask for all tokens of a text. forget_bias, init_std, tied: as `RecurrentArchitecture`.
    Raises ConfigError on impossible values.
    """

    vocab_size: int
    width: int
    layers: int = 1
    cell: Cell = "gru"
    score: Score = "additive"
    feeding: bool = True
    dropout: float = 0.0
    forget_bias: float = 1.0
    init_std: float = 0.058
    pad_id: int = 0
    tied: bool = True
    source_vocab_size: int | None = None

    attention: ClassVar[Literal["full"]] = "full"

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            cure = f"use {' or '.join(map(repr, SCORES))}"
            raise ConfigError(f"model score {self.score!r} is unknown", cure=cure)
        if self.score == "additive" and not self.feeding:
            what = "additive attention is made before the decoder's cells, which read it"
            raise ConfigError(what, cure="leave model.feeding away, or set model.score = 'general'")
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ConfigError(f"model dropout must be at least 0 and below 1, not {self.dropout!r}", cure="correct it")
        if isinstance(self.width, int) and self.width % 2:
            raise ConfigError(
                f"model width {self.width} cannot be halved between the encoder's two directions",
                cure="choose an even width",
            )
        self.encoder(), self.target()  # whose values are checked there

    def target(self) -> RecurrentArchitecture:
        """The encoder's values over the vocabulary of the target."""
        return replace(self.encoder(), vocab_size=self.vocab_size)

    def encoder(self) -> RecurrentArchitecture:
        return RecurrentArchitecture(
            vocab_size=self.vocab_size if self.source_vocab_size is None else self.source_vocab_size,
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
        self.score = arch.score
        if arch.score != "dot":
            self.key = Linear(D, D, std, bias=False)  # U, or W of "general"
        if arch.score == "additive":
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


class Pairs(NamedTuple):
    """P pairs of a batch, one a row. source, documents: (P, S), documents 1 and padding 0; target: (P, T).

    places: (N,) of the targets among the (P, T); home: (N,) where the same tokens stand in the batch's (B, T').
    """

    source: Tensor
    documents: Tensor
    target: Tensor
    places: Tensor
    home: Tensor


class RecurrentSeq2Seq(nn.Module):
    """``forward(tokens, documents, positions, types, source) -> the decoder's hidden states (B, T, D)``.

    As `EncoderDecoder`: several pairs may lie in a row, and the decoder is given what it is to produce shifted by one,
    `start_id` first. The encoder is a bidirectional `Recurrent`; the decoder is one of these, y the embedding of the
    token before:
      additive      a = attention(s_before), c = a . h, s = cell([y; c], s_before)             Bahdanau et al. 2014
      dot, general  s = cell([y; t_before], s_before), a = attention(s), c = a . h             Luong et al. 2015, 3.3
                    s = cell(y, s_before) without feeding                                      the same, 3.1
    and t = tanh(W [c; s]) (Luong, equation 5) is the hidden state that heads see. With several layers s is the last
    one's. It begins with h = tanh(W_s . the encoder's state at the first token, read backwards) (Bahdanau, A.2.2), an
    LSTM's c = 0 and t = 0. We differ from Bahdanau in t, there a maxout layer over s_before, y and c (A.2.2), and in
    the GRU, which is torch's.
    """

    carries = False  # nothing goes from one batch to the next

    def __init__(self, arch: RecurrentSeq2SeqArchitecture):
        super().__init__()
        self.arch = arch
        D = arch.width
        self.encoder = Recurrent(arch.encoder())
        self.target_embeddings = None if arch.source_vocab_size is None else Embeddings(arch.target())
        self.start = Linear(D // 2, arch.layers * D, D**-0.5)
        self.attention = Attention(arch)
        first = 2 * D if arch.feeding else D
        self.cells = nn.ModuleList(
            make_cell(arch.cell, D if i else first, D, arch.forget_bias) for i in range(arch.layers)
        )
        self.combine = Linear(2 * D, D, (2 * D) ** -0.5, bias=False)

    @property
    def embeddings(self) -> Embeddings:
        """``.tokens.weight`` (V, D) serves the target and tied heads; the source too, unless it has its own."""
        return self.encoder.embeddings if self.target_embeddings is None else self.target_embeddings

    @property
    def start_id(self) -> int:
        """The token that stands before the first, as in `EncoderDecoder`."""
        return self.arch.pad_id

    def forward(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, source: Rows | None = None
    ) -> Tensor:
        """tokens, documents (B, T): what the decoder is given, padding 0; states of padding are zero.

        Raises ConfigError where there is no source, or one that does not hold the same documents.
        """
        if source is None:
            raise ConfigError("an encoder-decoder needs a source to read", cure="use the spans objective, or pairs")
        pairs = pairs_of(tokens, documents, source)
        real = torch.zeros_like(pairs.target.view(-1)).index_fill(0, pairs.places, 1).view_as(pairs.target)
        packing = pack_documents(real)
        hidden = self.embeddings.tokens.weight.new_zeros(documents.numel(), self.arch.width)
        if packing is None:
            return hidden.view(*documents.shape, -1)
        found, _ = self._decode(pairs.target, self.begin(pairs.source, pairs.documents), packing)  # (N, D)
        home = torch.zeros_like(pairs.target.view(-1)).index_copy(0, pairs.places, pairs.home)[packing.order]
        return hidden.index_copy(0, home, found).view(*documents.shape, -1)

    def align(self, source: Tensor, source_documents: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """source, source_documents (B, S): one text a row, document 1 and padding 0; target (B, T), no padding.

        -> hidden (B, T, D) and the attention's weights (B, T, S). Raises ConfigError as `begin`.
        """
        packing = pack_documents(torch.ones_like(target))
        assert packing is not None  # the decoder is always given its start
        found, alignments = self._decode(target, self.begin(source, source_documents), packing)
        hidden = torch.zeros_like(found).index_copy(0, packing.order, found).view(*target.shape, -1)
        kept = torch.zeros_like(alignments).index_copy(0, packing.order, alignments).view(*target.shape, -1)
        return hidden, kept

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
        if self.arch.score != "additive" and self.arch.feeding:
            state["t"] = h.new_zeros(B, D)
        return state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """One more token of B texts, (B,) or (B, 1), without dropout -> hidden (B, D), alignment (B, S), next state."""
        return self._advance(self.embeddings.tokens(tokens.reshape(-1)), state, None)

    def layers_by_depth(self) -> list[nn.Module]:
        """The encoder's, then the decoder's first to last; what stands between them counts with the first."""
        first = [m for m in (self.target_embeddings, self.start, self.attention, self.cells[0]) if m is not None]
        decoder = [nn.ModuleList(first), *self.cells[1:]]
        decoder[-1] = nn.ModuleList([decoder[-1], self.combine])
        return [*self.encoder.layers_by_depth(), *decoder]

    def _decode(self, target: Tensor, state: State, packing: Packing) -> tuple[Tensor, Tensor]:
        """target (P, T), of which ``packing`` says where texts are -> hidden (N, D), alignments (N, S), both packed."""
        P, T = target.shape
        rows = packing.order[: packing.sizes[0]] // T  # (P,) longest first
        state = {name: value[rows] for name, value in state.items()}
        y = self.embeddings(target.reshape(-1)[packing.order])  # (N, D)
        p = self.arch.dropout
        masks = [locked_mask(y[:P], p) for _ in range(self.arch.layers + 1)] if self.training and p else None
        if masks is not None:
            y = y * masks[0][packing.sequence]
        run = self._run_apart if self.arch.feeding else self._run_at_once
        hidden, alignments = run(y, state, packing, masks)
        return hidden if masks is None else hidden * masks[-1][packing.sequence], alignments

    def _run_apart(
        self, y: Tensor, state: State, packing: Packing, masks: list[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Token by token, each time the texts that have one more."""
        hidden, alignments = [], []
        at = 0
        for n in packing.sizes:
            if n < len(state["h"]):
                state = {name: value[:n] for name, value in state.items()}
            inner = None if masks is None else [mask[:n] for mask in masks]
            s, a, state = self._advance(y[at : at + n], state, inner)
            hidden.append(s)
            alignments.append(a)
            at += n
        return torch.cat(hidden), torch.cat(alignments)

    def _run_at_once(
        self, y: Tensor, state: State, packing: Packing, masks: list[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """All tokens of a layer in one call, then the attention of all."""
        x = y
        for i, cell in enumerate(cast("list[nn.RNNBase]", [*self.cells])):
            if i and masks is not None:
                x = x * masks[i][packing.sequence]
            x, _, _ = recur(self.arch.cell, x, packing, weights_of(cell), state["h"][:, i].contiguous())
        P, T, D = packing.sizes[0], len(packing.sizes), x.shape[1]
        time = torch.repeat_interleave(torch.tensor(packing.sizes, device=x.device))  # (N,) 0 .. T - 1
        place = packing.sequence * T + time
        wide = x.new_zeros(P * T, D).index_copy(0, place, x).view(P, T, D)
        scores = torch.bmm(wide, state["keys"].transpose(1, 2))  # (P, T, S)
        weights = torch.softmax(scores.masked_fill(~state["mask"][:, None], float("-inf")), dim=-1)
        context = torch.bmm(weights, state["annotations"]).view(P * T, D)[place]
        return torch.tanh(self.combine(torch.cat([context, x], dim=1))), weights.view(P * T, -1)[place]

    def _advance(self, y: Tensor, state: State, masks: list[Tensor] | None) -> tuple[Tensor, Tensor, State]:
        """y (B, D), after its dropout -> t (B, D), alignment (B, S), next state."""
        if self.arch.score == "additive":
            a, context = self._attend(state["h"][:, -1], state)
            x = torch.cat([y, context], dim=1)
        else:
            x = torch.cat([y, state["t"]], dim=1) if self.arch.feeding else y
        h: list[Tensor] = []
        c: list[Tensor] = []
        for i, cell in enumerate(cast("list[nn.RNNBase]", [*self.cells])):
            if i and masks is not None:
                x = x * masks[i]
            memory = state["c"][:, i] if "c" in state else None
            x, memory = step(self.arch.cell, x, weights_of(cell), state["h"][:, i], memory)
            h.append(x)
            if memory is not None:
                c.append(memory)
        after = state | {"h": torch.stack(h, 1)}
        if c:
            after["c"] = torch.stack(c, 1)
        if self.arch.score != "additive":
            a, context = self._attend(x, state)
        t = torch.tanh(self.combine(torch.cat([context, x], dim=1)))
        if "t" in state:
            after["t"] = t
        return t, a, after

    def _attend(self, s: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """s (B, D) -> alignment (B, S), context (B, D)."""
        a = self.attention(s, state["keys"], state["mask"])
        return a, torch.bmm(a[:, None], state["annotations"])[:, 0]


def pairs_of(tokens: Tensor, documents: Tensor, source: Rows) -> Pairs:
    """The documents of all rows, each beside its source: a recurrent network reads one text a row.

    tokens, documents (B, T'). Raises ConfigError where a row and its source hold different documents.
    """
    targets, ours, lengths = _texts(documents)
    sources, theirs, source_lengths = _texts(source.documents)
    numbers = documents.reshape(-1)[targets], source.documents.reshape(-1)[sources]
    first = (torch.cumsum(n, 0) - n for n in (lengths, source_lengths))
    names = [n[at] for n, at in zip(numbers, first, strict=True)]
    if len(lengths) != len(source_lengths) or not torch.equal(*names):
        raise ConfigError("a row and its source hold different documents", cure="give every target its source")
    place, source_place = (_within(n) for n in (lengths, source_lengths))
    T, S = (int(n.max()) if len(n) else 1 for n in (lengths, source_lengths))
    places, source_places = ours * T + place, theirs * S + source_place

    def spread(values: Tensor, at: Tensor, width: int) -> Tensor:
        return values.new_zeros(len(lengths) * width).index_copy(0, at, values).view(-1, width)

    return Pairs(
        source=spread(source.tokens.reshape(-1)[sources], source_places, S),
        documents=spread(torch.ones_like(sources), source_places, S),
        target=spread(tokens.reshape(-1)[targets], places, T),
        places=places,
        home=targets,
    )


def _texts(documents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """documents (B, T) -> (N,) row-major places of the tokens, (N,) number of the text each is of, (P,) lengths."""
    first = documents > 0
    first[:, 1:] &= documents[:, 1:] != documents[:, :-1]
    places = (documents.reshape(-1) > 0).nonzero().flatten()
    owner = first.reshape(-1).cumsum(0)[places] - 1
    return places, owner, torch.bincount(owner)


def _within(lengths: Tensor) -> Tensor:
    """0, 1, .. lengths[0] - 1, 0, 1, .. lengths[1] - 1, ..."""
    return torch.arange(int(lengths.sum()), device=lengths.device) - torch.repeat_interleave(
        lengths.cumsum(0) - lengths, lengths
    )
