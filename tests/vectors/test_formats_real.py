"""Real native files: equal to what gensim and fastText read of them, or one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from vector_samples import native_files

from wordloom.errors import DataError
from wordloom.vectors.formats import open_vectors, save_fasttext, save_text

TEXT = ["word2vec_pre_kv_c", "high_precision.kv.txt", "crime-and-punishment.vec", "lee_fasttext.vec", "toy-model.vec"]
TEXT += ["EN.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt"]
BINARY = ["euclidean_vectors.bin", "high_precision.kv.bin"]
FASTTEXT = ["crime-and-punishment.bin", "lee_fasttext_new.bin", "toy-model.bin", "toy-model-pretrained.bin"]
OLD = ["lee_fasttext.bin", "non_ascii_fasttext.bin", "cp852_fasttext.bin"]
REST = ["pretrained.vec", "test_glove.txt", "crime-and-punishment.txt", "toy-data.txt"]


@pytest.fixture(scope="module")
def native(shared_data: Path) -> Path:
    return native_files(shared_data)


def test_no_file_is_left_out(native: Path) -> None:
    assert sorted(TEXT + BINARY + FASTTEXT + OLD + REST) == sorted(path.name for path in native.iterdir())


@pytest.mark.parametrize("name", [*TEXT, *BINARY])
def test_word2vec_files_equal_gensims(native: Path, name: str) -> None:
    models = pytest.importorskip("gensim.models")
    peer = models.KeyedVectors.load_word2vec_format(str(native / name), binary=name in BINARY)
    vectors = open_vectors(native / name)
    assert vectors.words == peer.index_to_key and vectors.notes == ()
    assert vectors.matrix.tobytes() == peer.vectors.tobytes()


def test_glove_equals_gensims(native: Path) -> None:
    models = pytest.importorskip("gensim.models")
    peer = models.KeyedVectors.load_word2vec_format(str(native / "test_glove.txt"), no_header=True)
    vectors = open_vectors(native / "test_glove.txt")
    assert vectors.words == peer.index_to_key and vectors.matrix.tobytes() == peer.vectors.tobytes()


@pytest.mark.parametrize("name", FASTTEXT)
def test_fasttext_files_equal_fasttexts(native: Path, name: str) -> None:
    fasttext = pytest.importorskip("fasttext")
    peer = fasttext.load_model(str(native / name))
    vectors = open_vectors(native / name)
    words, counts = peer.get_words(include_freq=True)
    assert vectors.words == words and vectors.counts is not None and vectors.counts.tolist() == counts.tolist()
    for word in [*words, "never-seen", "незнакомый"]:
        assert vectors.vector(word).tobytes() == peer.get_word_vector(word).tobytes(), word


@pytest.mark.parametrize("name", [*FASTTEXT, "lee_fasttext.bin", "non_ascii_fasttext.bin"])
def test_fasttext_files_equal_gensims(native: Path, name: str) -> None:
    models = pytest.importorskip("gensim.models")
    peer = models.fasttext.load_facebook_vectors(str(native / name))
    vectors = open_vectors(native / name)
    assert vectors.words == peer.index_to_key
    for word in [*vectors.words, "never-seen", "neviděný"]:
        if word != "</s>" or name in OLD:  # today's fastText gives the end of a line no n-grams, gensim does
            np.testing.assert_allclose(vectors.vector(word), peer[word], rtol=1e-5, atol=1e-6, err_msg=word)


def test_old_and_text_form_agree(native: Path) -> None:
    old, text = open_vectors(native / "lee_fasttext.bin"), open_vectors(native / "lee_fasttext.vec")
    assert old.words == text.words
    np.testing.assert_allclose(old.matrix, text.matrix, rtol=1e-4, atol=1e-6)  # .vec keeps five digits


def test_old_becomes_new(native: Path, tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext")
    old = open_vectors(native / "lee_fasttext.bin")
    save_fasttext(old, tmp_path / "new.bin")
    peer = fasttext.load_model(str(tmp_path / "new.bin"))
    for word in [*old.words, "never-seen"]:
        assert peer.get_word_vector(word).tobytes() == old.vector(word).tobytes(), word


def test_words_that_are_not_utf8(native: Path) -> None:
    """cp852: n-grams are of the bytes whatever the words are shown as, since fastText counted bytes when it trained."""
    models = pytest.importorskip("gensim.models")
    shown = open_vectors(native / "cp852_fasttext.bin")
    assert shown.notes == (
        "69 x a word that is not utf-8: its odd bytes are shown as \\xNN (first: word 2, 'kter\\\\xec')",
    )
    decoded = open_vectors(native / "cp852_fasttext.bin", encoding="cp852")
    assert decoded.notes == () and decoded.words[1] == "který"
    assert shown.matrix.tobytes() == decoded.matrix.tobytes()
    peer = models.fasttext.load_facebook_vectors(str(native / "cp852_fasttext.bin"), encoding="cp852")
    assert decoded.words == peer.index_to_key
    ascii_words = [word for word in decoded.words if word.isascii() and word != "</s>"]
    assert len(ascii_words) > 90
    for word in ascii_words:
        np.testing.assert_allclose(decoded.vector(word), peer[word], rtol=1e-5, atol=1e-6)


def test_a_header_that_announces_too_much_is_noted(native: Path) -> None:
    vectors = open_vectors(native / "pretrained.vec")
    assert vectors.words == ["dummy"] and vectors.dimension == 5
    assert vectors.notes == ("the header announces 3 words, the file holds 1",)


@pytest.mark.parametrize("name", ["crime-and-punishment.txt", "toy-data.txt"])
def test_running_text_is_refused(native: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no file of word vectors"):
        open_vectors(native / name)


def test_gensim_finds_the_same_neighbours_in_our_copy(native: Path, tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    vectors = open_vectors(native / "euclidean_vectors.bin")
    save_text(vectors, tmp_path / "v")
    peer = models.KeyedVectors.load_word2vec_format(str(tmp_path / "v"))
    for word in vectors.words[:100]:
        assert [w for w, _ in vectors.neighbors(word)] == [w for w, _ in peer.most_similar(word)]
