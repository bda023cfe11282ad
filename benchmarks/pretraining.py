"""Pre-training throughput on the CPU: wordloom's loop against Hugging Face ``Trainer``.

    python benchmarks/pretraining.py [--quick] [--runs 3] [--threads 2] [--vocabularies 8192 30522]

Both sides train the shape of BERT-mini (4 layers, 256 wide, 4 heads, 1024 in the feed-forward net) in float32 with
AdamW, dropout 0.1 and attention dropout 0.1, gradients clipped at 1, on the same 32 rows of 128 tokens a step: one
document a row, no padding, token numbers drawn from a Zipf law. Masking is each side's own: 15%, 80/10/10.
The peer is ``BertForMaskedLM`` with ``DataCollatorForLanguageModeling`` and ``optim="adamw_torch_fused"``, no
evaluation, no saving, no logging; ours is ``train.loop.fit``. Each run is a fresh process, sides alternate, medians
count; time runs from the start of one forward pass, after the warm-up steps, to that of the last.

Apart from the comparison: wordloom under ``torch.compile``, with plain torch kernels, and in bfloat16 on both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common as common
import numpy as np

LAYERS, WIDTH, HEADS, FFN, LENGTH, BATCH = 4, 256, 4, 1024, 128, 32
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
RATE = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="timed steps of a run")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[8192, 30522])
    parser.add_argument("--quick", action="store_true", help="one short run of each side; writes nothing")
    parser.add_argument("--side", choices=["wordloom", "trainer", "share"], help=argparse.SUPPRESS)
    parser.add_argument("--vocabulary", type=int, default=8192, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kernels", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        with contextlib.redirect_stdout(sys.stderr):
            result = {"wordloom": wordloom, "trainer": trainer, "share": share}[options.side](options)
        print(json.dumps(result))
        return
    if options.quick:
        options.runs, options.steps, options.warmup = 1, 8, 2
    result = compare(options)
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))
    if not options.quick:
        common.write("pretraining", result)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    facts = common.machine(options.threads)
    common_arguments: list[object] = [
        "--steps",
        options.steps,
        "--warmup",
        options.warmup,
        "--threads",
        options.threads,
    ]

    def side(name: str, vocabulary: int, *more: object) -> list[object]:
        return ["--side", name, "--vocabulary", vocabulary, *common_arguments, *more]

    def runs(sides: dict[str, list[object]], count: int) -> dict[str, list[dict[str, Any]]]:
        return common.alternating(__file__, sides, count, options.threads)

    result: dict[str, Any] = {"what": __doc__.split("\n")[0], "machine": facts, "batch": [BATCH, LENGTH], "float32": {}}
    for vocabulary in options.vocabularies:
        found = runs({n: side(n, vocabulary) for n in ("wordloom", "trainer")}, options.runs)
        ours, theirs = found["wordloom"], found["trainer"]
        result["float32"][str(vocabulary)] = {
            "tokens_per_second": {n: round(common.median(r, "tokens_per_second")) for n, r in found.items()},
            "ratio_tokens_per_second": common.ratio(ours, theirs, "tokens_per_second"),
            "ratio_cpu_seconds_per_step": common.ratio(ours, theirs, "cpu_seconds_per_step"),
            "ratio_peak_memory": common.ratio(ours, theirs, "peak_memory_mb"),
            "share_of_matmul_peak": {n: round(common.median(r, "share_of_peak"), 3) for n, r in found.items()},
            "runs": found,
        }
    vocabulary = options.vocabularies[0]
    apart = {
        "wordloom, plain torch kernels": side("wordloom", vocabulary, "--kernels", "torch"),
        "wordloom, bfloat16": side("wordloom", vocabulary, "--precision", "bfloat16"),
        "trainer, bfloat16": side("trainer", vocabulary, "--precision", "bfloat16"),
        "wordloom, torch.compile": side("wordloom", vocabulary, "--compile", "--kernels", "torch"),
        "trainer, torch.compile": side("trainer", vocabulary, "--compile"),
    }
    if not options.quick:
        result[f"apart, vocabulary {vocabulary}"] = {name: one(arguments, options) for name, arguments in apart.items()}
    share_arguments = side("share", vocabulary)
    result["where_the_time_goes"] = common.in_fresh_process(__file__, share_arguments, options.threads)
    return result


def one(arguments: list[object], options: argparse.Namespace) -> dict[str, Any]:
    try:
        return common.in_fresh_process(__file__, arguments, options.threads)
    except SystemExit as failed:  # torch.compile needs a C++ compiler, which a machine may lack
        return {"failed": str(failed).strip().splitlines()[-1][:300]}


# --- data ------------------------------------------------------------------------------------------------------------


class Rows:
    """Rows of LENGTH random tokens between [CLS] and [SEP], one document each: a layout as ``data.packing`` has."""

    def __init__(self, vocabulary: int, rows: int):
        draws = np.random.default_rng(0).zipf(1.2, size=(rows, LENGTH)) % (vocabulary - len(SPECIAL))
        self.tokens = draws.astype(np.int64) + len(SPECIAL)
        self.tokens[:, 0], self.tokens[:, -1] = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")

    @property
    def rows_per_epoch(self) -> int:
        return len(self.tokens)

    def order(self, start: int, count: int) -> np.ndarray:
        return np.arange(start, start + count) % len(self.tokens)

    def batch(self, rows: np.ndarray) -> Any:
        import torch

        from wordloom.data.batch import Batch

        tokens = torch.from_numpy(self.tokens[rows])
        ones = torch.ones_like(tokens)
        positions = torch.arange(LENGTH).expand_as(tokens).contiguous()
        return Batch(tokens=tokens, documents=ones, positions=positions, types=torch.zeros_like(tokens))


class Clock:
    """Called at the start of every forward pass; measures from the ``warmup``-th on."""

    def __init__(self, options: argparse.Namespace):
        self.warmup, self.steps, self.count = options.warmup, options.steps, 0
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.faults: list[int] = []

    def __call__(self) -> None:
        if self.count >= self.warmup:
            self.wall.append(time.perf_counter())
            self.cpu.append(time.process_time())
            self.faults.append(int(common.usage()["page_faults"]))
        self.count += 1

    def result(self, options: argparse.Namespace) -> dict[str, Any]:
        steps = len(self.wall) - 1
        seconds = (self.wall[-1] - self.wall[0]) / steps
        tokens = BATCH * LENGTH
        return {
            "tokens_per_second": round(tokens / seconds, 1),
            "fastest_step_tokens_per_second": round(tokens / float(np.diff(self.wall).min()), 1),
            "cpu_seconds_per_step": round((self.cpu[-1] - self.cpu[0]) / steps, 4),
            "page_faults_per_step": round((self.faults[-1] - self.faults[0]) / steps),
            "steps": steps,
            "peak_memory_mb": common.usage()["peak_memory_mb"],
        }


def flops_per_step(vocabulary: int, predictions: int) -> float:
    """Of the matrix products of a step, forward and backward, with output logits at ``predictions`` tokens."""
    tokens = BATCH * LENGTH
    layer = 4 * WIDTH * WIDTH + 2 * WIDTH * FFN + 2 * LENGTH * WIDTH
    return 6.0 * (tokens * LAYERS * layer + predictions * WIDTH * (vocabulary + WIDTH))


# --- sides -----------------------------------------------------------------------------------------------------------


def wordloom(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from wordloom.config import TrainConfig
    from wordloom.model import kernels
    from wordloom.objectives.pretraining import Pretraining
    from wordloom.run import Run
    from wordloom.train.loop import fit
    from wordloom.train.stream import CorruptedStream

    kernels.use_backend(options.kernels)
    torch.manual_seed(0)
    objective, model = _model(options.vocabulary)
    clock = Clock(options)

    class Timed(Pretraining):
        def loss(self, model: Any, batch: Any, state: Any) -> Any:
            clock()
            return super().loss(model, batch, state)

        def evaluate(self, model: Any) -> dict[str, float]:
            return {"loss": 0.0}

    steps = options.warmup + options.steps + 1
    stream = CorruptedStream(Rows(options.vocabulary, BATCH * steps), objective.corrupt, rows=BATCH, seed=0)
    config = TrainConfig(
        steps=steps, batch=BATCH, micro_batch=BATCH, length=LENGTH, lr=1e-4, precision=options.precision,
        threads=options.threads, compile=options.compile, evaluate_every=10 * steps, log_every=10 * steps,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", {}, "benchmark") as run:
        fit(Timed(objective, []), model, stream, config, run, quiet=True, tensorboard=False)
    result = clock.result(options)
    flops = flops_per_step(options.vocabulary, round(RATE * (LENGTH - 2)) * BATCH)
    return {**result, **_share(flops, result, options), "kernels": kernels.backend()}


def _model(vocabulary: int) -> tuple[Any, Any]:
    from wordloom.config import MaskedConfig
    from wordloom.model.architecture import Architecture
    from wordloom.model.model import Model
    from wordloom.model.transformer import Transformer
    from wordloom.objectives.masked import Masked

    arch = Architecture(vocab_size=vocabulary, width=WIDTH, layers=LAYERS, heads=HEADS, ffn_width=FFN)
    mask = SPECIAL.index("[MASK]")
    objective = Masked(MaskedConfig(rate=RATE), vocab_size=vocabulary, mask_id=mask, special_ids=range(len(SPECIAL)))
    return objective, Model(Transformer(arch), objective.heads(arch))


def trainer(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    words = SPECIAL + [f"w{i}" for i in range(options.vocabulary - len(SPECIAL))]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")),
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    steps = options.warmup + options.steps + 1
    rows = Rows(options.vocabulary, BATCH * steps).tokens
    marks = (rows < len(SPECIAL)).astype(np.int64)
    data = [
        {"input_ids": row.tolist(), "attention_mask": [1] * LENGTH, "special_tokens_mask": mark.tolist()}
        for row, mark in zip(rows, marks, strict=True)
    ]
    shape = dict(
        vocab_size=options.vocabulary, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=FFN, max_position_embeddings=512,
    )  # fmt: skip
    model = BertForMaskedLM(BertConfig(**shape))
    clock = Clock(options)
    model.register_forward_pre_hook(lambda *_: clock())
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=1e-4,
            weight_decay=0.01, max_grad_norm=1.0, optim="adamw_torch_fused", bf16=options.precision == "bfloat16",
            use_cpu=True, report_to="none", save_strategy="no", eval_strategy="no", logging_strategy="no",
            disable_tqdm=True, torch_compile=options.compile,
        )  # fmt: skip
        Trainer(
            model=model, args=arguments, train_dataset=data,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=RATE),
        ).train()  # fmt: skip
    result = clock.result(options)
    return {**result, **_share(flops_per_step(options.vocabulary, BATCH * LENGTH), result, options)}


def _share(flops: float, result: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """The products a side performs per second, against the better of torch's BLAS and oneDNN, measured right after."""
    peak = common.matmul_peak(options.threads)
    reached = flops / (BATCH * LENGTH) * result["tokens_per_second"] / 1e9
    return {"gflops": round(reached, 1), "peak_gflops": peak["best"], "share_of_peak": round(reached / peak["best"], 3)}


