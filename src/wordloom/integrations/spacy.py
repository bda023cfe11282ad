"""A trained run as a component of a spaCy pipeline.

    nlp = spacy.blank("en")
    nlp.add_pipe("wordloom", config={"path": "runs/ner"})

A tagger sets ``doc.ents`` (``token.tag_`` where every word has a label), a classifier ``doc.cats``. spaCy finds the
factory by its entry point; ``import wordloom.integrations.spacy`` does the same by hand. ``nlp.to_disk`` writes the
bundle into the pipeline's folder, so that the folder alone is enough elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import filter_spans, minibatch

from wordloom import api
from wordloom.errors import ConfigError


class Component:
    """path: a run or a bundle, opened on first use; "" where the pipeline is read from disk.

    Raises ConfigError on first use where there is no such run, or one of a task without a place in a ``Doc``.
    """

    def __init__(self, path: str = ""):
        self.path = path
        self._predictor: Any = None

    @property
    def predictor(self) -> Any:
        if self._predictor is None:
            if not self.path:
                raise ConfigError("the component has no model", cure='give config={"path": "runs/NAME"}')
            self._predictor = _usable(api.load(self.path))
        return self._predictor

    def __call__(self, doc: Doc) -> Doc:
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        for docs in minibatch(stream, batch_size):
            if hasattr(self.predictor, "predict_proba"):
                _set_cats(self.predictor, docs)
            elif self.predictor.task.each:
                _set_tags(self.predictor, docs)
            else:
                _set_entities(self.predictor, docs)
            yield from docs

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        self.predictor.save(path, overwrite=True)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Component:
        self._predictor = _usable(api.load(path))
        return self


@Language.factory("wordloom", default_config={"path": ""})
def make_component(nlp: Language, name: str, path: str) -> Component:
    return Component(path)


def _usable(predictor: Any) -> Any:
    name = predictor.task.settings()["name"]
    kind = getattr(predictor, "kind", None)  # of a classifier
    if name != "tag" and kind not in ("single", "multi"):
        what = "regression" if kind == "regression" else f"the task {name}"
        raise ConfigError(f"a spaCy document has no place for the answers of {what}",
                          cure="give a run of a tagger or a classifier")  # fmt: skip
    return predictor


def _set_cats(predictor: Any, docs: list[Doc]) -> None:
    for doc, row in zip(docs, predictor.predict_proba([doc.text for doc in docs]), strict=True):
        doc.cats = {label: float(p) for label, p in zip(predictor.labels, row, strict=True)}


def _set_entities(predictor: Any, docs: list[Doc]) -> None:
    """Entities as ``predict`` finds them in the text, widened to spaCy's own tokens where these differ."""
    for doc, found in zip(docs, predictor.predict([doc.text for doc in docs]), strict=True):
        spans = [doc.char_span(m.start, m.end, m.type, alignment_mode="expand") for m in found]
        doc.set_ents(filter_spans([span for span in spans if span is not None]))


def _set_tags(predictor: Any, docs: list[Doc]) -> None:
    """A label for every token of spaCy's that is not white space."""
    tokens = [[token for token in doc if not token.is_space] for doc in docs]
    given = [[token.text for token in some] for some in tokens]
    for some, words, found in zip(tokens, given, predictor.predict(given), strict=True):
        for token, (_, tag) in zip(some, predictor.task.word_tags(words, found), strict=True):
            token.tag_ = tag
