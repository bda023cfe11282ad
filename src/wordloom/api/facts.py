"""Facts of a finished run for its manifest: forecast, speed, files. The report shows what is here."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from wordloom.data.sealed import file_hash
from wordloom.model import kernels
from wordloom.run import Run
from wordloom.train.loop import Outcome


def finished_facts(run: Run, outcome: Outcome) -> dict[str, Any]:
    """Seconds asked (--minutes), taken and of the processor, median speed of the log's lines, and the bundle's files
    with hashes."""
    facts: dict[str, Any] = {"files": file_facts(run)}
    facts["seconds"] = round(outcome.seconds, 1)
    facts["processor_seconds"] = round(outcome.processor_seconds, 1)
    if outcome.forecast is not None:
        facts["forecast"] = {"forecast": {"seconds": outcome.forecast}, "actual": {"seconds": outcome.seconds}}
    rows = [row for row in run.read_log() if "tokens_per_second" in row]
    if rows:
        facts["throughput"] = {"tokens_per_second": statistics.median(r["tokens_per_second"] for r in rows)}
        shares = [r["share_of_peak"] for r in rows if "share_of_peak" in r]
        if shares:
            facts["throughput"]["peak_share"] = statistics.median(shares)
    return facts


def file_facts(run: Run) -> list[dict[str, Any]]:
    """Path, size and hash of every file of the bundle."""
    return [_file(path, run.path) for path in sorted(run.bundle.rglob("*")) if path.is_file()]


def _file(path: Path, root: Path) -> dict[str, Any]:
    return {"path": str(path.relative_to(root)), "bytes": path.stat().st_size, "sha256": file_hash(path)}


def settle_kernels(run: Run) -> None:
    """The CPU kernels of this run: those it began with, where it did; two of them differ in the last bits."""
    if "kernels" in run.manifest:
        kernels.use_backend(run.manifest["kernels"])
    elif run.writable:
        run.update_manifest(kernels=kernels.backend())
