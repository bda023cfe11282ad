"""The generator of replaced-token detection: a small masked language model over another body's embeddings."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from wordloom.model.architecture import Architecture
from wordloom.model.heads import MaskedHead
from wordloom.model.kernels import LOGITS
from wordloom.model.layers import Linear
from wordloom.model.transformer import Embeddings, Transformer


def generator_architecture(arch: Architecture, width: float, layers: float) -> Architecture:
    """A body of so many times the width (heads, feed-forward width) and layers, over the same embedding width.

    Clark et al. 2020, table 6: a quarter or a third of the hidden size, the heads and the feed-forward width. Where
    the heads do not divide, their number is rounded, at least one, and the width follows in steps of two per head.
    """
    heads = max(1, round(arch.heads * width))
    return replace(
        arch,
        heads=heads,
        width=2 * heads * max(1, round(arch.width * width / heads / 2)),
        ffn_width=max(1, round(arch.ffn_width * width)),
        layers=max(1, round(arch.layers * layers)),
        embedding_width=arch.embedding_width or arch.width,
        attention_width=None,
    )


class Generator(nn.Module):
    """Layers and head of a masked language model; the embeddings, the output matrix among them, are given to it.

    Clark et al. 2020, section 3.2, "Weight sharing": tokens and positions are shared, the embeddings have the
    discriminator's size and a matrix brings them to the generator's. As in their code, segments and the norm of the
    embeddings are shared with them. arch: from `generator_architecture`.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        embedding_width = arch.embedding_width or arch.width
        self.project = (
            Linear(embedding_width, arch.width, arch.matrix_std(embedding_width))
            if embedding_width != arch.width
            else None
        )
        self.body = Transformer(arch, embedded=False)
        self.head = MaskedHead(arch)

    def forward(
        self, embeddings: Embeddings, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor
    ) -> Tensor:
        """Embeddings of another body and its inputs (B, T) -> hidden (B, T, G), G the generator's width."""
        x = embeddings.look_up(tokens, positions, types)  # (B, T, E)
        return self.body.encode(x if self.project is None else self.project(x), documents, positions)

    @torch.no_grad()
    def sample(self, states: Tensor, embedding: Tensor, chance: Tensor) -> Tensor:
        """states (N, G), token table (V, E), chance (N,) uniform in [0, 1) -> (N,) ids, one drawn for each state.

        Id v is drawn where the cumulative probabilities of v - 1 and v enclose the chance: one random number for each
        token, and nothing random in here. Probabilities are held for some rows at a time.
        """
        rows = max(1, LOGITS // len(embedding))
        ids = torch.empty(len(states), dtype=torch.int64, device=states.device)
        for a in range(0, len(states), rows):
            logits = self.head(states[a : a + rows], embedding)  # (n, V)
            logits = logits if logits.dtype is torch.float64 else logits.float()
            edges = logits.softmax(-1).cumsum(-1)
            at = chance[a : a + rows, None].to(edges.dtype) * edges[:, -1:]  # the last edge is 1 but for rounding
            ids[a : a + rows] = torch.searchsorted(edges, at, right=True).squeeze(1).clamp(max=len(embedding) - 1)
        return ids

    def layers_by_depth(self) -> list[nn.ModuleList]:
        """As a body's: what reads the embeddings, then layer 0 .. L-1."""
        below, *layers = self.body.layers_by_depth()
        return [below if self.project is None else nn.ModuleList([self.project, *below]), *layers]
