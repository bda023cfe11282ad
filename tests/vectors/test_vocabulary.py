"""Words and their order against str.split, a reading of the rule character by character, and jieba itself."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wordloom.config import VectorsConfig
from wordloom.data.readers import raw_lines
from wordloom.errors import ConfigError, DataError
from wordloom.text import chinese
from wordloom.vectors import wordhash
from wordloom.vectors.vocabulary import Splitter, Words, choose
from wordloom.vectors.wordhash import WordTable, cut

NASTY = [
    "", " ", "\n\n", "a", "'", "''", "a'", "'a", "a''b", "a'b'c", "rock 'n' roll", "don\u2019t \u2018quote\u2019",
    "nul\0inside \0", "line\u2028separator\u2029and\x85next\x1cfile\u3000wide\u00a0hard\u200bzero", "tab\tff\fvt\vcr\r",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 a\U0001f600b \U0001f1e8\U0001f1f3",
    "e\u0323\u0300 \u1eb9\u0300ko\u0323\u0301 \u0301alone x\u0301'\u0301y", "co\u00adop\u00ad \u00adx a\u00ad\u00adb",
    "ΟΔΥΣΣΕΥΣ Σ ΣΑΣ αΣ. ΣΣ'Σ", "İSTANBUL I ı ẞ ǅ Ⱥ Ⱦ", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u064e\u0643",
    "हिन्दी क्\u200dष की", "一二三abc四 12五。中\ufe00国\u0301 'n一'二", "x_y 3.14 ² Ⅷ ①", "\U00020000\U0002a6d6𠀀a",
    "\ufeffbom \ufffd \U0010ffff \ue000", "9" * 1000 + " " + "\u4e00" * 1000,
]  # fmt: skip


def by_the_rule(text: str, mode: Words) -> list[str]:
    """The rule of the module's docstring, one character after the other, with the interpreter's own functions."""
    if mode == "split":
        return text.split()
    text = unicodedata.normalize("NFC", text).lower()
    kinds = ""
    for char in text:
        if char in "'\u2019\u00ad\u200c\u200d":
            kinds += "J"
        elif mode == "characters" and chinese.has_chinese(char):
            kinds += "C"
        elif char.isalnum():
            kinds += "A"
        else:
            kinds += "M" if unicodedata.category(char).startswith("M") else "S"
    found = [text[m.start() : m.end()] for m in re.finditer("CM*|A[AM]*(?:JA[AM]*)*", kinds)]
    return [word.replace("\u2019", "'").replace("\u00ad", "") for word in found]


@pytest.mark.parametrize("mode", ["split", "words", "characters"])
def test_nasty_text(mode: Words) -> None:
    splitter = Splitter(mode)
    for text in [*NASTY, "\n".join(NASTY), " ".join(NASTY), "".join(NASTY)]:
        assert splitter(text) == by_the_rule(text, mode), repr(text)


@pytest.mark.parametrize("mode", ["split", "words", "characters"])
def test_every_character(mode: Words) -> None:
    """Alone, inside a word, doubled: of the first plane, where the white space is, every one."""
    codes = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 7)]
    text = " ".join(f"{c} a{c}b {c}{c}Z" for c in map(chr, codes))
    assert Splitter(mode)(text) == by_the_rule(text, mode)


def test_words_as_a_reader_expects_them() -> None:
    words = Splitter("words")
    assert words("Don\u2019t STOP the \u2018O'Neills\u2019, 3.5% off!") == [
        "don't",
        "stop",
        "the",
        "o'neills",
        *"35",
        "off",
    ]
    assert words("Ọ̀rọ̀ Yorùbá") == [unicodedata.normalize("NFC", w) for w in ("ọ̀rọ̀", "yorùbá")]
    assert words("हिन्दी, मराठी") == ["हिन्दी", "मराठी"]
    assert words("كِتَابٌ، قلم") == ["كِتَابٌ", "قلم"]
    assert words("e\u0301t\u00e9") == ["\u00e9t\u00e9"]  # one spelling of what looks the same
    assert Splitter("characters")("iPhone手机") == ["iphone", "手", "机"]


def test_jieba_cuts_the_chinese_runs_and_nothing_else() -> None:
    jieba = pytest.importorskip("jieba")
    text = "我来到北京清华大学。iPhone手机3D打印, Don't! 小明硕士毕业于中国科学院计算所，后在日本京都大学深造"
    wanted: list[str] = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[^\u4e00-\u9fff]+", text):
        wanted += jieba.lcut(run) if chinese.has_chinese(run) else by_the_rule(run, "words")
    assert Splitter("jieba")(text) == wanted
    assert "清华大学" in wanted and "don't" in wanted


def test_without_jieba_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chinese, "segmenter", lambda: "characters")
    with pytest.raises(ConfigError, match=r"jieba is not installed.*wordloom\[zh\].*characters"):
        Splitter("jieba")


@pytest.mark.parametrize("name", ["english_novels.txt.gz", "yoruba.txt.gz", "zh_reviews.txt.gz"])
@pytest.mark.parametrize("mode", ["split", "words", "characters"])
def test_real_text(name: str, mode: Words, shared_data: Path) -> None:
    lines = []
    for _, raw, _ in raw_lines(shared_data / "pretrain" / name):
        lines.append(raw.decode("utf-8", "replace"))
        if len(lines) == 500:
            break
    assert Splitter(mode)("\n".join(lines)) == by_the_rule("\n".join(lines), mode)


def test_a_letter_grows_by_half_at_most() -> None:
    """The room that ``cut`` sets aside for the words of a text."""
    written = Splitter("words").rules.written
    for code in [*range(0x80, 0xD800), *range(0xE000, 0x110000)]:
        assert len(chr(written[code]).encode()) <= 1.5 * len(chr(code).encode()), hex(code)


def test_a_line_of_ten_megabytes() -> None:
    splitter = Splitter("words")
    chunk = cut(b"A" * 10_000_000 + b" b " + b"cD " * 1_000_000, splitter.rules)
    assert chunk.counts.tolist() == [1, 1, 1_000_000] and chunk.ends.tolist() == [1_000_002]
    assert chunk.word(0) == b"a" * 10_000_000 and chunk.word(2) == b"cd"


@pytest.mark.parametrize("slots", [2, 1 << 14])
@pytest.mark.parametrize("multiply", [0, int(wordhash.MULTIPLY)])
def test_words_of_one_hash_are_kept_apart(slots: int, multiply: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the factor 0 every word has the hash 0, in a table that must grow: only the bytes tell words apart."""
    monkeypatch.setattr(wordhash, "MULTIPLY", np.uint64(multiply))
    rng = np.random.default_rng(0)
    text = [str(n) for n in rng.zipf(1.3, 3000) % 700] + ["ab", "ba", "a", "b", "ab\0", "aba"]
    rules, table, met = Splitter("split").rules, WordTable(), []
    for part in (text[:1000], text[1000:1001], text[1001:]):
        chunk = cut(" ".join(part).encode(), rules, slots)
        met += table.merge(chunk)[chunk.ids].tolist()
    assert [word.decode() for word in table.words(np.array(met))] == text
    counted = dict(zip(spelled(table), table.counts.tolist(), strict=False))
    assert counted == Counter(text)
    assert set(table.merge(wordhash.chunk_of([b"unseen", b"ab"]), grow=False).tolist()) == {
        -1,
        spelled(table).index("ab"),
    }


