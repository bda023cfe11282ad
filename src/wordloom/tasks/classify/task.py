"""Text classification and regression: single label, several labels, pairs, numbers.

Devlin et al. 2019, section 4.1, for one window; a long text's logits are the mean over its windows, in
training as in prediction, so the loss is that of the answer the user will get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wordloom.config import ClassifyConfig, make
from wordloom.data.batch import Batch
from wordloom.data.examples import Examples
from wordloom.errors import BundleError
from wordloom.metrics import MAIN, Kind, Score, classification_scores, point_scores
from wordloom.model.build import AnyArchitecture
from wordloom.model.heads import ClassifyHead, usual_pooling
from wordloom.tasks.classify.calibrate import calibrated, fit_temperature
from wordloom.tasks.classify.decisions import Threshold, refuse_threshold
from wordloom.tasks.classify.labels import LabelSpace
from wordloom.tasks.epochs import Epochs, EpochStream
from wordloom.tasks.windows import Ints, Windows, by_budget, lay_out, make_windows
from wordloom.text.tokenizer import Tokenizer
from wordloom.train.job import Term, Terms

HEAD = "classify"
BUDGET = 8192  # tokens of an evaluation batch; the values do not depend on it


class Classify:
    """The task, and the loop's job once ``valid`` is given. Built by ``Classify.fit`` or ``Classify.restore``."""

    name = "classify"
    keeps = frozenset({"pooler"})  # general, where a classifier found in the start belongs to other labels

    def __init__(
        self,
        config: ClassifyConfig,
        space: LabelSpace,
        tokenizer: Tokenizer,
        *,
        length: int,
        pairs: bool = False,
        temperature: float = 1.0,
        threshold: Threshold | None = None,
        valid: Examples | None = None,
    ):
        """length: tokens of a window, special tokens included. valid: what ``evaluate`` measures."""
        self.config, self.space, self.tokenizer, self.length = config, space, tokenizer, length
        self.pairs, self.temperature, self.budget = pairs, temperature, BUDGET
        self.threshold = threshold
        self.pad_id = int(tokenizer.pad_id or 0)
        self._weights = torch.tensor(space.weights, dtype=torch.float32)
        self._valid = None if valid is None else (self.windows(valid.texts, valid.pairs), self.targets(valid))

    @classmethod
    def fit(
        cls,
        config: ClassifyConfig,
        train: Examples,
        tokenizer: Tokenizer,
        *,
        length: int,
        valid: Examples | None = None,
        names: Sequence[str] = (),
    ) -> Classify:
        """The task of this training data: kind, label names, class weights, standardisation of numbers.

        names: further labels the head must have (those of other splits).
        """
        kind: Kind = train.kind if config.kind == "auto" else config.kind
        space = LabelSpace.fit(train.labels or [], kind, config.class_weights == "balanced", names)
        if config.positive is not None:
            refuse_threshold(config.positive, kind, space.names)
        return cls(config, space, tokenizer, length=length, pairs=train.pairs is not None, valid=valid)

    # ------------------------------------------------------------------------------------ the task's values

    @property
    def kind(self) -> Kind:
        return self.space.kind

    @property
    def labels(self) -> tuple[str, ...]:
        return self.space.names

    def heads(self, arch: AnyArchitecture) -> dict[str, nn.Module]:
        pooling = usual_pooling(arch) if self.config.pooling == "auto" else self.config.pooling
        return {HEAD: ClassifyHead(arch, self.space.outputs, pooling, self.config.dropout)}

    def settings(self) -> dict[str, Any]:
        """JSON for ``wordloom.json``; ``Classify.restore`` reads it."""
        return {"name": "classify", "length": self.length, "pairs": self.pairs, "temperature": self.temperature,
                "threshold": None if self.threshold is None else self.threshold.to_json(),
                "config": self.config.model_dump(), **self.space.to_json()}  # fmt: skip

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tokenizer: Tokenizer) -> Classify:
        """The task of a bundle. Raises BundleError for settings of another task or with a key missing."""
        if settings.get("name") != "classify":
            raise BundleError(f"this bundle holds the task {settings.get('name')!r}, not a classifier",
                              cure="fine-tune one with wordloom finetune")  # fmt: skip
        try:
            length, pairs = int(settings["length"]), bool(settings["pairs"])
            temperature, config = float(settings["temperature"]), dict(settings["config"])
            kept = settings.get("threshold")
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the task's settings are damaged ({error})", cure="fine-tune again") from None
        return cls(make(ClassifyConfig, config), LabelSpace.from_json(dict(settings)), tokenizer,
                   length=length, pairs=pairs, temperature=temperature,
                   threshold=None if kept is None else Threshold.from_json(kept))  # fmt: skip

    # -------------------------------------------------------------------------------------------- examples

    def windows(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Windows:
        return make_windows(self.tokenizer, texts, pairs, length=self.length, stride=self.config.stride)

    def targets(self, examples: Examples) -> Tensor:
        """(E,) int64 classes, (E, C) float32 of 0 and 1, or (E,) float32 standardised numbers."""
        values = self.space.targets(examples.labels or [], examples.places)
        if self.kind == "regression":
            values = ((values - self.space.mean) / self.space.deviation).astype(np.float32)
        return torch.from_numpy(values)

    # ------------------------------------------------------------------------------------- the loop's job

    @property
    def score(self) -> tuple[str, bool]:
        """Accuracy (macro-F1 where classes were balanced), micro-F1 for several labels, Pearson for numbers."""
        if self.kind == "single":
            return ("macro_f1" if self.config.class_weights == "balanced" else "accuracy"), True
        return MAIN[self.kind], True

    def counts(self, batch: Batch) -> Mapping[str, int]:
        labels = batch.examples["labels"]
        return {HEAD: labels.numel()}  # examples, or examples x labels

    def loss(self, model: nn.Module, batch: Batch, state: Any = None) -> tuple[Terms, Any]:
        """One term: the sum over examples of weight x loss, counted by examples, not by their weights.

        The weights of all training examples average to 1, so over an epoch this is exactly the weighted
        objective; dividing each batch by its own weights (as torch's ``weight=`` does) is not.
        """
        logits = pooled(window_logits(model, batch), batch.examples["example"], len(batch.examples["labels"]))
        total = self._losses(logits, batch.examples["labels"]).sum()
        return {HEAD: Term(total, self.counts(batch)[HEAD])}, state

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits (E, C) -> weighted losses (E,) or (E, C), in float32 at least."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        weights = self._weights.to(logits)
        if self.kind == "single":
            return F.cross_entropy(logits, targets, weight=weights, reduction="none")
        if self.kind == "multi":
            return F.binary_cross_entropy_with_logits(logits, targets.to(logits), pos_weight=weights, reduction="none")
        return F.mse_loss(logits[:, 0], targets.to(logits), reduction="none")

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss and scores on the validation part (numbers in the labels' own unit), independent of batch size."""
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        windows, targets = self._valid
        logits = self.window_logits(model, windows)
        values = point_scores(self._gold(targets), self.probabilities(logits), self.kind)
        return {"loss": float(self._losses(logits.double(), targets).mean()), **values}

    def calibrate(self, model: nn.Module) -> float:
        """Set, and return, the temperature that the validation part asks for (1 for regression); then the threshold,
        where the recipe asks for a precision."""
        if self._valid is None:
            raise ValueError("this task was built without a validation part")
        windows, targets = self._valid
        logits = self.window_logits(model, windows)
        self.temperature = fit_temperature(logits, targets, self.kind)
        label, wanted = self.config.positive, self.config.precision
        if label is not None and wanted is not None:
            index = self.labels.index(label)
            right = (targets == index).numpy()
            self.threshold = Threshold.fit(label, self.probabilities(logits)[:, index], right, wanted)
        return self.temperature

    # ----------------------------------------------------------------------------------------- prediction

    def logits(self, model: nn.Module, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """(E, C) float32 on the CPU, in input order."""
        return self.window_logits(model, self.windows(texts, pairs))

    def window_logits(self, model: nn.Module, windows: Windows) -> Tensor:
        """Windows in batches of ``budget`` tokens, longest first; an example's windows need not share one."""
        device = next(model.parameters()).device
        owner = np.repeat(np.arange(windows.examples), windows.counts)
        out = torch.zeros(len(owner), self.space.outputs)
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for chosen in by_budget(windows.lengths, self.budget):
                    batch = lay_out(windows, chosen, owner[chosen], self.pad_id).to(device)
                    out[torch.from_numpy(chosen)] = window_logits(model, batch).float().cpu()
        finally:
            model.train(training)
        return pooled(out, torch.from_numpy(owner), windows.examples)

    def probabilities(self, logits: Tensor) -> NDArray[np.float64]:
        """(E, C) temperature-scaled, or (E,) numbers in the labels' own unit."""
        if self.kind == "regression":
            return logits[:, 0].double().numpy() * self.space.deviation + self.space.mean
        return calibrated(logits, self.kind, self.temperature)

    def decode(self, probabilities: NDArray[np.float64]) -> list[Any]:
        if self.threshold is None:
            return self.space.decode(probabilities)
        return [self.labels[i] for i in self.threshold.decide(probabilities, self.labels)]

    def _gold(self, targets: Tensor) -> NDArray:
        values = targets.numpy()
        return values * self.space.deviation + self.space.mean if self.kind == "regression" else values

    def scores(self, examples: Examples, probabilities: NDArray[np.float64]) -> dict[str, Score]:
        gold = self.space.targets(examples.labels or [], examples.places)
        found = classification_scores(gold, probabilities, self.kind, self.labels)
        if self.threshold is None:
            return found
        note = "of the likeliest label, without the threshold"
        plain = {k: replace(v, note=note) if k in ("accuracy", "macro_f1", "mcc") else v for k, v in found.items()}
        return {**plain, **self.threshold.scores(gold, probabilities, self.labels)}


def window_logits(model: Any, batch: Batch) -> Tensor:
    """(W, C): the body once over the packed rows, the head at each window's [CLS]."""
    hidden = model.body(batch.tokens, batch.documents, batch.positions, batch.types)  # (B, T, D)
    return model.heads[HEAD](hidden, batch.examples["rows"], batch.examples["cols"], batch.documents)


def pooled(logits: Tensor, example: Tensor, examples: int) -> Tensor:
    """Mean of each example's window logits: (W, C), example (W,) in 0..E-1 -> (E, C)."""
    sums = logits.new_zeros(examples, logits.shape[1]).index_add(0, example, logits)
    return sums / torch.bincount(example, minlength=examples)[:, None].to(logits)


class ClassifyStream(EpochStream):
    """Training batches as a pure function of (seed, step): ``batch`` examples a step, of similar length (`Epochs`)."""

    def __init__(self, task: Classify, examples: Examples, *, batch: int, seed: int):
        self.task, self.seed = task, seed
        self.windows = task.windows(examples.texts, examples.pairs)
        self.targets = task.targets(examples)
        self.places = tuple(examples.places)
        limit = task.config.max_windows
        counts = self.windows.counts
        drawn = counts if limit is None else np.minimum(counts, limit)
        sizes: Ints = self.windows.example_tokens * drawn // counts  # tokens of a visit
        self.epochs = Epochs(sizes, batch=batch, seed=seed)

    def step(self, step: int, parts: int) -> list[Batch]:
        """``parts`` batches of whole examples with nearly equal tokens. Raises ConfigError for too many parts."""
        chosen, groups = self.epochs.parts(step, parts)
        drawn = self._draw(chosen, np.random.default_rng((self.seed, step, 1)))
        return [self._lay(chosen[g], [drawn[i] for i in g]) for g in groups]

    def _draw(self, chosen: Ints, rng: np.random.Generator) -> list[Ints]:
        """Window numbers of each example; of a text with too many, a fresh choice every visit, in text order."""
        limit, first = self.task.config.max_windows, self.windows.first
        out = []
        for e in chosen:
            numbers = np.arange(first[e], first[e + 1])
            if limit is not None and len(numbers) > limit:
                numbers = np.sort(rng.choice(numbers, limit, replace=False))
            out.append(numbers)
        return out

    def _lay(self, chosen: Ints, drawn: list[Ints]) -> Batch:
        example = np.repeat(np.arange(len(chosen)), [len(d) for d in drawn])
        batch = lay_out(self.windows, np.concatenate(drawn), example, self.task.pad_id)
        labels = self.targets[torch.from_numpy(chosen)]
        names = tuple(self.places[i] for i in chosen) if self.places else ()
        return replace(batch, examples={**batch.examples, "labels": labels}, ids=names)
