"""Encoder and decoder, each a `Transformer`: Vaswani et al. 2017, section 3; Raffel et al. 2020 (T5), section 2.1."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.cache import Cache
from wordloom.model.cross import CrossAttention, Rows, Source
from wordloom.model.positions import refuse_far
from wordloom.model.transformer import Embeddings, Layer, Transformer


class EncoderDecoder(nn.Module):
    """``forward(tokens, documents, positions, types, source) -> the decoder's hidden states (B, T, D)``.

    One table of tokens serves both sides, unless the source has a vocabulary of its own (``arch.source_vocab_size``).
    Tokens of the decoder see those before them of their own document, and all source tokens of the same document number
    in the same row: several pairs may lie in one row. The decoder is given what it is to produce shifted by one, the
    padding id first (`start_id`).
    """

    carries = False  # nothing goes from one batch to the next

    def __init__(self, arch: Architecture):
        super().__init__()
        if arch.decoder_layers < 1:
            raise ConfigError(
                "an encoder-decoder needs model.decoder_layers above 0", cure="give it, or use an encoder"
            )
        self.arch = arch
        self.embeddings = Embeddings(arch)
        own = arch.source_vocab_size
        one = replace(arch, decoder_layers=0, source_vocab_size=None)
        self.source_embeddings = None if own is None else Embeddings(replace(one, vocab_size=own))
        self.encoder = Transformer(one, embedded=False)
        self.decoder = Transformer(
            replace(one, layers=arch.decoder_layers, attention="causal"), embedded=False, reads=True
        )

    @property
    def start_id(self) -> int:
        """The token that stands before the first: T5's and marian's is that of padding."""
        return self.arch.pad_id

    def forward(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, source: Rows | None = None
    ) -> Tensor:
        """Both sides at once, for training. Raises ConfigError where there is no source."""
        if source is None:
            raise ConfigError("an encoder-decoder needs a source to read", cure="use the spans objective, or pairs")
        read = self.encode(source.tokens, source.documents, source.positions, source.types)
        return self.decode(tokens, documents, positions, types, read)

    def encode(
        self,
        tokens: Tensor,
        documents: Tensor,
        positions: Tensor,
        types: Tensor,
        weights: list[Tensor] | None = None,
        keep: bool = False,
    ) -> Source:
        """All inputs (B, S) -> the source, whose ``states`` are (B, S, D).

        Where the positions of a document begin again, a window of it begins: windows are encoded apart and decoded from
        together (Izacard & Grave 2021, Fusion-in-Decoder, section 3).
        keep: also make the keys and values of every decoder layer, for a decoder that is called once a token.
        """
        refuse_far(self.arch.limit, positions)
        begins = (positions == 0) & (documents > 0)
        windows = begins.cumsum(1) * (documents > 0)  # (B, S) one number a document where none is cut
        embeddings = self.embeddings if self.source_embeddings is None else self.source_embeddings
        states = self.encoder.encode(embeddings(tokens, positions, types), windows, positions, weights)
        return Source(states, documents, self._keys_values(states) if keep else None)

    def decode(
        self,
        tokens: Tensor,
        documents: Tensor,
        positions: Tensor,
        types: Tensor,
        source: Source,
        weights: list[Tensor] | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """All inputs (B, T) -> hidden (B, T, D).

        Given a list, ``weights`` receives two of every layer: (B, H, T, T) of the target and (B, H, T, S) of the
        source. Given a cache (`new_cache`), the T tokens follow those it holds, and it takes them in.
        """
        refuse_far(self.arch.limit, positions)
        x = self.embeddings(tokens, positions, types)  # (B, T, D)
        return self.decoder.encode(x, documents, positions, weights, cache, source=source)

    def new_cache(self, rows: int, capacity: int) -> Cache:
        """Room for ``capacity`` target tokens of so many rows."""
        table = self.embeddings.tokens.weight
        return Cache(self.decoder.arch, rows, capacity, dtype=table.dtype, device=table.device)

    def layers_by_depth(self) -> list[nn.ModuleList]:
        """Embeddings, the encoder's layers, then the decoder's, which read them; as `Transformer.layers_by_depth`."""
        (below, *encoder), (beside, *decoder) = self.encoder.layers_by_depth(), self.decoder.layers_by_depth()
        tables = [m for m in (self.embeddings, self.source_embeddings) if m is not None]
        return [nn.ModuleList([*tables, *below, *beside]), *encoder, *decoder]

    def _keys_values(self, states: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        kept = []
        for i in range(self.decoder.arch.layers):
            layer = self.decoder.layers[i % len(self.decoder.layers)]
            assert isinstance(layer, Layer) and isinstance(layer.cross, CrossAttention)
            k, v = layer.cross.read(states)
            kept.append((k.contiguous(), v.contiguous()))
        return tuple(kept)
