"""Where fine-tuning starts: one's own run, a public folder of any family we read, or a preset's random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordloom import presets
from wordloom.api.building import architecture_of, open_tokenizer
from wordloom.config import ModelConfig, Recipe, TokenizerConfig, make
from wordloom.errors import BundleError, ConfigError
from wordloom.infer.linear import refuse_linear
from wordloom.infer.own_tokenizer import Tokenizers
from wordloom.model.architecture import Architecture
from wordloom.model.build import AnyArchitecture, make_body, reads_source
from wordloom.model.convolution import ConvolutionArchitecture
from wordloom.model.interop import apply_states, load_any
from wordloom.model.model import Model
from wordloom.model.recurrent_seq2seq import RecurrentSeq2SeqArchitecture
from wordloom.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Start:
    """Architecture, tokenizer and (unless random) the weights a model begins with. ``report``: what was ignored.
    source_tokenizer: of a model that reads another vocabulary than it writes."""

    name: str
    arch: AnyArchitecture
    tokenizer: Tokenizer
    states: Mapping[str, Mapping[str, Tensor]] | None
    report: tuple[str, ...] = field(default=())
    source_tokenizer: Tokenizer | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """Of what turns texts into tokens."""
        own = {"tokenizer": self.tokenizer.hash}
        return own if self.source_tokenizer is None else own | {"source tokenizer": self.source_tokenizer.hash}

    def randomly(self) -> Start:
        """The same shape and tokenizer without the weights: what shows the gain from pre-training.

        They are drawn as the row draws them without pre-training: what begins with positions as waves learns less from
        words, and the gain would be too large (docs/LOG.md).
        """
        arch = self.arch
        if isinstance(arch, Architecture) and arch.position_waves:
            arch = replace(arch, init="normal", position_waves=0.0)
        return replace(self, name=f"{self.name} (random weights)", arch=arch, states=None)

    def build(
        self,
        make_heads: Callable[[AnyArchitecture], Mapping[str, nn.Module]],
        seed: int,
        keeps: Set[str] = frozenset({"pooler"}),
    ) -> Model:
        """A model whose random parts are a function of ``seed``: the heads first, then the body, from one stream.

        keeps: heads whose weights go on from the start; others there belong to another objective or other labels.
        """
        torch.manual_seed(seed)
        heads = make_heads(self.arch)
        model = Model(make_body(self.arch), heads)
        if self.states is not None:
            apply_states(model, {k: v for k, v in self.states.items() if k == "body" or k in keeps})
        return model


def bundle_folder(path: str | Path) -> Path:
    """RUN/bundle of a run, or the folder itself. Raises BundleError where neither can be opened."""
    path = Path(path)
    if (path / "manifest.json").exists():
        if not (path / "bundle").exists():
            raise BundleError("the run has no bundle: it did not finish", where=path, cure="resume it first")
        return path / "bundle"
    if not path.exists():
        raise BundleError("no such run or folder", where=path, cure="give the folder of a run or a bundle")
    return path


def open_start(model: str | Path, recipe: Recipe, texts: list[str], sources: list[str] | None = None) -> Start:
    """Resolve MODEL. ``texts`` train the tokenizer where a preset comes with none: those of the training part alone.

    sources: texts for a vocabulary of what is read, beside that of what is written; a run must have one too.
    """
    name = str(model)
    if not Path(name).exists():
        if name in presets.PRESETS:
            return _from_preset(name, recipe, texts, sources)
        known = ", ".join([*sorted(presets.PRESETS), "word2vec", "tf-idf"])
        raise ConfigError(
            "no such folder and no such preset", where=name, cure=f"give a run, a public folder, or one of {known}"
        )
    folder = bundle_folder(name)
    inside = folder / "vectors"
    cure = f"start from its vectors, {inside}" if inside.is_dir() else "start from the preset tf-idf again"
    refuse_linear(folder, "a linear classifier has no weights to start from", cure)
    loaded = load_any(folder)
    tokenizers = Tokenizers.open(folder, loaded.arch)
    if sources is not None and tokenizers.source is None:
        raise ConfigError("one vocabulary serves both sides of this start", where="task.vocabularies",
                          cure="leave it away, or begin with a preset")  # fmt: skip
    arch = with_dropouts(loaded.arch, recipe.model)
    return Start(name, arch, tokenizers.own, loaded.states, loaded.report, tokenizers.source)


def with_dropouts(arch: AnyArchitecture, model: ModelConfig) -> AnyArchitecture:
    """The same network with the recipe's dropout, where it names one that the network has."""
    own = {f.name for f in fields(arch)}
    changed = {k: getattr(model, k) for k in ("dropout", "attention_dropout") if k in own}
    return replace(arch, **{k: v for k, v in changed.items() if v is not None})


