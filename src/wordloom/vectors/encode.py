"""A corpus as word ids on disk: counted and encoded in one reading of the text.

    FOLDER/{ids.bin, starts.bin, vocabulary.tsv, manifest.json}     the folder appears whole or not at all

Every word gets a provisional id when it is first met; the ids go to disk while the words are counted, and are
renumbered in place when the vocabulary is known. Only where the table of words passes ``TABLE_LIMIT`` is the text
read a second time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordloom import disk
from wordloom.config import VectorsConfig
from wordloom.data.corpus import Corpus
from wordloom.data.sealed import damaged, file_hash, open_sealed
from wordloom.errors import DataError
from wordloom.text import chinese
from wordloom.vectors.phrases import join_phrases
from wordloom.vectors.segment import Segmenters
from wordloom.vectors.vocabulary import Splitter, Vocabulary, choose
from wordloom.vectors.wordhash import Chunk, WordTable, cut

FORMAT, VERSION = "wordloom word ids", 1
FILES = ("ids.bin", "starts.bin", "vocabulary.tsv")
NOUN = "word ids"
_FACTS = {"total": int, "words": int, "sentences": int, "hash": str, "notes": list, "config": dict}
CHUNK = 1 << 22  # characters given to a thread at a time; some 30 MB of working memory each
JIEBA_CHUNK = 1 << 18  # a second's work
# Different words held, 24 bytes and their letters each: 300 MB at most. The C code prunes at 21 million.
TABLE_LIMIT = 1 << 23
SETTINGS = ("words", "min_count", "max_vocab", "phrases", "phrase_score", "phrase_threshold")

Progress = Callable[[int], None]  # called with the characters of text read so far; from 0 again where it is read twice


@dataclass(frozen=True)
class TokenIds:
    """M running words in S sentences; words outside the vocabulary and sentences without a word are left out.

    ids: (M,) int32, memory-mapped. starts: (S + 1,) int64, memory-mapped; sentence i is ids[starts[i]:starts[i + 1]].
    hash: SHA-256 over the hashes of ids, starts and vocabulary. notes: decisions in words, for the user.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    hash: str
    notes: tuple[str, ...] = field(default=())

    @property
    def sentences(self) -> int:
        return len(self.starts) - 1


