"""Recipes: strict, frozen models of a TOML file. An unknown key is an error that names the near miss.

No torch here: ``wordloom --help`` and recipe checks must answer at once.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from wordloom.errors import ConfigError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    position: str | None = Field(None, description="learned, sinusoidal, rotary, alibi, t5, xl or none")
    dropout: float | None = None
    attention_dropout: float | None = None
    memory: int | None = Field(None, description="xlnet: tokens of the rows before that a row still sees")
    hidden: int | None = Field(None, description="recurrent: width of a cell's state; absent: width")
    bidirectional: bool | None = Field(None, description="recurrent: for the masked objective")
    dropout_embedding: float | None = Field(None, description="recurrent, as the following")
    dropout_input: float | None = None
    dropout_hidden: float | None = None
    dropout_output: float | None = None
    weight_drop: float | None = None


class MaskedConfig(Strict):
    """[objective] name = "masked": Devlin et al. 2019, section 3.1."""

    name: Literal["masked"] = "masked"
    rate: float = Field(0.15, gt=0, lt=1)
    rate_end: float | None = Field(None, gt=0, lt=1, description="linear schedule from rate to rate_end")
    whole_word: bool = False
    span: float | None = Field(None, ge=1, description="mean span length (SpanBERT, geometric); excludes whole_word")
    ngram: int | None = Field(None, ge=1, description="longest run of words masked together (ALBERT: 3)")
    next_sentence: bool = False
    sentence_order: bool = Field(False, description="ALBERT's; excludes next_sentence")
    documents: Literal["isolated", "separated"] = "isolated"

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        for keys in (("whole_word", "span", "ngram"), ("next_sentence", "sentence_order")):
            given = [key for key in keys if getattr(self, key)]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other")
        return self


class CausalConfig(Strict):
    """[objective] name = "causal": predict the next token."""

    name: Literal["causal"] = "causal"
    documents: Literal["isolated", "separated", "streams"] = Field(
        "isolated", description="streams: rows go on where those of the step before ended, for recurrent models"
    )


class ReplacedConfig(Strict):
    """[objective] name = "replaced": a small generator fills masks, the model tells which tokens are not the original.

    Clark et al. 2020 (ELECTRA), section 2.
    """

    name: Literal["replaced"] = "replaced"
    rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that the generator fills")
    weight: float = Field(50.0, gt=0, description="of the discriminator's loss; the generator's is 1")
    generator_width: float = Field(0.25, gt=0, le=1, description="its width, heads and feed-forward width over ours")
    generator_layers: float = Field(1.0, gt=0, le=1, description="its layers over ours")
    documents: Literal["isolated", "separated"] = "isolated"


class HybridConfig(Strict):
    """[objective] name = "hybrid": some rows causal, the others masked, one output head.

    Charpentier & Samuel 2024 (GPT-BERT), section 2; their masking rate falls from 0.3 to 0.15.
    """

    name: Literal["hybrid"] = "hybrid"
    causal_share: float = Field(0.0625, gt=0, lt=1, description="share of the rows that are causal")
    rate: float = Field(0.3, gt=0, lt=1, description="of the masked rows")
    rate_end: float | None = Field(0.15, gt=0, lt=1, description="linear schedule from rate to rate_end")
    documents: Literal["isolated", "separated"] = "isolated"


class SpansConfig(Strict):
    """[objective] name = "spans": an encoder reads text with spans missing, a decoder writes them.

    Raffel et al. 2020 (T5), section 3.1.4.
    """

    name: Literal["spans"] = "spans"
    rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are missing")
    span: float = Field(3.0, ge=1, description="mean length of a span in tokens")
    sentinels: int = Field(100, gt=0, description="most spans of a document; as many tokens join the vocabulary")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Vaswani et al. 2017, section 5.4")
    documents: Literal["isolated"] = "isolated"


class PermutedConfig(Strict):
    """[objective] name = "permuted": predict some tokens in a random order, each from all before it and the rest.

    Yang et al. 2019 (XLNet), section 2.
    """

    name: Literal["permuted"] = "permuted"
    every: int = Field(6, ge=2, description="one token of so many is predicted (their K)")
    span: int = Field(5, ge=1, description="longest run of tokens predicted together; lengths are uniform from 1")
    documents: Literal["isolated", "separated", "streams"] = Field(
        "isolated", description="streams: rows go on where those of the step before ended, for models with a memory"
    )


OBJECTIVES: dict[str, type[Strict]] = {
    "masked": MaskedConfig,
    "causal": CausalConfig,
    "replaced": ReplacedConfig,
    "hybrid": HybridConfig,
    "spans": SpansConfig,
    "permuted": PermutedConfig,
}


def _objective_name(value: Any) -> str:
    """ "masked" where the table names none."""
    return str(value.get("name", "masked") if isinstance(value, dict) else getattr(value, "name", "masked"))


ObjectiveConfig = Annotated[
    Annotated[MaskedConfig, Tag("masked")]
    | Annotated[CausalConfig, Tag("causal")]
    | Annotated[ReplacedConfig, Tag("replaced")]
    | Annotated[HybridConfig, Tag("hybrid")]
    | Annotated[SpansConfig, Tag("spans")]
    | Annotated[PermutedConfig, Tag("permuted")],
    Discriminator(_objective_name),
]


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


class ClassifyConfig(Strict):
    """[task] name = "classify"."""

    name: Literal["classify"] = "classify"
    kind: Literal["auto", "single", "multi", "regression"] = "auto"
    pooling: Literal["auto", "cls", "mean", "last"] = Field("auto", description="auto: cls, in causal models last")
    class_weights: Literal["none", "balanced"] = "none"
    dropout: float = Field(0.1, ge=0, lt=1)
    stride: float = Field(0.0, ge=0, lt=1, description="overlap of neighbouring windows of a long text")
    max_windows: int | None = Field(None, gt=0, description="training only: windows drawn per long text")
    separator: str = Field("|", description="between the labels of one multi-label cell")
    positive: str | None = Field(None, description="the label that must not be given wrongly, as spam")
    precision: float | None = Field(
        None, gt=0, le=1, description="share of the answers ``positive`` to be right: the validation part sets "
        "the probability from which it is given",
    )  # fmt: skip

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.positive is None) != (self.precision is None):
            raise ValueError("positive and precision belong together: name the label, and the precision it is to have")
        return self


class RetrieveConfig(Strict):
    """[task] name = "retrieve": a bi-encoder; queries and documents become vectors, compared by their cosine."""

    name: Literal["retrieve"] = "retrieve"
    method: Literal["auto", "pairs", "cloze", "simcse"] = Field(
        "auto", description="pairs: judged documents; cloze: a sentence finds the rest of its document; simcse: a text "
        "finds itself under another dropout mask; auto: pairs where there are judgments, else cloze",
    )  # fmt: skip
    pooling: Literal["auto", "mean", "cls", "last"] = Field("auto", description="auto: mean")
    temperature: float = Field(0.05, gt=0, description="the cosine is divided by it")
    negatives: int = Field(1, ge=0, description="hard negatives a query, beside the other documents of the batch")
    depth: int = Field(30, gt=0, description="BM25's first so many that are not judged relevant: the hard negatives")
    long_texts: Literal["windows", "first"] = Field(
        "windows", description="of more than train.length tokens: the mean of its windows, or its first window alone"
    )
    query_prefix: str = Field("", description="before each query, as some public encoders want it")
    document_prefix: str = ""
    valid_documents: int = Field(
        1000, gt=0, description="searched while training: the judged ones and BM25's; the scores at the end search all"
    )
    stem: str = Field(
        "auto", description="of BM25: a Snowball language, none, or auto (English where the words say so)"
    )
    chinese: Literal["auto", "jieba", "bigrams"] = Field("auto", description="of BM25: how Chinese text is parted")
    k1: float = Field(1.2, ge=0)
    b: float = Field(0.75, ge=0, le=1)


class Seq2SeqConfig(Strict):
    """What translate and summarize have in common: texts read, texts written."""

    source: str | None = Field(None, description="column of a table, by name or number; guessed and stated when absent")
    target: str | None = Field(None, description="column of the right answers, one text or a list of them")
    prefix: str = Field("", description="put before every source: T5's text-to-text prefix")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Vaswani et al. 2017, section 5.4; in training alone")
    windows: int = Field(8, gt=0, description="a source longer than train.length is read in so many windows at most")
    beams: int = Field(4, gt=0, description="1: greedy")
    length_penalty: float = Field(1.0, description="answers are ranked by log p / length**length_penalty")
    answers: int = Field(1, gt=0, description="best answers of each source that are given, at most the beams")
    no_repeat_ngram: int = Field(0, ge=0, description="no n tokens in a row occur twice in an answer")
    max_tokens: int | None = Field(None, gt=0, description="of an answer; absent: 1.5 times the longest in training")
    alignments: bool = Field(False, description="JSON answers say what the decoder looked at")
    sample: int = Field(500, ge=0, description="validation examples answered greedily at each evaluation, whose score "
                        "chooses the checkpoint; 0: the loss does")  # fmt: skip

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if self.answers > self.beams:
            raise ValueError(f"{self.beams} beams cannot give {self.answers} answers")
        return self


class TranslateConfig(Seq2SeqConfig):
    """[task] name = "translate"."""

    name: Literal["translate"] = "translate"


class SummarizeConfig(Seq2SeqConfig):
    """[task] name = "summarize"."""

    name: Literal["summarize"] = "summarize"
    no_repeat_ngram: int = Field(3, ge=0, description="no n tokens in a row occur twice in an answer")
    references: Literal["max", "first"] = Field("max", description="ROUGE against the best reference, or the first")


class TagConfig(Strict):
    """[task] name = "tag": labelled spans of a text (named entities), or a label for every word."""

    name: Literal["tag"] = "tag"
    scheme: Literal["auto", "bio", "bioes", "each"] = Field(
        "auto", description="labels of words that a model tells apart; auto: bio, or each where every word has a label"
    )
    crf: bool = Field(False, description="score whole label sequences (linear-chain CRF), not each label alone")
    pieces: Literal["auto", "first", "last", "mean"] = Field(
        "auto", description="which pieces of a word stand for it; auto: first, in causal models last"
    )
    dropout: float = Field(0.1, ge=0, lt=1)
    stride: float = Field(0.25, ge=0, lt=0.9, description="overlap of neighbouring windows of a long text")
    units: Literal["auto", "spaces", "tokens", "words", "characters", "jieba"] = Field(
        "auto", description="what raw text is cut into; auto: what fits the training data (docs/tasks.md)"
    )
    overlaps: Literal["refuse", "outermost"] = Field(
        "refuse", description="of labelled spans; outermost: learn the longest, count the others as missed"
    )
    baseline_steps: int = Field(100, gt=0, description="L-BFGS iterations of the feature CRF beside the model")


class RolesConfig(Strict):
    """[task] name = "roles": semantic role labelling, who did what to whom."""

    name: Literal["roles"] = "roles"
    predicates: Literal["gold", "predicted"] = Field(
        "gold", description="which predicates f1 is of; gold: those of the data, as usually published"
    )
    encoding: Literal["auto", "predicate", "sentence"] = Field(
        "auto",
        description="predicate: the sentence is read once per predicate, which is marked in it; sentence: once, and "
        "BiLSTM layers of the head pair it with each predicate; auto: predicate where attention sees both sides",
    )
    layers: int = Field(1, gt=0, description="BiLSTM layers of the head; encoding sentence only")
    dropout: float = Field(0.1, ge=0, lt=1)
    layout: Literal["auto", "propbank", "conll2012", "conll2005"] = Field(
        "auto", description="of the columns; auto: what the number of columns of each sentence says"
    )


class AnswerConfig(Strict):
    """[task] name = "answer": a question and a text; the answer is a span of it, or there is none."""

    name: Literal["answer"] = "answer"
    stride: float = Field(0.3, ge=0, lt=0.9, description="overlap of neighbouring windows of a long text")
    question: int = Field(64, gt=0, description="tokens of a question, at most half a window; more are cut and counted")
    max_answer: int | Literal["auto"] = Field("auto", description="tokens; auto: as 99 % of the training answers")
    max_windows: int | None = Field(8, gt=0, description="training only: windows drawn, one with an answer among them")
    targets: Literal["all", "first"] = Field(
        "all", description="which right answers are learned: the probability of any of them, or the first alone"
    )
    match: bool = Field(False, description="tell words of the text that the question has too apart, by their segment: "
                        "helps models that have read little")  # fmt: skip
    n_best: int = Field(5, gt=0, description="spans given with each answer")
    metric: Literal["auto", "words", "cmrc", "characters"] = Field(
        "auto", description="units of F1; auto: SQuAD's words, in Chinese as CMRC 2018, in Japanese characters"
    )


class GenerateConfig(Strict):
    """[task] name = "generate": a causal model goes on with one's own texts, or answers prompts."""

    name: Literal["generate"] = "generate"
    prompt: str | None = Field(None, description="column of a table; guessed and stated when absent, as the next two")
    response: str | None = Field(None, description="column; only responses and their ends are learned and scored")
    text: str | None = Field(None, description="column of a table without prompts")
    separator: str | None = Field(
        None, description="text between a prompt and its response; absent: the token that ends a text, so that the "
        "vocabulary's own words never say it",
    )  # fmt: skip
    stride: float = Field(
        0.5, ge=0, lt=1, description="share of a window that a text of more than train.length tokens repeats from the "
        "window before, as context; texts without prompts are trained without",
    )  # fmt: skip
    temperature: float | None = Field(None, ge=0, description="absent: 0, the likeliest, of responses; 0.8 of texts")
    top_k: int | None = Field(None, gt=0)
    top_p: float | None = Field(None, gt=0, le=1, description="absent: 0.95 where something is drawn")
    repetition_penalty: float = Field(1.0, gt=0)
    no_repeat_ngram: int = Field(0, ge=0, description="no n tokens in a row occur twice in an answer")
    max_tokens: int | None = Field(None, gt=0, description="of an answer; absent: 1.5 times the longest response in "
                                   "training, at most half of train.length; 64 of texts")  # fmt: skip
    begin: int = Field(16, gt=0, description="tokens of a text without a prompt that the shown samples go on from")
    sample: int = Field(200, ge=0, description="records, evenly chosen, that evaluation writes an answer to; "
                        "perplexity is of all")  # fmt: skip


