"""Answers of a tagger in the formats of others: CoNLL columns, lines with marked spans, spaCy's DocBin."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec

from wordloom.data.tag_schemes import tags_of
from wordloom.data.tagged import Mention, TagInput, on_units
from wordloom.errors import ConfigError

Answered = tuple[TagInput, Sequence[Mention]]

_COLOURS = (31, 32, 34, 35, 36, 33, 91, 92, 94, 95, 96, 93)  # of a terminal, in the order types are met


def jsonl(pairs: Iterable[Answered]) -> Iterator[str]:
    """{"text", "spans": [{"start", "end", "type"}]}: what ``finetune --task tag`` reads."""
    for given, answer in pairs:
        spans = [{"start": m.start, "end": m.end, "type": m.type} for m in answer]
        yield json.dumps({"text": given.text, "spans": spans}, ensure_ascii=False)


def clue(pairs: Iterable[Answered]) -> Iterator[str]:
    """{"id", "label": {type: {surface: [[first, last]]}}}, last inclusive: what CLUENER's site reads. id: the record's
    own, else its number from 0."""
    for number, (given, answer) in enumerate(pairs):
        found: dict[str, dict[str, list[list[int]]]] = {}
        for m in answer:
            found.setdefault(m.type, {}).setdefault(given.text[m.start : m.end], []).append([m.start, m.end - 1])
        yield json.dumps({"id": number if given.id is None else given.id, "label": found}, ensure_ascii=False)


def conll(pairs: Iterable[Answered]) -> Iterator[str]:
    """token<TAB>tag, BIO or the word's own label, an empty line after every text."""
    for given, answer in pairs:
        tokens = given.tokens()
        assert given.units is not None  # tokens() needs them
        spans = on_units([m.span for m in answer], given.units)
        for token, tag in zip(tokens, tags_of(len(tokens), spans, "each" if given.each else "bio"), strict=True):
            yield f"{token}\t{tag}"
        yield ""


def inline(pairs: Iterable[Answered]) -> Iterator[str]:
    """Texts with their spans marked: in colour on a terminal (unless NO_COLOR is set), else as [Paris|LOC]."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    colours: dict[str, int] = {}
    for given, answer in pairs:
        parts, at = [], 0
        for m in answer:
            number = _COLOURS[colours.setdefault(m.type, len(colours)) % len(_COLOURS)]
            marked = marked_span(given.text[m.start : m.end], m.type, number if coloured else None)
            parts += [given.text[at : m.start], marked]
            at = m.end
        yield "".join([*parts, given.text[at:]]).replace("\n", " ").replace("\r", " ")


def marked_span(surface: str, kind: str, colour: int | None) -> str:
    """colour: an ANSI foreground colour; None: brackets."""
    if colour is None:
        return f"[{surface}|{kind}]"
    return f"\x1b[1;{colour}m{surface}\x1b[0m \x1b[2;{colour}m{kind}\x1b[0m"


def docbin(pairs: Iterable[Answered]) -> bytes:
    """A spaCy DocBin: ``spacy convert``'s and ``spacy train``'s own file, words being our units.

    Spans are the documents' entities; a label for every word is its tag. Raises ConfigError without spaCy.
    """
    if find_spec("spacy") is None:
        raise ConfigError("spaCy is not installed", where="--format docbin", cure="pip install 'wordloom[spacy]'")
    import spacy
    from spacy.tokens import Doc, DocBin

    vocab = spacy.blank("xx").vocab
    bin_ = DocBin(attrs=["ENT_IOB", "ENT_TYPE", "TAG"], store_user_data=False)
    for given, answer in pairs:
        assert given.units is not None
        edges, text = given.units.tolist(), given.text
        words, spaces, at = [], [], 0
        for start, end in edges:
            if at < start:  # more white space than the one blank that follows a word is a word of its own in spaCy
                words.append(text[at:start])
                spaces.append(False)
            follows = text[end : end + 1] == " "
            words.append(text[start:end])
            spaces.append(follows)
            at = end + follows
        if at < len(text):
            words.append(text[at:])
            spaces.append(False)
        doc = Doc(vocab, words=words, spaces=spaces)
        if given.each:
            tags = {m.start: m.type for m in answer}
            for token in doc:
                token.tag_ = tags.get(token.idx, "")
        else:
            spans = [doc.char_span(m.start, m.end, m.type, alignment_mode="expand") for m in answer]
            doc.set_ents([span for span in spans if span is not None])
        bin_.add(doc)
    return bytes(bin_.to_bytes())
