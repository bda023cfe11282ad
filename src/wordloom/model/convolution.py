"""Bags of embeddings and TextCNN: texts read without recurrence or attention, for classification from labels alone.

  bag        a token's state is its embedding, the head takes their mean over the text     Joulin et al. 2017, section 2
             and gives it to L dense layers z' = relu(W z + b): a deep averaging network   Iyyer et al. 2015, section 3
  filters    map j of width k: relu(sum over o of w_j[o] . x[t + o - (k - 1) // 2] + b_j)  Kim 2014, equation 2
             the head takes its maximum over the text                                      Kim 2014, section 2

Kim's window begins at t and must lie inside the text. Here it is centred, and zeros stand around a text: every token
has a state, and a text may be shorter than a filter. His bound on the norm of the last matrix is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.errors import ConfigError
from wordloom.model.layers import Embedding, linear
from wordloom.model.recurrent import locked_mask
from wordloom.model.stored import WithoutSlots


@dataclass(frozen=True)
class ConvolutionArchitecture(WithoutSlots):
    """Values of one such network.

    width is D, of the embeddings and of the states. widths: tokens that each kind of filter sees, D maps shared out
    among them as evenly as they go (the first get one more); none: a bag of embeddings. layers: dense layers on a
    text's vector, which the head holds, since they follow the pooling.
    dropout_embedding leaves out whole tokens, each on its own (Iyyer et al. 2015, section 3.1), and divides the others
    by 1 - p, where the paper takes the mean of those that are left. init_std: deviation of the token table and of the
    last matrix. Filters and dense layers are drawn as He et al. 2015 (equation 10) say for relu. Raises ConfigError on
    impossible values.
    """

    vocab_size: int
    width: int
    layers: int = 0
    widths: tuple[int, ...] = ()
    dropout_embedding: float = 0.0
    init_std: float = 0.1
    pad_id: int = 0

    attention: ClassVar[Literal["full"]] = "full"
    activation: ClassVar[Literal["gelu", "relu"]] = "relu"
    dropout: ClassVar[float] = 0.0
    tied: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.widths, (list, tuple)):
            cure = "give a list, such as [3, 4, 5]"
            raise ConfigError(f"model widths must be whole numbers, not {self.widths!r}", cure=cure)
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON knows lists alone
        checked = [("vocab_size", self.vocab_size, 1), ("width", self.width, 1), ("layers", self.layers, 0)]
        for name, value, least in [*checked, ("pad_id", self.pad_id, 0), *(("widths", k, 1) for k in self.widths)]:
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                what = "above 0" if least else "of at least 0"
                raise ConfigError(f"model {name} must be a whole number {what}, not {value!r}", cure="correct it")
        if len(self.widths) > self.width:
            what = f"model width {self.width} leaves no map for each of {len(self.widths)} filters"
            raise ConfigError(what, cure="raise model.width or name fewer model.widths")
        p = self.dropout_embedding
        if not isinstance(p, (int, float)) or not 0 <= p < 1:
            raise ConfigError(f"model dropout_embedding must be at least 0 and below 1, not {p!r}", cure="correct it")
        if not isinstance(self.init_std, (int, float)) or not 0 < self.init_std < 1:
            raise ConfigError(f"model init_std must lie between 0 and 1, not {self.init_std!r}", cure="correct it")

    @property
    def maps(self) -> tuple[int, ...]:
        """Filters of each of ``widths``; together D."""
        each, more = divmod(self.width, max(1, len(self.widths)))
        return tuple(each + (i < more) for i in range(len(self.widths)))

    @property
    def pooling(self) -> Literal["mean", "max"]:
        """What makes a text's vector of its states."""
        return "max" if self.widths else "mean"


