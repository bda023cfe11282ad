"""A saved tokenizer names the tokens that begin and end a text, as the model's config.json does beside it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import tokenizers
import transformers

import tiny
from wordloom import api
from wordloom.text.folders import ROLES
from wordloom.text.tokenizer import Tokenizer

TEXTS = ("The film was good.", "an actor [SEP] naïve 中文", "")


@pytest.mark.parametrize("preset", ["gpt2-tiny", "bert-tiny"])  # transformers' class for any tokenizer, and BERT's
def test_an_exported_folder_names_its_ends(tmp_path: Path, preset: str) -> None:
    corpus = tiny.write_corpus(tmp_path / "corpus.txt")
    size = {"tokenizer.vocab_size": 400}
    api.pretrain(corpus, tmp_path / "run", preset=preset, quiet=True, **{**tiny.TINY, **size})
    api.export_model(tmp_path / "run", tmp_path / "hf")
    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert preset != "gpt2-tiny" or config["bos_token_id"] == api.language_model(tmp_path / "run").start_id
    for folder in ("hf", "run/bundle"):
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / folder)
        assert isinstance(theirs.bos_token_id, int) and theirs.bos_token_id == config["bos_token_id"]
        assert isinstance(theirs.eos_token_id, int) and theirs.eos_token_id == config["eos_token_id"]
        named = json.loads((tmp_path / folder / "special_tokens_map.json").read_text())
        assert (named["bos_token"], named["eos_token"]) == (theirs.bos_token, theirs.eos_token)
        plain = tokenizers.Tokenizer.from_file(str(tmp_path / folder / "tokenizer.json"))
        for text in TEXTS:  # what is put around a text is said by tokenizer.json alone
            assert theirs(text)["input_ids"] == plain.encode(text).ids
            assert theirs(text, "one")["input_ids"] == plain.encode(text, "one").ids


def test_whatever_roles_a_vocabulary_has(tmp_path: Path) -> None:
    """Reading back what was saved changes no number, though bos and eos are then named."""
    vocabulary = {token: i for i, token in enumerate([*ROLES, "a", "b"])}
    for count in range(1, len(ROLES) + 1):
        for roles in itertools.combinations(ROLES, count):
            if not set(roles) - {"pad_token", "mask_token"}:
                continue  # refused: nothing begins or ends a text
            backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
            ours = Tokenizer(backend, {role: role for role in roles})
            again = Tokenizer.load(ours.save(tmp_path / "-".join(roles)))
            assert again.roles == ours.roles and again.special_ids == ours.special_ids, roles
            for name in ("cls", "sep", "bos", "eos", "pad", "unk", "mask"):
                number = getattr(ours, f"{name}_id")
                assert getattr(again, f"{name}_id") == number, (roles, name)
                assert f"{name}_token" not in roles or number == vocabulary[f"{name}_token"], (roles, name)
            theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "-".join(roles))
            assert (theirs.bos_token_id, theirs.eos_token_id) == (ours.ends["bos"], ours.ends["eos"]), roles