def build(
    corpus: Corpus, config: VectorsConfig, folder: str | Path, threads: int, progress: Progress | None = None
) -> tuple[Vocabulary, TokenIds]:
    """Write the corpus as ids to a new folder and open it. A sentence is a line of a document.

    The result does not depend on ``threads``. What a killed build left is removed. Raises ConfigError (jieba is not
    installed) and DataError (the folder exists, no word is left, the disk is full, or an error of the corpus).
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError("exists already", where=folder, cure="choose another folder or remove this one")
    splitter = Splitter(config.words)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        vocabulary, manifest = _write(corpus, config, splitter, partial, threads, progress)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        disk.write(partial / "manifest.json", text.encode("utf-8"))
        disk.rename(partial, folder)
    except OSError as error:
        what = f"the word ids could not be written ({error.strerror or error})"
        raise DataError(what, where=folder, cure=disk.cure_of(error)) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return vocabulary, _mapped(folder, manifest)


def open_ids(folder: str | Path, verify: bool = True) -> tuple[Vocabulary, TokenIds]:
    """Open what ``build`` wrote; ``verify`` reads every file and compares its hash. Raises DataError."""
    folder = Path(folder)
    manifest = open_sealed(folder, NOUN, (FORMAT, VERSION), _FACTS, FILES, verify)
    try:
        rows = [row.split("\t") for row in (folder / "vocabulary.tsv").read_text("utf-8").split("\n")[:-1]]
        counts = np.array([int(count) for _, count in rows], np.int64)
    except ValueError:
        raise damaged(folder, "vocabulary.tsv does not hold a word and its count in each line") from None
    return Vocabulary([word for word, _ in rows], counts, manifest["total"]), _mapped(folder, manifest)


# ---- writing


def _write(
    corpus: Corpus, config: VectorsConfig, splitter: Splitter, folder: Path, threads: int, progress: Progress | None
) -> tuple[Vocabulary, dict[str, Any]]:
    """All files but the manifest, which is returned."""
    table = WordTable()
    total, reduce, notes = _scan(corpus, splitter, table, folder, threads, progress, TABLE_LIMIT)
    if reduce:
        table.counts[: table.count] = 0
        total, _, again = _scan(corpus, splitter, table, folder, threads, progress, None)
        said = f"more than {TABLE_LIMIT:,} different words: those met {reduce} times or less when the table was full"
        notes = [*again, f"{said} were forgotten, so that words somewhat above min_count may be missing"]
    ids, starts = _map_files(folder, "r+")
    if config.phrases and total:
        total, said_of_phrases = join_phrases(ids, starts, table, config)
        ids, notes = ids[:total], [*notes, *said_of_phrases]
    vocabulary, final = choose(table, total, config)
    words, sentences = _renumber(ids, starts, final)
    del ids, starts
    _truncate(folder / "ids.bin", 4 * words)
    _truncate(folder / "starts.bin", 8 * (sentences + 1))
    rows = [f"{word}\t{count}\n" for word, count in zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)]
    (folder / "vocabulary.tsv").write_text("".join(rows), encoding="utf-8", newline="\n")
    hashes = {name: file_hash(folder / name) for name in FILES}
    return vocabulary, {
        "format": FORMAT,
        "version": VERSION,
        "config": {name: getattr(config, name) for name in SETTINGS},
        "segmenter": chinese.segmenter() if config.words == "jieba" else None,
        "total": total,
        "words": words,
        "sentences": sentences,
        "vocabulary": len(vocabulary),
        "hash": hashlib.sha256("".join(hashes.values()).encode()).hexdigest(),
        "files": {n: {"bytes": (folder / n).stat().st_size, "sha256": hashes[n]} for n in FILES},
        "notes": notes,
        "corpus": corpus.report.to_json(),
    }


def _scan(
    corpus: Corpus, splitter: Splitter, table: WordTable, folder: Path, threads: int, progress: Progress | None,
    limit: int | None,
) -> tuple[int, int, list[str]]:  # fmt: skip
    """Read the corpus once: counts into the table, ids and the ends of lines to disk.

    limit: words above which the rarest are forgotten; None: no new word is added. Returns (running words, the count up
    to which words were forgotten or 0, notes). Where words were forgotten, the ids on disk are of no use.
    """
    total = reduce = 0
    notes: list[str] = []
    with (folder / "ids.bin").open("wb") as ids, (folder / "starts.bin").open("wb") as starts:
        starts.write(bytes(8))
        for chunk in _chunks(corpus, splitter, threads, progress, notes):
            numbers = table.merge(chunk, grow=limit is not None)
            if not reduce:
                ids.write(numbers[chunk.ids].data)
                starts.write((chunk.ends + total).data)
            total += len(chunk.ids)
            while limit is not None and table.count > limit:  # ReduceVocab of the C code
                reduce += 1
                table.keep(table.counts[: table.count] > reduce)
    return total, reduce, notes


def _chunks(
    corpus: Corpus, splitter: Splitter, threads: int, progress: Progress | None, notes: list[str]
) -> Iterator[Chunk]:
    """The corpus in order, cut into words by several threads; bounded by what is under way."""
    encode = splitter.encode

    def work(texts: list[str]) -> Chunk:
        return cut(encode(texts), splitter.rules)

    under_way: deque[Future[Chunk]] = deque()
    read = 0
    by_jieba = splitter.words == "jieba"
    full = JIEBA_CHUNK if by_jieba else CHUNK
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        for texts, size in _batches(corpus, full):
            if not read and splitter.words == "words":
                notes += _chinese_note(texts)
            if not read and by_jieba and threads > 1 and size >= full:  # a small corpus is done before they start
                encode = stack.enter_context(Segmenters(threads)).encode
            if len(under_way) > threads:
                yield under_way.popleft().result()
            under_way.append(pool.submit(work, texts))
            read += size
            if progress is not None:
                progress(read)
        while under_way:
            yield under_way.popleft().result()


def _batches(corpus: Corpus, full: int) -> Iterator[tuple[list[str], int]]:
    texts: list[str] = []
    size = 0
    for document in corpus:
        texts.append(document.text)
        size += len(document.text) + 1
        if size >= full:
            yield texts, size
            texts, size = [], 0
    if texts:
        yield texts, size


def _chinese_note(texts: list[str]) -> list[str]:
    share = float(chinese.is_chinese(" ".join(texts)[:100_000]).mean())
    if share < 0.2:
        return []
    said = f"{share:.0%} of the first characters are Chinese, and each run of them was taken as one word"
    return [f'{said}: words = "jieba" or "characters" cuts them']


@njit(cache=True, nogil=True)
def _renumber(ids, starts, final):  # type: ignore[no-untyped-def]
    """In place; words of final id -1 and empty sentences go. (words, sentences) left."""
    to = sentences = first = 0
    for s in range(1, len(starts)):
        end = starts[s]
        before = to
        for i in range(first, end):
            if ids[i] >= 0 and final[ids[i]] >= 0:
                ids[to] = final[ids[i]]
                to += 1
        first = end
        if to > before:
            sentences += 1
            starts[sentences] = to
    return to, sentences


# ---- files


def _map_files(folder: Path, mode: Any) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Views of both files; arrays without an element have no file to map."""
    size = (folder / "ids.bin").stat().st_size
    ids = np.memmap(folder / "ids.bin", "<i4", mode) if size else np.zeros(0, np.int32)
    return np.asarray(ids), np.asarray(np.memmap(folder / "starts.bin", "<i8", mode))


def _mapped(folder: Path, manifest: dict[str, Any]) -> TokenIds:
    ids, starts = _map_files(folder, "r")
    if len(ids) != manifest["words"] or len(starts) != manifest["sentences"] + 1 or starts[-1] != len(ids):
        raise damaged(folder, "the sentences do not end where the words do")
    return TokenIds(ids, starts, manifest["hash"], tuple(manifest["notes"]))


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
