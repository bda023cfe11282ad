"""Fine-tuning throughput and accuracy on SST-2 on the CPU: wordloom's loop against Hugging Face ``Trainer``.

    python benchmarks/finetuning.py [--quick] [--model FOLDER] [--runs 3] [--threads 2] [--bfloat16]

Both sides open one folder (a random BERT-mini with a tokenizer trained on the SST-2 text, or --model) and train it in
float32 on 32 examples a step with AdamW, dropout 0.1 everywhere, gradients clipped at 1, a linear schedule (its
warm-up starts at 0 in transformers, one step later here). Inputs are tokenised beforehand and timed apart; equal token
numbers and equal logits of the untrained models are checked. The peer is ``BertForSequenceClassification`` with
``DataCollatorWithPadding`` and ``optim="adamw_torch_fused"``, no evaluation, no saving, no logging, its batches drawn
at random or with ``train_sampling_strategy="group_by_length"``; ours is ``tasks.classify.ClassifyStream`` with
``train.loop.fit``, which sorts by length and packs several sentences into a row.

Speed: fresh processes, sides alternate, medians count; time runs from the start of one forward pass, after the warm-up
steps, to that of the last. The timed steps are one epoch of a sample of steps x 32 sentences, so every side sees the
same sentences; 200 steps are four of the groups of 50 batches that transformers sorts. Accuracy: a longer run of each
side on all training data, its last weights measured on the 872 test sentences (the development part of GLUE).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BATCH, LENGTH, WARMUP_SHARE, TARGET = 32, 128, 0.1, 1.5
SIDES = ("wordloom", "trainer", "trainer, length grouping")
BETAS = (0.9, 0.999)  # transformers' default
HIDDEN = dict(side=str, folder=Path, predictions=Path, kernels=str, precision=str, sample=int, total=int)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bert-mini", help="folder to start from, or a preset with random weights")
    parser.add_argument("--runs", type=int, default=3, help="speed rounds")
    parser.add_argument("--steps", type=int, default=200, help="timed steps of a speed run")
    parser.add_argument("--warmup", type=int, default=10, help="steps before the clock starts")
    parser.add_argument("--accuracy-steps", type=int, default=600, help="steps of an accuracy run, in all")
    parser.add_argument("--seeds", type=int, default=1, help="accuracy runs of each side")
    parser.add_argument("--seed", type=int, default=0, help="the first of them, and that of the speed runs")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="also one bfloat16 run of each side, apart")
    parser.add_argument("--quick", action="store_true", help="one short run of each side; writes nothing")
    for name, kind in HIDDEN.items():
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)  # of one side, in its own process
    options = parser.parse_args()
    if options.side:
        with contextlib.redirect_stdout(sys.stderr):
            result = {"prepare": prepare, "wordloom": wordloom}.get(options.side, trainer)(options)
        print(json.dumps(result))
        return
    if options.quick:
        options.runs, options.steps, options.warmup, options.accuracy_steps = 1, 8, 2, 8
    result = compare(options)
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))
    if not options.quick:
        common.write("finetuning", result)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    facts = {"what": __doc__.split("\n")[0], "date": date.today().isoformat(), "seed": options.seed,
             "command": common.command(),
             "machine": common.machine(options.threads)}  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        names = ("model", "lr", "warmup", "threads", "seed")
        shared: list[object] = [f"--folder={temporary}/start", *(f"--{n}={getattr(options, n)}" for n in names)]
        model = common.in_fresh_process(__file__, ["--side=prepare", *shared], options.threads)
        speed = measure_speed(options, shared)
        accuracy = measure_accuracy(options, shared, Path(temporary))
    return {**facts, "model": model, "batch": BATCH, "learning_rate": options.lr, "speed": speed, "accuracy": accuracy}


def measure_speed(options: argparse.Namespace, shared: list[object]) -> dict[str, Any]:
    """Rounds of all sides on one epoch of the same sample; apart from them, what the kernels and bfloat16 change."""
    sample, total = options.steps * BATCH, options.warmup + options.steps + 1  # the last step has no end to time
    sides = {name: [f"--side={name}", *shared, f"--sample={sample}", f"--total={total}"] for name in SIDES}
    runs = common.alternating(__file__, sides, options.runs, options.threads)
    result = {"timed_steps": options.steps, "sentences": sample, **summary(runs)}
    apart = {} if options.quick else {"wordloom, plain torch kernels": [*sides["wordloom"], "--kernels=torch"]}
    if options.bfloat16:
        apart |= {f"{name}, bfloat16": [*side, "--precision=bfloat16"] for name, side in sides.items()}
    found = common.alternating(__file__, apart, 1, options.threads)
    check_same_start({**runs, **found})
    return {**result, "apart": {name: run for name, (run,) in found.items()}}


def measure_accuracy(options: argparse.Namespace, shared: list[object], folder: Path) -> dict[str, Any]:
    """``seeds`` long runs of every side: accuracy with its interval, and the difference on the same sentences."""
    from wordloom.metrics import classification_scores, gain_over_seeds, mcnemar

    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    right: dict[str, list[np.ndarray]] = {name: [] for name in SIDES}
    labels = np.array([int(label) for label in read("test").labels])
    for seed in range(options.seed, options.seed + options.seeds):
        files = {name: folder / f"{name}.npy" for name in SIDES}
        more = [*shared, f"--seed={seed}", f"--total={options.accuracy_steps}"]  # the last --seed counts
        sides: dict[str, list[object]] = {n: [f"--side={n}", *more, f"--predictions={files[n]}"] for n in SIDES}
        for name, (run,) in common.alternating(__file__, sides, 1, options.threads).items():
            probabilities = np.load(files[name])
            score = classification_scores(labels, probabilities)["accuracy"]
            runs[name].append({**run, "accuracy": [round(v, 4) for v in (score.value, score.low, score.high)]})
            right[name].append(probabilities.argmax(1) == labels)
    check_same_start(runs)
    result = {"steps": options.accuracy_steps, "seeds": options.seeds, "test_sentences": len(labels), **summary(runs)}
    result["accuracy, low, high"] = {name: [run["accuracy"] for run in found] for name, found in runs.items()}
    for peer in SIDES[1:]:
        gain = gain_over_seeds(right["wordloom"], right[peer], names=("wordloom", peer))
        result[f"wordloom minus {peer}"] = {
            **{k: round(getattr(gain, k), 4) for k in ("difference", "low", "high", "p_value")},
            "p_mcnemar": [round(mcnemar(a, b), 4) for a, b in zip(right["wordloom"], right[peer], strict=True)],
            "verdict": gain.verdict,
        }
    return result


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    ours, peers = runs["wordloom"], {name: runs[name] for name in SIDES[1:]}
    keys = ("examples_per_second", "cpu_seconds_per_step", "peak_memory_mb")
    ratios = {f"ratio_{k}": {f"over {n}": common.ratio(ours, r, k) for n, r in peers.items()} for k in keys}
    reached = {name: r["of_medians"] >= TARGET for name, r in ratios["ratio_examples_per_second"].items()}
    medians = {name: round(common.median(found, keys[0]), 1) for name, found in runs.items()}
    return {keys[0]: medians, **ratios, "target": {"at_least": TARGET, "reached": reached}, "runs": runs}


def check_same_start(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Refuse to compare sides that read other tokens or began with other weights; the proof leaves the results."""
    flat = [run for found in runs.values() for run in found]
    tokens, logits = [run["tokens_sha256"] for run in flat], [run.pop("first_logits") for run in flat]
    if len(set(tokens)) != 1:
        sys.exit(f"the sides read different tokens: {tokens}")
    if not all(np.allclose(logits[0], other, atol=1e-4) for other in logits):
        sys.exit(f"the sides start from different weights: {logits}")


