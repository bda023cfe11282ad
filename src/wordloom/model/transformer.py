"""One Transformer encoder with the slots of `Architecture`: Devlin et al. 2019, section 3, on Vaswani et al. 2017.

Parameter names are our own; `model.interop` maps them to and from the public layout.
"""

from __future__ import annotations

from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.attention import attend_heads, attend_plain, document_mask, join_heads, split_heads
from wordloom.model.layers import Embedding, LayerNorm, Linear, dropout, gelu


class Embeddings(nn.Module):
    """Tokens + positions + types, normalised (Devlin et al. 2019, figure 2)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.tokens = Embedding(arch.vocab_size, arch.width, arch.init_std)
        self.positions = Embedding(arch.max_positions, arch.width, arch.init_std)
        self.types = Embedding(arch.types, arch.width, arch.init_std)
        self.norm = LayerNorm(arch.width, arch.norm_eps)
        self.dropout = arch.dropout

    def forward(self, tokens: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.types(types) + self.positions(positions)  # (B, T, D)
        return dropout(self.norm(x), self.dropout, self.training)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2).

    The rows of ``qkv.weight`` (3D, D) are q of all heads, then k, then v: one matrix product instead of three.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.heads = arch.heads
        self.qkv = Linear(arch.width, 3 * arch.width, arch.init_std)
        self.output = Linear(arch.width, arch.width, arch.init_std)
        self.dropout = arch.attention_dropout

    def forward(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D). Given a list, the written-out path runs and its weights are appended."""
        qkv = self.qkv(x)  # (B, T, 3D)
        if weights is None:
            return self.output(attend_heads(qkv, mask, self.heads, self.dropout, self.training))
        mixed, w = attend_plain(*split_heads(qkv, self.heads), mask, self.dropout, self.training)
        weights.append(w)
        return self.output(join_heads(mixed))


class Layer(nn.Module):
    """Attention, then the feed-forward net, each added to its input and normalised after (post-norm)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.attention = Attention(arch)
        self.attention_norm = LayerNorm(arch.width, arch.norm_eps)
        self.ffn_in = Linear(arch.width, arch.ffn_width, arch.init_std)
        self.ffn_out = Linear(arch.ffn_width, arch.width, arch.init_std)
        self.ffn_norm = LayerNorm(arch.width, arch.norm_eps)
        self.dropout = arch.dropout

    def forward(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None = None) -> Tensor:
        mixed = self.attention(x, mask, weights)  # (B, T, D)
        x = self.attention_norm.add(x, mixed, self.dropout)
        wide = gelu(self.ffn_in(x))  # (B, T, F)
        return self.ffn_norm.add(x, self.ffn_out(wide), self.dropout)


class Transformer(nn.Module):
    """``forward(tokens, documents, positions, types) -> hidden (B, T, D)``, all inputs (B, T) int64.

    Attention joins only tokens of equal document number; hidden states of padding (number 0) are finite
    and mean nothing. Weights are normal(0, init_std), biases zero, norms one (Devlin et al. 2019's code
    draws from the normal cut at two deviations; we, as the public twin, do not cut).
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.arch = arch
        self.embeddings = Embeddings(arch)
        self.layers = nn.ModuleList(Layer(arch) for _ in range(arch.layers))

    def forward(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, weights: list[Tensor] | None = None
    ) -> Tensor:
        """Given a list, ``weights`` receives each layer's attention weights (B, H, T, T), first layer first.

        Raises ConfigError when a position is not below ``arch.max_positions``.
        """
        limit = self.arch.max_positions
        if tokens.shape[1] > limit and int(positions.max()) >= limit:  # a shorter row cannot pass the limit
            raise ConfigError(
                f"a document of {int(positions.max()) + 1} tokens does not fit a model of {limit} positions",
                cure=f"set train.length to at most {limit}, or model.max_positions higher before pre-training",
            )
        mask = document_mask(documents)
        x = self.embeddings(tokens, positions, types)  # (B, T, D)
        for layer in self.layers:
            x = layer(x, mask, weights)
        return x

    def layers_by_depth(self) -> list[nn.Module]:
        """Embeddings, then layer 0 .. L-1: the order of layer-wise learning rates and of freezing."""
        return [self.embeddings, *self.layers]
