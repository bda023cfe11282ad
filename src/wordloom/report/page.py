"""render(): a run directory's JSON -> one HTML page."""

from __future__ import annotations

from pathlib import Path


def render(run_path: str | Path) -> Path:
    """Write RUN/report.html from the JSON in RUN."""
    raise NotImplementedError
