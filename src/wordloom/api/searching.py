"""``index`` and ``search``: documents on disk that answer by words, by meaning, or by both."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wordloom.api.results import say
from wordloom.data.collection import read_collection
from wordloom.data.documents import Document, DocumentColumns, Documents
from wordloom.errors import ConfigError, DataError, RunError
from wordloom.metrics import ranking_tallies, tally_scores
from wordloom.run import Run, read_manifest
from wordloom.search.index import DEPTH, Embed, Hit, Index, Judge, Mode
from wordloom.search.store import KEEP, Store, lancedb
from wordloom.search.words import SAMPLE, Words, choose_words

if TYPE_CHECKING:  # torch takes three seconds that an index of words alone does not need
    from wordloom.api.loading import Evaluation

BLOCK = 512  # documents of one commit: what a kill can lose of the work, never of what was committed
FOLDER = "lance"
YES = ("1", "relevant", "yes", "true", "positive", "entailment")  # labels of a cross-encoder that say "it fits"


@dataclasses.dataclass(frozen=True)
class Indexed:
    """What an indexing did. documents: in the index now."""

    path: Path
    documents: int
    added: int = 0
    changed: int = 0
    same: int = 0
    removed: int = 0
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        counts = (("added", self.added), ("replaced", self.changed), ("as they were", self.same),
                  ("removed", self.removed))  # fmt: skip
        did = ", ".join(f"{n:,} {what}" for what, n in counts if n) or "nothing to do"
        return [*self.notes, f"{self.documents:,} documents in {self.path} ({did})"]

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "path": str(self.path)}


def index(
    docs: str | Path | None,
    out: str | Path,
    *,
    model: str | Path | None = None,
    add: bool = False,
    delete: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    stem: str = "auto",
    chinese: str = "auto",
    columns: DocumentColumns | None = None,
    block: int = BLOCK,
    quiet: bool = False,
) -> Indexed:
    """Index documents (see ``data.documents``) at ``out``, for BM25 and, with a model, for vectors.

    model: a run of the task ``retrieve``; a copy of it stays in the index. add: into an index that is there: new ids
    are added, changed texts replaced, equal ones left. delete: ids to take out. resume: go on after a kill; what was
    committed is kept. stem, chinese: `search.words.choose_words`; an index keeps its own.
    Raises DataError for unreadable documents or unknown ids, RunError for an index that is there or unfinished.
    """
    lancedb()  # before any work
    if docs is None:
        if not delete or add or overwrite or model is not None:
            raise ConfigError("no documents were given", where="index", cure="name a file or folder of documents")
        with _open(out, finished=not resume) as run:
            return _delete(run, list(dict.fromkeys(delete)), resume)
    if delete and not add:
        raise ConfigError("--delete beside documents needs --add", where="index", cure="add --add, or delete alone")
    source = Documents(docs, columns)
    if add or resume:
        with _open(out, finished=not resume) as run:
            sample = _read_through(source)
            if delete:
                _delete(run, list(dict.fromkeys(delete)), resume, more=True)
            adding = add or run.manifest.get("adding", False)
            return _fill(run, source, choose_words(sample, stem, chinese), model, block, quiet, adding)
    words = choose_words(_read_through(source), stem, chinese)
    with Run.create(out, {}, "index", overwrite) as run:
        return _fill(run, source, words, model, block, quiet, adding=False)


def _read_through(source: Documents) -> list[str]:
    """Texts of the first documents, after all were read once: what is wrong with them is said before any work."""
    sample: list[str] = []
    for document in source:
        if len(sample) < SAMPLE:
            sample.append(document.full)
    return sample


def _open(out: str | Path, *, finished: bool) -> Run:
    manifest = read_manifest(out)
    if manifest.get("kind") != "index":
        raise RunError("not an index", where=out, cure="name the folder of an index")
    if finished:
        _refuse_unfinished(manifest, out)
    return Run.open(out)


def _refuse_unfinished(manifest: dict[str, Any], out: str | Path) -> None:
    if manifest.get("status") != "finished":
        raise RunError("the indexing did not finish", where=out, cure="give the same command again, with --resume")


def _fill(
    run: Run, source: Documents, words: Words, model: str | Path | None, block: int, quiet: bool, adding: bool
) -> Indexed:
    """Bring the index to what ``source`` holds. adding: documents that are not in the source stay. words: of a new
    index; an old one has its own."""
    predictor = _encoder(run, model)
    # a kill from here on leaves an index that says so, and a resumption that knows what was being done
    interrupted = run.manifest["status"] != "finished"
    run.update_manifest(status="running", adding=adding)
    if "index" not in run.manifest:
        run.update_manifest(index={"words": words.to_json(), "documents": source.path})
    words = Words(**run.manifest["index"]["words"])
    store = _table(run, None if predictor is None else predictor.model.arch.width)
    known, seen = store.known(), set[str]()
    counts = {"added": 0, "changed": 0, "same": 0}
    for documents in _blocks(source, block):
        seen.update(d.id for d in documents)
        changed = [d for d in documents if known.get(d.id) != _digest(d)]
        vectors = (
            None if predictor is None else predictor.task.embed(predictor.model, [d.full for d in changed]).numpy()
        )
        store.put([_row(d, words, None if vectors is None else vectors[i]) for i, d in enumerate(changed)], known)
        counts["same"] += len(documents) - len(changed)
        counts["changed"] += sum(d.id in known for d in changed)
        counts["added"] += sum(d.id not in known for d in changed)
        say(f"{len(seen):,} documents", quiet)
    gone = [] if adding else [name for name in known if name not in seen]
    store.remove(gone)
    store.settle(rebuild=interrupted or bool(gone or counts["changed"]), keep=KEEP if adding else timedelta(0))
    notes = [*source.notes, f"words: stemming {words.stem}, Chinese by {words.chinese}"]
    if source.empty.count:
        notes.append(f"{source.empty.count} documents without text left out: {', '.join(source.empty.places)}")
    result = Indexed(run.path, len(store), removed=len(gone), notes=tuple(notes), **counts)
    run.update_manifest(documents=result.documents)
    run.finish()
    return result


def _encoder(run: Run, model: str | Path | None) -> Any:
    """The encoder of the index, whose copy lies in it; None where it has none. Raises ConfigError for another one."""
    if model is None and not run.bundle.exists():
        return None
    from wordloom.api.loading import load
    from wordloom.api.start import bundle_folder
    from wordloom.tasks.retrieve.task import Retrieve

    fresh = "index" not in run.manifest
    if model is not None:
        folder = bundle_folder(model)
        if fresh and not run.bundle.exists():
            predictor = load(folder)
            if not isinstance(getattr(predictor, "task", None), Retrieve):
                raise ConfigError("is no encoder of texts", where=model, cure="fine-tune one with --task retrieve")
            predictor.save(run.bundle)
        elif not run.bundle.exists() or _hashes(folder) != _hashes(run.bundle):
            raise ConfigError("the index was made with another model, or with none", where=model,
                              cure="leave --model away, or index again with --overwrite")  # fmt: skip
    return load(run.bundle)


def _hashes(folder: Path) -> Any:
    from wordloom.model.interop.files import read_json

    return read_json(folder / "wordloom.json").get("hashes")


def _table(run: Run, width: int | None) -> Store:
    """The table, made where the manifest does not say that it was: a kill may have left half of one."""
    folder = run.path / FOLDER
    if run.manifest.get("table"):
        return Store.open(folder)
    store = Store.create(folder, width)
    run.update_manifest(table=True)
    return store


def _blocks(source: Documents, size: int) -> Iterator[list[Document]]:
    documents = (d for d in source if d.full)
    while block := list(islice(documents, size)):
        yield block


def _digest(document: Document) -> str:
    return hashlib.sha256(f"{document.title}\0{document.text}".encode("utf-8", "replace")).hexdigest()[:32]


def _row(document: Document, words: Words, vector: NDArray[np.float32] | None) -> dict[str, Any]:
    row = {"id": document.id, "title": document.title, "text": document.text,
           "words": " ".join(words(document.full)), "digest": _digest(document)}  # fmt: skip
    return row if vector is None else {**row, "vector": vector}


def _delete(run: Run, ids: list[str], again: bool, more: bool = False) -> Indexed:
    """again: after a kill, when some may be gone already. more: documents are added next, so the run is not finished,
    and what is resumed is that addition."""
    store = Store.open(run.path / FOLDER)
    known = store.known()
    unknown = [name for name in ids if name not in known]
    if unknown and not again:
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise DataError(f"no document has the id {shown}; nothing was deleted", where=run.path, cure="correct the ids")
    run.update_manifest(status="running", adding=more)
    store.remove(ids)
    store.settle(rebuild=True)
    run.update_manifest(documents=len(store))
    if not more:
        run.finish()
    return Indexed(run.path, len(store), removed=len(ids) - len(unknown))


# ---------------------------------------------------------------------------------------------------------- asking


def open_index(path: str | Path) -> Index:
    """Raises RunError for a folder that is no index, or whose indexing did not finish."""
    manifest = read_manifest(path)
    if manifest.get("kind") != "index":
        raise RunError("not an index", where=path, cure="make one with wordloom index")
    _refuse_unfinished(manifest, path)
    embed: Embed | None = None
    if (Path(path) / "bundle").exists():
        from wordloom.api.loading import load

        predictor = load(path)

        def embed(queries: Sequence[str]) -> NDArray[np.float32]:
            return np.asarray(predictor.task.embed(predictor.model, list(queries), "query").numpy())

    return Index(Store.open(Path(path) / FOLDER), Words(**manifest["index"]["words"]), embed)


def search(
    path: str | Path, query: str, k: int = 10, *, mode: Mode | None = None, rerank: str | Path | None = None,
    depth: int = DEPTH, judged: int = 50,
) -> list[Hit]:  # fmt: skip
    """The k best documents of an index; see ``search.index.Index``. rerank: a classifier or regressor of pairs."""
    judge = None if rerank is None else cross_encoder(rerank)
    return open_index(path).search(query, k, mode=mode, depth=depth, judge=judge, judged=judged)


def cross_encoder(model: str | Path) -> Judge:
    """How well a document fits a query, by a run of ``finetune --task classify`` on pairs (query, document): the number
    of a regressor, or the probability of the label that says so (1, relevant, yes, ...; the last of two otherwise).

    Raises ConfigError for a model that reads no pairs, or whose labels say nothing of the kind.
    """
    from wordloom.api.loading import load
    from wordloom.infer.predictor import Predictor

    predictor = load(model)
    if not isinstance(predictor, Predictor) or not getattr(predictor.task, "pairs", False):
        raise ConfigError(
            "reads no pairs of texts", where=model, cure="fine-tune a classifier on query, document, label"
        )
    labels = [label.lower() for label in predictor.labels]
    column = next((labels.index(name) for name in YES if name in labels), 1 if len(labels) == 2 else None)
    if labels and column is None:
        raise ConfigError(f"none of its labels says that a document fits: {', '.join(predictor.labels)}", where=model,
                          cure="name that label 1 or relevant")  # fmt: skip

    def judge(queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float64]:
        found = predictor.predict_proba(list(queries), list(documents))
        return found if not labels else found[:, column]

    return judge


def evaluate_search(
    path: str | Path, qrels: str | Path, *, modes: Sequence[Mode] | None = None, rerank: str | Path | None = None,
    depth: int = DEPTH, judged: int = 50,
) -> Evaluation:  # fmt: skip
    """nDCG@10, Recall@100 and MRR@10 of an index on judged queries, in each mode (all it has when None)."""
    from wordloom.api.loading import Evaluation

    found = open_index(path)
    collection = read_collection(qrels)
    if not collection.judged:
        raise DataError("holds no judgments", where=qrels, cure="give a qrels file of a BEIR folder, or pairs")
    judge = None if rerank is None else cross_encoder(rerank)
    known = found.store.known()
    absent = sum(d not in known for judgments in collection.judgments for d, grade in judgments.items() if grade > 0)
    columns = collection.columns + f"; {absent} relevant judgments of documents that are not in the index" * bool(
        absent
    )
    scores = {}
    for mode in modes or found.modes:
        hits = found.search_all(collection.queries, DEPTH, mode=mode, depth=depth, judge=judge, judged=judged)
        tallies = ranking_tallies([[hit.id for hit in each] for each in hits], collection.judgments)
        scores[mode if judge is None else f"{mode}, re-ranked"] = tally_scores(tallies)
    return Evaluation(scores, len(collection), columns)
