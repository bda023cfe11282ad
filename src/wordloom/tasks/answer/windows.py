"""A question beside every window of its context: [CLS] question [SEP] piece of the context [SEP].

Devlin et al. 2019, section 4.2; windows with a stride as in the code of their SQuAD experiments. Each window knows
which tokens of the context it holds, and a context knows the characters of its tokens, so that an answer is a slice of
the text as it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordloom.data.questions import Question, Span
from wordloom.errors import ConfigError
from wordloom.tasks.answer.nearness import WIDTH, Units, nearness, numbered
from wordloom.tasks.windows import Ints, Windows, cut
from wordloom.text.sentences import sentence_starts
from wordloom.text.tokenizer import Tokenizer

_TEXTS = 1024  # texts tokenized at a time
# Letters of scripts whose answers are whole words. Others are cut anywhere: Chinese, Thai, and Korean, whose answers
# end before the particle of their word.
_WORD = re.compile("[A-Za-z\u00c0-\u024f\u0300-\u052f\u1e00-\u1fff]+|[0-9]+")


class Tokens(NamedTuple):
    """A context of n tokens. characters: (n, 2) first and last + 1 character of each, without white space around it,
    equal where it is no text. bounds: (n, 2) whether an answer may start, end at it: not inside a word."""

    ids: NDArray[np.int32]
    characters: NDArray[np.int32]
    bounds: NDArray[np.bool_]


@dataclass(frozen=True)
class AnswerWindows:
    """W windows of E questions.

    windows: their tokens. begin: (W,) number of the context token a window's piece begins with; lead: (W,) tokens
    before that piece; sizes: (W,) tokens of the piece; usable: (N, 2) whether an answer may start, end at a token, of
    all pieces one after the other. contexts: of each question. questions_cut: how many were longer than allowed.
    units: of each question, what its features are made from; none where they were not asked for.
    """

    windows: Windows
    begin: Ints
    lead: Ints
    sizes: Ints
    usable: NDArray[np.bool_]
    contexts: list[Tokens]
    questions_cut: int
    units: list[Units]

    @cached_property
    def edges(self) -> Ints:
        """(W + 1,) where the piece of each window begins among the N tokens of all pieces."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @cached_property
    def owner(self) -> Ints:
        """(W,) the question of each window."""
        return np.repeat(np.arange(self.windows.examples), self.windows.counts)

    def near(self, chosen: Ints) -> NDArray[np.float32]:
        """(tokens of their pieces, features) of the windows numbered ``chosen``: what of the question is near."""
        whole = {e: nearness(self.units[e]) for e in np.unique(self.owner[chosen]).tolist()}
        found = [np.zeros((0, WIDTH), np.float32)]
        for w in chosen.tolist():
            begin = int(self.begin[w])
            found.append(whole[int(self.owner[w])][begin : begin + int(self.sizes[w])])
        return np.concatenate(found)

    def pieces(self, chosen: Ints) -> tuple[Ints, Ints]:
        """Of the windows numbered ``chosen``: (window among these, token of its piece) of every token of their
        pieces."""
        sizes = self.sizes[chosen]
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.repeat(np.arange(len(chosen)), sizes), place


