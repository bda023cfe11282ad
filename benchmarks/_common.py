"""What the benchmarks share: facts of the machine, runs that alternate in fresh processes, medians, JSON."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "wordloom",
    "torch",
    "numpy",
    "numba",
    "transformers",
    "accelerate",
    "tokenizers",
    "datasets",
    "gensim",
    "fasttext-wheel",
)


def machine(threads: int) -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy the machine was at the start: a figure is worth no more."""
    info = Path("/proc/cpuinfo")
    names = (
        [ln.split(":", 1)[1].strip() for ln in info.read_text().splitlines() if ln.startswith("model name")]
        if (info.exists())
        else []
    )
    from llvmlite.binding import get_host_cpu_name

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": names[0] if names else platform.processor(),
        "microarchitecture": get_host_cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def matmul_peak(threads: int) -> dict[str, float]:
    """GFLOP/s of a float32 product (4096, 1024) x (1024, 1024) here and now: torch's BLAS, oneDNN, and the better."""
    import torch

    torch.set_num_threads(threads)
    x, w = torch.ones(4096, 1024), torch.ones(1024, 1024)
    ways = {"blas": lambda: torch.mm(x, w.t())}
    if torch.backends.mkldnn.is_available():
        ways["onednn"] = lambda: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
    found = {}
    for name, work in ways.items():
        times = []
        for _ in range(12):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        found[name] = round(2 * 4096 * 1024 * 1024 / min(times) / 1e9, 1)
    return {**found, "best": max(found.values())}


def usage() -> dict[str, float]:
    """Of this process so far: peak resident memory (MB), processor time (s), page faults without disk."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1e6 if sys.platform == "darwin" else 1e3
    peak, status = used.ru_maxrss / unit, Path("/proc/self/status")
    if status.exists():  # Linux: ru_maxrss begins with the peak of the process this one was started from
        peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3
    return {
        "peak_memory_mb": round(peak, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "page_faults": used.ru_minflt,
    }


def in_fresh_process(script: str, arguments: Iterable[object], threads: int) -> dict[str, Any]:
    """Run ``python script arguments``; the last line it prints is its result as JSON."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def alternating(
    script: str, sides: Mapping[str, list[object]], runs: int, threads: int
) -> dict[str, list[dict[str, Any]]]:
    """``runs`` results of every side. Each round runs every side once, every other round in reverse, so that a slow
    minute of the machine falls on all of them."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for i in range(runs):
        for name in list(sides)[:: 1 if i % 2 == 0 else -1]:
            result = in_fresh_process(script, sides[name], threads)
            results[name].append(result)
            print(f"  run {i + 1}/{runs} {name}: {json.dumps(result)[:300]}", file=sys.stderr, flush=True)
    return results


def median(results: Iterable[Mapping[str, Any]], key: str) -> float:
    return float(statistics.median(float(r[key]) for r in results))


def ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Ratio of the medians, with the smallest and largest ratio of two runs of the same round."""
    pairs = [float(a[key]) / float(b[key]) for a, b in zip(ours, theirs, strict=True)]
    return {
        "of_medians": round(median(ours, key) / median(theirs, key), 3),
        "lowest": round(min(pairs), 3),
        "highest": round(max(pairs), 3),
    }


def command() -> str:
    """What this benchmark was started with; kept beside each thing measured, as a part can be measured again alone."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def write(name: str, result: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path
