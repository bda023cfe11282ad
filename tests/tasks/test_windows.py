"""Windows and packing against hand arithmetic; no token is lost, none is repeated without being asked for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wordloom.errors import ConfigError
from wordloom.tasks.windows import balanced_parts, by_budget, cut, cut_pair, lay_out, make_windows, place, place_tightly
from wordloom.text.tokenizer import Tokenizer


def test_cut_by_hand() -> None:
    assert cut(0, 10) == [(0, 0)]
    assert cut(10, 10) == [(0, 10)]
    assert cut(11, 10) == [(0, 5), (5, 11)]  # two balanced windows, not ten and one
    assert cut(25, 10) == [(0, 8), (8, 16), (16, 25)]
    assert cut(26, 10, stride=0.2) == [(0, 10), (8, 18), (16, 26)]  # neighbours share 2


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.integers(2, 60), st.floats(0, 0.95))
def test_cut_keeps_every_token(tokens: int, room: int, stride: float) -> None:
    edges = cut(tokens, room, stride)
    assert edges[0][0] == 0
    assert edges[-1][1] == tokens
    shared = int(stride * room)
    sizes = [b - a for a, b in edges]
    assert max(sizes) <= room
    assert max(sizes) - min(sizes) <= 1
    assert all(b - c == shared for (_, b), (c, _) in pairwise(edges))
    if len(edges) > 1:  # one window fewer could not hold the text
        assert (len(edges) - 1) * (room - shared) + shared < tokens


def test_cut_pair_by_hand() -> None:
    assert cut_pair(4, 5, 10) == [((0, 4), (0, 5))]
    assert cut_pair(14, 3, 10) == [((0, 7), (0, 3)), ((7, 14), (0, 3))]  # the short second stands in both
    assert cut_pair(3, 14, 10) == [((0, 3), (0, 7)), ((0, 3), (7, 14))]
    assert cut_pair(6, 12, 10) == [((0, 2), (0, 4)), ((2, 4), (4, 8)), ((4, 6), (8, 12))]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), st.integers(4, 50), st.floats(0, 0.9))
def test_cut_pair_keeps_every_token_of_both(a: int, b: int, room: int, stride: float) -> None:
    windows = cut_pair(a, b, room, stride)
    for tokens, edges in ((a, [w[0] for w in windows]), (b, [w[1] for w in windows])):
        seen = np.zeros(tokens, bool)
        for begin, end in edges:
            assert 0 <= begin <= end <= tokens
            seen[begin:end] = True
        assert seen.all()
    assert all((p[1] - p[0]) + (q[1] - q[0]) <= room for p, q in windows)


def test_make_windows_text(tokenizer: Tokenizer) -> None:
    texts = ["good film", "", "the plot was dull and the scene was grim"]
    ids = [e.ids.tolist() for e in tokenizer.encode(texts)]
    windows = make_windows(tokenizer, texts, length=7)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    pieces = [windows.tokens[a:b].tolist() for a, b in zip(windows.starts, windows.starts[1:], strict=False)]
    assert windows.counts.tolist() == [1, 1, 2]
    assert len(ids[2]) == 9
    assert pieces == [[cls, *ids[0], sep], [cls, sep], [cls, *ids[2][:4], sep], [cls, *ids[2][4:], sep]]
    assert windows.example_tokens.tolist() == [len(ids[0]) + 2, 2, 13]
    assert windows.types.sum() == 0


def test_make_windows_pair(tokenizer: Tokenizer) -> None:
    first, second = ["good film", "the plot was dull"], ["bad actor", "grim"]
    a, b = ([e.ids.tolist() for e in tokenizer.encode(t)] for t in (first, second))
    windows = make_windows(tokenizer, first, second, length=7)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    assert windows.tokens[:7].tolist() == [cls, *a[0], sep, *b[0], sep]
    assert windows.types[:7].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert windows.counts.tolist() == [1, 2]
    assert windows.tokens[7:].tolist() == [cls, *a[1][:2], sep, *b[1], sep, cls, *a[1][2:], sep, *b[1], sep]
    assert windows.types[7:].tolist() == [0, 0, 0, 0, 1, 1] * 2


def test_no_room_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="leave no room"):
        make_windows(tokenizer, ["a"], ["b"], length=4)


def test_place_first_fit_decreasing() -> None:
    rows, cols = place(np.array([3, 9, 5, 7, 2]), 10)  # 9 | 7 3 | 5 2: the 2 no longer fits with the 9
    assert rows.tolist() == [1, 0, 2, 1, 2]
    assert cols.tolist() == [7, 0, 0, 0, 5]


def test_row_length_is_the_cheapest() -> None:
    """Four windows of 18: rows of 32 hold one each (128 places), one row of 80 wastes 8."""
    room, rows, cols = place_tightly(np.array([18, 18, 18, 18]))
    assert (room, rows.tolist(), sorted(cols.tolist())) == (80, [0] * 4, [0, 18, 36, 54])
    assert place_tightly(np.array([100, 30, 96]))[0] == 128  # 96 and 30 share a row, as they cannot in 112
    assert place_tightly(np.array([16] * 8))[0] == 16  # no waste: the shortest rows have the cheapest attention


def test_lay_out_by_hand(tokenizer: Tokenizer) -> None:
    windows = make_windows(tokenizer, ["good", "the film was very good and bright", "bad plot"], length=32)
    assert windows.lengths.tolist() == [3, 9, 4]
    batch = lay_out(windows, np.array([0, 1, 2]), np.array([0, 1, 2]), tokenizer.pad_id)
    assert batch.tokens.shape == (1, 16)  # nine rounded up to 16 holds all three
    assert batch.documents[0].tolist() == [1] * 9 + [2] * 4 + [3] * 3
    assert batch.positions[0].tolist() == [*range(9), *range(4), *range(3)]
    assert batch.examples["cols"].tolist() == [13, 0, 9]
    assert batch.examples["rows"].tolist() == [0, 0, 0]
    two = lay_out(windows, np.array([1, 1]), np.array([0, 0]), tokenizer.pad_id)
    assert two.tokens.shape == (2, 16)
    assert two.documents.tolist() == [[1] * 9 + [0] * 7] * 2
    assert (two.tokens[:, 9:] == tokenizer.pad_id).all()


def test_rows_hold_the_windows_they_name(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(["film"] * int(rng.integers(0, 90))) + " good" * i for i in range(30)]
    windows = make_windows(tokenizer, texts, length=24)
    chosen = rng.permutation(len(windows.lengths))
    batch = lay_out(windows, chosen, np.zeros(len(chosen), np.int64), tokenizer.pad_id)
    for i, w in enumerate(chosen):
        row, col = int(batch.examples["rows"][i]), int(batch.examples["cols"][i])
        size = int(windows.lengths[w])
        expected = windows.tokens[windows.starts[w] : windows.starts[w + 1]]
        assert batch.tokens[row, col : col + size].tolist() == expected.tolist()
        assert batch.positions[row, col : col + size].tolist() == list(range(size))
        number = batch.documents[row, col]
        assert int((batch.documents[row] == number).sum()) == size
    assert batch.real_tokens == int(windows.lengths.sum())
    assert batch.real_tokens / batch.tokens.numel() > 0.85
    for row in batch.documents:  # numbered 1, 2, ... without gaps
        numbers = row[row > 0].unique().tolist()
        assert numbers == list(range(1, len(numbers) + 1))


def test_by_budget_takes_every_window_once() -> None:
    lengths = np.array([5, 50, 7, 7, 30, 2])
    groups = list(by_budget(lengths, 40))
    assert [g.tolist() for g in groups] == [[1], [4, 2], [3, 0, 5]]
    assert list(by_budget(np.zeros(0, np.int64), 40)) == []


def test_balanced_parts() -> None:
    groups = balanced_parts(np.array([9, 1, 8, 2, 7, 3]), 3)
    assert sorted(np.concatenate(groups).tolist()) == list(range(6))
    assert [int(np.array([9, 1, 8, 2, 7, 3])[g].sum()) for g in groups] == [10, 10, 10]
    assert [len(g) for g in balanced_parts(np.array([0, 0, 0, 5]), 4)] == [1, 1, 1, 1]
    with pytest.raises(ConfigError, match="cannot be split into 3 parts"):
        balanced_parts(np.array([4, 4]), 3)
