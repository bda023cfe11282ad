"""One tokenizer and one token store for the whole suite."""

from __future__ import annotations

import pytest
from contract_cases import World

import tiny
from wordloom.config import CorpusConfig, TokenizerConfig
from wordloom.data.corpus import Corpus
from wordloom.data.store import build_store
from wordloom.text.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("contracts")
    path = tiny.write_corpus(folder / "corpus.txt")
    tokenizer = Tokenizer.train(tiny.documents(), TokenizerConfig(vocab_size=120))
    return World(tokenizer, build_store(Corpus(CorpusConfig(paths=(str(path),))), tokenizer, folder / "store"))
