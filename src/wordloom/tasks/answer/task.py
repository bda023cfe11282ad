"""Extractive question answering: the answer is a span of the context, or that there is none.

Two logits a token (Devlin et al. 2019, sections 4.2 and 4.3). All windows of a context share one softmax over starts
and one over ends, and what is maximised is the probability of *any* right answer (Clark & Gardner 2018, sections 3.2
and 3.3): the sum over the annotated spans, in each window that holds one whole, of p(start) p(end). They sum right
starts and right ends apart; then the start of one answer may grow with the end of another, which together are none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wordloom.config import AnswerConfig, make
from wordloom.data.batch import Batch
from wordloom.data.questions import Question, Questions
from wordloom.errors import ConfigError, DataError
from wordloom.metrics import Tally
from wordloom.metrics.squad import AnswerRule, answer_rule
from wordloom.model.build import AnyArchitecture
from wordloom.model.encoder_decoder import EncoderDecoder
from wordloom.model.interop.settings import family_of
from wordloom.model.near_head import NearHead
from wordloom.model.span_head import SpanHead
from wordloom.tasks.answer.nearness import WIDTH
from wordloom.tasks.answer.spans import Floats, Piece, Reading, best_threshold, read_spans
from wordloom.tasks.answer.targets import Targets, examples_of, make_targets
from wordloom.tasks.answer.windows import AnswerWindows, make_answer_windows
from wordloom.tasks.base import restored_settings
from wordloom.tasks.windows import Ints, by_budget, lay_out
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Term, Terms

HEAD, NEAR = "answer", "near"
BUDGET = 8192  # tokens of an evaluation batch; the answers do not depend on it


class Found(NamedTuple):
    """A span that may be the answer: characters [start, end) of the context, and its probability."""

    text: str
    start: int
    end: int
    probability: float


class Answer(NamedTuple):
    """text "" (start and end -1): the context holds no answer. probability: of what is said; none: of no answer;
    best: the most probable spans, also where none is given."""

    text: str
    start: int
    end: int
    probability: float
    none: float
    best: tuple[Found, ...]


class Reader:
    """The task, and the loop's job once ``valid`` is given. Built by ``Reader.fit`` or ``Reader.restore``."""

    name = "answer"
    main = "f1"
    keeps = frozenset({HEAD, NEAR})  # a head that finds answers goes on finding them

    def __init__(
        self,
        config: AnswerConfig,
        tokenizer: Tokenizer,
        *,
        length: int,
        longest: int,
        silent: bool,
        threshold: float = 0.0,
        valid: Questions | None = None,
    ):
        """length: tokens of a window, special tokens included; longest: of an answer. silent: whether it may say that
        there is no answer, as it does where that scores more than ``threshold`` above the best span. valid: what
        ``evaluate`` measures."""
        self.config, self.tokenizer, self.length, self.longest = config, tokenizer, length, longest
        self.silent, self.threshold, self.budget = silent, threshold, BUDGET
        self.pad_id = int(tokenizer.pad_id or 0)
        self._valid = None
        if valid is not None:
            windows = self.windows(valid.asked)
            self._valid = valid, windows, self.targets(windows, valid)

    @classmethod
    def fit(
        cls,
        config: AnswerConfig,
        train: Questions,
        tokenizer: Tokenizer,
        *,
        length: int,
        valid: Questions | None = None,
    ) -> Reader:
        """The task of this training data: the longest answer, and whether some questions have none."""
        longest = config.max_answer
        if longest == "auto":
            windows = make_answer_windows(tokenizer, train.asked, length=length, stride=0.0, question=config.question)
            longest = make_targets(windows, train).usual_length
        return cls(config, tokenizer, length=length, longest=longest, silent=train.unanswerable, valid=valid)

    # ------------------------------------------------------------------------------------ the task's values

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        """The head that the public family of this body has, where there is one."""
        if self.config.match and getattr(arch, "types", 0) < 2:
            cure = "leave it out, or use a BERT, ALBERT, ELECTRA or XLNet row"
            raise ConfigError("this model has no segments to mark words with", where="task.match", cure=cure)
        family = family_of(arch, [HEAD])
        public = family is not None and HEAD in family.parts
        heads = {HEAD: family.heads[HEAD](arch, 2) if family is not None and public else SpanHead(arch)}
        return heads | ({NEAR: NearHead(arch, WIDTH)} if self.config.features else {})

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "length": self.length, "longest": self.longest, "silent": self.silent,
                "threshold": self.threshold, "config": self.config.model_dump()}  # fmt: skip

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Reader:
        keys = ("config", "length", "longest", "silent", "threshold")
        config, length, longest, silent, threshold = restored_settings(settings, cls.name, keys)
        return cls(make(AnswerConfig, config), tokenizer, length=int(length), longest=int(longest), silent=bool(silent),
                   threshold=float(threshold))  # fmt: skip

    def windows(self, asked: Sequence[Question]) -> AnswerWindows:
        config = self.config
        return make_answer_windows(
            self.tokenizer,
            asked,
            length=self.length,
            stride=config.stride,
            question=config.question,
            match=config.match,
            features=config.features,
        )

    def targets(self, windows: AnswerWindows, records: Questions) -> Targets:
        return make_targets(windows, records, first=self.config.targets == "first", silent=self.silent)

    # ------------------------------------------------------------------------------------- the loop's job

    @property
    def score(self) -> tuple[str, bool]:
        return "f1", True

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {HEAD: 2 * len(batch.examples["silent"])}  # a start and an end of every question

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """One term: -log p of the right answers, counted per question and side, as the public code averages them."""
        x = batch.examples
        logits, nulls = span_logits(model, batch)  # (N, 2), (W, 2)
        total = shared_loss(logits, nulls, x, self.silent).sum()
        return {HEAD: Term(total, self.counts(batch)[HEAD])}, state

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss, and F1 and exact match with the threshold that is best for F1: the one ``calibrate`` will set."""
        valid, windows, targets = self._validation
        logits, nulls = self.all_logits(model, windows)
        readings = self._read(windows, logits, nulls)
        rule = self.rule(valid)
        f1, exact = self._scored(valid, rule, readings, self._best_threshold(valid, rule, readings))
        learnt = torch.from_numpy(targets.reachable)
        examples = examples_of(windows, np.arange(len(windows.sizes)), targets)
        losses = shared_loss(torch.from_numpy(logits), torch.from_numpy(nulls), examples, self.silent)[learnt]
        loss = float(losses.mean()) / 2 if len(losses) else math.nan
        return {"loss": loss, "f1": float(f1.mean()), "exact_match": float(exact.mean())}

    @property
    def _validation(self) -> tuple[Questions, AnswerWindows, Targets]:
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        return self._valid

    def calibrate(self, model: nn.Module) -> float:
        """Set, and return, the threshold that gives the best F1 on the validation part; 0 where every question has an
        answer."""
        valid, windows, _ = self._validation
        readings = self._read(windows, *self.all_logits(model, windows))
        self.threshold = self._best_threshold(valid, self.rule(valid), readings)
        return self.threshold

    def _best_threshold(self, records: Questions, rule: AnswerRule, readings: Sequence[Reading]) -> float:
        if not self.silent:
            return 0.0
        answered, _ = self._scored(records, rule, readings, math.inf)
        silent, _ = rule.scores([""] * len(records), _texts(records), True)
        return best_threshold(np.array([r.margin for r in readings]), answered, silent)

    def _scored(
        self, records: Questions, rule: AnswerRule, readings: Sequence[Reading], threshold: float
    ) -> tuple[Floats, Floats]:
        said = [self._answer(q.context, r, threshold).text for q, r in zip(records.asked, readings, strict=True)]
        return rule.scores(said, _texts(records), records.unanswerable)

    # ----------------------------------------------------------------------------------------- prediction

    def inputs(self, records: Questions) -> list[Question]:
        return records.asked

    def check(self, inputs: Sequence[Any]) -> None:
        for number, given in enumerate(inputs, start=1):
            pair = isinstance(given, tuple) and len(given) in (2, 3) and all(isinstance(part, str) for part in given)
            if not pair or not given[1].strip():
                raise DataError("an input is no question with its context", where=f"input {number}",
                                cure="give pairs (question, context) of texts")  # fmt: skip

    def predict(self, model: nn.Module, inputs: Sequence[Any]) -> list[Answer]:
        asked = [Question(*given) for given in inputs]
        return [self.answer(q.context, r) for q, r in zip(asked, self.read(model, asked), strict=True)]

    def read(self, model: nn.Module, asked: Sequence[Question]) -> list[Reading]:
        """Spans and scores, before it is decided whether to answer."""
        windows = self.windows(asked)
        return self._read(windows, *self.all_logits(model, windows))

    def answer(self, context: str, reading: Reading) -> Answer:
        """What is said, with the threshold of the validation part."""
        return self._answer(context, reading, self.threshold)

    def _answer(self, context: str, reading: Reading, threshold: float) -> Answer:
        best = tuple(
            Found(context[s.start : s.end], s.start, s.end, reading.probability(s.score))
            for s in reading.spans[: self.config.n_best]
        )
        none = reading.probability(reading.null)
        if not best or (self.silent and reading.margin > threshold):
            return Answer("", -1, -1, none, none, best)
        return Answer(*best[0], none, best)

    def all_logits(self, model: nn.Module, windows: AnswerWindows) -> tuple[Floats, Floats]:
        """(N, 2) starts and ends of all tokens of the pieces, windows one after the other, and (W, 2) of saying
        nothing; in batches of ``budget`` tokens, longest windows first, which need not keep a question's together."""
        device = next(model.parameters()).device
        logits, nulls = np.zeros(windows.usable.shape), np.zeros((len(windows.sizes), 2))
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for chosen in by_budget(windows.windows.lengths, self.budget):
                    batch = self.batch(windows, chosen).to(device)
                    found, null = (t.double().cpu().numpy() for t in span_logits(model, batch))
                    which, place = windows.pieces(chosen)
                    logits[windows.edges[chosen][which] + place] = found
                    nulls[chosen] = null
        finally:
            model.train(training)
        return logits, nulls

    def batch(self, windows: AnswerWindows, chosen: Ints, targets: Targets | None = None) -> Batch:
        """The windows numbered ``chosen``; with targets, those of whole questions, which are counted from 0.

        examples["at"]: (N,) where the tokens of the pieces stand in the flattened (B * T,) rows; ["ends_at"]: (W, 2)
        where each window begins and ends; ["near"]: (N, features) where the head reads them.
        """
        batch = lay_out(windows.windows, chosen, windows.owner[chosen], self.pad_id)
        begin = batch.examples["rows"].numpy() * batch.tokens.shape[1] + batch.examples["cols"].numpy()
        which, place = windows.pieces(chosen)
        end = begin + windows.windows.lengths[chosen] - 1
        batch.examples["at"] = torch.from_numpy((begin + windows.lead[chosen])[which] + place)
        batch.examples["ends_at"] = torch.from_numpy(np.stack([begin, end], axis=1))
        if self.config.features:
            batch.examples["near"] = torch.from_numpy(windows.near(chosen))
        if targets is not None:
            batch.examples.update(examples_of(windows, chosen, targets))
        return batch

    def _read(self, windows: AnswerWindows, logits: Floats, nulls: Floats) -> list[Reading]:
        usable = np.where(windows.usable, logits, -np.inf)
        readings = []
        for e, context in enumerate(windows.contexts):
            a, b = windows.windows.first[e : e + 2]
            pieces = []
            for w in range(a, b):
                part = usable[windows.edges[w] : windows.edges[w + 1]]
                pieces.append(Piece(int(windows.begin[w]), part[:, 0], part[:, 1]))
            null = float(nulls[a:b].min(0).sum()) if self.silent else -math.inf
            readings.append(read_spans(pieces, context.characters, null, self.longest))
        return readings

    # --------------------------------------------------------------------------------------------- scores

    def rule(self, records: Questions) -> AnswerRule:
        """How answers are compared: by the script of the texts unless the recipe says it."""
        contexts = dict.fromkeys(q.context for q in records.asked)
        return answer_rule([*(q.question for q in records.asked), *contexts], self.config.metric)

    def tallies(self, records: Questions, answers: Sequence[Answer]) -> dict[str, Tally]:
        """F1 and exact match of all questions; of those with an answer, and how many without one were left alone."""
        rule, whole = self.rule(records), records.unanswerable
        f1, exact = rule.scores([a.text for a in answers], _texts(records), whole)
        note = rule.note + (" (2.0: saying nothing counts where there is no answer)" if whole else "")
        found = {"f1": Tally.mean(f1, note), "exact_match": Tally.mean(exact, note)}
        if whole:
            has = np.array([bool(a) for a in records.gold], np.float64)
            found["has_answer_f1"] = Tally.share(f1 * has, has, "questions with an answer")
            found["has_answer_exact"] = Tally.share(exact * has, has, "questions with an answer")
            found["no_answer_accuracy"] = Tally.share(exact * (1 - has), 1 - has, "questions without an answer")
        return found

    def details(self, records: Questions, answers: Sequence[Answer]) -> dict[str, Any]:
        from wordloom.tasks.answer.details import answer_details

        return answer_details(self, records, answers)

    def row(self, given: Question, answer: Answer) -> dict[str, Any]:
        said = answer.text or None
        return {
            "id": given[2] if len(given) > 2 else "", "question": given[0], "answer": said,
            "start": answer.start if said else None, "end": answer.end if said else None,
            "probability": round(answer.probability, 6), "no_answer_probability": round(answer.none, 6),
            "n_best": [{"text": f.text, "start": f.start, "end": f.end, "probability": round(f.probability, 6)}
                       for f in answer.best],
        }  # fmt: skip

    def line(self, given: Question, answer: Answer) -> str:
        where = f"{answer.start}-{answer.end}" if answer.text else "-"
        said = " ".join(answer.text.split()) or "(no answer)"
        return f"{said}\t{answer.probability:.3f}\t{where}\t{' '.join(given[0].split())[:120]}"

    def gold(self, records: Questions) -> list[Answer]:
        """Every right answer is among ``best``; the first is the answer."""
        answers = []
        for spans in records.gold:
            best = tuple(Found(s.text, s.start, s.end if s.start >= 0 else -1, 1.0) for s in dict.fromkeys(spans))
            answers.append(Answer(*best[0], 0.0, best) if best else Answer("", -1, -1, 1.0, 1.0, ()))
        return answers