def read(part: str, options: argparse.Namespace | None = None) -> Any:
    from wordloom.data.examples import read_examples

    examples = read_examples(str(DATA / "classify" / "sst2" / f"{part}.tsv.gz"), text="sentence", label="label")
    return examples.sample(options.sample, 0) if options is not None and options.sample else examples


def _digest(ids: Any) -> str:
    return hashlib.sha256(np.asarray(ids, np.int32).tobytes()).hexdigest()[:16]


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Write the folder that both sides start from: weights, a fresh classifier, tokenizer."""
    from wordloom.api.start import open_start
    from wordloom.config import ClassifyConfig, ModelConfig, Recipe
    from wordloom.model.interop import save_hf
    from wordloom.tasks.classify.task import Classify

    examples = read("train")
    recipe = Recipe(model=ModelConfig(dropout=0.1, attention_dropout=0.1))
    start = open_start(options.model, recipe, examples.texts)
    task = Classify.fit(ClassifyConfig(), examples, start.tokenizer, length=LENGTH)
    model = start.build(task.heads, options.seed)
    save_hf(options.folder, model, labels=task.labels, problem_type="single_label_classification")
    start.tokenizer.save(options.folder)
    parameters = sum(p.numel() for p in model.parameters())
    return {"start": options.model, **start.arch.to_json(), "parameters": parameters, "examples": len(examples)}


class Clock:
    """Called at the start of every forward pass with what it holds; measures from the ``warmup``-th on."""

    def __init__(self, warmup: int):
        self.warmup, self.count = warmup, 0
        self.marks: list[tuple[float, float]] = []
        self.held: list[tuple[int, int, int]] = []

    def __call__(self, examples: int, tokens: int, slots: int) -> None:
        if self.count >= self.warmup:
            self.marks.append((time.perf_counter(), time.process_time()))
            self.held.append((examples, tokens, slots))
        self.count += 1

    def result(self) -> dict[str, Any]:
        """slots: tokens and padding, what the model computes."""
        wall, cpu = (b - a for a, b in zip(self.marks[0], self.marks[-1], strict=True))
        examples, tokens, slots = np.sum(self.held[:-1], axis=0).tolist()
        steps = len(self.marks) - 1
        found = {"examples_per_second": examples / wall, "milliseconds_per_step": wall / steps * 1e3,
                 "cpu_seconds_per_step": cpu / steps, "tokens_per_example": tokens / examples,
                 "slots_per_example": slots / examples, "peak_memory_mb": common.usage()["peak_memory_mb"]}  # fmt: skip
        return {**{name: round(value, 4) for name, value in found.items()}, "steps": steps, "examples": examples}


def wordloom(options: argparse.Namespace) -> dict[str, Any]:
    from wordloom.config import ClassifyConfig, TrainConfig
    from wordloom.model import kernels
    from wordloom.model.interop import apply_states, load_hf
    from wordloom.model.model import Model
    from wordloom.model.transformer import Transformer
    from wordloom.run import Run
    from wordloom.tasks.classify.task import Classify, ClassifyStream
    from wordloom.text.tokenizer import Tokenizer
    from wordloom.train.loop import fit

    kernels.use_backend(options.kernels)
    clock = Clock(options.warmup)

    class Timed(Classify):
        def loss(self, model: Any, batch: Any, state: Any = None) -> Any:
            clock(batch.examples["labels"].numel(), batch.real_tokens, batch.tokens.numel())
            return super().loss(model, batch, state)

        def evaluate(self, model: Any) -> dict[str, float]:
            return {"accuracy": 0.0}  # called once, after the last step: no checkpoint is chosen, the last weights stay

    examples, test = read("train", options), read("test")
    task = Timed.fit(ClassifyConfig(), examples, Tokenizer.load(options.folder), length=LENGTH)
    loaded = load_hf(options.folder, ("classify",))
    model = Model(Transformer(loaded.arch), task.heads(loaded.arch))
    apply_states(model, loaded.states)
    begun = time.perf_counter()
    stream = ClassifyStream(task, examples, batch=BATCH, seed=options.seed)
    proof = {"tokenise_seconds": round(time.perf_counter() - begun, 2), "tokens_sha256": _digest(stream.windows.tokens)}
    proof["first_logits"] = task.logits(model, test.texts[:8]).tolist()
    config = TrainConfig(
        steps=options.total, seed=options.seed, batch=BATCH, micro_batch=BATCH, length=LENGTH, lr=options.lr,
        betas=BETAS, schedule="linear", warmup=WARMUP_SHARE, precision=options.precision or "float32",
        threads=options.threads, evaluate_every=10 * options.total, log_every=10 * options.total,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", {}, "benchmark") as run:
        fit(task, model, stream, config, run, quiet=True, tensorboard=False)
    result = clock.result()
    if options.predictions:
        np.save(options.predictions, task.probabilities(task.logits(model, test.texts)))
    return {**result, **proof, "kernels": kernels.backend()}


def trainer(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    import transformers as hf

    torch.set_num_threads(options.threads)
    tokenizer = hf.AutoTokenizer.from_pretrained(options.folder)
    model = hf.BertForSequenceClassification.from_pretrained(options.folder, dtype=torch.float32)
    examples, test = read("train", options), read("test")
    begun = time.perf_counter()
    ids = tokenizer(examples.texts, truncation=True, max_length=LENGTH)["input_ids"]
    seconds = round(time.perf_counter() - begun, 2)
    data = [{"input_ids": i, "labels": int(label)} for i, label in zip(ids, examples.labels, strict=True)]
    proof = {"tokenise_seconds": seconds, "tokens_sha256": _digest(np.concatenate(ids))}
    proof["first_logits"] = _logits(model, tokenizer, test.texts[:8]).tolist()
    clock = Clock(options.warmup)

    def before(model: Any, args: Any, inputs: dict[str, Any]) -> None:
        clock(len(inputs["labels"]), int(inputs["attention_mask"].sum()), inputs["input_ids"].numel())

    hook = model.register_forward_pre_hook(before, with_kwargs=True)
    strategy = "group_by_length" if options.side.endswith("grouping") else "random"
    with tempfile.TemporaryDirectory() as folder:
        arguments = hf.TrainingArguments(
            output_dir=folder, max_steps=options.total, per_device_train_batch_size=BATCH, learning_rate=options.lr,
            lr_scheduler_type="linear", warmup_steps=round(WARMUP_SHARE * options.total), weight_decay=0.01,
            max_grad_norm=1.0, adam_beta1=BETAS[0], adam_beta2=BETAS[1], optim="adamw_torch_fused", seed=options.seed,
            bf16=options.precision == "bfloat16", use_cpu=True, train_sampling_strategy=strategy, report_to="none",
            save_strategy="no", eval_strategy="no", logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        collator = hf.DataCollatorWithPadding(tokenizer)
        hf.Trainer(model, arguments, collator, train_dataset=data, processing_class=tokenizer).train()
    result = clock.result()
    hook.remove()
    if options.predictions:
        np.save(options.predictions, _logits(model, tokenizer, test.texts).softmax(1).double().numpy())
    return {**result, **proof, "attention": model.config._attn_implementation}


def _logits(model: Any, tokenizer: Any, texts: list[str]) -> Any:
    """(E, 2) float32, without dropout, all texts in one batch: 872 short sentences fit."""
    import torch

    inputs = tokenizer(texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.inference_mode():
        return model.eval()(**inputs).logits.float()


if __name__ == "__main__":
    main()