TASKS: dict[str, type[Strict]] = {
    "classify": ClassifyConfig,
    "answer": AnswerConfig,
    "roles": RolesConfig,
    "tag": TagConfig,
    "retrieve": RetrieveConfig,
    "translate": TranslateConfig,
    "summarize": SummarizeConfig,
    "generate": GenerateConfig,
}


def _task_name(value: Any) -> str:
    """ "classify" where the table names none."""
    return str(value.get("name", "classify") if isinstance(value, dict) else getattr(value, "name", "classify"))


# a further task: Annotated[..., Tag(its name)], and an entry in TASKS
TaskConfig = Annotated[
    Annotated[ClassifyConfig, Tag("classify")]
    | Annotated[AnswerConfig, Tag("answer")]
    | Annotated[TagConfig, Tag("tag")]
    | Annotated[RolesConfig, Tag("roles")]
    | Annotated[RetrieveConfig, Tag("retrieve")]
    | Annotated[TranslateConfig, Tag("translate")]
    | Annotated[SummarizeConfig, Tag("summarize")]
    | Annotated[GenerateConfig, Tag("generate")],
    Discriminator(_task_name),
]


class DataConfig(Strict):
    """[data]: labelled files."""

    train: str
    valid: str | None = None
    test: str | None = None
    text: str | None = None
    pair: str | None = Field(None, description="column of the second text")
    label: str | None = None
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    labels: int | None = Field(None, gt=0, description="use this many labelled examples only (stratified, by seed)")
    clean_html: bool = False


