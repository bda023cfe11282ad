"""Retrieval with a bi-encoder: a query and a document become a vector each, and the cosine says how well they fit.

Reimers & Gurevych 2019 (pooling), Karpukhin et al. 2020 (in-batch and BM25 negatives), Gao et al. 2021 (SimCSE), Lee et
al. 2019 (inverse cloze). One loss for all of them: tell the right document among those of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.config import RetrieveConfig, make
from wordloom.data.batch import Batch
from wordloom.data.collection import Collection
from wordloom.errors import DataError
from wordloom.metrics import Tally, ranking_tallies
from wordloom.metrics.ranking import NDCG
from wordloom.model.build import AnyArchitecture
from wordloom.model.embed_head import EmbedHead
from wordloom.search.ranking import Ranking, ordered, top
from wordloom.tasks.base import restored_settings
from wordloom.tasks.classify.task import pooled
from wordloom.tasks.retrieve.lexical import DEPTH, part_to_search
from wordloom.tasks.windows import Windows, by_budget, lay_out, make_windows
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Term, Terms

HEAD, TERM = "embed", "contrast"
# Tokens of an encoding batch; the vectors do not depend on it. MiniLM on one thread: 2.0 s of processor time for 32
# abstracts in batches of 1,024 to 2,048 tokens, whose states stay in the second cache, and 2.6 in batches of 8,192.
BUDGET = 2048
CHUNK = 8192  # texts tokenized, and queries scored, at a time: memory
SHOWN = 10  # documents of a ranking that are written out
SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Query:
    """A question to a collection; its answer is a ranking. A plain text's answer is its vector."""

    text: str
    collection: Collection


