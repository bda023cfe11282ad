"""Damaged, lying and hostile files: one clear sentence, no traceback, no memory on the word of a header."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vector_samples import make

from wordloom.errors import ConfigError, WordloomError
from wordloom.vectors.formats import open_vectors, save_binary, save_fasttext, save_gensim, save_text, save_vectors

FLOATS = np.arange(4, dtype="<f4").tobytes()


def fasttext_file(**changes: int) -> Callable[[Path], None]:
    """A good .bin of 5 words with integers of its header changed."""
    places = {"version": 4, "dim": 8, "bucket": 40, "minn": 44, "size": 64, "words": 68, "labels": 72, "pruned": 84}

    def build(path: Path) -> None:
        save_fasttext(make(5, subwords=True), path)
        data = bytearray(path.read_bytes())
        for name, value in changes.items():
            struct.pack_into("<q" if name == "pruned" else "<i", data, places[name], value)
        path.write_bytes(data)

    return build


def cut(save: Callable[..., None], share: float) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        save(make(50, subwords=save is save_fasttext), path)
        with path.open("r+b") as file:
            file.truncate(int(path.stat().st_size * share))

    return build


def fasttext_matrix(path: Path) -> None:
    """Announces 2**40 rows."""
    vectors = make(5)
    save_fasttext(vectors, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<2q", 5, 7), struct.pack("<2q", 2**40, 7), 1))


def fasttext_flag(path: Path) -> None:
    save_fasttext(make(5), path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\0" + struct.pack("<2q", 5, 7), b"\1" + struct.pack("<2q", 5, 7), 1))


def fasttext_count(path: Path) -> None:
    save_fasttext(make(5), path)
    path.write_bytes(path.read_bytes().replace(b"king\0", b"king\xff", 1))


def arrays_gone(path: Path) -> None:
    save_gensim(make(5), path)
    path.with_name(path.name + ".vectors.npy").unlink()


def arrays_cut(path: Path) -> None:
    save_gensim(make(50), path)
    with path.with_name(path.name + ".vectors.npy").open("r+b") as file:
        file.truncate(300)


def array_of_objects(path: Path) -> None:
    save_gensim(make(5), path)
    np.save(path.with_name(path.name + ".vectors.npy"), np.array([{}] * 5, object), allow_pickle=True)


def folder(damage: Callable[[Path], object]) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        save_vectors(make(50), path)
        damage(path)

    return build


def facts(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        values = json.loads((path / "wordloom.json").read_text())
        (path / "wordloom.json").write_text(json.dumps(values | changes))

    return folder(damage)


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


BAD = {
    "missing": (lambda path: None, "no such file or folder"),
    "empty": (content(b""), "is empty"),
    "prose": (content(b"Once upon a time.\nThere was a word.\n"), "no file of word vectors"),
    "web page": (content(b"<!doctype html>\n<p>404</p>"), "no file of word vectors"),
    "lfs pointer": (content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "no file of word vectors"),
    "random": (content(np.random.default_rng(0).bytes(5000)), "no file of word vectors"),
    "gzip": (content(b"\x1f\x8b\x08\0\0"), r"packed \(gzip\). Unpack it first"),
    "zip": (content(b"PK\x03\x04rest"), r"packed \(zip\)"),
    "empty folder": (lambda path: path.mkdir(), "holds no word vectors"),
    # text
    "header only": (content(b"3 5\n"), "holds no words"),
    "header, blank lines": (content(b"3 5\n\n\n"), "holds no words"),
    "dimension too small": (content(b"2 2\na 1 2 3\nb 1 2 3\n"), ":1: the header announces 2 numbers.* hold 3"),
    "dimension too large": (content(b"2 300\na 1 2 3\nb 1 2 3\n"), ":1: the header announces 300 numbers.* hold 3"),
    "dimension of 0": (content(b"2 0\na\nb\n"), "0 numbers a word are no vector"),
    "enormous header": (content(b"999999999999 99999999999\na 1 2\nb 3 4\n"), "announces 99,999,999,999 numbers"),
    "no number": (content(b"2 2\na 1 2\nb 1 x2\n"), ":3: 'x2' is not a number"),
    "decimal comma": (content(b"b 1 2\na 1,5 2\n"), ":2: '1,5' is not a number"),
    "number glued to rubbish": (content(b"2 2\na 1 2\nb 1.5abc 2\n"), ":3: '1.5abc' is not a number"),
    "line cut": (content(b"2 3\na 1 2 3\nb 1 2\n"), ":3: 2 numbers instead of 3"),
    "one number too many": (content(b"2 3\na 1 2 3\nb 0.123 1 2 3\n"), ":3: 4 numbers instead of 3"),
    "glove line cut": (content(b"a 1 2 3\nb 1 2 3\nc 1 2"), ":3: 2 numbers instead of 3"),
    "all rows NaN": (content(b"1 2\na nan nan\n"), "no word with a usable vector"),
    # word2vec binary
    "binary cut in a row": (cut(save_binary, 0.51), "ends inside word 2[0-9]"),
    "binary: words announced": (content(b"999999999999999 4\na " + FLOATS + b"\xff\0"), "ends inside word 2"),
    "binary: numbers announced": (content(b"2 99999999999999\na " + FLOATS), "announces 99999999999999 numbers"),
    "binary: no space": (content(b"1 4\n" + b"\0" * 100_000), "ends inside word 1"),
    "binary: no words": (content(b"0 4\na " + FLOATS), "holds no words"),
    "binary: text after it": (content(b"1 4\na " + FLOATS + b"\nthe end"), "ends inside word 2"),
    # fastText
    "fasttext cut in the header": (cut(save_fasttext, 0.01), "ends inside the header"),
    "fasttext cut in the words": (cut(save_fasttext, 0.1), "announces 50 words|ends inside word"),
    "fasttext cut in the vectors": (cut(save_fasttext, 0.5), "ends inside the vectors"),
    "fasttext version": (fasttext_file(version=99), "version 99"),
    "fasttext dimension": (fasttext_file(dim=2**31 - 1), "damaged header"),
    "fasttext dimension, small lie": (fasttext_file(dim=8), "55 x 7 where 55 x 8 belong"),
    "fasttext buckets": (fasttext_file(bucket=2**31 - 1), "55 x 7 where"),
    "fasttext n-grams": (fasttext_file(minn=9), "damaged header"),
    "fasttext words": (fasttext_file(size=2**31 - 1, words=2**31 - 1), "announces 2,147,483,647 words"),
    "fasttext negative words": (fasttext_file(words=-5), "announces -5 words"),
    "fasttext matrix": (fasttext_matrix, "1,099,511,627,776 x 7 where 5 x 7 belong"),
    "fasttext word without end": (fasttext_count, "damaged"),
    "fasttext quantised": (fasttext_flag, "quantised or pruned.*Open the .bin"),
    "fasttext pruned": (fasttext_file(pruned=3), "quantised or pruned"),
    # gensim
    "pickle cut": (cut(save_gensim, 0.5), "damaged pickle"),
    "pickle of something else": (content(pickle.dumps([1, 2, 3])), "without usable word vectors"),
    "pickle of a dictionary": (content(pickle.dumps({"a": [1.0]})), "without usable word vectors"),
    "pickle of an array": (content(pickle.dumps(np.ones(3))), "without usable word vectors"),
    "kv without its arrays": (arrays_gone, r"\.vectors\.npy: the file of its numbers is missing"),
    "kv with cut arrays": (arrays_cut, r"\.vectors\.npy: unreadable"),
    "kv with an array of objects": (array_of_objects, r"\.vectors\.npy: unreadable"),
    # our own folder
    "folder without weights": (folder(lambda p: (p / "vectors.safetensors").unlink()), "safetensors is missing"),
    "folder without words": (folder(lambda p: (p / "vocabulary.json").unlink()), "vocabulary.json is missing"),
    "folder without facts": (folder(lambda p: (p / "wordloom.json").unlink()), "wordloom.json is missing"),
    "folder with torn facts": (folder(lambda p: (p / "wordloom.json").write_text("{")), "not readable as JSON"),
    "folder cut": (folder(lambda p: os.truncate(p / "vectors.safetensors", 999)), "damaged: it is not the file"),
    "folder edited": (folder(lambda p: (p / "vocabulary.json").write_text("{}")), "damaged: it is not the file"),
    "folder of another format": (facts(format=9), "format 9 is unknown"),
    "folder without hashes": (facts(hashes={}), "lacks a usable hashes"),
    "folder of a model": (facts(kind="classify"), "another kind of bundle"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_sentence(tmp_path: Path, name: str) -> None:
    build, message = BAD[name]
    build(tmp_path / "v")
    tracemalloc.start()
    try:
        with pytest.raises(WordloomError, match=message) as caught:
            open_vectors(tmp_path / "v")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.where is not None and caught.value.cure is not None
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(tmp_path))
    assert peak < 60 << 20, f"{peak:,} bytes were taken"


@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("save", [save_text, save_binary, save_fasttext, save_gensim])
def test_whatever_bytes_change_nothing_else_is_raised(
    tmp_path: Path, save: Callable[..., None], subwords: bool
) -> None:
    """150 files with bytes changed, inserted, deleted or set to extreme numbers, most of them near the header."""
    path = tmp_path / "v"
    save(make(12, 4, subwords=subwords), path)
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    extreme = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"]
    tracemalloc.start()
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0, len(data) if rng.random() < 0.5 else 130))
            edits = (bytes([rng.integers(256)]), extreme[rng.integers(4)], rng.bytes(3), b"")
            kind = int(rng.integers(4))
            data[at : at + (1, 4, 0, 5)[kind]] = edits[kind]
        path.write_bytes(data)
        try:
            open_vectors(path)
        except WordloomError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10
    assert tracemalloc.get_traced_memory()[1] < 60 << 20
    tracemalloc.stop()


def test_unknown_encoding(tmp_path: Path) -> None:
    save_text(make(5), tmp_path / "v")
    for name in ("klingon", "hex"):
        with pytest.raises(ConfigError, match="no encoding is called"):
            open_vectors(tmp_path / "v", encoding=name)


# --- pickles that attack ---------------------------------------------------------------------------------------------


class Command:
    def __init__(self, function: Callable[..., object], *arguments: object):
        self.parts = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.parts


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    attacks = {
        "system": Command(os.system, f"touch {mark}"),
        "eval": Command(eval, f"open({str(mark)!r}, 'w')"),
        "open": Command(open, str(mark), "w"),
        "getattr": Command(getattr, Command, "mro"),
        "rmtree": Command(shutil.rmtree, str(tmp_path / "none")),
        "load": Command(np.load, str(mark)),
    }
    for name, attack in attacks.items():
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"wv": attack}, protocol))
        with pytest.raises(WordloomError, match="which no word vectors need, so it is not opened"):
            open_vectors(path)
    assert not mark.exists()


def test_a_pickle_cannot_ask_for_memory_or_change_the_next_one(tmp_path: Path) -> None:
    new = b"\x80\x02"
    huge = new + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(\x8a\x06\0\0\0\0\0\x10tU\x01bt\x52."
    stand_in = new + b"cgensim.models.keyedvectors\nKeyedVectors\n(N}X\x0c\0\0\0__setstate__K\x01stb."
    save_gensim(make(5), tmp_path / "good")
    for name, program in {"huge": huge, "stand-in": stand_in}.items():
        (tmp_path / name).write_bytes(program)
        tracemalloc.start()
        with pytest.raises(WordloomError, match=r"pickle|gensim file"):
            open_vectors(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
        tracemalloc.stop()
        assert len(open_vectors(tmp_path / "good")) == 5


def test_a_pickle_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    save_gensim(make(5), tmp_path / "v")
    program = (tmp_path / "v").read_bytes()
    assert program.count(b"vectors") == 1 + program.count(b"keyedvectors")
    (tmp_path / "v").write_bytes(program.replace(b"X\x07\0\0\0vectors", b"X\x07\0\0\0../etc/"))
    with pytest.raises(WordloomError, match="its vectors are not there"):
        open_vectors(tmp_path / "v")
