"""The index on disk: BM25 equal to ours, exact cosines, additions and deletions, and a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny_collections import write_beir
from wordloom.api.searching import evaluate_search, index, open_index, search
from wordloom.data.collection import read_collection
from wordloom.data.documents import Documents
from wordloom.errors import ConfigError, DataError, RunError
from wordloom.run import Run
from wordloom.search.bm25 import BM25
from wordloom.search.index import Hit, Index, merged, reranked
from wordloom.search.ranking import fuse, top
from wordloom.search.store import Found, Store
from wordloom.search.words import Words

pytest.importorskip("lancedb")


def rankings(path: Path, queries: tuple[str, ...]) -> list[list[tuple[str, float]]]:
    found = open_index(path)
    return [[(hit.id, hit.score) for hit in hits] for hits in found.search_all(queries, 100, mode="bm25")]


def expected(documents: list[tuple[str, str]], queries: tuple[str, ...], words: Words) -> list[list[tuple[str, float]]]:
    """By BM25 in memory."""
    ours = BM25((text for _, text in documents), words)
    return [top(ours.scores(q), [d for d, _ in documents], 100, positive=True) for q in queries]


def agree(a: list[list[tuple[str, float]]], b: list[list[tuple[str, float]]]) -> None:
    for x, y in zip(a, b, strict=True):
        assert {d for d, _ in x} == {d for d, _ in y}
        assert dict(x) == pytest.approx(dict(y), rel=2e-6)


def test_bm25_of_the_index_is_ours_after_every_change(tmp_path: Path) -> None:
    folder, out = write_beir(tmp_path / "beir"), tmp_path / "index"
    queries = read_collection(folder / "qrels" / "test.tsv").queries
    done = index(folder, out, quiet=True, block=7)
    assert (done.documents, done.added) == (40, 40) and done.path == out
    words = Words(**json.loads((out / "manifest.json").read_text())["index"]["words"])
    documents = [(d.id, d.full) for d in Documents(folder)]
    agree(rankings(out, queries), expected(documents, queries, words))

    more = tmp_path / "more.jsonl"
    changed = {"_id": "d3", "title": "", "text": documents[5][1]}
    same = json.loads((folder / "corpus.jsonl").read_text().splitlines()[4])
    new = {"_id": "it's", "title": "", "text": "Tea and growth of the cell."}
    more.write_text("".join(json.dumps(row) + "\n" for row in (changed, same, new)))
    done = index(more, out, add=True, quiet=True)
    assert (done.added, done.changed, done.same, done.documents) == (1, 1, 1, 41)
    documents[3] = ("d3", documents[5][1])
    documents.append(("it's", new["text"]))
    agree(rankings(out, queries), expected(documents, queries, words))

    done = index(None, out, delete=["d0", "it's"])
    assert done.documents == 39 and done.removed == 2
    documents = [d for d in documents if d[0] not in ("d0", "it's")]
    agree(rankings(out, queries), expected(documents, queries, words))
    with pytest.raises(DataError, match="no document has the id d0; nothing was deleted"):
        index(None, out, delete=["d0", "d1"])
    assert open_index(out).store.known().keys() == {d for d, _ in documents}
    again = index(more, out, add=True, quiet=True)
    assert (again.same, again.added, again.documents) == (2, 1, 40)
    documents.append(("it's", new["text"]))
    agree(rankings(out, queries), expected(documents, queries, words))


KILLED = """
import os, signal, sys
from wordloom.search.store import Store
from wordloom.api.searching import index
put, count = Store.put, 0
def dies(self, rows, known):
    global count
    count += 1
    if count == int(sys.argv[3]):
        if sys.argv[4] == "after":
            put(self, rows, known)
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, rows, known)
Store.put = dies
index(sys.argv[1], sys.argv[2], block=7, quiet=True, add=sys.argv[5] in ("add", "delete"),
      resume=sys.argv[5] == "resume", delete=["d0", "d1"] if sys.argv[5] == "delete" else [])