def share(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a step of wordloom by kind of work, from the profiler, one thread's time on the main thread."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    from wordloom.train.machine import keep_freed_memory

    keep_freed_memory()
    objective, model = _model(options.vocabulary)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    rows = Rows(options.vocabulary, BATCH)
    batch = objective.corrupt(rows.batch(rows.order(0, BATCH)), np.random.default_rng(0), 0.0)

    def step() -> None:
        optimiser.zero_grad()
        terms, _ = objective.loss(model.train(), batch, None)
        (terms["masked"].sum / terms["masked"].count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    for _ in range(options.warmup):
        step()
    repeats = max(3, options.steps // 4)
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(repeats):
            step()
    total = (time.perf_counter() - start) / repeats * 1e3
    kinds: dict[str, float] = {}
    for event in found.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(n in event.key for n in names)), "everything else")
        kinds[kind] = kinds.get(kind, 0.0) + event.self_cpu_time_total / repeats / 1e3
    ordered = sorted(kinds.items(), key=lambda item: -item[1])
    return {
        "vocabulary": options.vocabulary,
        "milliseconds_per_step": round(total, 1),
        "by_kind": {k: {"ms": round(v, 1), "share": round(v / total, 3)} for k, v in ordered},
    }


KINDS = {  # kind of work -> parts of the profiler's names, the first match counts
    "matrix products": ("linear_pointwise", "::mm", "addmm", "bmm"),
    "attention": ("Attention", "scaled_dot"),
    "dropout, residual sum, norm": ("Dropout", "layer_norm", "bernoulli"),
    "loss over the vocabulary": ("CrossEntropy", "softmax", "nll"),
    "GELU": ("gelu",),
    "optimiser and clipping": ("adamw", "Adam", "norm", "foreach"),
    "embeddings": ("embedding", "index"),
    "copies and sums of gradients": ("copy_", "add", "fill_", "clone", "sum"),
}

if __name__ == "__main__":
    main()
