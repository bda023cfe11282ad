"""Scores by the definition of CoNLL-2005, by hand; tags and their decoding against all sequences; the baseline."""

import itertools

import numpy as np
import pytest

from wordloom.data.batch import IGNORE
from wordloom.data.frames import Argument, Frame, FrameRecords, Sentence
from wordloom.tasks.roles.baseline import MajorityRoles
from wordloom.tasks.roles.decode import arguments_of, best_tags, tags_of
from wordloom.tasks.roles.scores import (
    all_tallies,
    argument_counts,
    argument_tallies,
    joined,
    label_table,
    perfect_tally,
    predicate_tallies,
    sense_tally,
)


def frame(index: int, *arguments: tuple[int, int, str], sense: str = "x.01") -> Frame:
    return Frame(index, "x", sense, tuple(Argument(*a) for a in arguments))


def test_continuations_are_joined_to_the_nearest_argument_of_their_label():
    said = [Argument(*a) for a in [(0, 1, "A1"), (2, 3, "A1"), (4, 5, "C-A1"), (5, 6, "A0"), (7, 8, "C-A1")]]
    assert joined(said) == {("A1", ((0, 1),)), ("A1", ((2, 3), (4, 5), (7, 8))), ("A0", ((5, 6),))}


def test_a_continuation_of_nothing_is_an_argument_and_v_is_left_out():
    said = [Argument(*a) for a in [(0, 1, "C-A1"), (1, 2, "V"), (3, 4, "C-V"), (4, 5, "R-A1"), (6, 7, "C-A1")]]
    assert joined(said) == {("A1", ((0, 1), (6, 7))), ("R-A1", ((4, 5),))}
    assert joined([Argument(0, 1, "C-V")]) == set()


def test_f1_by_hand():
    """Sentence 1: ARG0 right, ARG1 too short, TMP missed, NEG invented: 1 right of 3 said and 3 gold. Sentence 2: a
    joined ARG1 right only whole. 2 x 1 / (3 + 1 + 3 + 1) = 0.25; with the second piece 2 x 2 / 8 = 0.5."""
    gold = [frame(2, (0, 2, "ARG0"), (2, 3, "V"), (3, 6, "ARG1"), (6, 7, "ARGM-TMP"))]
    said = [frame(2, (0, 2, "ARG0"), (2, 3, "V"), (3, 5, "ARG1"), (5, 6, "ARGM-NEG"))]
    split = [frame(1, (0, 1, "ARG1"), (1, 2, "V"), (3, 5, "C-ARG1"))]
    half = [frame(1, (0, 1, "ARG1"), (1, 2, "V"))]
    assert argument_counts([(gold, said), (split, half)]).tolist() == [[1, 3, 3], [0, 1, 1]]
    tallies = argument_tallies([(gold, said), (split, half)], "")
    assert [tallies[k].value for k in ("precision", "recall", "f1")] == [0.25, 0.25, 0.25]
    assert argument_tallies([(gold, said), (split, split)], "")["f1"].value == 0.5
    assert perfect_tally([(gold, said), (split, split)])["perfect_frames"].value == 0.5
    # one piece in gold, two adjoining pieces said: not the same argument, as in the official script
    assert argument_counts([([frame(0, (1, 3, "A1"))], [frame(0, (1, 2, "A1"), (2, 3, "C-A1"))])]).tolist() == [
        [0, 1, 1]
    ]


def test_frames_are_matched_by_their_predicates():
    gold = [frame(1, (0, 1, "A0")), frame(5, (4, 5, "A0"), (6, 7, "A1"))]
    said = [frame(1, (0, 1, "A0")), frame(2, (0, 1, "A0"), (3, 4, "A1"))]
    assert argument_counts([(gold, said)]).tolist() == [[1, 3, 3]]  # two of a word that is no predicate are wrong
    found = predicate_tallies([(gold, said), ([], [])])
    assert [round(t.value, 4) for t in found.values()] == [0.5, 0.5, 0.5]


