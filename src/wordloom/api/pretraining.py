"""``pretrain``: raw text -> tokenizer -> token store -> model -> bundle, in one run directory."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wordloom import presets
from wordloom.api.building import architecture_of, get_tokenizer, open_tokenizer
from wordloom.api.continuing import named_start, open_continued, refuse_tokenizer, settle
from wordloom.api.facts import finished_facts, settle_kernels
from wordloom.api.held_out import BATCH, held_out_rows, held_out_scores, predicted
from wordloom.api.objectives import (
    make_layout,
    make_objective,
    predicted_share,
    refuse_maskless,
    refuse_unfit,
    without_auxiliary,
)
from wordloom.api.operations import body_parameters, flops_per_token, training_operations
from wordloom.api.results import Result, say, score_json
from wordloom.api.settings import own_recipe, recipe_from, refuse_changes, required
from wordloom.api.start import Start
from wordloom.config import (
    CausalConfig,
    CorpusConfig,
    MaskedConfig,
    ModelConfig,
    Recipe,
    SpansConfig,
    Strict,
    TokenizerConfig,
    TrainConfig,
)
from wordloom.data.corpus import Corpus
from wordloom.data.store import TokenStore, build_stores
from wordloom.errors import ConfigError, DataError
from wordloom.metrics import Score
from wordloom.model.architecture import Architecture
from wordloom.model.build import make_body
from wordloom.model.interop import has_segments, save_bundle
from wordloom.model.model import Model
from wordloom.objectives.pretraining import Pretraining
from wordloom.objectives.replaced import GENERATOR
from wordloom.report import render
from wordloom.run import Run
from wordloom.text.tokenizer import Tokenizer
from wordloom.train import machine, parallel
from wordloom.train.loop import Outcome, fit
from wordloom.train.stream import CorruptedStream

TABLES: dict[str, type[Strict]] = {
    "train": TrainConfig,
    "objective": MaskedConfig,
    "model": ModelConfig,
    "tokenizer": TokenizerConfig,
    "corpus": CorpusConfig,
}
DEFAULTS: dict[str, Any] = {
    "train.epochs": 1.0,
    # What leaves the unigram plateau in minutes on a CPU; AdamW at 1e-3 with 64 rows stays on it (docs/LOG.md).
    "train.batch": 32,
    "train.warmup": 0.02,
    "train.decay": 0.4,
}
MASKED = {"objective.rate": 0.3}
PRESET = "bert-mini"
# One pass over little text does not overfit: dropout only slows it (Geiping & Goldstein 2023, section 4.2).
NO_DROPOUT = {"model.dropout": 0.0, "model.attention_dropout": 0.0}
MUON = {"train.optimiser": "muon", "train.lr": 3e-3}  # together: the rate is not one for AdamW
GENTLE = {"train.optimiser": "muon", "train.lr": 1e-3}  # where weights go on: a third, to keep what they know


def pretrain(
    corpus: str | Path | Sequence[str | Path] | None,
    out: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    prepared: str | Path | None = None,
    **settings: Any,
) -> Result:
    """Pre-train a model on raw text and leave a run at ``out`` whose bundle opens in plain AutoModel.

    corpus: files, folders or globs; None takes [corpus] of the recipe. settings: keys of the recipe's tables
    ("lr", "minutes", "preset", or dotted "tokenizer.kind"). prepared: a folder of `prepare` to take tokenizer and
    tokens from. Raises a WordloomError for whatever is wrong.
    """
    if resume and recipe is None:
        recipe = own_recipe(out)
    if corpus is not None:
        settings["corpus.paths"] = [str(p) for p in ([corpus] if isinstance(corpus, (str, Path)) else corpus)]
    continued = open_continued(named_start(settings, recipe))
    own = _own_objective(settings) if continued is None else {"objective.name": continued[1]["objective.name"]}
    chosen = with_defaults(recipe_from(settings, TABLES, base=recipe, defaults=own), continued)
    start = None if continued is None else settle(continued[0], chosen)
    required(chosen.corpus, "corpus", "pretrain")
    world = parallel.start()
    torch.set_num_threads(machine.pick_threads(chosen.train.threads))
    again = f"wordloom pretrain --out {out} --resume"
    try:
        with parallel.shared_run(world, lambda: _open(out, chosen, start, resume, overwrite)) as run:
            if world.writes:
                _prepare(run, chosen, start, quiet, None if prepared is None else Path(prepared))
            world.barrier()
            return _train(run, chosen, start, world, resume=resume, again=again, quiet=quiet)
    finally:
        parallel.stop()


def _own_objective(settings: Mapping[str, Any]) -> dict[str, str]:
    """The objective of the preset that is named: its keys can be set without naming it."""
    name = settings.get("preset") or settings.get("model.preset")
    row = presets.PRESETS.get(str(name))
    return {} if row is None else {"objective.name": str(row.defaults.get("objective.name", "masked"))}


def with_defaults(recipe: Recipe, continued: tuple[Start, dict[str, Any]] | None = None) -> Recipe:
    """The recipe with what pre-training takes where it says nothing: of the preset, or of the start, first."""
    own = presets.preset(recipe.model.preset or PRESET).defaults if continued is None else continued[1]
    if recipe.model.init_std is not None:  # it is said how random weights begin
        own = {k: v for k, v in own.items() if k != "model.init"}
    name = recipe.objective.name if recipe.objective is not None else str(own.get("objective.name", "masked"))
    if name != own.get("objective.name", "masked"):  # another objective's keys
        own = {k: v for k, v in own.items() if not k.startswith("objective.")}
    if recipe.tokenizer is not None and recipe.tokenizer.path is not None:
        own = {k: v for k, v in own.items() if not k.startswith("tokenizer.")}
    muon = {} if "optimiser" in recipe.train.model_fields_set else MUON if continued is None else GENTLE
    if continued is not None:
        attends = isinstance(continued[0].arch, Architecture)
    else:
        attends = recipe.model.preset is None or presets.preset(recipe.model.preset).kind is Architecture
    defaults = {**DEFAULTS, **muon, **(NO_DROPOUT if attends else {}), **(MASKED if name == "masked" else {})}
    defaults |= {**own, "objective.name": name}
    return recipe_from({}, TABLES, base=recipe, defaults=defaults)


def _open(out: str | Path, recipe: Recipe, start: Start | None, resume: bool, overwrite: bool) -> Run:
    if resume:
        run = Run.open(out)
        changeable = {k: v for k, v in TABLES.items() if k != "train"}  # [train] is compared by the loop's plan
        refuse_changes(run, recipe, changeable)
        return run
    refuse_impossible(recipe, start)
    return Run.create(out, recipe.model_dump(exclude_none=True, exclude_unset=True), "pretrain", overwrite)


def refuse_impossible(recipe: Recipe, start: Start | None = None) -> None:
    """Refuse what needs no reading of the text before a run is created, or worse, an old one replaced."""
    Corpus(required(recipe.corpus, "corpus", "pretrain"))
    if recipe.train.freeze != "none":
        raise ConfigError("pre-training trains all weights", where="train.freeze", cure="leave it out")
    objective = recipe.objective or MaskedConfig()
    if start is not None:
        refuse_unfit(objective, start.arch, start.name)
        refuse_tokenizer(objective, start)
        return
    if recipe.tokenizer is not None and recipe.tokenizer.path is not None:
        refuse_maskless(objective, open_tokenizer(recipe.tokenizer.path))
    preset = recipe.model.preset or PRESET
    arch = architecture_of(recipe.model, preset, None, recipe.train.length)
    refuse_unfit(objective, arch, preset)


def _prepare(run: Run, recipe: Recipe, start: Start | None, quiet: bool, prepared: Path | None) -> None:
    """Tokenizer and token stores, each made once: a resumed run finds them."""
    corpus_config, config = required(recipe.corpus, "corpus", "pretrain"), recipe.tokenizer or TokenizerConfig()
    folder = run.path / "tokenizer"
    if not folder.exists():
        say(f"corpus: {', '.join(corpus_config.paths)}", quiet)
        if start is not None:
            tokenizer = start.tokenizer
        else:
            tokenizer = get_tokenizer(corpus_config, config, quiet) if prepared is None else open_tokenizer(prepared)
        if isinstance(recipe.objective, SpansConfig):
            tokenizer = tokenizer.with_sentinels(recipe.objective.sentinels)
        tokenizer.save(folder)
    tokenizer = Tokenizer.load(folder)
    stores = run.path / "store"
    if not all((stores / part).exists() for part in ("train", "valid")):
        shutil.rmtree(stores, ignore_errors=True)  # killed between the two
        if prepared is not None:  # the same files, whatever was added to the vocabulary: sentinels are in no text
            shutil.copytree(prepared / "store", stores, copy_function=_link)
            train, valid = (TokenStore.open(stores / part) for part in ("train", "valid"))
        else:
            train, valid = _encode(corpus_config, tokenizer, stores, recipe.train.seed, quiet)
        run.update_manifest(data=_data_facts(corpus_config, train, valid))
        if not isinstance(recipe.objective, SpansConfig):  # whose loss counts marks and ends too: no level for it
            run.update_manifest(unigram_entropy=train.unigram_entropy)


def prepare(folder: Path, corpus: CorpusConfig, config: TokenizerConfig, seed: int, quiet: bool) -> None:
    """FOLDER/{tokenizer,store}, for several runs on the same tokens."""
    if not (folder / "tokenizer").exists():
        get_tokenizer(corpus, config, quiet).save(folder / "tokenizer")
    if not all((folder / "store" / part).exists() for part in ("train", "valid")):
        shutil.rmtree(folder / "store", ignore_errors=True)
        _encode(corpus, Tokenizer.load(folder / "tokenizer"), folder / "store", seed, quiet)


def _encode(
    config: CorpusConfig, tokenizer: Tokenizer, stores: Path, seed: int, quiet: bool
) -> tuple[TokenStore, TokenStore]:
    corpus = Corpus(config)
    say("encoding the corpus ...", quiet)
    folders, fraction = (stores / "train", stores / "valid"), config.valid_fraction
    train, valid = build_stores(corpus, tokenizer, *folders, valid_fraction=fraction, seed=seed)
    for line in corpus.report.lines():
        say(line, quiet)
    return train, valid


def _link(source: str, target: str) -> str:
    """One file under two names where the disk can, else a copy; a store is never written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _train(
    run: Run, recipe: Recipe, start: Start | None, world: parallel.World, *, resume: bool, again: str, quiet: bool
) -> Result:
    config, objective_config = recipe.train, recipe.objective or MaskedConfig()
    tokenizer = Tokenizer.load(run.path / "tokenizer")
    train, valid = TokenStore.open(run.path / "store" / "train"), TokenStore.open(run.path / "store" / "valid")
    objective = make_objective(objective_config, tokenizer, train)
    layout = make_layout(train, tokenizer, config, objective_config, streams=config.batch)
    if isinstance(objective_config, MaskedConfig) and objective_config.next_sentence and valid.documents < 2:
        cure = "raise corpus.valid_fraction or give more text"
        raise DataError(f"{valid.documents} held-out documents, where next-sentence pairs need two", cure=cure)
    held_out = held_out_rows(make_layout(valid, tokenizer, config, objective_config, streams=BATCH), objective)
    preset = start.name if start is not None else recipe.model.preset
    preset = preset or run.manifest.get("model", {}).get("preset")  # a resumed run measures nothing anew
    preset = preset or world.share(_preset_for(config, tokenizer.vocab_size, predicted_share(objective_config)))
    settle_kernels(run)
    model = _model(recipe, start, preset, tokenizer, objective, train)
    arch = model.arch
    if world.writes and "model" not in run.manifest:
        facts = {} if start is None else {"parent": start.name, "start": list(start.report)}
        run.update_manifest(**_model_facts(model, preset, tokenizer, run.path), **facts)
    job = Pretraining(objective, held_out)
    adaptive = isinstance(objective_config, CausalConfig) and objective_config.softmax == "adaptive"
    stream = CorruptedStream(layout, objective.corrupt, rows=config.batch, seed=config.seed)
    outcome = fit(
        job,
        model,
        stream,
        config,
        run,
        resume=resume,
        layers=layers_of(model),
        facts={"tokenizer": tokenizer.hash, "tokens": train.manifest["sha256"], "preset": preset},
        unigram_entropy=None if isinstance(objective_config, SpansConfig) else train.unigram_entropy,
        flops_per_token=None if adaptive else training_operations(objective_config, arch, config.length),
        resume_command=again,
        quiet=quiet,
        world=world,
    )
    if not world.writes:
        return Result(run.path, "pretrain", outcome.scores)
    extra = {"tokenizer_hash": tokenizer.hash, "length": config.length, "preset": preset, "scores": outcome.scores}
    extra["objective"] = objective_config.model_dump()
    also = partial(tokenizer.save, segments=has_segments(arch))
    kept = without_auxiliary(model, objective)
    save_bundle(run.bundle, kept, "pretrained", extra, also=also, tokens=tokenizer.ends, overwrite=True)
    scores = held_out_scores(job, model, train, tokenizer.special_ids)
    values = {k: score_json(v) for k, v in scores.items()}
    examples = sum(next(iter(job.counts(b).values())) for b in held_out)
    measured = {"main": "loss", "scores": values, "examples": examples}
    run.write_scores(measured)
    run.update_manifest(**finished_facts(run, outcome))
    run.finish()
    return Result(
        run.path, "pretrain", measured, _notes(scores, outcome, train, preset, predicted(job)), render(run.path)
    )


