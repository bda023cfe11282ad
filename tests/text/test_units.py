"""What a text is cut into, and how a file's tokens become a text again."""

import pytest

from wordloom.errors import ConfigError
from wordloom.text import units
from wordloom.text.units import find_units, join_tokens, kept_whole, mostly_characters

ENGLISH = "Don't email @paul: 3,000.50 at U2 (Yorùbá) https://t.co/x."
CHINESE = "阿森纳vs曼城2011年《战舰》"


def cut(text: str, rule: str) -> list[str]:
    return [text[a:b] for a, b in find_units(text, rule).tolist()]


def test_rules_on_english() -> None:
    assert cut(ENGLISH, "tokens") == [
        "Don't", "email", "@paul", ":", "3,000.50", "at", "U2", "(", "Yorùbá", ")", "https://t.co/x."
    ]  # fmt: skip
    assert cut(ENGLISH, "spaces") == ENGLISH.split()
    assert cut("Don't U2 Yorùbá", "words") == ["Don", "'", "t", "U", "2", "Yorùbá"]


def test_rules_on_chinese() -> None:
    assert cut(CHINESE, "words") == ["阿", "森", "纳", "vs", "曼", "城", "2011", "年", "《", "战", "舰", "》"]
    assert cut(CHINESE, "characters") == list(CHINESE)
    pytest.importorskip("jieba")
    assert "".join(cut(CHINESE, "jieba")) == CHINESE and "战舰" in cut(CHINESE, "jieba")


def test_a_letter_keeps_its_combining_marks() -> None:
    text = "i\u0323le\u0301 x"  # marks that no single character holds together with the letter
    assert cut(text, "words") == ["i\u0323le\u0301", "x"]
    assert cut(text, "characters") == ["i\u0323", "l", "e\u0301", "x"]


@pytest.mark.parametrize("rule", sorted(units.RULES))
def test_units_are_in_order_and_hold_all_but_white_space(rule: str) -> None:
    if rule == "jieba":
        pytest.importorskip("jieba")
    for text in (ENGLISH, CHINESE, " \u3000\n", "", "a\u200bb 🙂🏽 ต้น"):
        found = find_units(text, rule)
        assert found.shape == (len(found), 2) and (found[1:, 0] >= found[:-1, 1]).all()
        assert "".join(cut(text, rule)) == "".join(text.split())


def test_without_jieba_words_of_chinese_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "segmenter", lambda: "characters")
    with pytest.raises(ConfigError, match="jieba, which is not installed"):
        find_units(CHINESE, "jieba")


@pytest.mark.parametrize(
    ("tokens", "glued", "text"),
    [
        (["John", "'s", "tea"], False, "John 's tea"),
        (["中国", "政府", "New", "York", "。"], False, "中国政府 New York 。"),
        (list("北京APEC会"), True, "北京APEC会"),
    ],
)
def test_joined_tokens_are_found_where_they_are_said_to_be(tokens: list[str], glued: bool, text: str) -> None:
    joined, edges = join_tokens(tokens, glued)
    assert joined == text
    assert [joined[a:b] for a, b in edges.tolist()] == tokens


def test_what_tokens_look_like() -> None:
    assert mostly_characters(list("北京是首都")) and not mostly_characters(["北京", "是", "首都"])
    assert not mostly_characters(list("abc"))
    assert kept_whole(["don't", "@x", "a"], "tokens") == 3 and kept_whole(["don't", "@x", "a"], "words") == 1
