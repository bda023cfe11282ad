"""n-grams and their hash against fastText's own library and gensim's port of it."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from wordloom.errors import ConfigError
from wordloom.vectors.ngrams import END_OF_SENTENCE, ngram_ids, ngram_table, utf8

WORDS = [
    "a", "of", "where", "naïve", "Straße", "中", "中文", "自然语言处理", "北京大学", "😀", "👩‍🚀s", "e\u0301t\u00e9",
    "ÿþ", "<>", "<", "a>b", "\u0800x", "\U0010ffff", "нейросеть", "한국어", "donaudampfschifffahrt", "'s", "1,000",
]  # fmt: skip


def test_hash_is_fnv1a_with_signed_bytes() -> None:
    """By hand: "<a>" has the one 3-gram "<a>"; FNV-1a of its three bytes, and of one byte above 127."""
    h = 2166136261
    for byte in b"<a>":
        h = (h ^ byte) * 16777619 % 2**32
    assert ngram_ids("a", 3, 3, 2**31 - 1) == [h % (2**31 - 1)]
    h = 2166136261
    for byte in (0xFFFFFFC3, 0xFFFFFFA9):  # é, sign-extended
        h = (h ^ byte) * 16777619 % 2**32
    assert ngram_ids("é", 1, 1, 1000) == [h % 1000]


@pytest.mark.parametrize(("low", "high", "buckets"), [(3, 6, 2_000_000), (1, 2, 97), (2, 30, 2**31 - 1), (5, 5, 1)])
def test_equal_to_gensim(low: int, high: int, buckets: int) -> None:
    fasttext = pytest.importorskip("gensim.models.fasttext")
    for word in WORDS:
        assert ngram_ids(word, low, high, buckets) == fasttext.ft_ngram_hashes(word, low, high, buckets), word


@pytest.mark.parametrize(("low", "high", "buckets"), [(3, 6, 2_000_000), (1, 3, 101)])
def test_equal_to_fasttext(low: int, high: int, buckets: int, tmp_path: Path) -> None:
    """Words inside and outside the vocabulary of a model trained here; fastText gives rows, words + bucket."""
    fasttext = pytest.importorskip("fasttext")
    known = WORDS[:6]
    (tmp_path / "corpus.txt").write_text((" ".join(known) + "\n") * 2, encoding="utf-8")
    model = fasttext.train_unsupervised(
        str(tmp_path / "corpus.txt"), dim=1, epoch=1, minCount=1, minn=low, maxn=high, bucket=buckets, thread=1,
        verbose=0,
    )  # fmt: skip
    rows = len(model.get_words())
    for word in [*WORDS, END_OF_SENTENCE]:
        got = model.get_subwords(word)[1].tolist()
        if word in model.get_words():
            assert got.pop(0) == model.get_word_id(word)
        assert [rows + i for i in ngram_ids(word, low, high, buckets)] == got, word


def test_bytes_that_are_no_utf8() -> None:
    """Words read with surrogateescape hash their own bytes, as fastText's C++ does: the definition written out."""

    def plain(data: bytes, low: int, high: int, buckets: int) -> list[int]:
        out = []
        for i in range(len(data)):
            if data[i] & 0xC0 == 0x80:
                continue
            j, n = i, 1
            while j < len(data) and n <= high:
                j += 1
                while j < len(data) and data[j] & 0xC0 == 0x80:
                    j += 1
                if n >= low and not (n == 1 and (i == 0 or j == len(data))):
                    h = 2166136261
                    for byte in data[i:j]:
                        h = (h ^ (byte if byte < 128 else byte - 256) & 0xFFFFFFFF) * 16777619 & 0xFFFFFFFF
                    out.append(h % buckets)
                n += 1
        return out

    draw = random.Random(0)
    raw = [bytes(draw.randrange(1, 256) for _ in range(draw.randrange(12))) for _ in range(300)]
    words = [data.decode("utf-8", "surrogateescape") for data in raw]
    expected = [plain(b"<" + data + b">", 2, 5, 10_007) for data in raw]
    assert [ngram_ids(word, 2, 5, 10_007) for word in words] == expected
    offsets, ids = ngram_table(words, 2, 5, 10_007)
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == expected
    assert utf8("x\ud800") == b"x\xed\xa0\x80"  # a surrogate no byte stands behind: its three bytes


def test_table_is_ngram_ids_of_every_word() -> None:
    words = [*WORDS, END_OF_SENTENCE, "", "b"]
    for low, high, buckets in ((3, 6, 2_000_000), (1, 4, 2**31 - 1)):
        offsets, ids = ngram_table(words, low, high, buckets)
        assert (offsets.dtype, ids.dtype, len(offsets)) == (np.int64, np.int32, len(words) + 1)
        for i, word in enumerate(words):
            assert ids[offsets[i] : offsets[i + 1]].tolist() == ngram_ids(word, low, high, buckets), word
    assert [part.tolist() for part in ngram_table([], 3, 6, 10)] == [[0], []]


@pytest.mark.parametrize("values", [(0, 3, 10), (4, 3, 10), (3, 6, 0), (3, 6, 2**31)])
def test_bad_values(values: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="Use"):
        ngram_ids("word", *values)
    with pytest.raises(ConfigError, match="Use"):
        ngram_table(["word"], *values)
