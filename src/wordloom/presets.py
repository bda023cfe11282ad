"""One row per published model: architecture values, what pre-trains it, paper.

Sizes beside the published ones (tiny 2 x 128, mini 4 x 256) are those of Turc et al. 2019, for machines without a GPU.
Where a public twin differs from the paper, the row follows the twin and says so. Random weights are the paper's but
where a comment beside them tells what others gain.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from wordloom.config import near_miss
from wordloom.errors import ConfigError
from wordloom.model.architecture import Architecture
from wordloom.model.build import AnyArchitecture
from wordloom.model.convolution import ConvolutionArchitecture
from wordloom.model.recurrent import RecurrentArchitecture
from wordloom.model.recurrent_seq2seq import RecurrentSeq2SeqArchitecture

_TURC = "Turc et al. 2019, Well-Read Students Learn Better, table 1"
_DEVLIN = "Devlin et al. 2019, BERT, section 3"
_LIU = "Liu et al. 2019, RoBERTa, sections 4 and 5"
_LAN = "Lan et al. 2020, ALBERT, section 3"
_GPT = "Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 4.1"
_GPT2 = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3, table 2"
_ELMAN = "Mikolov et al. 2010, Recurrent neural network based language model, section 2, on Elman 1990"
_ZAREMBA = "Zaremba et al. 2014, Recurrent Neural Network Regularization, section 4.1"
_AWD = "Merity et al. 2017, Regularizing and Optimizing LSTM Language Models, section 5"
_BAHDANAU = "Bahdanau et al. 2014, Neural Machine Translation by Jointly Learning to Align and Translate, section 3"
_LUONG = "Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation, section 3.1"
_CHO = "Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder, section 2.3"
_ELECTRA = "Clark et al. 2020, ELECTRA, section 3.1, table 6"
_MODERN = "Warner et al. 2024, ModernBERT, section 2.1; objective: Charpentier & Samuel 2024, GPT-BERT, section 2"
_GPT3 = "Brown et al. 2020, Language Models are Few-Shot Learners, section 2.1, table 2.1"
_VASWANI = "Vaswani et al. 2017, Attention Is All You Need, section 3 and table 3"
_RAFFEL = "Raffel et al. 2020, Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, 2.1"
_IYYER = "Iyyer et al. 2015, Deep Unordered Composition Rivals Syntactic Methods for Text Classification, section 3"
_KIM = "Kim 2014, Convolutional Neural Networks for Sentence Classification, sections 2 and 3.1"
_YANG = "Yang et al. 2019, XLNet, section 2 and appendix A.4; Dai et al. 2019, Transformer-XL, section 3"
SIZES: dict[str, tuple[int, int]] = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "base": (12, 768)}


@dataclass(frozen=True)
class Preset:
    """values: every Architecture field that the paper fixes but the vocabulary, which the tokenizer gives.

    defaults: dotted keys of a recipe that pre-trains it: its tokenizer, its objective, how it begins. kind: whose
    fields ``values`` are. finetuning: dotted keys of a recipe that trains a classifier from this row's random weights.
    """

    values: dict[str, Any]
    paper: str
    defaults: dict[str, Any] = field(default_factory=dict)
    kind: type[AnyArchitecture] = Architecture
    finetuning: dict[str, Any] = field(default_factory=dict)

    @property
    def pretrains(self) -> bool:
        """Whether there is an objective it can learn from raw text."""
        return self.kind is not ConvolutionArchitecture

    @property
    def objective(self) -> str:
        return str(self.defaults.get("objective.name", "masked"))


def _size(name: str) -> dict[str, Any]:
    """Heads of 64 and a feed-forward net four times the width in every published size."""
    layers, width = SIZES[name]
    return {"layers": layers, "width": width, "heads": width // 64, "ffn_width": 4 * width}


_BYTES = {"tokenizer.kind": "byte-bpe", "tokenizer.lowercase": False}
_CAUSAL = {
    "attention": "causal",
    "types": 0,
    "embedding_norm": False,
    "activation": "gelu_tanh",
    "norm_eps": 1e-5,
}
_GPT2_VALUES = {**_CAUSAL, "norm_place": "before", "scaled_init": True, "max_positions": 1024}
# Bands of 256 in every other layer: the paper names the pattern of the Sparse Transformer but no width; the twin's
# scores are not divided by sqrt(d), and its queries, keys and values have no bias.
_GPT3_VALUES = {
    **_GPT2_VALUES,
    "max_positions": 2048,
    "window": 256,
    "global_every": 2,
    "attention_scale": False,
    "qkv_bias": False,
}
_LOOM = {
    "types": 0,
    "position": "rotary",
    "rotary_base": 160_000.0,
    "rotary_base_local": 10_000.0,
    "window": 65,
    "global_every": 3,
    "norm_place": "before",
    "first_norm": False,
    "norm_eps": 1e-5,
    "norm_bias": False,
    "qkv_bias": False,
    "bias": False,
    "gated": True,
    "scaled_init": True,
    "max_positions": 8192,
}
# What pre-training a masked row begins with: BERT-tiny stands on the plateau of masks that show a token for 1,000 steps
# with the paper's matrices of 0.02 and random positions, for 350 with these (docs/LOG.md): the token before is found by
# positions first, which must be seen beside the words. A classifier from random weights learns from words: not there.
_START = {"model.init": "inputs", "model.position_waves": 4.0}
# the public positions begin after the padding's row: with another pad_id the offset follows (architecture_of)
_ROBERTA = {"types": 1, "max_positions": 512, "norm_eps": 1e-5, "pad_id": 1, "position_offset": 2}
_ALBERT = {
    "max_positions": 512,
    "shared_layers": True,
    "activation": "gelu_tanh",
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
_ALBERT_DEFAULTS = {**_START, "objective.ngram": 3, "objective.sentence_order": True}
_ROBERTA_DEFAULTS = {**_START, **_BYTES, "objective.documents": "separated"}
_SPANS = {**_BYTES, "objective.name": "spans"}
# Pre-training begins with matrices of 0.02: from the authors' values (the table at 1, matrices at 1 / sqrt(inputs)),
# by which their Adafactor scales its steps, T5-tiny is at unigrams after 1,500 steps of Muon, and the states of
# v1.1-tiny serve a probe less than random ones (docs/LOG.md).
_T5_DEFAULTS = {**_SPANS, "model.init": "normal", "model.init_std": 0.02}
_T5 = {
    "position": "t5",
    "types": 0,
    "norm": "rmsnorm",
    "norm_place": "before",
    "norm_eps": 1e-6,
    "embedding_norm": False,
    "activation": "relu",
    "attention_scale": False,
    "bias": False,
    "qkv_bias": False,
    "inner_dropout": True,
    "output_scale": True,
    "init": "inputs",
    "max_positions": 512,
}
_XLNET = {
    "position": "xl",
    "two_stream": True,
    "qkv_bias": False,
    "embedding_norm": False,
    "inner_dropout": True,
}
_TRANSFORMER = {
    "position": "sinusoidal",
    "types": 0,
    "embedding_norm": False,
    "embedding_scale": True,
    "activation": "relu",
    "norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "output_bias": True,
    "init": "inputs",  # with matrices of 0.02 the source is 0.2 % of what varies in a new decoder's states, so 97 %
    "max_positions": 512,
}


def _rows() -> dict[str, Preset]:
    rows = {}
    for size in SIZES:
        paper = _DEVLIN if size == "base" else _TURC
        rows[f"bert-{size}"] = Preset({**_size(size), "max_positions": 512}, paper, _START)
    for size in ("tiny", "mini", "small", "base"):
        rows[f"roberta-{size}"] = Preset({**_size(size), **_ROBERTA}, _LIU, _ROBERTA_DEFAULTS)
    for size, width in {"tiny": 64, "mini": 64, "base": 128}.items():  # the paper's E is 128 beside 768
        rows[f"albert-{size}"] = Preset({**_size(size), **_ALBERT, "embedding_width": width}, _LAN, _ALBERT_DEFAULTS)
    gpt = {"tokenizer.kind": "bpe", "objective.name": "causal"}
    for size in ("tiny", "mini", "base"):
        rows[f"gpt-{size}"] = Preset({**_size(size), **_CAUSAL, "max_positions": 512}, _GPT, gpt)
    causal = {**_BYTES, "objective.name": "causal"}
    for family, values, paper in (("gpt2", _GPT2_VALUES, _GPT2), ("gpt3", _GPT3_VALUES, _GPT3)):
        for size, published in (("tiny", "tiny"), ("mini", "mini"), ("small", "base")):
            rows[f"{family}-{size}"] = Preset({**_size(published), **values}, paper, causal)
    rows |= _electra() | _loom() | _t5() | _transformer() | _xlnet() | _recurrent() | _recurrent_seq2seq()
    return rows | _without_pretraining()


def _electra() -> dict[str, Preset]:
    """Small and base are table 6 of the paper, whose generator is a quarter and a third of the model."""
    rows = {}
    small = _size("mini") | {"layers": 12}
    for size, values in (("tiny", _size("tiny")), ("mini", _size("mini")), ("small", small), ("base", _size("base"))):
        share = {"objective.generator_width": 1 / 3} if size == "base" else {}
        values |= {"max_positions": 512, **({} if size in ("tiny", "base") else {"embedding_width": 128})}
        rows[f"electra-{size}"] = Preset(values, _ELECTRA, {**_START, "objective.name": "replaced", **share})
    return rows


def _loom() -> dict[str, Preset]:
    """Our own rows: ModernBERT's slots, BERT's sizes. The gated feed-forward net has two thirds of 4 D columns, so that
    a layer has as many weights as BERT's (Shazeer 2020, section 2). A local layer sees 64 tokens to each side."""
    rows = {}
    for size in SIZES:
        values = _size(size)
        values["ffn_width"] = round(values["width"] * 8 / 3 / 32) * 32
        rows[f"loom-{size}"] = Preset({**values, **_LOOM}, _MODERN, {**_BYTES, "objective.name": "hybrid"})
    return rows


