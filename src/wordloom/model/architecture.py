"""The shape of a Transformer as one frozen row of values: what a preset holds and a checkpoint records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wordloom.errors import ConfigError
from wordloom.model.stored import Stored

Position = Literal["learned", "sinusoidal", "rotary", "alibi", "t5", "xl", "none"]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
TABLES: tuple[Position, ...] = ("learned", "sinusoidal")  # positions with a table: max_positions is a limit


@dataclass(frozen=True)
class Architecture(Stored):
    """Values of one Transformer stack. Each slot is described once, here, and tested once.

    width is D, heads is H (D divisible by H), ffn_width is F, max_positions the longest document. dropout falls on
    the embeddings and on both branches of a layer, attention_dropout on the attention weights; init_std is the
    deviation of every random matrix. The defaults are BERT's.

    Embeddings: types segments (0: no such table), embedding_width (ALBERT's E, brought to D by a matrix; None: D),
    embedding_norm after their sum, embedding_scale (times sqrt(D)), position_offset (rows of the position table that
    are not used: RoBERTa's 2).
    Positions: "learned" and "sinusoidal" are added to the embeddings; "rotary" turns queries and keys, in layers with a
    window from rotary_base_local (None: rotary_base); "alibi" and "t5" are biases of the attention scores;
    "xl" is relative attention with two terms more (Dai et al. 2019), whose types are relative too. memory: tokens of
    the segments before that it reads, where rows go on. two_stream: it has a query stream (Yang et al. 2019).
    Attention: "causal" sees the past alone. window: a layer sees so many tokens to each side, itself among them,
    except every global_every-th, which sees all, starting with layer 0. attention_scale: scores / sqrt(d).
    Layers: norm_place "before" adds a last norm, and first_norm: False leaves out the first, which would follow
    embedding_norm (ModernBERT); gated: act(W1 x) * W2 x; shared_layers: one layer applied L times;
    qkv_bias and bias (every other matrix): whether they have one; scaled_init: the two matrices that write to the
    residual stream are drawn with init_std / sqrt(2 L) (Radford et al. 2019, section 2.3).
    tied: the output matrix is the token table. output_scale: states are divided by sqrt(D) before it; output_bias: a
    bias of next-token logits. attention_width: all heads together (None: D). inner_dropout: dropout falls also inside
    the feed-forward nets and on the stack's output (Raffel et al. 2020, section 2.1). init "inputs": a matrix of I
    inputs is drawn with 1 / sqrt(I), queries of unscaled scores with a further 1 / sqrt(d), the token table so that
    what is read of it has 1: 1 (the code of Raffel et al. 2020) or, where embedding_scale or embedding_norm follows,
    1 / sqrt(E) (that of Vaswani et al. 2017), whatever init_std says. position_waves: learned positions begin as
    sinusoids of so many times the deviation of the token table; 0: as random as the rest.
    decoder_layers: above 0 there is a decoder of so many layers over an encoder of ``layers``: attention is the
    encoder's, every other slot is of both. source_vocab_size: the encoder has a vocabulary and embeddings of its own,
    of so many tokens, and vocab_size is the decoder's; None: one table serves both. Raises ConfigError on impossible
    values.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    ffn_width: int
    max_positions: int = 512
    types: int = 2
    position: Position = "learned"
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_place: Literal["after", "before"] = "after"
    activation: Activation = "gelu"
    norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    init_std: float = 0.02
    pad_id: int = 0
    embedding_width: int | None = None
    embedding_norm: bool = True
    embedding_scale: bool = False
    position_offset: int = 0
    rotary_base: float = 10_000.0
    rotary_base_local: float | None = None
    buckets: int = 32
    bucket_distance: int = 128
    attention: Literal["full", "causal"] = "full"
    attention_scale: bool = True
    window: int | None = None
    global_every: int = 1
    gated: bool = False
    shared_layers: bool = False
    qkv_bias: bool = True
    bias: bool = True
    norm_bias: bool = True
    first_norm: bool = True
    scaled_init: bool = False
    tied: bool = True
    decoder_layers: int = 0
    attention_width: int | None = None
    inner_dropout: bool = False
    output_scale: bool = False
    output_bias: bool = False
    init: Literal["normal", "inputs"] = "normal"
    position_waves: float = 0.0
    memory: int = 0
    two_stream: bool = False
    source_vocab_size: int | None = None

    def __post_init__(self) -> None:
        self._refuse_unknown_slots()
        for name in ("vocab_size", "width", "layers", "heads", "ffn_width", "max_positions", "global_every"):
            _refuse(name, getattr(self, name), 1)
        for name in ("types", "position_offset", "pad_id", "decoder_layers", "memory"):
            _refuse(name, getattr(self, name), 0)
        for name in ("embedding_width", "attention_width", "window", "source_vocab_size"):
            if getattr(self, name) is not None:
                _refuse(name, getattr(self, name), 1)
        if self.source_vocab_size is not None and not self.decoder_layers:
            what = "a model without a decoder has one vocabulary"
            raise ConfigError(what, cure="leave model.source_vocab_size away, or give model.decoder_layers")
        if not self.first_norm and self.norm_place == "after":
            cure = "set model.norm_place = 'before', or leave model.first_norm away"
            raise ConfigError("only a layer whose norm stands before its branch can leave out the first", cure=cure)
        for name in ("dropout", "attention_dropout"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigError(f"model {name} must be at least 0 and below 1, not {value!r}", cure="correct it")
        for name in ("norm_eps", "init_std"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < 1:
                raise ConfigError(f"model {name} must lie between 0 and 1, not {value!r}", cure="correct it")
        if not isinstance(self.position_waves, (int, float)) or self.position_waves < 0:
            what = f"model position_waves must be at least 0, not {self.position_waves!r}"
            raise ConfigError(what, cure="correct it")
        if self.heads_width % self.heads:
            raise ConfigError(
                f"model width {self.heads_width} is not divisible by its {self.heads} heads",
                cure="choose a number of heads that divides the width (width / 64 is usual)",
            )
        if self.position == "rotary" and self.head_width % 2:
            raise ConfigError(
                f"rotary positions turn pairs, and heads of {self.head_width} are odd",
                cure="choose a number of heads that leaves each an even width",
            )
        if not self.attention_scale and self.position == "xl":
            what = "relative attention (model.position = 'xl') divides its scores by sqrt(d)"
            raise ConfigError(what, cure="leave model.attention_scale away")
        if (self.memory or self.two_stream) and self.position != "xl":
            what = "only relative attention (model.position = 'xl') reads a memory or has a query stream"
            raise ConfigError(what, cure="set it, or leave model.memory and model.two_stream away")
        if self.two_stream and (self.attention != "full" or self.window is not None or self.decoder_layers):
            what = "a query stream needs an encoder that sees everything"
            raise ConfigError(what, cure="leave model.attention, model.window and model.decoder_layers away")

    def _refuse_unknown_slots(self) -> None:
        slots = {
            "position": get_args(Position),
            "norm": ("layernorm", "rmsnorm"),
            "norm_place": ("after", "before"),
            "activation": get_args(Activation),
            "attention": ("full", "causal"),
            "init": ("normal", "inputs"),
        }
        for name, known in slots.items():
            if getattr(self, name) not in known:
                cure = f"use {' or '.join(map(repr, known))}"
                raise ConfigError(f"model {name} {getattr(self, name)!r} is unknown", cure=cure)

    @property
    def heads_width(self) -> int:
        """Width of all heads together: D unless attention_width says otherwise."""
        return self.attention_width or self.width

    @property
    def head_width(self) -> int:
        """d."""
        return self.heads_width // self.heads

    def matrix_std(self, inputs: int, residual: bool = False) -> float:
        """Deviation of a random matrix of so many inputs; residual: it writes to the residual stream."""
        if self.init == "inputs":
            return inputs**-0.5
        return self.init_std / (2 * self.layers) ** 0.5 if residual and self.scaled_init else self.init_std

    @property
    def table_std(self) -> float:
        """Deviation of the token table."""
        if self.init == "normal":
            return self.init_std
        follows = self.embedding_scale or self.embedding_norm
        return (self.embedding_width or self.width) ** -0.5 if follows else 1.0

    @property
    def limit(self) -> int | None:
        """Tokens of the longest document, where the positions have a table."""
        return self.max_positions if self.position in TABLES else None

    def is_local(self, layer: int) -> bool:
        """Whether this layer, numbered from 0, sees its window only."""
        return self.window is not None and layer % self.global_every != 0


def _refuse(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        what = f"model {name} must be a whole number {'above 0' if least else 'of at least 0'}, not {value!r}"
        raise ConfigError(what, cure="correct it")
