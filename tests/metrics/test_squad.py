"""EM and F1 of answers against transcriptions of the official scripts' definitions, on what is easily got wrong."""

import re
import string
from collections import Counter

import numpy as np
import pytest

from wordloom.errors import ConfigError
from wordloom.metrics.squad import RULES, answer_rule, cmrc_pieces, longest_common

WORDS, CMRC, CHARACTERS = RULES["words"], RULES["cmrc"], RULES["characters"]
TRICKY = [
    "", "The", "a", "an apple", "Apple.", "the  U.S.A.", "USA", "usa!", "twenty-one", "twenty one", "twentyone",
    "a cat and the hat", "cat and hat", "cat cat hat", "hat cat", "The Who", "who", "“quoted”", "quoted", "don't",
    "dont", "1,000", "1000", "café", "cafe", "theatre", "An", "  the\tend\n", "3.5%", "Beyoncé’s", "Α the Β", "__",
    "東京",
]  # fmt: skip


def squad_normalize(s: str) -> str:
    """Rajpurkar et al. 2016, evaluate-v1.1: lower text and remove punctuation, articles and extra whitespace."""
    s = s.lower()
    s = "".join(ch for ch in s if ch not in set(string.punctuation))
    s = re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", s)
    return " ".join(s.split())


def squad_f1(said: str, gold: str, version: int) -> float:
    ours, theirs = squad_normalize(said).split(), squad_normalize(gold).split()
    if version == 2 and (len(theirs) == 0 or len(ours) == 0):
        return float(theirs == ours)
    num_same = sum((Counter(ours) & Counter(theirs)).values())
    if num_same == 0:
        return 0.0
    precision, recall = num_same / len(ours), num_same / len(theirs)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("version", [1, 2])
def test_words_are_squads_official_definition(version: int) -> None:
    for said in TRICKY:
        for gold in TRICKY:
            f1, exact = WORDS.best(said, [gold], version == 2)
            if version == 2 and not squad_normalize(gold):  # the 2.0 script drops golds of nothing, then wants ""
                f1_expected, em_expected = squad_f1(said, "", 2), float(squad_normalize(said) == "")
            else:
                f1_expected = squad_f1(said, gold, version)
                em_expected = float(squad_normalize(said) == squad_normalize(gold))
            assert f1 == pytest.approx(f1_expected, abs=1e-12), (said, gold)
            assert exact == em_expected, (said, gold)


def test_a_question_is_scored_by_the_best_of_its_answers_each_measure_by_its_own() -> None:
    assert WORDS.best("big red car", ["red car", "a big red bus car"]) == (pytest.approx(6 / 7), 0.0)
    assert WORDS.best("car", ["red car", "the car"]) == (1.0, 1.0)


def test_articles_alone_match_exactly_and_share_no_word_in_the_first_script() -> None:
    assert WORDS.best("the", ["a"], False) == (0.0, 1.0)  # 1.1: no common word, equal after normalising
    assert WORDS.best("the", ["a"], True) == (1.0, 1.0)  # 2.0: both say nothing


def test_saying_nothing_is_right_where_there_is_no_answer_alone() -> None:
    f1, exact = WORDS.scores(["", "x", "", "x y"], [[], [], ["x"], ["x", "y x z"]], True)
    assert f1.tolist() == [1, 0, 0, pytest.approx(0.8)] and exact.tolist() == [1, 0, 0, 0]


# -------------------------------------------------------------------------------------------------- CMRC 2018

SP_CHAR = [*"-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』", "……"]


def cmrc_segments(text: str) -> list[str]:
    """Mixed segmentation of the official script; words between Chinese characters by NLTK's rules."""
    tokenize = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer().tokenize
    segments: list[str] = []
    held = ""
    for char in text.lower().strip():
        if char in SP_CHAR:
            continue
        if re.search(r"[\u4e00-\u9fa5]", char):
            if held:
                segments += tokenize(held)
                held = ""
            segments.append(char)
        else:
            held += char
    return segments + (tokenize(held) if held else [])


def cmrc_f1(said: str, gold: str) -> float:
    ours, theirs = cmrc_segments(said), cmrc_segments(gold)
    table = np.zeros((len(theirs) + 1, len(ours) + 1), int)
    for i, x in enumerate(theirs):
        for j, y in enumerate(ours):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else 0
    same = table.max()
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


CHINESE = [
    "梵语", "《梵語》", "光荣和ω-force", "光荣和 ω-Force", "1957年6月", "1957年", "6月",
    "共有20张战场地图（不含村雨城）", "20张",
    "村雨城", "不含村雨", "NBA总冠军", "nba 總冠軍", "3.5万人", "35万人", "约39.5%", "“你好”，世界", "你好世界", "……",
    "你……好", "",
    "Windows XP系统", "windows系统", "1,000人", "——破折号——", "〇", "第一、第二", "龥龦",
]  # fmt: skip


def test_chinese_is_the_official_definition_of_cmrc() -> None:
    for said in CHINESE:
        for gold in CHINESE:
            f1, exact = CMRC.best(said, [gold])
            assert f1 == pytest.approx(cmrc_f1(said, gold), abs=1e-12), (said, gold)
            strip = [  # remove_punctuation of the script
                "".join(c for c in s.lower().strip() if c not in SP_CHAR) for s in (said, gold)
            ]
            assert exact == float(strip[0] == strip[1]), (said, gold)


def test_common_is_a_run_not_a_subsequence_nor_a_bag() -> None:
    assert longest_common(list("abcde"), list("abxde")) == 2
    assert longest_common(list("xab"), list("abx")) == 2
    assert CMRC.f1("人民中国", "中国人民") == pytest.approx(0.5)  # a bag of characters would say 1
    assert cmrc_pieces("共20张ABC，图") == ["共", "20", "张", "abc", "图"]


# ------------------------------------------------------------------------------------------------ Japanese


def test_japanese_is_squads_f1_over_characters() -> None:
    assert CHARACTERS.best("兵庫県", ["兵庫県宝塚市"]) == (pytest.approx(2 * 3 / (3 + 6)), 0.0)
    assert CHARACTERS.best("「手塚 治虫」", ["手塚治虫"]) == (1.0, 1.0)
    assert CHARACTERS.best("ＡＢＣ１２", ["abc12"]) == (1.0, 1.0)  # NFKC
    assert CHARACTERS.best("約15メートル", ["１５メートル"])[0] == pytest.approx(2 * 6 / 13)


def test_the_script_of_the_texts_decides() -> None:
    chinese, japanese = "梵语是古印度的学术语言 (Sanskrit)", "戦後日本においてストーリー漫画の第一人者"
    assert answer_rule(["The cat sat on 三 mats"]).name == "words"
    assert answer_rule([chinese]).name == "cmrc"
    assert answer_rule([japanese]).name == "characters"
    assert answer_rule([chinese * 30 + "の"]).name == "cmrc"  # a quoted kana makes no Japanese
    assert answer_rule([]).name == "words"
    assert answer_rule([chinese], "words").name == "words"
    with pytest.raises(ConfigError, match="no rule 'letters'"):
        answer_rule([], "letters")


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_bounds(rule) -> None:
    rng = np.random.default_rng(0)
    alphabet = list("ab the。，中国人。ア ")
    for _ in range(300):
        a, b = ("".join(rng.choice(alphabet, 6)) for _ in range(2))
        f1, exact = rule.best(a, [b], True)
        assert 0 <= exact <= f1 + 1e-9 <= 1 + 2e-9
        assert rule.f1(a, b) == pytest.approx(rule.f1(b, a))