def _t5() -> dict[str, Preset]:
    """Small and base of both versions are published. v1.1 is the authors' release of 2020: gated nets (Shazeer 2020)
    of about two thirds of the columns, an output matrix of its own, and in its small model six heads of 64."""
    rows = {}
    for size in SIZES:
        values = {**_size(size), **_T5, **({"layers": 6, "decoder_layers": 6} if size == "small" else {})}
        rows[f"t5-{size}"] = Preset({"decoder_layers": values["layers"], **values}, _RAFFEL, _T5_DEFAULTS)
        values |= {"activation": "gelu_tanh", "gated": True, "tied": False, "output_scale": False}
        values["ffn_width"] = 2048 if size == "base" else 2 * values["width"]
        if size == "small":
            values |= {"layers": 8, "decoder_layers": 8, "heads": 6, "attention_width": 384}
        rows[f"t5v1.1-{size}"] = Preset({"decoder_layers": values["layers"], **values}, _RAFFEL, _T5_DEFAULTS)
    return rows


def _transformer() -> dict[str, Preset]:
    """Base is the paper's. It trains on pairs of sentences; from raw text alone these rows learn what T5's do, with the
    paper's label smoothing. The twin's output has a bias."""
    rows = {}
    for size, (layers, width) in {"tiny": (2, 128), "small": (4, 256), "base": (6, 512)}.items():
        values: dict[str, Any] = {"layers": layers, "decoder_layers": layers, "width": width, "heads": width // 64}
        values |= {"ffn_width": 4 * width, **_TRANSFORMER}
        smoothed = {**_SPANS, "objective.label_smoothing": 0.1}
        rows[f"transformer-{size}"] = Preset(values, _VASWANI, smoothed)
    return rows


def _xlnet() -> dict[str, Preset]:
    """Base is published; its authors pre-train on rows of 512 with a memory of 384, three quarters of a row, as the
    small sizes have it beside rows of 128. Their tokenizer is SentencePiece's unigram, which does not repeat itself
    exactly: bytes here."""
    defaults = {**_BYTES, "objective.name": "permuted", "objective.documents": "streams"}
    rows = {}
    for size, memory in {"tiny": 96, "mini": 96, "base": 384}.items():
        rows[f"xlnet-{size}"] = Preset({**_size(size), **_XLNET, "memory": memory}, _YANG, defaults)
    return rows


def _recurrent() -> dict[str, Preset]:
    """Zaremba's medium (2 x 650) and large (2 x 1500) LSTM, and small sizes of each cell; AWD: a matrix brings the last
    layer to the embedding's 400, where the paper makes the layer 400 wide."""
    # The rate: 100 steps of a 1 x 128 LSTM on Shakespeare end at 5.10 with Muon at 1e-2, at 5.83 with 3e-3; with AdamW
    # at 5.65 and 5.75.
    streams = {"objective.name": "causal", "objective.documents": "streams", "train.lr": 1e-2}
    rows = {}
    for cell, paper in (("rnn", _ELMAN), ("lstm", _ZAREMBA), ("gru", _CHO)):
        for size, (layers, width) in {"tiny": (1, 128), "mini": (2, 256), "small": (2, 512)}.items():
            values = {"cell": cell, "layers": layers, "width": width}
            rows[f"{cell}-{size}"] = Preset(values, paper, streams, RecurrentArchitecture)
    for size, width, drop in (("medium", 650, 0.5), ("large", 1500, 0.65)):
        values = {"cell": "lstm", "layers": 2, "width": width, "dropout_hidden": drop}
        values |= {"dropout_input": drop, "dropout_output": drop, "forget_bias": 0.0}
        rows[f"lstm-{size}"] = Preset(values, _ZAREMBA, streams, RecurrentArchitecture)
    awd = {"cell": "lstm", "layers": 3, "width": 400, "hidden": 1150, "weight_drop": 0.5, "dropout_embedding": 0.1}
    awd |= {"dropout_input": 0.4, "dropout_hidden": 0.3, "dropout_output": 0.4}
    rows["awd-lstm"] = Preset(awd, _AWD, streams, RecurrentArchitecture)
    return rows


def _recurrent_seq2seq() -> dict[str, Preset]:
    """Bahdanau's GRU and Luong's LSTM (his "general" score, without input feeding: twice as fast to train)."""
    rows = {}
    for size, (layers, width) in {"tiny": (1, 128), "mini": (1, 256), "small": (2, 512)}.items():
        values = {"layers": layers, "width": width}
        gru, lstm = {"cell": "gru", "score": "additive"}, {"cell": "lstm", "score": "general", "feeding": False}
        rows[f"gru-seq2seq-{size}"] = Preset({**values, **gru}, _BAHDANAU, _SPANS, RecurrentSeq2SeqArchitecture)
        rows[f"lstm-seq2seq-{size}"] = Preset({**values, **lstm}, _LUONG, _SPANS, RecurrentSeq2SeqArchitecture)
    return rows


def _without_pretraining() -> dict[str, Preset]:
    """dan-small has the paper's 3 layers of 300 and leaves out 30 % of the words; textcnn-small is Kim's CNN-rand: 100
    filters of each width over vectors of 300, dropout 0.5."""
    rows = {}
    for size, (layers, width) in {"tiny": (1, 128), "small": (3, 300)}.items():
        values: dict[str, Any] = {"layers": layers, "width": width, "dropout_embedding": 0.3}
        rows[f"dan-{size}"] = Preset(values, _IYYER, {}, ConvolutionArchitecture, {"train.lr": 1e-3})
    for size, width in {"tiny": 96, "small": 300}.items():
        values = {"width": width, "widths": (3, 4, 5)}
        own = {"train.lr": 1e-3, "task.dropout": 0.5}
        rows[f"textcnn-{size}"] = Preset(values, _KIM, {}, ConvolutionArchitecture, own)
    return rows


PRESETS: dict[str, Preset] = _rows()


def preset(name: str) -> Preset:
    """Raises ConfigError on an unknown name, naming the near miss."""
    if name not in PRESETS:
        hint = near_miss(name, list(PRESETS), "known")
        raise ConfigError(f"unknown preset {name!r}{hint}", cure="name one of the presets")
    return PRESETS[name]


def architecture(name: str, vocab_size: int, **overrides: Any) -> AnyArchitecture:
    """The preset's row with ``overrides`` in place of its values; None means "not given".

    Raises ConfigError on an unknown preset or key, naming the near miss, and on impossible values.
    """
    row = preset(name)
    known = [f.name for f in fields(row.kind)]
    given = {k: v for k, v in overrides.items() if v is not None}
    for key in given:
        if key not in known:
            raise ConfigError(f"{name} has no value {key!r}{near_miss(key, known, 'known')}", cure="correct that key")
    return row.kind(vocab_size=vocab_size, **{**row.values, **given})
