"""Texts of every awkward sort, made without any file."""

from __future__ import annotations

import random

import pytest

TEXT = (
    "the court of appeal held that a contract was void because neither party had signed it in good faith patients "
    "with fever received antibiotics for seven days naïve café Zoë's O'Brien network operators don't report U.S. 3.14 "
    "Mr. Smith arrived at 10:45 a.m. tokenization unhappiness internationalisation running runner runs ran e-mail"
)
ENGLISH = TEXT.split()
CHINESE = (
    "我们在北京大学学习自然语言处理，酒店的房间很干净。服务员态度非常好！但是早餐不太新鲜？"
    "中国人民银行发布报告；手机电池续航时间长"
)
ODD = [
    "",
    "  ",
    "\t\n",
    "a\x00b \x07bell",
    "\u200bhi\u200b there \u200b",
    "emoji 😀👩‍👩‍👧 flag🇨🇳! ❤️",
    "Ünïcödé ŻÓŁĆ naïve café E\u0301",
    "[MASK] is [SEP] x[CLS]y [PAD] [UNK][mask]",
    "ΣΟΦΟΣ ὈΔΥΣΣΕΎΣ",
    "한국어 텍스트 日本語のテキスト ไทย العربية",
    "İstanbul ǅ ﬁ ½ ™ Ⅳ ①",
    "x" * 150 + " b " + "中" * 120,
    "line\nbreak\r\nx\u2028y\u0085z\x0bv",
    "中文English混排123，测试。㐀𠀀",
    "\x7f\x80\ufffd",
    "¨ ´ \u0345 \u0308x",
    "  leading and trailing  ",
    "▁meta▁ Ġ x</w> ##y",
    "<s></s><unk> &amp; <br />",
    "!!! ... ?! -- __init__ 'quoted' \"double\" “curly” ‘single’",
    "100%  $5.00\u00a0€3 1e-5 2024-01-02",
]


def make_lines(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    lines = []
    for i in range(count):
        words = [rng.choice(ENGLISH) for _ in range(rng.randint(1, 15))]
        if i % 3 == 1:
            at = rng.randrange(len(CHINESE) - 12)
            words = [CHINESE[at : at + rng.randint(1, 12)] for _ in range(2)]
        if i % 3 == 2:
            words = [w + rng.choice(["", ".", ",", "! ", "中国", "😀", "é"]) for w in words]
        lines.append(rng.choice([" ", "  ", ""] if i % 7 == 0 else [" "]).join(words).capitalize())
    return lines


@pytest.fixture(scope="session")
def lines() -> list[str]:
    """Over 500 lines: English, Chinese, mixed, emoji, control characters."""
    return make_lines(500) + ODD
