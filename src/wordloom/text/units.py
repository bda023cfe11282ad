"""Where the units of a text lie that a tagger labels: words, characters, whatever a file's own tokens were.

A rule cuts any text; its name is kept with a trained model, so that raw text is cut as its training data was.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wordloom.errors import ConfigError
from wordloom.text.chinese import CJK, continues_word, segmenter

Units = NDArray[np.int32]  # (n, 2) first and last + 1 character of each, in order, not overlapping

KANA = "\u3040-\u30ff\u31f0-\u31ff"
_MARKS = "".join(chr(c) for c in range(0x300, 0x1E95B) if unicodedata.category(chr(c)).startswith("M"))
_LETTERS = f"[^\\W\\d_{CJK}{KANA}][{_MARKS}]*"
_WORDS = re.compile(f"(?:{_LETTERS})+|\\d+|\\S[{_MARKS}]*")
# as corpora of printed text are tokenised: marks inside a word, a user's @ and a # belong to it
_INNER = "[-'’.,:/&_]"
_TOKENS = re.compile(
    f"https?://\\S+|[@#$£€]?(?:{_LETTERS}|\\d)+(?:{_INNER}(?:{_LETTERS}|\\d)+)*|\\.{{2,}}|\\S[{_MARKS}]*"
)
_SPACES = re.compile(r"\S+")
_CHARACTERS = re.compile(f"\\S[{_MARKS}]*")
_UNSPACED = re.compile(f"[{CJK}{KANA}\u3000-\u303f\uff00-\uffef]")


def _matches(pattern: re.Pattern[str]) -> Callable[[str], Units]:
    return lambda text: np.array([m.span() for m in pattern.finditer(text)], np.int32).reshape(-1, 2)


def _segmented(text: str) -> Units:
    """``words``, but Chinese characters joined where the segmenter says that a word goes on."""
    units, joined = RULES["words"](text), continues_word(text)
    if not len(units):
        return units
    starts = ~joined[units[:, 0]]
    starts[0] = True
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(units)) - 1
    return np.stack([units[first, 0], units[last, 1]], axis=1)


RULES: dict[str, Callable[[str], Units]] = {
    "spaces": _matches(_SPACES),
    "tokens": _matches(_TOKENS),
    "words": _matches(_WORDS),
    "characters": _matches(_CHARACTERS),
    "jieba": _segmented,
}


def find_units(text: str, rule: str) -> Units:
    """(n, 2) edges of the units of a text; white space belongs to none.

    rule: "spaces" (what white space divides), "tokens" (marks apart but for those inside a word or number, @user,
    #tag, web addresses), "words" (runs of letters, runs of digits, every other mark and every Chinese or Japanese
    character alone), "characters", "jieba" ("words", with Chinese characters joined into words).
    Raises ConfigError for "jieba" where it is not installed.
    """
    if rule == "jieba" and segmenter() != "jieba":
        raise ConfigError("this text is cut into Chinese words by jieba, which is not installed",
                          cure="pip install 'wordloom[zh]', or give text that is cut into words already")  # fmt: skip
    return RULES[rule](text)


def cut_out(text: str, units: Units) -> list[str]:
    """What stands in the text at the units."""
    return [text[a:b] for a, b in units.tolist()]


def kept_whole(tokens: Sequence[str], rule: str) -> int:
    """How many of a file's tokens the rule would leave as they are."""
    return sum(len(RULES[rule](token)) == 1 for token in tokens)


def join_tokens(tokens: Sequence[str], glued: bool) -> tuple[str, Units]:
    """The text of tokens, and where each lies in it.

    glued: nothing stands between them (files of single characters). Else a space does, but not between two characters
    of Chinese or Japanese.
    """
    pieces: list[str] = []
    edges = np.zeros((len(tokens), 2), np.int32)
    at = 0
    for i, token in enumerate(tokens):
        if i and not glued and not (_UNSPACED.match(tokens[i - 1][-1:]) and _UNSPACED.match(token[:1])):
            pieces.append(" ")
            at += 1
        pieces.append(token)
        edges[i] = at, at + len(token)
        at += len(token)
    return "".join(pieces), edges


def mostly_unspaced(tokens: Sequence[str]) -> bool:
    """Whether most tokens hold Chinese or Japanese."""
    return 2 * sum(_UNSPACED.search(token) is not None for token in tokens) > len(tokens)


def mostly_characters(tokens: Sequence[str]) -> bool:
    """Whether tokens are the single characters of Chinese or Japanese (a few longer ones, as years, may be there)."""
    return mostly_unspaced(tokens) and sum(len(token) == 1 for token in tokens) > 0.9 * len(tokens)
