"""Tokens a second on the CPU: wordloom against transformers ``generate``, the same weights, the same text.

    taskset -c 1 chrt -r 1 python benchmarks/generation.py [--quick] [--runs 5] [--threads 1] [--sizes 2M,10M,30M]
    taskset -c 1 chrt -r 1 python benchmarks/generation.py --family t5           (and transformer)

Both sides open one folder, a GPT-2, a T5 or a Transformer of 2017 (Marian there) of random weights (scaled so that
the likeliest token is clear), read a prompt of 32 tokens and write 256: greedy, one text at a time; in addition
batches of 16 and 4 beams. transformers runs ``generate(use_cache=True)`` in evaluation mode, its attention as it
chooses it, no end token; ours is `infer.decode.generate`. Fresh processes, sides alternate, medians count; loading,
compiling and one warm-up answer are not timed, reading the prompt is. The ids of both sides must be equal. Sizes and
kinds that are not asked for are kept as they were measured.

int8: our greedy text with int8 weights (`model.int8`) against our own with float32, and how often both choose the same
token, each asked after the float32 text; of random weights, and of a trained one with --run RUN: 20 held-out beginnings
of 32 tokens, each gone on with 64.

The bound: a token needs every weight once (the table of positions aside, one row of which is read), so tokens a second
are at most the memory bandwidth, measured in our process right after, over the bytes of the weights. What fits into the
last cache can exceed it.
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

PROMPT, NEW = 32, 256
VOCABULARY = 8192
SIZES = {  # layers, width; an encoder-decoder has as many layers on each side
    "gpt2": {"2M": (4, 128), "10M": (4, 384), "30M": (8, 512)},
    "t5": {"2M": (2, 128), "10M": (2, 320), "30M": (3, 512)},
    "transformer": {"2M": (2, 128), "10M": (2, 320), "30M": (3, 512)},
}
TARGETS = {"2M": 5.0, "10M": 2.0, "30M": 1.3}
SHARE = 0.7  # of the bound, at 10M and 30M
KINDS = {"greedy": (1, 1), "batch 16": (16, 1), "4 beams": (1, 4), "int8": (1, 1)}  # rows, beams
SIDES = ("wordloom", "transformers")
INT8_SIDES = ("int8", "wordloom")
BEGINNINGS, GOES_ON = 20, 64  # of a trained run, for the agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--family", choices=SIZES, default="gpt2")
    parser.add_argument("--sizes", default=",".join(TARGETS))
    parser.add_argument("--kinds", help=f"default: {', '.join(KINDS)}; of encoder-decoders greedy and 4 beams")
    parser.add_argument("--run", help="a trained causal run, on which the agreement of int8 is measured too")
    parser.add_argument("--quick", action="store_true", help="one short run of each side; writes nothing")
    for name, kind in dict(side=str, folder=Path, size=str, kind=str, new=int).items():
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)  # of one side, in its own process
    options = parser.parse_args()
    options.kinds = options.kinds or ",".join(KINDS if options.family == "gpt2" else ("greedy", "4 beams"))
    if options.side:
        with contextlib.redirect_stdout(sys.stderr):
            sides = {"prepare": prepare, "wordloom": wordloom, "transformers": peer, "int8": wordloom}
            result = sides[options.side](options)
        print(json.dumps(result))
        return
    if options.quick:
        options.runs, options.new = 1, 32
    result = compare(options)
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))
    if not options.quick:
        name = "generation" if options.family == "gpt2" else f"generation_{options.family}"
        path = common.RESULTS / f"{name}.json"
        kept = json.loads(path.read_text("utf-8"))["sizes"] if path.exists() else {}
        for size, found in result["sizes"].items():
            kept[size] = {**kept.get(size, {}), **found}
        common.write(name, {**result, "sizes": {size: kept[size] for size in TARGETS if size in kept}})


def compare(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "what": __doc__.split("\n")[0], "date": date.today().isoformat(),
        "machine": common.machine(options.threads), "prompt": PROMPT, "new_tokens": options.new or NEW, "sizes": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        for size in options.sizes.split(","):
            shared: list[object] = [f"--folder={temporary}/{size}", f"--size={size}", f"--threads={options.threads}"]
            shared += [f"--new={options.new or NEW}", f"--family={options.family}"]
            facts = common.in_fresh_process(__file__, ["--side=prepare", *shared], options.threads)
            kinds: dict[str, Any] = {}
            for kind in options.kinds.split(","):
                names = INT8_SIDES if kind == "int8" else SIDES
                sides: dict[str, list[object]] = {s: [f"--side={s}", *shared, f"--kind={kind}"] for s in names}
                runs = common.alternating(__file__, sides, options.runs, options.threads)
                kinds[kind] = {
                    **summary(size, kind, runs, options.family),
                    "command": common.command(),
                    "conditions": conditions(),
                }
            found["sizes"][size] = {**facts, **kinds}
    if options.run is not None:
        found["agreement_of_a_trained_run"] = agreement_of_run(options.run)
    return found


def conditions() -> dict[str, Any]:
    """How the processes were placed, and what else the machine had to do (its load over the last minute)."""
    real_time = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
    return {"cores": sorted(os.sched_getaffinity(0)), "real_time": real_time, "load": round(os.getloadavg()[0], 2)}


def summary(size: str, kind: str, runs: dict[str, list[dict[str, Any]]], family: str) -> dict[str, Any]:
    key = "tokens_per_second"
    if kind == "int8":
        speeds: dict[str, Any] = {name: round(common.median(found, key), 1) for name, found in runs.items()}
        speeds["ratio"] = common.ratio(runs["int8"], runs["wordloom"], key)
        return {**speeds, "agreement": runs["int8"][0]["agreement"], "runs": runs}
    digests = {run["ids_sha256"] for found in runs.values() for run in found}
    if len(digests) != 1:
        sys.exit(f"the sides wrote different texts at {size}, {kind}: {digests}")
    result: dict[str, Any] = {name: round(common.median(found, key), 1) for name, found in runs.items()}
    result["ratio"] = common.ratio(runs["wordloom"], runs["transformers"], key)
    if kind == "greedy" or (family != "gpt2" and kind == "4 beams"):
        result["target"] = {"at_least": TARGETS[size], "reached": result["ratio"]["of_medians"] >= TARGETS[size]}
    if kind == "greedy" and family == "gpt2":
        result["share_of_bound"] = round(common.median(runs["wordloom"], "share_of_bound"), 3)
        if size != "2M":
            result["target"] |= {"share_of_bound": SHARE, "bound_reached": result["share_of_bound"] >= SHARE}
    return {**result, "runs": runs}


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Write the folder that both sides open."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, width = SIZES[options.family][options.size]
    # With seed 0 two words of the Transformer of 10M stand 4e-7 apart, which no float32 tells: the texts part there.
    torch.manual_seed(1 if options.family == "transformer" else 0)
    if options.family != "gpt2":
        make = _prepare_t5 if options.family == "t5" else _prepare_transformer
        return {"layers": layers, "width": width, **make(options.folder, layers, width)}
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=width, n_layer=layers, n_head=width // 64, bos_token_id=0, eos_token_id=0,
        initializer_range=0.1,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    model.save_pretrained(options.folder)
    parameters = sum(p.numel() for p in model.parameters())
    read = 4 * (parameters - model.transformer.wpe.weight.numel())
    return {"layers": layers, "width": width, "vocabulary": VOCABULARY, "parameters": parameters, "bytes_read": read}


def _prepare_t5(folder: Path, layers: int, width: int) -> dict[str, Any]:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY, d_model=width, d_kv=64, d_ff=2 * width, num_layers=layers, num_heads=width // 64,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    # With the table as its output, which is what transformers begins with all the same, it repeats the start token
    model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, width))
    model.save_pretrained(folder)
    return {"vocabulary": VOCABULARY, "parameters": sum(p.numel() for p in model.parameters())}


def _prepare_transformer(folder: Path, layers: int, width: int) -> dict[str, Any]:
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=VOCABULARY, d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=width // 64, decoder_attention_heads=width // 64, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width, max_position_embeddings=512, activation_function="relu", scale_embedding=True,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=None, init_std=0.1,
    )  # fmt: skip
    model = MarianMTModel(config)
    for layer in model.model.decoder.layers:
        layer.fc2.weight.data *= 16  # else a token's own row of the tied table is its likeliest successor
    model.save_pretrained(folder)
    return {"vocabulary": VOCABULARY, "parameters": sum(p.numel() for p in model.parameters())}


def prompts(options: argparse.Namespace) -> list[list[int]]:
    import torch

    generator = torch.Generator().manual_seed(1)
    rows = KINDS[options.kind][0]
    return torch.randint(2, VOCABULARY, (rows, PROMPT), generator=generator).tolist()


def result_of(ids: list[list[int]], seconds: float) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
    tokens = sum(map(len, ids))
    return {"tokens_per_second": round(tokens / seconds, 1), "ids_sha256": digest, **common.usage()}


def bandwidth(threads: int) -> float:
    """Bytes a second at which 256 MB are read: the best of torch's sum and dot product."""
    import torch

    torch.set_num_threads(threads)
    x = torch.ones(1 << 26)
    seconds = []
    for work in (x.sum, lambda: torch.dot(x, x)):
        for _ in range(6):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
    return 4 * x.numel() / min(seconds)


