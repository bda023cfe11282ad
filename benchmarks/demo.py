"""How long the demo takes, how much memory, and what pre-training gained: ``python benchmarks/demo.py [OUT]``.

Writes benchmarks/results/demo.json. Set-up (packages) is done before and not counted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import _common


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-run")
    facts = {"command": "make demo", "date": f"{date.today()}", "seeds": [0, 1, 2], "machine": _common.machine(2)}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "wordloom", "demo", "--out", str(out), "--overwrite"], check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6  # the largest process
    rows = json.loads((out / "scores.json").read_text(encoding="utf-8"))["gain"]["rows"]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    found = manifest["task"]["documentation"]
    text = f"{found['words']:,} words of {found['packages']} packages read in {found['seconds']:.0f} s."
    pretrained = json.loads((out / "pretrained" / "scores.json").read_text(encoding="utf-8"))["scores"]
    result = {
        **facts,
        "seconds": seconds,
        "peak_memory_gb": peak,
        "text": text,
        "rows": rows,
        "pretraining": pretrained,
    }
    print(_common.write("demo", result))


if __name__ == "__main__":
    main()
