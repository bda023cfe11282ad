"""The bi-encoder: its loss by formula, its vectors whatever the batch, eight queries learned, files to answers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wordloom.config import RetrieveConfig
from wordloom.data.collection import Collection, read_collection
from wordloom.data.documents import Document
from wordloom.errors import ConfigError, DataError
from wordloom.metrics import tally_scores
from wordloom.model.architecture import Architecture
from wordloom.model.embed_head import EmbedHead
from wordloom.model.model import Model
from wordloom.model.recurrent import Recurrent, RecurrentArchitecture
from wordloom.model.transformer import Transformer
from wordloom.tasks.retrieve.lexical import Bm25Baseline, hard_negatives, part_to_search
from wordloom.tasks.retrieve.stream import RetrieveStream, draw_sentence
from wordloom.tasks.retrieve.task import Retrieve, text_vectors
from wordloom.text.tokenizer import Tokenizer

NAMES = ("good", "fine", "great", "warm", "bright", "bad", "poor", "cold")


def collection(queries: int = 8, documents: int = 12) -> Collection:
    """Query i asks for the i-th word, which documents i and i + 8 hold; the last is judged irrelevant for query 0."""
    texts = [f"the film was {NAMES[i % 8]} and the plot with a scene {'very ' * (i % 5)}" for i in range(documents)]
    judged = [{f"d{j}": 1 for j in range(documents) if j % 8 == i} for i in range(queries)]
    judged[0][f"d{documents - 1}"] = 0
    return Collection(
        tuple(Document(f"d{i}", "", t, f"c:{i + 1}") for i, t in enumerate(texts)),
        tuple(f"q{i}" for i in range(queries)), tuple(f"{NAMES[i]} film" for i in range(queries)), tuple(judged),
        tuple(f"q:{i + 2}" for i in range(queries)), "made",
    )  # fmt: skip


def task_of(tokenizer: Tokenizer, valid: Collection | None = None, length: int = 32, **config: object) -> Retrieve:
    return Retrieve(RetrieveConfig(**{"method": "pairs", **config}), tokenizer, length=length, valid=valid)  # type: ignore[arg-type]


def model_of(task: Retrieve, arch: Architecture, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(Transformer(arch), task.heads(arch)).eval()


def test_loss_is_the_formula(tokenizer: Tokenizer, arch: Architecture) -> None:
    task, records = task_of(tokenizer, negatives=2, temperature=0.1), collection()
    model = model_of(task, arch).double()
    stream = RetrieveStream(task, records, batch=8, seed=0)
    batch = stream.step(3, 1)[0]
    terms, _ = task.loss(model, batch)
    chosen = [stream.examples[i] for i in stream.epochs.chosen(3)]
    queries = task.embed(model, [records.queries[q] for q in chosen]).double()
    excluded = batch.examples["excluded"]
    n, m = excluded.shape
    with torch.no_grad():
        vectors = text_vectors(model, batch, n + m)
    cosines = nn.CosineSimilarity(dim=-1)(vectors[:n, None], vectors[None, n:])
    assert torch.allclose(nn.functional.normalize(vectors[:n], dim=-1), queries, atol=1e-6)
    expected = 0.0
    for i in range(n):
        allowed = [j for j in range(m) if j == i or not excluded[i, j]]
        expected -= math.log(math.exp(cosines[i, i] / 0.1) / sum(math.exp(cosines[i, j] / 0.1) for j in allowed))
    assert float(terms["contrast"].sum) == pytest.approx(expected, rel=1e-9)
    assert terms["contrast"].count == 8 == task.counts(batch)["contrast"] and task.couples_examples


def test_what_is_right_for_another_query_is_no_negative(tokenizer: Tokenizer) -> None:
    task, records = task_of(tokenizer, negatives=3), collection()
    stream = RetrieveStream(task, records, batch=8, seed=0)
    for step in range(4):
        chosen = [stream.examples[i] for i in stream.epochs.chosen(step)]
        group = stream._pairs(chosen, np.random.default_rng(step))
        excluded = stream._excluded(chosen, group.numbers)
        assert len(set(group.numbers[len(chosen) :])) == len(group.numbers) - len(chosen)
        for i, q in enumerate(chosen):
            assert group.numbers[i] in records.positives(q) and not excluded[i, i]
            for j, number in enumerate(group.numbers):
                assert excluded[i, j] == (j != i and number in records.positives(q))


def test_hard_negatives_are_bm25s_best_that_are_not_relevant(tokenizer: Tokenizer) -> None:
    records = collection()
    config = RetrieveConfig(depth=3)
    found = hard_negatives(records, config)
    rankings = Bm25Baseline(records.documents, config).predict(records)
    for i, numbers in enumerate(found):
        ranked = [records.rows[d] for d, _ in rankings[i] if records.rows[d] not in records.positives(i)]
        assert numbers == ranked[:3] and len(numbers) == 3
    given = replace(records, hard=(("d5",),) + ((),) * 7)
    assert hard_negatives(given, config)[0] == [5] and hard_negatives(given, config)[1] == found[1]
    assert hard_negatives(records, RetrieveConfig(negatives=0)) == [[]] * 8


def test_a_step_is_whole_and_a_function_of_its_number(tokenizer: Tokenizer) -> None:
    for method in ("pairs", "cloze", "simcse"):
        task = task_of(tokenizer, method=method)
        a, b = (RetrieveStream(task, collection(), batch=4, seed=5) for _ in range(2))
        a.step(0, 1)
        for step in (7, 2):
            x, y = a.step(step, 1)[0], b.step(step, 1)[0]
            assert torch.equal(x.tokens, y.tokens) and x.ids == y.ids
        assert not torch.equal(a.step(0, 1)[0].tokens, a.step(1, 1)[0].tokens)
        assert a.smallest_step == 1
        with pytest.raises(ConfigError, match="cannot be divided"):
            a.step(0, 2)
    simcse = RetrieveStream(task_of(tokenizer, method="simcse"), collection(), batch=4, seed=0)
    assert len(simcse.examples) == 12
    with pytest.raises(DataError, match="1 examples"):
        RetrieveStream(task_of(tokenizer), collection().subset([1]), batch=4, seed=0)


def test_a_drawn_sentence_leaves_its_document() -> None:
    text = "First one here. The second is this. A third."
    drawn = [draw_sentence(text, np.random.default_rng(i)) for i in range(200)]
    assert {s for s, _ in drawn} == {"First one here.", "The second is this.", "A third."}
    left = sum(rest == text for _, rest in drawn)
    assert 5 < left < 40 and all(s not in rest for s, rest in drawn if rest != text)
    assert {draw_sentence("one two", np.random.default_rng(i)) for i in range(20)} == {("one", "two"), ("two", "one")}


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_do_not_depend_on_the_batch(tokenizer: Tokenizer, arch: Architecture, pooling: str) -> None:
    task = task_of(tokenizer, pooling=pooling, length=16)
    model = model_of(task, arch)
    texts = ["", "good", *(d.full for d in collection().documents), "the film was bad and " * 20]
    together = task.embed(model, texts)
    assert torch.allclose(together.norm(dim=-1), torch.ones(len(texts)))
    task.budget = 20
    assert torch.allclose(task.embed(model, texts), together, atol=1e-6)
    alone = torch.cat([task.embed(model, [t]) for t in texts])
    assert torch.allclose(alone, together, atol=1e-6)
    first = task_of(tokenizer, pooling=pooling, length=16, long_texts="first")
    assert first.windows(texts).counts.max() == 1 and task.windows(texts).counts.max() > 3
    assert torch.allclose(first.embed(model, texts[:2]), together[:2], atol=1e-6)
    assert not torch.allclose(first.embed(model, texts[-1:]), together[-1:], atol=1e-3)


def test_pooling_is_that_of_the_states(tokenizer: Tokenizer, arch: Architecture) -> None:
    hidden = torch.randn(2, 6, 16)
    documents = torch.tensor([[1, 1, 1, 2, 2, 0], [1, 1, 0, 0, 0, 0]])
    rows, cols = torch.tensor([0, 0, 1]), torch.tensor([0, 3, 0])
    spans = [hidden[0, :3], hidden[0, 3:5], hidden[1, :2]]
    for pooling, pick in (("mean", lambda s: s.mean(0)), ("cls", lambda s: s[0]), ("last", lambda s: s[-1])):
        found = EmbedHead(arch, pooling)(hidden, rows, cols, documents)
        assert torch.allclose(found, torch.stack([pick(s) for s in spans]), atol=1e-6)
    with pytest.raises(ConfigError, match="has seen no other"):
        EmbedHead(replace(arch, attention="causal"), "cls")


@pytest.mark.parametrize("kind", ["bert", "lstm", "bilstm", "causal"])
def test_eight_queries_are_learned(tokenizer: Tokenizer, arch: Architecture, kind: str) -> None:
    records = collection()
    task = task_of(tokenizer, records)
    torch.manual_seed(0)
    if kind.endswith("lstm"):
        values = RecurrentArchitecture(vocab_size=tokenizer.vocab_size, width=24, hidden=24, layers=1, cell="lstm",
                                       bidirectional=kind == "bilstm")  # fmt: skip
        model = Model(Recurrent(values), task.heads(values))
    else:
        body = replace(arch, attention="causal" if kind == "causal" else "full")
        model = Model(Transformer(body), task.heads(body))
    stream = RetrieveStream(task, records, batch=8, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    before = task.evaluate(model)
    for step in range(40):
        optimiser.zero_grad()
        term = task.loss(model, stream.step(step, 1)[0])[0]["contrast"]
        (term.sum / term.count).backward()
        optimiser.step()
    after = task.evaluate(model)
    assert after["ndcg@10"] == 1 == after["mrr@10"] and after["loss"] < before["loss"] / 4
    answers = task.predict(model, task.inputs(records))
    for ranking, judged in zip(answers, records.judgments, strict=True):
        relevant = {d for d, grade in judged.items() if grade}
        assert {d for d, _ in ranking[: len(relevant)]} == relevant


def test_every_judgment_is_counted(tokenizer: Tokenizer, arch: Architecture) -> None:
    records = collection()
    documents = (*records.documents, Document("void", "", "", "c:13"))
    records = replace(records, documents=documents, judgments=({"void": 1, "d0": 1}, *records.judgments[1:]))
    task = task_of(tokenizer)
    answers = [[("d0", 1.0)], *([] for _ in range(7))]
    found = task.tallies(records, answers)
    assert found["recall@100"].counts[0, 0] == 0.5 and found["mrr@10"].counts[:, 0].sum() == 1
    assert all(t.counts[:, 1].sum() == 8 for t in found.values())
    assert task.details(records, answers)["unscored"]["count"] == 1
    perfect = tally_scores(task.tallies(collection(), task.gold(collection())))
    assert all(score.value == 1 for score in perfect.values())


def test_validation_searches_the_judged_and_the_hardest(tokenizer: Tokenizer) -> None:
    records = collection(queries=2, documents=60)
    judged = {n for i in range(2) for n in records.positives(i)}
    found = part_to_search(records, RetrieveConfig(valid_documents=30))
    assert len(found) == 30 and judged <= set(found)
    assert len(part_to_search(records, RetrieveConfig(valid_documents=3))) == len(judged)
    assert len(part_to_search(records, RetrieveConfig())) == 60


def test_settings_make_the_task_again(tokenizer: Tokenizer) -> None:
    task = Retrieve.fit(RetrieveConfig(), collection(), tokenizer, length=24)
    assert task.config.method == "pairs"
    again = Retrieve.restore(json.loads(json.dumps(task.settings())), tokenizer)
    assert again.settings() == task.settings()
    unjudged = replace(collection(), judged=False)
    assert Retrieve.fit(RetrieveConfig(), unjudged, tokenizer, length=24).config.method == "cloze"
    with pytest.raises(DataError, match="input 2 is no text"):
        task.check(["a", 3])


def test_prefixes_are_read(tokenizer: Tokenizer, arch: Architecture) -> None:
    task = task_of(tokenizer, query_prefix="good ", document_prefix="bad ")
    model, plain = model_of(task, arch), task_of(tokenizer)
    assert torch.equal(task.embed(model, ["film"], "query"), plain.embed(model, ["good film"]))
    assert torch.equal(task.embed(model, ["film"]), plain.embed(model, ["bad film"]))


def test_files_of_pairs_are_a_collection(tmp_path: Path, tokenizer: Tokenizer, arch: Architecture) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"query": f"{name} film", "positive": f"the film was {name}"} for name in NAMES]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    task, records = task_of(tokenizer), read_collection(path)
    scores = tally_scores(task.tallies(records, task.predict(model_of(task, arch), task.inputs(records))))
    assert 0 < scores["ndcg@10"].value <= 1
