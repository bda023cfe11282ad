"""Text to text: translation and summaries, by any body that reads a source.

Sutskever et al. 2014; Bahdanau et al. 2014; Vaswani et al. 2017; Raffel et al. 2020.

One vocabulary serves both sides, or each has its own (``task.vocabularies``). A source longer than ``train.length`` is
encoded in windows that the decoder reads together (Izacard & Grave 2021), in training as in prediction; what
``task.windows`` of them do not hold is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from wordloom.config import Seq2SeqConfig, SummarizeConfig, TranslateConfig, make
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.parallel import Parallel
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.infer.sampling import Decoding
from wordloom.metrics import Mean, Tally
from wordloom.metrics.generation import Script, bleu, chrf, rouge, script_of
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.model.heads import CausalHead
from wordloom.model.model import Model
from wordloom.objectives.targets import at_targets, states_of
from wordloom.tasks.base import restored_settings
from wordloom.tasks.seq2seq.extractive import Lead
from wordloom.tasks.seq2seq.pair_rows import PairStream, Ragged, lay_pairs, ragged
from wordloom.tasks.seq2seq.writing import BUDGET, HEAD, Alignment, Written, read_again, search
from wordloom.tasks.windows import by_budget
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Term, Terms

TERM = "tokens"
CONFIGS: dict[str, type[Seq2SeqConfig]] = {"translate": TranslateConfig, "summarize": SummarizeConfig}
MAIN = {"translate": "bleu", "summarize": "rouge_l"}
SAMPLES = 12  # answers shown in the report


class Seq2Seq:
    """The task, and the loop's job once ``valid`` is given. Built by ``Seq2Seq.fit`` or ``Seq2Seq.restore``.

    length: tokens of a window of the source and of a target in training, their ends included. script: how the right
    answers are cut into words that are counted. max_tokens: of an answer. lead: the beginning of a text that is the
    best summary by itself; None in translation. cut: targets that training cut at ``length``. source_tokenizer: where
    the sources have a vocabulary of their own.
    """

    def __init__(
        self,
        config: Seq2SeqConfig,
        tokenizer: Tokenizer,
        *,
        length: int,
        script: Script,
        max_tokens: int,
        lead: Lead | None = None,
        cut: int = 0,
        valid: Parallel | None = None,
        source_tokenizer: Tokenizer | None = None,
    ):
        self.source_tokenizer = tokenizer if source_tokenizer is None else source_tokenizer
        self.config, self.tokenizer, self.length, self.script = config, tokenizer, length, script
        self.name = str(config.name)  # type: ignore[attr-defined]
        self.main = MAIN[self.name]
        self.max_tokens, self.lead, self.cut, self.budget = max_tokens, lead, cut, BUDGET
        self.start_id, self.end_id = int(tokenizer.pad_id), int(tokenizer.eos_id)
        self._valid = None if valid is None else (valid, *self.encode_pairs(valid))

    @classmethod
    def fit(
        cls, config: Seq2SeqConfig, train: Parallel, tokenizer: Tokenizer, *, length: int,
        valid: Parallel | None = None, source_tokenizer: Tokenizer | None = None,
    ) -> Seq2Seq:  # fmt: skip
        """The task of this training data: its script, the longest answer, the best lead."""
        targets = train.targets
        lengths = [len(ids) + 1 for ids in tokenizer.encode_ids(targets)]
        most = config.max_tokens or math.ceil(1.5 * max(lengths))
        script = script_of(targets[:1000])
        lead = Lead.fit(train, script) if isinstance(config, SummarizeConfig) else None
        cut = sum(n > length for n in lengths)
        return cls(config, tokenizer, length=length, script=script, max_tokens=most, lead=lead, cut=cut, valid=valid,
                   source_tokenizer=source_tokenizer)  # fmt: skip

    # ------------------------------------------------------------------------------------ the task's values

    @property
    def keeps(self) -> frozenset[str]:
        return frozenset({HEAD})

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        if not reads_source(arch):
            raise ConfigError(f"{self.name} needs a model with a decoder that reads a source", where="MODEL",
                              cure="use a t5, t5v1.1, transformer, lstm-seq2seq or gru-seq2seq preset")  # fmt: skip
        return {HEAD: CausalHead(arch)}

    def settings(self) -> dict[str, Any]:
        lead = None if self.lead is None else self.lead.to_json()
        return {"name": self.name, "length": self.length, "script": self.script, "max_tokens": self.max_tokens,
                "lead": lead, "cut": self.cut, "config": self.config.model_dump()}  # fmt: skip

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Seq2Seq:
        """The task of a bundle. Raises BundleError for settings of another task, missing or damaged."""
        name = str(settings.get("name"))
        keys = ("length", "script", "max_tokens", "lead", "cut", "config")
        values = restored_settings(settings, name if name in CONFIGS else "translate", keys)
        length, script, most, lead, cut, config = values
        try:
            return cls(make(CONFIGS[name], dict(config)), tokenizer, length=int(length), script=script,
                       max_tokens=int(most), lead=None if lead is None else Lead(**lead), cut=int(cut))  # fmt: skip
        except (TypeError, ValueError, ConfigError) as error:
            raise BundleError(f"the task's settings are damaged ({error})", cure="fine-tune again") from None

    # ------------------------------------------------------------------------------------------------ pairs

    def encode_sources(self, texts: Sequence[str]) -> Ragged:
        own = self.source_tokenizer
        return ragged(own, [self.config.prefix + t for t in texts], int(own.sep_id), self.length * self.config.windows)

    def encode_pairs(self, records: Parallel) -> tuple[Ragged, Ragged, np.ndarray]:
        """Sources, targets, and (P,) the source of each target: every reference is learned."""
        owner = np.repeat(np.arange(len(records)), [len(group) for group in records.references])
        targets = ragged(self.tokenizer, records.targets, self.end_id, self.length)
        return self.encode_sources(records.sources), targets, owner

    def stream(self, train: Parallel, *, batch: int, seed: int) -> PairStream:
        sources, targets, owner = self.encode_pairs(train)
        return PairStream(sources, targets, owner, train.places, start_id=self.start_id, window=self.length,
                          batch=batch, seed=seed)  # fmt: skip

    # --------------------------------------------------------------------------------------- the loop's job

    @property
    def score(self) -> tuple[str, bool]:
        return (self.main, True) if self.config.sample else ("loss", False)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {TERM: int((batch.targets["tokens"] != IGNORE).sum())}

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """One term: the cross entropy of the target tokens in nats, smoothed while training alone."""
        assert isinstance(model, Model)
        hidden, _ = states_of(model, batch, None)  # (B, T, D)
        states, said = at_targets(hidden, batch.targets["tokens"])  # (N, D), (N,)
        smoothing = self.config.label_smoothing if model.training else 0.0
        head = model.heads[HEAD]
        assert isinstance(head, CausalHead)
        return {TERM: Term(head.loss(states, model.token_embedding, said, smoothing), len(said))}, state

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss and perplexity of all validation targets; the main score of greedy answers to an even sample."""
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        assert isinstance(model, Model)
        records, sources, targets, owner = self._valid
        device, total = model.token_embedding.device, Mean()
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for pairs in by_budget(sources.lengths[owner] + targets.lengths, self.budget):
                    batch = lay_pairs(sources, targets, (owner[pairs], pairs), start_id=self.start_id,
                                      window=self.length)  # fmt: skip
                    term = self.loss(model, batch.to(device))[0][TERM]
                    total += Mean(float(term.sum), term.count)
            scores = {"loss": total.value, "perplexity": math.exp(min(total.value, 700.0))}
            if self.config.sample:
                part = records.subset(_evenly(len(records), self.config.sample))
                greedy = Decoding(max_tokens=self.max_tokens)
                found = search(model, self.encode_sources(part.sources), greedy, self.end_id, self.length, self.budget)
                answers = [Written(self.tokenizer.decode(a[0].ids).strip()) for a in found]
                scores[self.main] = self.tallies(part, answers)[self.main].value
        finally:
            model.train(training)
        return scores

    def calibrate(self, model: nn.Module) -> None:
        """Nothing is decided after training."""

    # ------------------------------------------------------------------------------------------- prediction

    def inputs(self, records: Parallel) -> list[str]:
        return records.sources

    def check(self, inputs: Sequence[Any]) -> None:
        wrong = next((i for i, text in enumerate(inputs) if not isinstance(text, str)), None)
        if wrong is not None:
            raise DataError(f"input {wrong + 1} is {type(inputs[wrong]).__name__}, not text", cure="give strings")

    def predict(self, model: nn.Module, inputs: Sequence[str]) -> list[Written]:
        """A blank source has a blank answer."""
        assert isinstance(model, Model)
        asked = [i for i, text in enumerate(inputs) if text.strip()]
        answers = [Written("", 0.0)] * len(inputs)
        training = model.training
        model.eval()
        try:
            for i, answer in zip(asked, self._answers(model, [inputs[i] for i in asked]), strict=True):
                answers[i] = answer
        finally:
            model.train(training)
        return answers

    def decoding(self) -> Decoding:
        c = self.config
        return Decoding(
            max_tokens=c.max_tokens or self.max_tokens,
            beams=c.beams,
            length_penalty=c.length_penalty,
            answers=c.answers,
            no_repeat_ngram=c.no_repeat_ngram,
        )

    def _answers(self, model: Model, texts: Sequence[str]) -> list[Written]:
        if not texts:
            return []
        sources = self.encode_sources(texts)
        found = search(model, sources, self.decoding(), self.end_id, self.length, self.budget)
        again: list[tuple[float, Alignment | None]] = [(a[0].score or 0.0, None) for a in found]
        if self.config.alignments or self.config.beams == 1:
            again = self._read_again(model, sources, [a[0].ids for a in found], [a[0].ended for a in found])
        text = self.tokenizer.decode
        return [
            Written(text(a[0].ids).strip(), score, a[0].ended,
                    tuple((text(o.ids).strip(), o.score or 0.0) for o in a[1:]), alignment)
            for a, (score, alignment) in zip(found, again, strict=True)
        ]  # fmt: skip

    def _read_again(
        self, model: Model, sources: Ragged, answers: Sequence[Sequence[int]], ended: Sequence[bool]
    ) -> list[tuple[float, Alignment | None]]:
        """The score of each answer, and its alignment where it is asked for; the end's row is left out."""
        lengths = [len(ids) + 1 for ids in answers]
        tokens = np.array([t for ids in answers for t in (*ids, self.end_id)], np.int32)
        targets = Ragged(tokens, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        found = read_again(model, sources, targets, start_id=self.start_id, window=self.length)
        out: list[tuple[float, Alignment | None]] = []
        for i, (values, weights) in enumerate(found):
            kept = values if ended[i] else values[:-1]
            alignment = None
            if self.config.alignments:
                read, said = pieces(self.source_tokenizer, sources[i]), pieces(self.tokenizer, targets[i][:-1])
                alignment = Alignment(read, said, weights[:-1])
            out.append((float(kept.mean()) if len(kept) else 0.0, alignment))
        return out

    # ----------------------------------------------------------------------------------------------- scores

    def tallies(self, records: Parallel, answers: Sequence[Written]) -> dict[str, Tally]:
        """bleu, chrf and bleu_lower of translations; rouge_1, rouge_2, rouge_l of summaries."""
        texts = [a.text for a in answers]
        if isinstance(self.config, SummarizeConfig):
            return rouge(texts, records.references, self.script, self.config.references)
        found = {"bleu": bleu(texts, records.references, self.script), "chrf": chrf(texts, records.references)}
        if self.script == "words":
            found["bleu_lower"] = bleu(texts, records.references, self.script, lowercase=True)
        return found

    def details(self, records: Parallel, answers: Sequence[Written]) -> dict[str, Any]:
        """What was read in windows or cut, summaries that need no model, and samples."""
        tables = [self._reading(records, answers)]
        if self.lead is not None:
            tables.append(self._leads(records))
        samples = [
            {"input": records.sources[i], "answer": answers[i].text, "gold": records.references[i][0],
             "place": records.places[i]}
            for i in _evenly(len(records), SAMPLES)
        ]  # fmt: skip
        return {"tables": tables, "samples": samples}

    def _reading(self, records: Parallel, answers: Sequence[Written]) -> dict[str, Any]:
        sources = self.encode_sources(records.sources)
        lost, losers = sources.cut
        rows = [
            ["sources", len(records)],
            [f"sources of more than {self.length} tokens, read in windows", int((sources.lengths > self.length).sum())],
            [f"sources of more than {self.length * self.config.windows} tokens, cut there", losers],
            ["tokens cut off these", lost],
            [f"training targets of more than {self.length} tokens, cut there", self.cut],
            [f"answers that did not end within {self.max_tokens} tokens", sum(not a.ended for a in answers)],
        ]
        return {"title": "What was read and written", "header": ["", "number"], "rows": rows}

    def _leads(self, records: Parallel) -> dict[str, Any]:
        assert self.lead is not None
        rows = []
        for lead in dict.fromkeys((self.lead, Lead("sentences", 1))):
            scores = self.tallies(records, [Written(t) for t in lead.summaries(records)])
            rows.append([lead.name, *(round(100 * scores[k].value, 2) for k in ("rouge_1", "rouge_2", "rouge_l"))])
        note = "how long a lead is best was chosen on training texts"
        return {"title": "The beginning as the summary", "header": ["", "ROUGE-1", "ROUGE-2", "ROUGE-L"],
                "rows": rows, "note": note}  # fmt: skip

    def row(self, given: str, answer: Written) -> dict[str, Any]:
        row: dict[str, Any] = {"source": given, "prediction": answer.text}
        if answer.score is not None:
            row |= {"score": round(answer.score, 4), "ended": answer.ended}
        if answer.others:
            row["others"] = [{"prediction": text, "score": round(score, 4)} for text, score in answer.others]
        if answer.alignment is not None:
            a = answer.alignment
            row["alignment"] = {"source": a.source, "target": a.target, "weights": a.weights.round(3).tolist()}
        return row

    def line(self, given: str, answer: Written) -> str:
        return " ".join(answer.text.split())

    def gold(self, records: Parallel) -> list[Written]:
        return [Written(group[0]) for group in records.references]


def _evenly(total: int, count: int) -> list[int]:
    """At most ``count`` of 0 .. total - 1, evenly spaced."""
    return sorted({i * total // min(count, total) for i in range(min(count, total))})


def pieces(tokenizer: Tokenizer, ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Tokens as the vocabulary spells them: byte-level ones in its own letters."""
    return tuple(str(tokenizer.backend.id_to_token(int(i))) for i in ids)