def _model(
    recipe: Recipe, start: Start | None, preset: str, tokenizer: Tokenizer, objective: Any, store: TokenStore
) -> Model:
    """With random weights, or with those of the start: its body, and the heads that the objective shares with it."""
    if start is None:
        arch = architecture_of(recipe.model, preset, tokenizer, recipe.train.length)
        torch.manual_seed(recipe.train.seed)
        model = Model(make_body(arch), objective.heads(arch))
        start_from_frequencies(model, store, tokenizer)
        return model
    kept = {name for name in objective.heads(start.arch) if name in (start.states or {})}
    model = start.build(objective.heads, recipe.train.seed, kept | {"pooler"})  # a pair head reads the pooler
    start_from_frequencies(model, store, tokenizer, kept)
    return model


def start_from_frequencies(model: Model, store: TokenStore, tokenizer: Tokenizer, kept: Set[str] = frozenset()) -> None:
    """Set the bias of a head that fills gaps to every token's log frequency: step 0 then stands at the unigram entropy.

    Otherwise the first hundred steps learn that bias and nothing else. Measured on 2.9 M words of documentation,
    bert-tiny, 60 s on one core: held-out loss 5.82 without, 5.68 with, after 45 s. Other heads stay as they are, and
    those ``kept`` from a start. A public vocabulary may be padded: rows without a token count as never seen.
    """
    head = next((name for name in ("masked", "permuted", GENERATOR) if name in model.heads), None)
    if head is None or head in kept:
        return
    bias = model.get_submodule(f"heads.{head}.head" if head == GENERATOR else f"heads.{head}").bias
    assert isinstance(bias, nn.Parameter)
    counts = np.ones(len(bias))
    counts[: tokenizer.vocab_size] += store.counts(tokenizer.vocab_size)
    counts[tokenizer.special_ids] = 1.0  # never predicted
    with torch.no_grad():
        bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def layers_of(model: Model) -> list[tuple[int, list[nn.Parameter]]]:
    """(depth, parameters) from the embeddings up: what Muon, layer-wise decay and freezing need to know."""
    stacks = [model.body, *(model.heads[name] for name in (GENERATOR,) if name in model.heads)]
    return [
        (depth, list(module.parameters()))
        for stack in stacks
        for depth, module in enumerate(stack.layers_by_depth())  # type: ignore[operator]
    ]


