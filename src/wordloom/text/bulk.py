"""Encoding many documents fast: each different word is given to the tokenizer once and then remembered.

After BERT's splitting (white space, punctuation, Chinese characters) every word is encoded on its own, so that
ids are a function of the word. Text has few different words: cutting it by a table of character classes and
looking words up in a hash table gives the library's ids many times faster than the library (measured on
English novels, one thread, 8,192 words: see benchmarks/token_store.py). Tokenizers of another splitting take the
library's own path; both give the same :class:`Bulk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordloom.text import chinese
from wordloom.text.sentences import sentence_starts
from wordloom.text.tokenizer import Encoded, Tokenizer, replace_surrogates

_WORD, _SPACE, _ALONE, _AWKWARD, _UNSEEN = range(5)  # classes of characters
_SLOTS = 1 << 21  # hash slots; the memo is emptied when half of them, or the arena of letters, is full
_LETTERS = 1 << 24


class Bulk(NamedTuple):
    """D documents of n tokens in all, one after the other.

    ids: (n,) int32. starts: (D + 1,) int64. word_starts, sentence_starts: (n,) bool.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    word_starts: NDArray[np.bool_]
    sentence_starts: NDArray[np.bool_]


class BulkEncoder:
    """``encode(texts)`` for one tokenizer; keeps its memory of words from call to call. Not thread-safe."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.words = WordMemo(tokenizer) if splits_as_bert(tokenizer) else None
        self._added = [t["content"] for t in tokenizer.description["added_tokens"]]

    def encode(self, texts: Sequence[str]) -> Bulk:
        """Ids, word and sentence starts of ``texts``; no special tokens added."""
        if not texts:
            return _join([])
        if self.words is None:
            return _join([_from_library(t, e) for t, e in zip(texts, self.tokenizer.encode(texts), strict=True)])
        whole = "\n".join(texts)
        if not any(token in whole for token in self._added):
            bulk = self.words.encode(texts, whole)
            if bulk is not None:
                return bulk
        if len(texts) == 1:
            return _from_library(texts[0], self.tokenizer.encode(texts)[0])
        middle = len(texts) // 2  # only the documents that hold something unusual go to the library
        return _join([self.encode(texts[:middle]), self.encode(texts[middle:])])


def splits_as_bert(tokenizer: Tokenizer) -> bool:
    """Whether words are encoded independently after BERT's normaliser and splitting."""
    d = tokenizer.description
    kinds = [(d[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer")]
    plain = not any(token["normalized"] for token in d["added_tokens"])  # else matched in the normalised text
    return kinds == ["BertNormalizer", "BertPreTokenizer"] and plain and not d["model"].get("dropout")


class WordMemo:
    """Hash table from words (as they stand in the text) to the ids the tokenizer gives them."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.classes = np.full(0x110000, _UNSEEN, np.uint8)
        self.block_seen = np.zeros(0x1100, np.bool_)
        self.clear()

    def clear(self) -> None:
        self.slots = np.full(_SLOTS, -1, np.int32)
        self.letters = np.empty(_LETTERS, np.uint32)
        self.letter_at = np.zeros(_SLOTS // 2 + 1, np.int64)  # word w is letters[letter_at[w] : letter_at[w + 1]]
        self.count = 0
        self.ids = np.empty(1 << 16, np.int32)
        self.id_at = np.zeros(_SLOTS // 2 + 1, np.int64)

    def encode(self, texts: Sequence[str], whole: str) -> Bulk | None:
        """``whole`` is the texts joined by a line break. None: a character that this path cannot treat."""
        try:
            codes = np.frombuffer(whole.encode("utf-32-le"), np.uint32)
        except UnicodeEncodeError:
            return None
        self._learn_characters(codes)
        edges = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) + 1 for text in texts], out=edges[1:])
        words, places = np.empty(len(codes), np.int32), np.empty(len(codes), np.int64)
        for _ in range(2):
            state = _cut(
                codes, self.classes, self.slots, self.letters, self.letter_at, self.count, edges, words, places
            )
            found, count, word_edges = state
            if found >= -1:
                break
            self.clear()  # full: start again with an empty memo
        else:
            return None
        if found == -1:
            self.clear()
            return None
        self._learn_words(count)
        continues = chinese.continues_word(whole) if chinese.has_chinese(whole) else np.zeros(0, np.bool_)
        n = _count_ids(words[:found], self.id_at)
        ids, is_word, is_sentence = np.empty(n, np.int32), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        marks = np.append(sentence_starts(whole), np.iinfo(np.int64).max)
        starts = np.zeros(len(texts) + 1, np.int64)
        _expand(words, places, word_edges, self.ids, self.id_at, continues, marks, ids, is_word, is_sentence, starts)
        return Bulk(ids, starts, is_word, is_sentence)

    def _learn_characters(self, codes: NDArray[np.uint32]) -> None:
        """Ask the tokenizer how it treats each character of a block of 256, the first time one is met."""
        blocks = np.flatnonzero(np.bincount(codes >> 8, minlength=0x1100).astype(np.bool_) & ~self.block_seen)
        for block in blocks:
            self.block_seen[block] = True
            for code in range(block << 8, (block + 1) << 8):
                self.classes[code] = self._class_of(code)

    def _class_of(self, code: int) -> int:
        if 0xD800 <= code < 0xE000:
            return _AWKWARD
        backend = self.tokenizer.backend
        normal = backend.normalizer.normalize_str(f"a{chr(code)}b")
        pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(normal)]
        if len(pieces) == 1:
            return _WORD  # a letter, or a character that the normaliser takes away
        if pieces == ["a", "b"]:
            return _SPACE
        return _ALONE if len(pieces) == 3 and pieces[0] == "a" and pieces[2] == "b" else _AWKWARD

    def _learn_words(self, count: int) -> None:
        at, letters = self.letter_at, self.letters
        new = [letters[at[w] : at[w + 1]].tobytes().decode("utf-32-le") for w in range(self.count, count)]
        if not new:
            return
        encoded = self.tokenizer.encode_ids(new)
        lengths = np.array([len(ids) for ids in encoded], np.int64)
        used = self.id_at[self.count]
        self.id_at[self.count + 1 : count + 1] = used + np.cumsum(lengths)
        needed = int(self.id_at[count])
        if needed > len(self.ids):
            self.ids = np.concatenate((self.ids, np.empty(needed, np.int32)))
        self.ids[used:needed] = np.concatenate(encoded)
        self.count = count


@njit(cache=True, nogil=True)
def _cut(codes, classes, slots, letters, letter_at, count, edges, words, places):  # type: ignore[no-untyped-def]  # fmt: skip
    """Number the words of each document. (found, count, word edges); found -1 awkward character, -2 memo full."""
    word_edges = np.zeros(len(edges), np.int64)
    found = 0
    mask = len(slots) - 1
    for d in range(len(edges) - 1):
        i, end = edges[d], edges[d + 1] - 1
        while i < end:
            kind = classes[codes[i]]
            if kind == _SPACE:
                i += 1
                continue
            if kind >= _AWKWARD:
                return -1, count, word_edges
            first = i
            h = np.uint64(codes[i]) * np.uint64(0x9E3779B97F4A7C15)
            i += 1
            if kind == _WORD:
                while i < end and classes[codes[i]] == _WORD:
                    h = (h ^ (h >> np.uint64(29)) ^ np.uint64(codes[i])) * np.uint64(0xBF58476D1CE4E5B9)
                    i += 1
            slot = np.int64((h ^ (h >> np.uint64(32))) & np.uint64(mask))
            while True:
                w = slots[slot]
                if w < 0:
                    at = letter_at[count]
                    if count + 1 >= len(letter_at) or at + i - first > len(letters):
                        return -2, count, word_edges
                    letters[at : at + i - first] = codes[first:i]
                    slots[slot] = w = count
                    count += 1
                    letter_at[count] = at + i - first
                    break
                at = letter_at[w]
                if letter_at[w + 1] - at == i - first:
                    same = True
                    for k in range(i - first):
                        if letters[at + k] != codes[first + k]:
                            same = False
                            break
                    if same:
                        break
                slot = (slot + 1) & mask
            words[found] = w
            places[found] = first
            found += 1
        word_edges[d + 1] = found
    return found, count, word_edges


@njit(cache=True, nogil=True)
def _count_ids(words, id_at):  # type: ignore[no-untyped-def]
    n = 0
    for w in words:
        n += id_at[w + 1] - id_at[w]
    return n


@njit(cache=True, nogil=True)
def _expand(words, places, word_edges, memo, id_at, continues, marks, ids, is_word, is_sentence, starts):  # type: ignore[no-untyped-def]  # fmt: skip
    n = 0
    mark = 0
    for d in range(len(word_edges) - 1):
        pending = True
        for k in range(word_edges[d], word_edges[d + 1]):
            place = places[k]
            while marks[mark] <= place:
                pending = True
                mark += 1
            a, b = id_at[words[k]], id_at[words[k] + 1]
            if a == b:
                continue
            ids[n : n + b - a] = memo[a:b]
            is_word[n] = len(continues) == 0 or not continues[place]
            is_sentence[n] = pending
            pending = False
            n += b - a
        starts[d + 1] = n


def _from_library(text: str, encoded: Encoded) -> Bulk:
    n = len(encoded.ids)
    is_sentence = np.zeros(n, np.bool_)
    is_sentence[:1] = True
    first = np.searchsorted(encoded.offsets[:, 0], sentence_starts(replace_surrogates(text)))
    is_sentence[first[first < n]] = True
    return Bulk(encoded.ids, np.array([0, n], np.int64), encoded.word_starts, is_sentence)


def _join(parts: list[Bulk]) -> Bulk:
    empty = Bulk(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_))
    parts = [empty, *parts]
    shift = np.cumsum([0] + [len(part.ids) for part in parts[:-1]])
    starts = np.concatenate([np.zeros(1, np.int64), *(p.starts[1:] + s for p, s in zip(parts, shift, strict=True))])
    ids, words, sentences = (np.concatenate([part[i] for part in parts]) for i in (0, 2, 3))
    return Bulk(ids, starts, words, sentences)
