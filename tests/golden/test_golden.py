"""[11] The first 20 losses of three tiny runs are those of the file; see golden_losses.py."""

from __future__ import annotations

import json
from pathlib import Path

import golden_losses
import pytest


def test_losses_are_the_golden_ones() -> None:
    expected = json.loads((Path(__file__).parent / "losses.json").read_text())
    found = golden_losses.losses()
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert len(values) == 20 and found[name] == pytest.approx(values, rel=1e-4), name
