"""Ids on disk against collections.Counter and gensim; threads, kills, damage, a full disk."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wordloom import disk
from wordloom.config import CorpusConfig, VectorsConfig
from wordloom.data.corpus import Corpus
from wordloom.errors import DataError
from wordloom.vectors import encode, segment
from wordloom.vectors.encode import build, open_ids
from wordloom.vectors.vocabulary import Splitter, Vocabulary

SPLIT = VectorsConfig(words="split", min_count=2)


def messy_lines(count: int = 400, seed: int = 0) -> list[str]:
    """Lines of a Zipf-like vocabulary with rare and odd words, empty lines, wide spaces and what U+2028 does."""
    rng = random.Random(seed)
    words = ["the", "The", "é", "e\u0301", "Ọ̀rọ̀", "한국어", "\U0001f600", "x\u200by", "don't", "我爱北京", "a", "ab"]
    words += [f"w{n}" for n in range(60)]
    lines = []
    for number in range(count):
        line = [rng.choice(words[: rng.choice((3, 12, len(words)))]) for _ in range(rng.randrange(12))]
        line += [f"rare{number}"] * (number % 7 == 0)
        lines.append("".join(w + rng.choice((" ", " ", "\t", "\u3000", "\u2028", "\x85")) for w in line))
    return lines


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in messy_lines()), encoding="utf-8", newline="\n")
    (tmp_path / "b.txt").write_text("last file\nlast file\r\nthe end", encoding="utf-8", newline="\n")
    return Corpus(CorpusConfig(paths=(str(tmp_path / "*.txt"),), documents="line"))


def reference(sentences: list[list[str]], config: VectorsConfig) -> tuple[list[str], list[int], list[list[str]]]:
    """(words, counts, sentences of kept words) with the standard library alone."""
    counted = Counter(word for sentence in sentences for word in sentence)
    order = sorted(counted, key=lambda word: (-counted[word], word.encode()))
    words = [word for word in order if counted[word] >= config.min_count][: config.max_vocab]
    kept = set(words)
    left = [[word for word in sentence if word in kept] for sentence in sentences]
    return words, [counted[word] for word in words], [sentence for sentence in left if sentence]


def sentences_of(vocabulary: Vocabulary, ids: encode.TokenIds) -> list[list[str]]:
    flat = [vocabulary.words[number] for number in ids.ids.tolist()]
    return [flat[a:b] for a, b in zip(ids.starts[:-1], ids.starts[1:], strict=True)]


@pytest.mark.parametrize(
    "config",
    [SPLIT, SPLIT.model_copy(update={"min_count": 1}), SPLIT.model_copy(update={"max_vocab": 5}),
     SPLIT.model_copy(update={"words": "words"}), SPLIT.model_copy(update={"words": "characters", "min_count": 30})],
    ids=["split", "all", "five", "words", "characters"],
)  # fmt: skip
def test_ids_are_the_text(config: VectorsConfig, corpus: Corpus, tmp_path: Path) -> None:
    built = build(corpus, config, tmp_path / "ids", threads=2)
    sentences = [Splitter(config.words)(document.text) for document in corpus]
    words, counts, left = reference(sentences, config)
    for vocabulary, ids in (built, open_ids(tmp_path / "ids")):
        assert vocabulary.words == words and vocabulary.counts.tolist() == counts
        assert vocabulary.total == sum(map(len, sentences))
        assert sentences_of(vocabulary, ids) == left
        assert ids.ids.dtype == np.int32 and ids.starts.dtype == np.int64 and ids.sentences == len(left)
    manifest = json.loads((tmp_path / "ids/manifest.json").read_text())
    assert manifest["config"]["words"] == config.words and manifest["hash"] == ids.hash
    assert manifest["corpus"]["documents"] == sum(1 for _ in corpus)


def test_a_sentence_is_a_line_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree\n\n \n rare\nfour\u2028five\r\nsix\n", newline="\n")
    corpus = Corpus(CorpusConfig(paths=(str(tmp_path / "a.txt"),), documents="file"))
    config = SPLIT.model_copy(update={"min_count": 1})
    got = sentences_of(*build(corpus, config, tmp_path / "ids", 1))
    assert got == [["one", "two"], ["three"], ["rare"], ["four", "five"], ["six"]]


def test_counts_are_those_of_gensim(shared_data: Path, tmp_path: Path) -> None:
    word2vec = pytest.importorskip("gensim.models.word2vec")
    with gzip.open(shared_data / "pretrain/wikitext2_test.txt.gz", "rb") as file:
        (tmp_path / "a.txt").write_bytes(file.read(400_000))
    corpus = Corpus(CorpusConfig(paths=(str(tmp_path / "a.txt"),), documents="line"))
    vocabulary, ids = build(corpus, VectorsConfig(words="split"), tmp_path / "ids", 1)
    model = word2vec.Word2Vec(min_count=5)
    model.build_vocab(word2vec.LineSentence(str(tmp_path / "a.txt")))
    theirs = {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key}
    assert dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)) == theirs
    assert model.corpus_total_words == vocabulary.total and sum(theirs.values()) == len(ids.ids)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_threads_and_chunks_do_not_show(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SPLIT.model_copy(update={"phrases": 1, "phrase_threshold": 0.2})
    build(corpus, config, tmp_path / "one", 1)
    monkeypatch.setattr(encode, "CHUNK", 300)  # some fifty chunks
    for threads in (1, 2, 5):
        build(corpus, config, tmp_path / f"many{threads}", threads)
        assert files(tmp_path / f"many{threads}") == files(tmp_path / "one")


def test_a_full_table_forgets_rare_words_and_says_so(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, _ = build(corpus, SPLIT, tmp_path / "whole", 1)
    monkeypatch.setattr(encode, "TABLE_LIMIT", 40)
    monkeypatch.setattr(encode, "CHUNK", 300)
    for threads in (1, 2):
        vocabulary, ids = build(corpus, SPLIT, tmp_path / f"ids{threads}", threads)
        exact = dict(zip(wanted.words, wanted.counts.tolist(), strict=True))
        counts = dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True))
        assert 5 < len(counts) <= 40 and counts.items() <= exact.items()  # what is kept has its true count
        assert vocabulary.words[:3] == wanted.words[:3] and vocabulary.total == wanted.total
        lines = [Splitter("split")(document.text) for document in corpus]
        left = [kept for line in lines if (kept := [word for word in line if word in counts])]
        assert sentences_of(vocabulary, ids) == left
        (note,) = ids.notes
        assert note.startswith("more than 40 different words: those met") and "may be missing" in note
    assert files(tmp_path / "ids1") == files(tmp_path / "ids2")


def test_chinese_taken_as_words_is_noted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("我爱北京\n" * 3)
    corpus = Corpus(CorpusConfig(paths=(str(tmp_path / "a.txt"),), documents="line"))
    config = VectorsConfig(min_count=1)
    assert "86% of the first characters are Chinese" in build(corpus, config, tmp_path / "a", 1)[1].notes[0]
    assert not build(corpus, config.model_copy(update={"words": "characters"}), tmp_path / "b", 1)[1].notes


CHINESE = [
    "我来到北京清华大学。iPhone手机",
    "plain English line",
    "小明硕士毕业于中国科学院计算所\u2028后在日本京都大学深造",
] * 20


@pytest.fixture
def chinese_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    pytest.importorskip("jieba")
    monkeypatch.setattr(encode, "JIEBA_CHUNK", 200)
    (tmp_path / "zh.txt").write_text("\n".join(CHINESE), encoding="utf-8")
    return Corpus(CorpusConfig(paths=(str(tmp_path / "zh.txt"),), documents="line"))


def test_jieba_in_processes_of_its_own(chinese_corpus: Corpus, tmp_path: Path) -> None:
    config = VectorsConfig(words="jieba")
    for threads in (1, 2):
        vocabulary, ids = build(chinese_corpus, config, tmp_path / f"ids{threads}", threads)
        assert sentences_of(vocabulary, ids) == [Splitter("jieba")(line) for line in CHINESE]
    assert files(tmp_path / "ids1") == files(tmp_path / "ids2")


def test_a_dead_jieba_process_is_one_sentence(
    chinese_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment.sys, "executable", "/bin/false")
    with pytest.raises(DataError, match=r"a jieba process ended before its work.*Use fewer threads"):
        build(chinese_corpus, VectorsConfig(words="jieba"), tmp_path / "ids", 2)
    assert [p.name for p in tmp_path.iterdir()] == ["zh.txt"]


# ---- what goes wrong


def test_nothing_to_keep(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no word occurs 9000 times"):
        build(corpus, SPLIT.model_copy(update={"min_count": 9000}), tmp_path / "ids", 1)
    (tmp_path / "marks.md.txt").write_text("... !!! ---\n")
    marks = Corpus(CorpusConfig(paths=(str(tmp_path / "marks.md.txt"),), documents="line"))
    with pytest.raises(DataError, match=r"no word occurs 5 times; the most frequent of 0 occurs 0 times"):
        build(marks, VectorsConfig(phrases=1), tmp_path / "ids", 1)
    build(corpus, SPLIT, tmp_path / "ids", 1)
    with pytest.raises(DataError, match="exists already"):
        build(corpus, SPLIT, tmp_path / "ids", 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt", "ids", "marks.md.txt"]


def test_ctrl_c_leaves_nothing(corpus: Corpus, tmp_path: Path) -> None:
    def stop(read: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(corpus, SPLIT, tmp_path / "ids", 2, stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def in_child(work: Callable[[], None]) -> int:
    """Exit status of a forked child: -9 where it was killed, 4 where ``work`` raised DataError."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(100)  # a child that hangs fails the test and not the whole suite
            work()
            os._exit(0)
        except DataError as error:
            os.write(2, f"{error}\n".encode())
            os._exit(4)
        finally:
            os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