class WordEmbeddings(nn.Module):
    """The token table, with whole tokens left out while training."""

    def __init__(self, arch: ConvolutionArchitecture):
        super().__init__()
        self.tokens = Embedding(arch.vocab_size, arch.width, arch.init_std)
        self.dropout = arch.dropout_embedding

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) -> (..., D)."""
        x = self.tokens(tokens)
        return x * locked_mask(x[..., :1], self.dropout) if self.training and self.dropout else x


class Convolution(nn.Module):
    """``forward(tokens, documents, positions, types) -> states (B, T, D)``, all inputs (B, T) int64, as `Transformer`.

    No document sees another or padding, whose states are zero. Positions and types are not read: a pair of texts is
    one text with a separator in it.
    """

    def __init__(self, arch: ConvolutionArchitecture):
        super().__init__()
        self.arch = arch
        self.embeddings = WordEmbeddings(arch)
        sizes = zip(arch.widths, arch.maps, strict=True)
        self.filters = nn.ModuleList(_make_filter(arch.width, maps, width) for width, maps in sizes)

    def forward(
        self, tokens: Tensor, documents: Tensor, positions: Tensor, types: Tensor, weights: list[Tensor] | None = None
    ) -> Tensor:
        """A list given as ``weights`` stays empty: there is no attention."""
        x = self.embeddings(tokens)  # (B, T, D)
        if not self.filters:
            return x.masked_fill((documents == 0)[..., None], 0.0)
        B, T, D = x.shape
        gap = max(self.arch.widths) // 2
        real, place, length = _apart(documents, gap)
        if len(real) == 0:
            return torch.zeros_like(x)
        long = x.new_zeros(length, D).index_copy(0, place, x.view(B * T, D)[real])  # texts with zeros between them
        states = F.relu(_convolve(long, cast("list[nn.Conv1d]", [*self.filters]), gap))[place - gap]  # (N, D)
        return states.new_zeros(B * T, D).index_copy(0, real, states).view(B, T, D)

    @property
    def carries(self) -> bool:
        """Whether a state goes on from batch to batch: there is none."""
        return False

    def layers_by_depth(self) -> list[nn.Module]:
        """Embeddings, then the filters: the order of layer-wise learning rates."""
        return [self.embeddings, self.filters] if self.filters else [self.embeddings]


def _make_filter(inputs: int, maps: int, width: int) -> nn.Conv1d:
    made = nn.Conv1d(inputs, maps, width)
    with torch.no_grad():
        made.weight.normal_(0.0, math.sqrt(2 / (inputs * width)))  # (maps, inputs, width)
        cast(Tensor, made.bias).zero_()
    return made


def _convolve(x: Tensor, filters: list[nn.Conv1d], gap: int) -> Tensor:
    """Every filter, centred, on rows gap .. R - gap - 1 of x (R, I) -> (R - 2 gap, all maps), before the relu.

    One product of all rows with every column of every filter, then sums of shifted rows. torch's convolution takes
    longer: 4,096 tokens, I 300, 100 filters of widths 3, 4, 5, one Zen 5 thread, forward 18 against 34 ms, with its
    gradient 54 against 92.
    """
    weight = torch.cat([f.weight.permute(2, 0, 1).flatten(0, 1) for f in filters])  # (sum of maps x width, I)
    sizes = [f.out_channels for f in filters for _ in range(f.kernel_size[0])]
    columns = iter(linear(x, weight, None).split(sizes, dim=1))
    found = []
    for f in filters:
        width, rows = f.kernel_size[0], len(x) - 2 * gap
        first = gap - (width - 1) // 2
        shifted = [next(columns)[first + o : first + o + rows] for o in range(width)]  # (rows, maps) each
        found.append(sum(shifted, start=cast(Tensor, f.bias)))
    return torch.cat(found, dim=1)


def _apart(documents: Tensor, gap: int) -> tuple[Tensor, Tensor, int]:
    """The N tokens of documents (B, T) in one long row, ``gap`` empty places before, between and behind the documents.

    -> their row-major places in the batch (N,), their places in the long row (N,), its length.
    """
    first = documents > 0
    first[:, 1:] &= documents[:, 1:] != documents[:, :-1]
    real = (documents > 0).reshape(-1).nonzero().flatten()
    number = first.reshape(-1).cumsum(0)[real]  # 1 .. S, in the order of the rows
    place = torch.arange(len(real), device=documents.device) + gap * number
    return real, place, len(real) + gap * (int(first.sum()) + 1)
