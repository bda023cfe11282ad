"""[corpus], [tokenizer], [model], [train], [lora], [vectors]: from text to weights."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from wordloom.config.strict import Strict


class CorpusConfig(Strict):
    """[corpus]: raw text to learn from."""

    paths: tuple[str, ...] = Field(description="files, folders or globs")
    documents: Literal["auto", "line", "blank-line", "file"] = "auto"
    text: str | None = Field(None, description="text column of csv/tsv/jsonl/parquet; guessed when absent")
    max_chars: int = Field(1_000_000, gt=0, description="longer documents are cut into pieces of this length")
    valid_fraction: float = Field(0.01, gt=0, lt=0.5, description="documents held out for the loss curve")
    clean_html: bool = Field(False, description="replace <br> and other tags by a space")


class TokenizerConfig(Strict):
    """[tokenizer]: trained on the corpus, or taken from a folder."""

    kind: Literal["wordpiece", "bpe", "byte-bpe", "unigram"] = Field(
        "wordpiece", description="unigram alone does not repeat itself exactly: keep its folder and use path"
    )
    vocab_size: int | Literal["auto"] = 8192
    lowercase: bool = True
    strip_accents: bool | None = Field(None, description="wordpiece and bpe; absent: as lowercase (BERT's rule)")
    path: str | None = Field(None, description="folder of a tokenizer to use instead of training one")
    sample_mb: int = Field(100, gt=0, description="training text is sampled to this size: bounded memory")


class ModelConfig(Strict):
    """[model]: a preset's row, any value of which may be replaced."""

    preset: str | None = None
    start: str | None = Field(None, description="run or Hugging Face folder to start from; absent: random")
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    ffn_width: int | None = None
    max_positions: int | None = None
    embedding_width: int | None = Field(None, description="Transformer: of the token table, where not the width")
    position: str | None = Field(None, description="learned, sinusoidal, rotary, alibi, t5, xl or none")
    dropout: float | None = None
    attention_dropout: float | None = None
    memory: int | None = Field(None, description="xlnet: tokens of the rows before that a row still sees")
    hidden: int | None = Field(None, description="recurrent: width of a cell's state; absent: width")
    bidirectional: bool | None = Field(None, description="recurrent: for the masked objective")
    widths: tuple[int, ...] | None = Field(None, description="textcnn: tokens that its filters see")
    dropout_embedding: float | None = Field(None, description="textcnn, dan, recurrent; the following: recurrent")
    dropout_input: float | None = None
    dropout_hidden: float | None = None
    dropout_output: float | None = None
    weight_drop: float | None = None
    forget_bias: float | None = Field(None, description="recurrent: first bias of the LSTM's forget gate")
    init_std: float | None = Field(None, description="deviation of the random weights")
    init: str | None = Field(
        None, description="Transformer: normal (init_std) or inputs (1 / sqrt of a matrix's inputs)"
    )
    position_waves: float | None = Field(
        None, description="Transformer: learned positions begin as sinusoids, so many times as large as words"
    )
    norm_place: str | None = Field(None, description="Transformer: after or before")


class TrainConfig(Strict):
    """[train]: the loop. Exactly one of steps, epochs, minutes says how long."""

    steps: int | None = Field(None, gt=0)
    epochs: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0)
    seed: int = 0
    batch: int = Field(64, gt=0, description="rows per step when pre-training, examples per step when fine-tuning")
    micro_batch: int | Literal["auto"] = "auto"
    length: int = Field(128, ge=8, description="tokens per row or window")
    optimiser: Literal["adamw", "sgd", "muon"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd and muon")
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    average: bool = Field(False, description="average the weights of the last quarter (Polyak); meant for sgd")
    schedule: Literal["wsd", "cosine", "linear", "constant", "noam"] = "wsd"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    decay: float = Field(0.2, ge=0, le=1, description="share of the steps, wsd only")
    clip: float = Field(1.0, ge=0, description="largest norm of the whole gradient; 0: any")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    threads: int | None = Field(None, gt=0, description="absent: all cores the process may use")
    log_every: int = Field(10, gt=0)
    evaluate_every: int | None = Field(None, gt=0, description="steps; absent: ten times per run")
    save_every: int | None = Field(None, gt=0, description="steps; absent: with every evaluation")
    patience: int | None = Field(None, gt=0, description="evaluations without a better score before stopping")
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate factor per layer below the top")
    freeze: Literal["none", "body", "embeddings", "gradual"] = "none"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        given = [k for k in ("steps", "epochs", "minutes") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of steps, epochs, minutes, not {' and '.join(given)}")
        return self


class LoraConfig(Strict):
    """[lora]: fine-tuning changes each matrix by a product of two thin ones, merged into it at the end.

    Hu et al. 2021, equation 3. The head is trained as always, the rest of the body stays as it was.
    """

    rank: int = Field(8, gt=0, description="columns of the thin matrices")
    alpha: float = Field(16.0, gt=0, description="the product is multiplied by alpha / rank")
    targets: Literal["all", "attention"] = Field(
        "all", description="which matrices of the layers; attention: those of attention alone, as in the paper"
    )


class VectorsConfig(Strict):
    """[vectors]: Word2Vec. Names and values as Mikolov et al. 2013b; "words" says how text becomes words."""

    objective: Literal["skip-gram", "cbow"] = "skip-gram"
    dimension: int = Field(100, gt=0, le=10_000)
    window: int = Field(
        5, gt=0, le=1000, description="words to each side; the width is drawn from 1..window at each position"
    )
    negatives: int = Field(5, gt=0, le=1000, description="noise words per position")
    exponent: float = Field(0.75, ge=-1, le=2, description="of the counts, for the noise distribution")
    sample: float = Field(1e-3, ge=0, description="subsampling threshold of frequent words; 0: none")
    epochs: int = Field(5, gt=0)
    lr: float | None = Field(None, gt=0, description="falls linearly to 1e-4 of it; absent: 0.035, CBOW 0.1")
    seed: int = 0
    threads: int | None = Field(None, gt=0, description="absent: all cores; 1 is bitwise repeatable, more are not")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the processor; cuda is not bitwise")
    words: Literal["split", "words", "jieba", "characters"] = Field(
        "words", description="split: at white space, nothing else; words: lower-cased runs of letters and digits"
    )
    min_count: int = Field(5, gt=0)
    max_vocab: int | None = Field(None, gt=0, description="most frequent words kept")
    phrases: int = Field(0, ge=0, description="passes that join frequent pairs, new_york (2013b, section 4)")
    phrase_score: Literal["npmi", "counts"] = Field("npmi", description="counts: the paper's, times running words")
    phrase_threshold: float = Field(0.5, description="a phrase scores more: npmi -1 to 1; counts: 100, say")
    subwords: bool = Field(False, description="add character n-grams (Bojanowski et al. 2017)")
    min_n: int = Field(3, gt=0)
    max_n: int = Field(6, gt=0)
    buckets: int = Field(2_000_000, gt=0, description="rows the n-grams are hashed to")

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_n > self.max_n:
            raise ValueError(f"min_n {self.min_n} is more than max_n {self.max_n}")
        if self.device == "cuda" and self.subwords:
            raise ValueError("subwords are trained on the processor alone, and device is cuda")
        return self
