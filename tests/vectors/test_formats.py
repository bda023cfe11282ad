"""Round trips are exact; peers open ours and give the same answers, and the reverse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from vector_samples import make, same

from wordloom.errors import BundleError, DataError
from wordloom.vectors.embeddings import Subwords, Vectors, compose
from wordloom.vectors.formats import (
    open_vectors,
    read_facts,
    save_binary,
    save_fasttext,
    save_gensim,
    save_text,
    save_vectors,
)

SAVERS = {
    "text": save_text,
    "glove": lambda vectors, path, **more: save_text(vectors, path, header=False, **more),
    "binary": save_binary,
    "fasttext": save_fasttext,
    "gensim": save_gensim,
    "native": save_vectors,
}


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("dimension", [1, 7, 300])
def test_round_trip_is_exact(tmp_path: Path, name: str, dimension: int) -> None:
    vectors = make(40, dimension)
    SAVERS[name](vectors, tmp_path / "v")
    again = open_vectors(tmp_path / "v")
    assert same(vectors, again) and again.notes == ()
    assert vectors.counts is not None
    if name in ("fasttext", "gensim", "native"):
        assert again.counts is not None and (again.counts == vectors.counts).all()
    else:
        assert again.counts is None


@pytest.mark.parametrize("name", ["fasttext", "gensim", "native"])
def test_sub_words_survive(tmp_path: Path, name: str) -> None:
    vectors = make(40, subwords=True)
    SAVERS[name](vectors, tmp_path / "v")
    again = open_vectors(tmp_path / "v")
    assert same(vectors, again)
    assert vectors.subwords and vectors.subwords.own is not None and again.subwords and again.subwords.own is not None
    assert again.subwords.rows.tobytes() == vectors.subwords.rows.tobytes()
    assert again.subwords.own.tobytes() == vectors.subwords.own.tobytes()
    assert (again.subwords.min_n, again.subwords.max_n) == (3, 6)
    assert again.vector("never-seen").tobytes() == vectors.vector("never-seen").tobytes()


def test_word_rows_are_solved_for_where_none_were_kept(tmp_path: Path) -> None:
    vectors = make(40, subwords=True)
    assert vectors.subwords is not None
    bare = Vectors(vectors.words, vectors.matrix, vectors.counts, Subwords(vectors.subwords.rows, 3, 6))
    save_fasttext(bare, tmp_path / "v")
    again = open_vectors(tmp_path / "v").matrix
    bound = np.abs(vectors.matrix).max(axis=1, keepdims=True) + np.abs(vectors.subwords.rows).max()
    assert (np.abs(again - vectors.matrix) <= 2e-6 * bound).all()


def test_every_float32_survives_as_text(tmp_path: Path) -> None:
    """300,000 random bit patterns: subnormal, huge, negative zero."""
    bits = np.random.default_rng(0).integers(0, 2**32, 300_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.where(np.isfinite(values), values, np.float32(-0.0)).reshape(-1, 100)
    vectors = Vectors([f"w{i}" for i in range(len(values))], values)
    save_text(vectors, tmp_path / "v")
    assert same(vectors, open_vectors(tmp_path / "v"))


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = make(500)
    for name in ("text", "binary"):
        SAVERS[name](vectors, tmp_path / name)
    whole = (tmp_path / "text").read_bytes()
    monkeypatch.setattr("wordloom.vectors.formats.text._BLOCK", 1000)
    monkeypatch.setattr("wordloom.vectors.formats.text._WRITTEN", 100)
    monkeypatch.setattr("wordloom.vectors.formats.binary._STEP", 100)
    for name in ("text", "binary"):
        assert same(vectors, open_vectors(tmp_path / name))
        SAVERS[name](vectors, tmp_path / f"{name}2")
    assert (tmp_path / "text2").read_bytes() == whole
    assert (tmp_path / "binary2").read_bytes() == (tmp_path / "binary").read_bytes()


# --- gensim ----------------------------------------------------------------------------------------------------------


def keyed(vectors: Vectors):  # type: ignore[no-untyped-def]
    gensim = pytest.importorskip("gensim")
    peer = gensim.models.KeyedVectors(vectors.dimension)
    peer.add_vectors(vectors.words, np.array(vectors.matrix))
    return peer


def test_gensim_opens_ours(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    vectors = make(100)
    for name in ("text", "glove", "binary", "gensim"):
        SAVERS[name](vectors, tmp_path / name)
    opened = [
        models.KeyedVectors.load_word2vec_format(str(tmp_path / "text")),
        models.KeyedVectors.load_word2vec_format(str(tmp_path / "glove"), no_header=True),
        models.KeyedVectors.load_word2vec_format(str(tmp_path / "binary"), binary=True),
        models.KeyedVectors.load(str(tmp_path / "gensim")),
        models.KeyedVectors.load(str(tmp_path / "gensim"), mmap="r"),
    ]
    ours = [word for word, _ in vectors.neighbors("king", 20)]
    for peer in opened:
        assert peer.index_to_key == vectors.words and peer.vectors.tobytes() == vectors.matrix.tobytes()
        assert [word for word, _ in peer.most_similar("king", topn=20)] == ours
    assert vectors.counts is not None and opened[3].get_vecattr("king", "count") == vectors.counts[1]


def test_we_open_gensims(tmp_path: Path) -> None:
    vectors = make(100)
    peer = keyed(vectors)
    peer.save_word2vec_format(str(tmp_path / "text"))
    peer.save_word2vec_format(str(tmp_path / "glove"), write_header=False)
    peer.save_word2vec_format(str(tmp_path / "binary"), binary=True)
    peer.save(str(tmp_path / "kv"))
    peer.save(str(tmp_path / "apart"), separately=["vectors"])
    for protocol in range(2, 6):
        peer.save(str(tmp_path / f"kv{protocol}"), pickle_protocol=protocol)
    files = [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".npy"]
    assert len(files) == 9 and (tmp_path / "apart.vectors.npy").exists()
    for path in files:
        assert same(open_vectors(path), vectors), path.name


def test_gensim_models_open_with_counts_and_sub_words(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    texts = [["red", "green", "blue", "grün"], ["red", "dog"]] * 10
    for name, kind in {"word2vec": models.Word2Vec, "fasttext": models.FastText}.items():
        peer = kind(texts, vector_size=6, min_count=1, workers=1, **({"bucket": 40} if name == "fasttext" else {}))
        peer.save(str(tmp_path / f"{name}.model"))
        peer.wv.save(str(tmp_path / f"{name}.kv"))
        for path in (tmp_path / f"{name}.model", tmp_path / f"{name}.kv"):
            vectors = open_vectors(path)
            assert vectors.words == peer.wv.index_to_key and vectors.counts is not None
            assert vectors.counts.tolist() == [20, *[10] * 4]
            np.testing.assert_allclose(vectors.matrix, peer.wv.vectors, rtol=1e-6, atol=1e-8)
        if name == "fasttext":
            np.testing.assert_allclose(vectors.vector("greenish"), peer.wv["greenish"], rtol=1e-6, atol=1e-8)


def test_gensim_opens_our_sub_words(tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    vectors = make(60, subwords=True)
    save_gensim(vectors, tmp_path / "kv")
    save_fasttext(vectors, tmp_path / "bin")
    words = [word for word in vectors.words if word != "</s>"]  # gensim gives </s> n-grams, fastText does not
    rows = [vectors.words.index(word) for word in words]
    for peer in (
        models.KeyedVectors.load(str(tmp_path / "kv")),
        models.fasttext.load_facebook_vectors(str(tmp_path / "bin")),
    ):
        assert peer.index_to_key == vectors.words
        np.testing.assert_allclose(peer[words], vectors.matrix[rows], rtol=1e-5, atol=1e-5)
        for word in ("kingdom", "größer", "日本語"):
            np.testing.assert_allclose(peer[word], vectors.vector(word), rtol=1e-5, atol=1e-6)


# --- fastText, spaCy, safetensors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("subwords", [False, True])
def test_fasttext_opens_ours_with_the_same_bits(tmp_path: Path, subwords: bool) -> None:
    fasttext = pytest.importorskip("fasttext")
    vectors = make(60, subwords=subwords)
    save_fasttext(vectors, tmp_path / "v.bin")
    peer = fasttext.load_model(str(tmp_path / "v.bin"))
    assert peer.get_words() == vectors.words and peer.get_dimension() == 7
    assert vectors.counts is not None and peer.get_words(include_freq=True)[1].tolist() == vectors.counts.tolist()
    for i, word in enumerate(vectors.words):
        assert peer.get_word_vector(word).tobytes() == vectors.matrix[i].tobytes(), word
    if subwords:
        for word in ("kingdom", "größer", "日本語"):
            assert peer.get_word_vector(word).tobytes() == vectors.vector(word).tobytes(), word


def test_what_fasttext_trains_opens_with_the_same_bits(tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext")
    text = tmp_path / "text"
    text.write_text("der große hund\ndie große katze bellt\n日本 語\n" * 20, encoding="utf-8")
    options = {"dim": 9, "minCount": 1, "bucket": 60, "epoch": 1, "thread": 1, "verbose": 0}
    peer = fasttext.train_unsupervised(str(text), **options)
    peer.save_model(str(tmp_path / "v.bin"))
    vectors = open_vectors(tmp_path / "v.bin")
    assert vectors.words == peer.get_words() and "</s>" in vectors
    for word in [*vectors.words, "hunde", "語日", "x"]:
        assert vectors.vector(word).tobytes() == peer.get_word_vector(word).tobytes(), word
    labelled = tmp_path / "labelled"
    labelled.write_text("__label__a gut sehr gut\n__label__b schlecht\n" * 20, encoding="utf-8")
    peer = fasttext.train_supervised(str(labelled), dim=5, minn=2, maxn=3, bucket=300, epoch=1, thread=1, verbose=0)
    peer.save_model(str(tmp_path / "s.bin"))
    vectors = open_vectors(tmp_path / "s.bin")
    assert sorted(vectors.words) == sorted(peer.get_words()) and "labels are left out" in vectors.notes[0]
    for word in [*vectors.words, "guter"]:
        assert vectors.vector(word).tobytes() == peer.get_word_vector(word).tobytes(), word
    peer.quantize(str(labelled))
    peer.save_model(str(tmp_path / "s.ftz"))
    with pytest.raises(DataError, match="quantised"):
        open_vectors(tmp_path / "s.ftz")


def test_spacy_init_vectors_accepts_our_text(tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    from spacy.cli.init_pipeline import init_vectors_cli
    from spacy.util import load_model

    vectors = make(60)
    save_text(vectors, tmp_path / "v.txt")
    init_vectors_cli("xx", tmp_path / "v.txt", tmp_path / "nlp", -1, 0, "default", None, False, None, "ORTH")
    peer = load_model(tmp_path / "nlp").vocab
    assert peer.vectors.shape == (60, 7)
    for i, word in enumerate(vectors.words):
        np.testing.assert_array_equal(peer[word].vector, vectors.matrix[i])


def test_our_folder_is_plain_safetensors_and_json(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    vectors = make(40, subwords=True)
    save_vectors(vectors, tmp_path / "v", extra={"window": 5})
    tensors = load_file(tmp_path / "v" / "vectors.safetensors")
    assert tensors["vectors"].tobytes() == vectors.matrix.tobytes()
    assert set(tensors) == {"vectors", "ngrams", "words"}
    facts = json.loads((tmp_path / "v" / "wordloom.json").read_text(encoding="utf-8"))
    assert facts == read_facts(tmp_path / "v")
    assert facts["kind"] == "vectors" and facts["twin"] == "none" and facts["extra"] == {"window": 5}
    matrix = open_vectors(tmp_path / "v").matrix
    assert not matrix.flags.owndata and matrix.flags.aligned and not matrix.flags.writeable


def test_a_run_opens(tmp_path: Path) -> None:
    save_vectors(make(5), tmp_path / "run" / "bundle")
    assert len(open_vectors(tmp_path / "run")) == 5


# --- what is odd -----------------------------------------------------------------------------------------------------


def test_odd_text_is_read_counted_and_reported(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbf6 2",
        b"a 1 2 ",
        b"new york 3 4",
        b"\tb\t5 6",
        b"",
        b"a 7 8",
        b"caf\xe9 9  10\r",
        b"bad nan 1",
        b" 1 2",
        b"inf -inf 0",
        b"last 1e-3 -2.5E+2",
    ]
    (tmp_path / "v").write_bytes(b"\n".join(lines))
    vectors = open_vectors(tmp_path / "v")
    assert vectors.words == ["a", "new york", "\tb", "caf\\xe9", "last"]
    assert vectors.matrix.tolist() == [[1, 2], [3, 4], [5, 6], [9, 10], [np.float32(1e-3), -250]]
    notes = "; ".join(vectors.notes)
    for note in (
        "announces 6 words, the file holds 8",
        "1 x a word with a space in it (first: line 3, 'new york')",
        "1 x a blank line (first: line 5)",
        "1 x a repeated word: its first row is kept (first: line 6, 'a')",
        "1 x a word that is not utf-8: its odd bytes are shown as \\xNN (first: line 7",
        "2 x left out: the row holds NaN or infinity (first: line 8, 'bad')",
        "1 x left out: a row without a word (first: line 9)",
    ):
        assert note in notes
    assert "café" in open_vectors(tmp_path / "v", encoding="latin-1")


def test_words_with_spaces_before_the_first_plain_one(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("new york 0.125 0.25\na 0.5 1\nb 1 1\nof the 2 2\n")
    vectors = open_vectors(tmp_path / "v")
    assert vectors.words == ["new york", "a", "b", "of the"] and vectors.dimension == 2


def test_control_bytes_do_not_make_text_binary(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"2 2\na\x01 1 2\nb\0 3 4\n")
    assert open_vectors(tmp_path / "v").words == ["a\x01", "b\0"]


def test_odd_binary_is_read_counted_and_reported(tmp_path: Path) -> None:
    def row(word: bytes, *values: float) -> bytes:
        return word + b" " + np.array(values, "<f4").tobytes()

    rows = [row(b"a", 1, 2), row(b"a", 3, 4), row(b"\xff", 5, 6), row(b"x", np.nan, 0), row(b"", 1, 1), row(b"e", 7, 8)]
    (tmp_path / "v").write_bytes(b"4 2\n" + b"\n".join(rows) + b"\n\n")
    vectors = open_vectors(tmp_path / "v")
    assert vectors.words == ["a", "\\xff", "e"] and vectors.matrix.tolist() == [[1, 2], [5, 6], [7, 8]]
    notes = "; ".join(vectors.notes)
    for note in ("announces 4 words, the file holds 6", "1 x a repeated word", "word 3, '\\\\xff'", "word 4, 'x'"):
        assert note in notes
    assert "without a word (first: word 5" in notes


def test_fasttext_words_that_are_not_utf8_keep_their_vectors(tmp_path: Path) -> None:
    """n-grams are taken of the bytes; the words on screen have others, so saving solves for the word rows."""
    rng = np.random.default_rng(0)
    own, rows = rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=(20, 4)).astype(np.float32)
    raw = ["ja", b"caf\xe9s".decode("utf-8", "surrogateescape")]
    words = ["ja", "cafXs"]
    save_fasttext(Vectors(words, compose(words, own, rows, 3, 6), None, Subwords(rows, 3, 6, own)), tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes().replace(b"cafXs", b"caf\xe9s"))
    opened = open_vectors(tmp_path / "a")
    assert opened.words == ["ja", "caf\\xe9s"] and "not utf-8" in opened.notes[0]
    assert opened.matrix.tobytes() == compose(raw, own, rows, 3, 6).tobytes()
    save_fasttext(opened, tmp_path / "b")
    again = open_vectors(tmp_path / "b")
    assert again.words == opened.words and again.matrix[0].tobytes() == opened.matrix[0].tobytes()
    np.testing.assert_allclose(again.matrix, opened.matrix, rtol=1e-5, atol=1e-6)


# --- saving ----------------------------------------------------------------------------------------------------------


def test_words_a_format_cannot_express(tmp_path: Path) -> None:
    ones = np.ones((2, 2), np.float32)
    spaced = Vectors(["new york", "a"], ones)
    for name in ("text", "glove", "binary"):
        with pytest.raises(DataError, match=r"no way to write the word 'new york'.*space"):
            SAVERS[name](spaced, tmp_path / name)
        assert not (tmp_path / name).exists()
    save_text(spaced, tmp_path / "kept", space=" ")
    assert open_vectors(tmp_path / "kept").words == spaced.words
    save_binary(spaced, tmp_path / "joined", space="_")
    assert open_vectors(tmp_path / "joined").words == ["new_york", "a"]
    with pytest.raises(DataError, match="a space ends the word"):
        save_binary(spaced, tmp_path / "x", space=" ")
    with pytest.raises(DataError, match="'a ' ends in a space"):
        save_text(Vectors(["a ", "b"], ones), tmp_path / "x", space=" ")
    with pytest.raises(DataError, match="makes two words equal"):
        save_text(Vectors(["a b", "a_b"], ones), tmp_path / "x", space="_")
    with pytest.raises(DataError, match="no way to write"):
        save_text(Vectors(["a\nb", "c"], ones), tmp_path / "x")
    with pytest.raises(DataError, match="the empty word"):
        save_binary(Vectors(["", "c"], ones), tmp_path / "x")
    with pytest.raises(DataError, match="no way to write"):
        save_fasttext(Vectors(["a\0b", "c"], ones), tmp_path / "x")
    for name in SAVERS:
        with pytest.raises((DataError, BundleError), match="not a Unicode string"):
            SAVERS[name](Vectors(["\udce9", "c"], ones), tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "joined"}, "nothing half-written stays"


@pytest.mark.parametrize("name", SAVERS)
def test_nothing_is_overwritten_unasked(tmp_path: Path, name: str) -> None:
    SAVERS[name](make(5), tmp_path / "v")
    with pytest.raises(BundleError, match=r"exists already|holds something already"):
        SAVERS[name](make(6), tmp_path / "v")
    assert len(open_vectors(tmp_path / "v")) == 5
    SAVERS[name](make(6), tmp_path / "v", overwrite=True)
    assert len(open_vectors(tmp_path / "v")) == 6


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_failing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    SAVERS[name](make(5), tmp_path / "v")
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"wordloom.disk.{step}", fail)
    monkeypatch.setattr(f"wordloom.vectors.formats.native.{step}", fail)
    with pytest.raises(BundleError, match=r"No space left on device\. Free disk space"):
        SAVERS[name](make(6), tmp_path / "v", overwrite=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert same(open_vectors(tmp_path / "v"), make(5))
