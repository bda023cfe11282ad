"""[task]: what fine-tuning learns to answer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from wordloom.config.strict import Strict, name_or


class ClassifyConfig(Strict):
    """[task] name = "classify"."""

    name: Literal["classify"] = "classify"
    kind: Literal["auto", "single", "multi", "regression"] = "auto"
    pooling: Literal["auto", "cls", "mean", "max", "last"] = Field(
        "auto", description="auto: cls; in causal models last, of textcnn rows max, of dan rows mean"
    )
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
    vocabularies: Literal["joint", "separate"] = Field(
        "joint",
        description="of a preset: one of both sides, or one for each, of tokenizer.vocab_size; a run keeps its own",
    )
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
    extract: Literal["textrank", "centroid"] = Field(
        "textrank", description="how the extractive summary beside the model's finds the central sentences"
    )
    vectors: str | None = Field(
        None, description="word vectors (a run or a file) that tell it which sentences are alike; absent: TF-IDF"
    )


class TagConfig(Strict):
    """[task] name = "tag": labelled spans of a text (named entities), or a label for every word."""

    name: Literal["tag"] = "tag"
    scheme: Literal["auto", "bio", "bioes", "each"] = Field(
        "auto", description="labels of words that a model tells apart; auto: bio, or each where every word has a label"
    )
    crf: bool = Field(False, description="score whole label sequences (linear-chain CRF), not each label alone")
    features: int = Field(
        0,
        ge=0,
        description="buckets of hashed features (affixes, shape, neighbours) that score beside the network; 0: none",
    )
    feature_dropout: float = Field(
        0.3, ge=0, lt=1, description="share of these features that a word is trained without"
    )
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
    features: bool = Field(
        False,
        description="tell the head how much of the question stands near each word; for models that have read little",
    )
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
    Discriminator(name_or("classify")),
]
