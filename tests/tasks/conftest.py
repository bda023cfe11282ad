"""Fixtures of the task tests: one thread, a tiny tokenizer, a tiny architecture."""

import pytest
import torch
from tiny_tasks import texts

from wordloom.config import TokenizerConfig
from wordloom.model.architecture import Architecture
from wordloom.text.tokenizer import Tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(texts(300), TokenizerConfig(vocab_size=120))


@pytest.fixture
def arch(tokenizer: Tokenizer) -> Architecture:
    return Architecture(
        vocab_size=tokenizer.vocab_size, width=16, layers=2, heads=2, ffn_width=32, max_positions=64, init_std=0.2
    )
