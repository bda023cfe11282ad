"""Training speed of the model families on the CPU: wordloom's loop against the usual way of training each.

    python benchmarks/families_speed.py [gpt2] [t5] [lstm] [--runs 3] [--threads 2] [--quick]

gpt2: 4 layers, 256 wide, vocabularies 8,192 and 50,257, against ``GPT2LMHeadModel`` in Hugging Face ``Trainer``.
t5: 4 + 4 layers, 256 wide, vocabulary 8,192, against ``T5ForConditionalGeneration`` in ``Trainer``; the peer is given
rows that were corrupted before the clock starts, ours corrupts as it trains.
Both: float32, AdamW, dropout 0.1, gradients clipped at 1, 32 rows of 128 tokens a step, one document a row,
Zipf tokens.
lstm: two layers of 650, tied, vocabulary 8,192, 20 streams of 35 tokens, dropout 0.2, SGD clipped at 0.25, against a
plain loop over ``torch.nn.LSTM`` and log-softmax as PyTorch's word-language-model example has it, on the same tokens
from the same initial weights. Our dropout masks are those of Gal & Ghahramani, one for all tokens; so that the losses
after the same tokens (mean of the last quarter of the steps) can be compared, one run of each side is without dropout
and at a fortieth of the rate.
The example's output bias is left out.
Each run is a fresh process, sides alternate, medians count. Writes benchmarks/results/families_speed.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import pretraining as bert

LAYERS, WIDTH, HEADS, FFN, LENGTH, BATCH = bert.LAYERS, bert.WIDTH, bert.HEADS, bert.FFN, bert.LENGTH, bert.BATCH
CASES = {"gpt2": (8192, 50257), "t5": (8192,), "lstm": (8192,)}
STREAMS, BPTT, HIDDEN, CLIP, RATE, CALM = 20, 35, 650, 0.25, 20.0, 0.5
SENTINELS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=" ".join(CASES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="timed steps of a run; lstm: four times as many")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one short run of each side; writes nothing")
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--vocabulary", type=int, default=8192, help=argparse.SUPPRESS)
    parser.add_argument("--dropout", type=float, default=0.2, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=RATE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        with contextlib.redirect_stdout(sys.stderr):
            result = SIDES[options.cases[0], options.side](options)
        print(json.dumps(result))
        return
    if options.quick:
        options.runs, options.steps, options.warmup = 1, 6, 2
    path = common.RESULTS / "families_speed.json"
    kept = json.loads(path.read_text("utf-8")).get("cases", {}) if path.exists() else {}
    for case in options.cases or CASES:
        for vocabulary in CASES[case]:
            kept[f"{case}, vocabulary {vocabulary}"] = compare(case, vocabulary, options)
    if not options.quick:
        facts = {"what": __doc__.split("\n")[0], "date": date.today().isoformat()}
        facts |= {"machine": common.machine(options.threads)}
        common.write("families_speed", {**facts, "batch": [BATCH, LENGTH], "cases": kept})


def compare(case: str, vocabulary: int, options: argparse.Namespace) -> dict[str, Any]:
    steps = options.steps * (4 if case == "lstm" else 1)
    shared = ["--vocabulary", vocabulary, "--steps", steps, "--warmup", options.warmup, "--threads", options.threads]
    sides: dict[str, list[object]] = {side: [case, "--side", side, *shared] for side in ("ours", "theirs")}
    found = common.alternating(__file__, sides, options.runs, options.threads)
    ours, theirs = found["ours"], found["theirs"]
    row = {
        "command": common.command(),
        "tokens_per_second": {side: round(common.median(r, "tokens_per_second")) for side, r in found.items()},
        "ratio_tokens_per_second": common.ratio(ours, theirs, "tokens_per_second"),
        "ratio_peak_memory": common.ratio(ours, theirs, "peak_memory_mb"),
        "runs": found,
    }
    if case == "lstm":
        # masks differ, weights do not; at the example's rate of 20 rounding grows a hundredfold in ten steps
        alike = {side: [*arguments, "--dropout", 0, "--rate", CALM] for side, arguments in sides.items()}
        without = {side: common.in_fresh_process(__file__, a, options.threads) for side, a in alike.items()}
        row["late_loss_without_dropout"] = {side: r["late_loss"] for side, r in without.items()}
    print(
        case,
        vocabulary,
        row["ratio_tokens_per_second"],
        row["ratio_peak_memory"],
        row.get("late_loss_without_dropout", ""),
    )
    return row


# --- wordloom --------------------------------------------------------------------------------------------------------


def train(
    options: argparse.Namespace, objective: Any, model: Any, stream: Any, losses: list | None = None, **settings: Any
) -> dict:
    """The loop over ``stream``, timed from forward pass to forward pass."""
    from wordloom.config import TrainConfig
    from wordloom.objectives.pretraining import Pretraining
    from wordloom.run import Run
    from wordloom.train.loop import fit

    clock = bert.Clock(options)

    class Timed(Pretraining):
        def loss(self, model: Any, batch: Any, state: Any) -> Any:
            clock()
            terms, state = super().loss(model, batch, state)
            if losses is not None:
                losses.extend(float(t.sum.detach()) / t.count for t in terms.values())
            return terms, state

        def evaluate(self, model: Any) -> dict[str, float]:
            return {"loss": 0.0}

    steps = options.warmup + options.steps + 1
    values = {"batch": BATCH, "micro_batch": BATCH, "length": LENGTH, "lr": 1e-4, **settings}
    values |= {
        "precision": "float32",
        "threads": options.threads,
        "evaluate_every": 10 * steps,
        "log_every": 10 * steps,
    }
    config = TrainConfig(steps=steps, **values)
    with tempfile.TemporaryDirectory() as folder, Run.create(Path(folder) / "run", {}, "benchmark") as run:
        fit(Timed(objective, []), model, stream, config, run, quiet=True, tensorboard=False)
    return clock.result(options)


def corrupted(options: argparse.Namespace, objective: Any) -> Any:
    from wordloom.train.stream import CorruptedStream

    rows = bert.Rows(options.vocabulary, BATCH * (options.warmup + options.steps + 1))
    return CorruptedStream(rows, objective.corrupt, rows=BATCH, seed=0)


def our_gpt2(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from wordloom import presets
    from wordloom.config import CausalConfig
    from wordloom.model.build import make_body
    from wordloom.model.model import Model
    from wordloom.objectives.causal import Causal

    torch.manual_seed(0)
    arch = presets.architecture("gpt2-mini", options.vocabulary, dropout=0.1, attention_dropout=0.1)
    objective = Causal(CausalConfig())
    return train(options, objective, Model(make_body(arch), objective.heads(arch)), corrupted(options, objective))


def spans(vocabulary: int) -> Any:
    from wordloom.config import SpansConfig
    from wordloom.objectives.spans import Spans

    sentinels = list(range(vocabulary, vocabulary + SENTINELS))
    return Spans(SpansConfig(), sentinels=sentinels, frame=[2, 3], eos_id=3, start_id=0)


def our_t5(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from wordloom import presets
    from wordloom.model.build import make_body
    from wordloom.model.model import Model

    torch.manual_seed(0)
    arch = presets.architecture("t5-mini", options.vocabulary + SENTINELS, dropout=0.1, attention_dropout=0.1)
    objective = spans(options.vocabulary)
    return train(options, objective, Model(make_body(arch), objective.heads(arch)), corrupted(options, objective))


# --- Hugging Face ----------------------------------------------------------------------------------------------------


def trainer(options: argparse.Namespace, model: Any, data: list[dict[str, Any]], collate: Any) -> dict[str, Any]:
    import torch
    from transformers import Trainer, TrainingArguments

    torch.set_num_threads(options.threads)
    clock = bert.Clock(options)
    model.register_forward_pre_hook(lambda *_: clock())
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=options.warmup + options.steps + 1, per_device_train_batch_size=BATCH,
            learning_rate=1e-4, weight_decay=0.01, max_grad_norm=1.0, optim="adamw_torch_fused", use_cpu=True,
            report_to="none", save_strategy="no", eval_strategy="no", logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate).train()
    return clock.result(options)


def their_gpt2(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    rows = bert.Rows(options.vocabulary, BATCH * (options.warmup + options.steps + 1)).tokens
    config = GPT2Config(
        vocab_size=options.vocabulary, n_positions=512, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=FFN
    )

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        tokens = torch.tensor([row["input_ids"] for row in rows])
        return {"input_ids": tokens, "labels": tokens}

    return trainer(options, GPT2LMHeadModel(config), [{"input_ids": row.tolist()} for row in rows], collate)


def their_t5(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    objective = spans(options.vocabulary)
    rows = bert.Rows(options.vocabulary, BATCH * (options.warmup + options.steps + 1))
    data = []
    for start in range(0, len(rows.tokens), BATCH):
        batch = objective.corrupt(rows.batch(rows.order(start, BATCH)), np.random.default_rng(start), 0.0)
        labels = batch.targets["spans"]
        data += [
            {"input_ids": s, "labels": t} for s, t in zip(batch.source.tokens.tolist(), labels.tolist(), strict=True)
        ]
    config = T5Config(
        vocab_size=options.vocabulary + SENTINELS, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=FFN, num_layers=LAYERS,
        num_decoder_layers=LAYERS, num_heads=HEADS, dropout_rate=0.1, decoder_start_token_id=0,
    )  # fmt: skip

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {key: torch.tensor([row[key] for row in rows]) for key in ("input_ids", "labels")}

    return trainer(options, T5ForConditionalGeneration(config), data, collate)


# --- recurrent -------------------------------------------------------------------------------------------------------


def text(options: argparse.Namespace) -> np.ndarray:
    """(STREAMS, steps * BPTT + 1) tokens of a second-order Markov text, so that there is something to learn."""
    steps = options.warmup + options.steps + 1
    rng = np.random.default_rng(0)
    draws = rng.zipf(1.3, size=(STREAMS, steps * BPTT + 1)) % (options.vocabulary - 5)
    same = rng.random(draws.shape) < 0.5
    draws[:, 2:][same[:, 2:]] = (draws[:, :-2][same[:, 2:]] * 7 + 1) % (options.vocabulary - 5)
    return draws.astype(np.int64) + 5


class Streams:
    """Batches of the same streams, as ``data.contiguous`` gives them."""

    def __init__(self, options: argparse.Namespace):
        self.tokens, self.steps_per_epoch = text(options), options.warmup + options.steps + 1

    def step(self, step: int, parts: int) -> list[Any]:
        import torch

        from wordloom.data.batch import Batch

        at = step * BPTT
        tokens = torch.from_numpy(self.tokens[:, at : at + BPTT])
        following = torch.from_numpy(self.tokens[:, at + 1 : at + BPTT + 1])
        positions = torch.arange(BPTT).expand_as(tokens).contiguous()
        return [Batch(tokens=tokens, documents=torch.ones_like(tokens), positions=positions,
                      types=torch.zeros_like(tokens), targets={"causal": following}, continues=True)]  # fmt: skip


def recurrent(options: argparse.Namespace) -> tuple[Any, Any]:
    import torch

    from wordloom.config import CausalConfig
    from wordloom.model.build import make_body
    from wordloom.model.model import Model
    from wordloom.model.recurrent import RecurrentArchitecture
    from wordloom.objectives.causal import Causal

    torch.manual_seed(0)
    dropouts = dict.fromkeys(("dropout_input", "dropout_hidden", "dropout_output"), options.dropout)
    arch = RecurrentArchitecture(vocab_size=options.vocabulary, width=HIDDEN, layers=2, **dropouts)
    objective = Causal(CausalConfig(documents="streams"))
    return objective, Model(make_body(arch), objective.heads(arch))


def our_lstm(options: argparse.Namespace) -> dict[str, Any]:
    objective, model = recurrent(options)
    losses: list[float] = []
    how = {"optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": options.rate, "schedule": "constant",
           "warmup": 0.0, "clip": CLIP, "batch": STREAMS, "micro_batch": STREAMS, "length": BPTT}  # fmt: skip
    result = train(options, objective, model, Streams(options), losses, **how)
    return per_stream(result, losses)


def their_lstm(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(options.threads)
    _, ours = recurrent(options)

    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(options.dropout)
            self.table = nn.Embedding(options.vocabulary, HIDDEN)
            self.cells = nn.LSTM(HIDDEN, HIDDEN, 2, dropout=options.dropout)
            self.out = nn.Linear(HIDDEN, options.vocabulary, bias=False)
            self.out.weight = self.table.weight

        def forward(self, tokens: Any, state: Any) -> tuple[Any, Any]:
            hidden, state = self.cells(self.drop(self.table(tokens)), state)
            logits = self.out(self.drop(hidden)).view(-1, options.vocabulary)
            return functional.log_softmax(logits, dim=1), state

    model = Language()
    copy_weights(ours, model)
    streams, clock, losses, state = Streams(options), bert.Clock(options), [], None
    model.train()
    for step in range(streams.steps_per_epoch):
        (batch,) = streams.step(step, 1)
        clock()
        model.zero_grad()
        scores, state = model(batch.tokens.t(), state)
        loss = functional.nll_loss(scores, batch.targets["causal"].t().reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for parameter in model.parameters():
            parameter.data.add_(parameter.grad, alpha=-options.rate)
        state = tuple(s.detach() for s in state)
        losses.append(loss.item())
    return per_stream(clock.result(options), losses)


def copy_weights(ours: Any, theirs: Any) -> None:
    """Ours into the plain model."""
    import torch

    with torch.no_grad():
        theirs.table.weight.copy_(ours.token_embedding)
        own = dict(theirs.cells.named_parameters())
        for name, value in ours.body.named_parameters():
            layer, _, kind = name.removeprefix("layers.").partition(".cell.")
            if kind:
                own.pop(kind.replace("_l0", f"_l{layer}")).copy_(value)
    if own:
        sys.exit(f"not copied: {sorted(own)}")


def per_stream(result: dict[str, Any], losses: list[float]) -> dict[str, Any]:
    """The clock speaks of BATCH x LENGTH tokens a step; here there are STREAMS x BPTT."""
    scale = STREAMS * BPTT / (BATCH * LENGTH)
    for key in ("tokens_per_second", "fastest_step_tokens_per_second"):
        result[key] = round(result[key] * scale, 1)
    return {**result, "late_loss": round(float(np.mean(losses[-len(losses) // 4 :])), 4)}


SIDES = {
    ("gpt2", "ours"): our_gpt2, ("gpt2", "theirs"): their_gpt2,
    ("t5", "ours"): our_t5, ("t5", "theirs"): their_t5,
    ("lstm", "ours"): our_lstm, ("lstm", "theirs"): their_lstm,
}  # fmt: skip

if __name__ == "__main__":
    main()
