"""The head of semantic role labelling: which words are predicates, in which sense, and with which arguments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wordloom.model.build import AnyArchitecture
from wordloom.model.layers import Embedding, Linear, activate, dropout
from wordloom.model.recurrence import pack_documents
from wordloom.model.recurrent import Layer, RecurrentArchitecture


class RolesHead(nn.Module):
    """Logits of predicates, senses and argument tags from the states of words.

    A tag is read off a hidden layer over the states of its word and of the predicate, side by side: Shi & Lin 2019,
    section 2.2, whose one-layer BiLSTM before it is left out (``layers`` 0) where the body itself was told the
    predicate. Where it was not, so many BiLSTM layers read the states of the sentence with an indicator of the
    predicate added: He et al. 2017, section 2.1, whose indicator enters below all layers and is concatenated.
    """

    def __init__(self, arch: AnyArchitecture, tags: int, senses: int, layers: int = 0, dropout: float | None = None):
        """tags: K; senses: S, the senses of all lemmas together; dropout: on states, None takes the body's."""
        super().__init__()
        D, std = arch.width, arch.init_std
        self.tags, self.senses, self.layers = tags, senses, layers
        self.dropout = arch.dropout if dropout is None else dropout
        self.activation = arch.activation
        self.predicate = Linear(D, 1, std)
        self.sense = Embedding(senses, D, std)
        self.sense_bias = nn.Parameter(torch.zeros(senses))
        self.readers = nn.ModuleList()
        if layers:
            reader = RecurrentArchitecture(vocab_size=1, width=D, layers=layers, bidirectional=True)
            self.readers.extend(Layer(reader, i) for i in range(layers))
            self.indicator = Embedding(2, D, std)
        self.word = Linear(D, D, std)
        self.owner = Linear(D, D, std, bias=False)
        self.output = Linear(D, tags, std)

    def settings(self) -> dict[str, object]:
        """What the head is made from beside the architecture."""
        return {"tags": self.tags, "senses": self.senses, "layers": self.layers, "dropout": self.dropout}

    def predicates(self, states: Tensor) -> Tensor:
        """states (N, D) of words -> logits (N,), above 0: a predicate."""
        return self.predicate(self._dropped(states)).squeeze(-1)

    def frames(self, states: Tensor, frame: Tensor, predicates: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the tags (M, K) of the words of P frames, one frame after the other, and of senses (P, C).

        states (M, D); frame (M,): number 0 .. P - 1 of the frame a word stands in, rising; predicates (P,): place in
        M of each frame's predicate; candidates (P, C): numbers of the senses it may have, -1: none (its logit is -inf).
        """
        x = self._dropped(states)
        if self.layers:
            mark = torch.zeros(len(x), dtype=torch.int64, device=x.device).index_fill(0, predicates, 1)
            x = self._dropped(self._read(x + self.indicator(mark), frame))
        own = x[predicates]  # (P, D)
        tags = self.output(activate(self.word(x) + self.owner(own)[frame], self.activation))
        rows = candidates.clamp(min=0)
        senses = (self.sense(rows) @ own[:, :, None]).squeeze(-1) + self.sense_bias[rows]
        return tags, senses.masked_fill(candidates < 0, -torch.inf)

    def _read(self, x: Tensor, frame: Tensor) -> Tensor:
        """x (M, D) -> (M, D), each frame's words read in both directions."""
        packing = pack_documents(frame[None] + 1)
        if packing is None:
            return x
        y = x[packing.order]
        for layer in self.readers:
            y, _, _ = layer(y, packing)
        return torch.empty_like(y).index_copy(0, packing.order, y)

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)