class Retrieve:
    """A `tasks.base.Task` over `Collection`s. Its loss is a function of the whole batch: in-batch negatives."""

    name, main = "retrieve", NDCG
    keeps: frozenset[str] = frozenset()
    couples_examples = True

    def __init__(self, config: RetrieveConfig, tokenizer: Tokenizer, *, length: int, valid: Collection | None = None):
        """length: tokens of a window, special tokens included. valid: what ``evaluate`` measures."""
        self.config, self.tokenizer, self.length, self.budget = config, tokenizer, length, BUDGET
        self.pad_id = int(tokenizer.pad_id or 0)
        self._valid = None if valid is None else (valid, part_to_search(valid, config))

    @classmethod
    def fit(
        cls,
        config: RetrieveConfig,
        train: Collection,
        tokenizer: Tokenizer,
        *,
        length: int,
        valid: Collection | None = None,
        test: Collection | None = None,
    ) -> Retrieve:
        """The task of this training data, with its method settled."""
        if config.method == "auto":
            config = config.model_copy(update={"method": "pairs" if train.judged else "cloze"})
        return cls(config, tokenizer, length=length, valid=valid)

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        return {HEAD: EmbedHead(arch, "mean" if self.config.pooling == "auto" else self.config.pooling)}

    def calibrate(self, model: nn.Module) -> None:
        """Nothing is decided after training."""

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "length": self.length, "config": self.config.model_dump()}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Retrieve:
        """The task of a bundle. Raises BundleError for settings of another task or with a key missing."""
        length, config = restored_settings(settings, cls.name, ("length", "config"))
        return cls(make(RetrieveConfig, dict(config)), tokenizer, length=int(length))

    # ---------------------------------------------------------------------------------------- the loop's job

    @property
    def score(self) -> tuple[str, bool]:
        return NDCG, True

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {TERM: len(batch.examples["excluded"])}

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """Of n queries and m documents, document i being right for query i: the cross entropy of cosine / temperature
        over the m documents, those left out that are right for query i too (van den Oord et al. 2018, equation 4)."""
        excluded = batch.examples["excluded"]  # (n, m) bool
        n, m = excluded.shape
        vectors = text_vectors(model, batch, n + m)  # (n + m, D)
        vectors = F.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)
        logits = products(vectors[:n], vectors[n:]) / self.config.temperature  # (n, m)
        logits = logits.masked_fill(excluded, -torch.inf)
        total = F.cross_entropy(logits, torch.arange(n, device=logits.device), reduction="sum")
        return {TERM: Term(total, n)}, state

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Scores of the validation queries over ``valid_documents`` documents, and the training loss with all of these
        as negatives: independent of batches."""
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        valid, numbers = self._valid
        queries, documents = self._both(model, valid, numbers)
        cosines = products(queries, documents)  # (Q, N)
        ids = [valid.documents[n].id for n in numbers]
        rankings = [top(row.numpy(), ids, DEPTH) for row in cosines]
        values = {name: tally.value for name, tally in self.tallies(valid, rankings).items()}
        return {"loss": self._mean_loss(cosines, valid, numbers), **values}

    def _mean_loss(self, cosines: Tensor, valid: Collection, numbers: Sequence[int]) -> float:
        place = {number: i for i, number in enumerate(numbers)}
        total = count = 0.0
        for i, row in enumerate((cosines / self.config.temperature).double()):
            right = [place[n] for n in valid.positives(i)]
            others = torch.ones(len(row), dtype=torch.bool)
            others[right] = False
            rest = row[others].logsumexp(0)
            total += sum(float(torch.logaddexp(row[r], rest) - row[r]) for r in right)
            count += len(right)
        return total / max(1.0, count)

    # ---------------------------------------------------------------------------------------------- vectors

    def windows(self, texts: Sequence[str]) -> Windows:
        first = self.config.long_texts == "first"
        return make_windows(self.tokenizer, texts, length=self.length, first=first)

    def embed(self, model: nn.Module, texts: Sequence[str], kind: str = "document") -> Tensor:
        """(E, D) float32 of length 1, on the CPU, in input order. kind: "query" or "document", which decides the
        prefix. Independent of how texts are batched; the model's mode is restored."""
        prefix = self.config.query_prefix if kind == "query" else self.config.document_prefix
        parts = [self._embed(model, [prefix + t for t in texts[i : i + CHUNK]]) for i in range(0, len(texts), CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0, model.arch.width)  # type: ignore[union-attr, arg-type]

    def _embed(self, model: nn.Module, texts: Sequence[str]) -> Tensor:
        windows = self.windows(texts)
        device = next(model.parameters()).device
        owner = np.repeat(np.arange(windows.examples), windows.counts)
        out: Tensor | None = None
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for chosen in by_budget(windows.lengths, self.budget):
                    batch = lay_out(windows, chosen, np.arange(len(chosen)), self.pad_id).to(device)
                    vectors = window_vectors(model, batch).float().cpu()  # (W, D)
                    out = torch.zeros(len(owner), vectors.shape[1]) if out is None else out
                    out[torch.from_numpy(chosen)] = vectors
        finally:
            model.train(training)
        assert out is not None
        return F.normalize(pooled(out, torch.from_numpy(owner), windows.examples), dim=-1)

    def _both(self, model: nn.Module, collection: Collection, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(Q, D) of all queries, (N, D) of the documents ``numbers``."""
        documents = self.embed(model, [collection.documents[n].full for n in numbers])
        return self.embed(model, collection.queries, "query"), documents

    # ---------------------------------------------------------------------------------------------- answers

    def inputs(self, records: Collection) -> list[Query]:
        return [Query(text, records) for text in records.queries]

    def check(self, inputs: Sequence[Any]) -> None:
        kinds = {type(given) for given in inputs}
        if not kinds <= {str, Query} or len(kinds) > 1:
            wrong = next((i for i, given in enumerate(inputs) if type(given) not in (str, Query)), 0)
            raise DataError(
                f"input {wrong + 1} is no text", cure="give texts; search a collection with wordloom search"
            )

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> list[Any]:
        """Of texts their vectors (D,), of `Query`s rankings of DEPTH documents."""
        if not inputs or isinstance(inputs[0], str):
            return list(self.embed(model, inputs).numpy())
        answers: list[Ranking] = [[] for _ in inputs]
        collections = {id(query.collection): query.collection for query in inputs}
        for key, collection in collections.items():
            mine = [i for i, query in enumerate(inputs) if id(query.collection) == key]
            documents = self.embed(model, [collection.documents[n].full for n in collection.rows.values()])
            ids = list(collection.rows)
            for begin in range(0, len(mine), CHUNK):
                block = mine[begin : begin + CHUNK]
                queries = self.embed(model, [inputs[i].text for i in block], "query")
                for i, row in zip(block, queries, strict=True):
                    answers[i] = top(products(row[None], documents)[0].numpy(), ids, DEPTH)
        return answers

    def tallies(self, records: Collection, answers: Sequence[Ranking]) -> dict[str, Tally]:
        note = "" if records.judged else "known items: each text is to be found by its own title or first sentence"
        return ranking_tallies([[d for d, _ in ranking] for ranking in answers], records.judgments, note)

    def details(self, records: Collection, answers: Sequence[Ranking]) -> dict[str, Any]:
        values: dict[str, Any] = {"samples": [
            {"input": records.queries[i], "answer": _shown(records, answers[i]),
             "gold": _shown(records, self.gold(records)[i]), "place": records.places[i]}
            for i in range(min(SAMPLES, len(records)))
        ]}  # fmt: skip
        if records.unreachable:
            reason = "relevant documents without text: counted in the scores, and never found"
            values["unscored"] = {"count": records.unreachable, "reason": reason}
        return values

    def gold(self, records: Collection) -> list[Ranking]:
        return [ordered([(d, grade) for d, grade in judged.items() if grade > 0]) for judged in records.judgments]

    def row(self, given: Any, answer: Any) -> dict[str, Any]:
        if isinstance(given, str):
            return {"text": given, "vector": [round(float(v), 7) for v in answer]}
        ranking = [{"document": d, "score": round(score, 6)} for d, score in answer[:SHOWN]]
        return {"query": given.text, "ranking": ranking}

    def line(self, given: Any, answer: Any) -> str:
        if isinstance(given, str):
            return " ".join(f"{v:.6f}" for v in answer)
        return f"{given.text}\t{' '.join(d for d, _ in answer[:SHOWN])}"


def _shown(records: Collection, ranking: Ranking) -> str:
    """The best document of a ranking as one short line."""
    if not ranking:
        return ""
    number = records.rows.get(ranking[0][0])
    text = "" if number is None else " ".join(records.documents[number].full.split())
    return f"{ranking[0][0]}: {text[:160]}"


def products(queries: Tensor, documents: Tensor) -> Tensor:
    """(Q, D), (N, D) -> (Q, N) in their own precision: a cosine in bfloat16 has two digits."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ documents.T


def window_vectors(model: Any, batch: Batch) -> Tensor:
    """(W, D): the body once over the packed rows, the head at each window's [CLS]."""
    hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types)  # (B, T, D)
    return model.heads[HEAD](hidden, batch.examples["rows"], batch.examples["cols"], batch.documents)


def text_vectors(model: Any, batch: Batch, texts: int) -> Tensor:
    """(texts, D): of each text the mean of its windows' vectors, not yet of length 1."""
    return pooled(window_vectors(model, batch), batch.examples["example"], texts)
