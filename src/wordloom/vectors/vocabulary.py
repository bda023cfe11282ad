"""What a word is, and which words are kept.

The four ways to cut text (``VectorsConfig.words``):

split       at white space (that of ``str.split``), nothing else changed.
words       Unicode NFC, lower case, then runs of letters and digits (``str.isalnum``). Combining marks (Yoruba tones,
            Arabic and Hindi vowel signs) stay with their letter. An apostrophe, a zero-width joiner or non-joiner
            stays between two letters (don't, o'neill; Persian and Hindi spelling) and nowhere else; the typographic
            apostrophe is written as the plain one, a soft hyphen is left out. A run of Chinese is one word.
jieba       every Chinese run cut by jieba (extra ``zh``), the rest as "words".
characters  every Chinese character a word, the rest as "words".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wordloom.config import VectorsConfig
from wordloom.errors import ConfigError, DataError
from wordloom.text import chinese
from wordloom.vectors.wordhash import ALONE, JOINER, LETTER, LINE, MARK, MULTI, SPACE, Rules, WordTable, cut

Words = Literal["split", "words", "jieba", "characters"]

# str.split's white space; C's isspace would also leave U+0085, U+00A0 and U+3000 inside words.
_WHITE = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Between two letters: what is written for it (0: nothing). Soft hyphen, non-joiner, joiner, right single quote.
_JOINERS = {0x27: 0x27, 0xAD: 0, 0x200C: 0x200C, 0x200D: 0x200D, 0x2019: 0x27}


@dataclass(frozen=True)
class Vocabulary:
    """N words. counts: (N,) int64, falling, ties by UTF-8 bytes.

    total: all running words seen, kept or not; a joined phrase is one.
    """

    words: list[str]
    counts: NDArray[np.int64]
    total: int

    def __len__(self) -> int:
        return len(self.words)


class Splitter:
    """Cuts text in one of the four ways. Raises ConfigError for "jieba" where jieba is not installed."""

    def __init__(self, words: Words):
        if words == "jieba" and chinese.segmenter() != "jieba":
            cure = 'install the extra "zh" (pip install "wordloom[zh]"), or use words = "characters"'
            raise ConfigError("jieba is not installed", where='[vectors] words = "jieba"', cure=cure)
        self.words = words
        self.rules = _rules(words)

    def encode(self, texts: Sequence[str]) -> bytes:
        """Texts one after the other, a line break between them, as the table's loop reads them."""
        return "\n".join([t if t.isascii() else self._prepare(t) for t in texts]).encode("utf-8", "replace")

    def _prepare(self, text: str) -> str:
        """What a table of single characters cannot do, for text beyond ASCII."""
        if self.words == "split":
            return text
        if not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
        if "Σ" in text or "İ" in text:  # the only letters whose lower case looks at others, or is two characters
            text = text.lower()
        if self.words == "jieba" and chinese.has_chinese(text):
            flags = chinese.is_chinese(text)
            breaks = flags & ~chinese.continues_word(text)
            breaks[1:] |= flags[:-1] & ~flags[1:]
            places = [0, *np.flatnonzero(breaks).tolist(), len(text)]
            text = " ".join([text[a:b] for a, b in pairwise(places)])
        return text

    def __call__(self, text: str) -> list[str]:
        """The words of a text, in order."""
        chunk = cut(self.encode([text]), self.rules, slots=16)
        known = [chunk.word(number).decode("utf-8") for number in range(len(chunk.counts))]
        return [known[number] for number in chunk.ids.tolist()]


def choose(table: WordTable, total: int, config: VectorsConfig) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The words that occur ``min_count`` times, at most ``max_vocab`` of them, and (count,) the new id or -1 of each.

    Order: falling count, ties by UTF-8 bytes (so by code points). Raises DataError where no word is left.
    """
    counts = table.counts[: table.count]
    kept = np.flatnonzero(counts >= config.min_count)
    if not len(kept):
        most = int(counts.max(initial=0))
        what = f"no word occurs {config.min_count} times; the most frequent of {total:,} occurs {most:,} times"
        raise DataError(what, where="[vectors] min_count", cure="lower min_count, or give more text")
    limit = config.max_vocab
    if limit is not None and len(kept) > limit:  # only the ties at the last place need to be sorted out by spelling
        kept = kept[counts[kept] >= np.partition(counts[kept], -limit)[-limit]]
    spelled = table.words(kept)
    by_bytes = np.array(sorted(range(len(kept)), key=spelled.__getitem__), np.int64)
    order = by_bytes[np.argsort(-counts[kept[by_bytes]], kind="stable")][:limit]
    final = np.full(table.count, -1, np.int32)
    final[kept[order]] = np.arange(len(order), dtype=np.int32)
    words = [spelled[place].decode("utf-8") for place in order.tolist()]
    return Vocabulary(words, counts[kept[order]], total), final


@cache
def _rules(words: Words) -> Rules:
    """Built once: one pass of the interpreter's own tables over every code point."""
    every = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    written = np.arange(0x110000, dtype=np.int32)
    if words == "split":
        classes = np.full(0x110000, LETTER, np.uint8)
        _mark(classes, f"[{_WHITE}]", every, SPACE)
    else:
        classes = np.full(0x110000, SPACE, np.uint8)
        _mark(classes, r"[^\W_]+", every, LETTER)
        places = [code for a, b in ((0x300, 0x20000), (0xE0100, 0xE01F0)) for code in range(a, b)]
        classes[[code for code in places if unicodedata.category(chr(code))[0] == "M"]] = MARK
        if words == "characters":
            _mark(classes, f"[{chinese.CJK}]+", every, ALONE)
        classes[list(_JOINERS)] = JOINER
        # İ alone becomes two characters and Σ depends on its neighbours: _prepare has lowered both
        lowered = every.replace("İ", "i").replace("Σ", "σ").lower()
        written = np.frombuffer(lowered.encode("utf-32-le", "surrogatepass"), np.int32).copy()
        for code, plain in _JOINERS.items():
            written[code] = plain
    kinds = np.where(classes[:256] == LETTER, written[:256], classes[:256]).astype(np.uint8)
    kinds[128:] = MULTI
    kinds[ord("\n")] = LINE
    return Rules(kinds, classes, written)


def _mark(classes: NDArray[np.uint8], pattern: str, every: str, kind: int) -> None:
    for run in re.finditer(pattern, every):
        classes[run.start() : run.end()] = kind
