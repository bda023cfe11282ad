from __future__ import annotations

import pytest

from wordloom.config import TokenizerConfig
from wordloom.errors import TokenizerError
from wordloom.text.quality import Quality, _choose, quality_report, suggest_size
from wordloom.text.tokenizer import Tokenizer


def test_counts_by_hand() -> None:
    tokenizer = Tokenizer.train(["the cat 中 国"] * 5, TokenizerConfig(vocab_size=100))
    report = quality_report(tokenizer, ["the cat, 中国!", "☃"])
    # the cat , 中 国 ! ☃: seven tokens, of which , ! ☃ are unknown; words the, cat, 中, 国
    assert (report.tokens, report.unknown, report.words) == (7, 3, 4)
    assert report.text_bytes == len("the cat, 中国!☃".encode())
    assert report.bytes_per_token == report.text_bytes / 7
    assert report.to_json()["unknown_rate"] == 3 / 7
    assert len(report.lines()) == 2


def table(*tokens: int, unknown: tuple[int, ...] = (0, 0, 0, 0)) -> list[Quality]:
    return [Quality(1000 * 2**i, 10**6, n, u, 10**5) for i, (n, u) in enumerate(zip(tokens, unknown, strict=False))]


def test_rule_by_hand() -> None:
    # doublings save 10 %, 4.4 %, 7 %: the first below 5 % stops
    assert _choose(table(1_000_000, 900_000, 860_000, 800_000), 1.0)[0] == 2000
    # always more than 5 %: the largest
    assert _choose(table(1_000_000, 900_000, 800_000, 700_000), 10.0)[0] == 8000
    # 2000 entries would see 180,000 / 2000 = 90 tokens each: too few
    assert _choose(table(200_000, 180_000, 150_000), 1.0)[0] == 1000
    # nothing saved, but 1 % fewer unknown tokens
    assert _choose(table(10**6, 10**6, 10**6, unknown=(10_000, 0, 0)), 1.0)[0] == 2000


def test_suggested_size_is_used(lines: list[str]) -> None:
    config = TokenizerConfig(vocab_size="auto")
    suggestion = suggest_size(lines, config, sizes=(150, 300))
    assert suggestion.size in {q.vocab_size for q in suggestion.table}
    assert [q.tokens for q in suggestion.table] == sorted((q.tokens for q in suggestion.table), reverse=True)
    assert f"{suggestion.size:,}" in suggestion.lines()[-1]
    tokenizer = Tokenizer.train(lines, config)
    assert "suggested vocabulary size" in tokenizer.notes[-1]
    with pytest.raises(TokenizerError, match="too little text"):
        suggest_size(["a"], config)
