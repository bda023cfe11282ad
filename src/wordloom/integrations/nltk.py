"""NLTK's interfaces over trained runs, and NLTK's corpora as files that ``finetune`` reads.

tagger = RunTagger("runs/ner"); tagger.tag(["Ada", "lives", "here"])
classifier = RunClassifier("runs/reviews"); classifier.classify("It broke after two days.")
write_tagged(nltk.corpus.brown, "brown.conll"); write_labelled(nltk.corpus.movie_reviews, "reviews.jsonl")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nltk.chunk import tree2conlltags
from nltk.classify.api import ClassifierI
from nltk.probability import DictionaryProbDist, ProbDistI
from nltk.tag.api import TaggerI

from wordloom import api
from wordloom.errors import ConfigError, DataError


class RunTagger(TaggerI):
    """A run or bundle of the task ``tag``: BIO tags, or the labels themselves where every word has one."""

    def __init__(self, path: str | Path):
        self.predictor = _of_task(path, "tag")

    def tag(self, tokens: Sequence[str]) -> list[tuple[str, str]]:
        return self.tag_sents([tokens])[0]

    def tag_sents(self, sentences: Iterable[Sequence[str]]) -> list[list[tuple[str, str]]]:
        given = [list(tokens) for tokens in sentences]
        pairs = zip(given, self.predictor.predict(given), strict=True)
        return [self.predictor.task.word_tags(tokens, found) for tokens, found in pairs]


class RunClassifier(ClassifierI):
    """A run or bundle of a classifier with one label a text. NLTK's feature set is here the text, or its tokens."""

    def __init__(self, path: str | Path):
        self.predictor = _of_task(path, "classify")
        if self.predictor.kind != "single":
            raise ConfigError("NLTK's ClassifierI gives one label a text, and this run gives several or a number",
                              where=path, cure="give a run of a classifier with one label a text")  # fmt: skip

    def labels(self) -> list[str]:
        return list(self.predictor.labels)

    def classify(self, featureset: str | Sequence[str]) -> str:
        return self.classify_many([featureset])[0]

    def prob_classify(self, featureset: str | Sequence[str]) -> ProbDistI:
        return self.prob_classify_many([featureset])[0]

    def classify_many(self, featuresets: Iterable[str | Sequence[str]]) -> list[str]:
        return [str(dist.max()) for dist in self.prob_classify_many(featuresets)]

    def prob_classify_many(self, featuresets: Iterable[str | Sequence[str]]) -> list[ProbDistI]:
        rows = self.predictor.predict_proba([_text(given) for given in featuresets])
        return [DictionaryProbDist(dict(zip(self.labels(), map(float, row), strict=True))) for row in rows]


def _of_task(path: str | Path, name: str) -> Any:
    predictor = api.load(path)
    found = "classify" if hasattr(predictor, "predict_proba") else predictor.task.settings()["name"]
    if found != name:
        raise ConfigError(f"a run of the task {found!r}, not {name!r}", where=path, cure="give another run")
    return predictor


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, Sequence) and all(isinstance(token, str) for token in given):
        return " ".join(given)
    raise DataError(f"{type(given).__name__} is neither a text nor a list of tokens",
                    cure="give the text itself: this classifier makes its own features")  # fmt: skip


def write_tagged(corpus: Any, path: str | Path, fileids: Any = None, **options: Any) -> Path:
    """Tagged sentences of a corpus reader, or an iterable of [(token, tag)], as columns for ``--task tag``.

    options: of the reader's ``tagged_sents`` (tagset="universal").
    """
    sentences = corpus.tagged_sents(fileids, **options) if hasattr(corpus, "tagged_sents") else corpus
    return _write_columns(sentences, path)


def write_chunked(corpus: Any, path: str | Path, fileids: Any = None, **options: Any) -> Path:
    """Chunks of a corpus reader (conll2000, conll2002), or an iterable of trees, as columns with BIO tags.

    options: of the reader's ``chunked_sents`` (chunk_types=["NP"]).
    """
    trees = corpus.chunked_sents(fileids, **options) if hasattr(corpus, "chunked_sents") else corpus
    return _write_columns((((word, tag) for word, _, tag in tree2conlltags(tree)) for tree in trees), path)


def write_labelled(corpus: Any, path: str | Path, categories: Any = None) -> Path:
    """Files of a categorised corpus reader (movie_reviews, reuters) as .jsonl for ``--task classify``.

    The label is a list where a file may be of several categories.
    """
    rows = []
    for name in corpus.fileids(categories):
        labels = corpus.categories(name)
        rows.append({"text": corpus.raw(name), "label": list(labels)})
    if all(len(row["label"]) == 1 for row in rows):
        rows = [{**row, "label": row["label"][0]} for row in rows]
    return _written("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), path)


def _write_columns(sentences: Iterable[Iterable[tuple[str, str]]], path: str | Path) -> Path:
    lines: list[str] = []
    for number, sentence in enumerate(sentences, start=1):
        for token, tag in sentence:
            if tag is None:
                raise DataError(f"sentence {number} has a token without a tag ({token!r})", where=path,
                                cure="give tagged sentences")  # fmt: skip
            lines.append(f"{'_'.join(token.split())}\t{tag}")
        lines.append("")
    return _written("\n".join(lines) + "\n", path)


def _written(text: str, path: str | Path) -> Path:
    path = Path(path)
    if not text.strip():
        raise DataError("the corpus is empty", where=path, cure="name files that it has")
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", where=path, cure="name a file elsewhere") from None
    return path