def _preset_for(config: TrainConfig, vocab_size: int, rate: float) -> str:
    """The largest BERT row that sees at least 10 tokens per body parameter in the minutes it is given.

    A third of the measured matrix-product peak is assumed for a whole step. Without --minutes: bert-mini.
    """
    if config.minutes is None:
        return PRESET
    device = machine.pick_device()
    peak = max(machine.matmul_peak(device, t, 0.05) for t in (torch.float32, torch.bfloat16))
    affordable = "bert-tiny"
    for name in ("bert-mini", "bert-small", "bert-base"):
        arch = presets.architecture(name, vocab_size)
        if 60 * config.minutes * peak / 3 / flops_per_token(arch, config.length, rate) >= 10 * body_parameters(arch):
            affordable = name
    return affordable


def _data_facts(config: CorpusConfig, train: TokenStore, valid: TokenStore) -> dict[str, Any]:
    def part(store: TokenStore) -> dict[str, Any]:
        facts = {"documents": store.documents, "tokens": len(store.tokens), "bytes_per_token": store.bytes_per_token}
        return {**facts, "sha256": store.manifest["sha256"]}

    return {"train": {"file": ", ".join(config.paths), **part(train)}, "held out": part(valid)}


def _model_facts(model: Model, preset: str, tokenizer: Tokenizer, path: Path) -> dict[str, Any]:
    arch = model.arch
    return {
        "model": {
            "preset": preset,
            "parameters": sum(p.numel() for p in model.parameters()),
            "layers": arch.layers,
            "width": arch.width,
            **{name: getattr(arch, name) for name in ("heads", "cell") if hasattr(arch, name)},
            "positions": arch.limit,
        },
        "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "lowercase": tokenizer.lowercase},
        "hashes": {"tokenizer": tokenizer.hash},
        "command": f"wordloom pretrain --recipe {path.name}/recipe.toml --out NEW-RUN",
    }


def _notes(scores: dict[str, Score], outcome: Outcome, store: TokenStore, preset: str, unit: str) -> list[str]:
    loss, below = scores["loss"], scores["below_unigram"]
    span = f"[{loss.low:.3f}, {loss.high:.3f}] " if math.isfinite(loss.low) else ""
    about, side = f"{below.note}: " if below.note else "", "below" if below.value > 0 else "above"
    notes = [
        f"{preset}: {outcome.step} steps in {outcome.seconds:.0f} s; held-out loss {loss.value:.3f} {span}"
        f"nats per {unit}; {about}{abs(below.value):.3f} {side} the unigram entropy of {store.unigram_entropy:.3f}"
    ]
    if (below.low if span else below.value) <= 0:
        notes.append("the model has not learned more than word frequencies: train longer or raise train.lr")
    return notes
