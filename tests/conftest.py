"""Shared by every room: one thread, no network look-ups by peers, tiny files, and where the public data lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is first imported: a test never asks the hub

import pytest
import torch

import tiny
from cli_runs import Runs, make_runs


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several workers share the cores; and bitwise comparisons need the same number throughout."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 documents, a document per line."""
    return tiny.write_corpus(tmp_path_factory.mktemp("tiny") / "corpus.txt")


@pytest.fixture(scope="session")
def labelled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 labelled texts, two labels."""
    return tiny.write_labelled(tmp_path_factory.mktemp("tiny") / "train.csv")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = tiny.shared_data()
    if folder is None:
        pytest.skip("the public data sets are not here: set WORDLOOM_DATA, or put shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Finished tiny runs; read only (``runs.copy`` gives one to damage)."""
    return make_runs(tmp_path_factory.mktemp("runs"))