def make_answer_windows(
    tokenizer: Tokenizer,
    asked: Sequence[Question],
    *,
    length: int,
    stride: float,
    question: int,
    match: bool = False,
    features: bool = False,
) -> AnswerWindows:
    """Tokenize and cut. length: tokens of a window, special tokens included; stride: share of a piece that the next one
    repeats; question: tokens of the longest question, at most half the room; more are cut off its end. match: tokens of
    the context that are also in the question have the question's segment number: the exact-match feature of Chen et al.
    2017 (section 3.2) without a parameter more. features: keep what ``near`` needs.

    Raises ConfigError where the length leaves no room.
    """
    framed = not tokenizer.sentinel_ids()  # T5's texts begin with nothing (Raffel et al. 2020, section 2.1)
    room = length - 2 - framed
    if room < 8:
        raise ConfigError(f"windows of {length} tokens leave no room for a question and a text",
                          cure="set train.length to 64 or more")  # fmt: skip
    longest = min(question, room // 2)
    contexts = _tokens(tokenizer, (q.context for q in asked))
    questions = dict(_ids(tokenizer, [q.question for q in asked]))
    cls = np.array([tokenizer.cls_id] if framed else [], np.int32)
    sep = np.array([tokenizer.sep_id], np.int32)
    pieces: list[NDArray[np.int32]] = []
    begin, lead, sizes, counts, usable = [], [], [], [], [np.zeros((0, 2), np.bool_)]
    types = [np.zeros(0, np.bool_)]
    for q in asked:
        head = np.concatenate([cls, questions[q.question][:longest], sep])
        ids, _, bounds = contexts[q.context]
        edges = cut(len(ids), length - len(head) - 1, stride)
        known = head[head != tokenizer.unk_id]  # one unknown word is not another
        counts.append(len(edges))
        for a, b in edges:
            pieces += [head, ids[a:b], sep]
            begin.append(a)
            lead.append(len(head))
            sizes.append(b - a)
            usable.append(bounds[a:b])
            other = ~np.isin(ids[a:b], known) if match else np.ones(b - a, np.bool_)
            types += [np.zeros(len(head), np.bool_), other, np.ones(1, np.bool_)]
    lengths = np.array(lead, np.int64) + np.array(sizes, np.int64) + 1
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    windows = Windows(
        np.concatenate(pieces).astype(np.int32) if pieces else np.zeros(0, np.int32),
        np.concatenate(types).astype(np.uint8),
        starts,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
    return AnswerWindows(
        windows, np.array(begin, np.int64), np.array(lead, np.int64), np.array(sizes, np.int64), np.concatenate(usable),
        [contexts[q.context] for q in asked], sum(len(questions[q.question]) > longest for q in asked),
        _units(tokenizer, asked, contexts) if features else [],
    )  # fmt: skip


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterable[tuple[str, NDArray[np.int32]]]:
    for start in range(0, len(texts), _TEXTS):
        block = texts[start : start + _TEXTS]
        yield from zip(block, tokenizer.encode_ids(block), strict=True)


def _tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, Tokens]:
    """Ids and characters of each distinct text."""
    distinct = list(dict.fromkeys(texts))
    found: dict[str, Tokens] = {}
    for start in range(0, len(distinct), _TEXTS):
        block = distinct[start : start + _TEXTS]
        for text, (ids, offsets) in zip(block, tokenizer.encode_offsets(block), strict=True):
            characters = trimmed(text, offsets)
            found[text] = Tokens(ids, characters, bounds_of(text, characters))
    return found


def _units(tokenizer: Tokenizer, asked: Sequence[Question], contexts: dict[str, Tokens]) -> list[Units]:
    numbers: dict[str, int] = {}
    of_text = {
        text: (numbered(text, tokens.characters, numbers),
               np.searchsorted(sentence_starts(text), tokens.characters[:, 0], side="right").astype(np.int32))
        for text, tokens in contexts.items()
    }  # fmt: skip
    # a blank before it: byte-level vocabularies cut a word otherwise where a text begins
    questions = _tokens(tokenizer, (f" {q.question}" for q in asked))
    of_question = {text: numbered(text, tokens.characters, numbers) for text, tokens in questions.items()}
    return [Units(*of_text[q.context], of_question[f" {q.question}"]) for q in asked]


def trimmed(text: str, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Offsets (n, 2) without white space at either end: SentencePiece and byte-level tokens begin with a blank."""
    blank = np.fromiter(map(str.isspace, text), np.bool_, len(text))
    if not blank.any():
        return offsets
    place = np.arange(len(text))
    # the first character that is not blank at or after each place, and the end of the last one before it
    ahead = np.append(np.minimum.accumulate(np.where(blank, len(text), place)[::-1])[::-1], len(text))
    behind = np.concatenate([[0], np.maximum.accumulate(np.where(blank, 0, place + 1))])
    start = np.minimum(ahead[offsets[:, 0]], offsets[:, 1])
    return np.stack([start, np.maximum(behind[offsets[:, 1]], start)], axis=1).astype(np.int32)


def bounds_of(text: str, characters: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(n, 2) whether a token's first character begins, and its last one ends, a word, or stands where words do not
    tell; False for a token that is no text."""
    inside = np.zeros(len(text) + 1, np.bool_)  # between a character and the one before it
    for word in _WORD.finditer(text):
        inside[word.start() + 1 : word.end()] = True
    return ~inside[characters] & (characters[:, :1] < characters[:, 1:])


def tokens_of(span: Span, context: Tokens) -> tuple[int, int] | None:
    """Numbers of the first and last token of the shortest run that holds the span and may be an answer; None where no
    token holds a character of it."""
    a, b = context.characters.T
    held = np.flatnonzero((b > span.start) & (a < span.end) & (a < b))
    if span.start < 0 or not len(held):
        return None
    # the first token of a text begins a word and its last one ends one: there is always a bound
    return (int(np.flatnonzero(context.bounds[: held[0] + 1, 0])[-1]),
            int(held[-1] + np.flatnonzero(context.bounds[held[-1] :, 1])[0]))  # fmt: skip
