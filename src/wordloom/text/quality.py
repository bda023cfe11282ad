"""How well a tokenizer fits a text, and which vocabulary size is worth having."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from wordloom.config import TokenizerConfig
from wordloom.errors import TokenizerError
from wordloom.text import chinese, training
from wordloom.text.bulk import BulkEncoder
from wordloom.text.tokenizer import Tokenizer

SIZES = (2000, 4000, 8000, 16000, 32000)
_WORD = re.compile(rf"[{chinese.CJK}]|[^\W{chinese.CJK}]+")
_TRIAL_MB = 5  # megacharacters that trial vocabularies are learnt from: seconds a size
_SAVING = 0.05  # a doubling that saves a smaller share of the tokens is not worth its embeddings
_SPARED = 0.002
_SEEN = 100  # tokens of text per entry below which embeddings stay close to their initial values


@dataclass(frozen=True)
class Quality:
    """Counts over a text; ``words`` are runs of letters and digits, or single Chinese characters."""

    vocab_size: int
    text_bytes: int
    tokens: int
    unknown: int
    words: int

    @property
    def bytes_per_token(self) -> float:
        return self.text_bytes / max(self.tokens, 1)

    @property
    def unknown_rate(self) -> float:
        return self.unknown / max(self.tokens, 1)

    @property
    def tokens_per_word(self) -> float:
        """Fertility; punctuation counts as tokens and not as words."""
        return self.tokens / max(self.words, 1)

    def to_json(self) -> dict[str, Any]:
        rates = {name: getattr(self, name) for name in ("bytes_per_token", "unknown_rate", "tokens_per_word")}
        return asdict(self) | rates

    def lines(self) -> list[str]:
        return [_HEADER, _row(self)]


@dataclass(frozen=True)
class Suggestion:
    """Sizes tried, smallest first; the suggested one; and the reason in words."""

    table: tuple[Quality, ...]
    size: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "reason": self.reason, "table": [quality.to_json() for quality in self.table]}

    def lines(self) -> list[str]:
        return [_HEADER, *map(_row, self.table), f"suggested vocabulary size {self.size:,}: {self.reason}"]


_HEADER = f"{'vocabulary':>10} {'bytes/token':>12} {'tokens/word':>12} {'unknown':>9}"


def _row(q: Quality) -> str:
    return f"{q.vocab_size:>10,} {q.bytes_per_token:>12.2f} {q.tokens_per_word:>12.2f} {q.unknown_rate:>9.3%}"


def quality_report(tokenizer: Tokenizer, texts: Iterable[str]) -> Quality:
    """Measure on ``texts`` (one pass, 1,000 texts in memory): bytes per token, unknown rate, tokens per word."""
    encoder = BulkEncoder(tokenizer)
    size = tokens = unknown = words = 0
    for chunk in _chunks(texts, 1000):
        ids = encoder.encode(chunk).ids
        tokens += len(ids)
        unknown += int((ids == tokenizer.unk_id).sum())
        size += sum(len(text.encode("utf-8", "replace")) for text in chunk)
        words += sum(1 for text in chunk for _ in _WORD.finditer(text))
    return Quality(tokenizer.vocab_size, size, tokens, unknown, words)


def suggest_size(texts: Iterable[str], config: TokenizerConfig, sizes: Sequence[int] = SIZES) -> Suggestion:
    """Learn each size on nine tenths of a sample, measure on the rest, and suggest one.

    The rule: the smallest size after which the next larger one neither saves 5 % of the tokens nor spares 0.2
    points of unknown tokens (Chinese), among the sizes that leave at least 100 tokens of the given text per
    entry; the smallest size where none does.
    """
    texts = list(texts)
    trial = training.sample(texts, _TRIAL_MB).texts
    trial = trial if len(trial) >= 10 else [part for text in trial for part in _tenths(text)]
    held_out, learnt = trial[9::10], [text for i, text in enumerate(trial) if i % 10 != 9]
    if not any(text.strip() for text in held_out):
        raise TokenizerError("too little text to suggest a vocabulary size", cure="give vocab_size as a number")
    table: list[Quality] = []
    for size in sorted(sizes):
        tokenizer = Tokenizer.train(learnt, config.model_copy(update={"vocab_size": size}))
        if table and tokenizer.vocab_size == table[-1].vocab_size:
            break  # the text holds no more
        table.append(quality_report(tokenizer, held_out))
    size, reason = _choose(table, sum(map(len, texts)) / sum(map(len, held_out)))
    return Suggestion(tuple(table), size, reason)


def _choose(table: Sequence[Quality], scale: float) -> tuple[int, str]:
    """``scale``: how many times the measured text the whole text is."""
    chosen, reason = table[0], "the smallest, as the text is short"
    for smaller, larger in zip(table, [*table[1:], None], strict=True):
        per_entry = smaller.tokens * scale / smaller.vocab_size
        if per_entry < _SEEN and smaller is not table[0]:
            return chosen.vocab_size, f"a larger one would leave fewer than {_SEEN} tokens of text per entry"
        chosen = smaller
        if larger is None:
            reason = "the largest tried"
            break
        saving = 1 - larger.tokens / max(smaller.tokens, 1)
        if saving < _SAVING and smaller.unknown_rate - larger.unknown_rate < _SPARED:
            reason = f"{larger.vocab_size:,} would save only {saving:.1%} of the tokens"
            break
    return chosen.vocab_size, reason


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _tenths(text: str) -> list[str]:
    step = max(1, -(-len(text) // 10))
    return [text[at : at + step] for at in range(0, len(text), step)]