"""


def kill(docs: Path, out: Path, put: int, when: str, how: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(docs), str(out), str(put), when, how]
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL


def test_a_kill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder, out = write_beir(tmp_path / "beir"), tmp_path / "index"
    queries = read_collection(folder / "qrels" / "test.tsv").queries
    kill(folder, out, 3, "after", "new")
    with pytest.raises(RunError, match=r"did not finish.*--resume"):
        open_index(out)
    with pytest.raises(RunError, match="did not finish"):
        index(folder, out, add=True)
    kill(folder, out, 5, "before", "resume")  # blocks that are there already are put too, empty
    held = Store.open(out / "lance").known()
    assert len(held) == 28 and len(Store.open(out / "lance")) == 28  # 3 blocks of the first, 1 of the second
    done = index(folder, out, resume=True, quiet=True, block=7)
    assert (done.documents, done.added, done.same) == (40, 12, 28)
    assert len(Store.open(out / "lance")) == 40
    whole = tmp_path / "whole"
    index(folder, whole, quiet=True)
    agree(rankings(out, queries), rankings(whole, queries))

    more = tmp_path / "more.txt"
    more.write_text("".join(f"tea number {i}\n" for i in range(20)))
    kill(more, out, 2, "after", "add")  # what is resumed is an addition: the documents from before stay
    assert index(more, out, resume=True, quiet=True).documents == 60


def test_a_kill_between_deleting_and_adding(tmp_path: Path) -> None:
    folder, out = write_beir(tmp_path / "beir"), tmp_path / "index"
    index(folder, out, quiet=True)
    more = tmp_path / "more.txt"
    more.write_text("".join(f"tea number {i}\n" for i in range(9)))
    kill(more, out, 1, "before", "delete")
    with pytest.raises(RunError, match=r"did not finish.*--resume"):
        open_index(out)
    done = index(more, out, delete=["d0", "d1"], add=True, resume=True, quiet=True)
    assert done.documents == 40 - 2 + 9 and not {"d0", "d1"} & open_index(out).store.known().keys()


def test_what_is_wrong_with_documents_is_said_before_any_work(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "beir")
    index(folder, tmp_path / "index", quiet=True)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"_id": "x", "text": "fine"}\n{"_id": "x", "text": "twice"}\n')
    for out in (tmp_path / "index", tmp_path / "other"):
        with pytest.raises(DataError, match="stands at"):
            index(bad, out, add=out.name == "index")
    assert len(open_index(tmp_path / "index").store) == 40 and not (tmp_path / "other").exists()
    with pytest.raises(RunError, match="exist"):
        index(folder, tmp_path / "index")
    with Run.create(tmp_path / "run", {}, "finetune"), pytest.raises(RunError, match="not an index"):
        open_index(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds no vectors"):
        search(tmp_path / "index", "tea", mode="dense")
    with pytest.raises(ConfigError, match="unknown mode"):
        search(tmp_path / "index", "tea", mode="both")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no documents"):
        index(None, tmp_path / "index")


def test_vectors_are_compared_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = Store.create(tmp_path, 8)
    rows = [{"id": str(i), "title": "", "text": f"text {i}", "words": f"text {i}", "digest": "", "vector": v}
            for i, v in enumerate(vectors)]  # fmt: skip
    store.put(rows, {})
    store.settle(rebuild=False)
    for v in vectors[:5]:
        found = store.near(v, 10)
        cosines = vectors @ v
        assert [int(f.id) for f in found] == np.argsort(-cosines)[:10].tolist()
        assert [f.score for f in found] == pytest.approx(np.sort(cosines)[::-1][:10], abs=1e-6)
    both = Index(store, Words("none"), lambda queries: vectors[[int(q.split()[-1]) for q in queries]])
    hits = both.search("text 7", 5, depth=20)
    assert both.modes == ("bm25", "dense", "hybrid") and hits[0].id == "7" and hits[0].ranks == {"bm25": 1, "dense": 1}
    sides = [[(h.id, h.score) for h in both.search("text 7", 20, mode=mode, depth=20)] for mode in ("bm25", "dense")]
    assert [(h.id, h.score) for h in hits] == fuse(sides)[:5]


def test_reranking_keeps_all_and_orders_by_the_judge() -> None:
    hits = merged({"bm25": [Found(c, "", f"text {c}", s) for c, s in (("a", 3.0), ("b", 2.0), ("c", 1.0))]})
    assert [h.id for h in hits] == ["a", "b", "c"]
    seen = []

    def judge(queries, documents):  # type: ignore[no-untyped-def]
        seen.extend(zip(queries, documents, strict=True))
        return np.array([0.2, 0.9, 0.2])

    found = reranked("q", hits, judge)
    assert [h.id for h in found] == ["b", "a", "c"] and found[0].ranks == {"bm25": 2, "before": 2}
    assert seen == [("q", "text a"), ("q", "text b"), ("q", "text c")] and isinstance(found[0], Hit)


def test_evaluation_counts_what_is_not_there(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "beir")
    index(folder, tmp_path / "index", quiet=True)
    index(None, tmp_path / "index", delete=["d1"])
    found = evaluate_search(tmp_path / "index", folder / "qrels" / "test.tsv")
    assert "1 relevant judgments of documents that are not in the index" in found.columns
    assert 0.5 < found.scores["bm25"]["ndcg@10"].value < 1
    with pytest.raises(DataError, match="no judgments"):
        evaluate_search(tmp_path / "index", folder / "corpus.jsonl")