SEAMS = [(encode, "cut"), (encode, "join_phrases"), (encode, "choose"), (encode, "_renumber"), (encode, "_truncate"),
         (encode, "file_hash"), (disk, "write"), (disk, "rename")]  # fmt: skip


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("module", "name"), SEAMS, ids=[name for _, name in SEAMS])
def test_a_killed_build_is_built_anew(
    module: object, name: str, after: bool, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "CHUNK", 5000)
    config, folder = SPLIT.model_copy(update={"phrases": 1, "phrase_threshold": 0.2}), tmp_path / "ids"
    vocabulary, wanted = build(corpus, config, tmp_path / "whole", 1)
    original = getattr(module, name)

    def killed(*args: object) -> object:
        if after:
            original(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        setattr(module, name, killed)
        build(corpus, config, folder, 1)

    assert in_child(work) == -signal.SIGKILL
    whole = name == "rename" and after
    assert folder.exists() == whole
    got = open_ids(folder) if whole else build(corpus, config, folder, 1)
    assert got[0].words == vocabulary.words and got[1].hash == wanted.hash
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", "b.txt", "whole", "ids"}


def test_a_full_disk_is_one_sentence(corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(corpus, SPLIT, tmp_path / "whole", 1)  # compiled code is on disk before files may no longer grow

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        build(corpus, SPLIT, tmp_path / "ids", 1)

    assert in_child(work) == 4
    assert "ids: the word ids could not be written (File too large)" in capfd.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", "b.txt", "whole"}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(key: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, key: value}))

    return change


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    (name, harm, said)
    for name in ("ids.bin", "starts.bin", "vocabulary.tsv")
    for harm, said in (
        (flip, f"{name} is not what was written"), (Path.unlink, f"{name} is missing"),
        (lambda path: os.truncate(path, 8), f"{name} has 8 bytes instead of"),
    )
] + [
    ("manifest.json", Path.unlink, "not word ids: no manifest.json"),
    ("manifest.json", lambda path: os.truncate(path, 50), "manifest.json cannot be read"),
    ("manifest.json", edit("format", "another"), "not the manifest of word ids"),
    ("manifest.json", edit("version", 2), "written in version 2 of the format, this program reads 1"),
    ("manifest.json", edit("notes", None), "manifest.json has no usable 'notes'"),
    ("manifest.json", edit("words", 3), "the sentences do not end where the words do"),
    ("manifest.json", edit("files", {}), "manifest.json has no usable 'files'"),
]  # fmt: skip


def test_damage_is_refused_in_one_sentence(corpus: Corpus, tmp_path: Path) -> None:
    for name, harm, said in DAMAGE:
        build(corpus, SPLIT, tmp_path / "ids", 1)
        harm(tmp_path / "ids" / name)
        with pytest.raises(DataError, match=said) as raised:
            open_ids(tmp_path / "ids")
        assert raised.value.cure and "\n" not in str(raised.value)
        encode.shutil.rmtree(tmp_path / "ids")
