from __future__ import annotations

from itertools import pairwise

import pytest

from wordloom.text.sentences import sentence_starts


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("Mr. Smith met J. K. Rowling. Then he left.", ["Mr. Smith met J. K. Rowling. ", "Then he left."]),
        ("He paid 3.14 e.g. today... and left. Bye", ["He paid 3.14 e.g. today... and left. ", "Bye"]),
        ('"Stop!" She ran. (Fast.) Gone.', ['"Stop!" ', "She ran. ", "(Fast.) ", "Gone."]),
        ("今天很好。明天呢？”他说！走", ["今天很好。", "明天呢？”", "他说！", "走"]),
        ("a line\nanother\n\n  third", ["a line\n", "another\n\n  ", "third"]),
        ("no end", ["no end"]),
        ("Wait?! Really… Yes", ["Wait?! ", "Really… ", "Yes"]),
    ],
)
def test_sentences_by_hand(text: str, sentences: list[str]) -> None:
    edges = [0, *sentence_starts(text).tolist()]
    edges = edges if edges[-1] == len(text) else [*edges, len(text)]
    assert [text[a:b] for a, b in pairwise(edges)] == sentences
