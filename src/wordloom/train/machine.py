"""What this machine can do: threads, memory, matrix-product peak, and an allocator that keeps what it has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from wordloom.errors import TrainingError


def pick_device(name: str | None = None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def pick_threads(wanted: int | None) -> int:
    """Threads of this process: as asked, else the cores it may use, shared among torchrun's local processes."""
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def matmul_peak(
    device: torch.device, dtype: torch.dtype, seconds: float = 0.15, shape: tuple[int, int, int] = (2048, 1024, 1024)
) -> float:
    """FLOP/s of one matrix product (M, K) x (K, N) here and now: the best of the repetitions in ``seconds``.

    On a CPU also by oneDNN, which in float32 is more than twice as fast as MKL on AMD: a peak is the better of both.
    """
    m, k, n = shape
    a, b = torch.ones(m, k, device=device, dtype=dtype), torch.ones(n, k, device=device, dtype=dtype)
    ways = [lambda: torch.mm(a, b.t())]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return 2.0 * m * n * k / min(_best_time(way, device, seconds / len(ways)) for way in ways)


def _best_time(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    work()  # library warm-up
    best, end = float("inf"), time.perf_counter() + seconds
    for _ in range(10_000):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            break
    return best


def pick_precision(wanted: str, device: torch.device) -> str:
    """ "auto": bfloat16 where the processor multiplies it in hardware, else float32.

    Looked up, not measured: a busy machine must not change what a seed gives. bert-mini on two Zen 5 cores:
    15,300 tokens/s in bfloat16 and 11,500 in float32.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has else "float32"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- memory ----------------------------------------------------------------------------------------------------------


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks instead of handing them back to the kernel. True where it took effect.

    Activations are freed and asked for again every step. By default glibc maps each large block anew, and the kernel
    clears every page of it at first touch. Measured on a 4-layer, 256-wide encoder (32 x 128 tokens, bfloat16, 1
    thread): 35,000-44,000 page faults a step become 350-700, system time 60-90 ms a step becomes 2 ms beside 660 ms
    of user time; peak memory is the same (within 2 %).
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # <malloc.h>
    try:
        libc = ctypes.CDLL("libc.so.6")
        # M_MMAP_THRESHOLD cannot exceed 32 MiB, which one logits tensor passes; M_MMAP_MAX = 0 has no such limit.
        wanted = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20))
        return all([libc.mallopt(name, value) == 1 for name, value in wanted])
    except (OSError, AttributeError):  # another libc
        return False


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = None
    with contextlib.suppress(OSError):
        line = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        found = int(line[1]) * 1024 if line else None
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            free = _number(limit) - _number(used)
            found = free if found is None else min(found, free)
    return found


def _number(name: str) -> int:
    return int((Path("/sys/fs/cgroup") / name).read_text(encoding="ascii"))


class PeakMemory:
    """``with PeakMemory() as peak``: peak.bytes is how far this process's memory rose; None where unknown."""

    bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        self._before = None
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, proc(5)
            self._before = status_bytes("VmRSS")
        return self

    def __exit__(self, *error: object) -> None:
        peak = status_bytes("VmHWM")
        if self._before is not None and peak is not None:
            self.bytes = max(0, peak - self._before)


def status_bytes(field: str) -> int | None:
    """Of this process, from /proc: VmRSS is its memory now, VmHWM the most it has held. None elsewhere than on Linux.

    Not ``getrusage``: its peak begins with that of the process this one was started from.
    """
    with contextlib.suppress(OSError):
        line = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        return int(line[1]) * 1024 if line else None
    return None


def out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextlib.contextmanager
def memory_errors(step: int) -> Iterator[None]:
    """Turns an allocation that failed into a TrainingError with its cure."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        cure = "set train.micro_batch to a smaller number, or train.length"
        raise TrainingError("not enough memory for one micro-batch", where=f"step {step}", cure=cure) from error
