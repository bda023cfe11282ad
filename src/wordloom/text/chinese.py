"""Chinese words inside running text, for whole-word masks (Cui et al. 2021, "Pre-Training with Whole Word
Masking for Chinese BERT", section 2.2: characters are the tokens, words are only the units of masking).

jieba finds the words when it is installed (extra ``zh``); without it every character is a word.
"""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The blocks that BertNormalizer surrounds with spaces: the tokenizer and this file must agree on them.
CJK = "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
_RUN = re.compile(f"[{CJK}]+")


@cache
def _jieba() -> Any | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jieba 0.42 has escape sequences that newer Pythons warn about
            jieba = importlib.import_module("jieba")
    except ImportError:
        return None
    jieba.setLogLevel(logging.WARNING)
    return jieba


def segmenter() -> str:
    """What decides where Chinese words start: ``"jieba"`` or ``"characters"`` (jieba is not installed)."""
    return "characters" if _jieba() is None else "jieba"


def has_chinese(text: str) -> bool:
    return not text.isascii() and _RUN.search(text) is not None


def is_chinese(text: str) -> NDArray[np.bool_]:
    """(len(text),) True at Chinese characters."""
    flags = np.zeros(len(text), np.bool_)
    for run in _RUN.finditer(text):
        flags[run.start() : run.end()] = True
    return flags


def search_words(run: str) -> Iterator[str]:
    """Words of a run of Chinese characters, the shorter ones inside a long word before it, so that both are found.

    With jieba only (see ``segmenter``).
    """
    jieba = _jieba()
    assert jieba is not None
    yield from jieba.cut_for_search(run)


def continues_word(text: str) -> NDArray[np.bool_]:
    """(len(text),) True at a Chinese character that is not the first of its word."""
    flags = np.zeros(len(text), np.bool_)
    jieba = _jieba()
    if jieba is None:
        return flags
    for run in _RUN.finditer(text):
        at = run.start()
        for word in jieba.cut(run.group()):
            flags[at + 1 : at + len(word)] = True
            at += len(word)
    return flags
