"""The candidates of ``choose vectors``: what each is made of, and how long that took."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordloom.api.compare import finished
from wordloom.api.finetuning import DEFAULTS, finetune_parts
from wordloom.api.labelled import Parts, classify_config
from wordloom.api.linear import TFIDF, WORD2VEC, finetune_frozen, finetune_linear, suited, written_at
from wordloom.api.pretraining import pretrain
from wordloom.api.results import say
from wordloom.api.settings import recipe_from
from wordloom.api.start import Start, open_start
from wordloom.api.word2vec import vectors as train_vectors
from wordloom.config import (
    ChooseConfig,
    ClassifyConfig,
    CorpusConfig,
    DataConfig,
    MaskedConfig,
    ModelConfig,
    Recipe,
    Strict,
    TokenizerConfig,
    TrainConfig,
    VectorsConfig,
)
from wordloom.disk import write_json
from wordloom.run import Run, read_manifest

TABLES: dict[str, type[Strict]] = {
    "choose": ChooseConfig,
    "data": DataConfig,
    "task": ClassifyConfig,
    "corpus": CorpusConfig,
    "vectors": VectorsConfig,
    "model": ModelConfig,
    "tokenizer": TokenizerConfig,
    "objective": MaskedConfig,
    "train": TrainConfig,
    "finetune": TrainConfig,
}
MOST_EPOCHS = 30  # of Word2Vec: beyond, more passes over the same text teach it nothing
BUCKETS = 200_000  # of sub-words: 80 MB at 100 dimensions; two million, fastText's, are for billions of words
WORDS: dict[str, dict[str, Any]] = {"skip-gram": {"objective": "skip-gram"}, "cbow": {"objective": "cbow"},
         "subwords": {"objective": "skip-gram", "subwords": True}}  # fmt: skip
TITLES = {"tf-idf": "TF-IDF", "skip-gram": "skip-gram", "cbow": "CBOW", "subwords": "skip-gram, sub-words",
          "imported": "imported vectors", "frozen": "BERT, frozen", "finetuned": "BERT, fine-tuned"}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    config: ChooseConfig
    candidates: tuple[str, ...]

    @property
    def task(self) -> ClassifyConfig:
        return classify_config(self.recipe)

    @property
    def seed(self) -> int:
        return (self.recipe.finetune or TrainConfig()).seed

    def base(self) -> dict[str, Any]:
        """[data] and [task], which every candidate shares, as they were given."""
        values = self.recipe.model_dump(exclude_unset=True, exclude_none=True)
        return {k: v for k, v in values.items() if k in ("data", "task")}

    def finetuning(self, start: str) -> Recipe:
        """The recipe of the fine-tuning, and of the frozen encoder; [finetune] is its [train]."""
        values = self.base()
        given = self.recipe.model_dump(exclude_unset=True, exclude_none=True)
        values |= {"model": {"start": start}, "train": given.get("finetune", {})}
        return recipe_from({}, TABLES, base=Recipe.model_validate(values), defaults=DEFAULTS)


@dataclass
class Work:
    """Makes each candidate; a BERT that two of them share is pre-trained once, and its seconds count for both."""

    run: Run
    plan: Plan
    parts: Parts
    corpus: CorpusConfig
    quiet: bool

    def maker(self, name: str) -> Any:
        makers = {"tf-idf": self._tfidf, "imported": self._imported, "frozen": self._frozen,
                  "finetuned": self._finetuned}  # fmt: skip
        return makers[name] if name in makers else lambda folder: self._words(name, folder)

    @property
    def _how(self) -> dict[str, Any]:
        again = f"the same command with --out {self.run.path} --resume"
        return {"overwrite": True, "baseline": False, "quiet": self.quiet, "again": again}

    def _tfidf(self, folder: Path) -> tuple[float | None, float]:
        finetune_linear(TFIDF, self.parts, self._recipe(TFIDF), folder, **self._how)
        return 0.0, _seconds(folder)["training_seconds"]

    def _imported(self, folder: Path) -> tuple[float | None, float]:
        source = self.plan.config.vectors
        assert source is not None  # else it is no candidate
        finetune_linear(source, self.parts, self._recipe(source), folder, **self._how)
        return None, _seconds(folder)["training_seconds"]

    def _words(self, name: str, folder: Path) -> tuple[float | None, float]:
        config = self._config(name)
        if "epochs" not in (self.plan.recipe.vectors or VectorsConfig()).model_fields_set:
            config = config.model_copy(update={"epochs": self._fitted_epochs(config)})
        recipe = self._recipe(WORD2VEC, corpus=self.corpus, vectors=config)
        finetune_linear(WORD2VEC, self.parts, recipe, folder, **self._how)
        seconds = _seconds(folder)
        return seconds["pretraining_seconds"], seconds["training_seconds"]

    def _config(self, name: str) -> VectorsConfig:
        """[vectors] with the candidate's own values; words and min_count suited to the text where they are not set."""
        given = self.plan.recipe.vectors or VectorsConfig()
        texts = [*self.parts.train.texts, *(self.parts.train.pairs or [])]
        chosen = suited(given, texts) if self.plan.recipe.corpus is None else given
        words = suited(given, texts).words
        values: dict[str, Any] = {"words": words, **WORDS[name]}
        if "buckets" not in given.model_fields_set:
            values["buckets"] = BUCKETS
        return chosen.model_copy(update=values)

    def _fitted_epochs(self, config: VectorsConfig) -> int:
        """As many passes as fit the budget, 1 to 30, by a pass that is thrown away."""
        scratch, few = self.run.path / "throw-away", self.run.path / "few-words.txt"
        say("one pass over the corpus, thrown away, to see how many fit ...", self.quiet)
        try:
            few.write_text("a few words, so that the kernels are compiled before time is taken\n" * 20)
            tiny = config.model_copy(update={"epochs": 1, "min_count": 1, "buckets": 100, "words": "words"})
            train_vectors(few, scratch, recipe=Recipe(vectors=tiny), quiet=True, overwrite=True)
            once = Recipe(corpus=self.corpus, vectors=config.model_copy(update={"epochs": 1}))
            begun = time.time()
            train_vectors(None, scratch, recipe=once, overwrite=True, quiet=True)
            total = written_at(scratch) - begun
            manifest = read_manifest(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            few.unlink(missing_ok=True)
        speed, words = manifest["throughput"]["words_per_second"], manifest["data"]["train"]["kept"]
        a_pass = min(total, words / speed) if speed else total
        fits = (60 * self.plan.config.minutes - (total - a_pass)) / max(a_pass, 1e-9)
        epochs = int(min(max(math.floor(fits), 1), MOST_EPOCHS))
        say(f"a pass takes {a_pass:.1f} s, all else {total - a_pass:.1f} s: {epochs} epochs", self.quiet)
        return epochs

    def _frozen(self, folder: Path) -> tuple[float | None, float]:
        start, pretraining = self._encoder()
        recipe = self.plan.finetuning(start.name)
        finetune_frozen(start, self.parts, recipe, folder, overwrite=True, quiet=self.quiet)
        return pretraining, _seconds(folder)["training_seconds"]

    def _finetuned(self, folder: Path) -> tuple[float | None, float]:
        start, pretraining = self._encoder()
        begun = time.monotonic()
        recipe = self.plan.finetuning(start.name)
        finetune_parts(start, self.parts, recipe, folder, **self._how)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return pretraining, time.monotonic() - begun

    def _encoder(self) -> tuple[Start, float | None]:
        """The BERT run both contextual candidates start from, and the seconds of its pre-training."""
        given = self.plan.recipe.model.start
        folder = self.run.path / "pretrained"
        if given is None:
            if not finished(folder):
                shutil.rmtree(folder, ignore_errors=True)  # seconds of a resumed one would not be honest
                begun = time.monotonic()
                pretrain(None, folder, recipe=self._pretraining(), quiet=self.quiet)
                write_json(folder / "seconds.json", time.monotonic() - begun)
            seconds: float | None = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
        else:
            manifest = Path(given) / "manifest.json"
            seconds = read_manifest(given).get("seconds") if manifest.exists() else None
        name = given or str(folder)
        return open_start(name, self.plan.finetuning(name), self.parts.train.texts), seconds

    def _pretraining(self) -> Recipe:
        given = self.plan.recipe.model_dump(exclude_unset=True, exclude_none=True)
        values = {k: v for k, v in given.items() if k in ("model", "tokenizer", "objective", "train")}
        values["corpus"] = self.corpus.model_dump(exclude_unset=True)
        values["train"] = {**values.get("train", {}), "minutes": self.plan.config.minutes}
        return Recipe.model_validate(values)

    def _recipe(self, start: str, **tables: Strict) -> Recipe:
        values: dict[str, Any] = {**self.plan.base(), "model": {"start": start}, "train": {"seed": self.plan.seed}}
        values |= {name: table_.model_dump(exclude_unset=True) for name, table_ in tables.items()}
        return Recipe.model_validate(values)


def _seconds(folder: Path) -> dict[str, float]:
    return dict(read_manifest(folder)["throughput"])
