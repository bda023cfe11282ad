"""What does position encoding do? One small causal model and budget, each encoding, at the trained length and beyond.

    python benchmarks/positions.py [--layers 2] [--steps 2000] [--length 128] [--seeds 1] [--folder runs/positions]

The row gpt2-tiny (width 128) with ``position`` replaced is trained on baby10m at ``length`` T, then reads held-out
text: windows of 4T + 1 tokens, each from one document, cut into four rows of T predictions, two of 2T, or left whole as
one of 4T. So the same tokens are predicted at every length; only what stands before them differs, and a difference is
not one of text. Intervals are bootstraps over the windows; over seeds the range is given.

Training reads the documents as one stream cut anywhere (objective.documents = "streams"), as was done for GPT-2 and
ALiBi. Where every row begins with a start token, relative encodings come to rest on it (docs/LOG.md), and fail
beyond T for want of it and not of places.

Tables are made for 4T positions where the encoding has one. The sinusoids are a formula and are there for all; of the
learned table the rows beyond T are never trained and stay as initialised: that they fail is what the figure says.
Sinusoids have values up to 1, so with them the token embeddings are multiplied by sqrt(D) (Vaswani et al. 2017, section
3.4); nothing else differs between the arms. A finished arm in ``folder`` is not trained again.
Writes benchmarks/results/positions.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any, get_args

import _common as common
import numpy as np

DATA = Path(os.environ.get("WORDLOOM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CORPUS = DATA / "pretrain" / "baby10m.txt.gz"
ENCODINGS = ("none", "learned", "sinusoidal", "rotary", "alibi", "t5", "xl")
FACTORS = (1, 2, 4)
WINDOWS = 256  # some 130,000 predictions at T = 128
TOKENS = 4096  # read together when measuring
PRESET = "gpt2-tiny"
DOCUMENTS = "streams"


def prepare(options: argparse.Namespace) -> None:
    """The tokenizer and the token stores, made once for all arms."""
    from wordloom import presets
    from wordloom.config import CorpusConfig, TokenizerConfig
    from wordloom.data.corpus import Corpus
    from wordloom.data.store import build_stores
    from wordloom.text.tokenizer import Tokenizer

    folder = options.folder
    if (folder / "store" / "valid").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    defaults = presets.preset(PRESET).defaults
    kind = {k.partition(".")[2]: v for k, v in defaults.items() if k.startswith("tokenizer.")}
    config = TokenizerConfig(vocab_size=options.vocabulary, **kind)
    corpus = CorpusConfig(paths=(str(options.corpus),), valid_fraction=0.03)
    tokenizer = Tokenizer.train((d.text for d in Corpus(corpus)), config)
    tokenizer.save(folder / "tokenizer")
    build_stores(Corpus(corpus), tokenizer, folder / "store" / "train", folder / "store" / "valid", 0.03)


def arm(options: argparse.Namespace, position: str, seed: int) -> dict[str, Any]:
    """Train one model, or find it trained, and measure it. One entry of the result."""
    from wordloom.data.store import TokenStore
    from wordloom.text.tokenizer import Tokenizer

    path = options.folder / f"{position}-{seed}"
    settings = {k: getattr(options, k) for k in ("layers", "steps", "length", "batch", "vocabulary", "windows")}
    settings |= {"corpus": options.corpus.name, "documents": DOCUMENTS}
    if (path / "scores.json").exists():
        kept = json.loads((path / "scores.json").read_text("utf-8"))
        if kept["settings"] == settings:
            return dict(kept)
        sys.exit(f"{path} holds an arm of {kept['settings']}. Name another --folder, or remove it.")
    tokenizer = Tokenizer.load(options.folder / "tokenizer")
    train, valid = (TokenStore.open(options.folder / "store" / part) for part in ("train", "valid"))
    return {"settings": settings, **_train(options, position, seed, path, tokenizer, train, valid, settings)}


def _train(
    options: argparse.Namespace, position: str, seed: int, path: Path, tokenizer: Any, train: Any, valid: Any,
    settings: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    import torch

    from wordloom import presets
    from wordloom.api.held_out import BATCH, held_out_rows
    from wordloom.api.objectives import make_layout
    from wordloom.api.pretraining import DEFAULTS, MUON, layers_of
    from wordloom.config import CausalConfig, TrainConfig
    from wordloom.model.build import make_body
    from wordloom.model.model import Model
    from wordloom.objectives.causal import Causal
    from wordloom.objectives.pretraining import Pretraining
    from wordloom.run import Run
    from wordloom.train.loop import fit
    from wordloom.train.stream import CorruptedStream

    given = {k.partition(".")[2]: v for k, v in {**DEFAULTS, **MUON}.items() if k.startswith("train.")}
    given |= {"steps": options.steps, "batch": options.batch, "length": options.length, "seed": seed}
    given |= {"threads": options.threads, "evaluate_every": max(1, options.steps // 4)}
    config = TrainConfig(**{k: v for k, v in given.items() if k != "epochs"})
    values = {"layers": options.layers, "position": position, "max_positions": 4 * options.length}
    values |= {"dropout": 0.0, "attention_dropout": 0.0, "embedding_scale": position == "sinusoidal"}
    arch = dataclasses.replace(presets.architecture(PRESET, tokenizer.vocab_size, **values), pad_id=tokenizer.pad_id)
    objective = Causal(CausalConfig(documents=DOCUMENTS))
    layout, held_out = (
        make_layout(store, tokenizer, config, objective.config, streams=rows)
        for store, rows in ((train, config.batch), (valid, BATCH))
    )
    torch.manual_seed(seed)
    model = Model(make_body(arch), objective.heads(arch))
    stream = CorruptedStream(layout, objective.corrupt, rows=config.batch, seed=seed)
    job = Pretraining(objective, held_out_rows(held_out, objective))
    with Run.create(path, {"train": config.model_dump(exclude_none=True)}, "pretrain", overwrite=True) as run:
        outcome = fit(job, model, stream, config, run, layers=layers_of(model), quiet=True, tensorboard=False)
        found = {
            "settings": settings,
            "parameters": sum(p.numel() for p in model.parameters()),
            "held_out_loss": outcome.scores["loss"],
            "seconds": round(outcome.seconds, 1),
            **measure(model, windows(valid, options.length, options.windows)),
        }
        run.write_scores(found)
        run.finish()
    return found


def windows(store: Any, length: int, count: int) -> np.ndarray:
    """(W, 4T + 1) tokens, each row from one document; the first ``count`` that the store has."""
    width = FACTORS[-1] * length + 1
    found = []
    for a, b in zip(store.starts[:-1], store.starts[1:], strict=True):
        its = store.tokens[a : a + (b - a) // width * width]
        found += [*np.asarray(its, np.int64).reshape(-1, width)]
        if len(found) >= count:
            break
    if not found:
        sys.exit(f"no held-out document has {width} tokens. Lower --length.")
    return np.stack(found[:count])


def measure(model: Any, text: np.ndarray) -> dict[str, Any]:
    """Losses in nats per token at each length, with intervals over the windows; ``against_1x``: the difference that
    the longer row makes to the same tokens; ``beyond``: of the tokens that stand at positions never trained alone."""
    from wordloom.metrics import bootstrap, interval

    trained = (text.shape[1] - 1) // FACTORS[-1]  # T
    each = {f: negative_log_p(model, rows_of(text, f * trained)).reshape(len(text), -1) for f in FACTORS}  # (W, 4T)

    def mean(values: np.ndarray) -> list[float]:
        by_window = values.mean(1)
        low, high = interval(bootstrap(lambda w: w @ by_window / w.sum(1), len(by_window)))
        return [round(float(v), 4) for v in (by_window.mean(), low, high)]

    found: dict[str, Any] = {"windows": len(text), "tokens": int(each[1].size)}
    for f, losses in each.items():
        beyond = np.arange(losses.shape[1]) % (f * trained) >= trained
        found[f"{f}x"] = {"loss": mean(losses)}
        if f > 1:
            found[f"{f}x"] |= {"against_1x": mean(losses - each[1]), "beyond": mean(losses[:, beyond])}
    return found


def rows_of(text: np.ndarray, length: int) -> np.ndarray:
    """(W, n + 1) tokens -> (W n / length, length + 1): ``length`` predictions and the token before the first."""
    starts = range(0, text.shape[1] - 1, length)
    return np.stack([text[:, a : a + length + 1] for a in starts], axis=1).reshape(-1, length + 1)


def negative_log_p(model: Any, rows: np.ndarray) -> np.ndarray:
    """rows (R, n + 1) -> (R, n) nats of each token but the first after those before it."""
    import torch

    device = model.token_embedding.device
    model.eval()
    found = []
    with torch.inference_mode():
        for some in torch.from_numpy(rows).to(device).split(max(1, TOKENS // rows.shape[1])):
            tokens, targets = some[:, :-1], some[:, 1:]  # (B, n)
            places = torch.arange(tokens.shape[1], device=device).expand_as(tokens)
            hidden = model.body(tokens, torch.ones_like(tokens), places, torch.zeros_like(tokens))  # (B, n, D)
            logits = model.heads["causal"](hidden, model.token_embedding).float()  # (B, n, V)
            losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            found.append(losses.view(targets.shape))
    return torch.cat(found).double().cpu().numpy()


def lines(arms: dict[str, list[dict[str, Any]]], length: int) -> list[str]:
    """The table: means over seeds, and their range where there are several."""

    def over(runs: list[dict[str, Any]], factor: int, key: str = "loss") -> str:
        values = [run[f"{factor}x"][key][0] for run in runs]
        text = f"{np.mean(values):.3f}"
        if len(values) > 1:
            return f"{text} ({min(values):.3f} to {max(values):.3f})"
        low, high = runs[0][f"{factor}x"][key][1:]
        return f"{text} [{low:.3f}, {high:.3f}]"

    head = ["position", f"loss at {length}", f"at {2 * length}", f"at {4 * length}", f"{4 * length} less {length}"]
    rows = [head]
    for name, runs in arms.items():
        rows.append([name, *(over(runs, f) for f in FACTORS), over(runs, FACTORS[-1], "against_1x")])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    found = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if "learned" in arms:
        found.append(f"learned: the table's rows beyond {length} were never trained")
    return found


def main() -> None:
    from wordloom.model.architecture import Position

    known = [name for name in ENCODINGS if name in get_args(Position)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/positions"))
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--encodings", nargs="+", default=known, choices=known)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a few steps in a temporary folder; writes nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.quick:
            options.folder, options.steps, options.length, options.windows = Path(temporary), 4, 16, 16
            options.vocabulary, options.batch = 512, 8
        prepare(options)
        arms: dict[str, list[dict[str, Any]]] = {}
        for position in options.encodings:
            arms[position] = [arm(options, position, seed) for seed in range(options.seeds)]
            print(f"{position}: {json.dumps(arms[position])}", file=sys.stderr, flush=True)
    print("\n".join(lines(arms, options.length)))
    if not options.quick:
        facts = {"what": __doc__.split("\n")[0], "date": date.today().isoformat(), "command": common.command()}
        facts |= {"length": options.length, "steps": options.steps}
        print(common.write("positions", {**facts, "machine": common.machine(options.threads), "arms": arms}))


if __name__ == "__main__":
    main()