def test_senses_of_missed_predicates_count_as_wrong():
    gold = [frame(1, sense="a.01"), frame(3, sense="a.02"), frame(5, sense="-")]
    said = [frame(1, sense="a.01"), frame(5, sense="b.01")]
    assert sense_tally([(gold, said)])["sense_accuracy"].value == 0.5
    assert sense_tally([([frame(1, sense="-")], said)]) == {}


def test_every_gold_argument_is_in_the_table():
    gold = [frame(0, (1, 2, "A1"), (3, 4, "R-A1"), (5, 6, "C-A1")), frame(2, (4, 5, "A0"))]
    rows = label_table([(gold, []), (gold, gold)], resamples=50)["rows"]
    assert [row[:3] for row in rows] == [["A0", 2, 1], ["A1", 2, 1], ["R-A1", 2, 1]]
    assert rows[0][3:6] == ["100.0", "50.0", "66.7"]
    assert sum(row[1] for row in rows) == argument_counts([(gold, []), (gold, gold)])[:, 2].sum()


def test_both_figures_are_there_with_their_meaning():
    gold, said = [frame(1, (0, 1, "A0"))], [frame(1, (0, 1, "A0"))]
    with_gold = all_tallies([(gold, said)], [(gold, [])], [(gold, [])], [(gold, said)], True)
    assert (with_gold["f1"].value, with_gold["f1_predicted"].value, with_gold["predicate_f1"].value) == (1, 0, 0)
    assert "given" in with_gold["f1"].note and "found" in with_gold["f1_predicted"].note
    without = all_tallies([(gold, [])], [(gold, said)], [(gold, [])], [(gold, said)], False)
    assert (without["f1"].value, without["f1_gold"].value) == (0, 1) and "found" in without["f1"].note


LABELS = ("A0", "A1", "V")


def test_tags_and_back():
    said = (Argument(0, 2, "A1"), Argument(2, 3, "A1"), Argument(3, 4, "V"), Argument(5, 8, "A0"))
    tags = tags_of(said, 9, {n: k for k, n in enumerate(LABELS)})
    assert tags.tolist() == [3, 4, 3, 5, 0, 1, 2, 2, 0]
    assert arguments_of(tags, LABELS) == said
    assert tags_of([Argument(1, 3, "A9")], 4, {}).tolist() == [0, IGNORE, IGNORE, 0]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_legal_sequence_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    scores = [rng.normal(0, 1, (n, 5)).astype(np.float32) for n in (1, 4, 2, 5)]
    for s, found in zip(scores, best_tags(scores), strict=True):
        legal = [
            tags for tags in itertools.product(range(5), repeat=len(s))
            if all(t == 0 or t % 2 or (i and tags[i - 1] in (t, t - 1)) for i, t in enumerate(tags))
        ]  # fmt: skip
        best = max(legal, key=lambda tags: sum(float(s[i, t]) for i, t in enumerate(tags)))
        assert tuple(found.tolist()) == best
    greedy = [tuple(s.argmax(1).tolist()) for s in scores]
    assert greedy != [tuple(t.tolist()) for t in best_tags(scores)]  # the rule has something to forbid


def test_the_baseline_says_the_commonest():
    def one(words: str, *frames: Frame) -> Sentence:
        return Sentence(tuple(words.split()), frames, "a:1")

    eat = Frame(1, "eat", "eat.01", (Argument(0, 1, "ARG0"), Argument(1, 2, "V"), Argument(2, 4, "ARG1")))
    train = FrameRecords([one("she eats the pie", eat)] * 3 + [one("he sees eats", Frame(1, "see", "see.01"))])
    baseline = MajorityRoles(train, gold=True)
    (answer,) = baseline.predict(FrameRecords([one("dogs eats bad meat often", Frame(1, "eat", "eat.09"))]))
    arguments = (Argument(0, 1, "ARG0"), Argument(1, 2, "V"), Argument(2, 4, "ARG1"))
    assert answer.frames == (Frame(1, "eat", "eat.01", arguments),)
    assert [f.index for f in answer.found] == [1]
    assert MajorityRoles(train, gold=False).predict(FrameRecords([one("nothing here")]))[0].frames == ()
