"""Going on with a text, or answering a prompt: causal models fine-tuned on one's own texts.

The causal loss (Radford et al. 2018, equation 1) of responses and their ends alone, given the prompt (their section
3.2 without the classifier); of raw texts, of all tokens. Scores are of the held-out responses: perplexity per token,
and bits per byte, which models with other vocabularies may be compared by.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.config import GenerateConfig, make
from wordloom.data.batch import IGNORE, Batch
from wordloom.data.prompts import Prompts
from wordloom.errors import BundleError, ConfigError, DataError
from wordloom.infer.decode import generate
from wordloom.infer.sampling import Decoding
from wordloom.infer.steppers import make_stepper
from wordloom.metrics import Tally
from wordloom.metrics.generation import Script, chrf, rouge, script_of
from wordloom.metrics.weighted import Floats
from wordloom.model.build import AnyArchitecture, reads_source
from wordloom.model.heads import CausalHead, MaskedHead, TokenHead
from wordloom.model.model import Model
from wordloom.objectives.targets import at_targets, states_of
from wordloom.tasks.base import restored_settings
from wordloom.tasks.generate.bigram import Bigram
from wordloom.tasks.generate.continuations import TARGETS, Sequences, SequenceStream, lay_windows, sequences
from wordloom.tasks.windows import by_budget
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Term, Terms

TERM = "tokens"
HEADS: dict[str, type[CausalHead | MaskedHead]] = {"causal": CausalHead, "masked": MaskedHead}
BUDGET = 4096  # tokens read at a time; the values do not depend on it
ROWS = 1024  # predicted tokens whose logits are held at a time
TEXT_TOKENS = 64  # of a continuation of raw text where no number is given
SHOWN = 12


@dataclass(frozen=True)
class Asked:
    """A held-out record as an input. response: what perplexity is of; an answer is written without it. write: whether
    one is."""

    prompt: str
    response: str
    write: bool = True


@dataclass(frozen=True)
class Continued:
    """An answer. text: None where none was asked for. ended: it was not cut at the most tokens it may have. nats: of
    the right response, over so many tokens and UTF-8 bytes; 0 tokens: there was none to score."""

    text: str | None
    ended: bool = True
    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0


class Generate:
    """The task, and the loop's job once ``valid`` is given. Built by ``Generate.fit`` or ``Generate.restore``.

    length: tokens of a window. prompted: whether records have prompts. max_tokens: of an answer. start_id: what begins
    a text; None: the tokenizer's own. head: of next tokens, "causal" or, in ModernBERT's decoder, "masked".
    """

    name, main = "generate", "bits_per_byte"

    def __init__(
        self, config: GenerateConfig, tokenizer: Tokenizer, *, length: int, prompted: bool, max_tokens: int,
        script: Script, start_id: int | None = None, head: str = "causal", valid: Prompts | None = None,
    ):  # fmt: skip
        self.config, self.tokenizer, self.length, self.prompted = config, tokenizer, length, prompted
        self.max_tokens, self.script, self.head, self.budget = max_tokens, script, head, BUDGET
        self.start_id = int(tokenizer.cls_id) if start_id is None else start_id
        self.end_id, self.fill = int(tokenizer.eos_id), int(tokenizer.pad_id)
        part = [int(tokenizer.sep_id)] if config.separator is None else tokenizer.encode_ids([config.separator])[0]
        self._parting = np.asarray(part, np.int32)
        self._valid = None if valid is None else self.windows(valid.prompts, valid.responses, config.stride)

    @classmethod
    def fit(
        cls, config: GenerateConfig, train: Prompts, tokenizer: Tokenizer, *, length: int, start_id: int | None = None,
        head: str = "causal", valid: Prompts | None = None,
    ) -> Generate:  # fmt: skip
        """The task of this training data: whether there are prompts, and how long an answer may be."""
        most = config.max_tokens
        if most is None and train.prompted:
            longest = max(len(ids) + 1 for ids in tokenizer.encode_ids(train.responses))
            most = max(1, min(math.ceil(1.5 * longest), length // 2))
        script = script_of(train.responses[:1000])
        return cls(config, tokenizer, length=length, prompted=train.prompted, max_tokens=most or TEXT_TOKENS,
                   script=script, start_id=start_id, head=head, valid=valid)  # fmt: skip

    # ------------------------------------------------------------------------------------ the task's values

    @property
    def keeps(self) -> frozenset[str]:
        return frozenset({self.head})

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        if arch.attention != "causal" or reads_source(arch):
            raise ConfigError("the model does not predict the next token from those before it", where="MODEL",
                              cure="use a gpt, gpt2, gpt3, rnn, lstm, gru or awd-lstm row")  # fmt: skip
        return {self.head: HEADS[self.head](arch)}

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "length": self.length, "prompted": self.prompted, "max_tokens": self.max_tokens,
                "script": self.script, "start_id": self.start_id, "head": self.head,
                "config": self.config.model_dump()}  # fmt: skip

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Generate:
        """The task of a bundle. Raises BundleError for settings of another task, missing or damaged."""
        keys = ("length", "prompted", "max_tokens", "script", "start_id", "head", "config")
        length, prompted, most, script, start_id, head, config = restored_settings(settings, cls.name, keys)
        try:
            return cls(make(GenerateConfig, dict(config)), tokenizer, length=int(length), prompted=bool(prompted),
                       max_tokens=int(most), script=script, start_id=int(start_id), head=str(head))  # fmt: skip
        except (TypeError, ValueError, ConfigError) as error:
            raise BundleError(f"the task's settings are damaged ({error})", cure="fine-tune again") from None

    # ---------------------------------------------------------------------------------------------- records

    def windows(self, prompts: Sequence[str], responses: Sequence[str], stride: float) -> Sequences:
        """A prompt "" has nothing before the response, not even what parts them."""
        said = [np.append(ids, self.end_id) for ids in self.tokenizer.encode_ids(responses)]
        return sequences(self._before(prompts), said, start_id=self.start_id, length=self.length, stride=stride)

    def _before(self, prompts: Sequence[str]) -> list[NDArray[np.int32]]:
        encoded = self.tokenizer.encode_ids(prompts)
        return [np.concatenate([ids, self._parting]) if self.prompted and len(ids) else ids for ids in encoded]

    def stream(self, train: Prompts, *, batch: int, seed: int) -> SequenceStream:
        stride = self.config.stride if self.prompted else 0.0
        windows = self.windows(train.prompts, train.responses, stride)
        return SequenceStream(windows, train.places, fill=self.fill, batch=batch, seed=seed)

    def bigram(self, train: Prompts) -> Bigram:
        """Of the tokens that are predicted in training, each after the one before it."""
        w = self.windows(train.prompts, train.responses, 0.0)
        kept = w.said != IGNORE
        return Bigram.fit(w.given[kept], w.said[kept], self.tokenizer.vocab_size)

    # --------------------------------------------------------------------------------------- the loop's job

    @property
    def score(self) -> tuple[str, bool]:
        return "loss", False

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {TERM: int((batch.targets[TARGETS] != IGNORE).sum())}

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """One term: the cross entropy of the response's tokens in nats."""
        assert isinstance(model, Model)
        hidden, _ = states_of(model, batch, None)  # (B, T, D)
        states, said = at_targets(hidden, batch.targets[TARGETS])  # (N, D), (N,)
        return {TERM: Term(self._head(model).loss(states, model.token_embedding, said), len(said))}, state

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss and perplexity of all validation tokens."""
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        nats, tokens = self.nats(model, self._valid)
        loss = float(nats.sum() / tokens.sum())
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}

    def calibrate(self, model: nn.Module) -> None:
        """Nothing is decided after training."""

    def _head(self, model: Model) -> TokenHead:
        head = model.heads[self.head]
        assert isinstance(head, TokenHead)
        return head

    def nats(self, model: nn.Module, windows: Sequences) -> tuple[Floats, NDArray[np.int64]]:
        """-log p of the predicted tokens of each record (E,), and how many there are (E,)."""
        assert isinstance(model, Model)
        nats, tokens = np.zeros(windows.records), np.zeros(windows.records, np.int64)
        training, device = model.training, model.token_embedding.device
        model.eval()
        try:
            with torch.inference_mode():
                for chosen in by_budget(windows.lengths, self.budget):
                    batch, window = lay_windows(windows, chosen, self.fill)
                    record = windows.owner[window]
                    np.add.at(nats, record, self._losses(model, batch.to(device)).double().cpu().numpy())
                    np.add.at(tokens, record, 1)
        finally:
            model.train(training)
        return nats, tokens

    def _losses(self, model: Model, batch: Batch) -> Tensor:
        """(N,) of the predicted tokens, row by row."""
        states, said = at_targets(states_of(model, batch, None)[0], batch.targets[TARGETS])
        head, parts = self._head(model), zip(states.split(ROWS), said.split(ROWS), strict=True)
        return torch.cat([F.cross_entropy(head(s, model.token_embedding).float(), y, reduction="none")
                          for s, y in parts])  # fmt: skip

    # ------------------------------------------------------------------------------------------- prediction

    def inputs(self, records: Prompts) -> list[Asked]:
        """An answer is written to an even sample; of raw texts the prompt is their first tokens."""
        written = set(_evenly(len(records), self.config.sample))
        prompts = records.prompts if self.prompted else [self._beginning(t) for t in records.responses]
        pairs = enumerate(zip(prompts, records.responses, strict=True))
        return [Asked(prompt, response, i in written) for i, (prompt, response) in pairs]

    def _beginning(self, text: str) -> str:
        return self.tokenizer.decode(self.tokenizer.encode_ids([text])[0][: self.config.begin])

    def check(self, inputs: Sequence[Any]) -> None:
        wrong = next((i for i, text in enumerate(inputs) if not isinstance(text, (str, Asked))), None)
        if wrong is not None:
            raise DataError(f"input {wrong + 1} is {type(inputs[wrong]).__name__}, not text", cure="give strings")

    def predict(self, model: nn.Module, inputs: Sequence[str | Asked]) -> list[Continued]:
        """Answers to prompts; of an `Asked` also what its response costs. A prompt that leaves no room for an answer
        keeps its last tokens."""
        assert isinstance(model, Model)
        held = [i for i, asked in enumerate(inputs) if isinstance(asked, Asked)]
        written = [i for i, asked in enumerate(inputs) if isinstance(asked, str) or asked.write]
        answers = [Continued(None)] * len(inputs)
        training = model.training
        model.eval()
        try:
            texts = [a.prompt if isinstance(a, Asked) else a for a in (inputs[i] for i in written)]
            for i, (text, ended) in zip(written, self._write(model, texts), strict=True):
                answers[i] = Continued(text, ended)
        finally:
            model.train(training)
        records = [a for a in (inputs[i] for i in held) if isinstance(a, Asked)]
        prompts = [a.prompt if self.prompted else "" for a in records]
        nats, tokens = self.nats(model, self.windows(prompts, [a.response for a in records], self.config.stride))
        for i, record, cost, count in zip(held, records, nats, tokens, strict=True):
            size = len(record.response.encode())
            answers[i] = replace(answers[i], nats=float(cost), tokens=int(count), bytes=size)
        return answers

    def decoding(self) -> Decoding:
        """Responses are the likeliest tokens; of texts these repeat themselves (Holtzman et al. 2020), so they are
        drawn."""
        c = self.config
        warm = (0.0 if self.prompted else 0.8) if c.temperature is None else c.temperature
        limits = {"top_k": c.top_k, "top_p": c.top_p or (None if c.top_k else 0.95)} if warm > 0 else {}
        rules = {"repetition_penalty": c.repetition_penalty, "no_repeat_ngram": c.no_repeat_ngram}
        return Decoding.of({"max_tokens": self.max_tokens, "temperature": warm, **limits, **rules})

    def _write(self, model: Model, prompts: Sequence[str]) -> list[tuple[str, bool]]:
        """(text, whether it ended) after each prompt. What is drawn is a function of the prompt's tokens alone."""
        if not prompts:
            return []
        how, limit = self.decoding(), model.arch.limit
        if limit is not None:
            how = replace(how, max_tokens=max(1, min(how.max_tokens, limit // 2)))
        room = None if limit is None else limit - how.max_tokens
        given = [[self.start_id, *(ids if room is None else ids[-room:]).tolist()] for ids in self._before(prompts)]
        stepper, found = make_stepper(model), [("", True)] * len(prompts)
        sizes = np.array([len(ids) + how.max_tokens for ids in given], np.int64)
        for chosen in by_budget(sizes, self.budget):
            rows = [given[i] for i in chosen]
            names = [zlib.crc32(np.array(ids, np.int64).tobytes()) for ids in rows]
            for i, (answer,) in zip(chosen, generate(stepper, rows, how, (self.end_id,), names), strict=True):
                found[i] = self._text(given[i], answer.ids), answer.ended
        return found

    def _text(self, before: Sequence[int], ids: Sequence[int]) -> str:
        decode = self.tokenizer.decode
        return decode(ids).strip() if self.prompted else decode([*before, *ids])[len(decode(before)) :]

    # ----------------------------------------------------------------------------------------------- scores

    def tallies(self, records: Prompts, answers: Sequence[Continued]) -> dict[str, Tally]:
        """bits_per_byte, perplexity; rouge_l and chrf of the answers that were written to prompts."""
        nats, tokens, size = (
            np.array([getattr(a, k) for a in answers], np.float64) for k in ("nats", "tokens", "bytes")
        )
        found = {
            "bits_per_byte": Tally(np.stack([nats / math.log(2), size], 1), lambda s: s[:, 0] / s[:, 1],
                                   "every predicted token, ends too, over the bytes of the text"),
            "perplexity": Tally(np.stack([nats, tokens], 1), lambda s: np.exp(s[:, 0] / s[:, 1]),
                                "per token of this vocabulary"),
        }  # fmt: skip
        written = [i for i, a in enumerate(answers) if a.text is not None]
        if self.prompted and written:
            texts, right = [answers[i].text or "" for i in written], [[records.responses[i]] for i in written]
            for name, tally in (("rouge_l", rouge(texts, right, self.script)["rouge_l"]), ("chrf", chrf(texts, right))):
                found[name] = _spread(tally, written, len(answers))
        return found

    def details(self, records: Prompts, answers: Sequence[Continued]) -> dict[str, Any]:
        """What was read in windows, how varied the answers are, and samples."""
        written = [i for i, a in enumerate(answers) if a.text is not None]
        long = self.windows(records.prompts, records.responses, self.config.stride)
        several = int((np.bincount(long.owner, minlength=len(records)) > 1).sum())
        rows = [["records", len(records)],
                [f"read in several windows of {self.length} tokens", several],
                ["tokens predicted", int((long.said != IGNORE).sum())],
                ["answers written", len(written)],
                [f"of these cut at {self.max_tokens} tokens", sum(not answers[i].ended for i in written)]]  # fmt: skip
        tables: list[dict[str, Any]] = [{"title": "What was read and written", "header": ["", "number"], "rows": rows}]
        if written:
            tables.append(self._variety([answers[i].text or "" for i in written],
                                        [records.responses[i] for i in written]))  # fmt: skip
        asked = self.inputs(records)
        shown = [written[k] for k in _evenly(len(written), SHOWN)]
        samples = [{"input": asked[i].prompt, "answer": answers[i].text, "gold": records.responses[i],
                    "place": records.places[i]} for i in shown]  # fmt: skip
        return {"tables": tables, "samples": samples}

    def _variety(self, answers: Sequence[str], right: Sequence[str]) -> dict[str, Any]:
        """distinct-n (Li et al. 2016, section 5.2), on tokens; beside that of the right texts, each cut to the length
        of its answer: the share falls with the amount of text."""
        ours = [ids.tolist() for ids in self.tokenizer.encode_ids(answers)]
        theirs = [ids[: len(a)].tolist() for a, ids in zip(ours, self.tokenizer.encode_ids(right), strict=True)]
        rows = [[f"distinct-{n}", round(distinct(ours, n), 4), round(distinct(theirs, n), 4)] for n in (1, 2)]
        note = "different n-grams of tokens over all of them; no interval: a resample repeats answers"
        header = ["", "answers", "held-out texts"]
        return {"title": "How varied the answers are", "header": header, "rows": rows, "note": note}

    def row(self, given: str | Asked, answer: Continued) -> dict[str, Any]:
        prompt = given.prompt if isinstance(given, Asked) else given
        row: dict[str, Any] = {"prompt": prompt, "prediction": answer.text, "ended": answer.ended}
        if answer.tokens:
            row |= {"nats": round(answer.nats, 4), "tokens": answer.tokens}
        return row

    def line(self, given: str | Asked, answer: Continued) -> str:
        return " ".join((answer.text or "").split())

    def gold(self, records: Prompts) -> list[Continued]:
        return [Continued(text) for text in records.responses]


@dataclass
class Yardstick:
    """A bigram model of the task's own tokens; it writes nothing."""

    task: Generate
    bigram: Bigram
    name: str = "bigram (Kneser-Ney)"

    def predict(self, records: Prompts) -> list[Continued]:
        w = self.task.windows(records.prompts, records.responses, 0.0)
        kept = w.said != IGNORE
        record = np.repeat(w.owner, w.lengths)[kept]
        losses = -self.bigram.log_probabilities(w.given[kept], w.said[kept])
        nats = np.bincount(record, losses, minlength=len(records))
        tokens = np.bincount(record, minlength=len(records))
        return [Continued(None, True, float(n), int(t), len(text.encode()))
                for n, t, text in zip(nats, tokens, records.responses, strict=True)]  # fmt: skip


def distinct(texts: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams; 0 of none."""
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _spread(tally: Tally, rows: Sequence[int], total: int) -> Tally:
    """A tally of some records as one of all: the others count nothing."""
    counts = np.zeros((total, tally.counts.shape[1]))
    counts[list(rows)] = tally.counts
    note = tally.note if len(rows) == total else f"{tally.note}; of {len(rows)} evenly chosen answers"
    return Tally(counts, tally.score, note)


def _evenly(total: int, count: int) -> list[int]:
    """At most ``count`` of 0 .. total - 1, evenly spaced."""
    return sorted({i * total // min(count, total) for i in range(min(count, total))})