class CompareConfig(Strict):
    """[compare]: the same fine-tuning from pre-trained and from random weights, at several label counts."""

    labels: tuple[int | Literal["all"], ...] = ("all",)
    seeds: tuple[int, ...] = (0, 1, 2)


PretrainedBy = Literal["causal", "masked", "hybrid", "replaced", "permuted", "spans"]


class ChooseConfig(Strict):
    """[choose]: which vectors are enough, or which objective learns most from a corpus?

    [train] is of the pre-training, [finetune] of the fine-tuning.
    """

    what: Literal["vectors", "objective"] = "vectors"
    minutes: float = Field(5.0, gt=0, description="of pre-training, for each candidate")
    vectors: str | None = Field(None, description="a file or run of vectors to judge too")
    candidates: tuple[
        Literal["tf-idf", "skip-gram", "cbow", "subwords", "imported", "frozen", "finetuned"], ...
    ] = ("tf-idf", "skip-gram", "cbow", "subwords", "imported", "frozen", "finetuned")  # fmt: skip
    objectives: tuple[PretrainedBy, ...] = ("causal", "masked", "hybrid", "replaced", "permuted", "spans")
    size: Literal["tiny", "mini"] = Field("mini", description="of every objective's model: 2 x 128 or 4 x 256")
    pairs: str | None = Field(None, description="objective: minimal pairs of the corpus's language, such as BLiMP's")
    pairs_limit: int | None = Field(100, gt=0, description="the first so many pairs of each paradigm")


