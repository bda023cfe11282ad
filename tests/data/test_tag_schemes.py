"""Tags read as seqeval reads them, written as they were read."""

import random

import pytest

from wordloom.data.tag_schemes import Chunk, chunks_of, recognise, split_tag, tags_of

PER3 = ["B-PER", "I-PER", "O", "B-LOC"]


def random_tags(rng: random.Random, letters: str) -> list[str]:
    """Any letter before any type: mostly not what a scheme allows."""
    return [rng.choice(["O", *(f"{letter}-{kind}" for letter in letters for kind in ("X", "YZ-W"))]) for _ in range(12)]


@pytest.mark.parametrize("letters", ["BI", "BIES"])
def test_chunks_are_those_of_seqeval(letters: str) -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    strict_scheme = pytest.importorskip("seqeval.scheme")
    rng, scheme = random.Random(0), "bio" if letters == "BI" else "bioes"
    loose = strict = 0
    for _ in range(400):
        tags = random_tags(rng, letters)
        found = chunks_of(tags, scheme)
        assert [(c.type, c.first, c.last - 1) for c in found] == labeling.get_entities(tags)
        theirs = strict_scheme.Entities([tags], strict_scheme.IOB2 if scheme == "bio" else strict_scheme.IOBES)
        assert [(c.type, c.first, c.last) for c in found if c.strict] == [e.to_tuple()[1:] for e in theirs.entities[0]]
        loose, strict = loose + sum(not c.strict for c in found), strict + sum(c.strict for c in found)
    assert loose > 500 and strict > 500


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (PER3, "bio"),
        (["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], "iob1"),
        (["B-PER", "E-PER", "O", "S-LOC"], "bioes"),
        (["B-PER", "L-PER", "O", "U-LOC"], "bioes"),
        (["B", "M", "E", "S"], "bioes"),
        (["B-PER", "I-PER", "S-LOC"], "bios"),
        (["B_PER", "I_PER", "O"], "bio"),
        (["PER", "PER", "O"], "plain"),
        (["DET", "NOUN", "B-3"], "each"),
        (["O", "O"], "plain"),
    ],
)
def test_the_scheme_is_recognised(tags: list[str], scheme: str) -> None:
    assert recognise([tags]) == scheme


def test_iob1_begins_a_chunk_after_o_and_splits_neighbours() -> None:
    assert chunks_of(["I-A", "I-A", "B-A", "O", "I-B"], "iob1") == [
        Chunk(0, 2, "A", True), Chunk(2, 3, "A", True), Chunk(4, 5, "B", True),
    ]  # fmt: skip


def test_plain_neighbours_are_one_chunk_and_each_word_is_its_own() -> None:
    assert chunks_of(["A", "A", "O", "B"], "plain") == [Chunk(0, 2, "A", True), Chunk(3, 4, "B", True)]
    assert [c.last - c.first for c in chunks_of(["A", "A", "O"], "each")] == [1, 1, 1]


def test_a_stray_i_is_read_and_not_strict() -> None:
    assert chunks_of(["O", "I-A", "I-A", "I-B"], "bio") == [Chunk(1, 3, "A", False), Chunk(3, 4, "B", False)]


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_written_tags_are_read_back(scheme: str) -> None:
    chunks = [(0, 1, "A"), (1, 4, "A"), (5, 7, "B-C")]
    tags = tags_of(8, chunks, scheme)
    assert recognise([tags]) == scheme
    assert [(c.first, c.last, c.type) for c in chunks_of(tags, scheme) if c.strict] == chunks


def test_prefixes() -> None:
    assert split_tag("B-creative-work") == ("B", "creative-work")
    assert split_tag("M") == ("I", "CHUNK")
    assert split_tag("NOUN") == ("I", "NOUN")