def _texts(records: Questions) -> list[list[str]]:
    return [[s.text for s in spans] for spans in records.gold]


def span_logits(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """(N, 2) start and end of the contexts' tokens, (W, 2) of saying nothing: the body once over the packed rows.

    An encoder-decoder reads the window twice, the second time with the decoder, shifted by one, whose states see the
    whole window and all of the answer so far: as the public T5ForQuestionAnswering.
    """
    tokens = batch.tokens
    if isinstance(model.body, EncoderDecoder):
        before = F.pad(tokens[:, :-1], (1, 0))
        shifted = torch.where(batch.positions == 0, model.body.start_id, before)
        hidden = model.body(shifted, batch.documents, batch.positions, batch.types, batch)
    else:
        hidden = model.body(tokens, batch.documents, batch.positions, batch.types)  # (B, T, D)
    # of a model in which no token sees a later one, the first token has seen nothing to judge by
    forward = model.arch.attention == "causal" or isinstance(model.body, EncoderDecoder)
    null_at = batch.examples["ends_at"][:, 1 if forward else 0]
    n = len(batch.examples["at"])
    states = hidden.reshape(-1, hidden.shape[-1])[torch.cat([batch.examples["at"], null_at])]
    logits = model.heads[HEAD](states)  # (N + W, 2)
    found = logits[:n]
    if NEAR in model.heads:
        found = found + model.heads[NEAR](states[:n], batch.examples["near"])
    return found, logits[n:]


def shared_loss(logits: Tensor, nulls: Tensor, examples: Mapping[str, Tensor], silent: bool) -> Tensor:
    """-log of the sum over right answers of p(start) p(end) -> (E,), float32 at least.

    logits (N, 2) of the tokens of all windows, nulls (W, 2); examples as of ``answer_targets.examples_of``. Clark &
    Gardner 2018, section 3.3: the denominators run over all windows of a question. silent: saying nothing is one more
    candidate for start and end, scored as the window that is least for it does.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    nulls, E = nulls.to(logits), len(examples["silent"])
    usable = logits.masked_fill(~examples["usable"].bool(), -math.inf)
    whole = log_sum_exp(usable, examples["of"], E)  # (E, 2)
    starts, ends = examples["right"].T
    right = log_sum_exp((logits[starts, 0] + logits[ends, 1])[:, None], examples["right_of"], E)[:, 0]  # (E,)
    if silent:
        index = examples["null_of"][:, None].expand(-1, 2)
        least = nulls.new_full((E, 2), math.inf).scatter_reduce(0, index, nulls, "amin")
        whole = torch.logaddexp(whole, least)
        right = torch.where(examples["silent"].bool(), least.sum(1), right)
    return whole.sum(1) - right


def log_sum_exp(values: Tensor, of: Tensor, groups: int) -> Tensor:
    """log of the sum of exp(values (N, K)) over each group, of (N,) -> (groups, K); -inf where all of it is."""
    index = of[:, None].expand_as(values)
    top = values.new_full((groups, values.shape[1]), -math.inf).scatter_reduce(0, index, values.detach(), "amax")
    empty = top == -math.inf
    safe = top.masked_fill(empty, 0.0)
    sums = torch.zeros_like(safe).index_add(0, of, (values - safe[of]).exp())
    # the logarithm of a sum of nothing has no gradient, not even times 0
    return (safe + sums.masked_fill(empty, 1.0).log()).masked_fill(empty, -math.inf)
