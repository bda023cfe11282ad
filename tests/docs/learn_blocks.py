"""Runs the blocks of one page. In a module of its own, which a fresh process can import without pytest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARK = "<block>"


def run_blocks(page: str, blocks: Sequence[tuple[str, int, str]], folder: str, output: str) -> None:
    """(kind, line of the fence, code) each, in order; what they print goes to the file ``output``, each after MARK.

    Python blocks share their names; a traceback tells the line of the page.
    """
    os.chdir(folder)
    with open(output, "w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    names: dict[str, Any] = {"__name__": "__main__"}
    for kind, line, code in blocks:
        print(MARK, flush=True)
        if kind == "bash run":
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
        else:
            exec(compile("\n" * line + code, Path(page).name, "exec"), names)