def spelled(table: WordTable) -> list[str]:
    return [word.decode() for word in table.words(np.arange(table.count))]


def test_forgetting_words_keeps_the_others() -> None:
    table, rules = WordTable(), Splitter("split").rules
    words = [f"w{n}" * (n % 5 + 1) for n in range(500)]
    table.merge(cut(" ".join(words + words[::3]).encode(), rules))
    table.keep(table.counts[: table.count] > 1)
    assert spelled(table) == words[::3]
    ids = table.merge(cut(" ".join(words).encode(), rules))
    assert len(set(ids.tolist())) == 500 == table.count
    assert table.counts[ids].tolist() == [3 if n % 3 == 0 else 1 for n in range(500)]


def table_of(text: str) -> WordTable:
    table = WordTable()
    table.merge(cut(text.encode(), Splitter("split").rules))
    return table


def test_order_is_falling_count_then_bytes() -> None:
    table = table_of("z z é é \U00010000 \U00010000 \uffff \uffff a a b b b rare")
    vocabulary, final = choose(table, 14, VectorsConfig(min_count=2))
    assert vocabulary.words == ["b", "a", "z", "é", "\uffff", "\U00010000"]  # UTF-16 would put the last two otherwise
    assert vocabulary.counts.tolist() == [3, 2, 2, 2, 2, 2] and vocabulary.total == 14
    assert dict(zip(spelled(table), final.tolist(), strict=True)) == {
        **{w: i for i, w in enumerate(vocabulary.words)},
        "rare": -1,
    }


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 100])
def test_max_vocab_keeps_the_head_of_the_same_order(size: int) -> None:
    table = table_of("z z é é \U00010000 \U00010000 \uffff \uffff a a b b b rare")
    whole, _ = choose(table, 14, VectorsConfig(min_count=1))
    head, final = choose(table, 14, VectorsConfig(min_count=1, max_vocab=size))
    assert head.words == whole.words[:size] and head.counts.tolist() == whole.counts[:size].tolist()
    assert sorted(final[final >= 0].tolist()) == list(range(len(head.words)))


def test_no_word_left() -> None:
    with pytest.raises(DataError, match=r"no word occurs 5 times; the most frequent of 3 occurs 2 times.*min_count"):
        choose(table_of("a a b"), 3, VectorsConfig())