class Recipe(Strict):
    """What a TOML recipe may hold; ``run`` performs the parts that are there, in this order."""

    corpus: CorpusConfig | None = None
    tokenizer: TokenizerConfig | None = None
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig | None = None
    train: TrainConfig = TrainConfig()
    task: TaskConfig | None = None
    data: DataConfig | None = None
    vectors: VectorsConfig | None = None
    lora: LoraConfig | None = Field(None, description="of fine-tuning; absent: all weights are trained")
    finetune: TrainConfig | None = Field(None, description="[train] of the second stage when both stages run")
    compare: CompareConfig | None = None
    choose: ChooseConfig | None = None


def read_recipe(path: str | Path, overlay: dict[str, Any] | None = None) -> Recipe:
    """Parse a TOML recipe; ``overlay`` maps dotted keys ("train.lr") to values and wins (recipe < flag)."""
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("no such recipe", where=path, cure="give the path of a .toml recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"not a readable TOML file: {error}", where=path, cure="correct that line") from None
    return make(Recipe, merge(values, overlay or {}), where=path)


def merge(values: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Values with each dotted key of ``overlay`` replaced; None means "not given" and changes nothing."""
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for dotted, value in overlay.items():
        if value is None:
            continue
        table, _, key = dotted.partition(".")
        if not isinstance(merged.setdefault(table, {}), dict):
            raise ConfigError(f"[{table}] must be a table", cure=f"write it as [{table}] with keys below it")
        merged[table][key] = value
    return merged


M = TypeVar("M", bound=Strict)


def make(model: type[M], values: dict[str, Any], where: str | Path | None = None) -> M:
    """Validate; the error names the key, the near miss, and what is allowed."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_plain(model, error), where=where, cure="correct that key") from None


def _plain(model: type[BaseModel], error: ValidationError) -> str:
    errors = error.errors()
    first = errors[0]
    if first["type"] == "extra_forbidden":
        names, inner = _walk(model, first["loc"][:-1])
        assert inner is not None  # an unknown key stands in a table
        key = ".".join([*names, str(first["loc"][-1])])
        return f"unknown key {key!r}{near_miss(str(first['loc'][-1]), list(inner.model_fields), 'known keys')}"
    key = ".".join(_walk(model, first["loc"])[0])
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["tag"]
        known = TASKS if key == "task" else OBJECTIVES
        return f"{key}.name {tag!r} is unknown{near_miss(tag, list(known), 'known')}"
    said = [e["msg"].removeprefix("Value error, ") for e in errors if ".".join(_walk(model, e["loc"])[0]) == key]
    said[1:] = [message.removeprefix("Input should be ") for message in said[1:]]  # the members of a union
    return f"{key}: {' or '.join(said)}" if key else said[0]


def near_miss(word: str, known: list[str], otherwise: str) -> str:
    """What to add to "unknown ...": the name that was meant, or all there are."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; {otherwise}: {', '.join(sorted(known))}"


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The names of fields at the head of a location, and the table they lead to; what follows are places in lists."""
    names: list[str] = []
    inner: type[BaseModel] | None = model
    tables: list[type[BaseModel]] = []
    for part in loc:
        if len(tables) > 1:  # the part is the tag that says which table it is
            inner, tables = next((t for t in tables if t.model_fields["name"].default == part), None), []
            continue
        if inner is None or part not in inner.model_fields:
            break
        names.append(str(part))
        tables = _tables(inner.model_fields[str(part)].annotation)
        inner = tables[0] if len(tables) == 1 else None
    return names, inner


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The tables a field may be, optional or not."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [table for member in get_args(annotation) for table in _tables(member)]