def fitting(defaults: Mapping[str, Any], model: str | Path) -> dict[str, Any]:
    """Defaults of a recipe without those of [model] that this preset has no value for: recurrent rows have no dropout
    of attention."""
    row = presets.PRESETS.get(str(model))
    if row is None or Path(model).exists():
        return dict(defaults)
    own = {f"model.{f.name}" for f in fields(row.kind)}
    return {k: v for k, v in defaults.items() if not k.startswith("model.") or k in own}


def preferred(model: str | Path) -> dict[str, Any]:
    """What this preset's row asks of a recipe that trains a classifier from its random weights; {} of all else."""
    row = presets.PRESETS.get(str(model))
    return {} if row is None or Path(model).exists() else dict(row.finetuning)


def refuse_nearsighted(arch: AnyArchitecture, task: str) -> None:
    """Of textcnn and dan rows, which have a vector of a text and next to nothing of a token. Raises ConfigError."""
    if isinstance(arch, ConvolutionArchitecture):
        raise ConfigError(
            f"the model sees a token with its neighbours at most: it classifies whole texts, and cannot learn {task}",
            where="MODEL", cure="use an encoder, a causal or a recurrent model",
        )  # fmt: skip


def refuse_adaptive(start: Start, what: str) -> None:
    """Raises ConfigError where the next-token head is an adaptive softmax, cut by the counts of the text it learned."""
    if start.states is not None and "first.weight" in start.states.get("causal", {}):
        found = f"the run learned with an adaptive softmax, which {what} does not go on with"
        raise ConfigError(found, where=start.name, cure="pre-train with objective.softmax = 'full'")


def _from_preset(name: str, recipe: Recipe, texts: list[str], sources: list[str] | None) -> Start:
    defaults = presets.preset(name).defaults.items()
    own = {k.removeprefix("tokenizer."): v for k, v in defaults if k.startswith("tokenizer.")}
    given = (recipe.tokenizer or TokenizerConfig()).model_dump(exclude_unset=True)
    config = make(TokenizerConfig, {**own, **given})
    if config.vocab_size == "auto":
        config = config.model_copy(update={"vocab_size": 8192})
    if sources is not None and config.path is not None:
        raise ConfigError("a folder holds one tokenizer, and two vocabularies are asked for", where="tokenizer.path",
                          cure="leave it away, or set task.vocabularies = 'joint'")  # fmt: skip
    tokenizer = open_tokenizer(config.path) if config.path is not None else Tokenizer.train(texts, config)
    arch = architecture_of(recipe.model, name, tokenizer, recipe.train.length)
    if sources is None:
        return Start(name, arch, tokenizer, None)
    if not isinstance(arch, Architecture | RecurrentSeq2SeqArchitecture) or not reads_source(arch):
        raise ConfigError(f"{name} has one side, and two vocabularies are asked for", where="task.vocabularies",
                          cure="use a transformer, t5 or seq2seq preset")  # fmt: skip
    reads = Tokenizer.train(sources, config)
    return Start(name, replace(arch, source_vocab_size=reads.vocab_size), tokenizer, None, source_tokenizer=reads)
