"""How long a bundle takes to answer, and in how much memory: measured in a process of its own.

``python -m wordloom.api.clock BUNDLE TEXTS.json`` prints one JSON object; TEXTS.json holds {"texts": [...], "pairs":
[...] or null}. The process does nothing else, so the peak of its memory is that of the program and the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from wordloom.errors import RunError

BATCH, ALONE, PASSES = 256, 16, 7  # texts answered together; texts answered one by one; times each
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
ENOUGH = 30.0  # seconds after which no further pass is begun


def measure_bundle(bundle: Path, texts: Path) -> dict[str, Any]:
    """microseconds a text in a batch, alone by itself (medians), memory in bytes or None.

    On one core: a second helps a large model a little, and where others use the machine its threads wait for each
    other (one BERT took 2.9 ms a text in one process and 13 ms in the next).
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "wordloom.api.clock", str(bundle), str(texts)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"the process that measures it ended early ({last})", where=bundle, cure="free some memory")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _main(bundle: str, texts: str) -> None:
    import torch

    from wordloom.api.loading import load
    from wordloom.train.machine import status_bytes

    torch.set_num_threads(1)
    values = json.loads(Path(texts).read_text(encoding="utf-8"))
    first, second = values["texts"], values["pairs"]
    predictor = load(bundle)

    def ask(start: int, stop: int) -> None:
        predictor.predict_proba(first[start:stop], None if second is None else second[start:stop])

    def one_by_one() -> None:
        for i in range(few):
            ask(i, i + 1)

    few = min(ALONE, len(first))
    together = _passes(lambda: ask(0, len(first)), len(first))
    alone = _passes(one_by_one, few)
    print(json.dumps({"microseconds": together, "alone": alone, "memory": status_bytes("VmHWM")}))


def _passes(work: Callable[[], object], texts: int) -> float:
    """Median microseconds a text; the first pass, which loads and compiles, does not count."""
    begun = time.perf_counter()
    work()
    seconds: list[float] = []
    while len(seconds) < PASSES and (len(seconds) < 2 or time.perf_counter() - begun < ENOUGH):
        at = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - at)
    return 1e6 * median(seconds) / texts


def sample(texts: Sequence[str], pairs: Sequence[str] | None) -> dict[str, Any]:
    """BATCH texts evenly spread over all."""
    step = max(1, len(texts) / BATCH)
    chosen = [int(i * step) for i in range(min(BATCH, len(texts)))]
    return {"texts": [texts[i] for i in chosen], "pairs": None if pairs is None else [pairs[i] for i in chosen]}


if __name__ == "__main__":
    _main(*sys.argv[1:])