def wordloom(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from wordloom.infer.decode import generate
    from wordloom.infer.sampling import Decoding
    from wordloom.infer.steppers import make_stepper
    from wordloom.model.build import make_body
    from wordloom.model.heads import CausalHead
    from wordloom.model.interop import apply_states, load_hf
    from wordloom.model.model import Model

    torch.set_num_threads(options.threads)
    loaded = load_hf(options.folder, ("causal",))
    model = Model(make_body(loaded.arch), {"causal": CausalHead(loaded.arch)}).eval()
    apply_states(model, loaded.states)
    texts, beams = prompts(options), KINDS[options.kind][1]
    int8 = options.side == "int8"
    stepper = make_stepper(model, int8=int8)  # one, as for many prompts: weights are made int8 once
    generate(stepper, texts, Decoding(max_tokens=8, beams=beams))
    begun = time.perf_counter()
    answers = generate(stepper, texts, Decoding(max_tokens=options.new, beams=beams))
    seconds = time.perf_counter() - begun
    found = result_of([list(a.ids) for (a,) in answers], seconds)
    if int8:
        same, asked = agreement(model, texts[0], options.new)
        return {**found, "agreement": round(same / asked, 4)}
    if options.family != "gpt2":
        return found
    speed = bandwidth(options.threads)  # after the peak of memory was read
    positions = model.body.embeddings.positions.weight.numel()
    read = 4 * (sum(p.numel() for p in model.parameters()) - positions)
    share = found["tokens_per_second"] / len(texts) * read / speed
    return {**found, "bandwidth_gb": round(speed / 1e9, 1), "share_of_bound": round(share, 3)}


def agreement(model: Any, ids: list[int], new: int) -> tuple[int, int]:
    """Of the tokens of the greedy float32 text, how many int8 weights choose too, each after the same text; how many
    there are."""
    import torch

    from wordloom.infer.decode import generate
    from wordloom.infer.sampling import Decoding
    from wordloom.infer.steppers import make_stepper

    (answer,) = generate(make_stepper(model), [ids], Decoding(max_tokens=new))[0]
    stepper, same = make_stepper(model, int8=True), 0
    _, state = stepper.begin([ids], new)
    for token, following in zip(answer.ids, answer.ids[1:], strict=False):
        logits, state = stepper.step(torch.tensor([token]), state)
        same += int(logits.argmax()) == following
    return same, len(answer.ids) - 1


def agreement_of_run(run: str) -> dict[str, Any]:
    from wordloom import api
    from wordloom.data.store import TokenStore

    loaded = api.language_model(run)
    held_out = TokenStore.open(Path(run) / "store" / "valid").tokens
    step = (len(held_out) - PROMPT) // BEGINNINGS
    pairs = []
    for i in range(BEGINNINGS):
        ids = [int(token) for token in held_out[i * step : i * step + PROMPT]]
        pairs.append(agreement(loaded.model, [*([] if loaded.start_id is None else [loaded.start_id]), *ids], GOES_ON))
    same, asked = (sum(part) for part in zip(*pairs, strict=True))
    return {"run": Path(run).name, "tokens": asked, "agreement": round(same / asked, 4)}


def peer(options: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import GPT2LMHeadModel, MarianMTModel, T5ForConditionalGeneration

    torch.set_num_threads(options.threads)
    kinds = {"gpt2": GPT2LMHeadModel, "t5": T5ForConditionalGeneration, "transformer": MarianMTModel}
    model = kinds[options.family].from_pretrained(options.folder, dtype=torch.float32).eval()
    x = torch.tensor(prompts(options))
    model.generation_config.eos_token_id = None
    model.generation_config.bad_words_ids = None  # Marian's: never the padding
    settings: dict[str, Any] = dict(
        attention_mask=torch.ones_like(x),
        do_sample=False,
        use_cache=True,
        num_beams=KINDS[options.kind][1],
        pad_token_id=0,
    )
    model.generate(x, max_new_tokens=8, **settings)
    begun = time.perf_counter()
    found = model.generate(x, max_new_tokens=options.new, **settings)
    seconds = time.perf_counter() - begun
    written = found[:, PROMPT if options.family == "gpt2" else 1 :]  # after the prompt, or the start token
    return {**result_of(written.tolist(), seconds), "attention": model.config._attn_implementation}


if __name__ == "__main__":
    main()
